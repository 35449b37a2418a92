"""Axes of spectra in units of their noise."""

import numpy as np
import pytest
import torch

from specalign.encoders.factors import FactorAnalysis
from specalign.encoders.principal_axes import Whitening, principal_axes, whitening

N, P = 3000, 80
SIGMA = np.where(np.arange(P) < P // 2, 0.01, 1.0)


def angle(axes, direction, sigma=1.0):
    """Sine of the angle between a direction and the space of the axes, in units of the noise."""
    axes, direction = np.asarray(axes, float) / np.reshape(sigma, (-1, 1)), direction / sigma
    q = np.linalg.qr(axes)[0]
    rest = direction - q @ (q.T @ direction)
    return np.linalg.norm(rest) / np.linalg.norm(direction)


def seen(seed=0, missing=0.0):
    """A faint direction in quiet pixels, and a conspicuous one in loud pixels."""
    rng = np.random.default_rng(seed)
    quiet, loud = np.zeros(P), np.zeros(P)
    quiet[: P // 2], loud[P // 2 :] = 0.01 * rng.normal(size=P // 2), 0.2 * rng.normal(size=P // 2)
    flux = rng.normal(size=(N, 1)) * quiet + rng.normal(size=(N, 1)) * loud + SIGMA * rng.normal(size=(N, P))
    good = rng.random((N, P)) >= missing
    ivar = np.where(good, SIGMA**-2.0, 0)
    return [torch.tensor(a, dtype=torch.float32) for a in (np.where(good, flux, 0), ivar)], quiet, loud


def test_an_axis_counts_in_units_of_the_noise():
    (flux, ivar), quiet, loud = seen()
    axes = principal_axes(flux, ivar > 0, whitening(ivar, None, None), 1, seed=0)
    assert angle(axes, quiet, SIGMA) < 0.1
    assert angle(axes, loud, SIGMA) > 0.9


def test_axes_are_as_long_as_the_spread_of_the_signal():
    (flux, ivar), quiet, _ = seen()
    axes = principal_axes(flux, ivar > 0, whitening(ivar, None, None), 1, seed=0)
    np.testing.assert_allclose(np.linalg.norm(axes.numpy().T / SIGMA), np.linalg.norm(quiet / SIGMA), rtol=0.05)


def test_missing_pixels_do_not_shorten_an_axis():
    (flux, ivar), quiet, _ = seen(missing=0.4)
    axes = principal_axes(flux, ivar > 0, whitening(ivar, None, None), 1, seed=0)
    assert angle(axes, quiet, SIGMA) < 0.15
    np.testing.assert_allclose(np.linalg.norm(axes.numpy().T / SIGMA), np.linalg.norm(quiet / SIGMA), rtol=0.1)


def test_only_what_is_missing_is_filled():
    (flux, ivar), *_ = seen(missing=0.2)
    before, good = flux.clone(), ivar > 0
    principal_axes(flux, good, whitening(ivar, None, None), 2, seed=0)
    assert torch.equal(flux[good], before[good])
    assert not torch.equal(flux[~good], before[~good])


def correlated(seed=0):
    """A faint direction outside the span of the correlated noise, and one as large as the noise within it."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(P, 30)))[0].T
    outside = rng.normal(size=P)
    outside -= basis.T @ (basis @ outside)
    outside *= 0.02 / np.linalg.norm(outside)
    scale = rng.uniform(0.1, 0.4, (N, 1)) * np.ones((1, 30))
    truth = rng.normal(size=(N, 1))
    flux = truth * outside + 0.3 * rng.normal(size=(N, 1)) * basis[0]
    flux = flux + (scale * rng.normal(size=(N, 30))) @ basis + 0.01 * rng.normal(size=(N, P))
    ivar = 1 / (scale**2 @ basis**2 + 1e-4)
    return [torch.tensor(a, dtype=torch.float32) for a in (flux, ivar, scale, basis)], truth[:, 0]


def test_a_direction_that_the_correlated_noise_leaves_alone_comes_first():
    (flux, ivar, scale, basis), truth = correlated()
    model, noise = FactorAnalysis(P, 1), {"noise_scale": scale, "noise_basis": basis}
    model.fit(flux, ivar, ivar == 0, **noise)
    found, _ = model.posterior(model.summarize(flux, ivar, ivar == 0, **noise))
    assert abs(np.corrcoef(found[:, 0], truth)[0, 1]) > 0.7


def test_the_noisier_spectra_set_the_measure():
    variance = torch.linspace(1, 5, 101)[:, None].expand(101, 3)
    white = whitening(1 / variance, None, None)
    np.testing.assert_allclose(white.root.square(), 4.2, rtol=1e-5)


def test_a_covariance_is_made_white_and_undone():
    rng = np.random.default_rng(0)
    root = torch.tensor(np.linalg.cholesky(np.cov(rng.normal(size=(P, 3 * P)))))
    noise = torch.tensor(rng.normal(size=(20000, P))) @ root.T
    rows = Whitening(root).apply(noise.float())
    np.testing.assert_allclose(np.cov(rows.T), np.eye(P), atol=0.06)
    np.testing.assert_allclose(Whitening(root).undo(rows[:5].T), noise[:5].T, atol=1e-4)


def test_a_pixel_that_nobody_has_is_no_axis():
    (flux, ivar), *_ = seen()
    flux[:, 3], ivar[:, 3] = 0, 0
    axes = principal_axes(flux, ivar > 0, whitening(ivar, None, None), 5, seed=0)
    assert torch.isfinite(axes).all()
    assert float(axes[3].abs().max()) < 1e-7


@pytest.mark.parametrize(("n_rows", "n_axes"), [(1, 1), (30, 10), (96, 32), (2000, 32), (3200, 50), (8192, 64)])
def test_few_spectra_afford_few_axes(n_rows, n_axes):
    flux = torch.randn(n_rows, 100, generator=torch.Generator().manual_seed(0))
    good = torch.ones_like(flux, dtype=torch.bool)
    assert principal_axes(flux, good, Whitening(torch.ones(100)), 64, seed=0).shape == (100, n_axes)
