"""Spectra that are not what the training saw, made of prepared mock spectra."""

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d

LIGHT = 299792.458  # km/s


def changed(prepared, flux, ivar=None):
    """The same rows with another flux (and noise), 0 where it is masked."""
    ivar = prepared.ivar if ivar is None else np.where(prepared.mask, 0, ivar)
    return dataclasses.replace(prepared, flux=np.where(prepared.mask, 0, flux), ivar=ivar)


def shifted(prepared, velocity):
    """Receding by so many km/s; holes are filled with 1, which is the continuum."""
    x = np.log(prepared.spectral_axis.value)
    rows = [np.interp(x - velocity / LIGHT, x, row) for row in filled(prepared)]
    return changed(prepared, np.array(rows))


def filled(prepared):
    return np.where(prepared.mask, 1, prepared.flux)


def sigma(prepared):
    return 1 / np.sqrt(np.where(prepared.ivar > 0, prepared.ivar, 1))


def samples(prepared, seed=0):
    """Dict of name to foreign spectra, a row for each given one."""
    noise = np.random.default_rng(seed).normal(size=prepared.flux.shape)
    return {
        "noise alone, as large as the flux": changed(prepared, noise, np.ones(prepared.flux.shape)),
        "noise alone on a continuum": changed(prepared, 1 + 0.3 * noise, np.full(prepared.flux.shape, 1 / 0.09)),
        "a black body": changed(prepared, 1 + noise * sigma(prepared)),
        "upside down": changed(prepared, 2 - prepared.flux),
        "wavelengths reversed": changed(prepared, filled(prepared)[:, ::-1]),
        "500 km/s to the red": shifted(prepared, 500),
        "500 km/s to the blue": shifted(prepared, -500),
        "of a grating of R = 1000": changed(prepared, gaussian_filter1d(filled(prepared), 2.1, axis=1)),
    }
