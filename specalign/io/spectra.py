"""Arrays and facts of one spectrum to one `specutils.Spectrum`, checked."""

import astropy.units as u
import numpy as np
from astropy.constants import c
from astropy.nddata import InverseVariance
from specutils import Spectrum

from specalign.exceptions import SpectrumError, SpectrumUnitError
from specalign.io.fits_files import native
from specalign.io.quality import COMMON_BITS, bit_value

__all__ = [
    "build_spectrum",
    "column_quantity",
    "declared_medium",
    "inverse_square",
    "stated_number",
    "stated_position",
    "stated_velocity",
    "velocity_of_redshift",
]

FLUX_UNITS = (u.erg / u.s / u.cm**2 / u.AA, u.Jy, u.MJy / u.sr, u.electron, u.ct, u.adu, u.dimensionless_unscaled)
FASTEST = 5000.0  # km/s: no star of the Local Group recedes faster; surveys write 9999 and larger where they know none
NO_INFORMATION = -999.0  # surveys write -999 and -9999


def build_spectrum(
    flux,
    spectral_axis,
    *,
    product,
    quality_bits,
    object_id,
    spectrum_id,
    ivar=None,
    quality=None,
    mask=None,
    bad_bits=(),
    snr=np.nan,
    radial_velocity=None,
    velocity_source="none",
    path=None,
    header=None,
    visit=None,
    n_dropped=0,
    **extra,
):
    """One spectrum with unit, uncertainty, mask, quality bits and the facts of its product.

    Parameters
    ----------
    flux : `~astropy.units.Quantity` (P,)
    spectral_axis : `~astropy.units.Quantity` (P,)
        Finite, positive, strictly increasing or strictly decreasing; kept in its unit and order.
    product : Product
        Its frame, medium, normalisation, resolution and kind of axis become facts of the spectrum.
    quality_bits : dict of str to int
        The instrument's bits (0 to 23); the common ones are added.
    object_id : str or None
        The star; None where the file names none, so that `prepare` asks for it.
    spectrum_id : str
        The row.
    ivar : (P,) array or `~astropy.units.Quantity`, optional
        Inverse variance, in the inverse square of the flux unit when it has no unit.  Where it is not a positive
        finite number it becomes 0, which says that there is no information.  None: unknown, 1 everywhere.
    quality : (P,) integers, optional
        Flags in our numbering (`specalign.io.quality.translate`).
    mask : (P,) bool, optional
        True = bad, for reasons that no bit tells: they get the bit MASKED.
    bad_bits : iterable of str
        Bits that make a pixel bad.
    snr : float
        Signal-to-noise ratio a pixel that the file states.
    radial_velocity : `~astropy.units.Quantity` or None
        What the file states; receding is positive.
    velocity_source : str
    path : path-like, optional
    header : dict, optional
    visit : str or None
    n_dropped : int
        Rows of the file that were left out.
    **extra
        More facts; ``frame``, ``medium``, ``normalization`` and ``resolving_power`` replace those of the product.

    Returns
    -------
    spectrum : `~specutils.Spectrum`
        With an `~astropy.nddata.InverseVariance`, a boolean mask, and the facts in ``meta``.

    Raises
    ------
    specalign.exceptions.SpectrumError
        Shapes differ, or the axis is not sorted, repeats itself, or holds a value that is no wavelength.
    specalign.exceptions.SpectrumUnitError
        A unit is missing, or is not one of flux or of length.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specalign.io.products import Product
    >>> from specalign.io.spectra import build_spectrum
    >>> product = Product("drawing", "pencil", "https://example.org/pencil", frame="rest")
    >>> spectrum = build_spectrum(
    ...     [1.0, np.nan, 2.0] * u.Jy, [500, 501, 502] * u.nm, product=product, quality_bits={},
    ...     object_id="star", spectrum_id="star-1", ivar=[1.0, 1.0, 0.0],
    ... )
    >>> print(spectrum.mask, spectrum.uncertainty.array, spectrum.meta["frame"])
    [False  True  True] [1. 0. 0.] rest
    """
    where = f"{path or 'spectrum'} ({object_id})"
    flux = _checked_flux(flux, where)
    axis = _checked_axis(spectral_axis, product.axis_kind, where)
    _same_length(where, flux=flux, spectral_axis=axis, ivar=ivar, quality=quality, mask=mask)
    ivar = _checked_ivar(ivar, flux, where)
    bits = {**quality_bits, **COMMON_BITS}
    quality, mask = _flag(flux.value, ivar, quality, mask, bits, bad_bits)
    ivar[~np.isfinite(flux.value)] = 0.0
    meta = _facts(product, object_id, spectrum_id, snr, radial_velocity, velocity_source, path, header, visit)
    meta.update(quality=quality, quality_bits=bits, n_dropped=int(n_dropped), **extra)
    return Spectrum(
        flux=np.where(np.isfinite(flux.value), flux.value, 0.0) << flux.unit,
        spectral_axis=axis,
        uncertainty=InverseVariance(ivar << flux.unit**-2),
        mask=mask,
        meta=meta,
    )


def _facts(product, object_id, spectrum_id, snr, radial_velocity, velocity_source, path, header, visit):
    return {
        "instrument": product.instrument,
        "product": product.name,
        "object_id": None if object_id is None else str(object_id),
        "spectrum_id": str(spectrum_id),
        "frame": product.frame,
        "medium": product.medium,
        "normalization": product.normalization,
        "radial_velocity": radial_velocity,
        "velocity_source": velocity_source if radial_velocity is not None else "none",
        "snr": float(snr),
        "header": dict(header or {}),
        "path": "" if path is None else str(path),
        "visit": visit,
        "axis_kind": product.axis_kind,
        "resolving_power": product.resolving_power,
    }


def _same_length(where, **arrays):
    shapes = {name: np.shape(array) for name, array in arrays.items() if array is not None}
    if len(set(shapes.values())) > 1 or len(shapes["flux"]) != 1:
        raise SpectrumError(f"{where}: expected one-dimensional arrays of one length, got {shapes}")


def _checked_flux(flux, where):
    unit = getattr(flux, "unit", None)
    expected = ", ".join(str(one) or "dimensionless" for one in FLUX_UNITS)
    if unit is None:
        raise SpectrumUnitError(f"{where}: the flux has no unit (None); expected one like {expected}")
    if not any(unit.is_equivalent(one) for one in FLUX_UNITS):
        raise SpectrumUnitError(f"{where}: the flux has the unit {unit}; expected one that converts to {expected}")
    return native(flux.value) << unit


def _checked_ivar(ivar, flux, where):
    if ivar is None:
        return np.ones(flux.shape)
    unit = getattr(ivar, "unit", None)
    if unit is not None:
        try:
            ivar = ivar.to_value(flux.unit**-2)
        except u.UnitConversionError as error:
            message = f"{where}: the inverse variance has the unit {unit}, which is not that of the flux: {flux.unit}"
            raise SpectrumUnitError(message) from error
    ivar = native(ivar, dtype=float)
    ivar[~(np.isfinite(ivar) & (ivar > 0))] = 0.0
    return ivar


def _checked_axis(axis, kind, where):
    unit, expected = getattr(axis, "unit", None), u.AA if kind == "wavelength" else u.pix
    if unit is None:
        raise SpectrumUnitError(
            f"{where}: the spectral axis has no unit (None); expected one that converts to {expected}"
        )
    if not unit.is_equivalent(expected):
        raise SpectrumUnitError(
            f"{where}: the spectral axis has the unit {unit}; expected one that converts to {expected}"
        )
    values = native(axis.value, dtype=float)
    if kind == "wavelength":
        _check_wavelengths(values, where)
    return values << unit


def _check_wavelengths(values, where):
    """Raise at the first value that is no wavelength, or that is not beyond the one before it."""
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if wrong.size:
        i = wrong[0]
        raise SpectrumError(
            f"{where}: wavelength [{i}] is {values[i]}; expected finite values above 0. {_drop_them(wrong)}"
        )
    if values.size < 2:
        raise SpectrumError(f"{where}: expected at least 2 wavelengths, got {values.size}")
    steps = np.diff(values)
    direction = 1 if (steps > 0).sum() >= (steps < 0).sum() else -1
    wrong = np.flatnonzero(steps * direction <= 0) + 1
    if wrong.size:
        i = wrong[0]
        kind = "repeats" if steps[i - 1] == 0 else "is out of order after"
        message = f"{where}: wavelength [{i}] = {values[i]} {kind} [{i - 1}] = {values[i - 1]}; expected a sorted axis"
        raise SpectrumError(f"{message} without repeats. {_drop_them(wrong)}")


def _drop_them(wrong):
    return f"Drop or sort these rows first ({wrong.size} in all)."


def _flag(flux, ivar, quality, mask, bits, bad_bits):
    """Quality with the common bits, and the mask.

    A pixel that is bad already gets no further bit, so that nothing under the mask leaves a trace.
    """
    quality = np.zeros(flux.shape, dtype=np.uint32) if quality is None else native(quality, dtype=np.uint32)
    bad = quality & bit_value(bits, *bad_bits) != 0
    if mask is not None:
        quality[np.asarray(mask, dtype=bool) & ~bad] |= bit_value(bits, "MASKED")
        bad |= np.asarray(mask, dtype=bool)
    for name, wrong in (("NONFINITE", ~np.isfinite(flux)), ("NO_IVAR", ivar == 0)):
        quality[wrong & ~bad] |= bit_value(bits, name)
        bad |= wrong
    return quality, bad


def inverse_square(error):
    """Inverse variance of errors: 0 where an error is zero, negative or NaN, so that it tells nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.io.spectra import inverse_square
    >>> inverse_square([0.5, 0.0, np.nan])
    array([4., 0., 0.])
    """
    error = np.asarray(error, dtype=float)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.where(error > 0, error, np.inf) ** -2.0


def stated_number(value):
    """A number of a header, or NaN where the survey writes that it knows none (-999, -9999, text, nothing).

    Examples
    --------
    >>> from specalign.io.spectra import stated_number
    >>> stated_number(-9999), stated_number("NaN"), stated_number(12)
    (nan, nan, 12.0)
    """
    try:
        value = float(value)
    except (TypeError, ValueError):
        return np.nan
    return value if np.isfinite(value) and value > NO_INFORMATION else np.nan


def stated_velocity(value):
    """A velocity of a header in km/s, or None where the survey knows none.

    Examples
    --------
    >>> from specalign.io.spectra import stated_velocity
    >>> stated_velocity(-12.5), stated_velocity(-9999.0)
    (<Quantity -12.5 km / s>, None)
    """
    value = stated_number(value)
    return value * u.km / u.s if abs(value) < FASTEST else None


def stated_position(ra, dec, epoch=None):
    """The facts ``ra``, ``dec`` and ``epoch`` of a star; None where the survey knows none (-9999, nothing, no angle).

    Parameters
    ----------
    ra, dec : number or str or None
        ICRS (or FK5 J2000, which differs by 0.02 arcsec), in degrees.
    epoch : number or str or None
        Julian year at which the star was there.  None where neither the file nor its data model says it: "J2000" in a
        header is the equinox of the axes, and not this.

    Returns
    -------
    facts : dict
        ``ra``, ``dec`` in degrees and ``epoch`` in years, each a `~astropy.units.Quantity` or None.

    Examples
    --------
    >>> from specalign.io.spectra import stated_position
    >>> stated_position("217.5", -62.5, 2016.0)
    {'ra': <Quantity 217.5 deg>, 'dec': <Quantity -62.5 deg>, 'epoch': <Quantity 2016. yr>}
    >>> stated_position(-9999, -9999)
    {'ra': None, 'dec': None, 'epoch': None}
    """
    ra, dec, epoch = (stated_number(value) for value in (ra, dec, epoch))
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        return {"ra": None, "dec": None, "epoch": None}
    return {"ra": ra * u.deg, "dec": dec * u.deg, "epoch": epoch * u.yr if epoch > 0 else None}


def velocity_of_redshift(z):
    """The radial velocity of a redshift by the relativistic formula, or None where z is -9999 or not a star's.

    Examples
    --------
    >>> from specalign.io.spectra import velocity_of_redshift
    >>> velocity_of_redshift(1e-3).round(3)
    <Quantity 299.643 km / s>
    """
    z = stated_number(z)
    if not abs(z) < 1:
        return None
    velocity = (c * ((1 + z) ** 2 - 1) / ((1 + z) ** 2 + 1)).to(u.km / u.s)
    return velocity if abs(velocity.value) < FASTEST else None


def declared_medium(header, default):
    """``"air"`` or ``"vacuum"``: what a header says (CTYPE1 of FITS, VACUUM of SDSS and LAMOST), or the product's.

    `FITS WCS paper III <https://doi.org/10.1051/0004-6361:20053818>`_ calls the axes AWAV and WAVE.

    Examples
    --------
    >>> from specalign.io.spectra import declared_medium
    >>> declared_medium({"CTYPE1": "AWAV"}, "vacuum"), declared_medium({}, "vacuum")
    ('air', 'vacuum')
    """
    ctype = str(header.get("CTYPE1", "")).upper()
    if ctype.startswith(("AWAV", "WAVE-")) or ctype == "WAVE":
        return "air" if ctype.startswith("AWAV") else "vacuum"
    vacuum = header.get("VACUUM")
    return default if not isinstance(vacuum, bool | np.bool_) else "vacuum" if vacuum else "air"


def column_quantity(table, name, default, where):
    """A column of a FITS table with its unit.

    Parameters
    ----------
    table : `~astropy.io.fits.BinTableHDU`
    name : str
    default : unit or None
        What the data model says where the file states none.  None: a unit must be there.
    where : str

    Raises
    ------
    specalign.exceptions.SpectrumUnitError
        There is no unit, or none that is known.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.io import fits
    >>> from specalign.io.spectra import column_quantity
    >>> table = fits.BinTableHDU.from_columns([fits.Column("WAVE", "E", unit="nm", array=[500.0, 501.0])])
    >>> column_quantity(table, "WAVE", u.AA, "a.fits")
    <Quantity [500., 501.] nm>
    """
    text = table.columns[name].unit
    if not text and default is None:
        raise SpectrumUnitError(f"{where}: column {name} has no unit (None); expected one in the header (TUNIT)")
    try:
        unit = u.Unit(text) if text else default
    except ValueError as error:
        expected = "one that astropy.units knows" if default is None else f"one that converts to {default}"
        raise SpectrumUnitError(f"{where}: column {name} has the unit {text!r}; expected {expected}") from error
    return native(table.data[name]) << unit
