"""Resampling changes nothing on its own grid, and keeps constants and integrals on another."""

import astropy.units as u
import numpy as np

from specalign.testing.contract import fail, skip

__all__ = ["CHECKS"]

_STEPS = (0.37, 1.7)  # pixels of the input, in pixels of the grid
_HOLE = 16  # pixels of the grid: more than any step below, many times over
_LINE = 3.0  # pixels: standard deviation of a line that both axes resolve


def own_grid_is_the_identity(case, rng):
    """On its own grid and left as it is, every good pixel keeps flux and inverse variance; ``norm`` restores both."""
    flux, ivar = case.draw(rng, 3)
    ivar = ivar * rng.uniform(0.5, 2, ivar.shape)
    left = case.prepare(flux, ivar, normalized=True)
    _same(left.flux, left.ivar, flux, ivar, ~left.mask, "left as it is")
    prepared = case.prepare(flux, ivar)
    restored = prepared.flux.astype(float) * prepared.norm, prepared.ivar / np.square(prepared.norm, dtype=float)
    _same(*restored, flux, ivar, ~prepared.mask, "normalised and restored by norm")


def _same(flux, ivar, flux_in, ivar_in, good, what):
    for name, out, expected in (("flux", flux, flux_in), ("ivar", ivar, ivar_in)):
        if out.shape != expected.shape:
            fail(f"{what}: expected {name} of shape {expected.shape}, got {out.shape}")
        far = np.argwhere(good & ~(np.abs(out - expected) <= 1e-5 * np.abs(expected)))
        if len(far):
            i, j = far[0]
            fail(f"{what}: {name} of row {i} is {out[i, j]:.7g} at pixel {j}, and {expected[i, j]:.7g} went in")


def constants_stay_constant(case, rng):
    """A constant on another axis, moving or not, is that constant in every good pixel, with a mask or without."""
    case.need_wavelengths("pixels to resample")
    for step in _STEPS:
        axis = case.other_axis(step, margin=4)
        flux = np.full((2, axis.size), 3.7)
        mask = rng.random(flux.shape) < 0.02
        facts = {"frame": "barycentric", "radial_velocity": [0.0, 41.3] * u.km / u.s, "normalized": True}
        prepared = case.prepare(flux, np.ones_like(flux), mask, spectral_axis=axis * u.AA, **facts)
        if len(prepared) != 2:
            fail(f"steps of {step} pixels: expected 2 rows, got {len(prepared)}; {list(prepared.rejected['reason'])}")
        far = np.argwhere(~prepared.mask & (np.abs(prepared.flux - 3.7) > 1e-5))
        if len(far):
            got = f"{prepared.flux[tuple(far[0])]:.7g} at pixel {far[0, 1]} of row {far[0, 0]}"
            fail(f"steps of {step} pixels: expected 3.7 everywhere, got {got}")


def integrals_are_conserved(case, rng):
    """The flux of a line, summed over its pixels, is the same on another axis and on the instrument's grid."""
    case.need_wavelengths("pixels to resample")
    start, stop = case.clear
    if stop - start < 12 * _LINE:
        skip(f"its longest stretch of good pixels has {stop - start}, and a line needs {12 * _LINE:.0f}")
    grid = case.sound.spectral_axis.value
    index = np.arange(grid.size, dtype=float)
    for step in _STEPS:
        axis = case.other_axis(step, margin=1)
        centre = (start + stop) / 2 + rng.uniform(-0.5, 0.5)
        line = np.exp(-0.5 * ((np.interp(axis, grid, index) - centre) / _LINE) ** 2)
        prepared = case.prepare(1 + line[None], np.ones((1, axis.size)), spectral_axis=axis * u.AA, normalized=True)
        above = np.where(prepared.mask[0], 0.0, prepared.flux[0].astype(float) - 1)
        out, given = np.sum((above * _widths(grid))[start:stop]), np.sum(line * _widths(axis))
        if not abs(out / given - 1) < 1e-4:
            fail(f"steps of {step} pixels: a line of {given:.7g} Angstrom has {out:.7g} on the grid")


def _widths(axis):
    return np.gradient(axis)


def uncovered_pixels_are_masked(case, rng):
    """Where the input has a hole or has ended, the output is masked: no pixel stretches over what nobody observed."""
    case.need_wavelengths("pixels to resample")
    (start, stop), grid = case.clear, case.sound.spectral_axis.value
    if stop - start < 8 * _HOLE:
        skip(f"its longest stretch of good pixels has {stop - start}, and a hole needs {8 * _HOLE}")
    edges = np.array([start + _HOLE, (start + stop) // 2, (start + stop) // 2 + _HOLE, stop - _HOLE])
    for step in _STEPS:
        axis = case.other_axis(step)
        first, left, right, last = grid[edges]
        axis = axis[((axis > first) & (axis < left)) | ((axis > right) & (axis < last))]
        flux = np.full((1, axis.size), 3.7)
        prepared = case.prepare(flux, np.ones_like(flux), spectral_axis=axis * u.AA, normalized=True)
        if not len(prepared):
            skip(f"with a part of its pixels alone, a row is rejected: {prepared.rejected['reason'][0]}")
        near = int(np.ceil(step)) + 2
        empty = ((edges[1] + near, edges[2] - near), (0, edges[0] - near), (edges[3] + near, grid.size))
        for what, (one, end) in zip(("in a hole", "before the first", "after the last"), empty, strict=True):
            if not prepared.mask[0, one:end].all():
                pixel = one + int(np.argmin(prepared.mask[0, one:end]))
                fail(f"steps of {step} pixels: pixel {pixel}, {what} of the input, is not masked")


CHECKS = (own_grid_is_the_identity, constants_stay_constant, integrals_are_conserved, uncovered_pixels_are_masked)
