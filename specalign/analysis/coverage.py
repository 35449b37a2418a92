"""Look at prepared spectra before anything learns from them: coverage, pixels, gaps, and why pixels are missing."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.analysis.summaries import SpectraSummary
from specalign.instruments.resampling import pixel_edges

__all__ = ["describe_spectra", "grid_breaks"]

_BLOCK = 1024  # rows at a time, so that a large array is not held twice
NO_BIT = "(no bit)"


def describe_spectra(prepared, share=0.5, min_pixels=10):
    """Coverage, pixels, gaps, and why pixels are missing, of prepared spectra.

    Parameters
    ----------
    prepared : `~specalign.PreparedSpectra`
    share : float
        A pixel is missing where at least this share of the spectra has it masked: detectors move by some pixels from
        star to star.
    min_pixels : int
        Shorter stretches are not listed as gaps; their pixels are counted by their bits all the same.

    Returns
    -------
    SpectraSummary

    Raises
    ------
    ValueError
        share is not above 0 and at most 1.

    Examples
    --------
    >>> import numpy as np
    >>> import astropy.units as u
    >>> from specalign.analysis.coverage import describe_spectra
    >>> from specalign.instruments import get_instrument
    >>> xp = get_instrument("gaia_xp")
    >>> flux = np.full((1, 343), 3e-17) * u.W / u.m**2 / u.nm
    >>> flux[0, 200:220] = np.nan
    >>> study = describe_spectra(xp.prepare_arrays(flux, spectral_axis=xp.spectral_axis, object_id=["star"]))
    >>> study.n_pixels, study.coverage
    (343, <Quantity [ 3360., 10200.] Angstrom>)
    >>> study.gaps["begin"][0], study.gaps["pixels"][0], study.gaps["place"][0]
    (<Quantity 7360. Angstrom>, np.int64(20), np.str_('gap'))
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected a number above 0 and at most 1, got {share!r}")
    masked, warned, missing = _count(prepared)
    gone = missing >= max(share * len(prepared), 1)
    axis = prepared.spectral_axis
    good = np.flatnonzero(~gone) if len(prepared) else []
    ends = axis[[good[0], good[-1]]] if len(good) else np.full(2, np.nan) * axis.unit
    return SpectraSummary(
        instrument=prepared.instrument.name,
        n_spectra=len(prepared),
        n_stars=len(np.unique(prepared.object_id)),
        n_rejected=len(prepared.rejected),
        n_pixels=len(axis),
        coverage=axis[[0, -1]],
        good_coverage=ends,
        step=_steps(axis),
        good_fraction=float(1 - missing.sum() / max(prepared.mask.size, 1)) if len(prepared) else 0.0,
        median_snr=float(np.median(prepared.snr)) if len(prepared) else np.nan,
        frames=_frames(prepared.catalog),
        gaps=_gaps(axis, gone, masked, missing, min_pixels),
        reasons=_reasons(masked, warned, missing.sum()),
    )


def _count(prepared):
    """Masked and good pixels with each bit, name to (P,), and all masked ones (P,)."""
    bits = {name: np.uint32(1 << bit) for name, bit in prepared.quality_bits.items()}
    masked, warned = ({name: np.zeros(prepared.mask.shape[1], dtype=np.int64) for name in bits} for _ in range(2))
    masked[NO_BIT] = np.zeros(prepared.mask.shape[1], dtype=np.int64)
    for start in range(0, len(prepared), _BLOCK):
        mask, quality = (part[start : start + _BLOCK] for part in (prepared.mask, prepared.quality))
        present = np.bitwise_or.reduce(quality, axis=None)
        for name, bit in bits.items():
            if present & bit:
                has = (quality & bit) != 0
                masked[name] += (has & mask).sum(axis=0)
                warned[name] += (has & ~mask).sum(axis=0)
        masked[NO_BIT] += (mask & (quality == 0)).sum(axis=0)
    return masked, warned, prepared.mask.sum(axis=0)


def grid_breaks(axis):
    """Indices of the pixels that do not touch the one before them, as at the start of a spectrograph's second arm.

    Parameters
    ----------
    axis : `~astropy.units.Quantity` (P,)
        Wavelengths; anything else, such as numbers of coefficients, has no breaks.

    Returns
    -------
    (K,) int64

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.analysis.coverage import grid_breaks
    >>> grid_breaks([5348, 5349, 5350, 6300, 6301, 6302] * u.AA)
    array([3])
    """
    axis = u.Quantity(axis)
    if not axis.unit.is_equivalent(u.AA) or len(axis) < 2:
        return np.array([], dtype=int)
    return np.flatnonzero(pixel_edges(axis.to_value(u.AA)).breaks[1:-1]) + 1


def _steps(axis):
    steps = np.delete(np.diff(axis.value), grid_breaks(axis) - 1)
    return (np.array([steps.min(), steps.max()]) if steps.size else np.full(2, np.nan)) * axis.unit


def _frames(catalog):
    if "frame" not in catalog.colnames:
        return {}
    names, counts = np.unique(np.asarray(catalog["frame"], dtype=str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _gaps(axis, gone, masked, missing, min_pixels):
    edges = np.flatnonzero(np.diff(np.concatenate([[False], gone, [False]]).astype(int)))
    runs = [(start, stop) for start, stop in edges.reshape(-1, 2) if stop - start >= min_pixels]
    rows = [(start, stop - 1, stop - start, _why(masked, missing, start, stop)) for start, stop in runs]
    places = ["edge" if start == 0 or stop == len(gone) else "gap" for start, stop in runs]
    rows += [(stop - 1, stop, 0, "the grid has no pixels here") for stop in grid_breaks(axis)]
    places = np.array(places + ["grid"] * (len(rows) - len(places)), dtype=str)
    first, last, pixels, why = (np.array(c) for c in zip(*rows, strict=True)) if rows else [np.array([], int)] * 4
    order = np.argsort(first, kind="stable")
    names = ("begin", "end", "pixels", "place", "reasons")
    table = QTable([c[order] for c in (axis[first], axis[last], pixels, places, why.astype(str))], names=names)
    for name in ("begin", "end"):
        table[name].info.format = ".1f"
    return table


def _why(masked, missing, start, stop):
    total = missing[start:stop].sum()
    shares = {name: counts[start:stop].sum() / total for name, counts in masked.items()}
    found = sorted((name for name in shares if shares[name] > 0.005), key=lambda name: -shares[name])
    return ", ".join(f"{name} {100 * shares[name]:.0f} %" for name in found)


def _reasons(masked, warned, total):
    rows = [(name, counts.sum(), warned[name].sum() if name in warned else 0) for name, counts in masked.items()]
    rows = sorted((row for row in rows if row[1] or row[2]), key=lambda row: (-row[1], -row[2], row[0]))
    names, counts, good = zip(*rows, strict=True) if rows else ((), (), ())
    counts = np.array(counts, dtype=np.int64)
    columns = [np.array(names, dtype=str), counts, counts / max(total, 1), np.array(good, dtype=np.int64)]
    table = QTable(columns, names=("bit", "n_masked", "share", "n_good"))
    table["share"].info.format = ".3f"
    return table
