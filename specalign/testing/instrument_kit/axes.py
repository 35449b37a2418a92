"""How the input is stated: direction and unit of its axis, type of its numbers and kind of its errors do not matter."""

import astropy.units as u
import numpy as np
from astropy.nddata import StdDevUncertainty, VarianceUncertainty

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


def type_of_the_arrays_is_free(case, rng):
    """Big-endian, single-precision and Fortran-ordered arrays, as files hold them, give the same bits."""
    flux, ivar = (values.astype("f4").astype(float) for values in case.draw(rng, 3))
    expected = case.prepare(flux, ivar)
    for kind, order in ((">f8", "C"), (">f4", "C"), ("<f4", "F")):
        arrays = (np.asarray(values, dtype=kind, order=order) for values in (flux, ivar))
        compare(expected, case.prepare(*arrays), f"arrays of type {kind} in the order {order}")


def kind_of_uncertainty_is_free(case, rng):
    """Standard deviations, variances and inverse variances of a spectrum give the same, to single precision."""
    flux, ivar = case.draw(rng, 1)
    ivar = ivar * rng.uniform(3, 5, ivar.shape)  # far from 1, where all kinds are one
    one = as_spectrum(case.input_axis, flux[0], ivar[0])
    expected = case.instrument.prepare([one])
    for kind, power in ((StdDevUncertainty, -0.5), (VarianceUncertainty, -1.0)):
        other = as_spectrum(case.input_axis, flux[0])
        other.uncertainty = kind(ivar[0] ** power)
        _agree(expected, case.instrument.prepare([other]), f"a spectrum with a {kind.__name__}")


CHECKS = (
    direction_of_the_axis_is_free,
    unit_of_the_axis_is_free,
    type_of_the_arrays_is_free,
    kind_of_uncertainty_is_free,
)
