"""Intervals of labels that hold as often as they say, whatever the method: split conformal prediction."""

import math

import numpy as np

from specalign.data.columns import column_values, known_values, label_names, match_rows, with_unit
from specalign.data.splits import hash_fraction
from specalign.display import Displayed
from specalign.exceptions import LabelError, MatchError, SpecalignError

__all__ = ["ConformalLabels", "conformal_quantile", "stars_needed"]


class ConformalLabels(Displayed):
    """Split conformal intervals around the labels of any model [1]_.

    Some stars are kept from the fit.  How far their labels lie from the predicted ones, in units of the predicted
    errors, says how many errors an interval needs: the k-th smallest of the n scores abs(y - value) / error, with k =
    ceil(level (n + 1)).  If new stars are drawn like those, an interval holds the label with at least this
    probability, and at most 1 / (n + 1) more, whether or not the errors are right.  With ``bins="snr"`` that is
    so in each bin of S/N (Mondrian intervals [2]_), and otherwise only over all of them.

    The label is that of the table: where it has an error of its own, the interval contains that, too.  Stars that the
    encoder was trained on are not like new ones, since their embeddings know them; give stars of neither to
    `calibrate`.

    Parameters
    ----------
    model : `~specalign.LabelModel` or another with ``fit(table, labels)`` and ``predict(table)``
        Such as `specalign.analysis.FluxLabelModel`; scores are divided by the ``*_err`` columns of its predictions.
    levels : tuple of float
        Probabilities, above 0 and below 1.
    bins : {"snr", None}
    n_bins : int
        Bins of S/N, with as many calibration stars each.
    calibration : float
        Share of the stars that `fit` keeps for the calibration.
    seed : int
        Of the choice of these stars; and of the row of a star with several, of which one counts.

    Raises
    ------
    ValueError
        A level, the share, ``bins`` or ``n_bins`` is none of these.

    References
    ----------
    .. [1] Lei et al. 2018, J. Am. Stat. Assoc., 113, 1094 (arXiv 1604.04173); Papadopoulos et al. 2002.
    .. [2] Vovk et al. 2005, Algorithmic Learning in a Random World, chapter 4.5.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign import EmbeddingTable, LabelModel
    >>> from specalign.analysis import ConformalLabels
    >>> names, angle = [f"star {i}" for i in range(200)], np.linspace(0, 1, 200)
    >>> vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(200, 50), np.ones(200))
    >>> labels = QTable({"object_id": names, "teff": (4000 + 1000 * angle) * u.K})
    >>> model = ConformalLabels(LabelModel("linear"), levels=[0.8], bins=None).fit(table, labels)
    >>> model.predict(table).colnames
    ['object_id', 'spectrum_id', 'teff', 'teff_err', 'teff_lo_80', 'teff_hi_80']
    """

    def __init__(self, model, levels=(0.5, 0.8, 0.95), bins="snr", n_bins=3, calibration=0.2, seed=0):
        levels = tuple(map(float, np.atleast_1d(levels)))
        if not levels or not all(0 < level < 1 for level in levels):
            raise ValueError(f"levels: expected probabilities above 0 and below 1, got {levels}")
        if bins not in ("snr", None):
            raise ValueError(f"bins: expected 'snr' or None, got {bins!r}")
        if n_bins < 1:
            raise ValueError(f"n_bins: expected at least 1, got {n_bins}")
        if not 0 < calibration < 1:
            raise ValueError(f"calibration: expected a share above 0 and below 1, got {calibration}")
        self.model, self.levels, self.bins = model, levels, bins
        self.n_bins, self.calibration, self.seed = n_bins if bins else 1, calibration, seed
        self._scales = self._trained = None

    def _facts(self):
        levels = ", ".join(f"{100 * level:.6g} %" for level in self.levels)
        facts = {"model": repr(self.model), "levels": levels, "bins": f"{self.n_bins} of S/N" if self.bins else "none"}
        if self._scales is None:
            return facts | {"state": "not calibrated"}
        return facts | {f"{name}, stars": ", ".join(map(str, n)) for name, n in self.n_calibration.items()}

    def fit(self, table, labels, **options):
        """Fit the model to some of the stars, and calibrate it with the others.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`
            Or what the model takes.
        labels : `~astropy.table.QTable`
            object_id (once each) and labels with units.
        **options
            Of the model's ``fit``.

        Returns
        -------
        self

        Raises
        ------
        LabelError
            Too few calibration stars have a label; the message says how many a level needs.
        """
        kept = hash_fraction(table.object_id, self.seed, "conformal") < self.calibration
        if kept.all() or not kept.any():
            raise LabelError(
                f"expected stars to fit and to calibrate with, got {len(np.unique(table.object_id))} stars, of which "
                f"{'all' if kept.all() else 'none'} are for calibration ({self.calibration})"
            )
        return self.fit_model(table[~kept], labels, **options).calibrate(table[kept], labels)

    def fit_model(self, table, labels, **options):
        """Fit the model alone, where other stars are to calibrate it; see `fit` and `calibrate`."""
        self.model.fit(table, labels, **options)
        self._trained = np.unique(table.object_id)
        return self

    def calibrate(self, table, labels):
        """Calibrate a fitted model with stars that it was not fitted to.

        Parameters
        ----------
        table, labels
            As for `fit`.

        Raises
        ------
        MatchError
            A star was fitted to.
        LabelError
            Too few of the stars have a label, an error is missing, or the S/N of a row is not known.
        """
        self._check_new(table.object_id)
        rows = _one_row_a_star(table, self.seed)
        table = table[rows]
        predicted = self.model.predict(table)
        self.names = tuple(name for name in label_names(predicted) if f"{name}_err" in predicted.colnames)
        self.edges = self._edges(table.snr)
        group = self._group(table.snr)
        place = match_rows(table.object_id, labels["object_id"])
        scores = {name: _scores(name, predicted, labels, place) for name in self.names}
        known = {name: np.isfinite(score) for name, score in scores.items()}
        self.n_calibration = {n: tuple(int(k[group == b].sum()) for b in range(self.n_bins)) for n, k in known.items()}
        self._check_enough()
        self._scales = {name: self._bin_quantiles(score, group) for name, score in scores.items()}
        return self

    def predict(self, table):
        """Labels with intervals.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`

        Returns
        -------
        `~specalign.data.scheme.PredictedLabels`
            What the model predicts, and for each label and level the ends of an interval, such as ``teff_lo_80`` and
            ``teff_hi_80``, with the label's unit.  meta has ``conformal``: levels, edges of the bins of S/N, and the
            number of calibration stars of each label and bin.

        Raises
        ------
        SpecalignError
            The model has not been calibrated.
        LabelError
            The S/N of a row is not known, with ``bins="snr"``.
        """
        if self._scales is None:
            raise SpecalignError("the ConformalLabels have not been calibrated; call fit(table, labels) first")
        predicted, group = self.model.predict(table), self._group(table.snr)
        for name in self.names:
            values, unit, step = column_values(predicted, name)
            half = column_values(predicted, f"{name}_err", step)[0][:, None] * self._scales[name][group]
            for level, width in zip(self.levels, half.T, strict=True):
                predicted[f"{name}_lo_{100 * level:.6g}"] = with_unit(values - width, unit)
                predicted[f"{name}_hi_{100 * level:.6g}"] = with_unit(values + width, unit)
        stars = {name: list(n) for name, n in self.n_calibration.items()}
        own = {"levels": list(self.levels), "snr_edges": self.edges.tolist(), "n_calibration": stars}
        predicted.meta["conformal"] = own | {"seed": self.seed}
        return predicted

    def _check_new(self, object_id):
        if self._trained is None:
            raise SpecalignError("the model has not been fitted here; call fit(table, labels) or fit_model first")
        known = np.isin(object_id, self._trained)
        if known.any():
            raise MatchError(
                f"expected calibration stars that the model was not fitted to, got {known.sum()} rows of stars that it "
                f"was, the first of {str(object_id[known][0])!r}"
            )

    def _edges(self, snr):
        """Inner edges (n_bins - 1,) of the bins of S/N."""
        if not self.bins:
            return np.zeros(0)
        _check_snr(snr)
        return np.quantile(np.asarray(snr, dtype=float), np.arange(1, self.n_bins) / self.n_bins)

    def _group(self, snr):
        if not self.bins:
            return np.zeros(len(snr), dtype=int)
        _check_snr(snr)
        return np.searchsorted(self.edges, np.asarray(snr, dtype=float), side="right")

    def _check_enough(self):
        highest = max(self.levels)
        for name, counts in self.n_calibration.items():
            for number, count in enumerate(counts):
                if count < stars_needed(highest):
                    where = f" in S/N bin {number + 1} of {self.n_bins}" if self.bins else ""
                    raise LabelError(
                        f"{name}: the level {highest:g} needs at least {stars_needed(highest)} calibration stars "
                        f"with a label, got {count}{where}; give more stars, a larger share "
                        f"(calibration={self.calibration}), fewer bins or a lower level"
                    )

    def _bin_quantiles(self, scores, group):
        """How many errors (n_bins, levels) an interval needs."""
        parts = [scores[(group == b) & np.isfinite(scores)] for b in range(self.n_bins)]
        return np.array([[conformal_quantile(part, level) for level in self.levels] for part in parts])


def stars_needed(level):
    """Fewest calibration stars with which an interval of a level is finite: level / (1 - level), rounded up.

    Examples
    --------
    >>> from specalign.analysis.conformal import stars_needed
    >>> [stars_needed(level) for level in (0.5, 0.8, 0.95)]
    [1, 4, 19]
    """
    # 0.95 / 0.05 is 18.999... or 19.000... in binary
    return max(1, math.ceil(level / (1 - level) - 1e-9))


def conformal_quantile(scores, level):
    """The k-th smallest of n scores, k = ceil(level (n + 1)); infinite where n is too small for the level.

    Parameters
    ----------
    scores : (n,) float
    level : float

    Examples
    --------
    >>> from specalign.analysis.conformal import conformal_quantile
    >>> conformal_quantile([4.0, 1.0, 3.0, 2.0], 0.5), conformal_quantile([4.0, 1.0, 3.0, 2.0], 0.8)
    (3.0, 4.0)
    >>> conformal_quantile([4.0, 1.0, 3.0, 2.0], 0.9)
    inf
    """
    k = math.ceil(level * (len(scores) + 1) - 1e-9)
    return float(np.sort(scores)[k - 1]) if k <= len(scores) else math.inf


def _scores(name, predicted, labels, place):
    values, unit, step = column_values(predicted, name)
    errors = column_values(predicted, f"{name}_err", step)[0]
    if not (np.isfinite(values) & (errors > 0)).all():
        bad = int((~(np.isfinite(values) & (errors > 0))).sum())
        raise LabelError(f"{name}: expected values with positive errors of all calibration stars, got {bad} without")
    truth = np.where(place >= 0, known_values(labels, name, unit)[0][place], np.nan)
    return np.abs(truth - values) / errors


def _check_snr(snr):
    unknown = int((~np.isfinite(snr)).sum())
    if unknown:
        raise LabelError(f"bins='snr' needs the S/N of every row, which {unknown} of {len(snr)} lack; use bins=None")


def _one_row_a_star(table, seed):
    """Rows (stars,) of a table, one a star: several rows of a star are not independent."""
    chance = hash_fraction(table.spectrum_id, seed, "conformal row")
    order = np.lexsort((chance, table.object_id))
    _, first = np.unique(table.object_id[order], return_index=True)
    return np.sort(order[first])
