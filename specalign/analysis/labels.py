"""Labels for embeddings, learned from labelled ones, in the same instrument or in another.

>>> from specalign.analysis.labels import METHODS
>>> METHODS
('knn', 'linear', 'mlp')
"""

import logging

from specalign.data.scheme import LabelScheme, PredictedLabels
from specalign.display import Displayed, brief
from specalign.exceptions import SpecalignError

__all__ = ["METHODS", "LabelModel", "LabelScheme", "PredictedLabels"]

log = logging.getLogger(__name__)

METHODS = ("knn", "linear", "mlp")


class LabelModel(Displayed):
    """Labels from embeddings.

    Fitted on one instrument's embeddings and asked for another's, it labels spectra of an instrument that has no
    labels (zero-shot).  Keep the stars that you test on out of the fit: a star's own row in the other instrument
    is its nearest neighbour.

    Parameters
    ----------
    method : {"knn", "linear", "mlp"}
        ``knn``: mean of the nearest rows, weighted by how likely each is of the same star; error from their scatter.
        ``k`` rows count: by default all where ``logit_scale`` is given or known of the table, and 10 where not.
        ``linear``: ridge regression (``alphas``, ``folds``, ``seed``), error from stars held out in turn.
        ``mlp``: ensemble of small perceptrons (``hidden``, ``members``, ``max_epochs``, ``seed``, ...; see
        `specalign.analysis.network.NetworkEnsemble`), errors row by row, calibrated on held-out stars.
    **options
        Of the method.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign import EmbeddingTable, LabelModel
    >>> names = [f"star {i}" for i in range(9)]
    >>> angle = np.linspace(0, 1, 9)
    >>> vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(9, 50), np.ones(9))
    >>> labels = QTable({"object_id": names, "teff": (4000 + 1000 * angle) * u.K}, meta={"label_system": "mock"})
    >>> model = LabelModel("knn", k=2).fit(table, labels)
    >>> predicted = model.predict(table)
    >>> predicted.colnames
    ['object_id', 'spectrum_id', 'teff', 'teff_err']
    >>> predicted.meta["label_system"]
    'mock'
    """

    def __init__(self, method="knn", **options):
        if method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
        self.method, self.options = method, options
        self._regressor = _regressor(method, options)
        self._space = None

    def __repr__(self):
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"LabelModel({self.method!r}{options})"

    def _facts(self):
        facts = {"method": self.method, "options": brief(self.options), "state": "not fitted"}
        if self._space is None:
            return facts
        return (
            facts
            | {"state": f"fitted in the space {self._space.space[:12] or 'without a name'}"}
            | self._scheme._facts()
        )

    def fit(self, table, labels, system=None, names=None):
        """Learn from the rows of a table whose object is among the labelled ones.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`
        labels : `~astropy.table.QTable`
            object_id (once each) and columns with units; NaN and masked values are left out, label by label.
        system : str, optional
            Name of the label system; by default ``labels.meta["label_system"]``.
        names : sequence of str, optional
            Which columns; by default all that are labels.

        Returns
        -------
        self

        Raises
        ------
        LabelError
            A label is missing or has no unit, two systems are named, or too few stars have a label.
        MatchError
            An object is labelled twice, or no row has a label.
        """
        self._scheme, rows, values = LabelScheme.from_table(labels, table.object_id, system, names)
        scale = {"logit_scale": table.logit_scale} if self.method == "knn" else {}
        self._regressor.fit(table.vectors[rows], values, table.object_id[rows], **scale)
        # without rows it still knows its space, grids and number of dimensions
        self._space = table[:0]
        log.info(
            "%r: %s of %s, from %d of %d rows",
            self,
            ", ".join(self._scheme.names),
            self._scheme.system,
            len(rows),
            len(table),
        )
        return self

    def predict(self, table):
        """Labels of every row, in the order of the rows.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`

        Returns
        -------
        labels : PredictedLabels
            object_id, spectrum_id and for each label its value and ``*_err``, with units;
            meta has ``label_system``, ``method`` and the numbers of rows that were learned from.

        Raises
        ------
        GridMismatchError
            The table is from another aligner than the one that the model was fitted on.
        """
        if self._space is None:
            raise SpecalignError("the LabelModel has not been fitted; call fit(table, labels) first")
        self._space.check_same_space(table)
        values, errors = self._regressor.predict(table.vectors)
        meta = {"method": self.method, "options": dict(self.options), "space": table.space}
        return self._scheme.to_table(table.object_id, table.spectrum_id, values, errors, meta)


def _regressor(method, options):
    if method == "mlp":
        from specalign.analysis.network import NetworkEnsemble

        return NetworkEnsemble(**options)
    from specalign.analysis.regression import LinearProbe, NearestNeighbours

    return {"knn": NearestNeighbours, "linear": LinearProbe}[method](**options)
