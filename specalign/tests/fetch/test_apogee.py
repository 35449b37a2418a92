"""APOGEE through the layouts of the Science Archive Server and the answers of SkyServer."""

import hashlib
import sys
from urllib.parse import unquote

import numpy as np
import pytest
from astropy.config import set_temp_cache
from astropy.table import Table

from specalign import get_instrument
from specalign.exceptions import FetchError, MissingExtraError
from specalign.fetch import apogee, conf
from specalign.mock import write_survey
from specalign.tests.fetch.server import HTML, status
from specalign.tests.io.synthetic import apstar, apvisit, aspcapstar, mwmstar

STAR = "2M17335483-2753043"
TARGET = f"apo25m.000+02.{STAR}"
SPECTRO = "/dr17/apogee/spectro"
REV1 = f"{SPECTRO}/aspcap/dr17/synspec_rev1"
ASPCAP = f"{REV1}/apo25m/000%2B02/aspcapStar-dr17-2M17335483-2753043.fits"


@pytest.fixture
def content(tmp_path):
    aspcapstar(tmp_path / "a.fits")
    return (tmp_path / "a.fits").read_bytes()


@pytest.fixture
def skyserver(server):
    """Tables of the Catalog Archive Server: lists of rows, of which the server gives those that are asked for."""
    tables = {"apogeeStar": [], "apogeeVisit": []}

    def answer(query, form, handler):
        sql = query["cmd"][0]
        rows = next(rows for name, rows in tables.items() if f"FROM {name}" in sql)
        letter = "F" if "CONCAT('F', field) AS field" in sql else ""
        lines = [f"{i},{telescope},{letter}{field},{file}" for i, telescope, field, file in rows if f"'{i}'" in sql]
        return 200, "\n".join(["#Table1", "apogee_id,telescope,field,file", *lines, ""]).encode(), {}

    server.services["/dr17/en/tools/search/x_results.aspx"] = answer
    with conf.set_temp("skyserver_url", server.url):
        yield tables


@pytest.fixture
def get(server, session):
    return lambda ids, **options: apogee(ids, base_url=server.url, **{"session": session, **options})


def test_a_target_id_tells_where_the_file_lies(server, content, get):
    server.add(ASPCAP, content)
    row = get(TARGET)[0]
    assert row["status"] == "downloaded"
    assert row["url"] == server.url + ASPCAP
    assert get_instrument("apogee").read(row["path"])[0].meta["product"] == "aspcapStar"


@pytest.mark.parametrize(
    ("product", "target", "address"),
    [
        ("apStar", TARGET, f"{SPECTRO}/redux/dr17/stars/apo25m/000%2B02/apStar-dr17-{STAR}.fits"),
        ("apStar", f"lco25m.N362.{STAR}", f"{SPECTRO}/redux/dr17/stars/lco25m/N362/asStar-dr17-{STAR}.fits"),
        ("aspcapStar", f"lco25m.N362.{STAR}", f"{REV1}/lco25m/N362/aspcapStar-dr17-{STAR}.fits"),
    ],
)  # fmt: skip
def test_layouts_of_dr17(product, target, address, server, tmp_path, get):
    apstar(tmp_path / "a.fits")
    server.add(address, (tmp_path / "a.fits").read_bytes())
    assert get(target, product=product)["status"][0] == "downloaded"


def test_the_layout_of_dr16(server, content, get):
    star = "2M00005414+5522241"
    server.add(
        f"/dr16/apogee/spectro/aspcap/r12/l33/apo25m/N7789/aspcapStar-r12-{star.replace('+', '%2B')}.fits", content
    )
    assert get(f"apo25m.N7789.{star}", release="dr16")["status"][0] == "downloaded"


def test_the_layout_of_dr19(server, tmp_path, get):
    mwmstar(tmp_path / "a.fits")
    server.add(
        "/dr19/spectro/astra/0.6.0/spectra/star/01/60/mwmStar-0.6.0-54400160.fits", (tmp_path / "a.fits").read_bytes()
    )
    row = get(54400160, release="dr19", product="mwmStar")[0]
    assert row["status"] == "downloaded"
    assert get_instrument("apogee").read(row["path"])[0].meta["product"] == "mwmStar"


def test_skyserver_tells_the_field_and_its_answer_is_kept(server, content, skyserver, get):
    skyserver["apogeeStar"].append((STAR, "apo25m", "000+02", f"apStar-dr17-{STAR}.fits"))
    server.add(ASPCAP, content)
    assert get(STAR)["status"][0] == "downloaded"
    assert get(STAR)["status"][0] == "cached"
    assert server.count("x_results") == 1


@pytest.mark.parametrize("field", ["000+02", "4507", "0042", "1e5"])
def test_a_field_that_looks_like_a_number_keeps_its_name(field, server, content, skyserver, get):
    skyserver["apogeeStar"].append((STAR, "apo25m", field, f"apStar-dr17-{STAR}.fits"))
    assert f"/apo25m/{field}/" in unquote(get(STAR)["url"][0])


def test_a_star_in_two_fields_has_two_rows(server, content, skyserver, get):
    for field in ("000+02", "M67"):
        skyserver["apogeeStar"].append((STAR, "apo25m", field, f"apStar-dr17-{STAR}.fits"))
    server.add(ASPCAP, content)
    found = get(STAR)
    assert list(found["id"]) == [STAR, STAR]
    assert list(found["status"]) == ["downloaded", "missing"]


def test_visits_lie_by_plate_and_date(server, tmp_path, skyserver, get):
    apvisit(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    for fiber in (128, 129):
        file = f"apVisit-dr17-5095-55844-{fiber}.fits"
        skyserver["apogeeVisit"].append((STAR, "apo25m", "000+02", file))
        server.add(f"{SPECTRO}/redux/dr17/visit/apo25m/000%2B02/5095/55844/{file}", content)
    found = get(STAR, product="apVisit")
    assert list(found["status"]) == ["downloaded"] * 2
    assert get_instrument("apogee").read(found.paths[0])[0].meta["product"] == "apVisit"


def test_a_star_that_nobody_knows_is_missing(skyserver, get):
    found = get([STAR, "2M00000000+0000000"])
    assert list(found["status"]) == ["missing"] * 2
    assert "SkyServer's table of dr17 has no such star" in found["reason"][0]


@pytest.mark.parametrize(
    "answer", [(200, HTML, {}), (200, b'[{"error_message": "x"}]', {}), (400, b"bad sql", {}), (200, b"", {})]
)
def test_an_answer_of_skyserver_that_is_no_table(answer, server, content, skyserver, get):
    server.services["/dr17/en"] = lambda *_: answer
    server.services.pop("/dr17/en/tools/search/x_results.aspx")
    server.add(ASPCAP, content)
    found = get([STAR, TARGET])
    assert list(found["status"]) == ["failed", "downloaded"]
    assert found["reason"][0].startswith("its field could not be looked up: SkyServer")


def test_a_place_of_skyserver_that_is_none_costs_one_star(server, content, skyserver, get):
    skyserver["apogeeStar"].append((STAR, "apo25m", "000+02", f"apStar-dr17-{STAR}.fits"))
    skyserver["apogeeStar"].append(("2M1", "apo25m", "../../etc", "apStar-dr17-2M1.fits"))
    server.add(ASPCAP, content)
    found = get(["2M1", STAR])
    assert list(found["status"]) == ["failed", "downloaded"]
    assert "field: expected something like '000+02', got '../../etc'" in found["reason"][0]


def test_skyserver_may_be_busy(server, content, skyserver, get, clock):
    skyserver["apogeeStar"].append((STAR, "apo25m", "000+02", f"apStar-dr17-{STAR}.fits"))
    name = "/dr17/en/tools/search/x_results.aspx"
    usual, faults = server.services[name], [(429, b"", {"Retry-After": "9"}), (503, b"", {})]
    server.services[name] = lambda *asked: faults.pop(0) if faults else usual(*asked)
    server.add(ASPCAP, content)
    assert get(STAR)["status"][0] == "downloaded"
    assert clock.sleeps[0] == 9.0


def test_astroquery_keeps_no_answers_of_its_own(tmp_path, skyserver, get):
    """It would keep them as pickles, which is code."""
    (tmp_path / "astropy").mkdir()
    with set_temp_cache(tmp_path / "astropy"):
        get(STAR)
    assert not list(tmp_path.rglob("*.pickle"))


def test_many_stars_are_asked_for_in_few_queries(server, skyserver, get):
    get([f"2M{i:08d}+0000000" for i in range(250)])
    assert server.count("x_results") == 3


def test_a_catalogue_tells_the_field(server, content, session, tmp_path, get):
    rows = [(STAR, "apo25m", "000+02", f"apStar-dr17-{STAR}.fits"), ("2M1", "lco25m", "M67", "asStar-dr17-2M1.fits")]
    table = Table(rows=rows, names=["APOGEE_ID", "TELESCOPE", "FIELD", "FILE"])
    server.add(ASPCAP, content)
    assert get(STAR, catalogue=table)["status"][0] == "downloaded"
    path = tmp_path / "allStar.fits"
    table.write(path)
    found = get([STAR, "2M2"], catalogue=path)
    assert list(found["status"]) == ["cached", "missing"]
    assert "the catalogue has no such star" in found["reason"][1]
    table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    table.remove_column("file")
    assert get(STAR, catalogue=table)["status"][0] == "cached"
    table.remove_column("field")
    with pytest.raises(FetchError, match="no column FIELD; expected APOGEE_ID, TELESCOPE, FIELD, FILE"):
        get(STAR, catalogue=table)


@pytest.mark.parametrize("column", ["TELESCOPE", "FIELD", "FILE"])
def test_a_catalogue_cannot_lead_out_of_the_cache(column, get):
    row = {"APOGEE_ID": STAR, "TELESCOPE": "apo25m", "FIELD": "M67", "FILE": f"apStar-dr17-{STAR}.fits"}
    with pytest.raises(FetchError, match="expected something like"):
        get(STAR, catalogue=Table(rows=[row | {column: "../../../etc/x.fits"}]))


@pytest.mark.parametrize("name", ["synspec_rev1", "synspec"])
def test_the_archives_checksum_is_verified(name, server, content, get, session):
    folder = ASPCAP.rpartition("/")[0]
    resource = server.add(f"{folder}/dr17_{name}_apo25m_000%2B02.sha1sum", b"")
    resource.content = f"{'0' * 40}  aspcapStar-dr17-{STAR}.fits\n".encode()
    server.add(ASPCAP, content)
    row = get(TARGET)[0]
    assert row["status"] == "failed"
    assert "its sha1 is not the one that the archive states" in row["reason"]
    resource.content = f"{hashlib.sha1(content).hexdigest()} *./aspcapStar-dr17-{STAR}.fits\n".encode()
    assert get(TARGET)["status"][0] == "downloaded"
    manifest = next(session.cache.folder.rglob(".asp*.json")).read_text()
    assert '"algorithm": "sha1"' in manifest


@pytest.mark.parametrize(("telescope", "tree"), [("apo25m", "synspec"), ("lco25m", "synspec_rev1")])
def test_the_list_that_the_telescope_has_is_asked_for_first(telescope, tree, server, content, get):
    folder = f"{REV1}/{telescope}/M67"
    server.add(f"{folder}/aspcapStar-dr17-{STAR}.fits", content)
    line = f"{hashlib.sha1(content).hexdigest()}  aspcapStar-dr17-{STAR}.fits\n"
    server.add(f"{folder}/dr17_{tree}_{telescope}_M67.sha1sum", line.encode())
    assert get(f"{telescope}.M67.{STAR}")["status"][0] == "downloaded"
    assert server.count("sha1sum") == 1


def test_a_list_of_checksums_that_cannot_be_read_leaves_the_file_for_later(server, content, get):
    folder = ASPCAP.rpartition("/")[0]
    server.add(f"{folder}/dr17_synspec_rev1_apo25m_000%2B02.sha1sum", b"", faults=[status(503)] * 6)
    server.add(ASPCAP, content)
    row = get(TARGET)[0]
    assert row["status"] == "failed"
    assert "the list of checksums could not be read" in row["reason"]
    assert get(TARGET)["status"][0] == "downloaded"
    assert server.count("aspcapStar") == 1  # what had come was kept


def test_without_astroquery_the_error_names_the_extra(get, monkeypatch):
    monkeypatch.setitem(sys.modules, "astroquery.sdss", None)
    with pytest.raises(MissingExtraError, match=r"specalign\[fetch\].*catalogue="):
        get(STAR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"release": "dr15"}, "expected a release of dr16, dr17, dr19"),
        ({"product": "spec"}, "a product of aspcapStar"),
        ({"product": "mwmStar"}, "mwmStar is of dr19"),
        ({"release": "dr19"}, "dr19 has no aspcapStar"),
        ({"release": "dr16", "product": "apVisit"}, "dr16 has no apVisit"),
        ({"release": "../x"}, "release: expected something like 'dr17'"),
    ],
)
def test_releases_and_products_that_are_not_there(options, message, get):
    with pytest.raises(FetchError, match=message):
        get(TARGET, **options)


def test_from_names_to_prepared_spectra(server, tmp_path, get):
    paths = write_survey(tmp_path / "survey", 3, ["apogee"], seed=1)["apogee"]
    ids = [f"apo25m.M67.{path.stem.split('-')[-1]}" for path in paths]
    for path, name in zip(paths, ids, strict=True):
        file = f"aspcapStar-dr17-{name.rpartition('.')[2]}.fits"
        server.add(f"{SPECTRO}/aspcap/dr17/synspec_rev1/apo25m/M67/{file}", path.read_bytes())
    apogee_instrument = get_instrument("apogee")
    found = get(ids).raise_for_failures()
    prepared = apogee_instrument.prepare([s for path in found.paths for s in apogee_instrument.read(path)])
    assert list(prepared.object_id) == [name.rpartition(".")[2] for name in ids]
    assert np.mean(~prepared.mask) > 0.5
