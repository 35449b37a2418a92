"""How well stars are found again, and how well labels are recovered.

The edges that ``labels_in_bins`` uses where none are given:

>>> from specalign.analysis.metrics import BINS
>>> BINS["teff"]
(<Quantity [4500., 5500.] K>, ('cool', 'medium', 'hot'))
"""

import itertools

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign import ops
from specalign.analysis.likelihood import CANDIDATES, log_likelihood, uses_likelihood
from specalign.data.columns import column_values, difference_unit, known_values, label_names, match_rows, with_unit
from specalign.data.label_systems import check_same_system
from specalign.exceptions import LabelError, MatchError

__all__ = ["BINS", "compare", "labels", "labels_in_bins", "rank_summary", "retrieval"]

#: Edges and names of the bins that `labels_in_bins` takes by itself.  [Fe/H] < -1 is metal-poor (Beers & Christlieb
#: 2005, ARA&A 43, 531); the other edges are where networks that were trained on giants began to fail.
BINS = {
    "teff": ([4500, 5500] * u.K, ("cool", "medium", "hot")),
    "logg": ([3.5] * u.dex(u.cm / u.s**2), ("giants", "dwarfs")),
    "fe_h": ([-1.0, -0.5] * u.dex, ("metal-poor", "medium", "metal-rich")),
}


def retrieval(query_table, gallery_table, ks=(1, 5, 10), similarity="auto"):
    """How often, and at which rank, a star is found again in another table.

    A hit is any row of the same object_id, and the best of them counts.  A row that is in both tables finds itself.

    Parameters
    ----------
    query_table, gallery_table : `~specalign.EmbeddingTable`
        Of one space.
    ks : tuple of int
    similarity : {"auto", "cosine", "likelihood"}
        What orders the gallery, as in `~specalign.analysis.search.search`: by likelihood, the hundred rows with the
        largest cosines come first, the most likely one before all, and the others follow by cosine.

    Returns
    -------
    figures : dict
        ``recall@k`` for each k, ``mrr`` (mean of 1 / rank), ``median_rank``, all over the queries whose star is in the
        gallery; ``n_queries`` and ``n_gallery`` (rows), ``n_unmatched`` (queries whose star is not there), and
        ``chance_recall@1``, the expectation of recall@1 for a random order.

    Raises
    ------
    GridMismatchError
        The tables come from two aligners.
    MatchError
        No query has its star in the gallery.
    SpectrumError
        Likelihood is asked for, and a table has no distributions.

    Examples
    --------
    >>> from specalign import EmbeddingTable, metrics
    >>> gallery = EmbeddingTable([[1, 0], [0, 1]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 50], [1, 1])
    >>> query = EmbeddingTable([[0.6, 0.8]], ["b"], ["b-2"], "nirspec", [50], [1])
    >>> metrics.retrieval(query, gallery)["recall@1"]
    1.0
    """
    query_table.check_same_space(gallery_table)
    slots = match_slots(query_table.object_id, gallery_table.object_id)
    likely = uses_likelihood(similarity, query_table, gallery_table)
    rank = np.zeros(len(query_table), dtype=np.int64)
    for match in slots.T:
        rows = np.flatnonzero(match >= 0)
        found = ops.match_rank(query_table.vectors[rows], gallery_table.vectors, match[rows]).numpy()
        if likely:
            found = _likely_rank(query_table[rows], gallery_table, match[rows], found)
        rank[rows] = np.where(rank[rows] == 0, found, np.minimum(rank[rows], found))
    return rank_summary(rank, len(gallery_table), (slots >= 0).sum(axis=1), ks)


def _likely_rank(queries, gallery, match, rank):
    """Ranks (Q,) of matches where the candidates that cosines find are ordered by likelihood."""
    nearest = ops.topk_similarity(queries.vectors, gallery.vectors, min(CANDIDATES, len(gallery)))
    cosine, candidates = (part.numpy() for part in nearest)
    found = log_likelihood(queries, gallery, candidates, cosine)
    place = (candidates == match[:, None]).argmax(axis=1)
    own = np.take_along_axis(found, place[:, None], axis=1)
    before = (found > own) | ((found == own) & (np.arange(found.shape[1]) < place[:, None]))
    there = (candidates == match[:, None]).any(axis=1)
    return np.where(there, 1 + before.sum(axis=1), rank)


def match_slots(query_id, gallery_id):
    """Rows of the gallery with the object of each query: (Q, V) int64, filled up with -1.

    V is the largest number of rows that one object has.
    """
    order = np.argsort(gallery_id, kind="stable")
    first = np.searchsorted(gallery_id[order], query_id, side="left")
    count = np.searchsorted(gallery_id[order], query_id, side="right") - first
    if not count.any():
        raise MatchError(
            f"none of the {len(query_id)} queries has its object among the {len(gallery_id)} rows of the gallery; "
            f"the first queries are {list(map(str, query_id[:5]))}, the gallery begins with "
            f"{list(map(str, gallery_id[:5]))}"
        )
    slot = np.arange(count.max())
    there = slot < count[:, None]
    return np.where(there, order[np.where(there, first[:, None] + slot, 0)], -1)


def rank_summary(rank, n_gallery, n_positive, ks=(1, 5, 10)):
    """The figures of `retrieval` from ranks, so that a baseline gives the same ones.

    Parameters
    ----------
    rank : (Q,) int
        From 1; 0 where the gallery has no row of the object.
    n_gallery : int
    n_positive : (Q,) int
        Rows of the gallery with the object of each query.
    ks : tuple of int

    Examples
    --------
    >>> from specalign.analysis.metrics import rank_summary
    >>> figures = rank_summary([1, 4, 0], n_gallery=10, n_positive=[1, 1, 0])
    >>> figures["recall@1"], figures["recall@5"], figures["mrr"], figures["n_unmatched"]
    (0.5, 1.0, 0.625, 1)
    """
    rank, n_positive = np.asarray(rank), np.asarray(n_positive)
    matched = rank > 0
    hits = rank[matched]
    figures = {f"recall@{k}": float((hits <= k).mean()) for k in ks}
    return figures | {
        "mrr": float((1 / hits).mean()),
        "median_rank": float(np.median(hits)),
        "n_queries": len(rank),
        "n_gallery": int(n_gallery),
        "n_unmatched": int((~matched).sum()),
        "chance_recall@1": float(n_positive[matched].mean() / n_gallery),
    }


def compare(results):
    """Several results of `retrieval`, or of the baselines, as one table with a row a method.

    Parameters
    ----------
    results : dict of str to dict

    Returns
    -------
    table : `~astropy.table.QTable`

    Examples
    --------
    >>> from specalign.analysis.metrics import compare
    >>> print(compare({"aligned": {"recall@1": 0.5}, "raw flux": {"recall@1": 0.25}}))
     method  recall@1
    -------- --------
     aligned      0.5
    raw flux     0.25
    """
    names = list(dict.fromkeys(key for figures in results.values() for key in figures))
    table = QTable({"method": np.array(list(results), dtype=str)})
    for name in names:
        table[name] = [figures.get(name, np.nan) for figures in results.values()]
    return table


def labels(predicted, true, bound=None):
    """How far predicted labels are from true ones.

    Parameters
    ----------
    predicted : `~astropy.table.QTable`
        object_id and labels with units, a row a spectrum, as `~specalign.LabelModel` gives them.
    true : `~astropy.table.QTable`
        object_id (once each) and labels with units; NaN and masked values are left out.
    bound : `~astropy.table.QTable` or dict of str to `~astropy.units.Quantity`, optional
        Standard deviations that no unbiased estimator beats: a table with object_id and a column a label, or one
        number a label.

    Returns
    -------
    figures : `~astropy.table.QTable`
        A row a label: label, unit (of rmse, bias, mad and bound), n, n_missing (predictions without a true value),
        rmse, bias (mean of predicted - true), mad (median absolute deviation from the median, not scaled), r2,
        bound (root mean square over the same rows), ratio (rmse / bound); NaN where no bound is given.

    Raises
    ------
    LabelError
        The label systems or units differ, a unit is missing, or there is no common label.
    MatchError
        An object occurs twice among the true labels, or none of the predicted ones is there.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign import metrics
    >>> true = QTable({"object_id": ["a", "b", "c"], "teff": [4500, 5000, 5500] * u.K})
    >>> predicted = QTable({"object_id": ["c", "b", "a"], "teff": [5530, 5000, 4500] * u.K})
    >>> print(metrics.labels(predicted, true)["label", "unit", "n", "bias"])
    label unit  n  bias
    ----- ---- --- ----
     teff    K   3 10.0
    """
    check_same_system(predicted, true)
    rows = match_rows(predicted["object_id"], true["object_id"])
    names = _common_labels(predicted, true)
    return QTable(rows=[_label_row(name, predicted, true, rows, bound) for name in names], names=_LABEL_COLUMNS)


def labels_in_bins(predicted, true, by="teff", edges=None):
    """How far predicted labels are from true ones, in bins of a true label: where a model fails.

    Parameters
    ----------
    predicted, true : `~astropy.table.QTable`
        As for `labels`.
    by : str
        The label of ``true`` that bins the stars.
    edges : `~astropy.units.Quantity` (B + 1,), optional
        Increasing; a bin holds its lower edge and not its upper one.  By default the bins of `BINS`, which leave no
        star out: Teff below 4500 K, up to 5500 K and above ("hot"); log g below 3.5 and above; [Fe/H] below -1
        ("metal-poor"), up to -0.5 and above.

    Returns
    -------
    figures : `~astropy.table.QTable`
        A row a bin and label: bin (its name), low, high (with the unit of ``by``), label, unit (of rmse, bias and mad),
        n, rmse, bias, mad, r2; an empty bin has n = 0 and NaN.  R2 is relative to the scatter inside the bin, which
        is smaller than that of all stars.  ``meta`` has ``by``, and the numbers of predictions outside of all bins
        (``n_outside``) and without a true value of ``by`` (``n_unknown``).

    Raises
    ------
    LabelError
        As `labels`; the edges are not increasing, have another unit, or are not given for a label without bins.
    MatchError
        As `labels`.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign import metrics
    >>> true = QTable({"object_id": ["a", "b", "c"], "teff": [4600, 5000, 6000] * u.K})
    >>> predicted = QTable({"object_id": ["a", "b", "c"], "teff": [4610, 5010, 5800] * u.K})
    >>> print(metrics.labels_in_bins(predicted, true)["bin", "label", "n", "rmse", "bias"])
     bin   label  n   rmse  bias
    ------ ----- --- ----- ------
      cool  teff   0   nan    nan
    medium  teff   2  10.0   10.0
       hot  teff   1 200.0 -200.0
    """
    check_same_system(predicted, true)
    rows, names = match_rows(predicted["object_id"], true["object_id"]), _common_labels(predicted, true)
    values, unit, _ = known_values(true, by)
    limits, titles = _bin_edges(by, edges, unit)
    values = np.where(rows >= 0, values[rows], np.nan)
    place = np.searchsorted(limits, values, side="right") - 1
    place = np.where(np.isfinite(values) & (place < len(titles)), place, -1)
    out = [
        (title, low, high, *_bin_row(name, predicted, true, rows, place == number))
        for number, (title, low, high) in enumerate(zip(titles, limits[:-1], limits[1:], strict=True))
        for name in names
    ]
    table = QTable(rows=out, names=_BIN_COLUMNS)
    table["low"], table["high"] = with_unit(table["low"], unit), with_unit(table["high"], unit)
    unknown = int((~np.isfinite(values)).sum())
    table.meta = {"by": by, "n_outside": int((place < 0).sum()) - unknown, "n_unknown": unknown}
    return table


_BIN_COLUMNS = ("bin", "low", "high", "label", "unit", "n", "rmse", "bias", "mad", "r2")


def _bin_row(name, predicted, true, rows, inside):
    row = dict(zip(_LABEL_COLUMNS, _label_row(name, predicted[inside], true, rows[inside], None), strict=True))
    return tuple(row[column] for column in _BIN_COLUMNS[3:])


def _bin_edges(by, edges, unit):
    """Limits (B + 1,) in a unit, and the name of each bin."""
    if edges is None and by not in BINS:
        raise LabelError(f"{by}: there are no bins of its own (only of {', '.join(BINS)}); give edges with a unit")
    quantity, titles = BINS[by] if edges is None else (edges, None)
    if getattr(quantity, "unit", None) is None:
        raise LabelError(f"edges: expected a Quantity in {unit}, got {quantity!r}")
    try:
        limits = np.atleast_1d(quantity.to_value(unit))
    except (u.UnitConversionError, u.UnitTypeError) as error:
        raise LabelError(f"edges: expected {unit}, got {quantity.unit}, which cannot be converted") from error
    if titles is not None:
        return np.concatenate([[-np.inf], limits, [np.inf]]), titles
    if len(limits) < 2 or not (np.diff(limits) > 0).all():
        raise LabelError(f"edges: expected at least two increasing values, got {quantity}")
    return limits, tuple(f"{low:g} to {high:g}" for low, high in itertools.pairwise(limits))


_LABEL_COLUMNS = ("label", "unit", "n", "n_missing", "rmse", "bias", "mad", "r2", "bound", "ratio")


def _common_labels(predicted, true):
    # what a model predicts is a label, also a velocity, which a catalogue may carry beside its labels
    either = {*label_names(true), *label_names(predicted)}
    names = [name for name in true.colnames if name in either and name in predicted.colnames]
    if not names:
        raise LabelError(f"no common label: predicted {label_names(predicted)}, true {label_names(true)}")
    return names


def _label_row(name, predicted, true, rows, bound):
    truth, unit, error_unit = known_values(true, name)
    values = column_values(predicted, name, unit)[0]
    truth = np.where(rows >= 0, truth[rows], np.nan)
    used = np.isfinite(values) & np.isfinite(truth)
    limit = _bound(name, bound, predicted["object_id"], used, error_unit)
    figures = _errors(values[used], truth[used])
    ratio = figures[0] / limit
    return (name, error_unit.to_string(), int(used.sum()), int((~used).sum()), *figures, limit, ratio)


def _errors(values, truth):
    if not len(values):
        return (np.nan,) * 4
    difference = values - truth
    spread = ((truth - truth.mean()) ** 2).sum()
    r2 = 1 - (difference**2).sum() / spread if spread > 0 else np.nan
    mad = np.median(np.abs(difference - np.median(difference)))
    return tuple(map(float, (np.sqrt((difference**2).mean()), difference.mean(), mad, r2)))


def _spread(value, unit):
    """A standard deviation as a number; one of a logarithmic quantity is in dex, also where it names the whole unit."""
    value = u.Quantity(value, subok=True)
    return value.value if difference_unit(value.unit) == unit else value.to_value(unit)


def _bound(name, bound, object_id, used, unit):
    if bound is None or name not in (bound.colnames if hasattr(bound, "colnames") else bound):
        return np.nan
    if hasattr(bound, "colnames"):
        rows = match_rows(object_id, bound["object_id"])
        values = np.where(rows >= 0, column_values(bound, name, unit)[0][rows], np.nan)
    else:
        values = np.broadcast_to(_spread(bound[name], unit), used.shape)
    return float(np.sqrt(np.nanmean(values[used] ** 2))) if np.isfinite(values[used]).any() else np.nan
