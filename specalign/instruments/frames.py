"""Which rows are shifted, by how much, and which ones cannot stand beside the others.

A velocity is applied only where the frame is not rest.  A row without one stays where it is; beside rows at rest it
is rejected.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from specalign.exceptions import LabelError, PluginError, SpectrumError, VelocityWarning
from specalign.instruments.resampling import doppler_factor
from specalign.plugins import load_plugin

__all__ = [
    "Shift",
    "all_know_velocity",
    "check_velocity_label",
    "frames_of",
    "knows_velocity",
    "plan_shift",
    "tell_mixed_frames",
    "window_factor",
]

VELOCITY = "radial_velocity"


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


def frames_of(prepared):
    """Frames of prepared spectra, sorted; none where they are not stated, or where the resolution hides velocities.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.instruments.frames import frames_of
    >>> found = []
    >>> for name in ("lamost", "gaia_xp"):
    ...     one = sa.get_instrument(name)
    ...     flux, names = [[1.0] * one.n_pixels], ["star"]
    ...     found.append(frames_of(one.prepare_arrays(flux, spectral_axis=one.spectral_axis, object_id=names)))
    >>> found
    [['rest'], []]
    """
    if "frame" not in prepared.catalog.colnames or not _resolved(prepared.instrument.name):
        return []
    return sorted(set(np.asarray(prepared.catalog["frame"], dtype=str).tolist()))


def _resolved(name):
    """Whether velocities are seen; they are by an instrument of somebody else who is not there to ask."""
    try:
        return load_plugin("instruments", name).velocity_resolved
    except (PluginError, AttributeError):
        return True


def tell_mixed_frames(prepared):
    """The frames of several instruments' spectra (dict of name to PreparedSpectra), or '' where they are one.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.instruments.frames import tell_mixed_frames
    >>> apogee = sa.get_instrument("apogee")
    >>> given = {"spectral_axis": apogee.spectral_axis, "object_id": ["star"]}
    >>> rest = apogee.prepare_arrays([[1.0] * apogee.n_pixels], **given)
    >>> tell_mixed_frames({"apogee": rest})
    ''
    """
    frames = {name: found for name, rows in prepared.items() if (found := frames_of(rows))}
    if len({frame for found in frames.values() for frame in found}) < 2:
        return ""
    return "; ".join(f"{name}: {' and '.join(found)}" for name, found in frames.items())


def knows_velocity(prepared):
    """Whether spectra may tell the radial velocity: they resolve it, and were not brought to rest.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.instruments.frames import knows_velocity
    >>> apogee = sa.get_instrument("apogee")
    >>> given = {"spectral_axis": apogee.spectral_axis, "object_id": ["star"]}
    >>> rest = apogee.prepare_arrays([[1.0] * apogee.n_pixels], **given)
    >>> knows_velocity(rest)
    False
    """
    return _resolved(prepared.instrument.name) and frames_of(prepared) != ["rest"]


def check_velocity_label(prepared, names):
    """Raise `LabelError` where the radial velocity is asked for as a label of spectra that do not know it.

    Parameters
    ----------
    prepared : dict of str to PreparedSpectra
        Of several instruments, those that resolve velocities must all know them, and one at least.
    names : sequence of str
        Of the labels.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.instruments.frames import check_velocity_label
    >>> apogee = sa.get_instrument("apogee")
    >>> given = {"spectral_axis": apogee.spectral_axis, "object_id": ["star"]}
    >>> rest = apogee.prepare_arrays([[1.0] * apogee.n_pixels], **given)
    >>> check_velocity_label({"apogee": rest}, ["teff"])
    >>> check_velocity_label({"apogee": rest}, ["teff", "radial_velocity"])
    Traceback (most recent call last):
        ...
    specalign.exceptions.LabelError: radial_velocity: expected spectra that know their velocity, got apogee at rest; ...
    """
    if VELOCITY not in names or all_know_velocity(prepared):
        return
    rest = [name for name, rows in prepared.items() if frames_of(rows) == ["rest"]]
    why = f"{', '.join(rest)} at rest" if rest else f"the resolution of {', '.join(prepared)}, which hides it"
    advice = "prepare with radial_velocity=np.nan * u.km / u.s to leave all in the frame of their files, or "
    raise LabelError(
        f"{VELOCITY}: expected spectra that know their velocity, got {why}; {advice if rest else ''}leave the label out"
    )


def all_know_velocity(prepared):
    """Whether the velocity is a label of spectra (dict of name to PreparedSpectra): none that resolve it is at rest.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.instruments.frames import all_know_velocity
    >>> apogee = sa.get_instrument("apogee")
    >>> given = {"spectral_axis": apogee.spectral_axis, "object_id": ["star"]}
    >>> rest = apogee.prepare_arrays([[1.0] * apogee.n_pixels], **given)
    >>> all_know_velocity({"apogee": rest})
    False
    """
    known = [knows_velocity(rows) for rows in prepared.values() if _resolved(rows.instrument.name)]
    return bool(known) and all(known)
