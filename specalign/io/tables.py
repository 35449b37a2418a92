"""Text and parquet tables of the Gaia archive, with arrays in their cells, as lists of dicts."""

import csv

import numpy as np

from specalign.exceptions import MissingExtraError, UnknownProductError
from specalign.io.files import corrupt, existing_file, read_text

__all__ = ["read_parquet", "read_text_table"]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_UNKNOWN = ("", "null", "nan", "none")
PARQUET_MAGIC = b"PAR1"


def read_text_table(path, arrays, content=None):
    """Rows of a csv or ecsv file; empty cells become None, and those of the columns ``arrays`` become arrays.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The text ends within a line, a row has more or fewer cells than the header, or an array is not closed.

    Examples
    --------
    >>> from specalign.io.tables import read_text_table
    >>> read_text_table("a.csv", {"flux"}, content=b'source_id,flux,ra\\n6,"[1.5, null]",\\n')
    [{'source_id': '6', 'flux': array([1.5, nan]), 'ra': None}]
    """
    lines = [line for line in read_text(path, content).splitlines() if not line.startswith("#")]
    try:
        names, *rows = csv.reader(lines, strict=True)
    except (ValueError, csv.Error) as error:
        raise corrupt(path, f"not a table ({error})") from error
    return [_row(path, i, names, cells, arrays) for i, cells in enumerate(rows)]


def _row(path, index, names, cells, arrays):
    if len(cells) != len(names):
        raise corrupt(path, f"row {index} has {len(cells)} cells, and the header names {len(names)} columns")
    return {name: _cell(path, index, name, text, name in arrays) for name, text in zip(names, cells, strict=True)}


def _cell(path, index, name, text, is_array):
    text = text.strip()
    if text.lower() in _UNKNOWN:
        return None
    if not is_array:
        return text
    try:
        return parse_array(text)
    except ValueError as error:
        raise corrupt(path, f"row {index}, column {name}: {error}") from error


def parse_array(text):
    """The numbers of a cell such as ``(1.0, 2.0)`` or ``[1.0, null]``.

    Examples
    --------
    >>> from specalign.io.tables import parse_array
    >>> parse_array("[1.5, null]")
    array([1.5, nan])
    """
    text = text.strip()
    if len(text) < 2 or text[-1] != _BRACKETS.get(text[0]):
        raise ValueError(f"the array {text[:20]!r}... is not closed")
    inner = text[1:-1].strip()
    if not inner:
        return np.zeros(0)
    return np.array([np.nan if item.strip().lower() in _UNKNOWN else float(item) for item in inner.split(",")])


def read_parquet(path, arrays):
    """Rows of a parquet file; the columns ``arrays`` become arrays, also where they are stored as text.

    Raises
    ------
    specalign.exceptions.MissingExtraError
        pyarrow is not installed.
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError

    Examples
    --------
    >>> import tempfile
    >>> from astropy.table import Table
    >>> from specalign.io.tables import read_parquet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Table({"source_id": [6], "flux": ["[1.5, null]"]}).write(f"{folder}/a.parquet")
    ...     read_parquet(f"{folder}/a.parquet", {"flux"})
    [{'source_id': 6, 'flux': array([1.5, nan])}]
    """
    path = existing_file(path)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(f"{path}: parquet files need pyarrow: pip install pyarrow") from error
    with open(path, "rb") as stream:
        start = stream.read(len(PARQUET_MAGIC))
    if not PARQUET_MAGIC.startswith(start):
        raise UnknownProductError(f"{path}: not a parquet file: it begins with {start!r} instead of {PARQUET_MAGIC!r}.")
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise corrupt(path, f"the parquet table cannot be read ({error})") from error
    return [_parsed(path, i, row, arrays) for i, row in enumerate(rows)]


def _parsed(path, index, row, arrays):
    texts = {name for name, value in row.items() if isinstance(value, str)}
    return row | {name: _cell(path, index, name, row[name], name in arrays) for name in texts}
