"""Labels for embeddings, learned from labelled ones, in the same instrument or in another.

>>> from specalign.analysis.labels import METHODS
>>> METHODS
('knn', 'linear', 'mlp', 'flow')
"""

import functools
import logging

from specalign.analysis.posterior import Gaussian, LabelPosterior
from specalign.data.scheme import LabelScheme, PredictedLabels
from specalign.display import Displayed, brief
from specalign.exceptions import SpecalignError

__all__ = ["METHODS", "LabelModel", "LabelScheme", "PredictedLabels"]

log = logging.getLogger(__name__)

METHODS = ("knn", "linear", "mlp", "flow")
#: Those that weigh a label by its own error.
WITH_LABEL_ERRORS = ("mlp", "flow")


class LabelModel(Displayed):
    """Labels from embeddings.

    Fitted on one instrument's embeddings and asked for another's, it labels spectra of an instrument that has no
    labels (zero-shot).  Keep the stars that you test on out of the fit: a star's own row in the other instrument
    is its nearest neighbour.

    Parameters
    ----------
    method : {"knn", "linear", "mlp", "flow"}
        ``knn``: mean of the nearest rows, weighted by how likely each is of the same star; error from their scatter.
        ``k`` rows count: by default all where ``logit_scale`` is given or known of the table, and 10 where not.
        ``linear``: ridge regression (``alphas``, ``folds``, ``seed``), error from stars held out in turn.
        ``mlp``: ensemble of small perceptrons (``hidden``, ``members``, ``max_epochs``, ``seed``, ...; see
        `specalign.analysis.network.NetworkEnsemble`), errors row by row, calibrated on held-out stars.
        ``flow``: the density of all labels together by normalising flows (``hidden``, ``members``, ``max_epochs``,
        ``snr``, ``seed``, ...; see `specalign.analysis.flow.FlowEnsemble`; needs the extra ``posterior``).
    **options
        Of the method.

    Raises
    ------
    ValueError
        The method is unknown.
    MissingExtraError
        What the method needs is not installed.

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

    def fit(self, table, labels, system=None, names=None, label_errors=True):
        """Learn from the rows of a table whose object is among the labelled ones.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`
        labels : `~astropy.table.QTable`
            object_id (once each) and columns with units; NaN and masked values are left out, label by label.
        system : str, optional
            Name of the label system; by default ``labels.meta["label_system"]``.
        names : sequence of str, optional
            Which columns; by default all that are labels.  Velocities are labels only where they are named.
        label_errors : bool
            Use the columns ``*_err`` of the label table, where there are any: ``mlp`` and ``flow`` then learn the true
            label, of which the catalogue's is a measurement, and their errors do not contain the catalogue's.  An
            error that is not known, or not positive, is the median one of its label.  The other methods ignore them.

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
        known = table[rows]
        extra = self._extra(labels, known, values, label_errors)
        self._regressor.fit(_inputs(self._regressor, known, True), values, known.object_id, **extra)
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

    def _extra(self, labels, known, values, label_errors):
        """What else the method learns from."""
        self._noisy = ()
        if self.method == "knn":
            return {"logit_scale": known.logit_scale}
        if self.method not in WITH_LABEL_ERRORS or not label_errors:
            return {}
        from specalign.analysis.ensemble import label_noise

        noise = label_noise(values, self._scheme.errors(labels, known.object_id))
        self._noisy = tuple(name for name, column in zip(self._scheme.names, noise.T, strict=True) if column.any())
        return {"errors": noise}

    def predict(self, table):
        """Labels of every row, in the order of the rows.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`

        Returns
        -------
        labels : PredictedLabels
            object_id, spectrum_id and for each label its value and ``*_err``, with units;
            meta has ``label_system``, ``method``, the numbers of rows that were learned from, and of which labels the
            catalogue's errors were used (``label_errors``).

        Raises
        ------
        GridMismatchError
            The table is from another aligner than the one that the model was fitted on.
        """
        values, errors = self._regressor.predict(self._asked(table))
        meta = {"method": self.method, "options": dict(self.options), "space": table.space}
        meta["label_errors"] = list(self._noisy)
        return self._scheme.to_table(table.object_id, table.spectrum_id, values, errors, meta)

    def posterior(self, table):
        """Posterior of the labels of every row.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`

        Returns
        -------
        `~specalign.analysis.posterior.LabelPosterior`
            Of ``flow``, the density that it learned.  Of ``knn``, training stars with their weights: samples and
            quantiles, but no density; stars that lack a label are left out.  Of ``linear`` and ``mlp``, independent
            normal distributions with the values and errors of `predict`.

        Raises
        ------
        GridMismatchError
            As `predict`.

        Examples
        --------
        >>> import astropy.units as u
        >>> import numpy as np
        >>> from astropy.table import QTable
        >>> from specalign import EmbeddingTable, LabelModel
        >>> names = ["a", "b", "c"]
        >>> table = EmbeddingTable(np.eye(3), names, names, "apogee", [50] * 3, [1] * 3)
        >>> labels = QTable({"object_id": names, "teff": [4000, 5000, 6000] * u.K})
        >>> model = LabelModel("knn", k=2).fit(table, labels)
        >>> model.posterior(table[:1]).samples(500)["teff"].shape
        (1, 500)
        """
        inputs, regressor = self._asked(table), self._regressor
        source = regressor if hasattr(regressor, "sample") else Gaussian(*regressor.predict(inputs))
        own = (inputs,) if source is regressor else ()
        sample = functools.partial(source.sample, *own)
        density = functools.partial(source.log_prob, *own) if hasattr(source, "log_prob") else None
        return LabelPosterior(self._scheme, table.object_id, table.spectrum_id, self.method, sample, density)

    def _asked(self, table):
        """Inputs of the rows of a table that must be of the space that the model was fitted in."""
        if self._space is None:
            raise SpecalignError("the LabelModel has not been fitted; call fit(table, labels) first")
        self._space.check_same_space(table)
        return _inputs(self._regressor, table)


def _inputs(regressor, table, fitting=False):
    own = getattr(regressor, "inputs", None)
    return table.vectors if own is None else own(table.vectors, table.snr, fitting)


def _regressor(method, options):
    if method == "flow":
        from specalign.analysis.flow import FlowEnsemble

        return FlowEnsemble(**options)
    if method == "mlp":
        from specalign.analysis.network import NetworkEnsemble

        return NetworkEnsemble(**options)
    from specalign.analysis.regression import LinearProbe, NearestNeighbours

    return {"knn": NearestNeighbours, "linear": LinearProbe}[method](**options)
