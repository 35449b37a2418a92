"""Which labels a model predicts: their names, units and system, from one table of labels to another."""

import dataclasses

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.data.columns import (
    NOT_LABELS,
    column_values,
    difference_unit,
    known_values,
    label_names,
    log_unknown,
    match_rows,
    with_unit,
)
from specalign.display import Displayed
from specalign.exceptions import LabelError

__all__ = ["LabelScheme", "PredictedLabels"]

#: What a prediction says when neither the caller nor the label table names a system.
UNSTATED = "unstated"


class PredictedLabels(QTable):
    """Labels that a model predicts, with ``*_err``: a `~astropy.table.QTable` that can draw itself.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.data.scheme import PredictedLabels
    >>> predicted = PredictedLabels({"object_id": ["a", "b"], "teff": [4050, 5010] * u.K})
    >>> predicted["teff"].mean()
    <Quantity 4530. K>
    """

    def plot(self, true=None, ax=None, **options):
        """Draw the labels against the true ones with residuals, or the Kiel diagram where these are not known.

        Parameters
        ----------
        true : `~astropy.table.QTable`, optional
            object_id (once each) and labels with units, of the same system.
        ax : `~matplotlib.axes.Axes` or (2, L) of them, optional
            Where to draw; by default in a new figure.
        **options
            Of `specalign.plots.plot_labels`, such as ``names``, or of `specalign.plots.plot_kiel`.

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
        >>> import astropy.units as u
        >>> from astropy.table import QTable
        >>> from specalign.data.scheme import PredictedLabels
        >>> true = QTable({"object_id": ["a", "b", "c"], "teff": [4000, 5000, 6000] * u.K})
        >>> predicted = PredictedLabels({"object_id": ["a", "b", "c"], "teff": [4050, 5010, 5900] * u.K})
        >>> [ax.get_ylabel() for ax in predicted.plot(true).axes]
        ['Predicted [K]', 'Residual [K]']
        """
        from specalign import plots

        drawn = (
            plots.plot_kiel(self, ax=ax, **options) if true is None else plots.plot_labels(self, true, ax=ax, **options)
        )
        return drawn if ax is None else ax


@dataclasses.dataclass(frozen=True)
class LabelScheme(Displayed):
    """Names, units and system of the labels that a model predicts.

    Parameters
    ----------
    names : tuple of str
    units : tuple of `~astropy.units.Unit`
    system : str
    n_train, n_unlabelled : int
        Rows that were learned from, and rows that had no label.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.scheme import LabelScheme
    >>> labels = QTable({"object_id": ["a", "b"], "teff": [5000.0, 6000.0] * u.K})
    >>> scheme, rows, values = LabelScheme.from_table(labels, ["b", "z", "a"])
    >>> scheme.names, rows.tolist(), values.ravel().tolist(), scheme.n_unlabelled
    (('teff',), [0, 2], [6000.0, 5000.0], 1)
    """

    names: tuple
    units: tuple
    system: str
    n_train: int
    n_unlabelled: int

    def _facts(self):
        labels = ", ".join(f"{name} [{unit}]" for name, unit in zip(self.names, self.units, strict=True))
        rows = f"{self.n_train} rows; {self.n_unlabelled} rows without a label"
        return {"labels": labels, "label system": self.system, "learned from": rows}

    @classmethod
    def from_table(cls, labels, object_id, system=None, names=None):
        """The scheme, the rows that have a label (n,), and their values (n, L) float64 with NaN."""
        names = tuple(names or label_names(labels))
        if not names:
            raise LabelError(
                f"no column of the label table has a unit and numbers; it has {', '.join(labels.colnames)}"
            )
        columns = [known_values(labels, name) for name in names]
        place = match_rows(object_id, labels["object_id"])
        log_unknown(labels, names, place)
        values = np.where((place >= 0)[:, None], np.stack([c[0] for c in columns], axis=1)[place], np.nan)
        rows = np.flatnonzero(np.isfinite(values).any(axis=1))
        _check_filled(names, values[rows], len(object_id))
        units = tuple(column[1] for column in columns)
        scheme = cls(names, units, _system(labels, system), len(rows), len(object_id) - len(rows))
        return scheme, rows, values[rows]

    def errors(self, labels, object_id):
        """Stated errors (n, L) float64 of labels of some objects, from the columns ``*_err``; NaN where not known.

        Parameters
        ----------
        labels : `~astropy.table.QTable`
            object_id (once each); an error has the unit of a difference of two values of its label.
        object_id : (n,) str

        Raises
        ------
        LabelError
            An error has no unit, or one that cannot be converted.
        """
        place = match_rows(object_id, labels["object_id"])
        errors = np.full((len(place), len(self.names)), np.nan)
        for j, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            if f"{name}_err" in labels.colnames:
                stated = column_values(labels, f"{name}_err", difference_unit(unit))[0][place]
                errors[:, j] = np.where((place >= 0) & np.isfinite(stated) & (stated > 0), stated, np.nan)
        return errors

    def to_table(self, object_id, spectrum_id, values, errors, meta):
        """A row a spectrum: its identifiers, labels and their errors."""
        table = PredictedLabels({"object_id": object_id, "spectrum_id": spectrum_id})
        for j, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            table[name] = with_unit(values[:, j], unit)
            table[f"{name}_err"] = u.Quantity(errors[:, j], difference_unit(unit))
        own = {"label_system": self.system, "n_train": self.n_train, "n_unlabelled": self.n_unlabelled}
        if beside := [name for name in self.names if name in NOT_LABELS]:
            own["named_labels"] = beside
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
