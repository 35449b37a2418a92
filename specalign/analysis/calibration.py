"""Whether stated uncertainties are right: ranks of true labels among posterior samples, and coverage of intervals."""

import re

import numpy as np
from astropy.table import QTable

from specalign.data.columns import column_values, known_values, match_rows
from specalign.exceptions import LabelError

__all__ = ["calibration_ranks", "interval_coverage", "rank_uniformity"]

ENDS = re.compile(r"(?P<name>.+)_lo_(?P<percent>[\d.]+)")


def calibration_ranks(posterior, true, n=127, seed=0):
    """Rank of each true label among samples of its posterior: simulation-based calibration (Talts et al. 2018).

    If the posteriors are right, a rank is uniform among 0, 1, ..., n (arXiv 1804.06788): a histogram that is high at
    both ends tells of posteriors that are too narrow, in the middle of ones that are too wide, on one side of a bias.

    Parameters
    ----------
    posterior : `~specalign.analysis.posterior.LabelPosterior`
        Of stars that nothing was fitted to.
    true : `~astropy.table.QTable`
        object_id (once each) and labels with units.
    n : int
        Samples; n + 1 is best a multiple of the number of bins that the ranks are counted in.
    seed : int
        Of the samples, and of ranks among equal values, which neighbours have.

    Returns
    -------
    ranks : `~astropy.table.QTable`
        object_id, spectrum_id and a column of int64 a label: how many samples are below the true label, -1 where that
        is not known.  meta has ``n_samples``, ``label_system``, ``method`` and ``seed``.

    Raises
    ------
    LabelError
        A label is missing or its unit cannot be converted.
    MatchError
        An object occurs twice, or no spectrum has its star in the table.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign import EmbeddingTable, LabelModel
    >>> from specalign.analysis.calibration import calibration_ranks, rank_uniformity
    >>> rng, names = np.random.default_rng(1), [f"star {i}" for i in range(600)]
    >>> angle = rng.uniform(0, 1, 600)
    >>> seen = angle + 0.05 * rng.normal(size=600)
    >>> vectors = np.stack([np.cos(seen), np.sin(seen)], axis=1)
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(600, 50), np.ones(600))
    >>> labels = QTable({"object_id": names, "teff": (4000 + 1000 * angle) * u.K})
    >>> posterior = LabelModel("linear").fit(table[:300], labels).posterior(table[300:])
    >>> ranks = calibration_ranks(posterior, labels, n=99)
    >>> ranks.colnames, bool(ranks["teff"].max() <= 99)
    (['object_id', 'spectrum_id', 'teff'], True)
    >>> bool(rank_uniformity(ranks, bins=10)["p_value"][0] > 1e-3)
    True
    """
    drawn, truth = posterior.samples(n, seed), posterior.true_values(true)
    rng = np.random.default_rng([seed, 1])
    ranks = drawn["object_id", "spectrum_id"]
    for name, value in zip(posterior.scheme.names, truth.T, strict=True):
        samples = drawn[name].value
        equal = (samples == value[:, None]).sum(axis=1)
        rank = (samples < value[:, None]).sum(axis=1) + rng.integers(0, equal + 1)
        ranks[name] = np.where(np.isfinite(value), rank, -1)
    ranks.meta = dict(drawn.meta)
    return ranks


def rank_counts(ranks, name, bins):
    """How many known ranks of a label fall into each of some bins, and how many are expected to."""
    known = np.asarray(ranks[name])
    known = known[known >= 0]
    if not known.size:
        raise LabelError(f"{name}: no rank is known, so none can be counted")
    edges = np.linspace(0, ranks.meta["n_samples"] + 1, bins + 1)
    counts = np.histogram(known, np.ceil(edges))[0]
    # a bin has a whole number of the n + 1 ranks
    return counts, len(known) * np.diff(np.ceil(edges)) / edges[-1]


def rank_uniformity(ranks, bins=16):
    """Whether ranks are uniform, label by label.

    Parameters
    ----------
    ranks : `~astropy.table.QTable`
        As `calibration_ranks` gives them.
    bins : int
        Of the histogram that is compared with a flat one.

    Returns
    -------
    `~astropy.table.QTable`
        A row a label: label, n, chi2 (of bins - 1 degrees of freedom), p_value, mean (0.5 is right; above it, labels
        are predicted too low) and spread (standard deviation over that of a uniform one; above 1, posteriors are too
        narrow).

    Raises
    ------
    LabelError
        No rank of a label is known.
    ValueError
        There are fewer than two bins, or more than n + 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign.analysis.calibration import rank_uniformity
    >>> names, rng = np.arange(500).astype(str), np.random.default_rng(1)
    >>> meta = {"n_samples": 127}
    >>> right, narrow = rng.integers(0, 128, 500), 127 * rng.integers(0, 2, 500)
    >>> ranks = QTable({"object_id": names, "spectrum_id": names, "teff": right, "logg": narrow}, meta=meta)
    >>> rank_uniformity(ranks)["p_value"] > 1e-3
    array([ True, False])
    """
    from scipy.stats import chi2

    if not 2 <= bins <= ranks.meta["n_samples"] + 1:
        raise ValueError(f"bins: expected from 2 to {ranks.meta['n_samples'] + 1}, one a rank, got {bins}")
    rows = []
    for name in rank_names(ranks):
        counts, expected = rank_counts(ranks, name, bins)
        known = np.asarray(ranks[name])[np.asarray(ranks[name]) >= 0]
        place = (known + 0.5) / (ranks.meta["n_samples"] + 1)
        distance = float(((counts - expected) ** 2 / expected).sum())
        moments = float(place.mean()), float(place.std() * np.sqrt(12))
        rows.append((name, len(known), distance, float(chi2.sf(distance, bins - 1)), *moments))
    return QTable(rows=rows, names=("label", "n", "chi2", "p_value", "mean", "spread"))


def rank_names(ranks):
    """Labels of a table of ranks."""
    return [name for name in ranks.colnames if name not in ("object_id", "spectrum_id")]


def interval_coverage(predicted, true, by=None, n_bins=3):
    """Share of true labels inside predicted intervals.

    Parameters
    ----------
    predicted : `~astropy.table.QTable`
        object_id and pairs of columns such as ``teff_lo_80`` and ``teff_hi_80``, as
        `specalign.analysis.ConformalLabels` gives them.
    true : `~astropy.table.QTable`
        object_id (once each) and labels with units; NaN and masked values are left out.
    by : (Q,) float, optional
        Such as the S/N of each row; coverage is then told in bins of it, with as many rows each.  A row whose value
        is not finite counts among all rows, and in no bin.
    n_bins : int

    Returns
    -------
    `~astropy.table.QTable`
        A row a label, level and bin: label, level, bin (0, 1, ...; -1 for all rows), n, coverage, width (median) and
        unit (of width).

    Raises
    ------
    LabelError
        There are no intervals, or a label or unit is missing.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.calibration import interval_coverage
    >>> true = QTable({"object_id": ["a", "b"], "teff": [5000, 6000] * u.K})
    >>> ends = {"teff_lo_80": [4900, 6010] * u.K, "teff_hi_80": [5100, 6200] * u.K}
    >>> predicted = QTable({"object_id": ["a", "b"]} | ends)
    >>> print(interval_coverage(predicted, true)["label", "level", "n", "coverage", "width", "unit"])
    label level  n  coverage width unit
    ----- ----- --- -------- ----- ----
     teff   0.8   2      0.5 195.0    K
    """
    pairs = [ENDS.fullmatch(name) for name in predicted.colnames]
    pairs = [(pair["name"], pair["percent"]) for pair in pairs if pair]
    if not pairs:
        raise LabelError(f"expected columns such as teff_lo_80 and teff_hi_80, got {', '.join(predicted.colnames)}")
    place = match_rows(predicted["object_id"], true["object_id"])
    rows = [row for pair in pairs for row in _coverage_rows(predicted, true, place, *pair, _bins(by, n_bins))]
    return QTable(rows=rows, names=("label", "level", "bin", "n", "coverage", "width", "unit"))


def _bins(by, n_bins):
    """Number of each bin, and the rows in it."""
    bins = {-1: slice(None)}
    if by is None:
        return bins
    by = np.asarray(by, dtype=float)
    known = np.isfinite(by)
    edges = np.quantile(by[known], np.arange(1, n_bins) / n_bins) if known.any() else np.zeros(0)
    place = np.where(known, np.searchsorted(edges, by, side="right"), -1)
    return bins | {number: place == number for number in range(n_bins)}


def _coverage_rows(predicted, true, place, name, percent, bins):
    values, unit, step = known_values(true, name)
    values = np.where(place >= 0, values[place], np.nan)
    low, high = (column_values(predicted, f"{name}_{end}_{percent}", unit)[0] for end in ("lo", "hi"))
    for number, rows in bins.items():
        known = np.isfinite(values[rows])
        inside = ((values >= low) & (values <= high))[rows][known]
        figures = (inside.mean(), np.median((high - low)[rows][known])) if known.any() else (np.nan, np.nan)
        yield name, float(percent) / 100, number, int(known.sum()), *map(float, figures), step.to_string()
