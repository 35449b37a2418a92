"""Which rows are shifted, by how much, and which ones cannot stand beside the others.

A velocity is applied only where the frame is not rest.  A row without one stays where it is; beside rows at rest it
is rejected.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from specalign.exceptions import SpectrumError, VelocityWarning
from specalign.instruments.resampling import doppler_factor

__all__ = ["Shift", "plan_shift", "window_factor"]


@dataclass
class Shift:
    """Doppler factors (N,), what was applied, the frames that result, and reasons of rejection ('' = none)."""

    factor: np.ndarray
    velocity_applied: np.ndarray
    frame: np.ndarray
    velocity_source: np.ndarray
    reason: np.ndarray

    def __getitem__(self, rows):
        return Shift(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def plan_shift(frame, velocity, velocity_source, *, resolved=True, taken=None):
    """Decide about the frames of a batch.

    Parameters
    ----------
    frame : (N,) str
    velocity : (N,) float64
        km/s, NaN where unknown.
    velocity_source : (N,) str
    resolved : bool
        False for an instrument whose resolution hides every velocity: nothing is shifted, all frames are one.
    taken : (N,) bool, optional
        False for rows that are rejected already, which decide nothing for the others.

    Raises
    ------
    SpectrumError
        Barycentric and observed rows without velocities are mixed.
    """
    if not resolved:
        return _unshifted(np.full(len(frame), "barycentric", dtype="U11"))
    moving = frame != "rest"
    known = ~np.isnan(velocity)
    applied = np.where(moving & known, velocity, 0.0)
    result = np.where(moving & ~known, frame, "rest").astype("U11")
    source = np.where(moving & ~known, "none", velocity_source)
    shift = Shift(doppler_factor(applied), applied, result, source, np.full(len(frame), "", dtype=object))
    _settle_unknown(shift, moving & ~known, np.ones(len(frame), bool) if taken is None else taken)
    return shift


def _unshifted(frame):
    n = len(frame)
    return Shift(np.ones(n), np.zeros(n), frame, np.full(n, "none"), np.full(n, "", dtype=object))


def _settle_unknown(shift, unknown, taken):
    unknown = unknown & taken
    if not unknown.any():
        return
    if unknown.sum() < taken.sum():
        shift.reason[unknown] = "no radial velocity is known, while other rows are at rest; pass radial_velocity"
        return
    frames = sorted(set(shift.frame[taken]))
    if len(frames) > 1:
        raise SpectrumError(
            f"frame: expected one frame a batch, got {' and '.join(frames)}, and no velocity to bring them to rest; "
            f"pass radial_velocity or prepare them separately"
        )
    warnings.warn(
        f"no radial velocity is known for {unknown.sum()} spectra: they stay in the {frames[0]} frame; "
        f"pass radial_velocity to bring them to rest",
        VelocityWarning,
        stacklevel=5,  # the caller of prepare
    )


def window_factor(frame, velocity):
    """Observed over file wavelength (N,), by which windows of the Earth's air move into the frame of the file."""
    at_rest = (frame == "rest") & ~np.isnan(velocity)
    return doppler_factor(np.where(at_rest, velocity, 0.0))
