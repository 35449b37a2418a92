"""NIRSpec through the answers of MAST."""

import json

import numpy as np
import pytest

from specalign import get_instrument
from specalign.exceptions import FetchError
from specalign.fetch import mast, nirspec
from specalign.mock import write_survey
from specalign.tests.fetch.server import HTML, json_answer
from specalign.tests.io.synthetic import x1d

SETTING = "nirspec_f100lp-g140h"
DOWNLOAD = "/api/v0.1/Download/file?uri=mast:JWST/product/"


class Archive:
    """Observations and files, as MAST's two services list them."""

    def __init__(self, server):
        self.server, self.observations, self.products, self.answers, self.questions = server, [], [], [], []

    def __call__(self, query, form, handler):
        if self.answers:
            return self.answers.pop(0)
        question = json.loads(form["request"][0])
        self.questions.append(question)
        params = question["params"]
        if question["service"] == "Mast.Caom.Products":
            wanted = params["obsid"].split(",")
            rows = [row for row in self.products if str(row["parent_obsid"]) in wanted]
        else:
            rows = [
                row
                for row in self.observations
                if all(str(row[f["paramName"]]) in f["values"] for f in params["filters"])
            ]
        size, page = question["pagesize"], question["page"]
        paging = {"page": page, "pagesFiltered": max(1, -(-len(rows) // size))}
        return json_answer({"status": "COMPLETE", "data": rows[(page - 1) * size : page * size], "paging": paging})

    def add(self, source, content=b"", setting=SETTING, program="2609", target="M71", **facts):
        """An observation with a source, and its files."""
        number = 1000 + len(self.observations)
        name = f"jw{int(program):05d}-o001_s{source:05d}_{setting}"
        filters = ";".join(word.upper() for word in setting.split("_")[1].split("-"))
        self.observations.append(
            {"obsid": number, "obs_id": name, "obs_collection": "JWST", "instrument_name": "NIRSPEC/MSA",
             "proposal_id": program, "target_name": target, "filters": filters}
        )  # fmt: skip
        for kind in ("x1d", "s2d", "cal"):
            file = f"{name}_{kind}.fits"
            row = {
                "obsID": 9,
                "parent_obsid": number,
                "productFilename": file,
                "calib_level": 3,
                "dataRights": "PUBLIC",
            }
            self.products.append(row | {"dataURI": f"mast:JWST/product/{file}"} | facts)
        self.server.add(f"{DOWNLOAD}{name}_x1d.fits", content)
        return name


@pytest.fixture
def archive(server):
    archive = Archive(server)
    server.services["/api/v0/invoke"] = archive
    return archive


@pytest.fixture
def content(tmp_path):
    x1d(tmp_path / "a.fits")
    return (tmp_path / "a.fits").read_bytes()


@pytest.fixture
def get(server, session):
    return lambda *ids, **options: nirspec(*ids, base_url=server.url, **{"session": session, **options})


def test_files_of_a_programme(archive, content, get):
    names = [archive.add(source, content) for source in (3, 7)]
    archive.add(9, content, program="1234")
    found = get(proposal_id=2609)
    assert list(found["id"]) == ["2609", "2609"]
    assert [path.name for path in found.paths] == [f"{name}_x1d.fits" for name in names]
    assert list(get(proposal_id="02609")["status"]) == ["cached"] * 2
    assert get_instrument("nirspec").read(found.paths[0])[0].meta["product"] == "x1d"


def test_files_of_observations_and_targets(archive, content, get):
    names = [archive.add(3, content), archive.add(4, content, target="M13")]
    found = get([names[1], "jw09999-o001_nothing"])
    assert list(found["status"]) == ["downloaded", "missing"]
    assert "lists no such x1d file of obs_id jw09999-o001_nothing" in found["reason"][1]
    assert list(get(target_name=["M71", "M13"], proposal_id=2609)["id"]) == ["M71", "M13"]


def test_the_disperser_restricts(archive, content, get):
    archive.add(3, content)
    other = archive.add(3, content, setting="nirspec_f290lp-g395m")
    found = get(proposal_id=2609, disperser="G395M")
    assert [path.name for path in found.paths] == [f"{other}_x1d.fits"]


def test_levels_are_not_mixed(archive, content, get):
    archive.add(3, content, calib_level=2)
    assert list(get(proposal_id=2609)["status"]) == ["missing"]
    assert list(get(proposal_id=2609, calib_level=2)["status"]) == ["downloaded"]


def test_long_lists_come_in_pages_and_many_observations_in_several_questions(archive, content, get, monkeypatch):
    monkeypatch.setattr(mast, "PAGE", 4)
    monkeypatch.setattr(mast, "OBSERVATIONS_A_QUERY", 5)
    for source in range(7):
        archive.add(source, content)
    assert len(get(proposal_id=2609).paths) == 7
    asked = [question["service"] for question in archive.questions]
    assert asked == ["Mast.Caom.Filtered"] * 2 + ["Mast.Caom.Products"] * 6


def test_an_answer_that_is_not_ready_is_asked_for_again(archive, content, get, clock):
    archive.add(3, content)
    archive.answers += [json_answer({"status": "EXECUTING"}), (503, b"", {"Retry-After": "5"})]
    assert list(get(proposal_id=2609)["status"]) == ["downloaded"]
    assert clock.sleeps[1] == 5.0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json_answer({"status": "ERROR", "msg": "no such column"}), "MAST says ERROR: no such column"),
        ((200, HTML, {}), "MAST sent a web page ('Please log in') instead of rows"),
        ((200, b"[]", {}), "instead of rows"),
        ((200, b"[" * 100000, {}), "instead of rows"),
        (json_answer({"status": "COMPLETE", "data": "x"}), "something else than rows"),
        (json_answer({"status": "COMPLETE", "data": [["x"]]}), "something else than rows"),
        (json_answer({"status": "COMPLETE", "paging": [1]}), "something else than rows"),
        (json_answer({"status": "COMPLETE", "paging": {"pagesFiltered": "x"}}), "how many pages"),
        (json_answer({"status": "COMPLETE", "paging": {"pagesFiltered": 10**9}}), "1000000000 pages"),
        ((403, b"", {}), "403 Forbidden"),
    ],
)
def test_an_error_of_the_archive_is_a_reason(answer, said, archive, get):
    archive.answers += [answer] * 9
    row = get(proposal_id=2609)[0]
    assert row["status"] == "failed"
    assert said in row["reason"]


@pytest.mark.parametrize(
    "facts",
    [
        {"dataURI": None},
        {"dataURI": 5},
        {"parent_obsid": None, "obsID": []},
        {"calib_level": "x"},
        {"dataURI": "x" * 999},
    ],
)
def test_rows_that_make_no_sense(facts, archive, content, get):
    archive.add(3, content, **facts)
    archive.observations.append({"obs_collection": "JWST", "instrument_name": "NIRSPEC", "proposal_id": "2609"})
    row = get(proposal_id=2609)[0]
    assert row["status"] in ("failed", "missing")
    assert len(row["reason"]) < 300


def test_the_archive_does_not_mind_capital_letters(archive, content, get):
    archive.add(3, content)
    usual, archive.observations[0]["target_name"] = archive.observations[0], "m71"
    archive.observations[0] = CaseBlind(usual)
    found = get(target_name="M71")
    assert (list(found["id"]), list(found["status"])) == (["M71"], ["downloaded"])


class CaseBlind(dict):
    """A row that a database finds by M71 whose target is m71."""

    def __getitem__(self, key):
        return super().__getitem__(key).upper() if key == "target_name" else super().__getitem__(key)


def test_data_that_are_not_public(archive, content, get, server):
    archive.add(3, content, dataRights="EXCLUSIVE_ACCESS")
    row = get(proposal_id=2609, token="")[0]
    assert row["status"] == "failed"
    assert "not public yet" in row["reason"]
    assert get(proposal_id=2609, token="abc")["status"][0] == "downloaded"
    assert server.asked[-1][2]["Authorization"] == "token abc"


@pytest.mark.parametrize(
    "address", ["mast:JWST/product/../../x.fits", "https://example.org/jw1.fits", "mast:HST/product/a.fits"]
)
def test_odd_addresses_are_not_fetched(address, archive, get, server):
    archive.add(3, dataURI=address)
    row = get(proposal_id=2609)[0]
    assert "odd address" in row["reason"]
    assert server.count("Download") == 0


def test_more_files_than_allowed(archive, content, get, server):
    for source in range(5):
        archive.add(source, content)
    with pytest.raises(FetchError, match="5 files were asked for, and not more than 4 are fetched; pass limit=5"):
        get(proposal_id=2609, limit=4)
    assert server.count("Download") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "got none of them"),
        ({"proposal_id": "x"}, "proposal_id: expected"),
        ({"proposal_id": 1, "product": "cal"}, "product: expected one of x1d, s2d"),
        ({"proposal_id": 1, "disperser": "g999"}, "disperser: expected one of g140m"),
        ({"proposal_id": 1, "calib_level": 1}, "calib_level: expected 2 or 3"),
        ({"obs_ids": "jw1/../x"}, "obs_id: expected"),
        ({"target_name": []}, "expected at least one, got none"),
    ],
)
def test_wrong_arguments(options, message, get):
    with pytest.raises(FetchError, match=message):
        get(**options)


def test_from_a_programme_to_prepared_spectra(archive, tmp_path, get):
    paths = write_survey(tmp_path / "survey", 3, ["nirspec"], seed=1)["nirspec"]
    for source, path in enumerate(paths):
        archive.add(source, path.read_bytes())
    instrument = get_instrument("nirspec", disperser="g140h", filter="f100lp")
    found = get(proposal_id=2609, disperser="g140h").raise_for_failures()
    with pytest.warns(Warning, match="velocity"):
        prepared = instrument.prepare([s for path in found.paths for s in instrument.read(path)])
    assert len(prepared) == 3
    assert np.mean(~prepared.mask) > 0.5
