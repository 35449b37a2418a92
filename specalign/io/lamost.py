"""LAMOST low resolution: the COADD table (DR8 on), and the older image of five rows.

specutils has no loader for them; it takes the table for another format and fails.
"""

import astropy.units as u
from specutils import SpectrumList

from specalign.io.files import checksum_state, corrupt, existing_file, header_dict, native, open_fits
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import translate
from specalign.io.spectra import build_spectrum, column_quantity, declared_medium, stated_number, velocity_of_redshift

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
)

# The six flags of the data model, once for "in every exposure" (ANDMASK) and once for "in at least one" (ORMASK).
_FLAGS = ("BADCCD", "BADPROFILE", "NOSKY", "BRIGHTSKY", "BADCENTER", "NODATA")
QUALITY_BITS = {f"{kind}_{name}": shift + i for kind, shift in (("AND", 0), ("OR", 8)) for i, name in enumerate(_FLAGS)}
# Files of the first releases use further bits, which their documents do not explain.
QUALITY_BITS |= {"AND_UNDOCUMENTED": 22, "OR_UNDOCUMENTED": 23}
BAD_BITS = tuple(f"AND_{name}" for name in _FLAGS)
_AND = {i: i for i in range(len(_FLAGS))} | {None: 22}
_OR = {i: i + 8 for i in range(len(_FLAGS))} | {None: 23}
_COLUMNS = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK")


def read(path, visits="combined"):
    """Read a low-resolution spectrum of LAMOST.

    Parameters
    ----------
    path : path-like
    visits : {"combined", "all"}
        A file holds the sum of its exposures: both words give that one.

    Returns
    -------
    spectra : `~specutils.SpectrumList`
        One spectrum: relative flux, vacuum wavelengths, corrected to the Sun, with the velocity of the header's Z.

    Raises
    ------
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError
    """
    check_visits(visits)
    path = existing_file(path)
    with open_fits(path) as hdus:
        product = _product(path, hdus)
        columns = _from_table(path, hdus[1]) if product.name == "lrs-coadd" else _from_image(path, hdus[0])
        header, checksum = header_dict(hdus[0].header), checksum_state(hdus)
    return SpectrumList([_spectrum(path, product, columns, header, checksum)])


def _product(path, hdus):
    header, names = hdus[0].header, [hdu.name for hdu in hdus]
    if str(header.get("TELESCOP", "")).strip() != "LAMOST":
        raise unknown_product(path, hdus, "lamost", PRODUCTS)
    if header.get("EXTNAME") == "Information" or {"COADD_B", "COADD_R"} & set(names):
        raise unknown_product(path, "a medium-resolution spectrum of LAMOST (COADD_B, COADD_R)", "lamost", PRODUCTS)
    if "COADD" in names:
        return PRODUCTS[0]
    if header.get("NAXIS") == 2:
        return PRODUCTS[1]
    raise corrupt(path, f"a low-resolution spectrum has the table COADD, and only {names} are there")


def _from_table(path, table):
    missing = [name for name in _COLUMNS if name not in table.columns.names]
    if missing or len(table.data) != 1:
        raise corrupt(path, f"COADD has {len(table.data)} rows and lacks the columns {missing}; expected one row")
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
    )


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
