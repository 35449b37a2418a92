"""Small linear stars seen by two instruments, for tests that train in a second."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.instruments.prepared import InstrumentRecord, PreparedSpectra, grid_digest

PIXELS = {"apogee": 40, "nirspec": 30, "gaia_xp": 25}


def star_labels(star_id, seed=0):
    """Three standard normal labels of each star, a function of its name."""
    return np.stack([np.random.default_rng([seed, *name.encode()]).normal(size=3) for name in star_id])


def observe(name, star_id, *, seed=0, visits=1, noise=0.02, correlated=False):
    """Prepared spectra of some stars: 1 + labels times lines, noise, and a tenth of the pixels masked."""
    object_id = np.repeat(np.asarray(star_id, dtype=str), visits)
    spectrum_id = np.array([f"{name}-{star}-{i % visits}" for i, star in enumerate(object_id)])
    n, p = len(object_id), PIXELS[name]
    lines = np.random.default_rng([7, p]).normal(size=(3, p)) * 0.1
    rng = np.random.default_rng([seed, p])
    flux = 1 + star_labels(object_id) @ lines + noise * rng.normal(size=(n, p))
    mask = rng.random((n, p)) < 0.1
    ivar = np.where(mask, 0, noise**-2)
    axis = np.linspace(10000, 17000, p) * u.AA
    factor = None
    if correlated:
        factor = np.full((n, 2), noise / 4, np.float32), np.ones((2, p), np.float32)
    return PreparedSpectra(
        flux=np.where(mask, 0, flux),
        ivar=ivar,
        mask=mask,
        quality=mask.astype(np.uint32),
        norm=np.ones((n, 1)),
        object_id=object_id,
        spectrum_id=spectrum_id,
        spectral_axis=axis,
        instrument=InstrumentRecord(name, {"mode": "test"}, grid_digest(axis), "1"),
        catalog=QTable({"snr": np.full(n, 1 / noise)}),
        quality_bits={"BAD": 0},
        covariance_factor=factor,
    )


def label_table(star_id):
    """The labels with units and an error column that is none."""
    values = star_labels(star_id)
    return QTable(
        {
            "object_id": np.asarray(star_id, dtype=str),
            "teff": (5000 + 300 * values[:, 0]) * u.K,
            "logg": (3 + values[:, 1]) * u.dex(u.cm / u.s**2),
            "fe_h": (0.3 * values[:, 2]) * u.dex,
            "teff_err": np.full(len(values), 50.0) * u.K,
        }
    )


def stars(n, first=0):
    return [f"star-{i:04d}" for i in range(first, first + n)]
