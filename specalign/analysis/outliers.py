"""Spectra that are unlike those of normal stars, at a rate of false alarms that is stated and kept.

>>> from specalign.analysis.outliers import COMBINATIONS
>>> sorted(COMBINATIONS)
['fisher', 'minimum']
"""

import logging
from dataclasses import dataclass

import numpy as np
from astropy.table import MaskedColumn, QTable

from specalign.analysis.false_alarms import Tail, p_values, stars_needed
from specalign.analysis.scores import (
    SCORES,
    PairScale,
    instrument_pairs,
    neighbour_distance,
    reconstruction_residual,
    rows_of,
)
from specalign.data.splits import hash_fraction, split
from specalign.display import Displayed
from specalign.exceptions import GridMismatchError, MatchError, SpecalignError
from specalign.instruments.prepared import PreparedSpectra

__all__ = ["COMBINATIONS", "OutlierModel", "OutlierTable"]

log = logging.getLogger(__name__)

#: Of several scores in units of -log10 of a probability: the smallest probability, or their product.
COMBINATIONS = {"minimum": np.max, "fisher": np.sum}


class OutlierTable(QTable):
    """What `OutlierModel.predict` found: a `~astropy.table.QTable` that can draw itself.

    Examples
    --------
    >>> from specalign.analysis.outliers import OutlierTable
    >>> rows = {"object_id": ["a", "b"], "instrument": ["apogee"] * 2, "snr": [50.0, 90], "score": [0.3, 4]}
    >>> found = OutlierTable(rows | {"p_value": [0.5, 0.001], "outlier": [False, True]}, meta={"false_alarm": 0.01})
    >>> found[found["outlier"]]["object_id"].tolist()
    ['b']
    """

    def plot(self, prepared=None, ax=None, **options):
        """Draw the scores against S/N, and the worst spectra below where spectra are given.

        Parameters
        ----------
        prepared : `~specalign.PreparedSpectra`, optional
        ax : `~matplotlib.axes.Axes`, optional
            Where to draw; with spectra, a sequence of them, for the scores and for each spectrum.
        **options
            Of `specalign.plots.plot_outliers`: ``n``, ``reconstruction``.

        Returns
        -------
        `~matplotlib.figure.Figure` or `~matplotlib.axes.Axes`
            The new figure, or the ``ax`` that was given.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.

        Examples
        --------
        >>> from specalign.analysis.outliers import OutlierTable
        >>> rows = {"object_id": ["a", "b"], "instrument": ["apogee"] * 2, "snr": [50.0, 90], "score": [0.3, 4]}
        >>> found = OutlierTable(rows | {"p_value": [0.5, 0.001], "outlier": [False, True]}, meta={"false_alarm": 0.01})
        >>> found.plot().axes[0].get_xlabel()
        'S/N a pixel [dimensionless]'
        """
        from specalign.plots import plot_outliers

        figure = plot_outliers(self, prepared, ax=ax, **options)
        return figure if ax is None else ax


class OutlierModel(Displayed):
    """Outliers by three scores, each calibrated with normal stars.

    ``neighbours``: one minus the mean cosine to the ``k`` nearest reference rows of the same instrument; a star's own
    other visits do not count.  ``residual``: reduced chi-square of the prepared spectrum against a reconstruction that
    the caller gives with its uncertainty.  ``disagreement``: how much further apart two instruments put a star than
    pairs of such S/N are; all instruments' rows of a star get it, since it does not tell which one is wrong.

    `fit` divides the stars in two.  From the reference stars it learns how each score is distributed
    (`~specalign.analysis.false_alarms.Tail`), which brings all scores to one unit, -log10 of a probability.  The others
    are normal stars, one row of each, and a p-value is the rank among those of the same instrument (and S/N):
    (1 + #{normal >= score}) / (n + 1).  Several scores are combined before that: the combination is ranked among the
    same combination of the normal stars, so that its p-value holds however the scores depend on each other.

    The rate is kept for stars that are drawn as the normal ones are.  So neither an encoder nor an aligner may have
    been trained on the normal stars unless it was trained on the stars that are asked for, too; outliers among the
    normal stars make fewer alarms, not more.

    Parameters
    ----------
    scores : str or sequence of str
        Of ``neighbours``, ``residual``, ``disagreement``.
    k : int
        Neighbours that count.
    snr_bins : int
        Compare with normal stars of similar S/N: bins of equal numbers of them, an instrument each.
    combine : {"minimum", "fisher"}
        The smallest of the scores' probabilities (Tippett 1931), or their product (Fisher 1932).
    seed : int
        Of the division of the stars.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable, OutlierModel
    >>> rng, names = np.random.default_rng(0), [f"star {i}" for i in range(400)]
    >>> vectors = np.array([5.0, 0, 0]) + rng.normal(size=(400, 3))
    >>> normal = EmbeddingTable(vectors, names, names, "apogee", np.full(400, 50), np.ones(400))
    >>> new = EmbeddingTable([[5, 0, 0], [-5, 0, 0]], ["x", "y"], ["x", "y"], "apogee", [50, 50], [1, 1])
    >>> OutlierModel("neighbours").fit(normal).predict(new, false_alarm=0.01)["outlier"].tolist()
    [False, True]
    """

    def __init__(self, scores="neighbours", *, k=10, snr_bins=1, combine="minimum", seed=0):
        self.scores = (scores,) if isinstance(scores, str) else tuple(scores)
        if not self.scores or not set(self.scores) <= set(SCORES) or len(set(self.scores)) < len(self.scores):
            raise ValueError(f"scores: expected some of {', '.join(SCORES)}, once each, got {scores!r}")
        if combine not in COMBINATIONS:
            raise ValueError(f"combine: expected one of {', '.join(COMBINATIONS)}, got {combine!r}")
        if k < 1 or snr_bins < 1:
            raise ValueError(f"k, snr_bins: expected at least 1, got {k} and {snr_bins}")
        self.k, self.snr_bins, self.combine, self.seed = k, snr_bins, combine, seed
        self._known = None

    def _facts(self):
        facts = {"scores": ", ".join(self.scores), "combine": self.combine, "S/N bins": str(self.snr_bins)}
        if self._known is None:
            return facts | {"state": "not fitted"}
        return facts | {name: f"{len(one.object_id)} normal stars" for name, one in self._known.items()}

    def fit(self, table, prepared=None, reconstruction=None, *, parts=None):
        """Learn what normal stars look like.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`
            Of one instrument or several; what lies in it counts as normal.
        prepared : `~specalign.PreparedSpectra` or dict of them by instrument, optional
            For ``residual``; matched by spectrum_id.
        reconstruction : as for `~specalign.analysis.scores.reconstruction_residual`, or dict of them, optional
        parts : `~specalign.data.splits.StarSplit`, optional
            Which stars are the reference (train) and which the normal ones (validation); the others do not count.  By
            default half of the stars each.

        Returns
        -------
        self

        Raises
        ------
        MatchError
            Fewer than 20 reference stars of an instrument, or pairs of instruments; no row has what ``residual``
            needs; or a star is in no part.
        SpectrumError
            A good pixel of the spectra, or of their reconstruction, is not finite.
        """
        table = table[np.lexsort((table.spectrum_id, table.instrument))]  # so that the order of rows never matters
        part = (
            split(table.object_id, validation=0.5, test=0.0, seed=self.seed, purpose="outliers")
            if parts is None
            else parts.of(table.object_id)
        )
        reference = table[part == "train"]
        self._space, self._gallery, self._records = table[:0], reference, {}
        self._pairs = _pair_scales(reference) if "disagreement" in self.scores else {}
        residual = self._residual(table, prepared, reconstruction) if "residual" in self.scores else None
        if residual is not None and not np.isfinite(residual).any():
            raise MatchError(
                "residual: no row has a spectrum and a reconstruction; give fit both, with its spectrum_id"
            )
        raw = {part_: self._raw(table[part == part_], residual, part == part_) for part_ in ("train", "validation")}
        self._known = {
            str(name): self._normal(table, part, raw, str(name)) for name in np.unique(table.instrument).tolist()
        }
        log.info("%r", self)
        return self

    def _normal(self, table, part, raw, name):
        """What is usual of one instrument: tails of the reference rows, and the normal stars."""
        reference, held = table[part == "train"], table[part == "validation"]
        here = reference.instrument == name
        tails = [Tail(raw["train"][here, j]) if _any(raw["train"][here, j]) else None for j in range(len(self.scores))]
        rows = _one_a_star(held, np.flatnonzero(held.instrument == name), self.seed)
        snr = held.snr[rows].astype(np.float64)
        inner = np.linspace(0, 1, self.snr_bins + 1)[1:-1]
        edges = np.quantile(snr[np.isfinite(snr)], inner) if np.isfinite(snr).any() else np.zeros(0)
        surprise = _surprise(tails, raw["validation"][rows])
        return _Normal(tails, held.object_id[rows], surprise, _bins(snr, edges, self.snr_bins), edges)

    def _raw(self, table, residual, rows):
        """Scores (N, m) of rows, logarithms of them, NaN where unknown."""
        found = {
            "neighbours": lambda: np.log(np.maximum(self._distance(table), 1e-12)),
            "residual": lambda: np.log(np.maximum(residual[rows], 1e-12)),
            "disagreement": lambda: _disagreement(table, self._pairs),
        }
        return np.stack([found[name]() for name in self.scores], axis=1).reshape(len(table), len(self.scores))

    def _distance(self, table):
        found = np.full(len(table), np.nan)
        for name in np.unique(self._gallery.instrument):
            rows = np.flatnonzero(table.instrument == name)
            found[rows] = neighbour_distance(table[rows], self._gallery[self._gallery.instrument == name], self.k)
        return found

    def _residual(self, table, prepared, reconstruction):
        """Reduced chi-square (N,) of each row that has a spectrum and a reconstruction."""
        found = np.full(len(table), np.nan)
        prepared, given = (
            _by_instrument(prepared, table, "prepared"),
            _by_instrument(reconstruction, table, "reconstruction"),
        )
        for name in prepared.keys() & given.keys():
            record = self._records.setdefault(name, prepared[name].instrument)
            if record != prepared[name].instrument:
                raise GridMismatchError(
                    f"the normal stars' spectra of {name} have grid {record.grid_digest[:12]} and mask rules "
                    f"{record.mask_version}, these have {prepared[name].instrument.grid_digest[:12]} and "
                    f"{prepared[name].instrument.mask_version}; prepare both in the same way"
                )
            rows = np.flatnonzero(table.instrument == name)
            place = rows_of(table.spectrum_id[rows], prepared[name].spectrum_id)
            values = reconstruction_residual(prepared[name], given[name])
            found[rows[place >= 0]] = values[place[place >= 0]]
        return found

    def predict(self, table, prepared=None, reconstruction=None, *, false_alarm=0.01):
        """Scores, p-values and whether each row is an outlier, in the order of the rows.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`
            All rows of a star that are to be compared with each other.
        prepared, reconstruction : as for `fit`
        false_alarm : float
            The share of normal spectra that become outliers.

        Returns
        -------
        found : OutlierTable
            object_id, spectrum_id, instrument, snr; of each score NAME its value and ``NAME_p``; ``score``, -log10 of
            a probability, ``p_value`` and ``outlier`` of all scores that are known of the row, which ``n_scores``
            counts.  What is not known is masked: a score without its input, and the verdict where there is no score,
            no S/N that its bin needs, or no normal star of the instrument.

        Raises
        ------
        GridMismatchError
            The table is from another aligner than the one that the model was fitted on, or the spectra were prepared
            in another way.
        MatchError
            There are too few normal stars for the rate.
        SpectrumError
            A good pixel of the spectra, or of their reconstruction, is not finite.
        ValueError
            The rate is not between 0 and 1.
        """
        if self._known is None:
            raise SpecalignError("the OutlierModel has not been fitted; call fit(table) first")
        needed = stars_needed(false_alarm)
        self._space.check_same_space(table)
        residual = self._residual(table, prepared, reconstruction) if "residual" in self.scores else None
        raw, n = self._raw(table, residual, slice(None)), len(table)
        columns = {"p": np.full(raw.shape, np.nan), "score": np.full(n, np.nan), "p_value": np.full(n, np.nan)}
        for name in set(table.instrument.tolist()):
            if name in self._known:
                self._rank(table, np.flatnonzero(table.instrument == name), name, raw, columns, needed)
            else:
                log.warning("no normal star of %s: its rows are neither normal nor outliers", name)
        return self._table(table, raw, columns, false_alarm)

    def _rank(self, table, rows, name, raw, columns, needed):
        """Fill in the rows of one instrument, S/N bin by bin and by which scores are known."""
        normal = self._known[name]
        surprise = _surprise(normal.tails, raw[rows])
        bins = _bins(table.snr[rows].astype(np.float64), normal.edges, self.snr_bins)
        for number in set(bins[bins >= 0].tolist()):
            stars = normal.rows(normal.bins == number)
            where = f"{name} in S/N bin {number + 1} of {self.snr_bins}" if self.snr_bins > 1 else name
            known = np.isfinite(surprise) & np.isfinite(stars.surprise).any(axis=0) & (bins == number)[:, None]

            def ranked(here, which, stars=stars, where=where):
                return self._ranked(stars, surprise[here], table.object_id[rows[here]], which, needed, where)

            for j, one in enumerate(np.eye(len(self.scores), dtype=bool)):
                columns["p"][rows[known[:, j]], j] = ranked(known[:, j], one)[1]
            for which in np.unique(known[known.any(axis=1)], axis=0):
                here = (known == which).all(axis=1)
                columns["score"][rows[here]], columns["p_value"][rows[here]] = ranked(here, which)

    def _ranked(self, stars, surprise, object_id, which, needed, where):
        """Combined scores (N,) of rows, and their p-values among the normal stars that have the same scores."""
        combine = COMBINATIONS[self.combine]
        scores, normal = (combine(values[:, which], axis=1) for values in (surprise, stars.surprise))
        n = int(np.isfinite(normal).sum())
        if len(scores) and n < needed:
            raise MatchError(
                f"this rate of false alarms needs at least {needed} normal stars of {where} with "
                f"{' and '.join(np.array(self.scores)[which])}, got {n}; fit with more stars, or ask for a higher rate"
            )
        place = rows_of(object_id, stars.object_id)
        own = np.where(place >= 0, normal[place], np.nan) if len(normal) else np.full(len(scores), np.nan)
        return scores, p_values(scores, normal[np.isfinite(normal)], own)

    def _table(self, table, raw, columns, false_alarm):
        meta = {"false_alarm": false_alarm, "scores": list(self.scores), "combine": self.combine}
        meta |= {"space": table.space, "n_normal": {name: len(one.object_id) for name, one in self._known.items()}}
        found = OutlierTable(meta=meta)
        for name in ("object_id", "spectrum_id", "instrument", "snr"):
            found[name] = getattr(table, name)
        for j, name in enumerate(self.scores):
            found[name] = _masked(raw[:, j] if name == "disagreement" else np.exp(raw[:, j]))
            found[f"{name}_p"] = _masked(columns["p"][:, j])
        found["n_scores"] = np.isfinite(columns["p"]).sum(axis=1)
        found["score"], found["p_value"] = _masked(columns["score"]), _masked(columns["p_value"])
        outlier = np.nan_to_num(columns["p_value"], nan=1) <= false_alarm
        found["outlier"] = MaskedColumn(outlier, mask=np.isnan(columns["p_value"]))
        return found


@dataclass(frozen=True, repr=False)
class _Normal(Displayed):
    """The normal stars of one instrument: scores (n, m) in units of -log10 of a probability, and S/N bins (n,)."""

    tails: list
    object_id: np.ndarray
    surprise: np.ndarray
    bins: np.ndarray
    edges: np.ndarray

    def rows(self, which):
        """Some of the stars."""
        return _Normal(self.tails, self.object_id[which], self.surprise[which], self.bins[which], self.edges)


def _any(values):
    return bool(np.isfinite(values).any())


def _masked(values):
    return MaskedColumn(np.nan_to_num(values), mask=np.isnan(values))


def _surprise(tails, raw):
    unknown = np.full(len(raw), np.nan)
    return np.stack([unknown if tail is None else tail(raw[:, j]) for j, tail in enumerate(tails)], axis=1)


def _one_a_star(table, rows, seed):
    """One of each star's rows, drawn by its name."""
    chance = hash_fraction(table.spectrum_id[rows], seed, "normal row")
    rows = rows[np.argsort(chance, kind="stable")]
    return rows[np.unique(table.object_id[rows], return_index=True)[1]]


def _bins(snr, edges, n_bins):
    """Number of the S/N bin (N,); -1 where the S/N is unknown and there are several bins."""
    if n_bins == 1:
        return np.zeros(len(snr), int)
    return np.where(np.isfinite(snr), np.searchsorted(edges, snr, side="right"), -1)


def _pair_scales(table):
    """How far apart each two instruments usually put a star."""
    first, second = instrument_pairs(table)
    pairs = np.stack([table.instrument[first], table.instrument[second]], axis=1)
    if not len(pairs):
        raise MatchError("disagreement: no reference star was seen by two instruments; give the rows of all of them")
    found = {}
    for pair in np.unique(pairs, axis=0):
        rows = np.flatnonzero((pairs == pair).all(axis=1))
        found[tuple(pair.tolist())] = PairScale(*_pair_values(table, first[rows], second[rows]))
    return found


def _pair_values(table, first, second):
    cosine = np.einsum("rd,rd->r", table.vectors[first].astype(np.float64), table.vectors[second])
    return np.stack([table.snr[first], table.snr[second]], axis=1), cosine


def _disagreement(table, scales):
    """Mean excess (N,) over a row's partners in other instruments; NaN where there is none."""
    first, second = instrument_pairs(table)
    total, number = np.zeros(len(table)), np.zeros(len(table))
    for (a, b), scale in scales.items():
        rows = np.flatnonzero((table.instrument[first] == a) & (table.instrument[second] == b))
        excess = scale(*_pair_values(table, first[rows], second[rows]))
        for end in (first[rows][np.isfinite(excess)], second[rows][np.isfinite(excess)]):
            total += np.bincount(end, excess[np.isfinite(excess)], len(table))
            number += np.bincount(end, minlength=len(table))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _by_instrument(given, table, what):
    """Spectra by the table's names of their instruments."""
    if given is None or isinstance(given, dict):
        return given or {}
    names = np.unique(table.instrument).tolist()
    if isinstance(given, PreparedSpectra) and given.instrument.name in names:
        return {given.instrument.name: given}
    if len(names) > 1:
        raise MatchError(f"{what}: the table has {', '.join(names)}; give a dict with these names")
    return dict.fromkeys(names, given)
