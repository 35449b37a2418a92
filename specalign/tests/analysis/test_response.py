"""The smooth ratio of observed to expected spectra: what it recovers, with which error, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specalign.analysis import flux_calibration
from specalign.exceptions import GridMismatchError, MatchError, SpectrumError
from specalign.testing.stars import observe

N, P = 200, 120
STARS = [f"star {i}" for i in range(N)]


def curves(n=N, p=P, seed=4):
    """Parabolas (n, p) of some per cent around 1."""
    x = np.linspace(-1, 1, p)
    c = np.random.default_rng(seed).normal(size=(n, 3)) * 0.05
    return 1 + c[:, :1] + c[:, 1:2] * x + c[:, 2:] * x**2


def pair(stars=STARS, noise=0.02, doubt=0.01):
    """Observed spectra with an error of the flux calibration, expected ones, and the error."""
    observed = observe("mine", stars, P, seed=1, noise=noise)
    expected = observe("mine", stars, P, seed=2, noise=doubt)
    curve = curves(len(stars))
    observed.flux *= curve
    observed.ivar /= curve.astype(np.float32) ** 2
    return observed, expected, curve


@pytest.mark.parametrize("degree", [2, 4])
def test_a_known_curve_is_recovered_within_its_error(degree):
    observed, expected, curve = pair()
    found = flux_calibration(observed, expected, degree)
    pull = (found.ratio - curve) / found.error
    assert pull.std() == pytest.approx(1, abs=0.08)
    assert abs(pull.mean()) < 0.15
    assert np.mean(found.chi2) == pytest.approx(1, abs=0.03)


def test_a_degree_too_low_shows_in_chi_square():
    observed, expected, _ = pair(noise=0.002, doubt=0.001)
    assert np.median(flux_calibration(observed, expected, 0).chi2) > 10
    assert np.median(flux_calibration(observed, expected, 2).chi2) < 1.5


def test_errors_that_pixels_share_make_the_ratio_uncertain():
    observed, expected, curve = pair(doubt=0.001)
    rng, slope = np.random.default_rng(6), np.linspace(-1, 1, P)
    scale = np.full((N, 1), 0.03, np.float32)
    expected.flux += scale * rng.normal(size=(N, 1)) * slope
    expected.ivar = np.where(expected.mask, 0, 1 / (1e-6 + (scale * slope) ** 2)).astype(np.float32)
    alone = flux_calibration(observed, expected, 2)
    expected = dataclasses.replace(expected, covariance_factor=(scale, slope[None]))
    known = flux_calibration(observed, expected, 2)
    np.testing.assert_allclose(known.ratio, alone.ratio)
    pulls = [((one.ratio - curve) / one.error)[:, [0, -1]].std() for one in (alone, known)]
    assert pulls[0] > 2
    assert pulls[1] == pytest.approx(1, abs=0.15)


@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_masked_values_change_nothing(seed, value):
    observed, expected, _ = pair(STARS[:3])
    before = flux_calibration(observed, expected, 2)
    bad = np.random.default_rng(seed).random(observed.mask.shape) < 0.5
    for spectra in (observed, expected):
        spectra.flux[spectra.mask & bad] = value
        spectra.ivar[spectra.mask & bad] = 1  # a mask is enough
    after = flux_calibration(observed, expected, 2)
    assert np.array_equal(before.ratio, after.ratio)
    assert np.array_equal(before.error, after.error)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_units_of_the_fluxes_only_scale_the_ratio(a, b):
    observed, expected, _ = pair(STARS[:3])
    before = flux_calibration(observed, expected, 2)
    for spectra, factor in ((observed, a), (expected, b)):
        spectra.flux *= np.float32(factor)
        spectra.ivar /= np.float32(factor) ** 2
    after = flux_calibration(observed, expected, 2)
    np.testing.assert_allclose(after.ratio, before.ratio * a / b, rtol=1e-4)
    np.testing.assert_allclose(after.error, before.error * a / b, rtol=1e-4)
    np.testing.assert_allclose(after.chi2, before.chi2, rtol=1e-3)


def test_the_calibrated_spectra_are_nearer_and_their_errors_still_right():
    observed, expected, _ = pair()
    observed.flux, observed.ivar = 2 * observed.flux, observed.ivar / 4
    fixed = flux_calibration(observed, expected, 2).apply(observed)
    truth = observe("mine", STARS, P, noise=1e-6)
    good = ~fixed.mask & ~truth.mask
    assert (fixed.flux - truth.flux)[good].std() < 0.6 * (observed.flux / 2 - truth.flux)[good].std()
    pull = ((fixed.flux - truth.flux) * np.sqrt(fixed.ivar))[good]
    assert pull.std() == pytest.approx(1, abs=0.05)
    assert (fixed.ivar[fixed.mask] == 0).all()
    assert fixed.object_id.tolist() == observed.object_id.tolist()


def test_no_rows_and_one_row():
    observed, expected, _ = pair(STARS[:1])
    assert flux_calibration(observed[:0], expected[:0]).ratio.shape == (0, P)
    assert flux_calibration(observed, expected).error.shape == (1, P)


@pytest.mark.parametrize("degree", [-1, 1.5, True, None])
def test_a_degree_is_a_whole_number(degree):
    observed, expected, _ = pair(STARS[:1])
    with pytest.raises(ValueError, match="degree: expected a whole number"):
        flux_calibration(observed, expected, degree)


def test_other_stars_other_grids_and_continuum_normalised_spectra_are_refused():
    observed, expected, _ = pair(STARS[:3])
    with pytest.raises(MatchError, match="same stars, row by row"):
        flux_calibration(observed, expected[::-1])
    with pytest.raises(GridMismatchError):
        flux_calibration(observed, observe("mine", STARS[:3], P + 1))
    whole = dataclasses.replace(observed, norm=np.ones(observed.flux.shape))
    with pytest.raises(SpectrumError, match="normalization='median'"):
        flux_calibration(whole, expected)
    with pytest.raises(SpectrumError, match="'coefficient'"):
        flux_calibration(dataclasses.replace(observed, axis_kind="coefficient"), expected)


@pytest.mark.parametrize("number", [0, 1])
def test_pixels_that_are_not_finite_are_named(number):
    spectra = pair(STARS[:3])[:2]
    spectra[number].flux[1, np.flatnonzero(~spectra[number].mask[1])[0]] = np.nan
    with pytest.raises(SpectrumError, match="mine-star 1-0"):
        flux_calibration(*spectra, degree=2)


def test_too_few_pixels_are_named():
    observed, expected, _ = pair(STARS[:3])
    observed.mask[1, 4:], observed.ivar[1, 4:] = True, 0
    with pytest.raises(SpectrumError, match=r"mine-star 1-0 \(and 0 more\): expected at least 5 pixels"):
        flux_calibration(observed, expected, 3)


def test_a_calibration_is_for_its_own_rows_and_positive():
    observed, expected, _ = pair(STARS[:3])
    found = flux_calibration(observed, expected, 2)
    with pytest.raises(MatchError, match="in their order"):
        found.apply(observed[::-1])
    negative = dataclasses.replace(found, ratio=-found.ratio)
    with pytest.raises(SpectrumError, match=r"mine-star 0-0 \(and 2 more\): the ratio is not positive"):
        negative.apply(observed)
