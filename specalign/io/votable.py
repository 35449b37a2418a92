"""VOTables, one or many tables a file, as columns: every byte of a binary stream must belong to a row.

`VOTable 1.4 <https://www.ivoa.net/documents/VOTable/20191021/REC-VOTable-1.4-20191021.html>`_.  astropy's parser
drops a last row that is cut, fetches streams from addresses and allocates what a file claims; `_Outline` looks first.
"""

import base64
import io
import math
import warnings
from dataclasses import dataclass, field
from xml.parsers import expat

import numpy as np

from specalign.display import Displayed
from specalign.exceptions import UnknownProductError
from specalign.io.files import corrupt, failing_as_corrupt, read_bytes, room

__all__ = ["VOTable", "read_votable"]

# Bytes of the primitives, VOTable 1.4, section 2.1; "bit" is packed, and no product of ours has it.
BYTES = {"boolean": 1, "unsignedByte": 1, "short": 2, "int": 4, "long": 8, "char": 1, "unicodeChar": 2}
BYTES |= {"float": 4, "double": 8, "floatComplex": 8, "doubleComplex": 16}
BINARY = ("BINARY", "BINARY2")
ROWS_AT_ONCE = 256  # astropy allocates so many rows where a table does not state their number
WORD = 8


@dataclass(repr=False)
class VOTable(Displayed):
    """One table.

    Parameters
    ----------
    columns : dict of str to list
        Cells: None where null, arrays with NaN where an element is null.
    units : dict of str to str
        Of the columns that have one.
    params : dict
        Values of the table's PARAM elements.
    n_rows : int
    remarks : tuple of str
        What astropy's parser warned of in this file.

    Examples
    --------
    >>> from specalign.io.votable import VOTable
    >>> VOTable({"flux": [1.5]}, {"flux": "Jy"}, {}, 1).units
    {'flux': 'Jy'}
    """

    columns: dict
    units: dict
    params: dict
    n_rows: int
    remarks: tuple = ()


def read_votable(path, content=None):
    """All tables of a VOTable file, plain or gzipped.

    Parameters
    ----------
    path : path-like
    content : bytes, optional
        The file itself, where it comes out of an archive; ``path`` then only names it.

    Returns
    -------
    tables : list of VOTable

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The XML is cut or not well-formed, a stream ends within a row (which is named), points to another address,
        or a table claims more than the file can hold.
    specalign.exceptions.UnknownProductError
        The XML is not a VOTable.

    Examples
    --------
    >>> from specalign.io.votable import read_votable
    >>> text = b'''<VOTABLE version="1.4"><RESOURCE><TABLE><PARAM name="source_id" datatype="long" value="6"/>
    ... <FIELD name="flux" datatype="float" unit="Jy"/>
    ... <DATA><TABLEDATA><TR><TD>1.5</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'''
    >>> (table,) = read_votable("a.xml", content=text)
    >>> table.params, table.units, [float(value) for value in table.columns["flux"]]
    ({'source_id': 6}, {'flux': 'Jy'}, [1.5])
    """
    content = read_bytes(path, content)
    if not content.strip():
        raise corrupt(path, "the file is empty")
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise UnknownProductError(f"{path}: not XML: it begins with {content[:9]!r}.")
    _check_outline(path, content)
    with failing_as_corrupt(path), warnings.catch_warnings(record=True) as caught:
        tables = _parsed(path, content)
    remarks = _remarks(caught)
    with failing_as_corrupt(path):
        return [_as_columns(table, remarks) for table in tables]


def _parsed(path, content):
    from astropy.io.votable import parse
    from astropy.io.votable.exceptions import VOWarning

    warnings.simplefilter("always", VOWarning)
    try:
        return list(parse(io.BytesIO(content), verify="warn").iter_tables())
    except VOWarning as error:  # astropy raises some of its warnings, where it cannot go on
        raise corrupt(path, f"the VOTable cannot be interpreted ({error})") from error


def _remarks(caught):
    """What the parser says of the file becomes a fact of the spectra; any other warning goes its way."""
    from astropy.io.votable.exceptions import VOWarning

    ours = [one for one in caught if issubclass(one.category, VOWarning)]
    for one in caught:
        if one not in ours:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return tuple(str(one.message) for one in ours)


def _as_columns(table, remarks):
    names = [one.name for one in table.fields]
    # Arrays are named after the ID of a field, which astropy makes unique.
    columns = {one.name: [_cell(cell) for cell in table.array[one.ID]] for one in table.fields} if names else {}
    units = {one.name: str(one.unit) for one in table.fields if one.unit is not None}
    params = {one.name: one.value for one in table.params}
    return VOTable(columns, units, params, len(table.array), remarks)


def _cell(value):
    """None where a cell is null; NaN where an element of an array is."""
    if value is np.ma.masked:
        return None
    if not isinstance(value, np.ma.MaskedArray):
        return value
    if not np.ma.is_masked(value):
        return value.data
    return value.astype(float).filled(np.nan) if value.dtype.kind in "iuf" else None


def _check_outline(path, content):
    outline = _Outline(path)
    try:
        with failing_as_corrupt(path):
            outline.parser.Parse(content, True)
    except expat.ExpatError as error:
        raise corrupt(path, f"the XML is cut or not well-formed ({error})") from error
    limit = room(len(content)) // WORD
    for number, table in enumerate(outline.tables):
        if table.elements > limit:
            raise corrupt(path, f"table {number} claims {table.elements} values, which this file cannot hold")
        _check_stream(f"table {number}", path, table)


@dataclass
class _Table:
    rows: int = 0
    fields: list = field(default_factory=list)
    kind: str = ""
    text: list = field(default_factory=list)

    @property
    def elements(self):
        """Values that a parser would make room for."""
        return max(self.rows, ROWS_AT_ONCE) * sum(count for _, count, _ in self.fields)


class _Outline:
    """The structure of a VOTable, from a parser that loads nothing and expands nothing."""

    def __init__(self, path):
        self.path, self.tables, self.open, self.depth = path, [], [], 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler, self.parser.EndElementHandler = self.start, self.end
        self.parser.CharacterDataHandler = self.characters
        self.parser.StartDoctypeDeclHandler = self.doctype

    def doctype(self, *args):
        raise corrupt(self.path, "the XML declares a document type, which no VOTable has (its entities could be huge)")

    def start(self, name, attributes):
        name = name.split(" ")[-1]
        if not self.open and name != "VOTABLE":
            raise UnknownProductError(f"{self.path}: the XML begins with {name!r}, and VOTABLE was expected.")
        self.open.append(name)
        handler = {"TABLE": self.table, "FIELD": self.field, "STREAM": self.stream}.get(name)
        if handler:
            handler(attributes)

    def end(self, name):
        self.open.pop()

    def characters(self, text):
        if self.open[-1] == "STREAM" and self.tables:
            self.tables[-1].text.append(text)

    def table(self, attributes):
        self.tables.append(_Table(rows=_whole(self.path, attributes.get("nrows", "0"))))

    def field(self, attributes):
        if self.tables:
            self.tables[-1].fields.append(_field(self.path, attributes))

    def stream(self, attributes):
        encoding = attributes.get("encoding", "none")
        if "href" in attributes or encoding != "base64":
            what = f"a stream with the attributes {attributes}, and one within the file in base64 was expected"
            raise corrupt(self.path, what)
        if self.tables:
            self.tables[-1].kind = self.open[-2]


def _whole(path, text):
    if not text.strip().isdecimal():
        raise corrupt(path, f"the VOTable states {text!r}, and a whole number was expected")
    return int(text)


def _field(path, attributes):
    """Bytes of a value (None where unknown), values a cell (of a varying array: a step), and whether it varies."""
    parts = attributes.get("arraysize", "1").split("x")
    varies = parts[-1].endswith("*")
    parts = [*parts[:-1], "1"] if varies else parts
    return BYTES.get(attributes.get("datatype")), math.prod(_whole(path, part) for part in parts), varies


def _check_stream(name, path, table):
    """Walk over the rows of a binary stream, which must end with the last of them."""
    if table.kind not in BINARY or any(size is None for size, _, _ in table.fields):
        return
    try:
        content = base64.b64decode("".join("".join(table.text).split()), validate=True)
    except ValueError as error:
        raise corrupt(path, f"the stream of {name} is not base64 ({error})") from error
    flags = (len(table.fields) + 7) // 8 if table.kind == "BINARY2" else 0
    place = row = 0
    while place < len(content):
        place = _after_row(content, place + flags, table.fields)
        if place > len(content):
            raise corrupt(path, f"the stream of {name} ends within row {row}")
        row += 1
    if table.rows and row != table.rows:
        raise corrupt(path, f"{name} states {table.rows} rows, and its stream has {row}")


def _after_row(content, place, fields):
    for size, count, varies in fields:
        if varies:
            count *= int.from_bytes(content[place : place + 4], "big")
            place += 4
        place += size * count
    return place
