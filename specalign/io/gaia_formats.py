"""The formats in which the Gaia archive gives XP spectra, as rows: one dict a origin, arrays in it.

csv, ecsv, fits, VOTable (one or many tables) and parquet; a DataLink archive (zip) holds several of them, one a
product: ``XP_SAMPLED-Gaia DR3 <source_id>.fits``, or ``XP_SAMPLED_COMBINED.xml`` for many sources.
`Retrieval of ancillary data <https://www.cosmos.esa.int/web/gaia-users/archive/datalink-products>`_.

>>> from specalign.io.gaia_formats import BANDS, FLUX_UNIT, N_COEFFICIENTS
>>> BANDS, N_COEFFICIENTS, FLUX_UNIT.to_string()
(('bp', 'rp'), 55, 'W / (nm m2)')
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import astropy.units as u
import numpy as np
from astropy.io import fits

from specalign.display import Displayed
from specalign.exceptions import SpectrumUnitError
from specalign.io.archives import read_members
from specalign.io.files import corrupt
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits
from specalign.io.products import describe
from specalign.io.tables import read_parquet, read_text_table
from specalign.io.votable import read_votable

__all__ = ["BANDS", "FLUX_UNIT", "N_COEFFICIENTS", "SAMPLING", "Origin", "XPTable", "read_tables"]

N_COEFFICIENTS = 55  # a band
SAMPLING = np.arange(336.0, 1021.0, 2.0)  # nm, of the sampled spectra (the archive's table has no wavelengths)
FLUX_UNIT = u.W / u.m**2 / u.nm
BANDS = ("bp", "rp")
ENDINGS = (".csv", ".ecsv", ".fits", ".parquet", ".xml", ".vot", ".zip")
_ARRAYS = {f"{band}_coefficient{part}" for band in BANDS for part in ("s", "_errors", "_correlations")} | {
    "flux",
    "flux_error",
}
_CONTINUOUS = {"source_id", "bp_coefficients", "rp_coefficients"}
_SAMPLED = {"source_id", "flux", "flux_error"}
_NEEDED = "expected source_id with bp_coefficients and rp_coefficients, or with flux and flux_error"
_ONE_SOURCE = {"wavelength", "flux", "flux_error"}
_FIRST_COEFFICIENT = "bp_coeff_0"
_VOTABLE_ENDINGS = (".xml", ".vot", ".votable")
XP_MEMBERS = ("XP_CONTINUOUS", "XP_SAMPLED")


@dataclass(frozen=True)
class Origin(Displayed):
    """Where a row comes from.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file on disk.
    member : str or None
        Its member, where the file is an archive.

    Examples
    --------
    >>> from pathlib import Path
    >>> from specalign.io.gaia_formats import Origin
    >>> origin = Origin(Path("products.zip"), "XP_CONTINUOUS-1.xml")
    >>> str(origin), origin.name
    ('products.zip/XP_CONTINUOUS-1.xml', 'XP_CONTINUOUS-1.xml')
    """

    path: Path
    member: str | None = None

    def __str__(self):
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def name(self):
        """Name of the file, or of the member."""
        return self.path.name if self.member is None else PurePosixPath(self.member).name


@dataclass(repr=False)
class XPTable(Displayed):
    """Rows of one product.

    Parameters
    ----------
    origin : Origin
    kind : {"xp-continuous", "xp-sampled"}
    rows : list of dict
    checksum : {"verified", "partly", "none"}

    Examples
    --------
    >>> from pathlib import Path
    >>> from specalign.io.gaia_formats import Origin, XPTable
    >>> table = XPTable(Origin(Path("a.csv")), "xp-sampled", rows=[{"source_id": "6"}])
    >>> table.kind, len(table.rows), table.checksum
    ('xp-sampled', 1, 'none')
    """

    origin: Origin
    kind: str
    rows: list
    checksum: str = "none"

    def _facts(self):
        return {"file": str(self.origin), "kind": self.kind, "rows": str(len(self.rows)), "checksum": self.checksum}


def read_tables(path):
    """Every table of XP spectra in one file of the archive.

    Parameters
    ----------
    path : `~pathlib.Path`

    Returns
    -------
    tables : list of XPTable
    others : list of str
        What else is in the file, in words.

    Raises
    ------
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError
    specalign.exceptions.SpectrumUnitError
        The flux or the wavelengths have another unit than the data model's (W m-2 nm-1, nm).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign.io.gaia_formats import read_tables
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.csv"
    ...     _ = path.write_text("source_id,flux,flux_error\\n6,[1.0],[0.1]\\n")
    ...     tables, others = read_tables(path)
    >>> tables[0].kind, tables[0].rows[0]["source_id"], others
    ('xp-sampled', '6', [])
    """
    if path.suffix.lower() != ".zip":
        return _read_one(Origin(path), None)
    members, others = read_members(path, lambda name: PurePosixPath(name).name.upper().startswith(XP_MEMBERS))
    tables = []
    for member, content in members:
        found, left = _read_one(Origin(path, member), content)
        tables += found
        others += [f"{member}: {what}" for what in left]
    return tables, others or ["an empty archive"] * (not members)


def _read_one(origin, content):
    where = Path(str(origin))
    ending = "".join(s for s in where.suffixes[-2:] if s != ".gz").lower()
    if ending.endswith((".csv", ".ecsv")):
        return _sorted(origin, [_Found(read_text_table(where, _ARRAYS, content))])
    if ending.endswith(".parquet") and content is None:
        return _sorted(origin, [_Found(read_parquet(where, _ARRAYS))])
    if ending.endswith((".fits", ".fit")):
        with open_fits(where, content) as hdus:
            return _from_fits(origin, hdus)
    if ending.endswith(_VOTABLE_ENDINGS):
        tables = [_from_votable(where, table) for table in read_votable(where, content)]
        return _sorted(origin, tables) if tables else ([], ["a VOTable without a table"])
    return [], [f"a file that ends with {where.suffix!r}; expected {ENDINGS}"]


@dataclass
class _Found:
    """A table of any content; ``rows`` only where it holds XP spectra."""

    rows: list
    names: tuple = ()
    checksum: str = "none"


def _sorted(origin, found):
    """Tables of XP spectra, and what the others are."""
    tables, others = [], []
    for table in found:
        names = list(table.names or (table.rows[0] if table.rows else ()))
        if not table.rows and (not names or _kind(names)):
            raise corrupt(origin, "the table has no row")
        if _kind(names):
            tables.append(XPTable(origin, _kind(names), table.rows, table.checksum))
        else:
            others.append(f"a table without XP spectra (columns {', '.join(names[:6])}, ...; {_NEEDED})")
    return tables, others


def _kind(names):
    if set(names) >= _CONTINUOUS:
        return "xp-continuous"
    return "xp-sampled" if set(names) >= _SAMPLED else None


def _from_fits(origin, hdus):
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    if not tables:
        return [], [describe(hdus)]
    checksum = checksum_state(hdus)
    return _sorted(origin, [_fits_table(origin, table, checksum) for table in tables])


def _fits_table(origin, hdu, checksum):
    columns = {column.name.lower(): hdu.data[column.name] for column in hdu.columns}
    facts = {name.lower(): value for name, value in header_dict(hdu.header).items()}
    # An x1d of JWST has a SOURCEID and these columns too.
    one_source = _is_one_source(columns, "sourceid" in facts and "Gaia" in str(facts.get("publishe")))
    if not (_kind(columns) or one_source or _FIRST_COEFFICIENT in columns):
        return _Found([], tuple(columns))
    _check_units(origin, columns, {column.name.lower(): column.unit for column in hdu.columns})
    if one_source:
        row = _one_source(origin, columns, {"source_id": facts.pop("sourceid")} | facts)
        return _Found([row], checksum=checksum)
    combined = _combined_columns(origin, columns)
    columns = {name: _plain_column(column) for name, column in columns.items() if not _is_combined(name)} | combined
    rows = [{name: column[i] for name, column in columns.items()} for i in range(len(hdu.data))]
    return _Found(rows, tuple(columns), checksum)


def _plain_column(column):
    return list(column) if column.dtype == object else native(column)


def _is_combined(name):
    return "_coeff_" in name


def _combined_columns(origin, columns):
    """Columns bp_coeff_0 to bp_coeff_54 and e_bp_coeff_0 ... as the archive's array columns."""
    arrays = {}
    for band in BANDS if _FIRST_COEFFICIENT in columns else ():
        for prefix, name in (("", "coefficients"), ("e_", "coefficient_errors")):
            names = [f"{prefix}{band}_coeff_{i}" for i in range(N_COEFFICIENTS)]
            if missing := [one for one in names if one not in columns]:
                raise corrupt(origin, f"a column a coefficient, and {', '.join(missing[:3])} of {band} are not there")
            arrays[f"{band}_{name}"] = np.stack([native(columns[one], dtype=float) for one in names], axis=1)
    return arrays


def _from_votable(origin, table):
    columns = {name.lower(): values for name, values in table.columns.items()}
    params = {name.lower(): _scalar(value) for name, value in table.params.items()}
    one_source = _is_one_source(columns, "source_id" in params)
    if not (_kind(columns) or one_source):
        return _Found([], tuple(columns) or ("none",))
    _check_units(origin, columns, {name.lower(): unit for name, unit in table.units.items()})
    remarks = {"votable_remarks": "; ".join(table.remarks)} if table.remarks else {}
    if one_source:
        return _Found([_one_source(origin, columns, params | remarks)])
    rows = [{name: column[i] for name, column in columns.items()} | remarks for i in range(table.n_rows)]
    return _Found(rows, tuple(columns))


def _scalar(value):
    """A header keeps scalars: a position is text in it."""
    return value if np.ndim(value) == 0 else str(np.asarray(value).tolist())


def _is_one_source(columns, named):
    """A row a sample, with the source named beside the table, instead of a row a source.

    The archive gives the spectra of RVS so, too: from 846 nm, in 2401 samples.
    """
    if not named or not set(columns) >= _ONE_SOURCE or "source_id" in columns:
        return False
    wavelength = columns["wavelength"]
    return len(wavelength) == SAMPLING.size or (len(wavelength) > 0 and wavelength[0] == SAMPLING[0])


def _one_source(origin, columns, facts):
    arrays = {name: _numbers(origin, name, columns[name]) for name in sorted(_ONE_SOURCE)}
    wavelength = arrays.pop("wavelength")
    if wavelength.shape != SAMPLING.shape or not np.allclose(wavelength, SAMPLING, rtol=0, atol=1e-6):
        first, last = wavelength[[0, -1]] if wavelength.size else (np.nan, np.nan)
        what = f"{wavelength.size} wavelengths from {first} to {last} nm, and 336 to 1020 in steps of 2 were expected"
        raise corrupt(origin, f"source {facts.get('source_id')} has {what}")
    return facts | arrays


def _numbers(origin, name, values):
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    except (TypeError, ValueError) as error:
        raise corrupt(origin, f"the column {name} holds no numbers ({error})") from error


def _check_units(origin, columns, units):
    """Units of sampled flux and wavelengths, where a file has them, must be the data model's."""
    if not ("flux" in columns and "flux_error" in columns):
        return
    for name, expected in (("flux", FLUX_UNIT), ("flux_error", FLUX_UNIT), ("wavelength", u.nm)):
        text = units.get(name)
        if name in columns and text and not _is_unit(text, expected):
            raise SpectrumUnitError(f"{origin}: the {name} has the unit {text!r}; expected {expected}")


def _is_unit(text, expected):
    try:
        return u.Unit(text) == expected
    except ValueError:
        return False
