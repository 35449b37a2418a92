"""Velocities and air: a line arrives at its rest wavelength in vacuum, whichever way the input states it."""

import astropy.units as u
import numpy as np

from specalign.instruments.resampling import doppler_factor
from specalign.testing.contract import fail, skip
from specalign.testing.instrument_kit.case import as_spectrum, compare

__all__ = ["CHECKS"]

_NEAR = 0.1  # pixels
_SIGMA = 2.0  # pixels, of the line
_STEP = 0.73
_SPEED_OF_LIGHT = 299792.458
_LEAST = 0.3  # pixels that a shift must have to be seen


def velocity_is_applied_once(case, rng):
    """A line of a moving star arrives at rest, through arrays and spectra, from either frame, in vacuum and in air."""
    case.need_wavelengths("velocity")
    if not getattr(case.sound, "velocity_resolved", True):
        _nothing_is_shifted(case, rng)
        return
    speed, line = _velocity(case), _line_place(case)
    for frame, medium, velocity in (
        ("barycentric", "vacuum", speed),
        ("barycentric", "air", -speed),
        ("observed", "vacuum", -speed),
        ("observed", "air", speed),
    ):
        facts = {"frame": frame, "medium": medium, "radial_velocity": velocity * u.km / u.s}
        axis, flux = _line(case, line, doppler_factor(velocity))
        for road, prepared in _both_roads(case, _in_medium(axis, medium), flux, facts):
            _at_rest(prepared, line, f"{road}, {frame}, {medium}, {velocity:.0f} km/s")
            applied = prepared.catalog["velocity_applied"][0].to_value(u.km / u.s)
            if not abs(applied - velocity) < 1e-6:
                fail(f"catalog: expected velocity_applied {velocity:.3f} km/s, got {applied:.3f}")


def _in_medium(axis, medium):
    from specutils.utils.wcs_utils import vac_to_air

    return axis if medium == "vacuum" else vac_to_air(axis * u.AA, method="Morton2000").to_value(u.AA)


def _both_roads(case, axis, flux, facts):
    """A row through ``prepare_arrays`` and through ``prepare``, left as it is."""
    ivar = np.full(flux.shape, 1e4)
    yield "arrays", case.prepare(flux[None], ivar[None], spectral_axis=axis * u.AA, normalized=True, **facts)
    yield "a spectrum", case.instrument.prepare([as_spectrum(axis * u.AA, flux, ivar, **facts)], normalized=True)


def _nothing_is_shifted(case, rng):
    """An instrument that resolves no velocity applies none."""
    flux, ivar = case.draw(rng, 2)
    still = case.prepare(flux, ivar, frame="barycentric")
    moving = case.prepare(flux, ivar, frame="barycentric", radial_velocity=150 * u.km / u.s)
    compare(still, moving, "a velocity that the resolution hides")


def rest_spectra_are_not_shifted(case, rng):
    """The velocity that a spectrum at rest states is a fact, and moves nothing."""
    flux, ivar = case.draw(rng, 2)
    velocity = np.array([150.0, -80.0]) * u.km / u.s
    still = case.prepare(flux, ivar, frame="rest", normalized=True)
    other = case.prepare(flux, ivar, frame="rest", normalized=True, radial_velocity=velocity)
    if len(other) != 2 or other.catalog["frame"].tolist() != still.catalog["frame"].tolist():
        fail(f"expected two rows in the frame that they had, got {len(other)} in {other.catalog['frame'].tolist()}")
    # Windows of the Earth's air move with the velocity, and the mask with them; the flux does not.
    good = ~(still.mask | other.mask)
    moved = np.flatnonzero((still.flux != other.flux)[good])
    if good.mean() < 0.5 * (~still.mask).mean() or moved.size:
        fail(f"a velocity beside the frame rest: {moved.size} of {np.count_nonzero(good)} good pixels have changed")


def air_becomes_vacuum(case, rng):
    """A line of a spectrum in air arrives at its vacuum wavelength."""
    case.need_wavelengths("medium")
    line = _line_place(case)
    axis, flux = _line(case, line, 1.0)
    air = _in_medium(axis, "air")
    pixel = np.gradient(case.sound.spectral_axis.value)[int(line)]
    if np.abs(axis - air).min() < _LEAST * pixel:
        skip(f"its pixels of {pixel:.3g} Angstrom are too wide to tell air from vacuum")
    for road, prepared in _both_roads(case, air, flux, {"frame": "rest", "medium": "air"}):
        _at_rest(prepared, line, f"{road} in air")


def _velocity(case):
    """km/s: three pixels at least, where the line is."""
    grid, line = case.sound.spectral_axis.value, int(_line_place(case))
    return max(87.3, 3 * np.gradient(grid)[line] / grid[line] * _SPEED_OF_LIGHT)


def _line_place(case):
    """Where on the grid, in pixels, the line is: in the middle of what is always good."""
    start, stop = case.clear
    if stop - start < 40:
        skip(f"its longest stretch of good pixels has {stop - start}, and a line needs 40")
    return (start + stop) / 2 + 0.37


def _line(case, place, factor):
    """Observed wavelengths over more than the grid, and flux with one line that is at ``place`` when at rest."""
    grid = case.sound.spectral_axis.value
    index = np.arange(grid.size, dtype=float)
    rest = case.other_axis(_STEP, margin=30)
    flux = 1 - 0.5 * np.exp(-0.5 * ((np.interp(rest, grid, index) - place) / _SIGMA) ** 2)
    return rest * factor, flux


def _at_rest(prepared, place, what):
    if not len(prepared):
        fail(f"{what}: the row is rejected, {prepared.rejected['reason'][0]}")
    depth = np.where(prepared.mask[0], 0, 1 - prepared.flux[0].astype(float)).clip(0.02) - 0.02
    if not depth.sum() > 0:
        fail(f"{what}: the line is gone")
    found = (depth * np.arange(depth.size)).sum() / depth.sum()
    if not abs(found - place) < _NEAR:
        fail(f"{what}: expected the line at pixel {place:.2f}, got {found:.2f}")


CHECKS = (velocity_is_applied_once, rest_spectra_are_not_shifted, air_becomes_vacuum)
