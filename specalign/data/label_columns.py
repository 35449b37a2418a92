"""Columns of label catalogues: which label each one is, its unit, and its numbers."""

import re

import astropy.units as u
import numpy as np

from specalign.data.label_systems import SYSTEMS
from specalign.exceptions import LabelError

__all__ = ["ASTROMETRY", "label_unit"]

_ELEMENT = re.compile(  # hydrogen to uranium, alpha elements, all metals
    "H|He|Li|Be|[BCNOFPSKVYIWU]|Ne|Na|Mg|Al|Si|Cl|Ar|Ca|Sc|Ti|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|As|Se|Br|Kr|Rb|Sr|Zr|Nb|Mo|"
    "Tc|Ru|Rh|Pd|Ag|Cd|In|Sn|Sb|Te|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|Hf|Ta|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|"
    "Bi|Th|alpha|m",
    re.IGNORECASE,
)
_LOG_GRAVITY = u.dex(u.cm / u.s**2)
_UNITS = {
    "teff": u.K, "logg": _LOG_GRAVITY, "vmicro": u.km / u.s, "vmacro": u.km / u.s, "vsini": u.km / u.s,
    "radial_velocity": u.km / u.s, "ra": u.deg, "dec": u.deg, "pmra": u.mas / u.yr, "pmdec": u.mas / u.yr,
    "parallax": u.mas, "a_v": u.mag, "a_g": u.mag, "e_bp_rp": u.mag, "e_b_v": u.mag,
}  # fmt: skip
#: Columns that say where a star is and how it moves across the sky; they belong to no label system.
ASTROMETRY = ("ra", "dec", "pmra", "pmdec", "parallax")
PLAIN = ("snr", "epoch")  # numbers without a unit; the epoch is a Julian year
_SPELLINGS = {"log(cgs)", "log(cm/s2)", "log(cm/s**2)", "log(cm.s**-2)", "[cm/s2]", "dex(cgs)", "dex(cm.s**-2)", "dex"}
_ALIASES = {
    "feh": "fe_h", "mh": "m_h", "t_eff": "teff", "log_g": "logg", "vhelio_avg": "radial_velocity",
    "rv": "radial_velocity", "av": "a_v", "ag": "a_g", "raj2000": "ra", "dej2000": "dec", "ref_epoch": "epoch",
}  # fmt: skip
_NULLS = ("", "null")  # how archives write an empty cell as text, among them Gaia's
_BRACKETS = re.compile(r"\[(\w+)/(fe|h|m)\]")
_ERROR = re.compile(r"(?P<base>.+)_(?:err|error)|e_(?P<vizier>.+)")


def label_unit(name):
    """The unit in which a label is kept, or None for a name that is no label.

    Examples
    --------
    >>> from specalign.data.labels import label_unit
    >>> label_unit("teff"), label_unit("mg_fe"), label_unit("apogee_id")
    (Unit("K"), Unit("dex"), None)
    """
    if name in _UNITS:
        return _UNITS[name]
    element, _, reference = name.rpartition("_")
    return u.dex if reference in ("fe", "h", "m") and _ELEMENT.fullmatch(element) else None


def base_of(name):
    """The label that a column of a read table is about: without ``_err`` or ``_corr``."""
    return re.sub(r"_(err|corr)$", "", name)


def find_labels(columns, facts):
    """Label (with ``_err`` or ``_corr``) to its column (lower case) and its place in it (None if it has one number)."""
    found = {}
    for column in columns:
        name = _label_of(column, facts)
        if name is not None:
            found.setdefault(name, (column, None))
    for array, places in facts.arrays.items():
        for name, place in places.items() if array in columns else ():
            found.setdefault(name, (array, place))
    return {name: found[name] for name in sorted(found, key=_order)}


def _label_of(column, facts):
    rest = column.removeprefix(facts.prefix)
    # the colour excesses E(B - V) and E(BP - RP) begin like an error of VizieR's catalogues
    error, base, ending = None if rest in _UNITS else _ERROR.fullmatch(rest), rest, ""
    if error:
        base, ending = error["base"] or error["vizier"], "_err"
    elif rest.endswith("_corr"):
        base, ending = rest.removesuffix("_corr"), "_corr"
    name = facts.columns.get(facts.prefix + base, facts.columns.get(base))
    if name is None:
        name = _usual_name(base)
        hidden = facts.only_named and not (facts.prefix and rest != column)
        if hidden and name not in (*ASTROMETRY, *PLAIN):
            return None
    return None if name is None or (ending == "_corr" and label_unit(name) != u.dex) else name + ending


def _usual_name(base):
    name = _ALIASES.get(base, _BRACKETS.sub(r"\1_\2", base))
    return name if label_unit(name) is not None or name in PLAIN else None


def _order(name):
    first = ("teff", "logg", "fe_h", "m_h", "alpha_m")
    base = base_of(name)
    return (first.index(base) if base in first else len(first), base, name)


def read_column(name, column, place, facts, where):
    """A column in the label's unit (Quantity, or plain numbers for those without one); NaN where there is no value."""
    base = base_of(name)
    target = label_unit(base)
    values = _numbers(column, place, facts, where)
    if name.endswith("_err"):
        values[values < 0] = np.nan
    if name == "teff":
        values[values <= 0] = np.nan
    if target is None or name.endswith("_corr"):
        return values
    if base == "logg" and name != base:
        target = u.dex
    return _converted(values, _known_unit(column, base, target, facts, where), target, column, where)


def _numbers(column, place, facts, where):
    label = f"{where}: column {column.info.name!r}"
    data = np.ma.asarray(getattr(column, "value", column))
    mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)) | np.ma.getmaskarray(data), data.shape)
    data = np.ma.getdata(data)
    if place is not None and data.ndim == 2 and place < data.shape[1]:
        data, mask = data[:, place], mask[:, place]
    if data.ndim != 1:
        raise LabelError(
            f"{label}: expected one number a row, got {data.shape[1:]}; give a column of its own to each label"
        )
    if data.dtype.kind in "SU":
        data = np.char.strip(data.astype(str))
        mask = mask | np.isin(np.char.lower(data), _NULLS)
    values = _as_float(np.where(mask, "nan", data) if data.dtype.kind in "OU" else data, label)
    values[mask] = np.nan
    sentinel = np.isclose(values[:, None], np.asarray(facts.sentinels, float), rtol=1e-6, atol=0).any(axis=1)
    values[sentinel | ~np.isfinite(values)] = np.nan
    return values


def _as_float(values, label):
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        row = next(row for row, value in enumerate(values) if not _is_number(value))
        raise LabelError(
            f"{label} holds text where numbers were expected: {str(values[row])!r} in row {row}; leave the cell empty "
            f"where there is no value"
        ) from None


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _known_unit(column, base, target, facts, where):
    unit = _unit(column, base, target, facts)
    if unit is not None:
        return unit
    has = "no unit" if column.info.unit is None else f"the unit {column.info.unit}"
    raise LabelError(
        f"{where}: column {column.info.name!r} has {has}; expected {target}. Set its unit, or name one of the known "
        f"systems ({', '.join(SYSTEMS)}) instead of {facts.name!r}, or declare your own with "
        f"specalign.data.label_systems.LabelSystem"
    )


def _converted(values, unit, target, column, where):
    try:
        return u.Quantity(values, unit).to(target) if target in (u.dex, u.mag) else (values * unit).to(target)
    except u.UnitConversionError as error:
        raise LabelError(
            f"{where}: column {column.info.name!r} has the unit {unit}, which is not convertible to {target}; correct "
            f"the unit, or rename the column if it is no {base_of(str(column.info.name).lower())}"
        ) from error


def _unit(column, base, target, facts):
    """The unit of a column: its own, or the data model's for a known system; None where that is not known."""
    unit = column.info.unit
    text = "" if unit is None else str(unit).replace(" ", "")
    if text == "" and base in facts.units:
        return u.Unit(facts.units[base])
    if base == "logg" and target is not u.dex and text in _SPELLINGS - {"dex"}:
        return target
    if facts.units_known and (text in ("", "dex", "[-]") if target in (u.dex, _LOG_GRAVITY) else text == ""):
        return target
    if base == "logg" and target is u.dex and text in _SPELLINGS:
        return u.dex
    unit = _recognised(unit)
    return None if unit is not None and target in (u.dex, _LOG_GRAVITY) and text == "" else unit


def _recognised(unit):
    """The unit, or the one that a plural such as "degrees" stands for, or None."""
    if not isinstance(unit, u.UnrecognizedUnit):
        return unit
    try:
        return u.Unit(str(unit).lower().rstrip("s"))
    except ValueError:
        return None
