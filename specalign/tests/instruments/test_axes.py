"""Spectral axes and units at the border."""

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specutils.utils.wcs_utils import vac_to_air

from specalign.exceptions import SpectrumError, SpectrumUnitError
from specalign.instruments.axes import FLUX_DENSITY, flux_scale, preferred_unit, vacuum_angstrom

AXIS = np.linspace(4000.0, 9000.0, 200)


@pytest.mark.parametrize("unit", ["nm", "um", "m", "1/cm", "THz", "eV"])
def test_any_spectral_unit_gives_the_same_wavelengths(unit):
    values, _ = vacuum_angstrom((AXIS * u.AA).to(unit, u.spectral()))
    np.testing.assert_allclose(values, AXIS, rtol=1e-12)


def test_a_decreasing_axis_is_turned_round():
    values, flipped = vacuum_angstrom(AXIS[::-1] * u.AA)
    np.testing.assert_array_equal(values, AXIS)
    assert flipped


def test_air_is_converted_to_vacuum_and_back():
    air = np.array([4861.323, 6562.80, 16000.0]) * u.AA
    vacuum, _ = vacuum_angstrom(air, "air")
    np.testing.assert_allclose(vacuum - air.value, [1.358, 1.812, 4.370], atol=2e-3)
    np.testing.assert_allclose(vac_to_air(vacuum * u.AA, method="Morton2000").value, air.value, rtol=0, atol=1e-5)


@settings(max_examples=200)
@given(
    index=st.integers(0, 199),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, "duplicate", "swap"]),
    reverse=st.booleans(),
)
def test_every_bad_axis_is_refused_at_its_first_bad_pixel(index, value, reverse):
    axis = AXIS[::-1].copy() if reverse else AXIS.copy()
    if value in ("duplicate", "swap"):
        index = min(max(index, 2), 196)
        axis[[index, index + 1]] = axis[[index, index]] if value == "duplicate" else axis[[index + 1, index]]
        expected = {index, index + 1}
    else:
        axis[index] = value
        expected = {index}
    with pytest.raises(SpectrumError, match=r"spectral_axis: expected .* at index (\d+)") as caught:
        vacuum_angstrom(axis * u.AA)
    found = int(str(caught.value).split("at index ")[1].split()[0])
    assert found in expected


@pytest.mark.parametrize("axis", [np.ones((2, 3)), np.array([5000.0]), np.zeros(0)])
def test_shapes_that_are_no_axis_are_refused(axis):
    with pytest.raises(SpectrumError, match="one dimension of two pixels or more"):
        vacuum_angstrom(axis * u.AA)


def test_flux_densities_have_one_unit_and_others_keep_theirs():
    assert preferred_unit(u.Jy) == preferred_unit(u.W / u.m**2 / u.nm) == FLUX_DENSITY
    assert preferred_unit(u.electron) == u.electron
    np.testing.assert_allclose(flux_scale(u.Jy, FLUX_DENSITY, AXIS), 1e17 * 2.99792458e-5 / AXIS**2, rtol=1e-12)
    assert flux_scale(u.ct, u.ct, AXIS) == 1.0


def test_units_of_another_kind_are_both_named():
    with pytest.raises(SpectrumUnitError, match=r"convertible to 'ct', got 'Jy'"):
        flux_scale(u.Jy, u.ct, AXIS)
