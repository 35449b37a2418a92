"""The axis of the input: its direction and its unit do not matter."""

import astropy.units as u

from specalign.testing.contract import fail
from specalign.testing.instrument_kit.case import as_spectrum, close, compare

__all__ = ["CHECKS"]


def direction_of_the_axis_is_free(case, rng):
    """A decreasing axis gives the same bits as an increasing one."""
    case.need_wavelengths("direction")
    flux, ivar = case.draw(rng, 3)
    mask = rng.random(flux.shape) < 0.02
    mask[-1] = False
    axis, back = case.sound.spectral_axis, slice(None, None, -1)
    turned = case.prepare(flux[:, back], ivar[:, back], mask[:, back], spectral_axis=axis[back])
    compare(case.prepare(flux, ivar, mask), turned, "arrays on a decreasing axis")
    one = case.instrument.prepare([as_spectrum(axis, flux[-1], ivar[-1], mask[-1])])
    other = case.instrument.prepare([as_spectrum(axis[back], flux[-1, back], ivar[-1, back], mask[-1, back])])
    compare(one, other, "a spectrum on a decreasing axis")


def unit_of_the_axis_is_free(case, rng):
    """Nanometre, Angstrom and micron give the same, to single precision."""
    case.need_wavelengths("unit")
    flux, ivar = case.draw(rng, 2)
    for unit in (u.nm, u.um):
        axis = case.sound.spectral_axis.to(unit)
        spectrum = case.instrument.prepare([as_spectrum(axis, flux[0], ivar[0])])
        _agree(case.prepare(flux, ivar), case.prepare(flux, ivar, spectral_axis=axis), f"arrays in {unit}")
        _agree(case.prepare(flux[:1], ivar[:1]), spectrum, f"a spectrum in {unit}")


def _agree(expected, prepared, what):
    if len(prepared) != len(expected):
        fail(f"{what}: expected {len(expected)} rows, got rejected: {list(prepared.rejected['reason'])}")
    if (prepared.mask != expected.mask).any():
        fail(f"{what}: expected the mask that Angstrom give, got another one")
    close(expected, prepared, what, ("flux", "ivar", "norm"), rtol=3e-6)


CHECKS = (direction_of_the_axis_is_free, unit_of_the_axis_is_free)
