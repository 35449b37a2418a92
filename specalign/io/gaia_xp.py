"""Gaia XP: continuous coefficients with their covariance, and sampled spectra, of DR3.

Files of the archive (csv, ecsv, fits, VOTable, DataLink zip), combined chunks with a column a coefficient, and parquet
tables: `specalign.io.gaia_formats` makes rows of them.
"""

import warnings

import astropy.units as u
import numpy as np
from specutils import SpectrumList

from specalign.exceptions import SkippedProductWarning
from specalign.io.files import corrupt, existing_file
from specalign.io.gaia_formats import BANDS, FLUX_UNIT, N_COEFFICIENTS, SAMPLING, read_tables
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import bit_value
from specalign.io.spectra import build_spectrum, inverse_square, stated_number, stated_position

__all__ = ["BAD_BITS", "N_COEFFICIENTS", "PRODUCTS", "QUALITY_BITS", "SAMPLING", "correlation_matrix", "read"]

PRODUCTS = (
    Product(
        name="xp-continuous",
        instrument="gaia_xp",
        data_model="https://gea.esac.esa.int/archive/documentation/GDR3/Gaia_archive/chap_datamodel/sec_dm_spectroscopic_tables/ssec_dm_xp_continuous_mean_spectrum.html",
        frame="barycentric",
        axis_kind="coefficient",
        format="specalign xp-continuous",
    ),
    Product(
        name="xp-sampled",
        instrument="gaia_xp",
        data_model="https://gea.esac.esa.int/archive/documentation/GDR3/Gaia_archive/chap_datamodel/sec_dm_spectroscopic_tables/ssec_dm_xp_sampled_mean_spectrum.html",
        frame="barycentric",
        format="specalign xp-sampled",
    ),
)
QUALITY_BITS = {"MISSING_BP": 0, "MISSING_RP": 1}
BAD_BITS = ("MISSING_BP", "MISSING_RP")
# Reference epoch of DR3 (gaia_source.ref_epoch), and the solutions of its XP spectra.
DR3_EPOCH = 2016.0
DR3_SOLUTIONS = ("4545469030156206080", "4545469030156206081")
_EPOCHS = ("ref_epoch", "refepoch", "timeaxiscoveragelocation")


def read(path, visits="combined"):
    """Read XP spectra: a row a source.

    Parameters
    ----------
    path : path-like
        csv, ecsv, fits or VOTable (xml, vot), each also gzipped; a DataLink archive (zip) of them, of which the
        members ``XP_CONTINUOUS...`` and ``XP_SAMPLED...`` are read in memory; or parquet (needs pyarrow).
    visits : {"combined", "all"}
        XP spectra are means over all transits: both words give them.

    Returns
    -------
    spectra : `~specutils.SpectrumList`
        Sampled spectra have a wavelength axis.  Continuous ones have the numbers 0 to 109 as their axis: 55
        coefficients of BP, then 55 of RP; ``meta["coefficient_error"]`` is (110,) and
        ``meta["coefficient_correlation"]`` a tuple of two (55, 55) arrays, or None where the file has none.
        A source without BP (or RP) has that half masked with the bit MISSING_BP (MISSING_RP): `prepare` rejects
        it, since samples need both.  ``meta["member"]`` names the member of an archive, and
        ``meta["header"]["votable_remarks"]`` keeps what astropy's parser found unusual in a VOTable.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The file is cut, or a row has not the length that it should have; the source is named.  An archive has a
        damaged member, a name that points outside, or states sizes that are not plausible.
    specalign.exceptions.SpectrumUnitError
        Flux or wavelengths have another unit than W m-2 nm-1 and nm.
    specalign.exceptions.UnknownProductError
        Nothing in the file is an XP spectrum.

    Warns
    -----
    specalign.exceptions.SkippedProductWarning
        The file has other products beside the XP spectra; the message names them.
    """
    check_visits(visits)
    path = existing_file(path)
    tables, others = read_tables(path)
    if not tables:
        raise unknown_product(path, "; ".join(others), "gaia_xp", PRODUCTS)
    if others:
        warnings.warn(f"{path}: read the XP spectra, and left {'; '.join(others)}", SkippedProductWarning, stacklevel=3)
    return SpectrumList([_spectrum(table, row) for table in tables for row in table.rows])


def _spectrum(table, row):
    product = next(product for product in PRODUCTS if product.name == table.kind)
    build = _continuous if product.name == "xp-continuous" else _sampled
    return build(table.origin, row, product, table.checksum)


def _array(origin, row, name, length):
    """An array of a row with the length that it must have; None where the source has none."""
    values = row.get(name)
    try:
        values = np.zeros(0) if values is None else np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise corrupt(origin, f"source {row.get('source_id')}: {name} holds no numbers ({error})") from error
    if values.size not in (0, length) or values.ndim != 1:
        what = f"source {row.get('source_id')}: {name} has {values.shape} values, and {length} were expected"
        raise corrupt(origin, what)
    return values if values.size else None


def _source_id(origin, row):
    text = str(row["source_id"])
    if not text.isdigit():
        raise corrupt(origin, f"source_id is {text!r}, and an integer was expected")
    return text


def _scalars(row):
    """The row without its arrays, as the header of its spectrum."""
    return {
        name: getattr(value, "item", lambda value=value: value)() for name, value in row.items() if np.ndim(value) == 0
    }


def _position(row):
    """Position and its epoch, which the data model of DR3 says to be that of gaia_source."""
    ra, dec = row.get("ra"), row.get("dec")
    if ra is None:
        # One source a table: FITS calls the pair POS, VOTable spatialLocation, and both keep it as text here.
        ra, dec = ([*str(row.get("pos") or row.get("spatiallocation") or "").strip("()[]").split(","), None])[:2]
    stated = next((row[name] for name in _EPOCHS if row.get(name) is not None), None)
    return stated_position(ra, dec, DR3_EPOCH if stated is None and _is_dr3(row) else stated)


def _is_dr3(row):
    return str(row.get("solution_id") or row.get("solution")) in DR3_SOLUTIONS


def _continuous(origin, row, product, checksum):
    n, source = N_COEFFICIENTS, _source_id(origin, row)
    flux, error = np.full(2 * n, np.nan), np.full(2 * n, np.nan)
    quality = np.zeros(2 * n, dtype=np.uint32)
    for i, band in enumerate(BANDS):
        half = slice(i * n, (i + 1) * n)
        values, errors = (_array(origin, row, f"{band}_{name}", n) for name in ("coefficients", "coefficient_errors"))
        if (values is None) != (errors is None):
            there = "coefficients" if errors is None else "coefficient_errors"
            raise corrupt(origin, f"source {source}: {band}_{there} stands alone; expected the values and their errors")
        if values is None:
            _check_absent(origin, row, band)
            quality[half] = bit_value(QUALITY_BITS, f"MISSING_{band.upper()}")
        else:
            flux[half], error[half] = values, errors
    return build_spectrum(
        flux * u.dimensionless_unscaled,
        np.arange(2.0 * n) * u.pix,
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=source,
        spectrum_id=f"xp-continuous-{source}",
        ivar=inverse_square(error),
        quality=quality,
        path=origin.path,
        member=origin.member,
        header=_scalars(row),
        checksum=checksum,
        **_position(row),
        coefficient_error=error,
        coefficient_correlation=_correlations(origin, row),
        coefficient_standard_deviation=tuple(stated_number(row.get(f"{band}_standard_deviation")) for band in BANDS),
        n_relevant_bases=tuple(stated_number(row.get(f"{band}_n_relevant_bases")) for band in BANDS),
    )


def _check_absent(origin, row, band):
    """A source without a band says so; where it counts parameters, the file has lost them."""
    stated = stated_number(row.get(f"{band}_n_parameters"))
    if stated > 0:
        what = f"source {row.get('source_id')} states {stated:g} parameters of {band.upper()}, and has none"
        raise corrupt(origin, what)


def _correlations(origin, row):
    """Both bands' correlation matrices, or None where the table has none; a band that is absent is NaN."""
    packed = [_packed(origin, row, f"{band}_coefficient_correlations") for band in BANDS]
    if all(values is None for values in packed):
        return None
    absent = np.full((N_COEFFICIENTS, N_COEFFICIENTS), np.nan)
    return tuple(absent if values is None else correlation_matrix(values, N_COEFFICIENTS) for values in packed)


def _packed(origin, row, name):
    return _array(origin, row, name, N_COEFFICIENTS * (N_COEFFICIENTS - 1) // 2)


def correlation_matrix(packed, n):
    """The symmetric matrix of the archive's packed correlations.

    Parameters
    ----------
    packed : (n (n - 1) / 2,) array
        The elements above the diagonal, column by column.
    n : int

    Returns
    -------
    matrix : (n, n) array
        With ones on the diagonal.

    Examples
    --------
    >>> from specalign.io.gaia_xp import correlation_matrix
    >>> correlation_matrix([0.1, 0.2, 0.3], 3)
    array([[1. , 0.1, 0.2],
           [0.1, 1. , 0.3],
           [0.2, 0.3, 1. ]])
    """
    matrix = np.eye(n)
    # The upper triangle by columns is the lower triangle by rows, the order of tril_indices.
    rows, columns = np.tril_indices(n, k=-1)
    matrix[rows, columns] = packed
    matrix[columns, rows] = packed
    return matrix


def _sampled(origin, row, product, checksum):
    source = _source_id(origin, row)
    flux, error = (_array(origin, row, name, SAMPLING.size) for name in ("flux", "flux_error"))
    if flux is None or error is None:
        raise corrupt(origin, f"source {source} has no flux or no flux_error")
    return build_spectrum(
        flux * FLUX_UNIT,
        SAMPLING * u.nm,
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=source,
        spectrum_id=f"xp-sampled-{source}",
        ivar=inverse_square(error),
        path=origin.path,
        member=origin.member,
        header=_scalars(row),
        checksum=checksum,
        **_position(row),
    )
