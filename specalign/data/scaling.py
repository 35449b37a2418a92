"""Labels to numbers of order one, and back: what a network is trained on.

>>> from specalign.data.scaling import METHODS
>>> METHODS
('standard', 'minmax')
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.data.columns import column_values, difference_unit, label_names, with_unit
from specalign.display import Displayed
from specalign.exceptions import LabelError

__all__ = ["METHODS", "ColumnScaler", "LabelScaling"]

METHODS = ("standard", "minmax")


@dataclass(frozen=True)
class ColumnScaler(Displayed):
    """A centre and a scale a column: ``(values - centre) / scale``.

    Attributes
    ----------
    method : {"standard", "minmax"}
        ``standard``: mean 0 and standard deviation 1; ``minmax``: from 0 to 1.
    centre, scale : tuple of float

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.data.scaling import ColumnScaler
    >>> scaler = ColumnScaler.fit(np.array([[4000.0, 1.0], [6000.0, 5.0]]), "minmax")
    >>> scaler.forward(np.array([[5000.0, 2.0]])), scaler.inverse(np.array([[0.5, 0.25]]))
    (array([[0.5 , 0.25]]), array([[5.e+03, 2.e+00]]))
    """

    method: str
    centre: tuple
    scale: tuple

    @classmethod
    def fit(cls, values, method="standard"):
        """From training rows (N, L); NaN is left out, column by column, and a constant column keeps its scale.

        Raises
        ------
        ValueError
            The method is unknown.
        LabelError
            A column has fewer than two values.
        """
        if method not in METHODS:
            raise ValueError(f"scaling: expected one of {', '.join(METHODS)}, got {method!r}")
        values = np.where(np.isfinite(values), values, np.nan)
        known = np.isfinite(values).sum(axis=0)
        if (known < 2).any():
            raise LabelError(
                f"expected at least two stars with a value of every label, got {int(known.min())} "
                f"for label number {int(known.argmin())}"
            )
        return cls(method, *(tuple(map(float, column)) for column in _statistics(values, method)))

    def forward(self, values):
        """Scaled values."""
        return (values - np.array(self.centre)) / np.array(self.scale)

    def inverse(self, values):
        """Back."""
        return values * np.array(self.scale) + np.array(self.centre)


def _statistics(values, method):
    # scikit-learn leaves NaN out, and knows a constant column by more than an exact zero
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if method == "standard":
        fitted = StandardScaler().fit(values)
        return fitted.mean_, fitted.scale_
    fitted = MinMaxScaler().fit(values)
    return fitted.data_min_, 1 / fitted.scale_


@dataclass(frozen=True)
class LabelScaling(Displayed):
    """Scaling of a table of labels, with their units.

    Fit it on training stars alone: a scaling that has seen the test stars has told the network about them.

    Attributes
    ----------
    names, units : tuple of str
    columns : ColumnScaler
        In those units.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.data.scaling import LabelScaling
    >>> labels = QTable({"teff": [4000, 5000, 6000, float("nan")] * u.K, "fe_h": [-1, 0, 0.5, 0.1] * u.dex})
    >>> scaling = LabelScaling.fit(labels[:3], "minmax")
    >>> scaling.forward(labels)[:, 0]
    array([0. , 0.5, 1. , nan])
    >>> scaling.inverse(scaling.forward(labels))["teff"][1]
    <Quantity 5000. K>
    """

    names: tuple
    units: tuple
    columns: ColumnScaler

    def _facts(self):
        columns = zip(self.names, self.units, self.columns.centre, self.columns.scale, strict=True)
        return {"method": self.columns.method} | {n: f"({n} - {c:.6g}) / {s:.6g} {unit}" for n, unit, c, s in columns}

    @classmethod
    def fit(cls, labels, method="standard", names=None):
        """From the rows of a table.

        Parameters
        ----------
        labels : `~astropy.table.QTable`
            Columns with units; NaN and masked values are left out, label by label.
        method : {"standard", "minmax"}
        names : sequence of str, optional
            Which columns; by default all that are labels.

        Raises
        ------
        LabelError
            A label is missing, has no unit or fewer than two values.
        """
        names = tuple(names or label_names(labels))
        if not names:
            raise LabelError(f"no column of the table has a unit and numbers; it has {', '.join(labels.colnames)}")
        columns = [column_values(labels, name) for name in names]
        units = tuple(column[1].to_string() for column in columns)
        return cls(names, units, ColumnScaler.fit(np.stack([column[0] for column in columns], axis=1), method))

    def forward(self, labels):
        """Scaled labels (N, L) float64 of a table, in whatever units it is; NaN where one is unknown."""
        columns = [column_values(labels, n, u.Unit(unit))[0] for n, unit in zip(self.names, self.units, strict=True)]
        return self.columns.forward(np.stack(columns, axis=1))

    def inverse(self, values, errors=None):
        """A table of labels with units from scaled ones (N, L), and ``*_err`` columns from scaled errors (N, L)."""
        values, table = self.columns.inverse(np.asarray(values)), QTable()
        for j, (name, text) in enumerate(zip(self.names, self.units, strict=True)):
            table[name] = with_unit(values[:, j], u.Unit(text))
            if errors is not None:
                error = np.asarray(errors)[:, j] * self.columns.scale[j]
                table[f"{name}_err"] = u.Quantity(error, difference_unit(u.Unit(text)))
        return table
