"""Look at a catalogue before anything learns from it: rows, repeated stars, ranges, and how well two of them agree.

Nothing here depends on the order of rows, and every row is accounted for: rows = stars + rows dropped.
"""

import numpy as np
from astropy.stats import mad_std
from astropy.table import QTable, Table

from specalign.analysis.summaries import CatalogueComparison, CatalogueSummary
from specalign.data.columns import column_values, label_names, with_unit
from specalign.data.identifiers import read_identifiers
from specalign.exceptions import LabelError, MatchError

__all__ = [
    "compare_catalogues",
    "describe_labels",
    "find_duplicates",
    "select_spanning",
    "unique_stars",
]

_RANGE = ("label", "unit", "n", "n_missing", "min", "p5", "median", "p95", "max", "median_err")
_AGREEMENT = ("label", "unit", "n", "n_missing", "median", "mad_std", "rms", "expected", "largest", "object_id")
_TEXT = ("label", "unit", "object_id")


def describe_labels(labels, name=None):
    """Rows, repeated stars and the range of each label of one catalogue.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
        As `~specalign.read_labels` gives it: object_id, and labels with units.  Rows of an `~specalign.EmbeddingTable`
        or of `~specalign.PreparedSpectra` are counted too.
    name : str, optional
        By default the label system, or the instrument.

    Returns
    -------
    CatalogueSummary

    Raises
    ------
    LabelError
        There is no object_id, or a label has no unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.catalogue import describe_labels
    >>> labels = QTable({"object_id": ["a", "b", "b"], "teff": [4500, 5000, 5000] * u.K})
    >>> describe_labels(labels, name="mine")
    <CatalogueSummary mine
      rows          3 of 2 stars
      rows dropped  1 (1 equal)
      label system  not stated
      labels:
      label unit  n  n_missing min   p5  median p95  max  median_err
      ----- ---- --- --------- ---- ---- ------ ---- ---- ----------
       teff    K   2         0 4500 4525   4750 4975 5000        nan>
    """
    return _describe(labels, name or _name_of(labels), *_sort_out(labels))


def _describe(labels, name, duplicates, kept):
    meta = getattr(labels, "meta", None) or {}
    rows = [_range(labels, label, kept) for label in _labels(labels)]
    return CatalogueSummary(
        name=name,
        system=meta.get("label_system"),
        n_rows=len(labels),
        n_stars=len(kept),
        n_joined=int(meta.get("joined_rows", 0)),
        duplicates=duplicates,
        labels=_table(rows, _RANGE),
    )


def _name_of(table):
    """The label system, or the instrument."""
    return (getattr(table, "meta", None) or {}).get("label_system") or _instrument(table) or "catalogue"


def _instrument(table):
    record = getattr(table, "instrument", None)
    names = [record.name] if hasattr(record, "name") else [] if record is None else np.unique(record).tolist()
    return ", ".join(map(str, names))


def _table(rows, names):
    """Rows as a table whose columns have a kind even if there is no row."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    kinds = [str if name in _TEXT else int if name.startswith("n") else float for name in names]
    return QTable([np.array(c, dtype=k) for c, k in zip(columns, kinds, strict=True)], names=names)


def _range(table, name, kept):
    values, unit, error_unit = column_values(table, name)
    found = values[kept][np.isfinite(values[kept])]
    figures = np.percentile(found, [0, 5, 50, 95, 100]) if found.size else np.full(5, np.nan)
    error = _errors(table, name, error_unit)[kept]
    error = np.median(error[np.isfinite(error)]) if np.isfinite(error).any() else np.nan
    return (name, unit.to_string(), found.size, len(kept) - found.size, *figures, error)


def _errors(table, name, unit):
    """Errors of a label (N,), NaN where there are none."""
    has = f"{name}_err" in table.colnames
    return column_values(table, f"{name}_err", unit)[0] if has else np.full(len(table), np.nan)


def find_duplicates(table):
    """Every row of the stars that have more than one.

    The row with the highest ``snr`` is kept (where the table has that column), of equal ones that with the most labels,
    and of equal ones again that with the lowest values: a rule that does not look at the order of rows.

    Parameters
    ----------
    table : `~astropy.table.Table`, EmbeddingTable or PreparedSpectra
        Anything with object_id.

    Returns
    -------
    `~astropy.table.QTable`
        object_id, row, kept (bool), kind ("equal" or "conflicting" labels; "spectrum" where the table has no labels, as
        several visits do), and differing: names of the labels that are not the same in all rows of the star.

    Raises
    ------
    LabelError
        There is no object_id, or a label has no unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.catalogue import find_duplicates
    >>> labels = QTable({"object_id": ["b", "a", "b"], "teff": [5000, 4500, 5010] * u.K, "snr": [50, 90, 200.0]})
    >>> print(find_duplicates(labels))
    object_id row  kept     kind    differing
    --------- --- ----- ----------- ---------
            b   2  True conflicting      teff
            b   0 False conflicting      teff
    """
    return _sort_out(table)[0]


def unique_stars(table):
    """The table with one row a star, sorted by object_id; which rows are left out is told by `find_duplicates`.

    Parameters
    ----------
    table : `~astropy.table.Table`, EmbeddingTable or PreparedSpectra

    Returns
    -------
    As ``table``, with fewer rows.

    Raises
    ------
    LabelError
        There is no object_id, or a label has no unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.catalogue import unique_stars
    >>> labels = QTable({"object_id": ["b", "a", "b"], "teff": [5000, 4500, 5000] * u.K})
    >>> unique_stars(labels)["object_id"].tolist()
    ['a', 'b']
    """
    return table[_sort_out(table)[1]]


def _sort_out(table):
    """Duplicates, and the rows that are kept, sorted by star."""
    ids, names = _object_ids(table), _labels(table)
    values = np.column_stack([column_values(table, name)[0] for name in names] or [np.empty((len(ids), 0))])
    order = np.lexsort([*values.T[::-1], np.isnan(values).sum(axis=1), -_snr(table), ids])
    start = np.append(True, ids[order][1:] != ids[order][:-1])[: len(ids)]
    star = np.cumsum(start) - 1
    kept = order[start]
    same = (values[order] == values[kept][star]) | (np.isnan(values[order]) & np.isnan(values[kept][star]))
    differs = np.zeros((len(kept), len(names)), dtype=bool)
    np.logical_or.at(differs, star, ~same)
    shown = np.bincount(star, minlength=len(kept))[star] > 1
    words = {i: ", ".join(np.array(names, dtype=str)[differs[i]]) for i in np.unique(star[shown])}
    words = np.array([words[i] for i in star[shown]], dtype=str)
    kinds = np.where(words == "", "equal", "conflicting") if names else np.full(len(words), "spectrum")
    columns = (ids[order][shown], order[shown], start[shown], kinds, words)
    return QTable(columns, names=("object_id", "row", "kept", "kind", "differing")), kept


def _object_ids(table):
    column = table["object_id"] if isinstance(table, Table) and "object_id" in table.colnames else None
    column = getattr(table, "object_id", None) if column is None and not isinstance(table, Table) else column
    if column is None:
        raise LabelError(f"expected a column object_id, got {getattr(table, 'colnames', type(table).__name__)}")
    return read_identifiers(column, "object_id", LabelError)


def _labels(table):
    return label_names(table) if isinstance(table, Table) else []


def _snr(table):
    """Signal to noise (N,) by which rows of a star are ranked; 0 where it is not known."""
    has = "snr" in table.colnames if isinstance(table, Table) else hasattr(table, "snr")
    column = (table["snr"] if isinstance(table, Table) else table.snr) if has else np.zeros(len(table))
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column)).astype(float), 0)
    return np.where(np.isfinite(values), values, 0)


def compare_catalogues(a, b, labels=None, names=None):
    """Which stars two catalogues share, which are in one only, and how well their labels agree.

    Rows are joined by object_id, never by their place; `~specalign.match` gives a common one to stars at one position.
    Of a star with several rows the one that `find_duplicates` keeps is compared.

    Parameters
    ----------
    a, b : `~astropy.table.QTable`, EmbeddingTable or PreparedSpectra
        Anything with object_id.  Differences are b - a, in the units of a.
    labels : `~astropy.table.QTable`, optional
        Where the labels of stars come from that are in one set only, if that set is no table of labels.
    names : (str, str), optional
        How to call the two.

    Returns
    -------
    CatalogueComparison

    Raises
    ------
    LabelError
        There is no object_id, or a label has no unit or one that cannot be converted.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.catalogue import compare_catalogues
    >>> a = QTable({"object_id": ["x", "y", "z"], "teff": [4500, 5000, 4256.7] * u.K})
    >>> b = QTable({"object_id": ["y", "x"], "teff": [5003, 4500] * u.K})
    >>> both = compare_catalogues(a, b, names=("observed", "synthetic"))
    >>> both.n_common, both.only_a["object_id"][0], both.only_a["teff"][0]
    (2, np.str_('z'), <Quantity 4256.7 K>)
    >>> print(both.agreement["label", "unit", "n", "median", "largest", "object_id"])
    label unit  n  median largest object_id
    ----- ---- --- ------ ------- ---------
     teff    K   2    1.5     3.0         y
    """
    first, second = _names_of(a, b, names)
    (double_a, rows_a), (double_b, rows_b) = _sort_out(a), _sort_out(b)
    rows = [rows_a, rows_b]
    ids = [_object_ids(table)[kept] for table, kept in zip((a, b), rows, strict=True)]
    common, in_a, in_b = np.intersect1d(*ids, assume_unique=True, return_indices=True)
    pairs = (common, rows[0][in_a], rows[1][in_b])
    return CatalogueComparison(
        a=_describe(a, first, double_a, rows_a),
        b=_describe(b, second, double_b, rows_b),
        n_common=len(common),
        only_a=_alone(a, rows[0][~np.isin(ids[0], common)], labels),
        only_b=_alone(b, rows[1][~np.isin(ids[1], common)], labels),
        agreement=_table([_agree(name, a, b, *pairs) for name in _labels(a) if name in _labels(b)], _AGREEMENT),
    )


def _names_of(a, b, names):
    if names is not None:
        return names
    found = [_name_of(table) for table in (a, b)]
    return found if found[0] != found[1] else [f"{name} ({side})" for name, side in zip(found, "ab", strict=True)]


def _alone(table, rows, labels):
    """Stars with their labels: the table's own, or those of another table."""
    result = QTable({"object_id": _object_ids(table)[rows]})
    source, taken = table, rows
    if not _labels(table) and labels is not None:
        source, kept = labels, _sort_out(labels)[1]
        known, place = _object_ids(labels)[kept], np.append(kept, -1)
        at = np.searchsorted(known, result["object_id"])
        taken = np.where(np.append(known, "")[at] == result["object_id"], place[at], -1)
    for name in _labels(source):
        values, unit, _ = column_values(source, name)
        result[name] = with_unit(np.where(taken >= 0, np.append(values, np.nan)[taken], np.nan), unit)
    return result


def _agree(name, a, b, ids, rows_a, rows_b):
    values, unit, error_unit = column_values(a, name)
    difference = column_values(b, name, unit)[0][rows_b] - values[rows_a]
    errors = np.hypot(_errors(a, name, error_unit)[rows_a], _errors(b, name, error_unit)[rows_b])
    used = np.isfinite(difference)
    ids, difference, errors = ids[used], difference[used], errors[used & np.isfinite(errors)]
    head = (name, error_unit.to_string(), used.sum(), (~used).sum())
    if not used.any():
        return (*head, *[np.nan] * 5, "")
    largest = np.argmax(np.abs(difference))
    expected = np.median(errors) if errors.size else np.nan
    rms = np.sqrt((difference**2).mean())
    return (*head, np.median(difference), mad_std(difference), rms, expected, difference[largest], ids[largest])


def select_spanning(labels, n=10, names=("teff", "logg", "fe_h"), seed=0):
    """Stars that span the labels: each is as far as can be from those before it.

    Distances are in units of each label's standard deviation.  Candidates lie between the 1st and the 99th percentile
    of every label where that leaves enough of them, so that a wrong value is not taken for an extreme star.  The first
    star is the one nearest to a corner (5th or 95th percentile of each label) that the seed chooses.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
    n : int
    names : sequence of str
        Labels to span; a star that lacks one of them is not chosen.
    seed : int

    Returns
    -------
    `~astropy.table.QTable`
        Rows of ``labels`` in the order of choice, as many as there are up to n.  ``meta["n_candidates"]``,
        ``meta["n_without_label"]`` (stars left out since a label is missing) and ``meta["n_outlying"]`` (beyond the
        percentiles) add up to the number of stars.

    Raises
    ------
    LabelError
        A label is not in the table, or no star has all of them.
    MatchError
        n is not positive.

    Examples
    --------
    >>> from specalign.analysis.catalogue import select_spanning
    >>> from specalign.mock import draw_labels
    >>> stars = select_spanning(draw_labels(500), n=10)
    >>> len(stars), stars["teff"].max() - stars["teff"].min() > stars["teff"].unit * 2000
    (10, np.True_)
    """
    if n < 1:
        raise MatchError(f"n: expected a positive number of stars, got {n}")
    kept = _sort_out(labels)[1]
    values = np.column_stack([column_values(labels, name)[0][kept] for name in names])
    whole = np.isfinite(values).all(axis=1)
    if not whole.any():
        raise LabelError(f"none of the {len(kept)} stars has {', '.join(names)}: check flags and missing values")
    inside = _inside(values, whole, n)
    chosen = kept[inside][_spread(values[inside], min(n, int(inside.sum())), seed)]
    result = labels[chosen]
    counts = {"n_without_label": ~whole, "n_outlying": whole & ~inside, "n_candidates": inside}
    result.meta = dict(labels.meta) | {name: int(rows.sum()) for name, rows in counts.items()}
    return result


def _inside(values, whole, n):
    low, high = np.percentile(values[whole], [1, 99], axis=0)
    inside = whole & ((values >= low) & (values <= high)).all(axis=1)
    return inside if inside.sum() >= n else whole


def _spread(values, n, seed):
    """Indices of n rows by farthest-point sampling (Gonzalez 1985, Theor. Comput. Sci. 38, 293)."""
    scale = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1)
    ends = np.percentile(values, [5, 95], axis=0)
    corner = ends[np.random.default_rng(seed).integers(2, size=values.shape[1]), np.arange(values.shape[1])]
    chosen = [int(np.argmin(((values - corner) ** 2).sum(axis=1)))]
    distance = np.full(len(values), np.inf)
    while len(chosen) < n:
        distance = np.minimum(distance, ((values - values[chosen[-1]]) ** 2).sum(axis=1))
        distance[chosen] = -1
        chosen.append(int(np.argmax(distance)))
    return chosen
