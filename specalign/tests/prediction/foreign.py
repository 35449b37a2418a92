"""Spectra that are not what the training saw, made of prepared spectra."""

import dataclasses

import numpy as np

LIGHT = 299792.458  # km/s
LOWER = 2.7  # times: R = 1000 instead of 2700


def changed(prepared, flux, ivar=None):
    """The same rows with another flux (and noise), 0 where it is masked."""
    ivar = prepared.ivar if ivar is None else np.where(prepared.mask, 0, ivar)
    return dataclasses.replace(prepared, flux=np.where(prepared.mask, 0, flux), ivar=ivar)


def shifted(prepared, velocity):
    """Receding by so many km/s; holes are filled with 1, which is the continuum."""
    x = np.log(prepared.spectral_axis.value)
    rows = [np.interp(x - velocity / LIGHT, x, row) for row in filled(prepared)]
    return changed(prepared, np.array(rows))


def coarser(prepared, factor=LOWER):
    """Seen with a lower resolution, of which the header knows nothing."""
    power = prepared.spectral_axis / prepared.lsf_sigma / 2.3548
    coarse = prepared.match_resolution(to=(power / factor).to_value(""))
    return dataclasses.replace(coarse, instrument=prepared.instrument, lsf_sigma=prepared.lsf_sigma)


def filled(prepared):
    return np.where(prepared.mask, 1, prepared.flux)


def sigma(prepared):
    return 1 / np.sqrt(np.where(prepared.ivar > 0, prepared.ivar, 1))


def smooth(prepared):
    """A black body as the instrument would normalise it: the mean of the spectra, without a line."""
    good = ~prepared.mask
    x, seen = np.linspace(-1, 1, good.shape[1]), good.any(axis=0)
    mean = np.where(good, prepared.flux, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    return np.polyval(np.polyfit(x[seen], mean[seen], 4), x)


def samples(prepared, seed=0):
    """Dict of name to foreign spectra, a row for each given one."""
    noise = np.random.default_rng(seed).normal(size=prepared.flux.shape)
    return {
        "noise alone, as large as the flux": changed(prepared, noise, np.ones(prepared.flux.shape)),
        "noise alone on a continuum": changed(prepared, 1 + 0.3 * noise, np.full(prepared.flux.shape, 1 / 0.09)),
        "a black body": changed(prepared, smooth(prepared) + noise * sigma(prepared)),
        "upside down": changed(prepared, 2 - prepared.flux),
        "wavelengths reversed": changed(prepared, filled(prepared)[:, ::-1]),
        **{
            f"{velocity:+d} km/s": shifted(prepared, velocity)
            for velocity in (500, -500, 200, -200, 100, -100, 50, -50)
        },
        "2.7 times coarser": coarser(prepared),
    }
