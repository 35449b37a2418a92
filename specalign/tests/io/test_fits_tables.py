"""Tables in FITS: every kind of column comes back as it was, or is refused by its name."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from specalign.exceptions import SpectrumError
from specalign.io.fits_tables import read_table_hdu, table_hdu, unit_text

HIDDEN = [False, True, False]
COLUMNS = {
    "quantity": [1.0, 2, np.nan] * u.K,
    "gravity": [4.0, 3, 2] * u.Unit("dex(cm / s2)"),
    "magnitude": [14.0, 3, 2] * u.ABmag,
    "scaled": np.array([1, 2, 3], np.float32) * u.Unit("1e-17 erg / (s cm2 AA)"),
    "electrons": [1, 2, 3] * u.electron,
    "text": ["β Pic", "", "a\nb"],
    "big": np.array([0, 1, 2**63], np.uint64),
    "yes": [True, False, True],
    "pairs": np.arange(6.0).reshape(3, 2) * u.m,
    "hidden number": MaskedColumn([1, 2, 3], mask=HIDDEN),
    "hidden_float": MaskedColumn([1.0, 2, np.nan], mask=HIDDEN),
    "hidden_bool": MaskedColumn([True, False, True], mask=HIDDEN),
    "hidden_text": MaskedColumn(["a", "ü", ""], mask=HIDDEN),
    "hidden_quantity": Masked([1.0, 2, 3] * u.K, mask=HIDDEN),
    "time": Time([2460000.1, 2460000.2, 2460000.3], format="jd", scale="tdb"),
    "sky": SkyCoord([1, 2, 3] * u.deg, [4, 5, 6] * u.deg, frame="galactic"),
}


def through_a_file(table, path):
    fits.HDUList([fits.PrimaryHDU(), table_hdu("ROWS", table)]).writeto(path, checksum=True)
    with fits.open(path) as hdus:
        return read_table_hdu(hdus["ROWS"])


def test_every_kind_of_column_comes_back(tmp_path):
    table = QTable(COLUMNS)
    found = through_a_file(table, tmp_path / "a.fits")
    assert found.colnames == table.colnames
    for name in COLUMNS:
        one, two = table[name], found[name]
        assert type(one) is type(two), name
        assert repr(one) == repr(two), name
        if hasattr(one, "dtype"):
            assert (one.dtype, getattr(one, "unit", None)) == (two.dtype, getattr(two, "unit", None)), name
            np.testing.assert_array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(two), err_msg=name)
    assert (found["time"].jd1 == table["time"].jd1).all()
    assert (found["time"].jd2 == table["time"].jd2).all()


def test_the_table_itself_is_not_touched():
    table = QTable(COLUMNS, meta={"label_system": "mock"})
    table_hdu("ROWS", table)
    assert table["hidden number"].info.serialize_method["fits"] == "null_value"
    assert table["text"].dtype.kind == "U"
    assert table.meta == {"label_system": "mock"}


def test_small_integers_do_not_become_truth_values():
    """astropy writes int8 as FITS's logical columns."""
    found = read_table_hdu(table_hdu("ROWS", QTable({"visits": np.array([0, 1, 2, -7], np.int8)})))
    assert found["visits"].tolist() == [0, 1, 2, -7]


def test_other_programs_see_columns_with_units(tmp_path):
    rows = table_hdu("ROWS", QTable({"teff": [1.0] * u.K, "hidden": MaskedColumn([1], mask=[True])}))
    assert rows.columns["teff"].unit == "K"
    rows.writeto(tmp_path / "a.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Table.read(tmp_path / "a.fits")["teff"].unit == u.K


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("when", np.array(["2020-01-01"], "M8[D]"), r"ROWS: when: FITS has no column of datetime64\[D\].*astropy Time"),
        ("what", np.array([None]), "ROWS: what: FITS has no column of object"),
        ("χ²", [1.0], "ROWS: FITS does not keep the column name 'χ²'"),
        ("n" * 100, [1.0], "ROWS: FITS does not keep the column name 'nnn"),
        ("mine", [1.0] * u.def_unit("of_mine", 3 * u.K), "ROWS: mine: a file does not keep the unit of_mine"),
        ("text", ["a "], "ROWS: text: 'a ' ends with a blank"),
        ("text", ["\ud800"], "ROWS: text: .* is no valid text"),
        ("radius", [1.0] * u.R_earth, "ROWS: a FITS file does not keep this table .*radius"),
    ],
)
def test_what_would_not_come_back_is_refused(name, column, message):
    with pytest.raises(SpectrumError, match=message):
        table_hdu("ROWS", QTable({name: column}))


def test_damaged_comments_are_an_error():
    hdu = table_hdu("ROWS", QTable({"teff": [1.0] * u.K}))
    hdu.header["COMMENT"][3] = "- {name: [teff"
    with pytest.raises(ValueError, match="the comments of ROWS are damaged"):
        read_table_hdu(hdu)


@pytest.mark.parametrize("unit", [u.one, u.ABmag, u.Unit("3.3 Jy"), u.W**0.5 / u.m])
def test_units_come_back_from_their_text(unit):
    assert u.Unit(unit_text("flux_unit", unit)) == unit
