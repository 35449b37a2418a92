"""One operator for velocity and grid: against two peers, conservation, a Monte Carlo, masks and gaps."""

import astropy.units as u
import numpy as np
import pytest
import spectres
from astropy.nddata import InverseVariance
from specutils import Spectrum
from specutils.manipulation import FluxConservingResampler

from specalign.instruments.resampling import doppler_factor, pixel_edges, resample_rows
from specalign.io.quality import COMMON_BITS, bit_value

UNCOVERED = bit_value(COMMON_BITS, "UNCOVERED")
PARTIAL = bit_value(COMMON_BITS, "PARTIAL")
GRIDS = {
    "finer": np.linspace(5010.0, 5390.0, 700),
    "coarser": np.linspace(5010.0, 5390.0, 113),
    "log": 10 ** np.arange(np.log10(5010), np.log10(5390), 1e-4),
}


@pytest.fixture
def wavelength():
    return 5000.0 * (1 + 2e-4) ** np.arange(390)


@pytest.fixture
def rows(wavelength):
    rng = np.random.default_rng(0)
    flux = 100 + 10 * rng.standard_normal((3, wavelength.size))
    return flux, rng.uniform(0.5, 2.0, flux.shape), np.ones(flux.shape, bool), np.zeros(flux.shape, np.uint32)


def resampled(rows, wavelength, grid, factor=1.0, **changes):
    flux, ivar, good, quality = (
        changes.get(name, one) for name, one in zip(("flux", "ivar", "good", "quality"), rows, strict=True)
    )
    return resample_rows(flux, ivar, good, quality, pixel_edges(wavelength), pixel_edges(grid), factor)


@pytest.mark.parametrize("name", GRIDS)
def test_equals_specutils_in_the_interior(name, rows, wavelength):
    flux, ivar, *_ = rows
    spectrum = Spectrum(flux[0] * u.Jy, wavelength * u.AA, uncertainty=InverseVariance(ivar[0]))
    peer = FluxConservingResampler()(spectrum, GRIDS[name] * u.AA)
    ours = resampled(rows, wavelength, GRIDS[name])
    np.testing.assert_allclose(ours.flux[0, 2:-2], peer.flux.value[2:-2], rtol=1e-10)
    np.testing.assert_allclose(ours.ivar[0, 2:-2], peer.uncertainty.array[2:-2], rtol=1e-10)


@pytest.mark.parametrize("name", GRIDS)
def test_equals_spectres_in_the_interior(name, rows, wavelength):
    flux, ivar, *_ = rows
    peer, error = spectres.spectres(GRIDS[name], wavelength, flux, ivar**-0.5, verbose=False)
    ours = resampled(rows, wavelength, GRIDS[name])
    np.testing.assert_allclose(ours.flux[:, 2:-2], peer[:, 2:-2], rtol=1e-10)
    np.testing.assert_allclose(ours.ivar[:, 2:-2], error[:, 2:-2] ** -2, rtol=1e-10)


@pytest.mark.parametrize("velocity", [0.0, -350.0, 1234.5])
def test_flux_is_conserved_under_shift_and_regrid(velocity, rows, wavelength):
    flux = rows[0]
    factor = doppler_factor(velocity)
    wide = np.linspace(4800.0, 5700.0, 500)
    edges, out = pixel_edges(wavelength / factor), pixel_edges(wide)
    ours = resampled(rows, wavelength, wide, factor)
    share = resampled(rows, wavelength, wide, factor, flux=np.ones_like(flux))
    assert (share.flux[:, 1:-1] <= 1 + 1e-12).all()
    covered = np.minimum(out.upper, edges.upper[-1]) - np.maximum(out.lower, edges.lower[0])
    total = (ours.flux * np.clip(covered, 0, None)).sum(axis=1)
    np.testing.assert_allclose(total, (flux * (edges.upper - edges.lower)).sum(axis=1), rtol=1e-10)


def test_variance_agrees_with_a_monte_carlo(wavelength):
    rng = np.random.default_rng(1)
    ivar = rng.uniform(0.5, 2.0, wavelength.size)
    good = rng.random(wavelength.size) > 0.2
    draws = rng.standard_normal((2000, wavelength.size)) / np.sqrt(ivar)
    rows = (draws, np.tile(ivar, (2000, 1)), np.tile(good, (2000, 1)), np.zeros(draws.shape, np.uint32))
    ours = resampled(rows, wavelength, GRIDS["coarser"], doppler_factor(40.0))
    covered = ours.ivar[0] > 0
    ratio = ours.flux[:, covered].var(axis=0) * ours.ivar[0, covered]
    assert covered.sum() > 100
    # 2,000 draws know a variance to 3 %: the mean over pixels is held to 1 %, a pixel to 5 of its errors.
    assert abs(ratio.mean() - 1) < 0.01
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / 2000)


def test_partly_masked_pixel_has_value_and_variance_of_the_rest():
    flux, ivar = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[1.0, 2.0, 4.0, 8.0]])
    good, quality = np.array([[True, False, True, True]]), np.array([[1, 2, 4, 8]], np.uint32)
    out = resample_rows(flux, ivar, good, quality, pixel_edges(np.arange(4.0)), pixel_edges([0.5, 2.5]))
    np.testing.assert_array_equal(out.flux, [[1.0, 3.5]])
    np.testing.assert_allclose(out.ivar, [[1.0, 4 / (1 / 4 + 1 / 8)]])
    np.testing.assert_array_equal(out.quality, [[1 | PARTIAL, 4 | 8]])


def test_pixel_without_good_input_is_uncovered_and_keeps_the_reasons():
    good, quality = np.array([[True, False, False, True]]), np.array([[1, 2, 4, 8]], np.uint32)
    out = resample_rows(
        np.full((1, 4), np.nan), np.ones((1, 4)), good, quality, pixel_edges(np.arange(4.0)), pixel_edges([1.0, 2.0])
    )
    np.testing.assert_array_equal(out.quality, [[2 | UNCOVERED, 4 | UNCOVERED]])
    np.testing.assert_array_equal(out.flux, 0)
    np.testing.assert_array_equal(out.ivar, 0)


def test_rounding_of_the_axis_does_not_cover_a_masked_pixel():
    grid = 10 ** (4.179 + 6e-6 * np.arange(200))
    good = np.ones((1, 200), bool)
    good[0, 100] = False
    rows = (np.ones((1, 200)), np.ones((1, 200)), good, np.zeros((1, 200), np.uint32))
    shifted = grid * (1 + 2e-9)
    out = resampled(rows, shifted, grid)
    assert out.quality[0, 100] & UNCOVERED
    assert not out.quality[0, [99, 101]].any()


def test_masked_flux_never_leaks(rows, wavelength):
    flux, _, good, _ = rows
    good = good.copy()
    good[:, 50::7] = False
    reference = resampled(rows, wavelength, GRIDS["coarser"], good=good)
    for rubbish in (np.nan, np.inf, -np.inf, 1e30):
        other = resampled(
            rows,
            wavelength,
            GRIDS["coarser"],
            good=good,
            flux=np.where(good, flux, rubbish),
            ivar=np.where(good, rows[1], rubbish),
        )
        for one, two in zip(reference, other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_no_pixel_stretches_over_a_hole():
    centres = np.concatenate([np.arange(10.0), np.arange(50.0, 60.0)]) + 100
    edges = pixel_edges(centres)
    np.testing.assert_allclose(edges.upper - edges.lower, 1.0)
    assert edges.breaks.tolist() == [i in (0, 10, 20) for i in range(21)]


def test_a_missing_pixel_is_bridged_and_three_are_not():
    steps = np.ones(40)
    steps[20] = 3.0
    assert not pixel_edges(np.cumsum(steps)).breaks[1:-1].any()
    steps[20] = 3.01
    assert pixel_edges(np.cumsum(steps)).breaks[1:-1].sum() == 1


def test_a_gap_in_the_input_stays_a_gap(wavelength):
    keep = np.ones(wavelength.size, bool)
    keep[150:200] = False
    axis = wavelength[keep]
    rows = (
        np.ones((1, axis.size)),
        np.ones((1, axis.size)),
        np.ones((1, axis.size), bool),
        np.zeros((1, axis.size), np.uint32),
    )
    out = resampled(rows, axis, wavelength)
    np.testing.assert_array_equal((out.quality[0] & UNCOVERED) != 0, ~keep)


def test_doppler_is_relativistic_and_receding_is_positive():
    assert doppler_factor(0.0) == 1
    assert doppler_factor(100.0) > 1
    np.testing.assert_allclose(doppler_factor(0.5 * 299792.458), np.sqrt(3), rtol=1e-14)
    np.testing.assert_allclose(doppler_factor(300.0) * doppler_factor(-300.0), 1, rtol=1e-14)


def test_a_row_does_not_depend_on_its_batch_or_on_threads(wavelength):
    rng = np.random.default_rng(2)
    n = 100
    flux = rng.standard_normal((n, wavelength.size))
    good = rng.random(flux.shape) > 0.1
    quality = np.zeros(flux.shape, np.uint32)
    factor = doppler_factor(rng.uniform(-300, 300, n))
    edges, out = pixel_edges(wavelength), pixel_edges(GRIDS["finer"])
    whole = resample_rows(flux, np.ones(flux.shape), good, quality, edges, out, factor, threads=3)
    for i in (0, 31, 32, 99):
        one = resample_rows(flux[i], np.ones(flux.shape[1]), good[i], quality[i], edges, out, factor[i], threads=1)
        for a, b in zip(one, whole, strict=True):
            np.testing.assert_array_equal(a[0], b[i])
