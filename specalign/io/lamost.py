"""LAMOST low resolution: the COADD table (DR8 on), and the older image of five rows; and medium resolution.

specutils has no loader for them; it takes the table for another format and fails.
"""

import astropy.units as u
import numpy as np
from specutils import SpectrumList

from specalign.exceptions import EmptySpectrumError
from specalign.io.files import corrupt, existing_file
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import translate
from specalign.io.spectra import (
    build_spectrum,
    column_quantity,
    declared_medium,
    stated_number,
    stated_position,
    velocity_of_redshift,
)

__all__ = ["BAD_BITS", "PRODUCTS", "QUALITY_BITS", "read"]

PRODUCTS = (
    Product(
        name="lrs-coadd",
        instrument="lamost",
        data_model="https://www.lamost.org/dr10/v2.0/doc/lr-data-production-description",
        frame="barycentric",
        resolving_power=1800.0,
        format="specalign lrs-coadd",
    ),
    Product(
        name="lrs-image",
        instrument="lamost",
        data_model="http://dr6.lamost.org/v1.1/doc/lr-data-production-description",
        frame="barycentric",
        resolving_power=1800.0,
        format="specalign lrs-image",
    ),
    Product(
        name="mrs",
        instrument="lamost",
        # Vacuum and heliocentric as the header's VACUUM and HELIO say, which are read too.
        data_model="http://dr7.lamost.org/v1/doc/mr-data-production-description",
        frame="barycentric",
        resolving_power=7500.0,
        format="specalign mrs",
    ),
)

# The six flags of the data model, once for "in every exposure" (ANDMASK) and once for "in at least one" (ORMASK).
_FLAGS = ("BADCCD", "BADPROFILE", "NOSKY", "BRIGHTSKY", "BADCENTER", "NODATA")
QUALITY_BITS = {f"{kind}_{name}": shift + i for kind, shift in (("AND", 0), ("OR", 8)) for i, name in enumerate(_FLAGS)}
# Files of the first releases use further bits, which their documents do not explain.
QUALITY_BITS |= {"AND_UNDOCUMENTED": 22, "OR_UNDOCUMENTED": 23}
# Any flag in PIXMASK of a single exposure: that its bits are numbered as those of ANDMASK is not documented where we
# could read it, so that they are not named one by one.  That ANDMASK and ORMASK of medium resolution are numbered as
# those of low resolution is assumed.
QUALITY_BITS |= {"PIXMASK": 16}
BAD_BITS = (*(f"AND_{name}" for name in _FLAGS), "PIXMASK")
_AND = {i: i for i in range(len(_FLAGS))} | {None: 22}
_OR = {i: i + 8 for i in range(len(_FLAGS))} | {None: 23}
_COLUMNS = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK")
_ARMS = ("B", "R")


def read(path, visits="combined"):
    """Read a low-resolution or a medium-resolution file of LAMOST.

    Parameters
    ----------
    path : path-like
    visits : {"combined", "all"}
        A low-resolution file holds the sum of its exposures: both words give that one.  A medium-resolution file
        holds the sums of both arms (``"combined"``) and every exposure of each arm (``"all"`` gives these).

    Returns
    -------
    spectra : `~specutils.SpectrumList`
        Low resolution: one spectrum of relative flux, vacuum wavelengths, corrected to the Sun, with the velocity of
        the header's Z.  Medium resolution: a spectrum an arm, named in ``meta["arm"]`` (``"B"``, ``"R"``), in
        increasing wavelength, without a velocity, since the file states none; ``meta["visit"]`` is the table's name.

    Raises
    ------
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError
    specalign.exceptions.EmptySpectrumError
        A medium-resolution file has no sums (or no exposures): a few of the survey's files lack them.
    """
    check_visits(visits)
    path = existing_file(path)
    with open_fits(path) as hdus:
        product = _product(path, hdus)
        if product.name == "mrs":
            return SpectrumList(_read_mrs(path, hdus, product, visits))
        columns = _from_table(path, hdus[1]) if product.name == "lrs-coadd" else _from_image(path, hdus[0])
        header, checksum = header_dict(hdus[0].header), checksum_state(hdus)
    return SpectrumList([_spectrum(path, product, columns, header, checksum)])


def _product(path, hdus):
    header, names = hdus[0].header, [hdu.name for hdu in hdus]
    if str(header.get("TELESCOP", "")).strip() != "LAMOST":
        raise unknown_product(path, hdus, "lamost", PRODUCTS)
    if header.get("EXTNAME") == "Information" or {"COADD_B", "COADD_R"} & set(names):
        return PRODUCTS[2]
    if "COADD" in names:
        return PRODUCTS[0]
    if header.get("NAXIS") == 2:
        return PRODUCTS[1]
    raise corrupt(path, f"a low-resolution spectrum has the table COADD, and only {names} are there")


def _from_table(path, table):
    require_columns(path, table, _COLUMNS)
    if len(table.data) != 1:
        raise corrupt(path, f"COADD has {len(table.data)} rows; expected one")
    first = [column_quantity(table, name, unit, path)[0] for name, unit in zip(_COLUMNS[:3], _units(), strict=True)]
    return [*first, *(native(table.data[name][0]) for name in _COLUMNS[3:])]


def _units():
    return u.dimensionless_unscaled, u.dimensionless_unscaled, u.AA


def _from_image(path, image):
    if image.data.ndim != 2 or len(image.data) < 5:
        raise corrupt(
            path, f"expected an image with five rows (flux, ivar, wavelength, and two masks), got {image.shape}"
        )
    rows = native(image.data, dtype=float)
    return [row * unit for row, unit in zip(rows[:3], _units(), strict=True)] + [rows[3], rows[4]]


def _spectrum(path, product, columns, header, checksum):
    flux, ivar, wavelength, and_mask, or_mask = columns
    name, star = _identity(path, header)
    return build_spectrum(
        flux,
        wavelength,
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=star,
        spectrum_id=name,
        ivar=ivar,
        quality=translate(and_mask, _AND) | translate(or_mask, _OR),
        snr=stated_number(header.get("SNRG", header.get("SN_G"))),
        radial_velocity=velocity_of_redshift(header.get("Z")),
        velocity_source="header Z",
        path=path,
        header=header,
        medium=declared_medium(header, product.medium),
        frame="observed" if header.get("HELIO") is False else product.frame,
        checksum=checksum,
        **_position(header),
    )


def _position(header):
    """The position of the input catalogue; its epoch is nowhere stated, and EQUINOX is that of the axes."""
    return stated_position(header.get("RA"), header.get("DEC"))


def _identity(path, header):
    """Name of the row and of the star.

    OBSID is missing in files of the first release, and negative in some of DR3: plan, spectrograph and fibre are
    unique in every release.
    """
    obsid = stated_number(header.get("OBSID"))
    if obsid > 0:
        name = f"lamost-{int(obsid)}"
    else:
        parts = [str(header.get(key, "")).strip() for key in ("LMJD", "PLANID", "SPID", "FIBERID")]
        name = "lamost-" + "-".join(parts) if all(parts) else str(path.name)
    star = str(header.get("DESIG") or "").strip()
    return name, star or name


def _read_mrs(path, hdus, product, visits):
    """The tables of both arms: the sums, or the exposures."""
    _check_extensions(path, hdus)
    starts = ("COADD_",) if visits == "combined" else tuple(f"{arm}-" for arm in _ARMS)
    tables = [hdu for hdu in hdus[1:] if hdu.name.startswith(starts)]
    if not tables:
        other = "all" if visits == "combined" else "combined"
        raise EmptySpectrumError(
            f"{path}: expected tables that begin with {' or '.join(starts)} for visits={visits!r}, and only "
            f"{[hdu.name for hdu in hdus]} are there; try visits={other!r}."
        )
    header, checksum = header_dict(hdus[0].header), checksum_state(hdus)
    return [_mrs_spectrum(path, product, table, header, checksum) for table in tables]


def _check_extensions(path, hdus):
    """A file that was cut between two tables is sound FITS: N_EXTEN counts all of them, the primary one included."""
    stated = stated_number(hdus[0].header.get("N_EXTEN"))
    if len(hdus) < stated:
        raise corrupt(path, f"the header states {stated:g} extensions (N_EXTEN), and {len(hdus)} are there")


def _mrs_spectrum(path, product, table, header, checksum):
    flux, ivar, wavelength, quality = _mrs_columns(path, table)
    name, star = _identity(path, header)
    summed = table.name.startswith("COADD_")
    return build_spectrum(
        flux,
        wavelength,
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=star,
        spectrum_id=f"{name}-{table.name}",
        ivar=ivar,
        quality=quality,
        snr=stated_number(table.header.get("SNR")),
        path=path,
        header=header,
        visit=None if summed else table.name,
        medium=declared_medium(header, product.medium),
        frame="observed" if header.get("HELIO") is False else product.frame,
        checksum=checksum,
        arm=table.name[-1] if summed else table.name[0],
        table_header=header_dict(table.header),
        **_position(header),
    )


def _mrs_columns(path, table):
    masks = ("ANDMASK", "ORMASK") if table.name.startswith("COADD_") else ("PIXMASK",)
    require_columns(path, table, ("FLUX", "IVAR", "LOGLAM", *masks))
    columns = {name: native(table.data[name], dtype=float) for name in ("FLUX", "IVAR", "LOGLAM")}
    order = slice(None, None, -1 if columns["LOGLAM"][0] > columns["LOGLAM"][-1] else 1)
    flags = [native(table.data[name])[order] for name in masks]
    # Contiguous: the last digit of a power depends on the strides.
    flux, ivar, loglam = (np.ascontiguousarray(column[order]) for column in columns.values())
    quality = translate(flags[0], _AND) | translate(flags[1], _OR) if len(flags) == 2 else _pixel_flags(flags[0])
    return flux * u.dimensionless_unscaled, ivar, _from_log(loglam) * u.AA, quality


def _from_log(loglam):
    """Wavelengths of their decimal logarithms; an absurd one becomes an infinity, which is refused later by name."""
    with np.errstate(over="ignore"):
        return 10.0**loglam


def _pixel_flags(flags):
    return (flags != 0).astype(np.uint32) << np.uint32(QUALITY_BITS["PIXMASK"])
