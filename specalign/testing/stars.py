"""Small linear stars, as pretended instruments of a few pixels would see them: enough to train on in a second."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.instruments.prepared import InstrumentRecord, PreparedSpectra, grid_digest

__all__ = ["observe", "star_labels"]


def star_labels(star_id, seed=0):
    """Three standard normal labels of each star, a function of its name.

    Parameters
    ----------
    star_id : sequence of str
    seed : int

    Returns
    -------
    `~numpy.ndarray` (n, 3)

    Examples
    --------
    >>> from specalign.testing.stars import star_labels
    >>> star_labels(["a", "b", "a"]).shape
    (3, 3)
    """
    return np.stack([np.random.default_rng([seed, *name.encode()]).normal(size=3) for name in star_id])


def observe(name, star_id, n_pixels, *, seed=0, visits=1, noise=0.02, correlated=False):
    """Prepared spectra of some stars: 1 + labels times lines, noise, and a tenth of the pixels masked.

    Parameters
    ----------
    name : str
        Of the instrument.
    star_id : sequence of str
    n_pixels : int
        The lines of an instrument follow from this number.
    seed : int
        Of noise and masks.
    visits : int
        Rows a star.
    noise : float
        Standard deviation, where the continuum is 1.
    correlated : bool
        State a part of the noise that two rows of pixels share.

    Returns
    -------
    PreparedSpectra

    Examples
    --------
    >>> from specalign.testing.stars import observe
    >>> observe("mine", ["a", "b"], n_pixels=40, visits=2).flux.shape
    (4, 40)
    """
    object_id = np.repeat(np.asarray(star_id, dtype=str), visits)
    spectrum_id = np.array([f"{name}-{star}-{i % visits}" for i, star in enumerate(object_id)])
    n, p = len(object_id), n_pixels
    lines = np.random.default_rng([7, p]).normal(size=(3, p)) * 0.1
    rng = np.random.default_rng([seed, p])
    flux = 1 + star_labels(object_id) @ lines + noise * rng.normal(size=(n, p))
    mask = rng.random((n, p)) < 0.1
    ivar = np.where(mask, 0, noise**-2)
    axis = np.linspace(10000, 17000, p) * u.AA
    factor = (np.full((n, 2), noise / 4, np.float32), np.ones((2, p), np.float32)) if correlated else None
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
