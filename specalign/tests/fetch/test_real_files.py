"""Real files of each archive pass the checks of what comes, and are read: served in the archives' layouts from here."""

import json

import pytest
from astropy.io import fits

from specalign import get_instrument
from specalign.fetch import apogee, gaia_xp, lamost, nirspec
from specalign.tests.fetch.server import json_answer

pytestmark = pytest.mark.shared
STAR = "2M17335483-2753043"
SOURCE = "5937083312263887616"


@pytest.fixture
def spectra(shared):
    return shared / "data" / "spectra"


def test_apstar_of_dr17(spectra, server, session):
    content = (spectra / "apogee" / f"apStar-dr17-{STAR}.fits").read_bytes()
    server.add(f"/dr17/apogee/spectro/redux/dr17/stars/apo25m/000%2B02/apStar-dr17-{STAR}.fits", content)
    found = apogee(f"apo25m.000+02.{STAR}", product="apStar", base_url=server.url, session=session)
    assert get_instrument("apogee").read(found.raise_for_failures().paths[0])[0].meta["object_id"] == STAR


@pytest.mark.parametrize(("folder", "mode"), [("lamost_lrs", "lrs"), ("lamost_mrs", "mrs")])
def test_lamost(folder, mode, spectra, server, session):
    paths = sorted([*(spectra / folder).glob("*.fits"), *(spectra / folder).glob("*.fits.gz")])[:12]
    obsids = []
    for number, path in enumerate(paths, start=1):
        stated = fits.getheader(path).get("OBSID", 0)  # missing in a few files, and negative in one
        obsids.append(stated if stated > 0 else number)
        server.add(f"/dr10/v2.0/{mode}/spectrum/fits?obsid={obsids[-1]}", path.read_bytes())
    found = lamost(obsids, resolution=mode, base_url=server.url, session=session).raise_for_failures()
    assert len(found) == len(paths) > 2
    assert all(get_instrument("lamost", mode=mode).read(path) for path in found.paths)


@pytest.mark.parametrize("form", ["continuous", "sampled"])
def test_an_archive_of_datalink(form, spectra, server, session):
    """It has other products of the source too."""
    content = (spectra / "gaia_xp" / f"gaia_dr3_source_id_{SOURCE}_dl_products_fits.zip").read_bytes()
    server.services["/data-server/data"] = lambda *asked: (200, content, {})
    found = gaia_xp(SOURCE, form=form, base_url=server.url, session=session).raise_for_failures()
    spectrum = get_instrument("gaia_xp").read(found.paths[0])[0]
    assert (spectrum.meta["object_id"], spectrum.meta["product"]) == (SOURCE, f"xp-{form}")


def test_x1d(spectra, server, session):
    file = "jw02736-o007_s06355_nirspec_f290lp-g395m_x1d.fits"
    name = file.removesuffix("_x1d.fits")
    rows = {
        "Mast.Caom.Filtered": [{"obsid": 1, "obs_id": name, "filters": "F290LP;G395M"}],
        "Mast.Caom.Products": [{"obsID": 1, "productFilename": file, "dataURI": f"mast:JWST/product/{file}"}],
    }

    def answer(query, form, handler):
        service = json.loads(form["request"][0])["service"]
        return json_answer({"status": "COMPLETE", "data": rows[service]})

    server.services["/api/v0/invoke"] = answer
    content = (spectra / "nirspec" / file).read_bytes()
    server.add(f"/api/v0.1/Download/file?uri=mast:JWST/product/{file}", content)
    found = nirspec(name, disperser="g395m", base_url=server.url, session=session).raise_for_failures()
    assert get_instrument("nirspec", disperser="g395m", filter="f290lp").read(found.paths[0])
