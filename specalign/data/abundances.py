"""Abundances as [X/H] or [X/Fe], with errors that are correlated, and on another solar scale.

[X/Fe] = [X/H] - [Fe/H], so that with the correlation rho between the errors of [X/H] and [Fe/H]

    var [X/Fe] = var [X/H] + var [Fe/H] - 2 rho sigma [X/H] sigma [Fe/H]

and the other way with a plus, and the correlation between the errors of [X/Fe] and [Fe/H].  The errors of the result
are correlated with [Fe/H] even if those of the input are not: a column ``<label>_corr`` says by how much, and the way
back uses it, so that values and errors return.

>>> from specalign.data.abundances import SOLAR_SCALES
>>> {name: float(scale["fe"]) for name, scale in SOLAR_SCALES.items()}
{'grevesse-2007': 7.45, 'asplund-2009': 7.5, 'asplund-2021': 7.46}
"""

import types

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.data.columns import column_values
from specalign.data.label_systems import NOT_STATED
from specalign.data.labels import label_unit
from specalign.exceptions import LabelError

__all__ = ["SOLAR_SCALES", "change_solar_scale", "to_x_fe", "to_x_h"]

_ELEMENTS = [
    "li", "c", "n", "o", "na", "mg", "al", "si", "p", "s", "k", "ca", "sc", "ti", "v", "cr", "mn", "fe", "co", "ni",
    "cu", "zn", "ge", "rb", "sr", "y", "zr", "ba", "la", "ce", "nd", "eu",
]  # fmt: skip


def _scale(numbers):
    return types.MappingProxyType(dict(zip(_ELEMENTS, map(float, numbers.split()), strict=True)))


#: log10 of the number of atoms for 10^12 hydrogen atoms in the Sun's photosphere, by scale and element:
#: Grevesse, Asplund & Sauval 2007 (SSRv 130, 105), table 1; Asplund, Grevesse, Sauval & Scott 2009 (ARA&A 47, 481),
#: table 1; Asplund, Amarsi & Grevesse 2021 (A&A 653, A141), table 2.
SOLAR_SCALES = types.MappingProxyType({
    "grevesse-2007": _scale("1.05 8.39 7.78 8.66 6.17 7.53 6.37 7.51 5.36 7.14 5.08 6.31 3.17 4.90 4.00 5.64 5.39 7.45 "
                            "4.92 6.23 4.21 4.60 3.58 2.60 2.92 2.21 2.58 2.17 1.13 1.70 1.45 0.52"),
    "asplund-2009": _scale("1.05 8.43 7.83 8.69 6.24 7.60 6.45 7.51 5.41 7.12 5.03 6.34 3.15 4.95 3.93 5.64 5.43 7.50 "
                           "4.99 6.22 4.19 4.56 3.65 2.52 2.87 2.21 2.58 2.18 1.10 1.58 1.42 0.52"),
    "asplund-2021": _scale("0.96 8.46 7.83 8.69 6.22 7.55 6.43 7.51 5.41 7.12 5.07 6.30 3.14 4.97 3.90 5.62 5.42 7.46 "
                           "4.94 6.20 4.18 4.56 3.62 2.32 2.83 2.21 2.59 2.27 1.11 1.58 1.42 0.52"),
})  # fmt: skip


def to_x_h(labels, correlation=None):
    """Replace every [X/Fe] by [X/H] = [X/Fe] + [Fe/H], and every [X/M] by [X/M] + [M/H].

    Parameters
    ----------
    labels : `~astropy.table.QTable`
        From `specalign.read_labels`.
    correlation : float or dict of str to float, optional
        Correlation between the errors of [X/Fe] and of [Fe/H] (of [X/M] and [M/H]); a dict has elements ("mg") or
        labels ("mg_fe").  By default the column ``<label>_corr``, else ``labels.meta["error_correlation"]``, else 0.
        ASPCAP publishes none; its DR17 copies the error of [X/H] into that of [X/Fe], so that with 0 the error of
        [X/H] is rather too large.

    Returns
    -------
    `~astropy.table.QTable`
        A copy with the columns in their places; ``<label>_err`` and ``<label>_corr`` (the correlation of its error
        with that of fe_h, or of m_h) where the errors of both are there.  ``meta`` adds ``converted`` (new label to
        old), ``not_converted`` (label to reason), ``without_errors``, and counts in ``masked`` the values that are
        lost for want of [Fe/H].

    Raises
    ------
    LabelError
        fe_h is not there, nothing can be converted, or the correlation is not between -1 and 1.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.abundances import to_x_fe, to_x_h
    >>> labels = QTable({"object_id": ["a"], "fe_h": [-0.5] * u.dex, "mg_fe": [0.3] * u.dex})
    >>> labels["fe_h_err"], labels["mg_fe_err"] = [0.03] * u.dex, [0.04] * u.dex
    >>> x_h = to_x_h(labels)
    >>> x_h["mg_h"], x_h["mg_h_err"], x_h["mg_h_corr"]
    (<Quantity [-0.2] dex>, <Quantity [0.05] dex>, <Column name='mg_h_corr' dtype='float64' length=1>
    0.6)
    >>> to_x_fe(x_h)["mg_fe_err"]
    <Quantity [0.04] dex>
    """
    pairs = {name: (_element(name) + "_h", {"fe": "fe_h", "m": "m_h"}[_reference(name)])
             for name in labels.colnames if _reference(name) in ("fe", "m")}  # fmt: skip
    return _convert(labels, pairs, correlation, +1, "an [X/Fe] or [X/M]")


def to_x_fe(labels, correlation=None):
    """Replace every [X/H] by [X/Fe] = [X/H] - [Fe/H].

    [X/M] stays as it is: call `to_x_h` first.  [M/H] stays too.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
    correlation : float or dict of str to float, optional
        Correlation between the errors of [X/H] and of [Fe/H]; by default as in `to_x_h`.  Errors of temperature and
        gravity shift both the same way, so with the default of 0 the error of [X/Fe] is rather too large.

    Returns
    -------
    `~astropy.table.QTable`
        As from `to_x_h`.

    Raises
    ------
    LabelError
        fe_h is not there, nothing can be converted, or the correlation is not between -1 and 1.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.abundances import to_x_fe
    >>> labels = QTable({"object_id": ["a"], "fe_h": [-0.5] * u.dex, "mg_h": [-0.2] * u.dex})
    >>> labels["fe_h_err"], labels["mg_h_err"] = [0.03] * u.dex, [0.05] * u.dex
    >>> to_x_fe(labels, correlation=0.6)["mg_fe_err"]
    <Quantity [0.04] dex>
    """
    pairs = {name: (_element(name) + "_fe", "fe_h")
             for name in labels.colnames if _reference(name) == "h" and _element(name) not in ("fe", "m")}  # fmt: skip
    return _convert(labels, pairs, correlation, -1, "an [X/H] beside [Fe/H] and [M/H]")


def _reference(name):
    """ "fe", "h" or "m" for an abundance, "" for any other column."""
    return name.rpartition("_")[2] if label_unit(name) == u.dex else ""


def _element(name):
    return name.rpartition("_")[0]


def _convert(labels, pairs, correlation, sign, expected):
    _check_correlation(correlation, pairs)
    missing = {old: reference for old, (_, reference) in pairs.items() if reference not in labels.colnames}
    if not pairs or len(missing) == len(pairs):
        lacks = f", without {', '.join(sorted(set(missing.values())))}" if missing else ""
        raise LabelError(f"expected {expected} and its reference; the table has {', '.join(labels.colnames)}{lacks}")
    skipped = {old: f"there is no {reference}" for old, reference in missing.items()}
    done, values = {}, {}
    for old, (new, reference) in pairs.items():
        if new in labels.colnames or new in done.values():
            skipped[old] = f"the table has a {new} of its own"
        if old not in skipped:
            done[old] = new
            values |= _converted(labels, old, new, reference, sign, _rho(labels, old, correlation))
    result = _replaced(labels, done, values)
    result.meta |= {"converted": {new: old for old, new in done.items()}, "not_converted": skipped}
    result.meta["without_errors"] = [new for new in done.values() if f"{new}_err" not in values]
    _count_lost(result, labels, done, pairs)
    return result


def _converted(labels, old, new, reference, sign, rho):
    """The new column, and its error and correlation where both errors are known."""
    base = _dex(labels, reference)
    columns = {new: (_dex(labels, old) + sign * base) * u.dex}
    if f"{old}_err" not in labels.colnames or f"{reference}_err" not in labels.colnames:
        return columns
    error, base_error = _dex(labels, f"{old}_err"), _dex(labels, f"{reference}_err")
    variance = error**2 + base_error**2 + 2 * sign * rho * error * base_error
    sigma = np.sqrt(np.maximum(variance, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        new_rho = np.where(sigma > 0, (rho * error + sign * base_error) / sigma, 0.0)
    new_rho[~np.isfinite(sigma)] = np.nan
    return columns | {f"{new}_err": sigma * u.dex, f"{new}_corr": np.clip(new_rho, -1, 1)}


def _dex(labels, name):
    """A column (N,) in dex, NaN where it is masked."""
    return column_values(labels, name, u.dex)[0]


def _check_correlation(correlation, pairs):
    given = (
        correlation if isinstance(correlation, dict) else {} if correlation is None else {"correlation": correlation}
    )
    for name, value in given.items():
        if not (np.ndim(value) == 0 and -1 <= value <= 1):
            raise LabelError(f"{name}: expected a correlation of -1 to 1, got {value!r}")
    if isinstance(correlation, dict):
        unknown = sorted(set(correlation) - set(pairs) - set(map(_element, pairs)))
        if unknown:
            raise LabelError(f"correlation: {', '.join(unknown)} are none of the labels to convert: {', '.join(pairs)}")


def _rho(labels, name, correlation):
    """The correlation (N,) of the errors of a label and of its reference."""
    default = labels.meta.get("error_correlation", 0.0)
    column = labels[f"{name}_corr"] if f"{name}_corr" in labels.colnames else default
    given = correlation
    if isinstance(correlation, dict):
        given = correlation.get(name, correlation.get(_element(name)))
    rho = np.broadcast_to(np.asarray(column if given is None else given, dtype=float), len(labels))
    return np.where(np.isfinite(rho), rho, default)


def _replaced(labels, done, values):
    """A copy in which each converted column, and its error, stand where the old ones stood."""
    result = QTable(meta=dict(labels.meta))
    for name in labels.colnames:
        label, ending = next(((name.removesuffix(e), e) for e in ("_err", "_corr") if name.endswith(e)), (name, ""))
        if label not in done:
            result[name] = labels[name]
        elif not ending:
            result.update({f"{done[label]}{e}": values[f"{done[label]}{e}"] for e in ("", "_err", "_corr")
                           if f"{done[label]}{e}" in values})  # fmt: skip
    return result


def _count_lost(result, labels, done, pairs):
    masked = {name: dict(reasons) for name, reasons in result.meta.get("masked", {}).items() if name in result.colnames}
    for old, new in done.items():
        masked |= {new: dict(labels.meta["masked"][old])} if old in labels.meta.get("masked", {}) else {}
        lost = int((np.isfinite(_dex(labels, old)) & ~np.isfinite(result[new].value)).sum())
        if lost:
            masked.setdefault(new, {})[f"no {pairs[old][1]}"] = lost
    result.meta["masked"] = masked


def change_solar_scale(labels, to, scale=None):
    """Refer abundances to other numbers for the Sun.

    [X/H] changes by log eps(X) of the old scale minus that of the new one, [X/Fe] by this less the same for iron.
    [M/H] and [alpha/H] are no elements, and some elements have no number: those become NaN, and ``meta["masked"]``
    says why.  Where a pipeline shifted its zero points to the Sun's neighbourhood, as ASPCAP does, a published scale
    describes the models and not quite the labels; a measured offset is then better
    (`specalign.data.offsets.measure_offsets`).

    Parameters
    ----------
    labels : `~astropy.table.QTable`
    to : str
        A key of `SOLAR_SCALES`.
    scale : str, optional
        The scale that the labels are on; by default ``labels.meta["solar_scale"]``.

    Returns
    -------
    `~astropy.table.QTable`
        A copy.  ``meta["solar_scale"]`` is the new scale, and ``meta["label_system"]`` names it too, since its labels
        are not to be mixed with the old ones.

    Raises
    ------
    LabelError
        A scale is not known or not stated, or contradicts what the table says.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.abundances import change_solar_scale
    >>> labels = QTable({"fe_h": [0.0] * u.dex, "m_h": [0.0] * u.dex})
    >>> labels.meta = {"label_system": "mine", "solar_scale": "grevesse-2007"}
    >>> changed = change_solar_scale(labels, to="asplund-2009")
    >>> changed["fe_h"], changed.meta["label_system"]
    (<Quantity [-0.05] dex>, 'mine on asplund-2009')
    >>> changed.meta["masked"]
    {'m_h': {'no solar value of m': 1}}
    """
    old, new = SOLAR_SCALES[_known_scale(labels, scale)], SOLAR_SCALES[_known_scale(labels, to, stated=False)]
    result = QTable(labels, copy=True)
    masked = {name: dict(reasons) for name, reasons in labels.meta.get("masked", {}).items()}
    for name in [name for name in labels.colnames if _reference(name)]:
        shift = _shift(name, old, new)
        lost = 0 if np.isfinite(shift) else int(np.isfinite(_dex(labels, name)).sum())
        if lost:
            masked.setdefault(name, {})[f"no solar value of {_without_number(name, old, new)}"] = lost
        for column in {name, *(set(labels.colnames) & {f"{name}_err"} if np.isnan(shift) else ())}:
            result[column] = (_dex(labels, column) + shift) * u.dex
    system = str(labels.meta.get("label_system", NOT_STATED))
    system = next(
        (system.removesuffix(f" on {name}") for name in SOLAR_SCALES if system.endswith(f" on {name}")), system
    )
    result.meta = labels.meta | {"solar_scale": to, "label_system": f"{system} on {to}", "masked": masked}
    return result


def _known_scale(labels, scale, stated=True):
    says = labels.meta.get("solar_scale", NOT_STATED)
    if stated and scale and says not in (NOT_STATED, scale):
        raise LabelError(f"scale: the labels are on {says!r}, not {scale!r}, as meta['solar_scale'] says")
    name = scale or says
    if name not in SOLAR_SCALES:
        raise LabelError(
            f"solar scale: expected one of {', '.join(SOLAR_SCALES)}, got {name!r}; pass scale= if you know it"
        )
    return name


def _shift(name, old, new):
    """What to add to a label; NaN where one of the scales has no number for it."""
    element, reference = _element(name), _reference(name)
    parts = [(element, 1)] if reference == "h" else [(element, 1), (reference, -1)]
    return sum(sign * (old.get(part, np.nan) - new.get(part, np.nan)) for part, sign in parts)


def _without_number(name, old, new):
    return next(part for part in (_element(name), _reference(name)) if part not in old or part not in new)
