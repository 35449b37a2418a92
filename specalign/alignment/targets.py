"""Labels of stars as standardised targets, with the units and the scaling that lead back."""

from dataclasses import asdict, dataclass

import numpy as np

from specalign.data.columns import NOT_LABELS, SENTINEL, log_unknown
from specalign.exceptions import LabelError

__all__ = ["LabelScaler", "label_values"]

SUFFIXES = ("_err", "_error", "_flag", "_flags", "_id")
#: Velocities are labels of spectra that are not at rest; `specalign.alignment.stars` leaves them out otherwise.
LEFT_OUT = NOT_LABELS - {"radial_velocity"} | {"weight"}


@dataclass(frozen=True)
class LabelScaler:
    """Mean and spread of each label over training stars.

    Attributes
    ----------
    names, units : list of str
    mean, std : list of float
        In those units.
    system : str
        Of the labels, such as "aspcap-dr17"; empty where the table does not say.
    """

    names: list
    units: list
    mean: list
    std: list
    system: str = ""

    @classmethod
    def fit(cls, names, units, values, system=""):
        """From the values (n, L) of training stars; NaN = unknown."""
        known = np.isfinite(values).sum(axis=0)
        if (known < 2).any():
            name = names[int(np.argmin(known))]
            raise LabelError(f"label {name!r} is known for {known.min()} training stars, expected at least 2; drop it")
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        if (std == 0).any():
            raise LabelError(f"label {names[int(np.argmin(std))]!r} is the same for all training stars; drop it")
        return cls(list(names), list(units), mean.tolist(), std.tolist(), str(system))

    def transform(self, values):
        """Standardised values (n, L) float32."""
        return ((values - np.array(self.mean)) / np.array(self.std)).astype(np.float32)

    def as_dict(self):
        """JSON-like form."""
        return asdict(self)


def label_values(table, star_id):
    """The numeric labels of some stars.

    Parameters
    ----------
    table : `~astropy.table.Table`
        object_id and labels; columns of errors, flags and identifiers are left out.
    star_id : sequence of (S,) str
        One or several names of each star; the first that the table has counts.

    Returns
    -------
    names, units : list of str
    values : (S, L) float64
        NaN where a label is unknown: masked, not finite, or a sentinel below -9000.

    Raises
    ------
    LabelError
        No object_id, no label, a repeated object, or no star in common.
    """
    if "object_id" not in table.colnames:
        raise LabelError(f"labels: expected a column object_id, got {', '.join(table.colnames)}")
    names = [name for name in table.colnames if _is_label(table, name)]
    if not names:
        raise LabelError(f"labels: expected numeric columns besides object_id, got {', '.join(table.colnames)}")
    columns = np.stack([_plain(table[name]) for name in names], axis=1)
    units = [str(table[name].unit or "") for name in names]
    place = _places(np.asarray(table["object_id"], dtype=str), star_id)
    log_unknown(table, names, place)
    return names, units, np.where((place >= 0)[:, None], columns[place], np.nan)


def _is_label(table, name):
    if name in LEFT_OUT or name.endswith(SUFFIXES):
        return False
    column = table[name]
    return column.ndim == 1 and column.dtype.kind == "f"


def _plain(column):
    mask = np.asarray(getattr(column, "mask", False))
    values = getattr(column, "unmasked", column)
    values = np.array(np.ma.getdata(getattr(values, "value", values)), dtype=np.float64)
    values[np.broadcast_to(mask, values.shape) | ~(values > SENTINEL) | ~np.isfinite(values)] = np.nan
    return values


def _places(object_id, star_id):
    """Rows (S,) of the table, -1 where it has not that star."""
    row = {name: i for i, name in enumerate(object_id.tolist())}
    if len(row) < len(object_id):
        names, counts = np.unique(object_id, return_counts=True)
        raise LabelError(f"labels: object_id {str(names[counts > 1][0])!r} is repeated; give each star one row")
    found = np.full(len(star_id[0]), -1)
    for names in star_id:
        position = np.array([row.get(name, -1) for name in names], dtype=int)
        found = np.where(found < 0, position, found)
    if not (found >= 0).any():
        raise LabelError(
            f"labels: none of the {len(found)} stars is in the table; the spectra begin with "
            f"{list(map(str, star_id[0][:5]))}, the table with {object_id[:5].tolist()}"
        )
    return found
