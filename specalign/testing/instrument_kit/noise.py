"""Noise: the inverse variance that comes out is that of the noise that comes out."""

import astropy.units as u
import numpy as np

from specalign.testing.contract import fail

__all__ = ["CHECKS"]

_NUMBERS = 40_000  # of the draw, about
_STEP = 0.43  # pixels of the input, in pixels of the grid
# Neighbours that share an input pixel are correlated, by at most a half: the draw has a third of its numbers at worst.
_SHARED = 3.0
_SIGMAS = 6.0


def variance_is_that_of_the_noise(case, rng):
    """Many noisy copies of a spectrum scatter, pixel by pixel, as the stated inverse variance says."""
    truth, sigma, facts = _on_another_axis(case, rng) if case.has_wavelengths else _on_its_own(case, rng)
    n = int(np.clip(np.ceil(_NUMBERS / case.sound.n_pixels), 8, 400))
    flux = truth + sigma * rng.standard_normal((n, truth.size))
    expected = case.prepare(truth[None], sigma[None] ** -2.0, normalized=True, **facts)
    prepared = case.prepare(flux, np.repeat(sigma[None] ** -2.0, n, axis=0), normalized=True, **facts)
    good = ~(prepared.mask.any(axis=0) | expected.mask[0])
    pulls = (prepared.flux.astype(float) - expected.flux)[:, good] * np.sqrt(prepared.ivar[:, good])
    allowed = _SIGMAS * np.sqrt(2 * _SHARED / pulls.size)
    variance = np.mean(pulls**2)
    if not abs(variance - 1) < allowed:
        fail(f"expected deviations over their errors with a variance of 1 +- {allowed:.3f}, got {variance:.3f}")
    if not abs(np.mean(pulls)) < _SIGMAS * np.sqrt(_SHARED / pulls.size):
        fail(f"expected deviations without a bias, got {np.mean(pulls):.3f} errors in the mean")


def _on_another_axis(case, rng):
    axis = case.other_axis(_STEP, margin=2)
    sigma = 0.01 * np.where(np.arange(axis.size) % 50 < 25, 1.0, 3.0) * rng.uniform(0.9, 1.1, axis.size)
    return np.ones(axis.size), sigma, {"spectral_axis": axis * u.AA}


def _on_its_own(case, rng):
    flux, ivar = case.draw(rng, 1)
    return flux[0], ivar[0] ** -0.5, {}


CHECKS = (variance_is_that_of_the_noise,)
