"""Scores that are high where a spectrum is unlike normal ones, in the space, in its flux or between instruments.

>>> from specalign.analysis.scores import SCORES
>>> SCORES
('neighbours', 'residual', 'disagreement')
"""

import numpy as np
import torch

from specalign import ops
from specalign.config import limited_threads
from specalign.data.loading import check_good_pixels
from specalign.display import Displayed
from specalign.exceptions import MatchError, SpectrumError
from specalign.instruments.prepared import PreparedSpectra

__all__ = [
    "SCORES",
    "PairScale",
    "instrument_pairs",
    "neighbour_distance",
    "reconstruction_residual",
    "reduced_chi_square",
    "rows_of",
]

SCORES = ("neighbours", "residual", "disagreement")
BLOCK_ROWS = 1024
LEAST_DISTANCE = 1e-7  # of two unit vectors in float32
FEWEST_PAIRS = 20


def neighbour_distance(table, gallery, k=10):
    """One minus the mean cosine to the k nearest rows of other stars.

    Parameters
    ----------
    table, gallery : `~specalign.EmbeddingTable`
        Of one space, with N and M rows.  Rows of the gallery that share a row's object_id do not count for it.
    k : int
        Where the gallery has fewer rows of other stars, all of them.

    Returns
    -------
    (N,) float64
        NaN where the gallery has no other star.

    Raises
    ------
    GridMismatchError
        The tables come from two aligners.

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> from specalign.analysis.scores import neighbour_distance
    >>> rows = [[1, 0], [1, 0], [0.6, 0.8]]
    >>> table = EmbeddingTable(rows, ["a", "a", "b"], ["a-1", "a-2", "b-1"], "apogee", [50] * 3, [1] * 3)
    >>> neighbour_distance(table, table, k=1).round(3)  # the other visit of a is no witness
    array([0.4, 0.4, 0.4])
    """
    gallery.check_same_space(table)
    names, count = np.unique(gallery.object_id, return_counts=True)
    own = np.zeros(len(table), np.int64)
    if len(names):
        place = np.searchsorted(names, table.object_id) % len(names)
        own = np.where(names[place] == table.object_id, count[place], 0)
    found = np.full(len(table), np.nan)
    for rows in (np.flatnonzero(own == 0), np.flatnonzero(own > 0)):
        if rows.size and len(gallery):
            found[rows] = _distance(table[rows], gallery, k, int(own[rows].max()))
    return found


def _distance(table, gallery, k, own):
    with limited_threads(torch):
        values, index = ops.topk_similarity(table.vectors, gallery.vectors, min(k + own, len(gallery)))
    other = gallery.object_id[index.numpy()] != table.object_id[:, None]
    counted = other & (np.cumsum(other, axis=1) <= k)
    total = np.where(counted, values.numpy().astype(np.float64), 0).sum(axis=1)
    number = counted.sum(axis=1)
    return np.where(number > 0, 1 - total / np.maximum(number, 1), np.nan)


def reduced_chi_square(residual, weight, most=np.inf):
    """Mean of weight * residual**2 over the pixels that have a weight.

    Parameters
    ----------
    residual, weight : (N, P) array
        Weights are inverse variances; 0 = does not count, whatever the residual is.
    most : float
        What one pixel adds at most.

    Returns
    -------
    (N,) float64
        NaN where no pixel counts.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis.scores import reduced_chi_square
    >>> reduced_chi_square(np.array([[1.0, 2.0, np.nan]]), np.array([[1.0, 1.0, 0.0]]))
    array([2.5])
    """
    counted = weight > 0
    squares = np.minimum(weight * np.where(counted, residual, 0).astype(np.float64) ** 2, most)
    number = counted.sum(axis=1)
    return np.where(number > 0, squares.sum(axis=1) / np.maximum(number, 1), np.nan)


def reconstruction_residual(prepared, reconstruction):
    """Reduced chi-square of spectra against what they are expected to be, with the variances of both.

    The mean of (f - g)^2 / (1 / ivar_f + 1 / ivar_g) over the pixels that are good in both.  The diagonal of the noise
    counts; where it is correlated (Gaia XP), the figure scatters more than that of independent pixels.

    Parameters
    ----------
    prepared : `~specalign.PreparedSpectra`
        N spectra.
    reconstruction : `~specalign.PreparedSpectra` or tuple of two (N, P) arrays
        Of the same grid, matched by spectrum_id; or flux and inverse variance row by row, ivar 0 = no information.

    Returns
    -------
    (N,) float64
        NaN where a spectrum has no reconstruction, or no good pixel in common with it.

    Raises
    ------
    GridMismatchError
        The reconstruction is on another grid.
    SpectrumError
        The shapes differ, or a good pixel is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.analysis.scores import reconstruction_residual
    >>> xp = sa.get_instrument("gaia_xp")
    >>> flux, ivar = np.ones((2, 343)), np.full((2, 343), 1e4)
    >>> given = {"spectral_axis": xp.spectral_axis, "object_id": ["a", "b"], "normalized": True}
    >>> prepared = xp.prepare_arrays(flux, ivar, **given)
    >>> reconstruction_residual(prepared, (flux + 0.01, np.full_like(ivar, np.inf))).round(3)
    array([1., 1.])
    """
    check_good_pixels(prepared)
    rows, flux, ivar, mask = _expected(prepared, reconstruction)
    found, there = np.full(len(prepared), np.nan), np.flatnonzero(rows >= 0)
    for part in np.array_split(there, max(1, -(-len(there) // BLOCK_ROWS))):
        at = rows[part]
        good = ~prepared.mask[part] & (prepared.ivar[part] > 0) & ~mask[at] & (ivar[at] > 0)
        _check_finite(prepared.spectrum_id[part], good & ~np.isfinite(flux[at]))
        variance = 1 / np.where(good, prepared.ivar[part], 1.0) + 1 / np.where(good, ivar[at], 1.0)
        residual = np.where(good, prepared.flux[part].astype(np.float64) - np.where(good, flux[at], 0), 0)
        found[part] = reduced_chi_square(residual, good / variance)
    return found


def _expected(prepared, reconstruction):
    """Row of each spectrum's reconstruction (N,), -1 where it has none; flux, ivar and mask of these rows."""
    if isinstance(reconstruction, PreparedSpectra):
        prepared.check_same_grid(reconstruction)
        rows = rows_of(prepared.spectrum_id, reconstruction.spectrum_id)
        return rows, reconstruction.flux, reconstruction.ivar, reconstruction.mask
    flux, ivar = (np.asarray(part) for part in reconstruction)
    for name, value in {"flux": flux, "ivar": ivar}.items():
        if value.shape != prepared.flux.shape:
            raise SpectrumError(
                f"reconstruction: expected {name} of shape {prepared.flux.shape}, as the spectra have, "
                f"got {value.shape}"
            )
    if np.isnan(ivar).any() or (ivar < 0).any():
        raise SpectrumError("reconstruction: ivar holds NaN or negative values; 0 says that nothing is known")
    return np.arange(len(prepared)), flux, ivar, np.zeros(flux.shape, bool)


def _check_finite(spectrum_id, bad):
    if bad.any():
        row = np.flatnonzero(bad.any(axis=1))[0]
        raise SpectrumError(
            f"reconstruction: {np.count_nonzero(bad)} good pixels hold NaN or Inf, the first of spectrum_id "
            f"{str(spectrum_id[row])!r}; mask them, or set their ivar to 0"
        )


def rows_of(asked, known):
    """Row (N,) int64 of each name among unique ones; -1 where it is not there.

    Examples
    --------
    >>> from specalign.analysis.scores import rows_of
    >>> rows_of(["b", "x"], ["a", "b"])
    array([ 1, -1])
    """
    asked, known = np.asarray(asked, dtype=str), np.asarray(known, dtype=str)
    if not len(known):
        return np.full(len(asked), -1)
    order = np.argsort(known, kind="stable")
    place = order[np.searchsorted(known, asked, sorter=order) % len(known)]
    return np.where(known[place] == asked, place, -1)


def instrument_pairs(table):
    """Rows of one star in two instruments.

    Parameters
    ----------
    table : `~specalign.EmbeddingTable`

    Returns
    -------
    first, second : (R,) int64
        Every two rows of a star, the instruments in the order of the alphabet.

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> from specalign.analysis.scores import instrument_pairs
    >>> names, instruments = ["a", "b", "a"], ["nirspec", "nirspec", "apogee"]
    >>> table = EmbeddingTable([[1, 0]] * 3, names, ["1", "2", "3"], instruments, [50] * 3, [1] * 3)
    >>> [rows.tolist() for rows in instrument_pairs(table)]
    [[2], [0]]
    """
    _, star = np.unique(table.object_id, return_inverse=True)
    order, count = np.lexsort((table.spectrum_id, star)), np.bincount(star)
    partners = count[star[order]]
    first = np.repeat(order, partners)
    within = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
    second = order[(np.cumsum(count) - count)[star[first]] + within]
    rising = table.instrument[first] < table.instrument[second]
    return first[rising], second[rising]


class PairScale(Displayed):
    """How far apart a star's vectors of two instruments usually are at their S/N.

    The logarithm of 1 - cosine is fitted by a quadratic in the logarithms of both S/N; `__call__` gives what is left,
    which is high where two instruments disagree more than pairs of such spectra do.  S/N beyond those of the fit count
    as the nearest of it.

    Parameters
    ----------
    snr : (R, 2) float
        Of both spectra of R pairs.
    cosine : (R,) float

    Raises
    ------
    MatchError
        Fewer than 20 pairs have a known S/N.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis.scores import PairScale
    >>> snr = np.random.default_rng(0).uniform(10, 100, (200, 2))
    >>> scale = PairScale(snr, 1 - 1 / snr[:, 0])
    >>> scale([[20, 50], [50, 50], [50, 50]], [0.95, 0.98, 0.5]).round(1)
    array([0. , 0. , 3.2])
    """

    def __init__(self, snr, cosine):
        known = _known(snr)
        if known.sum() < FEWEST_PAIRS:
            raise MatchError(
                f"expected at least {FEWEST_PAIRS} pairs with a known S/N to learn how far apart two instruments put "
                f"a star, got {known.sum()}"
            )
        logs = np.log(np.asarray(snr, dtype=np.float64)[known])
        self.n, self.low, self.high = int(known.sum()), logs.min(axis=0), logs.max(axis=0)
        wanted = _log_distance(cosine)[known]
        self.coefficients = np.linalg.lstsq(self._design(logs), wanted, rcond=1e-6)[0]

    def _facts(self):
        return {"pairs": str(self.n), "S/N": f"{np.exp(self.low.min()):.3g} to {np.exp(self.high.max()):.3g}"}

    def _design(self, logs):
        width = np.where(self.high > self.low, self.high - self.low, 1)
        x, y = (2 * (np.clip(logs, self.low, self.high) - self.low) / width - 1).T
        return np.stack([np.ones_like(x), x, y, x**2, x * y, y**2], axis=1)

    def __call__(self, snr, cosine):
        """Excess (R,) float64 of ln(1 - cosine); NaN where an S/N is unknown."""
        known = _known(snr)
        logs = np.log(np.where(known[:, None], np.asarray(snr, dtype=np.float64), 1))
        return np.where(known, _log_distance(cosine) - self._design(logs) @ self.coefficients, np.nan)


def _known(snr):
    snr = np.asarray(snr, dtype=np.float64)
    return (np.isfinite(snr) & (snr > 0)).all(axis=1)


def _log_distance(cosine):
    return np.log(np.maximum(1 - np.asarray(cosine, dtype=np.float64), LEAST_DISTANCE))
