"""Catalogues as they come: sentinels, flags, identifiers, units and text in the wrong place.

Every refusal says what was expected, what came, where, and what to do.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

import specalign as sa
from specalign.data.identifiers import read_identifiers
from specalign.data.label_systems import SYSTEMS
from specalign.data.labels import read_labels
from specalign.exceptions import LabelError, MatchError

ASPCAP = "aspcap-dr17"


@pytest.mark.parametrize(
    "column",
    [
        np.array([4800, -9999], "i4"),
        np.array([4800, -9999], "f4"),
        np.array([4800, -9999.99], "f4"),
        np.array([4800, -9999.99], "f8"),
        np.array([4800, -9999.0], ">f4"),
        np.array([4800, -999], "i2"),
        np.array([4800, np.nan]),
        np.array([4800, -np.inf]),
        np.array([4800, np.inf]),
        np.array([4800, 0.0]),
        np.array([4800, -5.0]),
        MaskedColumn([4800.0, 5000.0], mask=[False, True]),
        MaskedColumn([4800, 5000], mask=[False, True]),
        MaskedColumn(["4800", "hot"], mask=[False, True]),
        np.array(["4800", "nan"]),
        np.array([4800, None], dtype=object),
        [4800.0, -9999.0] * u.K,
        Masked([4800.0, 5000.0], mask=[False, True]) * u.K,
    ],
    ids=lambda column: f"{type(column).__name__}-{column.dtype}",
)
@pytest.mark.parametrize("kind", [Table, QTable])
def test_what_stands_for_no_value_is_masked_and_counted(column, kind):
    labels = read_labels(kind({"APOGEE_ID": ["a", "b"], "TEFF": column, "LOGG": [2.0, 2.5]}), system=ASPCAP)
    assert np.array_equal(labels["teff"].value, [4800, np.nan], equal_nan=True)
    assert np.isfinite(labels["logg"].value).all()
    assert labels.meta["masked"] == {"teff": {"no value": 1}}


@pytest.mark.parametrize("ending", ["fits", "csv", "ecsv"])
def test_sentinels_in_files(tmp_path, ending):
    table = Table(
        {"APOGEE_ID": ["a", "b", "c"], "TEFF": np.array([4800, -9999.99, 5000], "f4"), "MG_FE": [0.1, 0.2, -9999]}
    )
    if ending == "fits":
        columns = [fits.Column("APOGEE_ID", "4A", array=table["APOGEE_ID"]),
                   fits.Column("TEFF", "E", array=table["TEFF"]),
                   fits.Column("MG_FE", "I", array=np.array([1, 2, -32768]), null=-32768)]  # fmt: skip
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "labels.fits")
    else:
        table.write(tmp_path / f"labels.{ending}", format=f"ascii.{ending}")
    labels = read_labels(tmp_path / f"labels.{ending}", system=ASPCAP)
    assert np.isfinite(labels["teff"].value).tolist() == [True, False, True]
    assert np.isfinite(labels["mg_fe"].value).tolist() == [True, True, False]
    assert labels.meta["masked"] == {"teff": {"no value": 1}, "mg_fe": {"no value": 1}}


def test_cells_that_say_null_are_empty(tmp_path):
    text = "source_id,teff_gspphot,logg_gspphot\n4295806720,5000.5,null\n4295806721,null,4.5\n"
    (tmp_path / "gaia.csv").write_text(text)
    labels = read_labels(tmp_path / "gaia.csv", system="gaia-dr3-gspphot")
    assert np.array_equal(labels["teff"].value, [5000.5, np.nan], equal_nan=True)
    assert labels.meta["masked"] == {"teff": {"no value": 1}, "logg": {"no value": 1}}


def flagged(bit, column="ASPCAPFLAG", dtype="i8"):
    table = Table({"APOGEE_ID": ["a", "b"], "RA": [1.0, 2.0], "DEC": [1.0, 2.0], "VHELIO_AVG": [1.0, 2.0]})
    for name in ("TEFF", "LOGG", "VMICRO", "M_H", "ALPHA_M", "C_M", "N_M", "VSINI", "FE_H", "MG_FE"):
        table[name], table[f"{name}_ERR"] = [4000.0, 4001.0], [1.0, 1.0]
    table[column] = np.array([0, 1 << bit], "u8").astype(dtype)
    labels = read_labels(table, system=ASPCAP)
    assert np.isfinite([labels[name].value[0] for name in labels.colnames[1:]]).all()
    assert np.isfinite([labels[name].value[1] for name in ("ra", "dec", "radial_velocity")]).all()
    lost = {name for name in labels.colnames[1:] if not name.endswith("_err") and np.isnan(labels[name].value[1])}
    assert {name for name in labels.colnames if name.endswith("_err") and np.isnan(labels[name].value[1])} == {
        f"{name}_err" for name in lost
    }
    assert labels.meta["masked"] == {name: {column.lower(): 1} for name in lost}
    return lost


EVERY = {"teff", "logg", "vmicro", "m_h", "alpha_m", "c_m", "n_m", "vsini", "fe_h", "mg_fe"}
MASKS = {16: {"teff"}, 17: {"logg"}, 18: {"vmicro"}, 19: {"m_h"}, 20: {"alpha_m"}, 21: {"c_m"}, 22: {"n_m"}, 23: EVERY,
         30: {"vsini"}, 31: EVERY}  # fmt: skip


@pytest.mark.parametrize("bit", range(63))
def test_each_bit_of_aspcapflag(bit):
    assert flagged(bit) == MASKS.get(bit, set())


@pytest.mark.parametrize("bit", range(31))
def test_each_bit_of_an_elements_flag(bit):
    """CALRANGE_BAD (1) and PARAM_MISMATCH_BAD (4) stand on abundances that DR17 publishes all the same."""
    assert flagged(bit, "MG_FE_FLAG", "i4") == ({"mg_fe"} if bit in (0, 2, 3, 6) else set())


@pytest.mark.parametrize(("system", "bad"), [("aspcap-dr16", (0, 1, 2, 3, 4, 6)), ("aspcap-dr14", (0, 1, 2, 3, 4))])
def test_bits_of_an_elements_flag_before_dr17(system, bad):
    names = [f"star {bit}" for bit in range(31)]
    table = Table({"APOGEE_ID": names, "MG_FE": np.zeros(31), "MG_FE_FLAG": [1 << bit for bit in range(31)]})
    labels = read_labels(table, system=system)
    assert np.flatnonzero(np.isnan(labels["mg_fe"].value)).tolist() == list(bad)


@pytest.mark.parametrize("dtype", ["i4", "u4", "u8", "f8"])
def test_flags_of_every_type(dtype):
    assert flagged(31, dtype=dtype) == EVERY
    assert flagged(3, dtype=dtype) == set()


def test_flags_that_are_masked_or_text():
    table = Table({"APOGEE_ID": ["a", "b"], "TEFF": [4800.0, 4900.0]})
    table["ASPCAPFLAG"] = MaskedColumn([1 << 23, 1 << 23], mask=[True, False])
    assert np.isfinite(read_labels(table, system=ASPCAP)["teff"].value).tolist() == [True, False]
    table["ASPCAPFLAG"] = ["", "STAR_BAD"]
    with pytest.raises(LabelError, match=r"column 'ASPCAPFLAG': expected flags as integers, .*not their names"):
        read_labels(table, system=ASPCAP)


SAME = {"equal": ("a", "a"), "spaces": ("a", " a "), "bytes": (b"a", b"a  ")}


@pytest.mark.parametrize("ids", SAME.values(), ids=SAME)
def test_duplicated_identifiers(ids):
    table = Table({"APOGEE_ID": [*ids, "b" if isinstance(ids[0], str) else b"b"], "TEFF": [4800.0, 4800.0, 4900.0]})
    labels = read_labels(table, system=ASPCAP)
    assert labels["object_id"].tolist() == ["a", "b"]
    assert labels.meta["joined_rows"] == 1
    table["TEFF"][1] = 4801.0
    with pytest.raises(
        LabelError, match=r"1 object ids have rows with different labels \(a \.\.\.; a in rows \[0, 1\]\)"
    ):
        read_labels(table, system=ASPCAP)
    first = read_labels(table, system=ASPCAP, duplicates="first")
    assert first["teff"].value.tolist() == [4800.0, 4900.0]
    assert first.meta["conflicting_object_ids"] == ["a"]


@pytest.mark.parametrize("nothing", [None, np.nan, np.ma.masked], ids=str)
def test_objects_that_stand_for_nothing_are_no_identifiers(nothing):
    ids = np.array(["None", None, b"a "], dtype=object)
    assert read_identifiers(["None"], "column", LabelError).tolist() == ["None"]
    ids[1] = nothing
    assert read_identifiers(ids, "column", LabelError, needed=False).tolist() == ["None", "", "a"]
    with pytest.raises(LabelError, match="1 rows have no identifier, the first is row 1"):
        read_labels(Table({"APOGEE_ID": ids, "TEFF": [1.0, 2.0, 3.0]}), system=ASPCAP)


def test_whole_numbers_among_objects_stay_exact():
    ids = np.array([2**62 + 1, "x"], dtype=object)
    assert read_identifiers(ids, "column", LabelError).tolist() == [str(2**62 + 1), "x"]
    with pytest.raises(LabelError, match=r"floating-point.*row 0: 1\.5"):
        read_identifiers(np.array([1.5, "x"], dtype=object), "column", LabelError)


def test_stars_without_a_counterpart_are_not_one_star():
    table = Table({"APOGEE_ID": ["a", "b", "c"], "GAIAEDR3_SOURCE_ID": [2**62, -9999, -9999], "TEFF": [4e3, 5e3, 5e3]})
    with pytest.raises(LabelError, match="2 rows have -9999 for an identifier, the first is row 1"):
        read_labels(table, system=ASPCAP, id_column="GAIAEDR3_SOURCE_ID", duplicates="first")


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([4000.0, 5000.0])), min_size=1, max_size=12),
    st.randoms(),
)
def test_every_row_is_in_the_result_or_accounted_for(rows, random):
    labels = read_labels(_stars(rows), system="mine", duplicates="keep")
    assert len(labels) + labels.meta["joined_rows"] == len(rows)
    assert set(zip(labels["object_id"], labels["teff"].value, strict=True)) == set(rows)
    first = read_labels(_stars(rows), system="mine", duplicates="first")
    assert len(first) == len({name for name, _ in rows})
    random.shuffle(rows)
    assert (
        read_labels(_stars(rows), system="mine", duplicates="first").meta["conflicting_object_ids"]
        == (first.meta["conflicting_object_ids"])
    )


def _stars(rows):
    return QTable({"object_id": [name for name, _ in rows], "teff": [teff for _, teff in rows] * u.K})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"APOGEE_ID": [1.5e18, 2.0], "TEFF": [1.0, 2.0]},
            "column 'apogee_id': identifiers are floating-point .*row 0",
        ),
        (
            {"APOGEE_ID": ["12", "1.0e18"], "TEFF": [1.0, 2.0]},
            "floating-point numbers.*row 1: 1.0e18.; give text or integers",
        ),
        (
            {"APOGEE_ID": ["a", "  "], "TEFF": [1.0, 2.0]},
            "1 rows have no identifier, the first is row 1; give each row one",
        ),
        (
            {"ID": ["a", "b"], "TEFF": [1.0, 2.0]},
            r"expected a column object_id or apogee_id .*pass id_column=, one of \['id'",
        ),
        (
            {"APOGEE_ID": ["a", "b"], "TEFF": [4800, "hot"]},
            "column 'TEFF' holds text .*: 'hot' in row 1; leave the cell empty",
        ),
        (
            {"APOGEE_ID": ["a", "b"], "TEFF": [[1.0, 2.0], [3.0, 4.0]]},
            r"column 'TEFF': expected one number a row, got \(2,\)",
        ),
        (
            {"APOGEE_ID": ["a", "b"], "TEFF": [1.0, 2.0] * u.km},
            "column 'TEFF' has the unit km.* not convertible to K; correct",
        ),
        ({"APOGEE_ID": ["a", "b"], "LOGG": [1.0, 2.0] * u.mag}, "column 'LOGG' has the unit mag.* not convertible"),
        ({"APOGEE_ID": ["a", "b"], "FE_H": [1.0, 2.0] * u.K}, "column 'FE_H' has the unit K.* not convertible to dex"),
        (
            {"APOGEE_ID": ["a", "b"], "RA": [1.0, 2.0]},
            r"no column is a label of 'aspcap-dr17'; expected teff.*got \['APOGEE_ID'",
        ),
        ({"APOGEE_ID": ["a"], "PMRA": [1.0], "PARALLAX": [1.0], "VHELIO_AVG": [1.0]}, "no column is a label"),
        ({"APOGEE_ID": ["a"], "TEFF": [4800.0], "teff": [4900.0]}, "columns TEFF and teff differ only in case"),
        ({"APOGEE_ID": [], "TEFF": []}, "expected at least one row, got none"),
    ],
)
def test_what_is_refused(columns, message):
    with pytest.raises(LabelError, match=message) as caught:
        read_labels(Table(columns) if "RA" in columns else QTable(columns), system=ASPCAP)
    assert str(caught.value).startswith("table: ")


@pytest.mark.parametrize(
    "text", ["apogee_id,teff\n", "apogee_id,teff\na,4800\nb,hot\n", "apogee_id,fe_h\n1.5e18,0.1\n", "x,y\n1,2\n"]
)
def test_messages_name_the_file(tmp_path, text):
    path = tmp_path / "catalogue.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=r"catalogue\.csv: "):
        read_labels(path, system=ASPCAP)


@pytest.mark.parametrize("content", ["", "\n", "{broken"])
@pytest.mark.parametrize("ending", ["csv", "ecsv", "vot", "parquet", "txt", "dat"])
def test_files_that_are_no_tables(tmp_path, ending, content):
    path = tmp_path / f"no.{ending}"
    path.write_text(content)
    with pytest.raises((LabelError, OSError), match=rf"no\.{ending}"):
        read_labels(path, system=ASPCAP)


def test_unknown_and_mixed_systems():
    table = QTable({"object_id": ["a"], "teff": [4800.0]})
    with pytest.raises(LabelError, match=r"has no unit; expected K.*instead of 'aspcap-dr18', or declare your own"):
        read_labels(table, system="aspcap-dr18")
    labels = read_labels(table, system=SYSTEMS[ASPCAP], id_column="object_id")
    with pytest.raises(LabelError, match=r"of the system 'aspcap-dr17', not 'lamost-lasp'.*join_labels"):
        read_labels(labels, system="lamost-lasp")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.meta.clear(), "the first table does not say of which epoch.*2016.0 for Gaia DR3"),
        (lambda t: t.remove_column("pmra"), "the first table: expected a column 'pmra', got"),
        (lambda t: t.meta.update(epoch=57388.0), "expected a Julian year, such as 2016.0, got 57388; give an"),
        (lambda t: t.meta.update(epoch="soon"), "expected a Julian year.*got 'soon'"),
        (lambda t: t.meta.update(epoch=3 * u.m), "expected a Julian year.*got <Quantity 3. m>"),
        (lambda t: t.add_column([57388.0], name="epoch"), "column 'epoch': expected a Julian year"),
        (lambda t: t.replace_column("dec", [-9999.0] * u.deg), "row 0: expected a declination of -90 to 90 deg"),
        (lambda t: t.replace_column("ra", [1.0] * u.m), "column 'ra': expected a quantity in units such as deg"),
    ],
)  # fmt: skip
def test_positions_that_cannot_be_matched(change, message):
    good = QTable({"object_id": ["a"], "ra": [1.0] * u.deg, "dec": [1.0] * u.deg}, meta={"epoch": 2016.0})
    good["pmra"], good["pmdec"] = [1.0] * u.mas / u.yr, [1.0] * u.mas / u.yr
    bad = good.copy()
    change(bad)
    with pytest.raises(MatchError, match=message):
        sa.match(bad, good, by="sky", radius=1 * u.arcsec, epoch=2000.0)


@pytest.mark.parametrize("radius", [0 * u.arcsec, -1 * u.arcsec, np.nan * u.arcsec, [1, 2] * u.arcsec, "wide"])
def test_impossible_radii(radius):
    table = QTable({"ra": [1.0] * u.deg, "dec": [1.0] * u.deg})
    with pytest.raises(MatchError, match="radius: expected"):
        sa.match(table, table, by="sky", radius=radius)


@pytest.mark.parametrize("options", [{}, {"by": "sky", "radius": 1 * u.arcsec}])
def test_empty_tables_are_not_matched(options):
    table = QTable({"object_id": ["a"], "ra": [1.0] * u.deg, "dec": [1.0] * u.deg})
    for one, other in ((table[:0], table), (table, table[:0])):
        with pytest.raises(MatchError, match=r"no row of the tables is in common|not one row with a finite position"):
            sa.match(one, other, **options)
