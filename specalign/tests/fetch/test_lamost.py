"""LAMOST: resolutions, releases, and tokens that nobody must see."""

import gzip
import json
import logging

import pytest

from specalign import get_instrument
from specalign.exceptions import FetchError
from specalign.fetch import lamost
from specalign.mock import write_survey
from specalign.tests.fetch.server import abort, other, status
from specalign.tests.io.synthetic import lamost_coadd, lamost_mrs

SECRET = "a-secret/of+mine"


@pytest.fixture
def content(tmp_path):
    lamost_coadd(tmp_path / "a.fits", header={"OBSID": 7})
    return (tmp_path / "a.fits").read_bytes()


@pytest.fixture
def get(server, session):
    return lambda ids, **options: lamost(ids, base_url=server.url, **{"session": session, **options})


def test_medium_resolution_and_another_release(server, tmp_path, get):
    lamost_mrs(tmp_path / "m.fits", header={"OBSID": 7})
    server.add("/dr11/v2.0/mrs/spectrum/fits?obsid=7", gzip.compress((tmp_path / "m.fits").read_bytes()))
    found = get(7, release="dr11", resolution="mrs")
    assert list(found["status"]) == ["downloaded"]
    spectra = get_instrument("lamost", mode="mrs").read(found.paths[0])
    assert [spectrum.meta["arm"] for spectrum in spectra] == ["B", "R"]


def test_releases_do_not_mix(server, content, get):
    for release in ("dr10", "dr11"):
        server.add(f"/{release}/v2.0/lrs/spectrum/fits?obsid=7", content)
    paths = {get(7, release=release).paths[0] for release in ("dr10", "dr11")}
    assert len(paths) == 2


def everything_said(session, found, caplog, capsys):
    """All that was written, printed or given back."""
    said = [path.read_text(errors="replace") for path in session.cache.folder.rglob("*") if path.is_file()]
    said += [str(path) for path in session.cache.folder.rglob("*")]
    said += [str(value) for row in found for value in row] + [caplog.text, *capsys.readouterr(), repr(session)]
    return "\n".join(said)


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize("fault", ["none", "echo", "lost", "refused", "redirect"])
def test_a_token_is_sent_and_never_shown(fault, way, server, content, get, session, caplog, capsys, monkeypatch):
    faults = {
        "none": [],
        "echo": [other(f'{{"error": "token {SECRET} or a-secret%2Fof%2Bmine is not valid"}}'.encode())],
        "lost": [abort] * 9,
        "refused": [status(403)],
        "redirect": [status(302, Location=f"https://example.org/?token={SECRET}")],
    }[fault]
    server.add("/dr10/v2.0/lrs/spectrum/fits", content, faults=faults)
    monkeypatch.setenv("LAMOST_TOKEN", SECRET if way == "environment" else "another")
    monkeypatch.setattr("specalign.fetch.lamost_api.DOMAIN", "127.0.0.1")
    with caplog.at_level(logging.DEBUG):
        found = get(7, **({"token": SECRET} if way == "argument" else {}))
    assert server.count("token=a-secret%2Fof%2Bmine") == len(server.asked) > 0
    said = everything_said(session, found, caplog, capsys)
    assert SECRET not in said
    assert "a-secret" not in said
    assert ("downloaded" in said) == (fault == "none")


def test_no_token_is_sent_where_none_is_given(server, content, get, monkeypatch):
    server.add("/dr10/v2.0/lrs/spectrum/fits", content)
    monkeypatch.delenv("LAMOST_TOKEN", raising=False)
    get(7)
    assert server.count("token") == 0


def test_a_mirror_does_not_get_the_token_of_the_environment(server, content, get, monkeypatch):
    server.add("/dr10/v2.0/lrs/spectrum/fits", content)
    monkeypatch.setenv("LAMOST_TOKEN", SECRET)
    assert list(get(7)["status"]) == ["downloaded"]
    assert server.count("token") == 0


def test_a_token_changes_nothing_for_the_cache(server, content, get):
    server.add("/dr10/v2.0/lrs/spectrum/fits", content)
    get(7, token=SECRET)
    assert list(get(7, token="")["status"]) == ["cached"]


def test_a_token_is_not_sent_without_encryption(session):
    with pytest.raises(FetchError, match="a token is only sent over https"):
        lamost(7, base_url="http://example.org", token=SECRET, session=session)


def test_order_and_repeats(server, content, get):
    found = get([9, "8", 9])
    assert list(found["id"]) == ["9", "8"]
    assert found.counts() == {"downloaded": 0, "cached": 0, "missing": 2, "failed": 0}
    with pytest.raises(FetchError, match="2 of 2 files are not there: 9: the archive answered 404"):
        found.raise_for_failures()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obsids": "../7"}, "obsid: expected something like '437513049', got '../7'"),
        ({"obsids": -7}, "obsid: expected"),
        ({"obsids": "7\n"}, "obsid: expected"),
        ({"obsids": []}, "obsid: expected at least one, got none"),
        ({"release": "10"}, "release: expected something like 'dr10'|release: expected something like 'dr17'"),
        ({"version": "v2/../.."}, "version: expected something like 'v2.0'"),
        ({"resolution": "high"}, "resolution: expected one of"),
        (
            {"obsids": range(1, 1002)},
            "1001 spectra were asked for, and not more than 1000 are fetched; pass limit=1001",
        ),
        ({"obsids": range(1, 4), "limit": 2}, "not more than 2 are fetched"),
        ({"base_url": "ftp://example.org"}, "an address that begins with https://"),
    ],
)
def test_arguments_that_are_refused_before_anything_is_asked(options, message, server, session):
    options = {"obsids": 7, "base_url": server.url, "session": session} | options
    with pytest.raises(FetchError, match=message):
        lamost(**options)
    assert not server.asked


def test_from_obsids_to_prepared_spectra(server, tmp_path, get, session):
    paths = write_survey(tmp_path / "survey", 2, ["lamost"], seed=1)["lamost"]
    instrument = get_instrument("lamost")
    stars = []
    for path in paths:
        facts = instrument.read(path)[0].meta
        stars.append((int(facts["header"]["OBSID"]), facts["object_id"]))
        server.add(f"/dr10/v2.0/lrs/spectrum/fits?obsid={stars[-1][0]}", path.read_bytes())
    found = get([obsid for obsid, _ in stars]).raise_for_failures()
    prepared = instrument.prepare([s for path in found.paths for s in instrument.read(path)])
    assert list(prepared.object_id) == [star for _, star in stars]
    manifests = [json.loads(path.read_text()) for path in session.cache.folder.rglob("*.manifest.json")]
    assert {manifest["product"] for manifest in manifests} == {"lrs"}
