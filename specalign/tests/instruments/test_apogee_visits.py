"""apVisit and mwmStar files on the grid of APOGEE, at rest; visits beside the combined spectrum of the same star."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from specalign.exceptions import VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.resampling import doppler_factor
from specalign.tests.io import synthetic

KMS = u.km / u.s
FAST, SLOW = "2M12241699+2453335", "2M19535443+4424541"
# Visit and its place in the apStar of the same star, whose VRAD1, VRAD2, ... are right.
VISITS = {FAST: ("apVisit-2M12241699+2453335-1.fits", 2), SLOW: ("apVisit-2M19535443+4424541-0.fits", 0)}
# OH lines in vacuum: Rousselot et al. 2000, A&A 354, 1134.
AIRGLOW = (15287.79, 15332.40, 15395.33, 15597.63, 16030.83, 16692.38)


@pytest.fixture(scope="module")
def apogee():
    return get_instrument("apogee")


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data" / "spectra" / "apogee"


@pytest.fixture(scope="module", params=[FAST, SLOW])
def star(request, apogee, folder):
    """A visit as observed, the same visit and the combined spectrum prepared from the apStar, and the velocities."""
    file, place = VISITS[request.param]
    with pytest.warns(VelocityWarning, match="is doubtful"):
        (visit,) = apogee.read(folder / file)
    path = folder / f"apStar-r6-{request.param}.fits"
    same, combined = apogee.read(path, visits="all")[place], apogee.read(path)
    assert visit.meta["visit"] == same.meta["visit"]
    velocity = same.meta["header"][f"VRAD{place + 1}"]
    return visit, apogee.prepare(same), apogee.prepare(combined), velocity


def scatter(one, two):
    """Differences in units of the noise, as 1.48 times their median: few pixels of one visit have wrong errors."""
    good = ~(one.mask[0] | two.mask[0])
    assert good.sum() > 2800
    sigma = np.sqrt(1 / one.ivar[0, good] + 1 / two.ivar[0, good])
    return 1.4826 * np.median(np.abs(one.flux[0, good] - two.flux[0, good]) / sigma)


def test_a_visit_at_rest_is_the_visit_of_the_combined_file(star, apogee):
    visit, same, combined, velocity = star
    prepared = apogee.prepare(visit, radial_velocity=velocity * KMS)
    assert set(prepared.catalog["frame"]) == {"rest"}
    assert scatter(prepared, same) < 0.35
    assert scatter(prepared, combined) < 1.0


# On that day the slow star moved with the Earth: twice nothing is nothing.
@pytest.mark.parametrize(
    ("star", "wrong"),
    [
        *((FAST, wrong) for wrong in ("file's own", "heliocentric", "twice", "none")),
        *((SLOW, wrong) for wrong in ("file's own", "heliocentric")),
    ],
    indirect=["star"],
)
def test_another_velocity_fails_by_a_wide_margin(wrong, star, apogee):
    visit, same, _, velocity = star
    correction = visit.meta["barycentric_correction"].value
    number = {
        "file's own": visit.meta["radial_velocity"].value,
        "heliocentric": velocity + correction,
        "twice": 2 * velocity,
        "none": 0.0,
    }[wrong]
    right = scatter(apogee.prepare(visit, radial_velocity=velocity * KMS), same)
    assert scatter(apogee.prepare(visit, radial_velocity=number * KMS), same) > 3 * right


@pytest.mark.parametrize("velocity", [-250.0, 0.0, 583.0])
@pytest.mark.parametrize("rest", [15300.0, 16150.0, 16700.0])
def test_a_line_lands_at_its_rest_wavelength(velocity, rest, apogee, tmp_path):
    centre = rest * doppler_factor(velocity)

    def profile(wavelength):
        return 100 - 60 * np.exp(-0.5 * ((wavelength - centre) / 0.4) ** 2)

    path = tmp_path / "a.fits"
    header = {"VRAD": velocity, "BC": 20.0, "VHELIO": velocity + 20}
    synthetic.apvisit(path, header=header, profile=profile, n=4096)
    prepared = get_instrument("apogee", normalization="none").prepare(apogee.read(path))
    assert prepared.catalog["velocity_applied"][0] == velocity * KMS
    near = np.abs(prepared.spectral_axis.value - rest) < 3
    depth = 100 - prepared.flux[0, near]
    found = (depth * prepared.spectral_axis.value[near]).sum() / depth.sum()
    assert abs(found - rest) < 0.1 * 0.22


def test_without_a_velocity_a_visit_stays_as_observed(apogee, tmp_path):
    path = tmp_path / "a.fits"
    synthetic.apvisit(path, n=4096, header={"VRAD": -9999.0, "VHELIO": -9999.0})
    with pytest.warns(VelocityWarning, match="stay in the observed frame"):
        prepared = apogee.prepare(apogee.read(path))
    assert (prepared.catalog["frame"][0], prepared.catalog["velocity_source"][0]) == ("observed", "none")


def test_an_mwmstar_is_not_moved(apogee, tmp_path):
    path = tmp_path / "a.fits"
    synthetic.mwmstar(path, telescopes=("apo25m", "lco25m"), n=8575)
    prepared = apogee.prepare(apogee.read(path))
    assert prepared.catalog["frame"].tolist() == ["rest", "rest"]
    assert prepared.catalog["velocity_applied"].value.tolist() == [0, 0]
    assert prepared.catalog["radial_velocity"].value.tolist() == [115.5, 115.5]


def test_the_axis_is_vacuum_and_observed(apogee, folder):
    """The airglow in the sky spectrum of each file is where the laboratory has it, whatever the barycentric velocity.

    Air wavelengths would be off by 4 Angstrom, a barycentric axis by 0.5 or more.
    """
    paths = sorted(folder.glob("apVisit*.fits"))
    assert len(paths) == 4
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VelocityWarning)
            axis = apogee.read(path)[0].spectral_axis.to_value(u.AA)
        sky = fits.getdata(path, 5).ravel().astype(float)
        for line in AIRGLOW:
            near = np.abs(axis - line) < 1
            excess = sky[near] - np.median(sky[np.abs(axis - line) < 10])
            assert abs((excess * axis[near]).sum() / excess.sum() - line) < 0.1
