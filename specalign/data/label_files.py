"""Files of label catalogues as tables: FITS, csv, ecsv, VOTable, Parquet."""

import csv
import re
import warnings
from pathlib import Path

import astropy.units as u
from astropy.io import fits
from astropy.table import Table

from specalign.exceptions import LabelError, MissingExtraError, SpecalignError
from specalign.io.files import corrupt, existing_file, failing_as_corrupt, open_stream
from specalign.io.fits_files import open_fits

__all__ = ["load_table"]

FORMATS = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".txt": "ascii", ".dat": "ascii", ".vot": "votable",
           ".xml": "votable", ".votable": "votable", ".parquet": "parquet", ".parq": "parquet"}  # fmt: skip
GZIPPED = re.compile(r"\.gz$", re.IGNORECASE)


def load_table(source, ids, hdu=None):
    """The table, and the words that name it in messages.

    Parameters
    ----------
    source : path-like or `~astropy.table.Table`
    ids : tuple of str
        Columns (lower case) that may hold identifiers: they are never read as numbers from text, and they tell which
        of several tables of a FITS file is meant.
    hdu : int or str, optional
        Number or name of the FITS extension.

    Returns
    -------
    table : `~astropy.table.Table`
    where : str

    Raises
    ------
    LabelError
        There is no table, or more than one that could be meant.
    specalign.exceptions.CorruptFileError
        The file is damaged.
    specalign.exceptions.MissingExtraError
        Parquet without pyarrow.
    """
    if isinstance(source, Table):
        if hdu is not None:
            raise LabelError(f"hdu={hdu!r} was given, and the source is a table, not a FITS file")
        return source, "table"
    path = existing_file(source)
    name = GZIPPED.sub("", path.name.lower())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)  # units of every label are judged when columns are read
        if name.endswith((".fits", ".fit", ".fts")):
            return _load_fits(path, ids, hdu), str(path)
        if hdu is not None:
            raise LabelError(f"{path}: hdu={hdu!r} was given, and the file is not FITS")
        return _load_text(path, name, ids), str(path)


def _load_fits(path, ids, hdu):
    with open_fits(path) as hdus:
        number = _extension(path, hdus, ids) if hdu is None else _asked(path, hdus, hdu)
        return Table.read(hdus[number])


def _asked(path, hdus, hdu):
    try:
        number = hdus.index_of(hdu)
        table = isinstance(hdus[number], (fits.BinTableHDU, fits.TableHDU))
    except (KeyError, IndexError, TypeError):
        table = False
    if not table:
        raise LabelError(f"{path}: hdu={hdu!r} is no table; the extensions are {[item.name for item in hdus]}")
    return number


def _extension(path, hdus, ids):
    """The only table with stars in it: SDSS-V files have one for each spectrograph, and allStar one of constants."""
    tables = [i for i, item in enumerate(hdus) if isinstance(item, (fits.BinTableHDU, fits.TableHDU))]
    if not tables:
        raise LabelError(f"{path}: expected a table of labels, found no table in the file")
    named = [i for i in tables if {name.lower() for name in hdus[i].columns.names} & set(ids)]
    filled = [i for i in named if len(hdus[i].data)]
    if len(filled) > 1:
        raise LabelError(
            f"{path}: extensions {', '.join(f'{i} ({hdus[i].name!r})' for i in filled)} have rows of stars; pass "
            f"hdu= to say which is meant"
        )
    return (filled or named or tables)[0]


def _load_text(path, name, ids):
    kind, known = FORMATS.get(Path(name).suffix), ", ".join([".fits", *FORMATS])
    if kind is None:
        raise LabelError(
            f"{path}: expected a catalogue whose name ends in {known}; rename it, or pass an astropy Table"
        )
    try:
        if kind == "ascii.csv":
            return _load_csv(path, ids)
        return Table.read(path, format=kind)
    except SpecalignError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"{path}: {kind} files need another package: {error}") from error
    except (ValueError, OSError, LookupError, TypeError) as error:
        raise LabelError(
            f"{path}: cannot be read as a table ({type(error).__name__}: {error}); expected a file that ends in {known}"
        ) from error


def _load_csv(path, ids):
    """LAMOST's catalogues are called csv and are separated by bars."""
    with failing_as_corrupt(path), open_stream(path) as stream:
        first = stream.readline().decode("utf-8-sig").rstrip("\r\n")
    delimiter = "|" if first.count("|") > first.count(",") else ","
    names = next(csv.reader([first], delimiter=delimiter), [])
    _check_end(path, len(names), delimiter)
    text = {name: str for name in names if name.strip().lower() in ids}
    return Table.read(path, format="ascii.csv", delimiter=delimiter, converters=text)


def _check_end(path, n_cells, delimiter):
    """A copy that was cut ends within a row, which would be filled up with missing values."""
    with failing_as_corrupt(path), open_stream(path) as stream:
        tail, size = b"", 0
        while chunk := stream.read(2**22):
            tail, size = (tail + chunk)[-(2**16) :], size + len(chunk)
    last = tail.decode("utf-8", "replace").split("\n")[-1]
    if last.strip() and len(next(csv.reader([last], delimiter=delimiter))) < n_cells:
        raise corrupt(path, f"the last row has fewer cells than the {n_cells} columns")
