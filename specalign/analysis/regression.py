"""Regression from vectors to several labels at once, with errors; labels may be missing (NaN).

Every regressor has ``fit(inputs, labels, star)`` and ``predict(inputs) -> values, errors``.  Labels are plain float64
arrays here; `specalign.analysis.labels` takes care of their units.
"""

import numpy as np

from specalign import ops
from specalign.data.scaling import ColumnScaler
from specalign.exceptions import LabelError

__all__ = ["LinearProbe", "NearestNeighbours", "check_stars"]

BLOCK = 2**23  # similarities that are held at a time


class NearestNeighbours:
    """Mean of the labels of training rows, weighted by how likely each is the query's star.

    In a space that was trained by contrast, exp(logit_scale * cosine) is in proportion to the probability that two
    rows are of one star (van den Oord et al. 2018, arXiv 1807.03748); with such weights the mean is that of the
    labels' posterior, and the error its standard deviation, whatever the number of rows.  Where no scale is known, the
    weights are exp(-2 (s_1 - s_i) / (s_1 - s_k)) for the similarities s_1 >= ... >= s_k: from 1 for the nearest to
    0.14 for the last.  Either way the error contains how coarsely the gallery is filled.

    Parameters
    ----------
    k : int, optional
        Rows that count for a query; by default all where a scale is known, and 10 where none is.
    logit_scale : float, optional
        By default that of the space, see `~specalign.EmbeddingTable.logit_scale`.

    Raises
    ------
    ValueError
        A number is not positive.
    """

    def __init__(self, k=None, logit_scale=None):
        if k is not None and k < 1:
            raise ValueError(f"k: expected at least one neighbour, got {k}")
        if logit_scale is not None and not 0 < logit_scale < np.inf:
            raise ValueError(f"logit_scale: expected a positive number, got {logit_scale}")
        self.k, self.logit_scale = k, logit_scale

    def fit(self, inputs, labels, star, logit_scale=None):
        """Keep the rows, and the scale of their space where none was chosen."""
        self.vectors, self.labels, self.known = np.ascontiguousarray(inputs), labels, _known_rows(labels)
        self.scale = logit_scale if self.logit_scale is None else self.logit_scale
        return self

    def predict(self, inputs):
        """Values and errors (Q, L); a label that a neighbour lacks is taken from the next one that has it."""
        values = np.full((len(inputs), self.labels.shape[1]), np.nan)
        errors = values.copy()
        for rows, columns in self.known:
            if rows.size and len(inputs):
                near = self.labels[np.ix_(rows, columns)]
                every = self.k is None and self.scale is not None
                estimate = self._of_all if every else self._of_nearest
                values[:, columns], errors[:, columns] = estimate(inputs, self.vectors[rows], near)
        return values, errors

    def sample(self, inputs, n, seed):
        """Labels (Q, n, L) of training rows, drawn with their weights; rows that lack a label are left out."""
        complete = np.flatnonzero(np.isfinite(self.labels).all(axis=1))
        if not complete.size:
            raise LabelError(
                f"expected training rows with every label to draw from, got none of {len(self.labels)}; "
                f"fit with fewer names=[...]"
            )
        gallery, labels = self.vectors[complete], self.labels[complete]
        rng = np.random.default_rng(seed)
        blocks = np.array_split(inputs, max(1, -(-len(inputs) * len(gallery) // BLOCK)))
        return np.concatenate([labels[_drawn(*self._choices(block, gallery), n, rng)] for block in blocks])

    def _choices(self, queries, gallery):
        """Weights (Q, k) and rows (Q, k) that count for each query."""
        if self.k is None and self.scale is not None:
            rows = np.broadcast_to(np.arange(len(gallery)), (len(queries), len(gallery)))
            return self._weights(_similarity(queries, gallery)), rows
        similarity, found = ops.topk_similarity(queries, gallery, min(self.k or 10, len(gallery)))
        return self._weights(similarity.numpy().astype(float)), found.numpy()

    def _of_all(self, queries, gallery, labels):
        """Mean and error (Q, L), in blocks, so that no matrix of all similarities is ever there."""
        blocks = np.array_split(queries, max(1, -(-len(queries) * len(gallery) // BLOCK)))
        parts = [_weighted(self._weights(_similarity(block, gallery)), labels) for block in blocks]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _of_nearest(self, queries, gallery, labels):
        weight, found = self._choices(queries, gallery)
        return _weighted(weight, labels[found])

    def _weights(self, similarity):
        behind = similarity.max(axis=1, keepdims=True) - similarity
        if self.scale is None:
            behind = 2 * behind / np.where(behind[:, -1:] > 0, behind[:, -1:], 1)
        else:
            behind = self.scale * behind
        weight = np.exp(-behind)
        return weight / weight.sum(axis=1, keepdims=True)


def _known_rows(labels):
    """Rows that have a label, and the columns of the labels that just these rows have."""
    columns = {}
    for number, column in enumerate(np.isfinite(labels).T):
        columns.setdefault(column.tobytes(), []).append(number)
    return [(np.flatnonzero(np.isfinite(labels[:, found[0]])), np.array(found)) for found in columns.values()]


def _drawn(weight, rows, n, rng):
    """Rows (Q, n), each as often as its weight says."""
    reached = np.cumsum(weight, axis=1)
    chance = rng.random((len(weight), n)) * reached[:, -1:]
    found = [np.searchsorted(*pair, side="right") for pair in zip(reached, chance, strict=True)]
    place = np.array(found, dtype=np.int64).reshape(len(weight), n)
    return np.take_along_axis(rows, np.minimum(place, rows.shape[1] - 1), axis=1)


def _similarity(queries, gallery):
    return (queries @ gallery.T).astype(np.float64)


def _weighted(weight, labels):
    """Mean and standard deviation (Q, L) of labels (N, L), or (Q, k, L), with weights (Q, N)."""
    labels = labels[None] if labels.ndim == 2 else labels
    centre = labels.mean(axis=(0, 1))
    near = labels - centre
    mean = np.squeeze(weight[:, None] @ near, axis=1)
    # one neighbour says nothing about the scatter: 0 / 0 is NaN
    freedom = 1 - (weight**2).sum(axis=1, keepdims=True)
    scatter = np.maximum(np.squeeze(weight[:, None] @ near**2, axis=1) - mean**2, 0)
    with np.errstate(invalid="ignore"):
        return centre + mean, np.sqrt(scatter / np.where(freedom > 1e-12, freedom, np.nan))


def check_stars(star):
    """Check that training rows (n,) are of two stars or more.

    Raises
    ------
    LabelError
        They are of one.

    Examples
    --------
    >>> from specalign.analysis.regression import check_stars
    >>> check_stars(["a", "a", "b"])
    """
    number = len(np.unique(star))
    if number < 2:
        raise LabelError(
            f"expected rows of at least two stars, since some are held out, got {len(star)} rows of {number}; give "
            f"more stars, or use LabelModel('knn')"
        )


class LinearProbe:
    """Ridge regression on standardised labels, with the penalty and the errors from held-out stars.

    Parameters
    ----------
    alphas : tuple of float
        Penalties to choose from, a label each.
    folds : int
        Groups of stars that are held out in turn; all rows of a star are in one of them.
    seed : int
    """

    def __init__(self, alphas=(1e-3, 1e-2, 1e-1, 1.0, 10.0), folds=5, seed=0):
        self.alphas, self.folds, self.seed = tuple(alphas), folds, seed

    def fit(self, inputs, labels, star):
        """Choose the penalty by held-out stars, then fit on all of them."""
        self.scaler = ColumnScaler.fit(labels)
        scaled = self.scaler.forward(labels)
        # directions that an embedding hardly uses are lost in the rounding of float32
        inputs = np.asarray(inputs, dtype=np.float64)
        fits = [self._fit_label(inputs, scaled[:, j], star) for j in range(labels.shape[1])]
        self.models, self.errors = zip(*fits, strict=True)
        return self

    def _fit_label(self, inputs, values, star):
        from sklearn.linear_model import Ridge

        there = np.isfinite(values)
        inputs, values, star = inputs[there], values[there], star[there]
        check_stars(star)
        errors = [self._held_out_error(Ridge(alpha), inputs, values, star) for alpha in self.alphas]
        best = int(np.argmin(errors))
        return Ridge(self.alphas[best]).fit(inputs, values), errors[best]

    def _held_out_error(self, model, inputs, values, star):
        from sklearn.model_selection import GroupKFold, cross_val_predict

        folds = min(self.folds, len(np.unique(star)))
        split = GroupKFold(folds, shuffle=True, random_state=self.seed)
        residual = cross_val_predict(model, inputs, values, groups=star, cv=split) - values
        return np.sqrt((residual**2).mean())

    def predict(self, inputs):
        """Values and errors (Q, L); the error of a label is the same for all rows."""
        inputs = np.asarray(inputs, dtype=np.float64)
        # scikit-learn refuses to predict no row
        values = np.stack([model.predict(inputs) if len(inputs) else np.zeros(0) for model in self.models], axis=1)
        errors = np.broadcast_to(np.array(self.errors) * self.scaler.scale, values.shape)
        return self.scaler.inverse(values), errors.copy()
