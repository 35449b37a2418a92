"""Normalisation: what it recovers, that noise does not move it, and that masked pixels do not exist for it."""

import numpy as np
import pytest

from specalign.instruments.continuum import MedianFlux, Pivot, fit_continuum, segments_of
from specalign.io.quality import COMMON_BITS, bit_value

BIT = bit_value(COMMON_BITS, "NORMALIZATION")
N = 3000


@pytest.fixture
def spectrum():
    """A curved continuum with lines of 5 % of the light, as a giant has them."""
    x = np.linspace(-1, 1, N)
    continuum = 1000 * (1 + 0.3 * x - 0.2 * x**2)
    rng = np.random.default_rng(3)
    centres, depths = rng.uniform(0, N, 250), rng.exponential(0.12, 250).clip(0, 0.7)
    lines = 1 - np.einsum("j,ij->i", depths, np.exp(-0.5 * ((np.arange(N)[:, None] - centres) / 2) ** 2))
    return continuum, continuum * lines.clip(0.1)


def noisy(flux, snr, n=40, seed=0):
    """Noise and its ivar: of photons where the signal to noise is high, of the sky where it is low."""
    rng, variance = np.random.default_rng(seed), variance_of(flux, snr)
    return flux + np.sqrt(variance) * rng.standard_normal((n, flux.size)), np.broadcast_to(1 / variance, (n, flux.size))


def variance_of(flux, snr):
    level = np.median(flux)
    return (flux * level + (20 / snr) ** 2 * level**2) / snr**2


def fit(flux, ivar, good=None, **options):
    flux = np.atleast_2d(flux)
    good = np.ones(flux.shape, bool) if good is None else good
    return fit_continuum(flux, np.broadcast_to(ivar, flux.shape), good, [[0, flux.shape[1]]], **options)


def test_recovers_a_polynomial(spectrum):
    norm, quality = fit(spectrum[0], 1.0)
    np.testing.assert_allclose(norm[0], spectrum[0], rtol=1e-9)
    assert not quality.any()


def test_follows_the_continuum_at_the_level_of_the_mean_line(spectrum):
    continuum, flux = spectrum
    norm, _ = fit(flux, 1e4 / flux**2)
    ratio = norm[0] / continuum
    assert 0.85 < ratio.mean() < 1.0
    assert ratio.std() < 0.02


@pytest.mark.parametrize("snr", [10, 20, 50, 1000])
def test_noise_does_not_move_it(snr, spectrum):
    _, flux = spectrum
    reference, _ = fit(flux, 1 / variance_of(flux, 300))
    norm, _ = fit(*noisy(flux, snr))
    bias = (norm / reference).mean()
    assert abs(bias - 1) < 0.005


def test_cosmic_rays_do_not_move_it(spectrum):
    _, flux = spectrum
    hit = flux.copy()
    hit[::150] *= 20
    ivar = 100**2 / flux**2
    np.testing.assert_allclose(fit(hit, ivar)[0], fit(flux, ivar)[0], rtol=0.01)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e30, -1e30])
def test_masked_pixels_do_not_exist(rubbish, spectrum):
    _, flux = spectrum
    good = np.random.default_rng(1).random((1, N)) > 0.2
    ivar = np.full((1, N), 1e-2)
    norm, quality = fit(flux, ivar, good)
    other, bits = fit(np.where(good, flux, rubbish), np.where(good, ivar, rubbish), good)
    np.testing.assert_array_equal(norm, other)
    np.testing.assert_array_equal(quality, bits)


def test_segments_are_independent(spectrum):
    _, flux = spectrum
    step = np.where(np.arange(N) < 1400, flux, 7 * flux)[None]
    ivar, good = 1e4 / step**2, np.ones((1, N), bool)
    norm, _ = fit_continuum(step, ivar, good, [[0, 1400], [1400, N]])
    left, _ = fit_continuum(step[:, :1400].copy(), ivar[:, :1400], good[:, :1400], [[0, 1400]])
    np.testing.assert_array_equal(norm[:, :1400], left)
    assert 5 < norm[0, 1400] / norm[0, 1399] < 9


def test_a_wide_gap_splits_a_segment(spectrum):
    _, flux = spectrum
    step = np.where(np.arange(N) < 1400, flux, 7 * flux)
    good = np.ones((1, N), bool)
    good[0, 1350:1450] = False
    split, _ = fit(step, 1e4 / step**2, good, max_gap=50)
    whole, _ = fit(step, 1e4 / step**2, good, max_gap=200)
    normalized = (step / split)[good]
    assert normalized[good[0][:1350].sum() :].mean() == pytest.approx(1, abs=0.05)
    assert np.std(step[good[0]] / whole[0][good[0]]) > 2 * np.std(step[good[0]] / split[0][good[0]])


@pytest.mark.parametrize("level", [0.0, -5.0])
def test_flux_that_is_not_positive_is_flagged(level):
    norm, quality = fit(np.full((1, 100), level), 1.0)
    np.testing.assert_array_equal(norm, 1)
    np.testing.assert_array_equal(quality, BIT)


def test_few_pixels_get_a_polynomial_of_low_degree():
    good = np.zeros((1, 500), bool)
    good[0, [10, 200, 490]] = True
    norm, quality = fit(np.full((1, 500), 3.0), 1.0, good)
    np.testing.assert_allclose(norm[good], 3.0)
    assert not quality.any()


def test_segments_cover_ranges_of_wavelength():
    np.testing.assert_array_equal(segments_of(np.arange(10.0), (2.0, 5.0), (5.0, 99.0)), [[2, 5], [5, 10]])


def test_median_and_pivot_use_good_pixels_only():
    flux = np.array([[1.0, np.nan, 3.0, 5.0], [1.0, 1.0, 1.0, -1.0]])
    good = np.array([[True, False, True, True], [True, True, True, True]])
    for rule, expected, flagged in ((MedianFlux(), [3.0, 1.0], [0, 0]), (Pivot(3), [5.0, 1.0], [0, BIT])):
        norm, quality = np.empty(flux.shape), np.zeros(flux.shape, np.uint32)
        rule.fill(flux, np.ones(flux.shape), good, norm, quality)
        np.testing.assert_array_equal(norm[:, 0], expected)
        np.testing.assert_array_equal(quality[:, 0], flagged)
