"""Labels for embeddings, learned from labelled ones, in the same instrument or in another."""

import dataclasses

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.analysis.columns import column_values, difference_unit, label_names, with_unit
from specalign.analysis.metrics import match_rows
from specalign.exceptions import LabelError, SpecalignError

__all__ = ["METHODS", "LabelModel", "LabelScheme"]

METHODS = ("knn", "linear", "mlp")

#: What a prediction says when neither the caller nor the label table names a system.
UNSTATED = "unstated"


class LabelModel:
    """Labels from embeddings.

    Fitted on one instrument's embeddings and asked for another's, it labels spectra of an instrument that has no
    labels (zero-shot).  Keep the stars that you test on out of the fit: a star's own row in the other instrument
    is its nearest neighbour.

    Parameters
    ----------
    method : {"knn", "linear", "mlp"}
        ``knn``: similarity-weighted mean of the ``k`` nearest rows (10), error from their scatter.
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
        self._regressor.fit(table.vectors[rows], values, table.object_id[rows])
        # without rows it still knows its space, grids and number of dimensions
        self._space = table[:0]
        return self

    def predict(self, table):
        """Labels of every row, in the order of the rows.

        Parameters
        ----------
        table : `~specalign.EmbeddingTable`

        Returns
        -------
        labels : `~astropy.table.QTable`
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


@dataclasses.dataclass(frozen=True)
class LabelScheme:
    """Names, units and system of the labels that a model predicts.

    Parameters
    ----------
    names : tuple of str
    units : tuple of `~astropy.units.Unit`
    system : str
    n_train, n_unlabelled : int
        Rows that were learned from, and rows that had no label.
    """

    names: tuple
    units: tuple
    system: str
    n_train: int
    n_unlabelled: int

    @classmethod
    def from_table(cls, labels, object_id, system=None, names=None):
        """The scheme, the rows that have a label (n,), and their values (n, L) float64 with NaN."""
        names = tuple(names or label_names(labels))
        if not names:
            raise LabelError(
                f"no column of the label table has a unit and numbers; it has {', '.join(labels.colnames)}"
            )
        columns = [column_values(labels, name) for name in names]
        place = match_rows(object_id, labels["object_id"])
        values = np.where((place >= 0)[:, None], np.stack([c[0] for c in columns], axis=1)[place], np.nan)
        values[~np.isfinite(values)] = np.nan
        rows = np.flatnonzero(np.isfinite(values).any(axis=1))
        _check_filled(names, values[rows], len(object_id))
        units = tuple(column[1] for column in columns)
        scheme = cls(names, units, _system(labels, system), len(rows), len(object_id) - len(rows))
        return scheme, rows, values[rows]

    def to_table(self, object_id, spectrum_id, values, errors, meta):
        """A row a spectrum: its identifiers, labels and their errors."""
        table = QTable({"object_id": object_id, "spectrum_id": spectrum_id})
        for j, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            table[name] = with_unit(values[:, j], unit)
            table[f"{name}_err"] = u.Quantity(errors[:, j], difference_unit(unit))
        own = {"label_system": self.system, "n_train": self.n_train, "n_unlabelled": self.n_unlabelled}
        table.meta.update(meta | own)
        return table


def _system(labels, system):
    stated = labels.meta.get("label_system")
    if stated is not None and system is not None and stated != system:
        raise LabelError(f"the label table is of the system {stated!r}, but system={system!r} was asked for")
    return system or stated or UNSTATED


def _check_filled(names, values, n):
    for name, column in zip(names, values.T, strict=True):
        if np.isfinite(column).sum() < 2:
            raise LabelError(
                f"{name}: expected at least two rows with a value, got {int(np.isfinite(column).sum())} of {n}; "
                f"leave it out with names=[...]"
            )
