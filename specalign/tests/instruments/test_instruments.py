"""Grids, options and contracts of the built-in instruments, and a line that each must find again."""

import json

import astropy.units as u
import numpy as np
import pytest
from specutils.utils.wcs_utils import vac_to_air

from specalign.exceptions import PluginError, SpectrumError, UnknownPluginError
from specalign.instruments import get_instrument
from specalign.instruments.apogee import Apogee
from specalign.instruments.contract import CLAUSES, check_contract
from specalign.instruments.masking import DetectorGap
from specalign.instruments.prepared import grid_digest
from specalign.instruments.resampling import doppler_factor
from specalign.tests.instruments.conftest import MODES

LINES = {"apogee": 16000.0, "nirspec": 12000.0, "lamost": 6500.0, "gaia_xp": 10000.0}


def test_apogee_has_the_grid_of_apstar(apogee):
    np.testing.assert_allclose(apogee.spectral_axis.value, 10 ** (4.179 + 6e-6 * np.arange(8575)), rtol=1e-12)
    assert np.count_nonzero(~apogee.outside) == 7514


def test_nirspec_has_two_pixels_a_resolution_element():
    nirspec = get_instrument("nirspec")
    axis = nirspec.spectral_axis.to_value("AA")
    np.testing.assert_allclose(np.diff(np.log(axis)), 1 / 5400, rtol=1e-9)
    assert axis[0] == 9700
    assert 18890 < axis[-1] <= 18900


def test_nirspec_has_the_grid_of_the_published_mock():
    axis = get_instrument("nirspec", grid="seeds").spectral_axis.to_value("um")
    np.testing.assert_allclose(axis, np.linspace(0.9, 1.8, 8192))


def test_lamost_steps_in_log_wavelength_and_has_two_arms():
    low, medium = get_instrument("lamost"), get_instrument("lamost", mode="mrs")
    np.testing.assert_allclose(np.diff(np.log10(low.spectral_axis.value)), 1e-4, rtol=1e-9)
    assert low.spectral_axis[0] >= 3700 * u.AA
    steps = np.diff(np.log10(medium.spectral_axis.value))
    assert np.count_nonzero(np.abs(steps / 1e-5 - 1) > 1e-6) == 1
    assert np.count_nonzero(medium.edges.breaks) == 3


def test_gaia_xp_samples_every_two_nanometres():
    np.testing.assert_allclose(get_instrument("gaia_xp").spectral_axis.to_value("nm"), np.arange(336, 1021, 2.0))
    assert get_instrument("gaia_xp", form="coefficients").axis_kind == "coefficient"


@pytest.mark.parametrize(("name", "options"), MODES)
def test_options_make_the_same_instrument_again(name, options):
    one = get_instrument(name, **options)
    two = get_instrument(name, **json.loads(json.dumps(one.options)))
    assert one.record == two.record
    assert one.grid_digest == grid_digest(one.spectral_axis.to(u.um))
    assert one.lsf_sigma.unit == u.AA
    assert (one.lsf_sigma > 0).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nirspec", {"disperser": "g140h", "filter": "clear"}, "got g140h/clear"),
        ("nirspec", {"grid": "mine"}, "grid: expected 'native'"),
        ("lamost", {"mode": "hrs"}, "mode: expected one of lrs, mrs, got 'hrs'"),
        ("gaia_xp", {"form": "raw"}, "form: expected 'sampled' or 'coefficients'"),
        ("apogee", {"normalization": "pivot"}, "normalization: expected one of continuum, median, none, got 'pivot'"),
    ],
)
def test_unknown_options_are_refused(name, options, message):
    with pytest.raises(SpectrumError, match=message):
        get_instrument(name, **options)


def test_options_that_do_not_exist_and_unknown_names_are_refused():
    with pytest.raises(PluginError, match=r"'apogee' does not take the options \['colour'\]"):
        get_instrument("apogee", colour="red")
    with pytest.raises(UnknownPluginError, match="no instrument plugin is called 'apoge'"):
        get_instrument("apoge")


@pytest.mark.parametrize(
    ("attribute", "value", "clause"),
    [
        ("name", "", "name is a non-empty str"),
        ("spectral_axis", np.arange(3.0) * u.AA, "grid_digest"),
        ("spectral_axis", np.array([2.0, 1.0]) * u.AA, "increasing"),
        ("spectral_axis", np.array([1.0, 2.0]) * u.um, "in Angstrom"),
        ("lsf_sigma", np.ones(3) * u.AA, "lsf_sigma"),
        ("products", ["apStar"], "products"),
        ("quality_bits", {"DEAD": 0}, "quality_bits"),
        ("bad_bits", 2**32 - 1, "bad_bits"),
        ("defects", ("COSMIC",), "gaps and defects"),
        ("gaps", (DetectorGap(5000.0, 5001.0, 10.0, ("HOLE",)),), "gaps and defects"),
        ("gaps", (DetectorGap(5001.0, 5000.0, 10.0, ("MASKED",)),), "gaps and defects"),
        ("mask_version", 1, "mask_version"),
        ("version", 1, "version and citation"),
        ("citation", None, "version and citation"),
        ("options", {"grid": np.float32}, "options survive JSON"),
        ("record", None, "record"),
        ("prepare", None, "can be called"),
    ],
)
def test_a_broken_contract_is_named(attribute, value, clause):
    digest = Apogee().grid_digest if "digest" in clause else None
    members = {attribute: value, "__init__": lambda self: None, "options": {}, "lsf_sigma": None}
    members |= {"spectral_axis": [5000.0, 5001.0] * u.AA, "bad_bits": 1, attribute: value}
    if digest:
        members["grid_digest"] = digest
    broken = type("Broken", (Apogee,), members)
    with pytest.raises(PluginError, match=f"breaks the contract: .*{clause}"):
        check_contract(broken())


def test_every_clause_of_the_contract_has_a_test_that_breaks_it():
    assert len(CLAUSES) == 14


def observed_line(instrument, velocity, medium):
    """A spectrum with one line, on a grid of its own, as a telescope would see it; with its rest wavelength."""
    centre = LINES[instrument.name]
    grid = instrument.spectral_axis.to_value("AA")
    pixel = np.interp(centre, grid[:-1], np.diff(grid))
    centre = centre + 0.37 * pixel
    rest = np.arange(centre - 150 * pixel, centre + 150 * pixel, 0.73 * pixel)
    flux = 1 - 0.5 * np.exp(-0.5 * ((rest - centre) / (1.5 * pixel)) ** 2)
    observed = rest * doppler_factor(velocity) * u.AA
    return flux, (vac_to_air(observed, method="Morton2000") if medium == "air" else observed), centre


def recovered(instrument, velocity, medium, stated):
    """Pixels between the line found and where it should be."""
    instrument.min_good_fraction = 0.001
    flux, axis, centre = observed_line(instrument, velocity, medium)
    prepared = instrument.prepare_arrays(
        flux[None],
        np.full((1, flux.size), 1e4),
        spectral_axis=axis,
        object_id=["s"],
        normalized=True,
        medium=stated,
        frame="barycentric",
        radial_velocity=velocity * u.km / u.s,
    )
    depth = np.where(prepared.mask[0], 0, 1 - prepared.flux[0].astype(float)).clip(0.02) - 0.02
    position = (depth * np.arange(depth.size)).sum() / depth.sum()
    return position - np.interp(centre, instrument.spectral_axis.value, np.arange(depth.size))


@pytest.mark.parametrize("medium", ["vacuum", "air"])
@pytest.mark.parametrize("name", LINES)
def test_a_line_is_found_within_a_tenth_of_a_pixel(name, medium):
    velocity = 0.0 if name == "gaia_xp" else 87.3
    assert abs(recovered(get_instrument(name), velocity, medium, medium)) < 0.1


@pytest.mark.parametrize(("medium", "stated"), [("air", "vacuum"), ("vacuum", "air")])
@pytest.mark.parametrize("name", LINES)
def test_a_wrong_medium_is_more_than_a_tenth_of_a_pixel(name, medium, stated):
    velocity = 0.0 if name == "gaia_xp" else 87.3
    assert abs(recovered(get_instrument(name), velocity, medium, stated)) > 0.1
