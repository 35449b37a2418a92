"""VOTables: every cell, every table, and nothing that a file could do to its reader."""

import base64
import gzip
import warnings

import numpy as np
import pytest

from specalign.exceptions import CorruptFileError, UnknownProductError
from specalign.io.votable import read_votable
from specalign.tests.io import votables

FIELDS = [("source_id", "long", None, None), ("n", "short", None, None), ("flux", "float", "*", "Jy")]
ROWS = [[1, 55, [1.0, 2.0]], [2, None, None], [3, 7, [3.0]]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.xml"


def write(path, *tables):
    path.write_text(votables.document(*tables))


@pytest.mark.parametrize("plain", [False, True])
def test_cells_nulls_and_units(plain, path):
    write(path, votables.table(FIELDS, ROWS, plain=plain))
    (table,) = read_votable(path)
    assert (table.n_rows, table.units, table.params) == (3, {"flux": "Jy"}, {})
    assert [int(one) for one in table.columns["source_id"]] == [1, 2, 3]
    assert [None if one is None else int(one) for one in table.columns["n"]] == [55, None, 7]
    lengths = [0 if one is None else np.size(one) for one in table.columns["flux"]]
    assert lengths == [2, 0, 1]


def test_tables_are_read_in_order_with_their_params(path):
    write(path, votables.sampled_table(6), votables.other_table(), votables.sampled_table(7))
    tables = read_votable(path)
    assert [table.params.get("source_id") for table in tables] == [6, None, 7]
    assert [table.n_rows for table in tables] == [343, 2, 343]


def test_a_packed_votable(path):
    write(path, votables.table(FIELDS, ROWS))
    packed = path.with_name("a.xml.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_votable(packed)[0].n_rows == 3
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(CorruptFileError, match=r"a\.xml\.gz"):
        read_votable(packed)


@pytest.mark.parametrize("lost", [1, 4, 8, 14])
def test_a_stream_that_ends_within_a_row(lost, path):
    """astropy drops the row that is cut, and says nothing."""
    whole = votables.table(FIELDS, ROWS)
    text = whole.split('base64">\n')[1].split("\n<")[0]
    short = base64.encodebytes(base64.b64decode(text)[:-lost]).decode().strip()
    write(path, whole.replace(text, short))
    with pytest.raises(CorruptFileError, match=r"a\.xml: the stream of table 0 ends within row 2"):
        read_votable(path)


def test_cuts_at_every_byte(path):
    write(path, votables.table(FIELDS, ROWS))
    raw = path.read_bytes()
    for size in range(1, raw.index(b"</VOTABLE>") + len(b"</VOTABLE>")):
        path.write_bytes(raw[:size])
        with pytest.raises(CorruptFileError, match=r"a\.xml"):
            read_votable(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('encoding="base64"', 'encoding="base64" href="file:///etc/hostname"', "a stream with the attributes .*href"),
        ('encoding="base64"', 'a="a>b" href="http://localhost/" encoding="base64"', "a stream with the attributes"),
        ('encoding="base64"', 'encoding="gzip"', "a stream with the attributes .*gzip"),
        ("<VOTABLE", '<!DOCTYPE a [<!ENTITY b "c">]>\n<VOTABLE', "declares a document type"),
        ("<TABLE>", '<TABLE nrows="99999999999">', "claims 299999999997 values, which this file cannot hold"),
        ("<TABLE>", '<TABLE nrows="4">', "states 4 rows, and its stream has 3"),
        ("<TABLE>", '<TABLE nrows="many">', "states 'many', and a whole number was expected"),
        ('arraysize="*"', 'arraysize="9999999x9999999"', "which this file cannot hold"),
        ('name="n"', "", "cannot be interpreted .*W12"),
        ("</TABLE>", "", "not well-formed"),
        ("UTF-8", "UPF-8", "unknown encoding"),
    ],
)
def test_files_made_to_harm_or_damaged(old, new, message, path):
    text = votables.document(votables.table(FIELDS, ROWS))
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CorruptFileError, match=rf"a\.xml: .*{message}"):
        read_votable(path)


def test_what_is_no_votable(path):
    path.write_text("<html></html>\n")
    with pytest.raises(UnknownProductError, match=r"begins with 'html', and VOTABLE was expected"):
        read_votable(path)
    path.write_text("source_id\n")
    with pytest.raises(UnknownProductError, match=r"not XML: it begins with b'source_id'"):
        read_votable(path)


def test_remarks_of_the_parser_are_kept_and_do_not_leak(path):
    write(path, votables.table(FIELDS, ROWS, attributes=' colour="red"'))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (table,) = read_votable(path)
    assert len(table.remarks) == 1
    assert "colour" in table.remarks[0]


def test_warnings_of_others_go_their_way(path, monkeypatch):
    import astropy.io.votable

    original = astropy.io.votable.parse

    def parse(*args, **kwargs):
        warnings.warn("something else", DeprecationWarning)
        return original(*args, **kwargs)

    monkeypatch.setattr(astropy.io.votable, "parse", parse)
    write(path, votables.table(FIELDS, ROWS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_votable(path)
    assert [str(one.message) for one in caught] == ["something else"]
