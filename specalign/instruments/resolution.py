"""Convolution to a lower resolution, a step of its own that `Instrument.prepare` never takes."""

import dataclasses
import hashlib
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack
from scipy.special import ive

from specalign.display import fields_html, fields_repr
from specalign.exceptions import SpectrumError, SpectrumUnitError
from specalign.instruments.resampling import in_blocks, pixel_edges
from specalign.io.quality import COMMON_BITS, bit_value

__all__ = ["SmoothingWeights", "smoothing_weights"]

FWHM = 2.3548
WIDE = 4.0  # pixels: beyond it, a sampled Gaussian has its variance to 1e-12, and its kurtosis
REACH = 5.0  # standard deviations
AT_ONCE = 2_000_000  # weights that are in memory together
TOLERANCE = 1e-3  # relative: by as much may a resolution be below the one wanted, and be left as it is


class SmoothingWeights(NamedTuple):
    """A banded operator on one grid: weights of pixel j at offset[j] to offset[j + 1], from pixel first[j] on.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.resampling import pixel_edges
    >>> from specalign.instruments.resolution import SmoothingWeights, smoothing_weights
    >>> weights = smoothing_weights(pixel_edges(np.arange(50.0)), np.full(50, 2.0))
    >>> of_pixel = slice(*weights.offset[25:27])
    >>> isinstance(weights, SmoothingWeights), bool(np.isclose(weights.weight[of_pixel].sum(), 1))
    (True, True)
    """

    first: np.ndarray
    offset: np.ndarray
    weight: np.ndarray

    __repr__, _repr_html_ = fields_repr, fields_html


def smoothing_weights(edges, sigma, start=0, stop=None):
    """Weights of a Gaussian of varying width on the pixels of a grid, which does not reach over its breaks.

    A narrow one is the discrete analogue of the Gaussian, exp(-t) I_n(t) with modified Bessel functions of the first
    kind (Lindeberg 1990, IEEE TPAMI 12, 234): its variance is exactly t = (sigma / pixel)^2, however narrow it is, and
    sigma = 0 changes nothing.  A sampled or a pixel-integrated Gaussian is too narrow or too wide by up to a pixel.

    Parameters
    ----------
    edges : PixelEdges
    sigma : (P,) float
        Standard deviation, in the unit of the edges.
    start, stop : int
        The pixels whose weights are wanted.  Default: all.

    Returns
    -------
    SmoothingWeights
        The weights of a pixel sum to 1, less what falls beyond an end or a break.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.resampling import pixel_edges
    >>> from specalign.instruments.resolution import smoothing_weights
    >>> weights = smoothing_weights(pixel_edges(np.arange(5.0)), np.full(5, 0.3))
    >>> weights.weight[weights.offset[2] : weights.offset[3]].round(5)
    array([0.00093, 0.04117, 0.91578, 0.04117, 0.00093])
    """
    pixel = np.arange(start, sigma.size if stop is None else stop)
    blur = (sigma / (edges.upper - edges.lower))[pixel]
    stretch = np.cumsum(edges.breaks[:-1])[pixel] - 1
    begin, end = np.flatnonzero(edges.breaks[:-1])[stretch], np.flatnonzero(edges.breaks[1:])[stretch] + 1
    half = _half_width(blur)
    first, last = np.maximum(pixel - half, begin), np.minimum(pixel + half + 1, end)
    offset = np.concatenate([[0], np.cumsum(last - first)])
    row = np.repeat(np.arange(pixel.size), last - first)
    distance = np.arange(offset[-1]) - offset[row] + (first - pixel)[row]
    return SmoothingWeights(first, offset, _discrete_gaussian(distance, blur[row]))


def _half_width(blur):
    return np.where(blur > 0, np.ceil(REACH * blur) + 1, 0).astype(int)


def _discrete_gaussian(distance, blur):
    wide, weight = blur > WIDE, np.empty(blur.size)
    weight[~wide] = ive(np.abs(distance[~wide]), blur[~wide] ** 2)
    weight[wide] = np.exp(-0.5 * (distance[wide] / blur[wide]) ** 2) / (blur[wide] * np.sqrt(2 * np.pi))
    return weight


def smooth_rows(flux, ivar, good, quality, edges, sigma, least, kind=np.float64):
    """Rows (N, P) convolved with Gaussians, in float64: flux and ivar, and quality with UNCOVERED for a lost pixel."""
    from specalign.instruments import _smoothing_kernels

    given = tuple(zip((flux, ivar, good, quality), (np.float64, np.float64, bool, np.uint32), strict=True))
    out = np.empty(flux.shape, kind), np.empty(flux.shape, kind), np.empty(flux.shape, np.uint32)

    def work(block):
        rows = [np.array(array[block], dtype=kind, order="C") for array, kind in given]
        parts = [np.empty((len(rows[0]), stop - start), dtype) for dtype in (np.float64, np.float64, np.uint32)]
        _smoothing_kernels.smooth(*rows, *weights, least, *parts)
        for array, part in zip(out, parts, strict=True):
            array[block, start:stop] = part

    for start, stop in _stretches(sigma / (edges.upper - edges.lower)):
        weights = smoothing_weights(edges, sigma, start, stop)
        in_blocks(work, len(flux))
    return out


def _stretches(blur):
    """Pixels, first and one past the last, whose weights fit into memory together."""
    part = np.cumsum(2 * _half_width(blur) + 1) // AT_ONCE
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), blur.size], strict=True))


def target_sigma(to, axis):
    """Standard deviation (P,), Angstrom, of the line-spread function that is wanted at wavelengths (P,).

    Parameters
    ----------
    to : float, (P,) array of float, `~astropy.units.Quantity`, Instrument or PreparedSpectra
        See `PreparedSpectra.match_resolution`.
    axis : (P,) float
        Angstrom.

    Raises
    ------
    SpectrumError
        Shape or value is wrong, or the other instrument looks elsewhere.
    SpectrumUnitError
        The unit is not one of length.
    """
    if hasattr(to, "lsf_sigma"):
        return _sigma_of(to, axis)
    unit = getattr(to, "unit", u.dimensionless_unscaled)
    values = np.asarray(getattr(to, "value", to), dtype=float)
    if values.shape not in ((), axis.shape) or not (np.isfinite(values) & (values > 0)).all():
        raise SpectrumError(f"to: expected positive numbers, one or {axis.size}, got {to}")
    if unit == u.dimensionless_unscaled:
        return axis / values / FWHM
    if not unit.is_equivalent(u.AA):
        raise SpectrumUnitError(f"to: expected a resolving power or a length such as Angstrom, got {str(unit)!r}")
    return np.broadcast_to(values * unit.to(u.AA), axis.shape).copy()


def _sigma_of(other, axis):
    """Its resolving power, interpolated; beyond its ends that of the end."""
    if other.lsf_sigma is None or other.lsf_sigma.ndim != 1 or other.axis_kind != "wavelength":
        raise SpectrumError(f"to: expected something with one lsf_sigma a wavelength, got {other}")
    theirs = other.spectral_axis.to_value(u.AA)
    if theirs[0] > axis[-1] or theirs[-1] < axis[0]:
        raise SpectrumError(
            f"to: expected a line-spread function between {axis[0]:.0f} and {axis[-1]:.0f} Angstrom, got one from "
            f"{theirs[0]:.0f} to {theirs[-1]:.0f}"
        )
    return axis * np.interp(axis, theirs, other.lsf_sigma.to_value(u.AA) / theirs)


def added_sigma(own, target, axis, seen, name):
    """Standard deviation (P,) that takes one line-spread function to the other, in quadrature.

    Raises
    ------
    SpectrumError
        The resolution wanted is higher than that which a pixel in use has.
    """
    sharper = seen & (target < own * (1 - TOLERANCE))
    if sharper.any():
        j = int(np.argmax(sharper))
        raise SpectrumError(
            f"to: expected a resolving power of at most {axis[j] / own[j] / FWHM:.0f} at {axis[j]:.0f} Angstrom, which "
            f"{name} has, got {axis[j] / target[j] / FWHM:.0f}: a spectrum cannot be sharpened"
        )
    return np.sqrt(np.maximum(target**2 - own**2, 0.0))


def match_prepared(prepared, to, min_coverage):
    """See `PreparedSpectra.match_resolution`."""
    check_coverage(min_coverage)
    name = prepared.instrument.name
    if prepared.axis_kind != "wavelength" or prepared.lsf_sigma is None:
        raise SpectrumError(f"{name}: expected wavelengths and an lsf_sigma, got spectra without")
    axis, own = prepared.spectral_axis.to_value(u.AA), prepared.lsf_sigma.to_value(u.AA)
    target, edges = target_sigma(to, axis), pixel_edges(axis)
    out = [np.empty(prepared.flux.shape, kind) for kind in (np.float32, np.float32, np.uint32)]
    covariance = prepared.covariance_factor
    for rows, sigma in _by_lsf(own, len(prepared)):
        good = ~prepared.mask[rows]
        kernel = edges, added_sigma(sigma, target, axis, good.any(axis=0), name), min_coverage
        given = (prepared.flux[rows], prepared.ivar[rows], good, prepared.quality[rows])
        for array, part in zip(out, smooth_rows(*given, *kernel, kind=np.float32), strict=True):
            array[rows] = part
        if covariance is not None:
            covariance = _smooth_covariance(covariance, own.ndim, kernel)
            out[1][:] = _correlated_ivar(prepared, covariance, good, kernel)
    return _matched(prepared, to, target, out, covariance)


def check_coverage(min_coverage):
    """Raise `SpectrumError` unless it is a share above 0 and below 1."""
    if not 0 < min_coverage < 1:
        raise SpectrumError(f"min_coverage: expected a share above 0 and below 1, got {min_coverage}")


def _by_lsf(own, n):
    """Rows that share a line-spread function, and it."""
    if own.ndim == 1:
        return [(slice(None), own)]
    sigmas, which = np.unique(own, axis=0, return_inverse=True)
    return [(np.flatnonzero(which.ravel() == k), sigma) for k, sigma in enumerate(sigmas)]


def _smooth_covariance(covariance, ndim, kernel):
    if ndim != 1:
        raise SpectrumError("covariance_factor: expected one lsf_sigma for all rows, got one a row")
    scale, basis = covariance
    ones = np.ones(basis.shape)
    smoothed, _, _ = smooth_rows(basis, ones, ones, np.zeros(basis.shape, np.uint32), *kernel)
    return scale, smoothed.astype(np.float32)


def _correlated_ivar(prepared, covariance, good, kernel):
    """Inverse variance where noise is correlated: its ratio to what the covariance factor tells is kept."""
    before, after = (
        np.square(s, dtype=float) @ np.square(b, dtype=float) for s, b in (prepared.covariance_factor, covariance)
    )
    good = good & (before > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1 / (prepared.ivar * before)
        smoothed, _, bits = smooth_rows(ratio, np.ones(ratio.shape), good, prepared.quality, *kernel)
        ivar = 1 / (smoothed * after)
    return np.where(np.isfinite(ivar) & ((bits & bit_value(COMMON_BITS, "UNCOVERED")) == 0), ivar, 0.0)


def _matched(prepared, to, target, out, covariance):
    """The new spectra; rows without any pixel left go to the rejected ones."""
    flux, ivar, quality = out
    mask = (quality & bit_value(COMMON_BITS, "UNCOVERED")) != 0
    record = prepared.instrument
    options = {**record.options, "match_resolution": _label(to, target)}
    lost = mask.all(axis=1)
    matched = dataclasses.replace(
        prepared,
        flux=flux,
        ivar=ivar,
        mask=mask,
        quality=quality,
        lsf_sigma=target * u.AA,
        instrument=dataclasses.replace(record, options=options),
        covariance_factor=covariance,
    )
    reason = np.full(lost.sum(), "no pixel has enough good neighbours to be convolved")
    columns = {"spectrum_id": prepared.spectrum_id[lost], "object_id": prepared.object_id[lost], "reason": reason}
    rejected = vstack([prepared.rejected, QTable(columns)]) if lost.any() else prepared.rejected
    return dataclasses.replace(matched[~lost] if lost.any() else matched, rejected=rejected)


def _label(to, target):
    """JSON-like words that tell to which resolution the spectra were brought, and its digest."""
    digest = hashlib.sha256(" ".join(f"{value:.9e}" for value in target).encode()).hexdigest()[:12]
    name = getattr(getattr(to, "instrument", to), "name", None)
    if name is None:
        name = f"R = {float(to):g}" if np.ndim(to) == 0 and not hasattr(to, "unit") else "lsf_sigma"
    return {"to": name, "lsf_digest": digest}
