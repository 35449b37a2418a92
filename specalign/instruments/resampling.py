"""Doppler shift and change of grid in one flux-conserving step.

An output pixel takes the mean of the input pixels under it, weighted by their overlap, as in Carnall (2017,
arXiv:1705.05165); `specutils.manipulation.FluxConservingResampler` gives the same numbers.  Here masked pixels take
no part, gaps are never bridged, and quality bits go along.

A step of more than `GAP` times the local median breaks an axis:

>>> from specalign.instruments.resampling import GAP
>>> GAP
3.0
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from specalign.config import conf
from specalign.display import fields_html, fields_repr

__all__ = ["GAP", "PixelEdges", "ResampledRows", "doppler_factor", "in_blocks", "pixel_edges", "resample_rows"]

GAP = 3.0
_WINDOW = 11
SPEED_OF_LIGHT = 299792.458  # km/s
_KINDS = (np.float64, np.float64, bool, np.uint32)
_BLOCK = 32  # rows a thread works on at once: they fit into its cache
_MAX_THREADS = 4


class PixelEdges(NamedTuple):
    """Lower and upper edge of each pixel (P,) float64; they differ between neighbours where the axis breaks.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.resampling import PixelEdges
    >>> PixelEdges(np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 6.0])).breaks
    array([ True, False,  True,  True])
    """

    lower: np.ndarray
    upper: np.ndarray

    @property
    def breaks(self):
        """(P + 1,) bool: True at position i where pixel i - 1 does not touch pixel i, and at both ends."""
        inner = self.upper[:-1] != self.lower[1:]
        return np.concatenate([[True], inner, [True]])

    __repr__, _repr_html_ = fields_repr, fields_html


class ResampledRows(NamedTuple):
    """Rows on the new grid: flux and ivar (N, P) float64, quality (N, P) uint32.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.resampling import ResampledRows
    >>> rows = ResampledRows(np.ones((1, 2)), np.ones((1, 2)), np.zeros((1, 2), np.uint32))
    >>> flux, ivar, quality = rows
    """

    flux: np.ndarray
    ivar: np.ndarray
    quality: np.ndarray

    __repr__, _repr_html_ = fields_repr, fields_html


def doppler_factor(velocity):
    """Observed over rest wavelength, relativistic, for a radial velocity in km/s (receding positive).

    Examples
    --------
    >>> from specalign.instruments.resampling import doppler_factor
    >>> float(doppler_factor(300.0))
    1.0010011934795353
    """
    beta = np.asarray(velocity, dtype=float) / SPEED_OF_LIGHT
    return np.sqrt((1 + beta) / (1 - beta))


def pixel_edges(centres):
    """Edges at the midpoints of increasing pixel centres, broken where a step exceeds 3 times the local median.

    At a break, and at both ends, a pixel reaches as far as on its other side, so that it never stretches over a
    hole between detectors.

    Parameters
    ----------
    centres : (P,) float
        Increasing.

    Returns
    -------
    PixelEdges

    Examples
    --------
    >>> from specalign.instruments.resampling import pixel_edges
    >>> edges = pixel_edges([1.0, 2.0, 3.0, 13.0, 14.0, 15.0])
    >>> edges.upper.tolist(), edges.lower.tolist()
    ([1.5, 2.5, 3.5, 13.5, 14.5, 15.5], [0.5, 1.5, 2.5, 12.5, 13.5, 14.5])
    """
    centres = np.asarray(centres, dtype=float)
    if centres.size < 2:
        return PixelEdges(centres - 0.5, centres + 0.5)
    steps = np.diff(centres)
    typical = median_filter(steps, size=min(_WINDOW, steps.size), mode="nearest")
    joined = steps <= GAP * typical
    half = np.where(joined, steps, np.nan) / 2
    below, above = np.append(np.nan, half), np.append(half, np.nan)
    alone = np.append(typical, typical[-1]) / 2
    below, above = _fill_in(below, above, alone), _fill_in(above, below, alone)
    lower, upper = centres - below, centres + above
    midpoints = centres[:-1] + steps / 2
    lower[1:][joined] = midpoints[joined]
    upper[:-1][joined] = midpoints[joined]
    return PixelEdges(lower, upper)


def _fill_in(side, other, alone):
    return np.where(np.isnan(side), np.where(np.isnan(other), alone, other), side)


def resample_rows(flux, ivar, good, quality, in_edges, out_edges, factor=1.0, *, threads=None):
    """Divide wavelengths by a Doppler factor and take the rows onto another grid, in one operation.

    With overlaps w of the good input pixels, the flux is sum(w f) / sum(w), and its variance sum(w^2 / ivar) /
    sum(w)^2: the diagonal of the new covariance matrix, true for the covered part of a partly masked pixel.  The
    values of a density are kept as they are when its wavelengths shift.

    Parameters
    ----------
    flux, ivar : (N, P) float
    good : (N, P) bool
        True = used; there, flux must be finite and ivar positive.  Other pixels may hold anything.
    quality : (N, P) uint32
        Bits of used pixels are OR-ed.  A pixel that less than 1 % of good input covers gets the bits of everything
        under it and UNCOVERED; one that is partly covered gets PARTIAL.
    in_edges, out_edges : PixelEdges
    factor : float or (N,) float
        See `doppler_factor`.
    threads : int, optional
        See `in_blocks`.

    Returns
    -------
    ResampledRows

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.resampling import pixel_edges, resample_rows
    >>> edges, wide = pixel_edges(np.arange(6.0)), pixel_edges([0.5, 2.5, 4.5])
    >>> flux, good = np.arange(6.0)[None], np.ones((1, 6), bool)
    >>> rows = resample_rows(flux, np.ones((1, 6)), good, np.zeros((1, 6), np.uint32), edges, wide)
    >>> rows.flux, rows.ivar
    (array([[0.5, 2.5, 4.5]]), array([[2., 2., 2.]]))
    """
    from specalign.instruments import _kernels

    flux, ivar, good, quality = (np.atleast_2d(np.asarray(array)) for array in (flux, ivar, good, quality))
    shape = (len(flux), out_edges.lower.size)
    out = ResampledRows(np.empty(shape), np.empty(shape), np.empty(shape, np.uint32))
    factors = np.array(np.broadcast_to(factor, len(flux)), dtype=np.float64)

    given = tuple(zip((flux, ivar, good, quality), _KINDS, strict=True))

    def work(block):
        rows = [np.array(array[block], dtype=kind, order="C") for array, kind in given]
        _kernels.resample(*rows, *in_edges, *out_edges, factors[block], *(array[block] for array in out))

    in_blocks(work, len(flux), threads)
    return out


def in_blocks(work, n, threads=None, bar=None):
    """Call ``work`` with slices of n rows, in threads, since the compiled loops leave the interpreter alone.

    Parameters
    ----------
    work : callable
        Takes a slice; different slices must not touch the same rows.
    n : int
    threads : int, optional
        Default: as `~specalign.config.conf` says, or one a processor, four at most.
    bar : object, optional
        Its ``update`` is told of every n rows that are done.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.resampling import in_blocks
    >>> done = np.zeros(100, int)
    >>> def work(block):
    ...     done[block] += 1
    >>> in_blocks(work, 100, threads=2)
    >>> int(done.min()), int(done.max())
    (1, 1)
    """
    blocks = [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
    threads = threads or conf.threads or min(_MAX_THREADS, os.cpu_count() or 1)
    if threads == 1 or len(blocks) < 2:
        _watch(map(work, blocks), blocks, n, bar)
        return
    with ThreadPoolExecutor(threads) as pool:
        _watch(pool.map(work, blocks), blocks, n, bar)


def _watch(results, blocks, n, bar):
    for block, _ in zip(blocks, results, strict=True):
        if bar is not None:
            bar.update(min(block.stop, n) - block.start)
