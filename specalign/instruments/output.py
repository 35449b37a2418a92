"""Rows on their way out: arrays that blocks are written into, rejected rows, and the table of facts."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.display import brief
from specalign.exceptions import SpectrumError
from specalign.instruments.axes import flux_scale
from specalign.instruments.prepared import PreparedSpectra, empty_rejected
from specalign.instruments.resampling import resample_rows

__all__ = ["Output", "assemble", "count_reasons", "describe_instrument", "describe_prepared", "join_covariance"]


SAMPLE = 1000  # rows of which the signal to noise is told
FWHM = 2.354820045  # of a Gaussian, in standard deviations


@dataclass
class Output:
    """Arrays (N, P) of all rows, also of those that will be rejected."""

    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray
    quality: np.ndarray
    norm: np.ndarray
    covariance: tuple | None = None

    @classmethod
    def empty(cls, n, p, per_pixel):
        """Zeros, all masked, where nothing is stored."""
        flux, ivar = np.zeros((n, p), np.float32), np.zeros((n, p), np.float32)
        quality, norm = np.zeros((n, p), np.uint32), np.ones((n, p if per_pixel else 1), np.float32)
        return cls(flux, ivar, np.ones((n, p), bool), quality, norm)

    def store(self, index, flux, ivar, mask, quality, norm):
        """Write a block of rows; blocks of different rows may be written at once."""
        self.flux[index], self.ivar[index], self.mask[index], self.quality[index] = flux, ivar, mask, quality
        self.norm[index] = norm[:, : self.norm.shape[1]]


def join_covariance(instrument, groups, shift, unit, norm):
    """Scale (N, K) and basis (K, P) of the correlated noise on the grid, or None unless all rows have them."""
    if not groups or any(rows.covariance is None for rows in groups):
        return None
    if instrument.normalization.per_pixel and not all(rows.normalized for rows in groups):
        raise SpectrumError(
            f"covariance_factor: {instrument.name} divides by a continuum of many pixels, which it cannot follow; "
            f"leave it out, or choose another normalization"
        )
    bases = [_basis_on_grid(instrument, rows, shift, unit) for rows in groups]
    if any(not np.array_equal(bases[0], basis) for basis in bases[1:]):
        return None
    scale = np.zeros((len(norm), len(bases[0])), np.float32)
    for rows in groups:
        scale[rows.index] = rows.covariance[0] / norm[rows.index, :1]
    return scale, bases[0].astype(np.float32)


def _basis_on_grid(instrument, rows, shift, unit):
    if (shift.factor[rows.index] != 1).any():
        raise SpectrumError("covariance_factor: cannot be shifted by a velocity; pass spectra at rest, or leave it out")
    basis = rows.covariance[1] * flux_scale(rows.unit, unit, rows.axis)
    if np.array_equal(rows.axis, instrument.spectral_axis.value):
        return basis
    ones, bits = np.ones(basis.shape), np.zeros(basis.shape, np.uint32)
    return resample_rows(basis, ones, ones, bits, rows.edges, instrument.edges).flux


def assemble(instrument, out, facts, shift, unit):
    """`PreparedSpectra` of the rows that have enough good pixels; the others are rejected with their reason."""
    needed = int(np.ceil(instrument.min_good_fraction * instrument.n_pixels))
    good = out.mask.shape[1] - np.count_nonzero(out.mask, axis=1)
    reason = shift.reason.copy()
    for i in np.flatnonzero((good < needed) & (reason == "")):
        reason[i] = _too_few(good[i], needed, out.quality[i], instrument)
    keep = reason == ""
    rows = slice(None) if keep.all() else keep
    _check_unique(facts.spectrum_id)
    covariance = None if out.covariance is None else (out.covariance[0][rows], out.covariance[1])
    return PreparedSpectra(
        flux=out.flux[rows],
        ivar=out.ivar[rows],
        mask=out.mask[rows],
        quality=out.quality[rows],
        norm=out.norm[rows],
        object_id=facts.object_id[rows],
        spectrum_id=facts.spectrum_id[rows],
        spectral_axis=instrument.spectral_axis,
        instrument=instrument.record,
        catalog=_catalog(facts[rows], shift[rows]),
        quality_bits=instrument.quality_bits,
        lsf_sigma=instrument.lsf_sigma,
        flux_unit=unit,
        axis_kind=instrument.axis_kind,
        covariance_factor=covariance,
        rejected=_rejected(facts[~keep], reason[~keep]),
    )


def _too_few(good, needed, quality, instrument):
    bad = quality[(quality & np.uint32(instrument.bad_bits)) != 0] & np.uint32(instrument.bad_bits)
    counts = {name: int(np.count_nonzero(bad >> np.uint32(bit) & 1)) for name, bit in instrument.quality_bits.items()}
    common = sorted((name for name in counts if counts[name]), key=counts.get, reverse=True)[:3]
    share = ", ".join(f"{name} {100 * counts[name] / quality.size:.0f} %" for name in common)
    return f"{good} of {quality.size} pixels are good, {needed} are needed (bad: {share})"


def _check_unique(spectrum_id):
    names, counts = np.unique(spectrum_id, return_counts=True)
    if (counts > 1).any():
        raise SpectrumError(
            f"spectrum_id: expected one row each, got {str(names[counts > 1][0])!r} {counts[counts > 1][0]} times; "
            f"visits of a star share object_id, not spectrum_id"
        )


def _catalog(facts, shift):
    table = QTable()
    table["snr"] = facts.snr
    table["frame"] = shift.frame
    table["radial_velocity"] = facts.velocity * u.km / u.s
    table["velocity_err"] = facts.velocity_err * u.km / u.s
    table["velocity_applied"] = shift.velocity_applied * u.km / u.s
    table["velocity_source"] = shift.velocity_source
    for name in ("product", "path", "visit"):
        table[name] = getattr(facts, name)
    for name, unit in (("ra", u.deg), ("dec", u.deg), ("epoch", u.yr)):
        table[name] = getattr(facts, name) * unit
    return table


def describe_instrument(instrument):
    """What a notebook shows of an instrument: name to text."""
    axis, rule = instrument.spectral_axis, instrument.normalization
    known = instrument.lsf_sigma is not None and axis.unit.is_equivalent(u.AA)
    resolution = np.median(axis / instrument.lsf_sigma).to_value(u.one) / FWHM if known else np.nan
    masked = [name for name, bit in instrument.quality_bits.items() if instrument.bad_bits >> bit & 1]
    facts = {
        "name": instrument.name,
        "options": brief(instrument.options),
        "grid": brief(axis),
        "resolving power": f"{resolution:.0f} (median)" if known else "not stated",
        "normalization": type(rule).__name__,
        "masked": ", ".join(masked),
        "mask rules": f"version {instrument.mask_version}",
        "products": ", ".join(product.name for product in instrument.products),
        "grid digest": instrument.grid_digest[:12],
    }
    stated = {name: getattr(instrument, name, "") for name in ("version", "citation")}
    return facts | {name: str(value) for name, value in stated.items() if value}


def describe_prepared(prepared):
    """What a notebook shows of prepared spectra: name to text."""
    record, axis = prepared.instrument, prepared.spectral_axis
    shown = prepared[:: max(1, len(prepared) // SAMPLE)]
    sample = f" of {len(shown)} rows" if len(shown) < len(prepared) else ""
    snr = (
        "{1:.1f} (median), {0:.1f} to {2:.1f} (5 to 95 %)".format(*np.percentile(shown.snr, [5, 50, 95]))
        if len(shown)
        else "none"
    )
    facts = {
        "instrument": f"{record.name} {brief(record.options)}",
        "spectra": f"{len(prepared)} of {prepared._n_objects()} objects, {count_reasons(prepared.rejected)}",
        "pixels": f"{len(axis)}, {100 * (1 - prepared._good_share()):.1f} % bad",
        "grid": f"{brief(axis)}, {'vacuum' if prepared.axis_kind == 'wavelength' else prepared.axis_kind}",
        "flux": f"normalised; norm in {prepared.flux_unit.to_string() or 'no unit'}",
        "signal to noise a pixel": snr + sample,
        "correlated noise": "none"
        if prepared.covariance_factor is None
        else f"{len(prepared.covariance_factor[1])} terms",
        "line-spread function": "not stated" if prepared.lsf_sigma is None else f"sigma of {brief(prepared.lsf_sigma)}",
    }
    if "frame" in prepared.catalog.colnames:
        facts["frame"] = ", ".join(sorted(set(np.asarray(prepared.catalog["frame"], dtype=str).tolist())))
    return facts | {"mask rules, grid": f"{record.mask_version}, {record.grid_digest[:12]}"}


def count_reasons(rejected):
    """How many rows were rejected, and the three most common reasons, as one line."""
    reasons, counts = np.unique(np.asarray(rejected["reason"], dtype=str), return_counts=True)
    common = [f"{counts[i]} times: {reasons[i]}" for i in np.argsort(-counts, kind="stable")[:3]]
    return "; ".join([f"{len(rejected)} rejected", *common])


def _rejected(facts, reason):
    table = empty_rejected()
    if len(reason) == 0:
        return table
    columns = {"spectrum_id": facts.spectrum_id, "object_id": facts.object_id, "reason": reason.astype(str)}
    return QTable(columns)
