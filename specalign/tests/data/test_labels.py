import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from specalign.data.label_systems import SYSTEMS
from specalign.data.labels import label_unit, read_labels
from specalign.exceptions import CorruptFileError, LabelError

LOGG = u.dex(u.cm / u.s**2)


@pytest.fixture
def all_star(tmp_path):
    """A small allStar-like FITS file with sentinels, flags and columns that are no labels."""
    rows = Table(
        {
            "APOGEE_ID": ["2M00", "2M01", "2M02", "2M03"],
            "TEFF": np.array([4800.0, -9999.99, 5100.0, 5200.0], "f4"),
            "TEFF_ERR": np.array([80.0, -9999.99, 85.0, 90.0], "f4"),
            "LOGG": np.array([2.5, -9999.99, 3.1, 3.2], "f4"),
            "FE_H": np.array([-0.3, -9999.99, 0.1, 0.2], "f4"),
            "MG_FE": np.array([0.2, -9999.99, 0.0, 0.1], "f4"),
            "MG_FE_FLAG": np.array([0, 0, 1, 1 << 8], "i4"),  # GRIDEDGE_BAD, GRIDEDGE_WARN
            "ASPCAPFLAG": np.array([0, 0, 1 << 17, 1 << 23], "i8"),  # LOGG_BAD, STAR_BAD
            "SNR": [100.0, 90.0, 80.0, 70.0],
            "X_H": np.zeros((4, 26), "f4"),
            "RA": [1.0, 2.0, 3.0, 4.0],
        }
    )
    path = tmp_path / "allStarLite.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows)]).writeto(path)
    return path


def test_all_star_like_fits(all_star):
    labels = read_labels(all_star, system="aspcap-dr17")
    assert labels["object_id"].tolist() == ["2M00", "2M01", "2M02", "2M03"]
    assert isinstance(labels, QTable)
    assert (labels["teff"].unit, labels["logg"].unit, labels["fe_h"].unit) == (u.K, LOGG, u.dex)
    assert labels["teff_err"].unit == u.K
    assert labels["ra"].unit == u.deg
    assert np.array_equal(labels["teff"].value, [4800, np.nan, 5100, np.nan], equal_nan=True)
    assert np.array_equal(labels["teff_err"].value, [80, np.nan, 85, np.nan], equal_nan=True)
    assert labels["snr"].tolist() == [100.0, 90.0, 80.0, 70.0]
    assert labels.meta["label_system"] == "aspcap-dr17"
    assert labels.meta["source"] == str(all_star)
    assert set(labels.meta["ignored_columns"]) == {"MG_FE_FLAG", "ASPCAPFLAG", "X_H"}


def test_flags_mask_what_they_are_about_and_are_counted(all_star):
    labels = read_labels(all_star, system="aspcap-dr17")
    assert np.isfinite(labels["logg"].value).tolist() == [True, False, False, False]
    assert np.isfinite(labels["fe_h"].value).tolist() == [True, False, True, False]
    assert np.isfinite(labels["mg_fe"].value).tolist() == [True, False, False, False]
    assert labels.meta["masked"]["logg"] == {"no value": 1, "aspcapflag": 2}
    assert labels.meta["masked"]["mg_fe"] == {"no value": 1, "aspcapflag": 1, "mg_fe_flag": 1}


def test_warnings_of_the_pipeline_do_not_mask():
    table = Table({"APOGEE_ID": ["a"], "TEFF": [5000.0], "MG_FE": [0.1], "MG_FE_FLAG": [1 << 8], "ASPCAPFLAG": [1]})
    labels = read_labels(table, system="aspcap-dr17")
    assert labels["mg_fe"].value.tolist() == [0.1]
    assert labels.meta["masked"] == {}


def test_real_m71_labels(shared):
    path = shared / "data/spectra/nirspec/m71_labels.csv"
    labels = read_labels(path, system="aspcap-dr17")
    assert len(labels) == 3
    row = labels[labels["object_id"] == "2M19534497+1843452"]
    assert np.allclose(u.Quantity([row["teff"][0], 0 * u.K]).value, [4907.38, 0])
    assert row["logg"].unit == LOGG
    assert np.isclose(row["mg_fe"].value[0], 0.265833)
    assert "c_fe" in labels.colnames
    by_source = read_labels(path, system="aspcap-dr17", id_column="source_name")
    assert by_source["object_id"].tolist() == ["2609_7", "2609_12", "2609_19"]


def test_real_lamost_labels(shared):
    labels = read_labels(shared / "data/spectra/lamost_lrs/LASP_CurveFit_inferred.csv", system="lamost-lasp")
    assert labels["object_id"][0] == "lamost-3706009"
    assert np.isclose(labels["teff"][0].value, 5893.616249)
    assert np.isclose(labels["fe_h_err"][0].value, 0.0525970843)
    assert labels["radial_velocity"].unit == u.km / u.s
    assert np.all(np.isfinite(labels["logg"].value))


def test_lamost_catalogues_are_separated_by_bars(tmp_path):
    path = tmp_path / "dr10_v2.0_LRS_stellar.csv"
    path.write_text(
        "obsid|designation|ra|dec|teff|teff_err|logg|feh|rv|alpha_m\n"
        "101|J220848.54-020324.3|332.2|-2.05|5000.1|30|4.5|-0.1|12.0|-9999.0\n"
        "102|J220953.17-020506.0|332.4|-2.08|6000.2|40|4.1|0.1|-9999.0|0.1\n"
    )
    labels = read_labels(path, system="lamost-lasp")
    assert labels["object_id"].tolist() == ["LAMOST J220848.54-020324.3", "LAMOST J220953.17-020506.0"]
    assert labels["fe_h"].value.tolist() == [-0.1, 0.1]
    assert np.isnan(labels["alpha_m"].value).tolist() == [True, False]
    assert np.isnan(labels["radial_velocity"].value).tolist() == [False, True]


def test_colour_excesses_are_labels_and_no_errors():
    """E(BP - RP) is written as an error of VizieR's would be."""
    table = QTable({"object_id": ["a"], "teff": [5000.0] * u.K, "e_teff": [50.0] * u.K, "E_BP_RP": [0.2] * u.mag})
    table["e_e_bp_rp"], table["e_b_v"], table["Av"] = [0.02] * u.mag, [0.1] * u.mag, [310.0] * u.mmag
    labels = read_labels(table, system="mine")
    assert labels["teff_err"].value.tolist() == [50]
    found = {name: labels[name].to_value(u.mag)[0] for name in ("e_bp_rp", "e_bp_rp_err", "e_b_v", "a_v")}
    assert found == pytest.approx({"e_bp_rp": 0.2, "e_bp_rp_err": 0.02, "e_b_v": 0.1, "a_v": 0.31})


def test_units_are_converted_and_round_trip(tmp_path):
    table = QTable({"object_id": ["a", "b"], "teff": [4.8, 5.0] * u.kK, "logg": [2.5, 3.0] * LOGG})
    table["rv"] = [1000.0, -9999.0] * u.m / u.s
    table.meta["label_system"] = "mine"
    labels = read_labels(table)
    assert np.allclose(labels["teff"].to_value(u.K), [4800, 5000])
    assert np.array_equal(labels["radial_velocity"].to_value(u.km / u.s), [1, np.nan], equal_nan=True)
    labels.write(tmp_path / "labels.ecsv")
    again = read_labels(tmp_path / "labels.ecsv")
    assert again.meta["label_system"] == "mine"
    for name in labels.colnames[1:]:
        assert again[name].unit == labels[name].unit
        assert np.array_equal(again[name].value, labels[name].value, equal_nan=True)


@pytest.mark.parametrize(
    ("column", "unit", "message"),
    [
        ("teff", None, "column 'teff' has no unit.*expected K"),
        ("mg_fe", None, "column 'mg_fe' has no unit.*expected dex"),
        ("logg", u.dex, "column 'logg' has the unit dex, which is not convertible to dex\\(cm / s2\\)"),
        ("teff", u.km, "column 'teff' has the unit km, which is not convertible to K"),
    ],
)
def test_missing_and_wrong_units_of_an_unknown_system(column, unit, message):
    table = Table({"object_id": ["a"], column: [1.0]})
    table[column].unit = unit
    with pytest.raises(LabelError, match=message):
        read_labels(table, system="mine")


def test_a_wrong_unit_of_a_known_system_is_not_overruled():
    table = QTable({"APOGEE_ID": ["a"], "TEFF": [1.0] * u.m})
    with pytest.raises(LabelError, match="column 'TEFF' has the unit m, which is not convertible to K"):
        read_labels(table, system="aspcap-dr17")


def test_units_as_catalogues_spell_them(tmp_path):
    columns = [fits.Column("APOGEE_ID", "4A", array=["a"]), fits.Column("LOGG", "E", unit="log (cgs)", array=[2.5])]
    columns += [
        fits.Column("RA", "D", unit="degrees", array=[10.0]),
        fits.Column("TEFF", "E", unit="zorks", array=[1.0]),
    ]
    fits.BinTableHDU.from_columns(columns[:3]).writeto(tmp_path / "stars.fits")
    labels = read_labels(tmp_path / "stars.fits", system="aspcap-dr17")
    assert (labels["logg"].unit, labels["ra"].unit) == (LOGG, u.deg)
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "odd.fits")
    with pytest.raises(LabelError, match="column 'TEFF' has the unit zorks; expected K"):
        read_labels(tmp_path / "odd.fits", system="aspcap-dr17")


def test_the_system_must_be_known_and_one():
    table = Table({"object_id": ["a"], "teff": [1.0] * u.K})
    with pytest.raises(LabelError, match="expected the name of its label system; pass system="):
        read_labels(table)
    table.meta["label_system"] = "lamost-lasp"
    with pytest.raises(LabelError, match="of the system 'lamost-lasp', not 'aspcap-dr17'"):
        read_labels(table, system="aspcap-dr17")


def test_duplicates():
    table = QTable({"object_id": ["b", "a", "a", "b", "c"], "teff": [1.0, 2.0, 2.0, 3.0, np.nan] * u.K})
    with pytest.raises(
        LabelError, match="1 object ids have rows with different labels \\(b \\.\\.\\.; b in rows \\[0, 3\\]"
    ):
        read_labels(table, system="mine")
    first = read_labels(table, system="mine", duplicates="first")
    assert first["object_id"].tolist() == ["b", "a", "c"]
    assert first["teff"].value.tolist()[:2] == [1.0, 2.0]
    assert (first.meta["joined_rows"], first.meta["conflicting_object_ids"]) == (1, ["b"])
    keep = read_labels(table, system="mine", duplicates="keep")
    assert keep["object_id"].tolist() == ["b", "a", "b", "c"]
    table["fe_h"] = [0.0, 0.0, 0.1, 0.0, 0.0] * u.dex  # one label differs, the other does not
    assert read_labels(table, system="mine", duplicates="first").meta["conflicting_object_ids"] == ["a", "b"]
    table.remove_column("fe_h")
    equal = read_labels(table[1:3], system="mine")
    assert (len(equal), equal.meta["joined_rows"]) == (1, 1)
    with pytest.raises(LabelError, match="expected 'error', 'first' or 'keep', got 'last'"):
        read_labels(table, system="mine", duplicates="last")


def test_identifiers():
    numbers = QTable({"object_id": np.array([5853498713190525696]), "teff": [1.0] * u.K})
    assert read_labels(numbers, system="mine")["object_id"].tolist() == ["5853498713190525696"]
    inexact = QTable({"object_id": [5.85e18], "teff": [1.0] * u.K})
    with pytest.raises(LabelError, match="floating-point numbers, which are not exact"):
        read_labels(inexact, system="mine")
    empty = Table({"object_id": ["a", " "], "teff": [1.0, 2.0] * u.K})
    with pytest.raises(LabelError, match="1 rows have no identifier, the first is row 1"):
        read_labels(empty, system="mine")
    hidden = Table({"object_id": MaskedColumn(["a", "b"], mask=[True, False]), "teff": [1.0, 2.0] * u.K})
    with pytest.raises(LabelError, match="1 rows have no identifier, the first is row 0"):
        read_labels(hidden, system="mine")
    with pytest.raises(LabelError, match="expected a column object_id or apogee_id that names the star"):
        read_labels(Table({"TEFF": [1.0]}), system="aspcap-dr17")


def test_masked_values_become_nan():
    table = Table({"object_id": ["a", "b"], "teff": MaskedColumn([1.0, 2.0], mask=[False, True], unit="K")})
    assert np.array_equal(read_labels(table, system="mine")["teff"].value, [1, np.nan], equal_nan=True)


def test_what_is_no_catalogue(tmp_path):
    with pytest.raises(LabelError, match="no column is a label"):
        read_labels(Table({"object_id": ["a"], "ra": [1.0] * u.deg}), system="mine")
    with pytest.raises(LabelError, match="expected at least one row"):
        read_labels(Table({"object_id": [], "teff": [] * u.K}), system="mine")
    with pytest.raises(LabelError, match="column 'TEFF' holds text"):
        read_labels(Table({"APOGEE_ID": ["a"], "TEFF": ["hot"]}), system="aspcap-dr17")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_labels(tmp_path / "absent.csv", system="mine")
    (tmp_path / "broken.ecsv").write_text("this is not a table\n")
    with pytest.raises(LabelError, match=r"broken\.ecsv: cannot be read as a table"):
        read_labels(tmp_path / "broken.ecsv", system="mine")
    fits.PrimaryHDU(np.zeros(3)).writeto(tmp_path / "image.fits")
    with pytest.raises(LabelError, match="found no table in the file"):
        read_labels(tmp_path / "image.fits", system="mine")


def test_a_truncated_file_is_refused(all_star):
    all_star.write_bytes(all_star.read_bytes()[:-2880])
    with pytest.raises(CorruptFileError, match=r"allStarLite\.fits"):
        read_labels(all_star, system="aspcap-dr17")


def test_the_input_is_not_changed():
    table = Table({"APOGEE_ID": ["a"], "TEFF": [-9999.0]})
    read_labels(table, system="aspcap-dr17")
    assert table["TEFF"].tolist() == [-9999.0]


def test_label_units_and_systems():
    assert label_unit("alpha_m") == label_unit("ce_h") == u.dex
    assert label_unit("flag") is label_unit("x_h") is label_unit("err_fe") is None
    assert all(system.ids and system.data_model for system in SYSTEMS.values())
