"""Label columns as plain float arrays, and back, without losing their units.

>>> from specalign.data.columns import NOT_LABELS, SENTINEL
>>> -9999.99 < SENTINEL
True
>>> "radial_velocity" in NOT_LABELS, "a_v" in NOT_LABELS
(True, False)
"""

import logging
import re

import astropy.units as u
import numpy as np
from astropy.units.function import FunctionUnitBase

from specalign.exceptions import LabelError, MatchError

__all__ = [
    "NOT_LABELS",
    "SENTINEL",
    "column_values",
    "difference_unit",
    "known_values",
    "label_names",
    "log_unknown",
    "match_rows",
    "plain_values",
    "with_unit",
]

log = logging.getLogger(__name__)

#: Surveys write -9999 (and -9999.99) where nothing was measured.
SENTINEL = -9000.0

#: Columns that catalogues carry beside labels.
NOT_LABELS = {"object_id", "spectrum_id", "ra", "dec", "pmra", "pmdec", "snr", "radial_velocity", "velocity_applied",
              "parallax", "distance", "flag", "flags", "epoch", "mjd"}  # fmt: skip

#: Ends of names of what goes with a label: errors, flags, ends of intervals such as teff_lo_95, quantiles.
NOT_LABEL_ENDS = re.compile(r"(_err|_flag|_(lo|hi)_[\d.]+|_q[\d.]+)$")


def label_names(table):
    """Names of the label columns of a table, in their order.

    A label is a column of floating-point numbers with a unit that is neither an error (``*_err``), a bound nor one of
    the positions, velocities and the like that catalogues carry beside labels.  Of those, the ones that
    ``meta["named_labels"]`` names are labels all the same, as in predictions of a model that learned them.

    Raises
    ------
    LabelError
        teff, logg or an abundance has no unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.columns import label_names
    >>> label_names(QTable({"object_id": ["a"], "ra": [1.0] * u.deg, "teff": [5777.0] * u.K, "teff_err": [60.0] * u.K}))
    ['teff']
    """
    named = set(table.meta.get("named_labels", ()))
    return [name for name in table.colnames if _is_label(table, name, named)]


def _is_label(table, name, named):
    column = table[name]
    if name in NOT_LABELS - named or NOT_LABEL_ENDS.search(name) or getattr(column, "ndim", 2) != 1:
        return False
    if column.dtype.kind != "f":
        return False
    if getattr(column, "unit", None) is None:
        if name in ("teff", "logg") or name.endswith(("_fe", "_h", "_m")):
            raise LabelError(
                f"{name}: expected a unit, such as K, dex(cm / s2) or dex, got none; set table[{name!r}].unit"
            )
        return False
    return True


def column_values(table, name, unit=None):
    """One label as (values (N,) float64 with NaN where masked, its unit, the unit of a difference of two).

    Parameters
    ----------
    table : `~astropy.table.QTable` or `~astropy.table.Table`
    name : str
    unit : `~astropy.units.Unit`, optional
        Convert to it.

    Raises
    ------
    LabelError
        The column is not there, has no unit, or cannot be converted.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.columns import column_values
    >>> values, unit, step = column_values(QTable({"logg": [4.44] * u.dex(u.cm / u.s**2)}), "logg")
    >>> values, str(unit), str(step)
    (array([4.44]), 'dex(cm / s2)', 'dex')
    """
    if name not in table.colnames:
        raise LabelError(f"label {name!r} is not in the table, which has {', '.join(table.colnames)}")
    column = table[name]
    own = getattr(column, "unit", None)
    if own is None:
        raise LabelError(f"{name}: expected a unit, got none; set table[{name!r}].unit")
    values = plain_values(column)
    if unit is not None and own != unit:
        values = _converted(name, values, own, unit)
        own = unit
    return values, own, difference_unit(own)


def known_values(table, name, unit=None):
    """As `column_values`, of a catalogue's labels: NaN, too, where a survey's -9999 says that nothing was measured.

    Raises
    ------
    LabelError
        As `column_values`.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.columns import known_values
    >>> known_values(QTable({"teff": [5777.0, -9999.0] * u.K}), "teff", u.kK)[0]
    array([5.777,   nan])
    """
    stated = column_values(table, name)[0]  # -9999 is one in the catalogue's own unit
    values, unit, step = column_values(table, name, unit)
    return np.where(np.isfinite(stated) & (stated >= SENTINEL), values, np.nan), unit, step


def plain_values(column):
    """A column (N,) as float64 without its unit, NaN where it is masked.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.utils.masked import Masked
    >>> from specalign.data.columns import plain_values
    >>> plain_values(Masked([5777.0, 0.0] * u.K, mask=[False, True]))
    array([5777.,   nan])
    """
    mask = np.asarray(getattr(column, "mask", False)) & np.ones(len(column), bool)
    data = np.ma.getdata(getattr(column, "unmasked", column))
    return np.where(mask, np.nan, np.asarray(getattr(data, "value", data), dtype=float))


def log_unknown(table, names, rows):
    """Name the objects whose labels are not finite although nothing masks them; they are taken for unknown.

    Parameters
    ----------
    table : `~astropy.table.Table`
        object_id and labels.
    names : sequence of str
    rows : (n,) int
        Of the table; -1 is none.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.columns import log_unknown
    >>> log_unknown(QTable({"object_id": ["a", "b"], "teff": [5777.0, float("nan")] * u.K}), ["teff"], [0, 1])
    """
    asked = np.unique(np.asarray(rows)[np.asarray(rows) >= 0])
    for name in names:
        masked = np.asarray(getattr(table[name], "mask", False)) & np.ones(len(table), bool)
        wrong = asked[(~np.isfinite(plain_values(table[name])) & ~masked)[asked]]
        if len(wrong):
            first = ", ".join(map(str, table["object_id"][wrong[:5]]))
            log.warning(
                "%s of %d of %d objects is neither finite nor masked, and taken for unknown: %s%s",
                *(name, len(wrong), len(asked), first, ", ..." if len(wrong) > 5 else ""),
            )


def _converted(name, values, own, unit):
    try:
        return with_unit(values, own).to_value(unit)
    except (u.UnitConversionError, u.UnitTypeError) as error:
        raise LabelError(f"{name}: expected {unit}, got {own}, which cannot be converted") from error


def with_unit(values, unit):
    """Values as a Quantity, or as the logarithmic quantity that a unit such as dex(cm / s2) needs.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.data.columns import with_unit
    >>> with_unit([4.44], u.dex(u.cm / u.s**2))
    <Dex [4.44] dex(cm / s2)>
    """
    return u.Quantity(values, unit, subok=True)


def difference_unit(unit):
    """Unit of the difference of two values: dex for a logarithmic unit, else the unit itself.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.data.columns import difference_unit
    >>> difference_unit(u.dex(u.cm / u.s**2)), difference_unit(u.K)
    (Unit("dex"), Unit("K"))
    """
    return unit.function_unit if isinstance(unit, FunctionUnitBase) else unit


def match_rows(object_id, catalog_id):
    """Row of a catalogue with unique object_id for each object: (N,) int64, -1 where it is not there.

    Raises
    ------
    MatchError
        An object occurs twice in the catalogue, or nothing is in common.

    Examples
    --------
    >>> from specalign.data.columns import match_rows
    >>> match_rows(["b", "a", "b", "z"], ["a", "b"])
    array([ 1,  0,  1, -1])
    """
    object_id, catalog_id = np.asarray(object_id, dtype=str), np.asarray(catalog_id, dtype=str)
    names, first, counts = np.unique(catalog_id, return_index=True, return_counts=True)
    if (counts > 1).any():
        raise MatchError(
            f"object_id {str(names[counts > 1][0])!r} occurs {counts.max()} times in the label table; "
            f"give one row an object"
        )
    place = np.searchsorted(names, object_id)
    found = np.zeros(len(object_id), dtype=bool) if not len(names) else names[place % len(names)] == object_id
    if not found.any():
        raise MatchError(
            f"none of the {len(object_id)} spectra has its object among the {len(catalog_id)} labelled ones; "
            f"the first are {list(map(str, object_id[:5]))} and {list(map(str, catalog_id[:5]))}"
        )
    return np.where(found, first[place % len(names)], -1)
