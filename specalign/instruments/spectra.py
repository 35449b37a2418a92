"""specutils spectra to rows: facts from ``meta``, units, bits by name, spectra of one axis together."""

import dataclasses

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from specutils import Spectrum, SpectrumCollection

from specalign.exceptions import MissingFactError, SpectrumError, SpectrumUnitError
from specalign.instruments.rows import Facts, as_velocity, default_ids, repeat, rows_from_arrays
from specalign.io.quality import COMMON_BITS, decode
from specalign.plugins import find_plugins

__all__ = ["as_list", "rows_from_spectra"]

_ARRAYS = ("flux", "ivar", "mask", "quality")
_NUMBERS = (("ra", u.deg), ("dec", u.deg), ("epoch", u.yr), ("velocity_err", u.km / u.s))
_EXTRA = ("coefficient_error", "coefficient_correlation", "disperser", "filter")


def as_list(spectra):
    """One-dimensional spectra of anything that specutils calls a spectrum or a collection of them.

    Raises
    ------
    SpectrumError
        It is something else.
    """
    if isinstance(spectra, Spectrum):
        return [spectra] if spectra.flux.ndim == 1 else [_row(spectra, i) for i in range(len(spectra.flux))]
    if isinstance(spectra, SpectrumCollection):
        return [_row(spectra, i) for i in range(len(spectra.flux))]
    if isinstance(spectra, (list, tuple)):
        return [one for item in spectra for one in as_list(item)]
    raise SpectrumError(
        f"spectra: expected a specutils Spectrum, SpectrumList, SpectrumCollection or a list, "
        f"got {type(spectra).__name__}; bare arrays go to prepare_arrays"
    )


def _row(spectra, i):
    if spectra.flux.ndim != 2:
        raise SpectrumError(f"flux: expected one or two dimensions, got {spectra.flux.ndim}")
    axis = spectra.spectral_axis if spectra.spectral_axis.ndim == 1 else spectra.spectral_axis[i]
    uncertainty = None if spectra.uncertainty is None else spectra.uncertainty[i]
    meta = spectra.meta
    meta = meta[i] if isinstance(meta, (list, tuple)) else _row_of_meta(meta, i, len(spectra.flux))
    mask = None if spectra.mask is None else spectra.mask[i]
    return Spectrum(flux=spectra.flux[i], spectral_axis=axis, uncertainty=uncertainty, mask=mask, meta=meta)


def _row_of_meta(meta, i, n):
    meta = dict(meta or {})
    for name, value in meta.items():
        if isinstance(value, (list, np.ndarray)) and len(value) == n and name != "header":
            meta[name] = value[i]
    return meta


def rows_from_spectra(spectra, instrument, given):
    """Groups of rows that share an axis, and those refused.

    Parameters
    ----------
    spectra : list of `specutils.Spectrum`
    instrument : Instrument
    given : dict
        Facts passed as keywords; they win over those of the spectra.

    Returns
    -------
    groups : list of InputRows
    refused : list of (int, Facts, str)
        Position, facts and reason.

    Raises
    ------
    MissingFactError, SpectrumUnitError
        Always for the whole list: no row of it can be trusted.
    SpectrumError
        Two rows have one spectrum_id.
    """
    facts = _all_facts(spectra, given)
    groups, refused, normalized = {}, [], given["normalized"]
    others = _other_instruments(spectra, instrument)
    for i, spectrum in enumerate(spectra):
        try:
            _check_instrument(spectrum.meta, facts[i : i + 1], instrument, others)
            rows = instrument.convert(_one(spectrum, facts[i : i + 1], instrument, given, normalized))
        except (MissingFactError, SpectrumUnitError):
            raise
        except SpectrumError as error:
            refused.append((i, facts[i : i + 1], error))
            continue
        key = (rows.axis_kind, rows.axis.tobytes(), str(rows.unit), *(a is None for a in (rows.ivar, rows.covariance)))
        groups.setdefault(key, []).append((i, rows))
    return [_stack(members) for members in groups.values()], refused


def _other_instruments(spectra, instrument):
    """Names of other instruments that are installed and that spectra say they are of."""
    stated = {str(spectrum.meta.get("instrument") or "").lower() for spectrum in spectra} - {"", instrument.name}
    return stated & {plugin.name for plugin in find_plugins("instruments")} if stated else stated


def _check_instrument(meta, facts, instrument, others):
    stated = str(meta.get("instrument") or "").lower()
    if stated in others:
        raise SpectrumError(
            f"object {str(facts.object_id[0])!r}: expected a spectrum of {instrument.name}, got one of {stated}; use "
            f"get_instrument({stated!r}), or take meta['instrument'] away to put it on this grid all the same"
        )


def _all_facts(spectra, given):
    n = len(spectra)
    keywords = {k: None if given[k] is None else repeat(given[k], n, k) for k in ("object_id", "spectrum_id", "frame")}
    velocity = None if given["radial_velocity"] is None else as_velocity(given["radial_velocity"], n)
    parts = [_facts(s.meta, i, keywords, velocity) for i, s in enumerate(spectra)]
    facts = Facts.concatenate(parts)
    empty = facts.spectrum_id == ""
    facts.spectrum_id = np.where(empty, default_ids(np.where(empty, facts.object_id, "")), facts.spectrum_id)
    return facts


def _facts(meta, i, keywords, velocity):
    text = {name: _fact(meta, name, i, keywords[name]) for name in ("object_id", "frame")}
    spectrum_id = keywords["spectrum_id"][i] if keywords["spectrum_id"] is not None else meta.get("spectrum_id") or ""
    if velocity is None:
        value, source = as_velocity(meta.get("radial_velocity")), meta.get("velocity_source") or "meta radial_velocity"
    else:
        value, source = velocity[i : i + 1], "radial_velocity argument"
    source = "none" if np.isnan(value[0]) else source
    snr = meta.get("snr")
    others = [np.array([str(meta.get(name) or "")]) for name in ("product", "path", "visit")]
    if velocity is not None:  # the error in meta is that of the velocity in meta
        meta = {**meta, "velocity_err": None}
    numbers = [np.array([_number(meta, *fact)]) for fact in _NUMBERS]
    return Facts(
        np.array([text["object_id"]]),
        np.array([str(spectrum_id)]),
        repeat(text["frame"], 1, "frame"),
        value,
        np.array([source]),
        np.array([np.nan if snr is None else float(snr)]),
        *others,
        *numbers,
    )


def _number(meta, name, unit):
    """A fact of meta in a unit, NaN where there is none.

    Raises
    ------
    SpectrumUnitError
        It has no unit, or another one.
    """
    value = meta.get(name)
    if value is None:
        return np.nan
    given = getattr(value, "unit", None)
    if given is None or not given.is_equivalent(unit):
        raise SpectrumUnitError(f"meta[{name!r}]: expected a Quantity in a unit like {unit}, got {value!r}")
    return float(np.ma.filled(value.to_value(unit), np.nan))


def _fact(meta, name, i, keyword):
    if keyword is not None:
        return str(keyword[i])
    value = meta.get(name)
    if value is None or str(value) == "":
        raise MissingFactError(
            f"spectrum {i} (object {meta.get('object_id', 'unknown')!r}) does not say its {name}: "
            f"pass {name}=..., or set spectrum.meta[{name!r}]"
        )
    return str(value)


def _one(spectrum, facts, instrument, given, normalized):
    meta = spectrum.meta
    medium = given["medium"] or _fact(meta, "medium", 0, None)
    quality = _quality(meta, spectrum.flux.shape, instrument.quality_bits)
    mask = None if spectrum.mask is None else np.asarray(spectrum.mask, dtype=bool)
    ivar = inverse_variance(spectrum)
    rows = rows_from_arrays(spectrum.flux, ivar, mask, quality, spectrum.spectral_axis, medium, facts, normalized, None)
    rows.extra = {name: meta[name] for name in _EXTRA if meta.get(name) is not None}
    return rows


def inverse_variance(spectrum):
    """The inverse variance (P,) of a spectrum in its flux unit; 0 where it is not positive; None without one.

    Raises
    ------
    SpectrumError
        The uncertainty is of another kind.
    """
    uncertainty = spectrum.uncertainty
    if uncertainty is None:
        return None
    kinds = {InverseVariance: -2, StdDevUncertainty: 1, VarianceUncertainty: 2}
    power = next((p for kind, p in kinds.items() if isinstance(uncertainty, kind)), None)
    if power is None:
        raise SpectrumError(
            f"uncertainty: expected InverseVariance, StdDevUncertainty or VarianceUncertainty, "
            f"got {type(uncertainty).__name__}"
        )
    values = np.asarray(uncertainty.array, dtype=float) * _to_flux_unit(uncertainty.unit, spectrum.flux.unit**power)
    with np.errstate(all="ignore"):
        ivar = values ** (-2 / power)
    return np.where(np.isfinite(ivar) & (values > 0), ivar, 0.0)


def _to_flux_unit(unit, target):
    try:
        return 1.0 if unit is None else unit.to(target)
    except u.UnitConversionError:
        raise SpectrumUnitError(
            f"uncertainty: expected a unit convertible to {str(target)!r}, got {str(unit)!r}"
        ) from None


def _quality(meta, shape, bits):
    quality = meta.get("quality")
    if quality is None:
        return None
    quality = np.asarray(quality)
    if quality.shape != shape or not np.issubdtype(quality.dtype, np.integer):
        raise SpectrumError(f"meta['quality']: expected integers of shape {shape}, got {quality.dtype} {quality.shape}")
    given = meta.get("quality_bits")
    return quality if given is None else _renumber(quality, {**COMMON_BITS, **given}, bits)


def _renumber(quality, given, bits):
    """Move bits from the spectrum's numbering to the instrument's, by their names."""
    wanted = {name for name in given if bits.get(name) != given[name]}
    occurring = int(np.bitwise_or.reduce(quality.astype(np.uint32), axis=None))
    present = set(decode(occurring, {name: given[name] for name in wanted}))
    if not present:
        return quality
    if present - set(bits):
        raise SpectrumError(
            f"meta['quality_bits']: {', '.join(sorted(present - set(bits)))} are not bits of this instrument, "
            f"which knows {', '.join(sorted(bits))}"
        )
    source, result = quality.astype(np.uint32), np.zeros(quality.shape, np.uint32)
    for name, bit in given.items():
        if name in bits:
            result |= (source >> np.uint32(bit) & np.uint32(1)) << np.uint32(bits[name])
    return result


def _stack(members):
    """Join rows of one axis; each of them holds one row or more."""
    index, parts = zip(*members, strict=True)
    first = parts[0]
    filled = {name: _join([getattr(p, name) for p in parts], first.flux.shape) for name in _ARRAYS}
    covariance = None
    if first.covariance is not None:
        covariance = (np.concatenate([p.covariance[0] for p in parts]), first.covariance[1])
    facts = Facts.concatenate([p.facts for p in parts])
    return dataclasses.replace(first, **filled, facts=facts, covariance=covariance, extra={}, index=np.array(index))


def _join(arrays, shape):
    if all(a is None for a in arrays):
        return None
    kind = next(a.dtype for a in arrays if a is not None)
    return np.concatenate([np.zeros(shape, kind) if a is None else a for a in arrays])
