"""Rows on their way in: arrays of one axis, with the facts that decide what happens to them."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.utils.masked import Masked

from specalign.exceptions import MissingFactError, SpectrumError, SpectrumUnitError
from specalign.instruments.axes import vacuum_angstrom
from specalign.instruments.resampling import SPEED_OF_LIGHT, pixel_edges
from specalign.io.products import FRAMES

__all__ = [
    "Facts",
    "InputRows",
    "as_velocity",
    "default_ids",
    "facts_of_arrays",
    "repeat",
    "rows_at",
    "rows_from_arrays",
]

_NO_VELOCITY = -9999.0  # LAMOST and APOGEE write it where they have none


@dataclass
class Facts:
    """What is known of each row (N,), apart from its pixels; numbers are NaN where it is not.

    Velocities are in km/s, positions in degrees, the epoch of a position in Julian years.
    """

    object_id: np.ndarray
    spectrum_id: np.ndarray
    frame: np.ndarray
    velocity: np.ndarray
    velocity_source: np.ndarray
    snr: np.ndarray
    product: np.ndarray
    path: np.ndarray
    visit: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    epoch: np.ndarray
    velocity_err: np.ndarray

    def __getitem__(self, rows):
        return Facts(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    @classmethod
    def concatenate(cls, parts):
        """Join facts, in order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(cls)))


@dataclass
class InputRows:
    """Rows (N, P) that share an axis, a unit and a state of normalisation; arrays are those of the caller, unchanged.

    ``axis`` is increasing, in vacuum Angstrom, or a running number for coefficients.  ``index`` holds the place of
    each row in the output.
    """

    axis: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray | None
    mask: np.ndarray | None
    quality: np.ndarray | None
    unit: u.UnitBase
    facts: Facts
    normalized: bool = False
    covariance: tuple | None = None
    axis_kind: str = "wavelength"
    extra: dict = field(default_factory=dict)
    index: np.ndarray | None = None

    def __len__(self):
        return len(self.flux)

    @cached_property
    def edges(self):
        """Pixel edges of the axis."""
        return pixel_edges(self.axis)


def rows_at(rows, at):
    """Some rows, by slice or index; a slice copies nothing."""
    names = ("flux", "ivar", "mask", "quality", "facts", "index")
    changes = {name: None if getattr(rows, name) is None else getattr(rows, name)[at] for name in names}
    if rows.covariance is not None:
        changes["covariance"] = (rows.covariance[0][at], rows.covariance[1])
    return dataclasses.replace(rows, **changes)


def rows_from_arrays(flux, ivar, mask, quality, spectral_axis, medium, facts, normalized, covariance):
    """Check shapes and units of bare arrays, and turn a decreasing axis round.

    Raises
    ------
    SpectrumError, SpectrumUnitError
    """
    unit = getattr(flux, "unit", None) or u.dimensionless_unscaled
    mask = _with_masks(mask, flux, ivar)
    flux = _plain(flux, "flux", np.number)
    ivar = None if ivar is None else _plain(_in_unit(ivar, "ivar", unit**-2), "ivar", np.number)
    mask, quality = _plain(mask, "mask", np.bool_), _plain(quality, "quality", np.integer)
    axis_unit = getattr(spectral_axis, "unit", None)
    if axis_unit is not None and not axis_unit.is_equivalent(u.AA, u.spectral()) and axis_unit in _COUNTING:
        axis, flipped, kind = np.arange(len(spectral_axis), dtype=float), False, "coefficient"
    else:
        axis, flipped = vacuum_angstrom(spectral_axis, medium)
        kind = "wavelength"
    _check_shapes(axis, flux, ivar, mask, quality)
    step = -1 if flipped else 1
    arrays = [None if a is None else a[:, ::step] for a in (flux, ivar, mask, quality)]
    covariance = _check_covariance(covariance, flux.shape, step)
    return InputRows(axis, *arrays, unit, facts, normalized, covariance, kind)


_COUNTING = (u.dimensionless_unscaled, u.pix)


def _with_masks(mask, *arrays):
    """The mask, and the masks that arrays of numpy.ma or astropy's Masked bring along."""
    for array in arrays:
        if isinstance(array, (np.ma.MaskedArray, Masked)) and np.shape(array.mask) == np.shape(array):
            mask = np.asarray(array.mask) if mask is None else np.asarray(mask, dtype=bool) | array.mask
    return mask


def _plain(values, name, kind):
    if values is None:
        return None
    values = values.unmasked if isinstance(values, Masked) else np.ma.getdata(values, subok=True)
    values = np.asarray(getattr(values, "value", values))
    values = values[None] if values.ndim == 1 else values
    if not (np.issubdtype(values.dtype, kind) or (kind is np.number and values.dtype == bool)):
        raise SpectrumError(f"{name}: expected an array of {kind.__name__.rstrip('_')}, got {values.dtype}")
    return values


def _in_unit(values, name, target):
    unit = getattr(values, "unit", None)
    if unit is None or unit == target:
        return values
    try:
        return values.to(target)
    except u.UnitConversionError:
        raise SpectrumUnitError(f"{name}: expected a unit convertible to {str(target)!r}, got {str(unit)!r}") from None


def _check_shapes(axis, flux, ivar, mask, quality):
    if flux.ndim != 2 or flux.shape[1] != len(axis):
        raise SpectrumError(f"flux: expected shape (N, {len(axis)}), as the spectral axis has, got {flux.shape}")
    for name, array in (("ivar", ivar), ("mask", mask), ("quality", quality)):
        if array is not None and array.shape != flux.shape:
            raise SpectrumError(f"{name}: expected the shape of flux, {flux.shape}, got {array.shape}")


def _check_covariance(covariance, shape, step):
    if covariance is None:
        return None
    scale, basis = (np.asarray(getattr(a, "value", a), dtype=float) for a in covariance)
    if scale.ndim != 2 or basis.ndim != 2 or (len(scale), basis.shape[1]) != shape or scale.shape[1] != len(basis):
        raise SpectrumError(
            f"covariance_factor: expected (N, K) and (K, P) with N, P = {shape}, got {scale.shape} and {basis.shape}"
        )
    return scale, basis[:, ::step]


def repeat(values, n, name):
    """One value for all rows, or a sequence of one a row, as an array (n,) of str.

    Raises
    ------
    SpectrumError
        The length is wrong, or a value is empty.
    """
    values = np.asarray([values] if isinstance(values, (str, bytes, int, np.integer)) else values)
    values = values.astype(str).reshape(-1)
    if len(values) == 1 and n != 1 and name not in ("object_id", "spectrum_id"):
        values = np.repeat(values, n)
    if len(values) != n:
        raise SpectrumError(f"{name}: expected {n} values, one a row, got {len(values)}")
    if name == "frame" and not np.isin(values, FRAMES).all():
        raise SpectrumError(f"frame: expected one of {', '.join(FRAMES)}, got {sorted(set(values) - set(FRAMES))}")
    return values


def as_velocity(velocity, n=None):
    """Radial velocities in km/s; NaN where none is known (None, NaN, masked, -9999).

    Raises
    ------
    SpectrumUnitError
        There is no unit, or not one of velocity.
    SpectrumError
        A velocity reaches that of light.
    """
    n = 1 if n is None else n
    if velocity is None:
        return np.full(n, np.nan)
    unit = getattr(velocity, "unit", None)
    if unit is None or not unit.is_equivalent(u.km / u.s):
        got = "no unit" if unit is None else repr(str(unit))
        raise SpectrumUnitError(f"radial_velocity: expected a Quantity in a unit like km/s, got {got}")
    values = np.array(np.broadcast_to(np.ma.filled(velocity.to_value(u.km / u.s), np.nan), n), dtype=float)
    values[~np.isfinite(values) | (values == _NO_VELOCITY)] = np.nan
    if (np.abs(values) >= SPEED_OF_LIGHT).any():
        raise SpectrumError(f"radial_velocity: expected less than the speed of light, got {values.tolist()} km/s")
    return values


def facts_of_arrays(n, object_id, spectrum_id, frame, radial_velocity):
    """Facts of bare arrays, from the keywords of ``prepare_arrays``."""
    if object_id is None:
        raise MissingFactError("object_id: expected one identifier a row, got none; pass object_id=[...]")
    object_id = repeat(object_id, n, "object_id")
    velocity = as_velocity(radial_velocity, n)
    source = np.where(np.isnan(velocity), "none", "radial_velocity argument")
    empty, unknown = np.full(n, ""), np.full(n, np.nan)
    ids = default_ids(object_id) if spectrum_id is None else repeat(spectrum_id, n, "spectrum_id")
    frame, numbers = repeat(frame, n, "frame"), [unknown.copy() for _ in range(4)]
    return Facts(object_id, ids, frame, velocity, source, unknown, empty, empty, empty, *numbers)


def default_ids(object_id):
    """Unique row names from object names: the name itself, or name:1, name:2, ... where it is repeated."""
    names, counts = np.unique(object_id, return_counts=True)
    repeated, seen, ids = set(names[counts > 1]), {}, []
    for name in object_id:
        seen[name] = seen.get(name, 0) + 1
        ids.append(f"{name}:{seen[name]}" if name in repeated else str(name))
    return np.array(ids, dtype=str)
