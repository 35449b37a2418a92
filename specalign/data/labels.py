"""Label catalogues, each with its system, units and flags.

A label without a unit, or of an unknown system, is not guessed: units are assumed only for the systems of `SYSTEMS`,
whose data models state them.
"""

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from specalign.exceptions import LabelError
from specalign.io.files import existing_file
from specalign.io.fits_files import open_fits

__all__ = ["SYSTEMS", "LabelSystem", "label_unit", "read_labels"]

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
    "parallax": u.mas, "a_v": u.mag,
}  # fmt: skip
_PLAIN = ("snr", "epoch")  # numbers without a unit; the epoch is a Julian year
_SPELLINGS = {"log(cgs)", "log(cm/s2)", "log(cm/s**2)", "log(cm.s**-2)", "[cm/s2]", "dex(cgs)", "dex(cm.s**-2)", "dex"}
_ALIASES = {
    "feh": "fe_h", "[fe/h]": "fe_h", "mh": "m_h", "t_eff": "teff", "log_g": "logg", "vhelio_avg": "radial_velocity",
    "rv": "radial_velocity", "raj2000": "ra", "dej2000": "dec", "ref_epoch": "epoch",
}  # fmt: skip
_MISSING = (-9999.0, -9999.99, -999.0, -999.99)  # what surveys write where there is no value


@dataclass(frozen=True)
class LabelSystem:
    """What the data model of a catalogue says about its columns.

    Parameters
    ----------
    ids : tuple of str
        Columns that may name the star, the best first.
    data_model : str
        Where that is written.
    flags : dict of str to (str, int)
        Label (or "*" for all) to the flag column, and the bits that make it unusable.
    element_flags : int
        Bits of ``<label>_flag`` columns that make a label unusable.
    prefix : str
        Prefix that label columns may have.
    """

    ids: tuple
    data_model: str
    flags: dict = field(default_factory=dict)
    element_flags: int = 0
    prefix: str = ""


def _bits(*numbers):
    return sum(1 << number for number in numbers)


SYSTEMS = {
    # ASPCAPFLAG: TEFF_BAD 16, LOGG_BAD 17, M_H_BAD 19, ALPHA_M_BAD 20, STAR_BAD 23, NO_ASPCAP_RESULT 31; of the flags
    # of an element those that end in BAD or FAIL (0-4), and TEFF_CUT (6): warnings do not mask.
    "aspcap-dr17": LabelSystem(
        ids=("apogee_id",),
        data_model="https://www.sdss4.org/dr17/irspec/apogee-bitmasks/",
        flags={
            "*": ("aspcapflag", _bits(23, 31)),
            "teff": ("aspcapflag", _bits(16)),
            "logg": ("aspcapflag", _bits(17)),
            "m_h": ("aspcapflag", _bits(19)),
            "alpha_m": ("aspcapflag", _bits(20)),
        },
        element_flags=_bits(0, 1, 2, 3, 4, 6),
    ),
    "lamost-lasp": LabelSystem(
        ids=("designation", "obsid", "id"),
        data_model="https://www.lamost.org/dr10/v2.0/doc/lr-data-production-description",
        prefix="pred_",  # as LASP-CurveFit writes them
    ),
    "specalign-mock": LabelSystem(ids=("object_id",), data_model="specalign.mock"),
}


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


def read_labels(source, system=None, *, id_column=None, duplicates="error"):
    """Read a catalogue of stellar labels: allStar-like FITS, LAMOST catalogues, csv, ecsv, or any table.

    Column names are compared without regard to case.  Values of -9999 or -999, infinite or masked ones, and those
    that a flag of the system calls bad, become NaN and are counted in ``meta["masked"]``.

    Parameters
    ----------
    source : path-like or `~astropy.table.Table`
    system : str, optional
        Name of the label system (survey, pipeline and release), such as a key of `SYSTEMS`; by default that of
        ``meta["label_system"]``.  For other names every label column must have a unit.
    id_column : str, optional
        Column that names the star; by default ``object_id``, or the one of the system's data model.
    duplicates : {"error", "first", "keep"}
        What to do with rows of one star that differ.  Rows that are equal are joined always.

    Returns
    -------
    `~astropy.table.QTable`
        ``object_id`` (str), then teff (K), logg (dex(cm / s2)), fe_h, ``x_fe``, ``x_h``, ... (dex) with ``*_err``, and
        positions; ``meta`` has ``label_system``, ``source``, ``masked`` (label to reason to number),
        ``ignored_columns``, ``joined_rows`` and ``conflicting_object_ids``.

    Raises
    ------
    LabelError
        The system is unknown or contradicts the table's own, a unit is missing or wrong, there is no identifier or no
        label, or rows of one star differ.
    specalign.exceptions.CorruptFileError
        A FITS file is damaged.

    Examples
    --------
    >>> from astropy.table import Table
    >>> import specalign as sa
    >>> catalogue = Table({"APOGEE_ID": ["2M00", "2M01"], "TEFF": [4800.0, -9999.0], "MG_FE": [0.1, 0.2]})
    >>> labels = sa.read_labels(catalogue, system="aspcap-dr17")
    >>> labels["teff"]
    <Quantity [4800., nan] K>
    >>> labels.meta["masked"]
    {'teff': {'no value': 1}}
    """
    if duplicates not in ("error", "first", "keep"):
        raise LabelError(f"duplicates: expected 'error', 'first' or 'keep', got {duplicates!r}")
    table, where = _load(source)
    system = _system(table, system, where)
    if not len(table):
        raise LabelError(f"{where}: expected at least one row, got none")
    facts = SYSTEMS.get(system)
    columns = {name.lower(): table[name] for name in table.colnames}
    identifier = _identifier(columns, facts, id_column, where)
    result = QTable({"object_id": _object_ids(columns[identifier], identifier, where)})
    found = _find_labels(columns, facts)
    for name, column in found.items():
        result[name] = _quantity(name, columns[column], facts, system, where)
    if not any(label_unit(name) is not None and name not in ("ra", "dec") for name in found):
        raise LabelError(f"{where}: no column is a label; expected teff, logg, fe_h, mg_fe, ...; got {table.colnames}")
    masked = {name: {"no value": int(n)} for name in found if (n := np.isnan(_plain(result[name])).sum())}
    _mask_flagged(result, facts, columns, masked)
    used = {*found.values(), identifier}
    result.meta = {"label_system": system, "source": where, "masked": masked}
    result.meta["ignored_columns"] = [name for name in table.colnames if name.lower() not in used]
    return _join_duplicates(result, duplicates, where)


def _load(source):
    if isinstance(source, Table):
        return source, "table"
    path = existing_file(source)
    name = path.name.lower().removesuffix(".gz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)  # units of every label are judged below
        if name.endswith((".fits", ".fit")):
            return _load_fits(path), str(path)
        return _load_text(path, name), str(path)


def _load_fits(path):
    with open_fits(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU))]
        if not tables:
            raise LabelError(f"{path}: expected a table of labels, found no table in the file")
        return Table.read(tables[0])


def _load_text(path, name):
    formats = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".txt": "ascii", ".vot": "votable", ".xml": "votable"}
    try:
        if name.endswith(".csv"):  # LAMOST's catalogues are called csv and are separated by bars
            with open(path, encoding="utf-8") as lines:
                first = lines.readline()
            return Table.read(path, format="ascii.csv", delimiter="|" if first.count("|") > first.count(",") else ",")
        return Table.read(path, format=formats.get(Path(name).suffix))
    except (ValueError, OSError, LookupError) as error:
        raise LabelError(f"{path}: cannot be read as a table ({type(error).__name__}: {error})") from error


def _system(table, system, where):
    stated = table.meta.get("label_system")
    if system and stated and system != stated:
        raise LabelError(
            f"{where}: its labels are of the system {stated!r}, not {system!r}; two systems are joined only with a "
            f"declared offset"
        )
    if not (system or stated):
        raise LabelError(f"{where}: expected the name of its label system; pass system=, such as {', '.join(SYSTEMS)}")
    return str(system or stated)


def _identifier(columns, facts, id_column, where):
    wanted = [id_column.lower()] if id_column else ["object_id", *(facts.ids if facts else ())]
    for name in wanted:
        if name in columns:
            return name
    raise LabelError(f"{where}: expected a column {' or '.join(wanted)} that names the star; pass id_column=")


def _object_ids(column, name, where):
    values = np.asarray(column.filled("") if hasattr(column, "filled") and column.dtype.kind in "SU" else column)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    empty = np.array(getattr(column, "mask", np.zeros(len(column), bool))) & np.ones(len(column), bool)
    if values.dtype.kind == "f":
        raise LabelError(f"{where}: column {name!r}: identifiers are floating-point numbers, which are not exact")
    ids = np.char.strip(values.astype(str))
    ids = np.array([_survey_name(text, name) for text in ids])
    bad = np.flatnonzero(empty | (ids == ""))
    if bad.size:
        raise LabelError(f"{where}: column {name!r}: {bad.size} rows have no identifier, the first is row {bad[0]}")
    return ids


def _survey_name(text, column):
    """The name that the readers of `specalign.io` give the same star or spectrum."""
    if column == "designation" and text:
        return text if text.startswith("LAMOST") else f"LAMOST {text}"
    if column in ("obsid", "id") and text:
        text = re.sub(r"\.fits(\.gz)?$", "", text)
        return f"lamost-{text}" if text.isdigit() else text
    return text


def _find_labels(columns, facts):
    """Canonical name of every label and error to the name of its column (lower case)."""
    prefix = facts.prefix if facts else ""
    found = {}
    for column in columns:
        base, error = re.subn(r"(_err|_error)$", "", column.removeprefix(prefix))
        name = _ALIASES.get(base, base)
        if label_unit(name) is not None or name in _PLAIN:
            found.setdefault(name + ("_err" if error else ""), column)
    return {name: found[name] for name in sorted(found, key=_order)}


def _order(name):
    first = ("teff", "logg", "fe_h", "m_h", "alpha_m")
    base = name.removesuffix("_err")
    return (first.index(base) if base in first else len(first), base, name)


def _quantity(name, column, facts, system, where):
    """A column as a Quantity in the label's unit; NaN where it is masked."""
    base = name.removesuffix("_err")
    target = label_unit(base)
    values = _numbers(column, where)
    if name != base:
        values[values < 0] = np.nan
    if target is None:
        return values
    if base == "logg" and name != base:
        target = u.dex
    unit = _unit(column, base, target, facts)
    if unit is None:
        raise LabelError(
            f"{where}: column {column.info.name!r} has {'no unit' if column.info.unit is None else 'the unit'} "
            f"{column.info.unit or ''}; expected {target}. Set its unit, or name one of the known systems "
            f"({', '.join(SYSTEMS)}) instead of {system!r}"
        )
    try:
        return u.Quantity(values, unit).to(target) if target in (u.dex, u.mag) else (values * unit).to(target)
    except u.UnitConversionError as error:
        raise LabelError(
            f"{where}: column {column.info.name!r} has the unit {unit}, which is not convertible to {target}"
        ) from error


def _numbers(column, where):
    data = getattr(column, "value", column)
    try:
        values = np.array(np.ma.filled(np.ma.asarray(data).astype(float), np.nan))
    except (TypeError, ValueError) as error:
        raise LabelError(f"{where}: column {column.info.name!r} holds text where numbers were expected") from error
    mask = getattr(column, "mask", None)
    if mask is not None:
        values[np.broadcast_to(np.asarray(mask), values.shape)] = np.nan
    if values.ndim != 1:
        raise LabelError(f"{where}: column {column.info.name!r}: expected one number a row, got {values.shape[1:]}")
    sentinel = np.isclose(values[:, None], _MISSING, rtol=1e-6, atol=0).any(axis=1)
    values[sentinel | ~np.isfinite(values)] = np.nan
    return values


def _unit(column, base, target, facts):
    """The unit of a column: its own, or the data model's for a known system; None where that is not known."""
    unit = column.info.unit
    text = "" if unit is None else str(unit).replace(" ", "")
    if base == "logg" and target is not u.dex and text in _SPELLINGS - {"dex"}:
        return target
    if facts and (text in ("", "dex", "[-]") if target in (u.dex, _LOG_GRAVITY) else text == ""):
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


def _plain(column):
    return np.asarray(getattr(column, "value", column))


def _mask_flagged(result, facts, columns, masked):
    """Set labels to NaN that the flags of the data model call bad, and their errors; count them by flag."""
    if not facts:
        return
    for name in [name for name in result.colnames if label_unit(name) is not None and name not in ("ra", "dec")]:
        rules = [facts.flags[key] for key in ("*", name) if key in facts.flags]
        rules += [(f"{name}_flag", facts.element_flags)] if facts.element_flags else []
        for column, bits in rules:
            if column not in columns:
                continue
            bad = (np.asarray(np.ma.filled(columns[column], 0)).astype(np.int64) & bits) != 0
            newly = bad & np.isfinite(result[name].value)
            if newly.any():
                reasons = masked.setdefault(name, {})
                reasons[column] = reasons.get(column, 0) + int(newly.sum())
            for label in (name, f"{name}_err"):
                if label in result.colnames:
                    result[label][bad] = np.nan * result[label].unit


def _join_duplicates(result, duplicates, where):
    """One row a star where rows are equal; rows that differ are an error, unless it was said what to do."""
    _, first, inverse = np.unique(result["object_id"], return_index=True, return_inverse=True)
    values = [_plain(result[name]) for name in result.colnames[1:]]
    origin = first[inverse]
    same = np.all([(v == v[origin]) | (np.isnan(v) & np.isnan(v[origin])) for v in values], axis=0)
    repeated = origin != np.arange(len(result))
    conflicts = sorted(set(result["object_id"][repeated & ~same].tolist()))
    if conflicts and duplicates == "error":
        raise LabelError(
            f"{where}: {len(conflicts)} object ids have rows with different labels ({', '.join(conflicts[:5])} ...): "
            f"remove all but one, or pass duplicates='first' or duplicates='keep'"
        )
    drop = repeated & (same | (duplicates == "first"))
    meta = result.meta | {"joined_rows": int((repeated & same).sum()), "conflicting_object_ids": conflicts}
    result = result[~drop]
    result.meta = meta
    return result
