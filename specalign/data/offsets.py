"""Two label systems in one table, joined only with a declared offset."""

from collections.abc import Mapping

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from specalign.data.columns import column_values, difference_unit, plain_values, with_unit
from specalign.data.label_columns import ASTROMETRY, PLAIN, base_of, label_unit
from specalign.data.labels import is_stellar_label
from specalign.data.matching import match
from specalign.exceptions import LabelError

__all__ = ["join_labels", "measure_offsets"]

_TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, for a normal distribution


def measure_offsets(labels_a, labels_b, *, by="object_id", min_stars=10, **options):
    """What to add to the labels of one system to bring them to another, from the stars that both have.

    The offset is the median of a - b.  It stands for these stars: if it changes with temperature or metallicity, one
    number a label is not enough, and ``mad`` is large.  Rows of the two tables must be independent measurements.

    Parameters
    ----------
    labels_a, labels_b : `~astropy.table.QTable`
        From `specalign.read_labels`.
    by : {"object_id", "sky"}
        How stars are matched; ``**options`` (radius, epoch) go to `specalign.match`.
    min_stars : int
        Labels that fewer stars have in both tables are left out, and named in ``meta["left_out"]``.

    Returns
    -------
    `~astropy.table.QTable`
        A row a label: label, unit, offset, offset_err (of the median: sqrt(pi / 2) times 1.4826 mad / sqrt(n)), mad
        (median absolute deviation of a - b), n.  ``meta`` has ``to`` and ``of``, the two systems.  It can be given to
        `join_labels`.

    Raises
    ------
    LabelError
        No label has enough stars in both tables.
    specalign.exceptions.MatchError
        No star is in both tables.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign.data.offsets import join_labels, measure_offsets
    >>> names, teff = [f"star {i}" for i in range(20)], np.linspace(4500, 5500, 20)
    >>> a = QTable({"object_id": names, "teff": (teff + 30) * u.K}, meta={"label_system": "a"})
    >>> b = QTable({"object_id": names + ["other"], "teff": np.append(teff, 6000) * u.K}, meta={"label_system": "b"})
    >>> offsets = measure_offsets(a, b)
    >>> print(offsets["label", "unit", "offset", "n"])
    label unit offset  n
    ----- ---- ------ ---
     teff    K   30.0  20
    >>> join_labels(a, b, offsets)["teff"][-1]
    <Quantity 6030. K>
    """
    pairs = match(labels_a, labels_b, by=by, **options)
    names = [name for name in labels_a.colnames if _needs_offset(name) and name in labels_b.colnames]
    rows, left_out = [], {}
    for name in names:
        unit, difference = _difference(labels_a, labels_b, name, pairs)
        if len(difference) < min_stars:
            left_out[name] = f"{len(difference)} stars"
            continue
        offset = float(np.median(difference))
        mad = float(np.median(np.abs(difference - offset)))
        error = float(np.sqrt(np.pi / 2) * _TO_SIGMA * mad / np.sqrt(len(difference)))
        rows.append((name, unit.to_string(), offset, error, mad, len(difference)))
    if not rows:
        raise LabelError(
            f"expected at least {min_stars} stars with a label in both tables, got {left_out or 'no common label'} in "
            f"{len(pairs)} pairs; declare the offsets by hand, or lower min_stars"
        )
    table = QTable(rows=rows, names=("label", "unit", "offset", "offset_err", "mad", "n"))
    table.meta = {"to": _system(labels_a, "first"), "of": _system(labels_b, "second"), "left_out": left_out}
    return table


def _needs_offset(name):
    """Labels and velocities belong to their system; positions, motions and S/N do not."""
    return is_stellar_label(name) or name == "radial_velocity"


def _difference(labels_a, labels_b, name, pairs):
    unit = label_unit(name)
    values = [column_values(labels, name, unit)[0] for labels in (labels_a, labels_b)]
    difference = values[0][pairs["index_a"]] - values[1][pairs["index_b"]]
    return difference_unit(label_unit(name)), difference[np.isfinite(difference)]


def _system(labels, which):
    system = labels.meta.get("label_system")
    if not system:
        raise LabelError(f"the {which} table does not say its label system; set meta['label_system']")
    return system


def join_labels(labels_a, labels_b, offsets=None, offset_errors=None, pairs=None):
    """One table of labels in the system of the first, with the second's stars brought to it by declared offsets.

    A star that both tables have keeps its row of the first.

    Parameters
    ----------
    labels_a, labels_b : `~astropy.table.QTable`
        From `specalign.read_labels`.
    offsets : `~astropy.table.QTable` or dict of str to `~astropy.units.Quantity`, optional
        What is added to each label of the second table: from `measure_offsets`, or by hand, such as
        ``{"teff": 20 * u.K, "logg": 0.05 * u.dex}``.  Every label of both tables needs one; 0 says that it was
        thought of.  Only tables of one system need none.
    offset_errors : dict of str to `~astropy.units.Quantity`, optional
        Added in quadrature to the errors; by default those of the table of offsets, else 0.
    pairs : `~astropy.table.QTable`, optional
        From `specalign.match`, where ids of the two tables differ; by default equal object ids are the same star.

    Returns
    -------
    `~astropy.table.QTable`
        The labels of the first table, positions and the like of both, and ``label_origin`` (the system of each row).
        ``meta`` is that of the first, with ``joined_systems``, ``offsets`` (label to offset, error and unit),
        ``left_out`` (columns that only the second has, and correlations of errors), ``replaced_rows`` (of the second
        table, whose star the first one has).

    Raises
    ------
    LabelError
        A label of both tables has no offset, an offset has no unit or is for another pair of systems, or a table does
        not say its system.

    Examples
    --------
    See `measure_offsets`.

    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.offsets import join_labels
    >>> one = QTable({"object_id": ["a"], "teff": [5000.0] * u.K}, meta={"label_system": "survey-a"})
    >>> two = QTable({"object_id": ["b"], "teff": [5980.0] * u.K}, meta={"label_system": "survey-b"})
    >>> joined = join_labels(one, two, {"teff": 20 * u.K})
    >>> joined["teff"], joined["label_origin"].tolist()
    (<Quantity [5000., 6000.] K>, ['survey-a', 'survey-b'])
    """
    systems = _system(labels_a, "first"), _system(labels_b, "second")
    common = [name for name in labels_a.colnames if _needs_offset(name) and name in labels_b.colnames]
    offsets, errors = _declared(offsets, offset_errors, systems)
    _check_declared(offsets, errors, common, systems)
    moved = _moved(labels_b, common, offsets, errors)
    new = _without_partner(labels_a, labels_b, pairs)
    kept = [name for name in labels_a.colnames if name == "object_id" or labels_a[name].dtype.kind == "f"]
    kept = [name for name in kept if not name.endswith("_corr")]
    result = QTable({name: _stacked(labels_a, moved, new, name) for name in kept})
    _add_epochs(result, labels_a, labels_b, new)
    result["label_origin"] = np.append(_origin(labels_a, systems[0]), _origin(labels_b, systems[1])[new])
    result.meta = {key: value for key, value in labels_a.meta.items() if key != "epoch"}
    result.meta |= {"joined_systems": list(systems), "replaced_rows": int((~new).sum())}
    units = {name: difference_unit(label_unit(name)).to_string() for name in common}
    result.meta["offsets"] = {
        name: {"offset": offsets.get(name, 0.0), "error": errors.get(name, 0.0), "unit": units[name]} for name in common
    }
    columns = dict.fromkeys([*labels_a.colnames, *labels_b.colnames])
    result.meta["left_out"] = [name for name in columns if name not in result.colnames]
    result.meta["masked_of_joined"] = labels_b.meta.get("masked", {})
    return result


def _without_partner(labels_a, labels_b, pairs):
    """Rows of the second table whose star the first one does not have (N,)."""
    if pairs is None:
        return ~np.isin(np.asarray(labels_b["object_id"], str), np.asarray(labels_a["object_id"], str))
    return ~np.isin(np.arange(len(labels_b)), pairs["index_b"])


def _origin(labels, system):
    return np.asarray(labels["label_origin"] if "label_origin" in labels.colnames else np.full(len(labels), system))


def _declared(offsets, errors, systems):
    """Offsets and their errors as numbers in the labels' units."""
    if isinstance(offsets, Table):
        found = tuple(offsets.meta.get(key) for key in ("to", "of"))
        if None not in found and found != systems:
            raise LabelError(
                f"the offsets bring {found[1]!r} to {found[0]!r}, and the tables are of {systems[1]!r} and "
                f"{systems[0]!r}; measure them with these two, in this order"
            )
        if errors is None:
            errors = {str(row["label"]): row["offset_err"] * u.Unit(row["unit"]) for row in offsets}
        offsets = {str(row["label"]): row["offset"] * u.Unit(row["unit"]) for row in offsets}
    return _numbers(offsets, "offset"), _numbers(errors, "error")


def _numbers(given, what):
    if given is not None and not isinstance(given, Mapping):
        raise LabelError(f"{what}s: expected a dict of labels to quantities, or measure_offsets' table, got {given!r}")
    return {name: _number(name, value, what) for name, value in (given or {}).items()}


def _number(name, value, what):
    unit = label_unit(name)
    if unit is None:
        raise LabelError(f"{what} of {name!r}: this is no label")
    unit = difference_unit(unit)
    try:
        number = float(u.Quantity(value).to_value(unit))
    except (u.UnitConversionError, u.UnitTypeError, TypeError) as error:
        raise LabelError(f"{what} of {name}: expected a quantity in {unit}, got {value!r}") from error
    if not np.isfinite(number) or (what == "error" and number < 0):
        raise LabelError(f"{what} of {name}: expected a finite {what}, got {value!r}")
    return number


def _check_declared(offsets, errors, common, systems):
    missing = [name for name in common if name not in offsets]
    if missing and systems[0] != systems[1]:
        raise LabelError(
            f"labels of the system {systems[1]!r} cannot be joined to those of {systems[0]!r} without a declared "
            f"offset: {', '.join(missing)} have none. Pass offsets={{{missing[0]!r}: ...}}, or measure_offsets(a, b) "
            f"from common stars, or remove the columns from one table"
        )
    unused = sorted({*offsets, *errors} - set(common))
    if unused:
        raise LabelError(f"offsets of {', '.join(unused)} were declared, and both tables have only {', '.join(common)}")


def _moved(labels_b, common, offsets, errors):
    moved = labels_b.copy()
    for name in common:
        unit, error = label_unit(name), f"{name}_err"
        moved[name] = with_unit(column_values(labels_b, name, unit)[0] + offsets.get(name, 0.0), unit)
        if error in moved.colnames:
            old = column_values(labels_b, error, difference_unit(unit))[0]
            moved[error] = np.hypot(old, errors.get(name, 0.0)) * difference_unit(unit)
    return moved


def _stacked(labels_a, moved, new, name):
    """A column of the first table, continued with the rows of the second that are new."""
    first, unit = labels_a[name], getattr(labels_a[name], "unit", None)
    if name in moved.colnames and (_needs_offset(base_of(name)) or base_of(name) in (*ASTROMETRY, *PLAIN, "object_id")):
        second = moved[name][new]
    elif first.dtype.kind == "f":
        second = u.Quantity(np.full(new.sum(), np.nan), unit, subok=True) if unit else np.full(new.sum(), np.nan)
    else:
        second = np.full(new.sum(), "", dtype=str)
    if unit is None:
        plain = plain_values if first.dtype.kind == "f" else np.asarray
        return np.append(plain(first), plain(second))
    return with_unit(np.append(plain_values(first), plain_values(second.to(unit))), unit)


def _add_epochs(result, labels_a, labels_b, new):
    """A column of epochs where the tables state them, since those of two surveys differ."""
    if "ra" not in result.colnames:
        return
    epochs = np.append(_epochs(labels_a), _epochs(labels_b)[new])
    if np.isfinite(epochs).any():
        result["epoch"] = epochs


def _epochs(labels):
    stated = labels["epoch"] if "epoch" in labels.colnames else labels.meta.get("epoch", np.nan)
    return np.broadcast_to(np.asarray(stated, dtype=float), len(labels))
