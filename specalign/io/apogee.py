"""APOGEE: aspcapStar, apStar and apVisit files of DR13 to DR17, and mwmStar files of DR19.

specutils' loaders of these files give no mask, or one in which every flag is a bad pixel, no flags by name and no
velocity, fail for an apStar of one visit, and give every aspcapStar a unit of its own; so the files are read here.

An apVisit is in the observed frame: the data model says that it is "before resampling and removal of radial
velocities" (https://www.sdss4.org/dr17/irspec/spectra/), and vacuum
(https://sdss-astra.readthedocs.io/en/latest/user/datamodels/apogee.html); the airglow in its own sky spectrum agrees.
The velocity that brings it to rest is VRAD, the Doppler shift as observed, and not VHELIO = VRAD + BC.  From DR17 on,
these files state neither (changelog of https://github.com/sdss/datamodel, datamodel/products/md/apVisit.md).

An mwmStar holds a table for each spectrograph and observatory, at rest (datamodel/products/md/mwmStar.md there).  Its
reader was written from that page and checked against specutils' own; no real file was at hand.  The page gives no unit
of flux: that of apStar is taken, as specutils does, and ``pixel_flags`` is taken to have the bits of apStar.
"""

import re
import warnings

import astropy.units as u
import numpy as np
from astropy.io import fits
from specutils import SpectrumList

from specalign.exceptions import SpectrumUnitError, VelocityWarning
from specalign.io.files import corrupt, existing_file
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import translate
from specalign.io.spectra import (
    build_spectrum,
    declared_medium,
    inverse_square,
    stated_number,
    stated_position,
    stated_velocity,
)

__all__ = ["BAD_BITS", "PRODUCTS", "QUALITY_BITS", "read"]

_MODEL = "https://data.sdss.org/datamodel/files/APOGEE_REDUX/APRED_VERS/"
PRODUCTS = (
    Product(
        name="aspcapStar",
        instrument="apogee",
        data_model="https://data.sdss.org/datamodel/files/APOGEE_ASPCAP/APRED_VERS/ASPCAP_VERS/TELESCOPE/FIELD/aspcapStar.html",
        frame="rest",
        normalization="continuum",
        resolving_power=22500.0,
        format="specalign aspcapStar",
    ),
    Product(
        name="apStar",
        instrument="apogee",
        data_model=_MODEL + "APSTAR_VERS/TELESCOPE/LOCATION_ID/apStar.html",
        frame="rest",
        resolving_power=22500.0,
        format="specalign apStar",
    ),
    Product(
        name="apVisit",
        instrument="apogee",
        data_model=_MODEL + "visit/TELESCOPE/FIELD/PLATE_ID/MJD5/apVisit.html",
        frame="observed",
        resolving_power=22500.0,
        format="specalign apVisit",
    ),
    Product(
        name="mwmStar",
        instrument="apogee",
        data_model="https://www.sdss.org/dr19/mwm/astra/output-files",
        frame="rest",
        resolving_power=22500.0,
        format="specalign mwmStar",
    ),
)

# APOGEE_PIXMASK, https://www.sdss4.org/dr17/algorithms/bitmasks/#APOGEE_PIXMASK: the survey's own numbers.
QUALITY_BITS = {
    "BADPIX": 0,
    "CRPIX": 1,
    "SATPIX": 2,
    "UNFIXABLE": 3,
    "BADDARK": 4,
    "BADFLAT": 5,
    "BADERR": 6,
    "NOSKY": 7,
    "LITTROW_GHOST": 8,
    "PERSIST_HIGH": 9,
    "PERSIST_MED": 10,
    "PERSIST_LOW": 11,
    "SIG_SKYLINE": 12,
    "SIG_TELLURIC": 13,
    "NOT_ENOUGH_PSF": 14,
    "UNDOCUMENTED": 23,
}
# The bits that the reduction itself takes as bad; the others say that a pixel may be affected.
BAD_BITS = ("BADPIX", "CRPIX", "SATPIX", "UNFIXABLE", "BADDARK", "BADFLAT", "BADERR", "NOSKY", "NOT_ENOUGH_PSF")
_TABLE = {bit: bit for bit in range(15)} | {None: 23}
# The reduction writes 1e10 as the error of a pixel without information, and multiples of it after resampling.
_NO_ERROR = 0.99e10
_FLUX_UNIT = u.Unit(1e-17 * u.erg / u.s / u.cm**2 / u.AA)  # a unit: a Quantity would scale the flux, not its ivar
_FLUX_TEXT = "(10^-17 erg/s/cm^2/Ang)"
_EXTENSIONS = {"aspcapStar": 5, "apStar": 10, "apVisit": 12, "mwmStar": 5}
_MWM_COLUMNS = ("flux", "ivar", "pixel_flags", "obj", "telescope", "snr", "v_rad")
_ANNOUNCED = re.compile(r"\bHDU(\d+)\b")  # apStar and apVisit files list their extensions in HISTORY
# A height of the cross-correlation under which the velocity of a visit is doubted.  The survey documents no limit:
# real files have 0.02, 0.03 and 0.07 with velocities that are wrong by hundreds of km/s, and 0.30 with a right one.
_WEAK_PEAK = 0.1
_DISAGREE = 1.0  # km/s


def read(path, visits="combined"):
    """Read an aspcapStar, apStar, apVisit or mwmStar file.

    Parameters
    ----------
    path : path-like
    visits : {"combined", "all"}
        The combined spectrum, or each visit of an apStar on its own.  An aspcapStar has the combined one only, an
        apVisit the one visit, and an mwmStar one sum a telescope: both words give all that there is.

    Returns
    -------
    spectra : `~specutils.SpectrumList`
        aspcapStar, apStar, mwmStar: in the star's rest frame; the stated velocity is a fact and is not to be applied
        again.  apVisit: as observed, its three detectors in one axis of decreasing wavelength;
        ``meta["radial_velocity"]`` is VRAD, which `prepare` applies, and ``meta["barycentric_correction"]`` is BC, so
        that VHELIO = VRAD + BC; both are None where the file states none.

    Warns
    -----
    specalign.exceptions.VelocityWarning
        The velocity of an apVisit comes from a weak cross-correlation, or VRAD, VHELIO and BC contradict each other.
        It is kept: pass ``radial_velocity``, as observed, to ``prepare`` if you know better, as the star's apStar does
        (VHELIO1 - BC1, ...).

    Raises
    ------
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError
    """
    check_visits(visits)
    path = existing_file(path)
    with open_fits(path) as hdus:
        product = _product(path, hdus)
        if product.name == "mwmStar":
            return SpectrumList(_mwm_spectra(path, hdus, product))
        flux, error, flags = _arrays(path, hdus, product)
        axis = (_wavelengths if product.name == "apVisit" else _axis)(path, hdus, flux.shape[-1])
        rows = _rows(path, hdus[0].header, len(flux), visits)
        facts = _facts(path, hdus, product)
    if product.name == "apVisit":
        _doubt_velocity(path, facts["header"])
    spectra = [_spectrum(row, flux, error, flags, axis, product, facts) for row in rows]
    return SpectrumList(spectra)


def _product(path, hdus):
    header = hdus[0].header
    found = {
        "aspcapStar": "FERRE" in header or _has_aspcap_table(hdus),
        "apStar": "SFILE1" in header,
        "apVisit": "V_APRED" in header and "MJD5" in header and "FIBERID" in header,
        "mwmStar": "V_ASTRA" in header,
    }
    for product in PRODUCTS:
        if found[product.name] and _is_complete(path, hdus, product.name):
            return product
    raise unknown_product(path, hdus, "apogee", PRODUCTS)


def _has_aspcap_table(hdus):
    return len(hdus) > 4 and isinstance(hdus[4], fits.BinTableHDU) and "FPARAM" in hdus[4].columns.names


def _is_complete(path, hdus, name):
    """A file that ends between two extensions is well-formed, and is not all there."""
    announced = [int(n) + 1 for n in _ANNOUNCED.findall("\n".join(hdus[0].header.get("HISTORY", [])))]
    expected = max([_EXTENSIONS[name], *announced])
    if len(hdus) < expected:
        raise corrupt(path, f"this {name} has {expected} extensions, and {len(hdus)} are there")
    return True


def _arrays(path, hdus, product):
    flux, error = (np.atleast_2d(native(hdus[i].data, dtype=float)) for i in (1, 2))
    if product.name == "aspcapStar":
        flags = np.zeros(flux.shape, dtype=np.int64)
    else:
        flags = np.atleast_2d(native(hdus[3].data))
    if not flux.shape == error.shape == flags.shape:
        raise corrupt(path, f"flux, error and mask have the shapes {flux.shape}, {error.shape} and {flags.shape}")
    if product.name == "apVisit":  # a row a detector, from red to blue
        return flux.reshape(1, -1), error.reshape(1, -1), flags.reshape(1, -1)
    return flux, error, flags


def _wavelengths(path, hdus, n_pixels):
    """The wavelengths of an apVisit, one detector after the other: they decrease all the way."""
    values, unit = native(hdus[4].data, dtype=float), str(hdus[4].header.get("BUNIT", ""))
    if "(Ang" not in unit:
        raise SpectrumUnitError(f"{path}: expected BUNIT = 'Wavelength (Ang)' in extension 4, got {unit!r}")
    if values.size != n_pixels:
        raise corrupt(path, f"there are {n_pixels} fluxes and {values.size} wavelengths")
    return values.ravel() * u.AA


def _axis(path, hdus, n_pixels):
    header = hdus[1].header if "CRVAL1" in hdus[1].header else hdus[0].header
    return _log_axis(path, header, "1", n_pixels)


def _log_axis(path, header, suffix, n_pixels):
    kind = header.get(f"CTYPE{suffix}")
    if not str(kind or "").upper().startswith(("LOG-LINEAR", "AWAV", "WAVE")):
        raise SpectrumUnitError(f"{path}: expected CTYPE{suffix} = 'LOG-LINEAR' (log10 of Angstrom), got {kind!r}")
    pixel = np.arange(n_pixels) + 1 - header.get(f"CRPIX{suffix}", 1)
    return 10 ** (header[f"CRVAL{suffix}"] + header[f"CDELT{suffix}"] * pixel) * u.AA


def _rows(path, header, n_rows, visits):
    """Rows of the images and the visit that each one is: two sums come first where there are several visits."""
    n_visits = int(header.get("NVISITS", 1))
    if visits == "combined" or n_rows == 1:
        return [(0, None)]
    first = n_rows - n_visits
    if first < 1 or n_visits < 1:
        raise corrupt(path, f"the header counts {n_visits} visits, and the images have {n_rows} rows")
    return [(first + i, i + 1) for i in range(n_visits)]


def _facts(path, hdus, product):
    header = header_dict(hdus[0].header)
    star = header.get("OBJID") or header.get("OBJ")
    if not star and product.name == "aspcapStar":
        require_columns(path, hdus[4], ("APOGEE_ID",))
        star = hdus[4].data["APOGEE_ID"][0]
    return {
        "path": path,
        "header": header,
        "object_id": str(star or "").strip() or None,
        "flux_unit": _flux_unit(path, hdus[1].header, product),
        "medium": declared_medium({**header, **dict(hdus[1].header)}, product.medium),
        "checksum": checksum_state(hdus),
        # The position of the target, of which no data model tells the epoch.
        "position": stated_position(header.get("RA"), header.get("DEC")),
        "file": _file_of_visit(path, hdus) if product.name == "apVisit" else None,
    }


def _file_of_visit(path, hdus):
    """The survey's own name of a visit, by which apStar files list it."""
    table = hdus[11]
    named = isinstance(table, fits.BinTableHDU) and "FILE" in table.columns.names and len(table.data)
    return (str(table.data["FILE"][0]).strip() if named else "") or path.name


def _flux_unit(path, header, product):
    """The unit by the data model, after a look at BUNIT, which the survey writes as free text."""
    default = u.dimensionless_unscaled if product.normalization == "continuum" else _FLUX_UNIT
    text = str(header.get("BUNIT", "")).strip()
    if not text or _FLUX_TEXT in text:
        return default
    try:
        return u.Unit(text)
    except ValueError as error:
        raise SpectrumUnitError(
            f"{path}: the flux has the unit {text!r}; expected {default} or {_FLUX_TEXT!r}"
        ) from error


def _spectrum(row, flux, error, flags, axis, product, facts):
    index, visit = row
    error = np.where(error[index] < _NO_ERROR, error[index], np.nan)
    describe = _visit_facts if product.name == "apVisit" else _star_facts
    return build_spectrum(
        flux[index] * facts["flux_unit"],
        axis,
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=facts["object_id"],
        ivar=inverse_square(error),
        quality=translate(flags[index], _TABLE),
        path=facts["path"],
        header=facts["header"],
        medium=facts["medium"],
        checksum=facts["checksum"],
        **facts["position"],
        **describe(product, facts, visit),
    )


def _star_facts(product, facts, visit):
    header, suffix = facts["header"], "" if visit is None else str(visit)
    # SDSS-V calls VRAD what was VHELIO; in older files VRAD is the shift that is left, or as observed.
    velocity = f"VHELIO{suffix}" if "VHELIO" in header else f"VRAD{suffix}"
    file = str(header.get(f"SFILE{visit}") or f"visit {visit}")
    return {
        "spectrum_id": f"{product.name}-{facts['object_id'] or facts['path'].name}"
        + (f"-{file.removesuffix('.fits')}" if visit else ""),
        "snr": stated_number(header.get(f"SNRVIS{suffix}" if visit else "SNR")),
        "radial_velocity": stated_velocity(header.get(velocity)),
        "velocity_source": f"header {velocity}",
        "visit": file if visit else None,
    }


def _visit_facts(product, facts, visit):
    header, file = facts["header"], facts["file"]
    return {
        "spectrum_id": f"apVisit-{facts['object_id'] or ''}-{file.removesuffix('.fits').removeprefix('apVisit-')}",
        "snr": stated_number(header.get("SNR")),
        "radial_velocity": stated_velocity(header.get("VRAD")),
        "velocity_source": "header VRAD",
        "barycentric_correction": stated_velocity(header.get("BC")),
        "visit": file,
    }


def _doubt_velocity(path, header):
    """Warn of a velocity that the file itself gives reasons to doubt."""
    velocity, heliocentric, correction, peak = (
        stated_number(header.get(key)) for key in ("VRAD", "VHELIO", "BC", "CCPEAK")
    )
    reason = None
    if abs(velocity + correction - heliocentric) > _DISAGREE:
        reason = f"VRAD = {velocity}, BC = {correction} and VHELIO = {heliocentric} km/s contradict each other"
    elif np.isfinite(velocity) and peak < _WEAK_PEAK:
        reason = f"VRAD = {velocity} km/s is doubtful: the cross-correlation has a peak of {peak}"
    if reason:
        advice = "pass radial_velocity=... (as observed: VHELIO1 - BC1, ... of the star's apStar) to prepare"
        warnings.warn(f"{path}: {reason}; {advice}", VelocityWarning, stacklevel=3)


def _mwm_spectra(path, hdus, product):
    """The sums of APOGEE spectra in an mwmStar, one a telescope; those of the optical spectrograph are left alone."""
    tables = [hdu for hdu in hdus[1:] if hdu.name.startswith("APOGEE/")]
    names = {name.lower() for hdu in tables if isinstance(hdu, fits.BinTableHDU) for name in hdu.columns.names}
    if names & {"mjd", "model_flux"}:
        raise unknown_product(path, "an Astra file of visits or models, which is no mwmStar", "apogee", PRODUCTS)
    rows = [(table, i) for table in tables for i in range(len(table.data))]
    if not rows:
        raise unknown_product(path, "an mwmStar without APOGEE spectra", "apogee", PRODUCTS)
    for table in tables:
        if len(table.data):
            axis = () if "CRVAL" in table.header else ("wavelength",)
            require_columns(path, table, _MWM_COLUMNS + axis)
    header, checksum = header_dict(hdus[0].header), checksum_state(hdus)
    return [_mwm_spectrum(path, table, i, product, header, checksum) for table, i in rows]


def _mwm_axis(path, table, row):
    """The axis of the header, which is exact; else the column, which has single precision."""
    if "CRVAL" in table.header:
        return _log_axis(path, table.header, "", len(row["flux"]))
    return native(row["wavelength"], dtype=float) * u.AA


def _mwm_spectrum(path, table, index, product, header, checksum):
    row = table.data[index]
    flux, ivar = native(row["flux"], dtype=float), native(row["ivar"], dtype=float)
    telescope = str(row["telescope"]).strip()
    star = str(row["obj"]).strip() or str(header.get("SDSS_ID") or "")
    return build_spectrum(
        flux * _flux_unit(path, {"BUNIT": table.columns["flux"].unit or ""}, product),
        _mwm_axis(path, table, row),
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=star or None,
        spectrum_id=f"mwmStar-{star or path.name}-{telescope}",
        ivar=np.where(ivar > _NO_ERROR**-2.0, ivar, 0.0),
        quality=translate(native(row["pixel_flags"]), _TABLE),
        snr=stated_number(row["snr"]),
        radial_velocity=stated_velocity(row["v_rad"]),
        velocity_source="column v_rad",
        path=path,
        header=header,
        checksum=checksum,
        telescope=telescope,
        **stated_position(header.get("RA"), header.get("DEC")),
    )
