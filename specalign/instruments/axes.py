"""Spectral axes and flux units at the border: checked, converted, never guessed."""

import astropy.units as u
import numpy as np

from specalign.exceptions import SpectrumError, SpectrumUnitError

__all__ = ["FLUX_DENSITY", "check_increasing", "flux_scale", "preferred_unit", "spectrum_axis", "vacuum_angstrom"]

FLUX_DENSITY = u.Unit("1e-17 erg / (s cm2 Angstrom)")


def vacuum_angstrom(axis, medium="vacuum"):
    """A spectral axis as increasing vacuum wavelengths in Angstrom.

    Parameters
    ----------
    axis : `~astropy.units.Quantity` (P,)
        Length, frequency, wavenumber or energy; increasing or decreasing.
    medium : {"vacuum", "air"}
        Air wavelengths are converted after Morton (2000, ApJS 130, 403).

    Returns
    -------
    wavelength : (P,) float64
    flipped : bool
        True where the order was reversed.

    Raises
    ------
    SpectrumUnitError
        The axis has no unit, or one that is not spectral.
    SpectrumError
        The axis is not one-dimensional, finite, positive and strictly monotonic, or the medium is unknown.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.instruments.axes import vacuum_angstrom
    >>> wavelength, flipped = vacuum_angstrom([1.7, 1.6, 1.5] * u.um)
    >>> wavelength
    array([15000., 16000., 17000.])
    """
    unit = getattr(axis, "unit", None)
    if unit is None:
        raise SpectrumUnitError("spectral_axis: expected a Quantity in a unit like Angstrom, got no unit")
    try:
        values = np.array(u.Quantity(axis).to_value(u.AA, u.spectral()), dtype=float)
    except u.UnitConversionError:
        raise SpectrumUnitError(f"spectral_axis: expected a unit convertible to Angstrom, got {str(unit)!r}") from None
    flipped = values.ndim == 1 and values.size > 1 and values[0] > values[-1]
    check_increasing(values[::-1] if flipped else values, flipped)
    values = np.ascontiguousarray(values[::-1] if flipped else values)
    if medium not in ("vacuum", "air"):
        raise SpectrumError(f"medium: expected 'vacuum' or 'air', got {medium!r}")
    return (_air_to_vacuum(values) if medium == "air" else values), flipped


def _air_to_vacuum(values):
    from specutils.utils.wcs_utils import air_to_vac

    # Iterated, since the plain inversion is off by up to 2e-5 Angstrom in the near infrared.
    return air_to_vac(values * u.AA, scheme="iteration", method="Morton2000").to_value(u.AA)


def check_increasing(values, flipped=False):
    """Raise `SpectrumError`, with the first bad index and value, unless finite, positive and strictly increasing."""
    if values.ndim != 1 or values.size < 2:
        raise SpectrumError(f"spectral_axis: expected one dimension of two pixels or more, got shape {values.shape}")
    bad = ~(np.isfinite(values) & (values > 0))
    rule = "finite and positive"
    if not bad.any():
        bad = np.append(False, np.diff(values) <= 0)
        rule = "strictly monotonic (sorted, without duplicates)"
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        index = values.size - 1 - first if flipped else first
        raise SpectrumError(
            f"spectral_axis: expected values that are {rule}, got {values[first]:g} Angstrom at index {index} "
            f"({int(bad.sum())} of {values.size} pixels); drop or repair those pixels"
        )


def spectrum_axis(axis):
    """A grid as specutils takes it: coefficients, which are bare numbers here, are counted in pixels there.

    Parameters
    ----------
    axis : `~astropy.units.Quantity` (P,)

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specalign.instruments.axes import spectrum_axis
    >>> spectrum_axis(np.arange(3) * u.dimensionless_unscaled)
    <Quantity [0., 1., 2.] pix>
    """
    return axis.value * u.pix if axis.unit == u.dimensionless_unscaled else axis


def preferred_unit(unit):
    """The unit in which fluxes are kept: flux densities a wavelength where that can be, else the unit as it is."""
    unit = u.Unit(unit)
    return FLUX_DENSITY if unit.is_equivalent(FLUX_DENSITY, u.spectral_density(1 * u.AA)) else unit


def flux_scale(unit, target, wavelength):
    """Factor (scalar or (P,)) that takes a flux from one unit to the other.

    Raises
    ------
    SpectrumUnitError
        The units cannot be converted.
    """
    unit, target = u.Unit(unit), u.Unit(target)
    if unit == target:
        return 1.0
    if unit.is_equivalent(target):
        return unit.to(target)
    try:
        return unit.to(target, np.ones(len(wavelength)), u.spectral_density(wavelength * u.AA))
    except u.UnitConversionError:
        raise SpectrumUnitError(f"flux: expected a unit convertible to {str(target)!r}, got {str(unit)!r}") from None
