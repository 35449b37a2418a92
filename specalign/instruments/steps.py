"""Single steps of the preparation, from one `specutils.Spectrum` to another."""

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance
from specutils import Spectrum

from specalign.exceptions import SpectrumError
from specalign.instruments.axes import flux_scale, preferred_unit, spectrum_axis
from specalign.instruments.frames import plan_shift
from specalign.instruments.resolution import (
    added_sigma,
    check_coverage,
    smooth_rows,
    target_sigma,
)
from specalign.instruments.spectra import as_list, rows_from_spectra
from specalign.io.quality import bit_value

__all__ = ["mask_spectrum", "match_spectrum", "resample_spectrum"]

_ALL = slice(None)


def mask_spectrum(instrument, spectrum):
    """See `Instrument.mask`."""
    rows = _rows(instrument, spectrum)
    _, _, quality = instrument.detector(rows, _ALL)
    if rows.axis_kind == spectrum.meta.get("axis_kind", rows.axis_kind) and _is_flipped(spectrum, rows):
        quality = quality[:, ::-1]
    bad = (quality[0] & np.uint32(instrument.bad_bits)) != 0
    meta = {**spectrum.meta, "quality": quality[0].copy(), "quality_bits": instrument.quality_bits}
    return Spectrum(
        flux=spectrum.flux, spectral_axis=spectrum.spectral_axis, uncertainty=spectrum.uncertainty, mask=bad, meta=meta
    )


def resample_spectrum(instrument, spectrum):
    """See `Instrument.resample`."""
    rows = _rows(instrument, spectrum)
    facts = rows.facts
    shift = plan_shift(facts.frame, facts.velocity, facts.velocity_source, resolved=instrument.velocity_resolved)
    unit = preferred_unit(rows.unit)
    flux, ivar, quality = instrument.regrid(rows, _ALL, shift.factor, flux_scale(rows.unit, unit, rows.axis))
    bad = (quality[0] & np.uint32(instrument.bad_bits)) != 0
    changed = {
        "quality": quality[0],
        "quality_bits": instrument.quality_bits,
        "frame": str(shift.frame[0]),
        "medium": "vacuum",
        "velocity_applied": shift.velocity_applied[0] * u.km / u.s,
    }
    return Spectrum(
        flux=np.where(bad, 0.0, flux[0]) << unit,
        spectral_axis=spectrum_axis(instrument.spectral_axis),
        uncertainty=InverseVariance(np.where(bad | (rows.ivar is None), 0.0, ivar[0]) << unit**-2),
        mask=bad,
        meta={**spectrum.meta, **changed},
    )


def match_spectrum(instrument, spectrum, to, min_coverage):
    """See `Instrument.match_resolution`."""
    check_coverage(min_coverage)
    rows = _rows(instrument, spectrum)
    if rows.axis_kind != "wavelength" or instrument.lsf_sigma is None:
        raise SpectrumError(f"{instrument.name} with options {instrument.options} has no resolution to match")
    own, target = target_sigma(instrument, rows.axis), target_sigma(_in_order(to, spectrum, rows), rows.axis)
    flux, ivar, quality = instrument.detector(rows, _ALL)
    good = (quality & np.uint32(instrument.bad_bits)) == 0
    sigma = added_sigma(own, target, rows.axis, good[0], instrument.name)
    flux, ivar, quality = smooth_rows(flux, ivar, good, quality, rows.edges, sigma, min_coverage)
    bad = (quality & bit_value(instrument.quality_bits, "UNCOVERED")) != 0
    turn = slice(None, None, -1 if _is_flipped(spectrum, rows) else 1)
    unit = spectrum.flux.unit
    return Spectrum(
        flux=flux[0][turn] << unit,
        spectral_axis=spectrum.spectral_axis,
        uncertainty=None if rows.ivar is None else InverseVariance(ivar[0][turn] << unit**-2),
        mask=bad[0][turn],
        meta={**spectrum.meta, "quality": quality[0][turn], "quality_bits": instrument.quality_bits},
    )


def _in_order(to, spectrum, rows):
    """Numbers a pixel, in the order of increasing wavelength."""
    flipped = np.ndim(to) == 1 and _is_flipped(spectrum, rows)
    return to[::-1] if flipped else to


def _rows(instrument, spectrum):
    listed = as_list(spectrum)
    if len(listed) != 1:
        raise SpectrumError(f"spectrum: expected one one-dimensional spectrum, got {len(listed)}")
    keywords = ("object_id", "spectrum_id", "medium", "frame", "radial_velocity")
    groups, refused = rows_from_spectra(listed, instrument, {**dict.fromkeys(keywords), "normalized": False})
    if refused:
        raise refused[0][2]
    return groups[0]


def _is_flipped(spectrum, rows):
    if rows.axis_kind != "wavelength":
        return False
    axis = spectrum.spectral_axis.to_value(u.AA, u.spectral())
    return axis[0] > axis[-1]
