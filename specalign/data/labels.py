"""Label catalogues, each with its system, units and flags.

A label without a unit, or of an unknown system, is not guessed: units are assumed only for the systems of
`specalign.data.label_systems.SYSTEMS`, whose data models state them, and for those that the user declares.
"""

import re

import numpy as np
from astropy.table import QTable

from specalign.data.columns import difference_unit
from specalign.data.identifiers import read_identifiers
from specalign.data.label_columns import ASTROMETRY, find_labels, label_unit, read_column
from specalign.data.label_files import load_table
from specalign.data.label_systems import NOT_STATED, SYSTEMS, LabelSystem
from specalign.exceptions import LabelError

__all__ = ["is_stellar_label", "label_unit", "read_labels"]

_NOBODY = ("-9999", "-999")  # written where a star has no counterpart in the survey whose identifiers these are

#: What a table of labels, once read, says of itself; kept when it is written and read again.
_STATED = ("calibrated", "solar_scale", "data_model", "error_correlation", "epoch", "offsets", "joined_systems")


def is_stellar_label(name):
    """Whether a column is about the star itself and belongs to a label system: no astrometry, velocity, error or flag.

    Examples
    --------
    >>> from specalign.data.labels import is_stellar_label
    >>> [name for name in ("teff", "teff_err", "ra", "radial_velocity", "mg_fe") if is_stellar_label(name)]
    ['teff', 'mg_fe']
    """
    return label_unit(name) is not None and name not in (*ASTROMETRY, "radial_velocity")


def read_labels(source, system=None, *, id_column=None, duplicates="error", hdu=None):
    """Read a catalogue of stellar labels: allStar-like FITS, LAMOST catalogues, csv, ecsv, VOTable, Parquet, any table.

    Column names are compared without regard to case.  Values of -9999 or -999, infinite or masked ones, and those
    that a flag of the system calls bad, become NaN and are counted in ``meta["masked"]``.

    Parameters
    ----------
    source : path-like or `~astropy.table.Table`
    system : str or `~specalign.data.label_systems.LabelSystem`, optional
        Name of the label system (survey, pipeline and release), such as a key of
        `specalign.data.label_systems.SYSTEMS`, or a system of one's own; by default that of ``meta["label_system"]``.
        For other names every label column must have a unit.
    id_column : str, optional
        Column that names the star; by default ``object_id``, or the one of the system's data model.
    duplicates : {"error", "first", "keep"}
        What to do with rows of one star that differ.  Rows that are equal are joined always.
    hdu : int or str, optional
        Extension of a FITS file that has stars in more than one.

    Returns
    -------
    `~astropy.table.QTable`
        ``object_id`` (str), then teff (K), logg (dex(cm / s2)), fe_h, ``x_fe``, ``x_h``, ... (dex) with ``*_err``, and
        positions; ``meta`` has ``label_system``, ``calibrated``, ``solar_scale``, ``data_model``,
        ``error_correlation``, ``epoch`` (of positions, where the system states it and no column does), ``source``,
        ``masked`` (label to reason to number), ``ignored_columns``, ``joined_rows`` and ``conflicting_object_ids``.

    Raises
    ------
    LabelError
        The system is unknown or contradicts the table's own, a unit is missing or wrong, there is no identifier or no
        label, rows of one star differ, or a file has several tables of stars.
    specalign.exceptions.CorruptFileError
        A FITS file is damaged, or a text ends within a row.

    Examples
    --------
    >>> from astropy.table import Table
    >>> import specalign as sa
    >>> catalogue = Table({"APOGEE_ID": ["2M00", "2M01"], "TEFF": [4800.0, -9999.0], "MG_FE": [0.1, 0.2]})
    >>> labels = sa.read_labels(catalogue, system="aspcap-dr17")
    >>> labels["teff"]
    <Quantity [4800., nan] K>
    >>> labels.meta["masked"], labels.meta["solar_scale"]
    ({'teff': {'no value': 1}}, 'grevesse-2007')
    """
    if duplicates not in ("error", "first", "keep"):
        raise LabelError(f"duplicates: expected 'error', 'first' or 'keep', got {duplicates!r}")
    named = system if isinstance(system, LabelSystem) else SYSTEMS.get(system)
    table, where = load_table(source, _id_names(named, id_column), hdu)
    facts = _facts(table, system, where)
    if not len(table):
        raise LabelError(f"{where}: expected at least one row, got none; check that the file is complete")
    columns = {name.lower(): table[name] for name in table.colnames}
    identifier = _identifier(columns, facts, id_column, where)
    found = find_labels(columns, facts)
    if not any(is_stellar_label(name) for name in found):
        raise LabelError(
            f"{where}: no column is a label of {facts.name!r}; expected teff, logg, fe_h, mg_fe, ...; got "
            f"{table.colnames}. Rename the columns, or name them in a specalign.data.label_systems.LabelSystem"
        )
    result = QTable({"object_id": _object_ids(columns[identifier], identifier, where)})
    for name, (column, place) in found.items():
        result[name] = read_column(name, columns[column], place, facts, where)
    used = {identifier, *(column for column, _ in found.values())}
    _check_unique(table, used, where)
    used |= _errors_from_percentiles(result, columns, found, facts, where)
    masked = {name: {"no value": int(n)} for name in found if (n := np.isnan(_plain(result[name])).sum())}
    _mask_flagged(result, facts, columns, masked, where)
    result.meta = _meta(table, facts, where, masked, used, result)
    return _join_duplicates(result, duplicates, where)


def _id_names(facts, id_column):
    every = facts.ids if facts else {name for known in SYSTEMS.values() for name in known.ids}
    return {"object_id", *every, *([id_column.lower()] if id_column else [])}


def _facts(table, system, where):
    """The label system: a declared one, a known one, or one that assumes nothing."""
    name = system.name if isinstance(system, LabelSystem) else system
    stated = table.meta.get("label_system")
    if name and stated and name != stated:
        raise LabelError(
            f"{where}: its labels are of the system {stated!r}, not {name!r}; two systems are joined only with a "
            f"declared offset (specalign.data.offsets.join_labels)"
        )
    if not (name or stated):
        raise LabelError(
            f"{where}: expected the name of its label system; pass system=, such as {', '.join(SYSTEMS)}, or a "
            f"LabelSystem of your own"
        )
    if isinstance(system, LabelSystem):
        return system
    return SYSTEMS.get(name or stated) or LabelSystem(str(name or stated), ids=(), units_known=False)


def _meta(table, facts, where, masked, used, result):
    meta = facts.facts
    if facts.epoch is not None and "ra" in result.colnames and "epoch" not in result.colnames:
        meta["epoch"] = facts.epoch
    meta |= {key: table.meta[key] for key in _STATED if table.meta.get(key, NOT_STATED) != NOT_STATED}
    meta |= {"source": where, "masked": masked}
    meta["ignored_columns"] = [name for name in table.colnames if name.lower() not in used]
    return meta


def _check_unique(table, used, where):
    names = [name.lower() for name in table.colnames]
    twice = sorted(name for name in used if names.count(name) > 1)
    if twice:
        same = [name for name in table.colnames if name.lower() == twice[0]]
        raise LabelError(f"{where}: columns {' and '.join(same)} differ only in case; remove or rename one of them")


def _identifier(columns, facts, id_column, where):
    wanted = [id_column.lower()] if id_column else ["object_id", *facts.ids]
    for name in wanted:
        if name in columns:
            return name
    raise LabelError(
        f"{where}: expected a column {' or '.join(wanted)} that names the star; pass id_column=, one of "
        f"{list(columns)[:12]}"
    )


def _object_ids(column, name, where):
    ids = read_identifiers(column, f"{where}: column {name!r}", LabelError)
    nobody = np.flatnonzero(np.isin(ids, _NOBODY))
    if nobody.size:
        raise LabelError(
            f"{where}: column {name!r}: {nobody.size} rows have {ids[nobody[0]]} for an identifier, the first is row "
            f"{nobody[0]}: they would be taken for one star; remove them, or name another column with id_column="
        )
    return np.array([_survey_name(text, name) for text in ids])


def _survey_name(text, column):
    """The name that the readers of `specalign.io` give the same star or spectrum."""
    if column == "designation" and text:
        return text if text.startswith(("LAMOST", "Gaia")) else f"LAMOST {text}"
    if column in ("obsid", "id") and text:
        text = re.sub(r"\.fits(\.gz)?$", "", text)
        return f"lamost-{text}" if text.isdigit() else text
    return text


def _errors_from_percentiles(result, columns, found, facts, where):
    """Half the distance of the 16th and 84th percentiles, for systems that publish those instead of errors.

    Returns the columns that were used.
    """
    used = set()
    for name, (column, _) in found.items() if facts.percentiles else ():
        ends = [column + suffix for suffix in facts.percentiles]
        if is_stellar_label(name) and f"{name}_err" not in found and all(end in columns for end in ends):
            lower, upper = (_plain(read_column(name, columns[end], None, facts, where)) for end in ends)
            result[f"{name}_err"] = (upper - lower) / 2 * difference_unit(label_unit(name))
            used.update(ends)
    return used


def _plain(column):
    return np.asarray(getattr(column, "value", column))


def _mask_flagged(result, facts, columns, masked, where):
    """Set labels to NaN that the flags of the data model call bad, and their errors; count them by flag."""
    for name in [name for name in result.colnames if is_stellar_label(name)]:
        rules = [facts.flags[key] for key in ("*", name) if key in facts.flags]
        rules += [(f"{name}{facts.flag_suffix}", facts.element_flags)] if facts.element_flags else []
        for column, bits in rules:
            if column not in columns:
                continue
            bad = (_flag_values(columns[column], where) & bits) != 0
            newly = bad & np.isfinite(result[name].value)
            if newly.any():
                reasons = masked.setdefault(name, {})
                reasons[column] = reasons.get(column, 0) + int(newly.sum())
            for label in (name, f"{name}_err"):
                if label in result.colnames:
                    result[label][bad] = np.nan * result[label].unit


def _flag_values(column, where):
    """Bits as integers (N,); a flag that is missing is taken as not set."""
    try:
        values = np.ma.filled(np.ma.asarray(column), 0)
        return np.nan_to_num(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
    except (TypeError, ValueError) as error:
        raise LabelError(
            f"{where}: column {column.info.name!r}: expected flags as integers, got {column.dtype}; give the bits, not "
            f"their names"
        ) from error


def _join_duplicates(result, duplicates, where):
    """One row a star where rows are equal; rows that differ are an error, unless it was said what to do."""
    _, first, inverse = np.unique(result["object_id"], return_index=True, return_inverse=True)
    values = [_plain(result[name]) for name in result.colnames[1:]]
    origin = first[inverse]
    same = np.all([(v == v[origin]) | (np.isnan(v) & np.isnan(v[origin])) for v in values], axis=0)
    repeated = origin != np.arange(len(result))
    conflicts = sorted(set(result["object_id"][repeated & ~same].tolist()))
    if conflicts and duplicates == "error":
        rows = np.flatnonzero(result["object_id"] == conflicts[0])[:5].tolist()
        raise LabelError(
            f"{where}: {len(conflicts)} object ids have rows with different labels ({', '.join(conflicts[:5])} ...; "
            f"{conflicts[0]} in rows {rows}): remove all but one, or pass duplicates='first' or duplicates='keep'"
        )
    drop = repeated & (same | (duplicates == "first"))
    meta = result.meta | {"joined_rows": int((repeated & same).sum()), "conflicting_object_ids": conflicts}
    result = result[~drop]
    result.meta = meta
    return result
