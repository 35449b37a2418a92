"""The true archives, a few objects each: run with ``pytest --remote-data specalign/tests/fetch/test_remote.py``.

The names are of files that the archives' own documentation, or public collections of their files, show.
"""

import pytest

from specalign import get_instrument
from specalign.fetch import Session, apogee, gaia_xp, lamost, nirspec

pytestmark = pytest.mark.remote_data
STAR = "2M17335483-2753043"


@pytest.fixture
def session(tmp_path):
    return Session(cache=tmp_path, progress=False)


def readable(found, name, **options):
    found.raise_for_failures()
    return [spectrum for path in found.paths for spectrum in get_instrument(name, **options).read(path)]


@pytest.mark.parametrize("product", ["aspcapStar", "apStar"])
def test_apogee_by_target_id(product, session):
    found = apogee(f"apo25m.000+02.{STAR}", product=product, session=session)
    assert readable(found, "apogee")[0].meta["object_id"] == STAR


@pytest.mark.parametrize("product", ["aspcapStar", "apVisit"])
def test_apogee_by_name(product, session):
    assert readable(apogee(STAR, product=product, session=session), "apogee")


def test_mwmstar(session):
    assert readable(apogee(114879184, release="dr19", product="mwmStar", session=session), "apogee")


def test_lamost_low_resolution(session):
    assert len(readable(lamost([437513049, 870813030], session=session), "lamost")) == 2


def test_lamost_medium_resolution(session):
    found = lamost(738709169, release="dr11", resolution="mrs", session=session)
    assert readable(found, "lamost", mode="mrs")


@pytest.mark.parametrize("form", ["continuous", "sampled"])
def test_gaia_xp(form, session):
    found = gaia_xp([5937083312263887616, 5853498713190525696], form=form, session=session)
    assert len(readable(found, "gaia_xp")) == 2


def test_nirspec(session):
    # The archive has written the number of the source with five digits, and later with nine.
    names = [f"jw02736-o007_s{number}_nirspec_f290lp-g395m" for number in ("06355", "000006355")]
    found = nirspec(names, disperser="g395m", session=session)
    assert found.counts()["downloaded"] == 1
    assert get_instrument("nirspec", disperser="g395m", filter="f290lp").read(found.paths[0])


def test_what_is_not_there_is_missing(session):
    assert list(lamost(1, session=session)["status"]) != ["downloaded"]
    assert list(apogee(f"apo25m.M67.{STAR}", session=session)["status"]) == ["missing"]
    assert list(gaia_xp(1, session=session)["status"]) == ["missing"]
