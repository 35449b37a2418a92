"""Gaia XP: continuous coefficients with their covariance, and sampled spectra, of DR3.

Files of the archive (csv, ecsv, fits), combined chunks with a column a coefficient, and parquet tables.
"""

import astropy.units as u
import numpy as np
from astropy.io import fits
from specutils import SpectrumList

from specalign.exceptions import SpectrumUnitError
from specalign.io.files import checksum_state, corrupt, existing_file, native, open_fits
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import bit_value
from specalign.io.spectra import build_spectrum, inverse_square, stated_number
from specalign.io.tables import read_parquet, read_text_table

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

N_COEFFICIENTS = 55  # a band
SAMPLING = np.arange(336.0, 1021.0, 2.0)  # nm, of the sampled spectra (the archive's table has no wavelengths)
_FLUX_UNIT = u.W / u.m**2 / u.nm
_BANDS = ("bp", "rp")
_ARRAYS = {f"{band}_coefficient{part}" for band in _BANDS for part in ("s", "_errors", "_correlations")} | {
    "flux",
    "flux_error",
}
_ENDINGS = (".csv", ".ecsv", ".fits", ".parquet")


def read(path, visits="combined"):
    """Read XP spectra: a row a source.

    Parameters
    ----------
    path : path-like
        csv, ecsv or fits, each also gzipped, or parquet (needs pyarrow).
    visits : {"combined", "all"}
        XP spectra are means over all transits: both words give them.

    Returns
    -------
    spectra : `~specutils.SpectrumList`
        Sampled spectra have a wavelength axis.  Continuous ones have the numbers 0 to 109 as their axis: 55
        coefficients of BP, then 55 of RP; ``meta["coefficient_error"]`` is (110,) and
        ``meta["coefficient_correlation"]`` a tuple of two (55, 55) arrays, or None where the file has none.
        A source without BP (or RP) has that half masked with the bit MISSING_BP (MISSING_RP).

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The file is cut, or a row has not the length that it should have; the source is named.
    specalign.exceptions.UnknownProductError
    """
    check_visits(visits)
    path = existing_file(path)
    rows, checksum = _rows(path)
    product = _product(path, rows)
    build = _continuous if product.name == "xp-continuous" else _sampled
    return SpectrumList([build(path, row, product, checksum) for row in rows])


def _rows(path):
    """The table as a list of dicts, whatever its format, and the state of its checksum."""
    ending = "".join(s for s in path.suffixes[-2:] if s != ".gz").lower()
    if ending.endswith((".csv", ".ecsv")):
        return read_text_table(path, _ARRAYS), "none"
    if ending.endswith(".parquet"):
        return read_parquet(path, _ARRAYS), "none"
    if ending.endswith((".fits", ".fit")):
        with open_fits(path) as hdus:
            return _fits_rows(path, hdus), checksum_state(hdus)
    raise unknown_product(path, f"a file that ends with {path.suffix!r}; expected {_ENDINGS}", "gaia_xp", PRODUCTS)


def _fits_rows(path, hdus):
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    if len(tables) != 1:
        raise unknown_product(path, hdus, "gaia_xp", PRODUCTS)
    _check_flux_unit(path, tables[0])
    table = tables[0].data
    columns = {name.lower(): table[name] for name in table.names}
    combined = _combined_columns(columns)
    plain = {name: _plain_column(column) for name, column in columns.items() if not _is_combined(name)}
    return [{name: column[i] for name, column in (plain | combined).items()} for i in range(len(table))]


def _plain_column(column):
    return list(column) if column.dtype == object else native(column)


def _is_combined(name):
    return "_coeff_" in name


def _combined_columns(columns):
    """Columns bp_coeff_0 to bp_coeff_54 and e_bp_coeff_0 ... as the archive's array columns."""
    if "bp_coeff_0" not in columns:
        return {}
    arrays = {}
    for band in _BANDS:
        for prefix, name in (("", "coefficients"), ("e_", "coefficient_errors")):
            parts = [native(columns[f"{prefix}{band}_coeff_{i}"], dtype=float) for i in range(N_COEFFICIENTS)]
            arrays[f"{band}_{name}"] = np.stack(parts, axis=1)
    return arrays


def _check_flux_unit(path, table):
    """The unit of sampled flux, where a FITS file has one, must be the data model's."""
    text = table.columns["flux"].unit if "flux" in table.columns.names else None
    if text and not _converts(text):
        raise SpectrumUnitError(f"{path}: the flux has the unit {text!r}; expected {_FLUX_UNIT}")


def _converts(text):
    try:
        return u.Unit(text) == _FLUX_UNIT
    except ValueError:
        return False


def _product(path, rows):
    if not rows:
        raise corrupt(path, "the table has no row")
    names = set(rows[0])
    if {"source_id", "bp_coefficients", "rp_coefficients"} <= names:
        return PRODUCTS[0]
    if {"source_id", "flux", "flux_error"} <= names:
        return PRODUCTS[1]
    shown = ", ".join(list(rows[0])[:6])
    raise unknown_product(path, f"a table without XP spectra (columns {shown}, ...)", "gaia_xp", PRODUCTS)


def _array(path, row, name, length):
    """An array of a row with the length that it must have; None where the source has none."""
    values = row.get(name)
    values = np.zeros(0) if values is None else np.asarray(values, dtype=float)
    if values.size not in (0, length) or values.ndim != 1:
        what = f"source {row.get('source_id')}: {name} has {values.shape} values, and {length} were expected"
        raise corrupt(path, what)
    return values if values.size else None


def _source_id(path, row):
    text = str(row["source_id"])
    if not text.isdigit():
        raise corrupt(path, f"source_id is {text!r}, and an integer was expected")
    return text


def _scalars(row):
    """The row without its arrays, as the header of its spectrum."""
    return {
        name: getattr(value, "item", lambda value=value: value)() for name, value in row.items() if np.ndim(value) == 0
    }


def _continuous(path, row, product, checksum):
    n, source = N_COEFFICIENTS, _source_id(path, row)
    flux, error = np.full(2 * n, np.nan), np.full(2 * n, np.nan)
    quality = np.zeros(2 * n, dtype=np.uint32)
    for i, band in enumerate(_BANDS):
        half = slice(i * n, (i + 1) * n)
        values, errors = (_array(path, row, f"{band}_{name}", n) for name in ("coefficients", "coefficient_errors"))
        if values is None or errors is None:
            _check_absent(path, row, band)
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
        path=path,
        header=_scalars(row),
        checksum=checksum,
        coefficient_error=error,
        coefficient_correlation=_correlations(path, row),
        coefficient_standard_deviation=tuple(stated_number(row.get(f"{band}_standard_deviation")) for band in _BANDS),
        n_relevant_bases=tuple(stated_number(row.get(f"{band}_n_relevant_bases")) for band in _BANDS),
    )


def _check_absent(path, row, band):
    """A source without a band says so; where it counts parameters, the file has lost them."""
    stated = stated_number(row.get(f"{band}_n_parameters"))
    if stated > 0:
        what = f"source {row.get('source_id')} states {stated:g} parameters of {band.upper()}, and has none"
        raise corrupt(path, what)


def _correlations(path, row):
    """Both bands' correlation matrices, or None where the table has none; a band that is absent is NaN."""
    packed = [_packed(path, row, f"{band}_coefficient_correlations") for band in _BANDS]
    if all(values is None for values in packed):
        return None
    absent = np.full((N_COEFFICIENTS, N_COEFFICIENTS), np.nan)
    return tuple(absent if values is None else correlation_matrix(values, N_COEFFICIENTS) for values in packed)


def _packed(path, row, name):
    return _array(path, row, name, N_COEFFICIENTS * (N_COEFFICIENTS - 1) // 2)


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


def _sampled(path, row, product, checksum):
    source = _source_id(path, row)
    flux, error = (_array(path, row, name, SAMPLING.size) for name in ("flux", "flux_error"))
    if flux is None or error is None:
        raise corrupt(path, f"source {source} has no flux or no flux_error")
    return build_spectrum(
        flux * _FLUX_UNIT,
        SAMPLING * u.nm,
        product=product,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=source,
        spectrum_id=f"xp-sampled-{source}",
        ivar=inverse_square(error),
        path=path,
        header=_scalars(row),
        checksum=checksum,
    )
