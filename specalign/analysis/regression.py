"""Regression from vectors to several labels at once, with errors; labels may be missing (NaN).

Every regressor has ``fit(inputs, labels, star)`` and ``predict(inputs) -> values, errors``.  Labels are plain float64
arrays here; `specalign.analysis.labels` takes care of their units.
"""

import numpy as np

from specalign import ops
from specalign.data.scaling import ColumnScaler

__all__ = ["LinearProbe", "NearestNeighbours"]


class NearestNeighbours:
    """Weighted mean of the labels of the nearest training rows.

    With the similarities s_1 >= ... >= s_k of the neighbours, the weights are exp(-2 (s_1 - s_i) / (s_1 - s_k)): from 1
    for the nearest to 0.14 for the last, whatever the distance between two instruments' clouds of vectors.  The error
    is the weighted standard deviation of the neighbours' labels, so it contains how coarsely the gallery is filled.

    Parameters
    ----------
    k : int
    """

    def __init__(self, k=10):
        if k < 1:
            raise ValueError(f"k: expected at least one neighbour, got {k}")
        self.k = k

    def fit(self, inputs, labels, star):
        """Keep the rows."""
        self.vectors, self.labels = np.ascontiguousarray(inputs), labels
        return self

    def predict(self, inputs):
        """Values and errors (Q, L); a label that a neighbour lacks is taken from the next one that has it."""
        values = np.full((len(inputs), self.labels.shape[1]), np.nan)
        errors = values.copy()
        present = np.isfinite(self.labels)
        patterns, which = np.unique(present, axis=1, return_inverse=True)
        for number, rows in enumerate(patterns.T):
            columns = np.flatnonzero(which.ravel() == number)
            rows = np.flatnonzero(rows)
            if rows.size:
                found = self._neighbours(inputs, rows)
                values[:, columns], errors[:, columns] = _weighted(*found, self.labels[:, columns])
        return values, errors

    def _neighbours(self, queries, rows):
        similarity, found = ops.topk_similarity(queries, self.vectors[rows], min(self.k, rows.size))
        return similarity.numpy().astype(float), rows[found.numpy()]


def _weighted(similarity, rows, labels):
    span = similarity[:, :1] - similarity[:, -1:]
    weight = np.exp(-2 * (similarity[:, :1] - similarity) / np.where(span > 0, span, 1))
    weight /= weight.sum(axis=1, keepdims=True)
    near = labels[rows]
    mean = np.einsum("qk,qkl->ql", weight, near)
    # one neighbour says nothing about the scatter: 0 / 0 is NaN
    freedom = 1 - (weight**2).sum(axis=1, keepdims=True)
    scatter = np.einsum("qk,qkl->ql", weight, (near - mean[:, None]) ** 2)
    with np.errstate(invalid="ignore"):
        return mean, np.sqrt(scatter / np.where(freedom > 1e-12, freedom, np.nan))


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
        values = np.stack([model.predict(inputs) for model in self.models], axis=1)
        errors = np.broadcast_to(np.array(self.errors) * self.scaler.scale, values.shape)
        return self.scaler.inverse(values), errors.copy()
