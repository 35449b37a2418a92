"""Gaia XP through the answers of DataLink."""

import io
import threading
import warnings
import zipfile

import numpy as np
import pytest
from astropy.io import fits

from specalign import get_instrument
from specalign.exceptions import FetchError
from specalign.fetch import datalink, gaia_xp
from specalign.mock import write_survey
from specalign.tests.fetch.server import HTML
from specalign.tests.io.synthetic import xp_continuous_fits
from specalign.tests.io.votables import one_source_fits


@pytest.fixture
def archive(server, tmp_path):
    """The service: a zip archive with a file for each source that it knows."""

    class Archive:
        members, answers = {}, []

        def __call__(self, query, form, handler):
            if self.answers:
                return self.answers.pop(0)
            assert form["DATA_STRUCTURE"] == ["INDIVIDUAL"]
            assert form["RELEASE"] == ["Gaia DR3"]
            assert form["USE_ZIP_ALWAYS"] == ["true"]
            kind = form["RETRIEVAL_TYPE"][0]
            asked = form["ID"][0].split(",")
            names = {f"{kind}-Gaia DR3 {source}.fits": source for source in asked}
            return 200, zipped({name: self.members[name] for name in names if name in self.members}), {}

        def add(self, kind, source, content):
            self.members[f"XP_{kind}-Gaia DR3 {source}.fits"] = content

    service = Archive()
    Archive.members, Archive.answers = {}, []
    for source in (11, 22, 33):
        xp_continuous_fits(tmp_path / f"c{source}.fits", sources=(source,))
        service.add("CONTINUOUS", source, (tmp_path / f"c{source}.fits").read_bytes())
        one_source_fits(tmp_path / f"s{source}.fits", source=str(source))
        service.add("SAMPLED", source, (tmp_path / f"s{source}.fits").read_bytes())
    server.services["/data-server/data"] = service
    return service


def zipped(members):
    """A zip archive of a dictionary, or of pairs, where a name may come twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items() if isinstance(members, dict) else members:
            packed.writestr(name, content)
    return stream.getvalue()


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


NAME = "XP_CONTINUOUS-Gaia DR3 11.fits"


@pytest.fixture
def get(server, session):
    return lambda ids, **options: gaia_xp(ids, base_url=server.url, **{"session": session, **options})


@pytest.mark.parametrize("form", ["continuous", "sampled"])
def test_a_file_a_source(form, server, archive, get):
    found = get([22, 11], form=form)
    assert list(found["id"]) == ["22", "11"]
    assert list(found["status"]) == ["downloaded"] * 2
    assert len(server.asked) == 1
    spectra = [get_instrument("gaia_xp").read(path)[0] for path in found.paths]
    assert [spectrum.meta["object_id"] for spectrum in spectra] == ["22", "11"]


def test_only_new_sources_are_asked_for(server, archive, get, session):
    get([11, 22])
    found = get([11, 33, 22])
    assert list(found["status"]) == ["cached", "downloaded", "cached"]
    assert len(server.asked) == 2
    assert not [path for path in session.cache.folder.rglob("*") if "part" in path.name or "zip" in path.name]


def test_a_source_without_a_spectrum_is_missing(archive, get):
    found = get([11, 99])
    assert list(found["status"]) == ["downloaded", "missing"]
    assert "no XP_CONTINUOUS spectrum of this source in Gaia DR3" in found["reason"][1]


@pytest.mark.parametrize("answer", [(200, b"", {}), (200, zipped({}), {})])
def test_an_answer_without_any_source(answer, archive, get):
    archive.answers.append(answer)
    assert list(get([11])["status"]) == ["missing"]


def test_many_sources_come_in_batches(server, archive, get, make_session, monkeypatch):
    monkeypatch.setattr(datalink, "BATCH", 2)
    archive.answers += [(404, b"", {})]
    found = get([11, 22, 33], session=make_session(connections=1))
    assert list(found["status"]) == ["failed", "failed", "downloaded"]
    assert list(get([11, 22, 33])["status"]) == ["downloaded", "downloaded", "cached"]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HTML, "a web page ('Please log in') came instead of a zip archive"),
        (zipped({"a": b"x" * 5000})[:-30], "the zip archive is damaged"),
        (zipped({"../../evil.fits": b"x"}), "points outside"),
        (zipped({"/etc/evil.fits": b"x"}), "points outside"),
        (zipped([(link(NAME), b"/etc/passwd")]), "is a link"),
        (zipped([(NAME, b"a"), (NAME, b"b")]), "several files of one source"),
        (zipped([(NAME, b"a"), (f"folder/{NAME}", b"b")]), "several files of one source"),
        (zipped({NAME: bytes(2**27)}), "not more than"),
        (zipped({NAME: b""}), "nothing came instead of a FITS file"),
        (zipped({NAME: b"<html></html>"}), "came instead of a FITS file"),
    ],
    ids=["page", "cut", "path", "absolute", "link", "twice", "twice in folders", "bomb", "empty", "no FITS"],
)
def test_answers_that_are_not_kept(content, said, archive, get, session):
    archive.answers.append((200, content, {}))
    row = get([11])[0]
    assert row["status"] == "failed"
    assert said in row["reason"]
    assert not list(session.cache.folder.rglob("*.fits"))


@pytest.mark.parametrize("form", ["continuous", "sampled"])
def test_a_file_of_another_source_is_not_kept(form, archive, get):
    archive.add(form.upper(), 44, archive.members[f"XP_{form.upper()}-Gaia DR3 11.fits"])
    found = get([44, 22], form=form)
    assert list(found["status"]) == ["failed", "downloaded"]
    assert "of source 11, and 44 was asked for" in found["reason"][0]


def test_an_archive_that_a_killed_process_left_is_removed(archive, get, session):
    folder = session.cache.folder / "gaia_xp" / "dr3" / "continuous"
    folder.mkdir(parents=True)
    for name in ("batch-0123.zip", NAME):
        (folder / f".{name}.part").write_bytes(b"PK")
    with session.cache.only_one(folder / "batch-4567.zip", session.pause):
        get([11])
    assert [path.name for path in folder.glob(".*.part")] == [".batch-4567.zip.part"]


def test_an_answer_may_take_its_time(server, archive, get, make_session):
    """The archive packs before it sends: silence is longer than for files."""
    usual, waited = server.services["/data-server/data"], threading.Event()

    def late(*asked):
        waited.wait(0.15)
        return usual(*asked)

    server.services["/data-server/data"] = late
    assert get([11], session=make_session(timeout=0.05, retries=0))["status"][0] == "downloaded"


def test_a_cut_answer_is_asked_for_again(archive, get):
    whole = zipped(dict(list(archive.members.items())[:1]))
    archive.answers += [(200, whole[:50], {"Content-Length": str(len(whole))}), (503, b"", {"Retry-After": "3"})]
    assert get([11])["status"][0] == "downloaded"


def test_other_forms_are_refused(get):
    with pytest.raises(FetchError, match="form: expected one of continuous, sampled"):
        get([11], form="raw")


def test_from_source_ids_to_prepared_spectra(archive, tmp_path, get):
    path = write_survey(tmp_path / "survey", 3, ["gaia_xp"], seed=1)["gaia_xp"][0]
    with fits.open(path) as hdus:
        rows = hdus[1].data
        sources = [str(source) for source in rows["source_id"]]
        for i, source in enumerate(sources):
            stream = io.BytesIO()
            fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows[i : i + 1])]).writeto(stream)
            archive.add("SAMPLED", source, stream.getvalue())
    instrument = get_instrument("gaia_xp")
    found = get(sources, form="sampled").raise_for_failures()
    prepared = instrument.prepare([s for path in found.paths for s in instrument.read(path)])
    assert list(prepared.object_id) == sources
    assert not np.any(prepared.mask.all(axis=1))
