"""Every label system on a file with the columns of its data model."""

import dataclasses
import gzip

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table

import specalign as sa
from specalign.data.abundances import SOLAR_SCALES
from specalign.data.label_systems import NOT_STATED, SYSTEMS, LabelSystem
from specalign.data.labels import label_unit
from specalign.exceptions import CorruptFileError, LabelError

N = 3


def all_star(release):
    """The columns of allStar that matter, with the arrays that do not."""
    values = {
        "APOGEE_ID": ["2M00000211+6327470", "2M00000446+5854329", "2M00000535+1504343"],
        "TEFF": [4812.0, -9999.0, 5120.5], "TEFF_ERR": [80.0, -999.99, 90.0], "LOGG": [2.5, -9999.99, 3.1],
        "M_H": [-0.2, 0.0, 0.1], "ALPHA_M": [0.1, 0.0, 0.05], "VMICRO": [1.5, 1.0, 1.2], "FE_H": [-0.21, 0.0, 0.1],
        "FE_H_ERR": [0.01, 0.02, 0.02], "MG_FE": [0.2, 0.1, -9999.99], "MG_FE_ERR": [0.02, 0.02, -999.99],
        "VHELIO_AVG": [-10.0, 5.0, 20.0], "RA": [0.01, 0.02, 0.02], "DEC": [63.4, 58.9, 15.1],
        "SNR": [100.0, 90.0, 80.0],
        "K": [10.0, 11.0, 12.0], "MIN_H": [7.0, 7.0, 7.0],
    }  # fmt: skip
    table = Table(
        {name: np.array(v, "f4") if name not in ("APOGEE_ID", "RA", "DEC") else v for name, v in values.items()}
    )
    table["ASPCAPFLAG"], table["STARFLAG"] = np.zeros(N, "i8" if release == "dr17" else "i4"), np.full(N, 2**9, "i4")
    table["ASPCAPFLAGS"], table["MG_FE_FLAG"] = ["", "STAR_WARN", ""], np.zeros(N, "i4")
    for name, shape in {"PARAM": 9, "FPARAM": 9, "X_H": 26, "X_M_ERR": 26, "FPARAM_COV": (9, 9)}.items():
        table[name] = np.full((N, *np.atleast_1d(shape)), -9999.0, "f4")
    table["FPARAM"][:, :7] = [4700.0, 2.4, 0.2, -0.3, 0.05, 0.06, 0.12]
    prefix = {"dr17": "GAIAEDR3_", "dr16": "GAIA_"}.get(release)
    if prefix:
        table[f"{prefix}PMRA"], table[f"{prefix}PMDEC"] = np.array([1.0, 2.0, -9999.0]), np.array([3.0, 4.0, -9999.0])
    if release == "dr17":
        table["TEFF_SPEC"], table["LOGG_SPEC"] = np.array([4711.0, 4712.0, 4713.0]), np.array([2.41, 2.42, 2.43])
    return table


def write(table, path, *more):
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="ALLSTAR"), *more]
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("release", ["dr14", "dr16", "dr17"])
def test_all_star_of_each_release(tmp_path, release):
    constants = fits.BinTableHDU(Table({"PARAM_SYMBOL": [["TEFF", "LOGG"]]}))
    path = write(all_star(release), tmp_path / f"allStar-{release}.fits", constants)
    labels = sa.read_labels(path, system=f"aspcap-{release}")
    assert labels["object_id"][0] == "2M00000211+6327470"
    assert np.array_equal(labels["teff"].value, np.float32([4812, np.nan, 5120.5]), equal_nan=True)
    assert np.isclose(labels["mg_fe_err"].value, [0.02, 0.02, np.nan], equal_nan=True).all()
    assert labels.meta["calibrated"] is True
    assert labels.meta["solar_scale"] == (NOT_STATED if release == "dr14" else "grevesse-2007")
    assert labels.meta["epoch"] == 2000.0
    assert ("pmra" in labels.colnames) == (release != "dr14")
    assert {"K", "MIN_H", "X_H", "PARAM", "ASPCAPFLAGS", "STARFLAG"} <= set(labels.meta["ignored_columns"])


@pytest.mark.parametrize("kept", ["both", "fparam"])
def test_uncalibrated_values_are_a_system_of_their_own(tmp_path, kept):
    table = all_star("dr17")
    if kept == "fparam":
        table.remove_columns(["TEFF_SPEC", "LOGG_SPEC"])
    labels = sa.read_labels(write(table, tmp_path / "allStar.fits"), system="aspcap-dr17-spec")
    assert labels["teff"].value[0] == (4711 if kept == "both" else 4700)
    assert np.allclose(labels["m_h"].value, -0.3)
    assert np.allclose(labels["alpha_m"].value, 0.12)
    assert "mg_fe" not in labels.colnames
    assert labels.meta["calibrated"] is False


def test_uncalibrated_values_of_real_files(shared):
    path = shared / "data/spectra/apogee/aspcapStar-r6-l30e.2-2M05392474+4038437.fits"
    if not path.exists():
        pytest.skip("needs the DR13 aspcapStar files")
    labels = sa.read_labels(path, system="aspcap-dr17-spec")
    assert labels["object_id"].tolist() == ["2M05392474+4038437"]
    assert np.isclose(labels["teff"][0].value, 2626.7)
    assert np.isclose(labels["m_h"][0].value, -0.49649)


def sdss5():
    table = Table({"sdss_id": [54392544, 54392545, 54392546], "sdss4_apogee_id": ["", "2M0", ""]})
    table["teff"], table["e_teff"] = np.array([4500.0, np.nan, 4700.0]), np.array([20.0, np.nan, 25.0])
    table["logg"], table["fe_h"], table["m_h_atm"] = [2.0, 2.1, 2.2], [-0.1, 0.0, 0.1], [-0.12, 0.01, 0.11]
    table["mg_h"], table["e_mg_h"], table["mg_h_flags"] = [0.1, 0.2, 0.3], [0.01, 0.02, 0.03], np.array([0, 2**8, 2**9])
    table["raw_teff"], table["raw_e_teff"], table["raw_mg_h"] = (
        [4480.0, 4490.0, 4690.0],
        [2.0, 2.0, 2.0],
        [0.1, 0.2, 0.3],
    )
    table["raw_v_micro"], table["result_flags"] = [1.0, 1.1, 1.2], np.array([0, 0, 2**26])
    table["c_12_13"], table["ti_2_h"], table["irfm_teff"] = [15.0] * 3, [0.1] * 3, [4400.0] * 3
    table["plx"], table["ra"], table["dec"] = [1.0] * 3, [10.0] * 3, [20.0] * 3
    return table


def test_milky_way_mapper(tmp_path):
    empty = sdss5()[:0]
    path = tmp_path / "astraAllStarASPCAP.fits"
    hdus = [fits.BinTableHDU(empty, name="BOSS"), fits.BinTableHDU(sdss5(), name="APOGEE")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    labels = sa.read_labels(path, system="aspcap-sdss5")
    assert labels["object_id"].tolist() == ["54392544", "54392545", "54392546"]
    assert np.array_equal(labels["teff_err"].value, [20, np.nan, np.nan], equal_nan=True)
    assert np.isfinite(labels["mg_h"].value).tolist() == [True, False, False]
    assert labels.meta["masked"]["mg_h"] == {"result_flags": 1, "mg_h_flags": 1}
    assert np.isfinite(labels["parallax"].value).all()  # a bad fit says nothing of the parallax
    assert not {"ti_2_h", "c_12_13"} & set(labels.colnames)
    assert "epoch" not in labels.meta
    raw = sa.read_labels(path, system="aspcap-sdss5-raw", hdu="APOGEE")
    assert raw["teff"].value[:2].tolist() == [4480.0, 4490.0]
    assert raw["vmicro"].value[0] == 1.0
    assert raw.colnames.count("fe_h") == 0
    assert raw.meta["calibrated"] is False


def test_several_tables_of_stars(tmp_path):
    path = tmp_path / "two.fits"
    tables = [fits.BinTableHDU(sdss5(), name=name) for name in ("BOSS", "APOGEE")]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path)
    with pytest.raises(LabelError, match=r"extensions 1 \('BOSS'\), 2 \('APOGEE'\) have rows of stars; pass hdu="):
        sa.read_labels(path, system="aspcap-sdss5")
    for hdu in (2, "APOGEE"):
        assert len(sa.read_labels(path, system="aspcap-sdss5", hdu=hdu)) == 3
    for hdu in (0, 7, "NONE"):
        with pytest.raises(LabelError, match=rf"hdu={hdu!r} is no table; the extensions are"):
            sa.read_labels(path, system="aspcap-sdss5", hdu=hdu)


def test_an_extension_of_what_has_none(tmp_path):
    with pytest.raises(LabelError, match="hdu=1 was given, and the source is a table"):
        sa.read_labels(sdss5(), system="aspcap-sdss5", hdu=1)
    path = tmp_path / "labels.csv"
    path.write_text("object_id,teff\na,4800\n")
    with pytest.raises(LabelError, match="hdu=1 was given, and the file is not FITS"):
        sa.read_labels(path, system="specalign-mock", hdu=1)


MRS = (
    "mobsid|obsid|designation|ra|dec|teff_lasp|teff_lasp_err|logg_lasp|feh_lasp|feh_lasp_err|vsini_lasp|rv_br1|rv_br1_err|"
    "rv_br_flag|alpha_m_lasp|teff_cnn|logg_cnn|feh_cnn|alpha_m_cnn|c_fe|mg_fe|cu_fe\n"
    "1a|101|J0358+4141|59.5|41.7|5100.12|20.5|4.5|-0.123|0.03|-9999.0|12.5|0.4|0|-9999.0|5150.0|4.4|-0.1|0.02|0.1|0.2|-9999\n"
)


def test_lamost_medium_resolution_has_two_systems(tmp_path):
    path = tmp_path / "dr9_v1.0_MRS_stellar.csv"
    path.write_text(MRS)
    lasp = sa.read_labels(path, system="lamost-mrs-lasp")
    assert lasp["object_id"].tolist() == ["LAMOST J0358+4141"]
    assert (lasp["teff"].value, lasp["teff_err"].value, lasp["fe_h_err"].value) == (5100.12, 20.5, 0.03)
    assert lasp["radial_velocity"].value == 12.5
    assert "mg_fe" not in lasp.colnames
    assert lasp.meta["masked"] == {"alpha_m": {"no value": 1}, "vsini": {"no value": 1}}
    cnn = sa.read_labels(path, system="lamost-mrs-cnn")
    assert (cnn["teff"].value, cnn["mg_fe"].value, cnn["ra"].value) == (5150.0, 0.2, 59.5)
    assert np.isnan(cnn["cu_fe"].value)
    assert cnn.meta["solar_scale"] == NOT_STATED


def test_gaia(tmp_path):
    table = Table({"source_id": np.array([5853498713190525696, 4472832130942575872]), "ref_epoch": [2016.0, 2016.0]})
    for name, values in {"ra": [217.4, 269.4], "dec": [-62.7, 4.7]}.items():
        table[name] = values * u.deg
    table["pmra"], table["pmdec"] = [-3781.7, -801.6] * u.mas / u.yr, [769.5, 10362.4] * u.mas / u.yr
    table["teff_gspphot"], table["logg_gspphot"] = [2900.0, 3100.0] * u.K, [5.0, 5.1]
    table["teff_gspphot_lower"], table["teff_gspphot_upper"] = [2880.0, 3090.0] * u.K, [2930.0, 3100.0] * u.K
    table["mh_gspphot"], table["teff_gspspec"], table["mh_gspspec"] = [0.1, 0.2], [3000.0, np.nan] * u.K, [0.0, np.nan]
    table["ebpminrp_gspphot"], table["ag_gspphot"] = [0.1, 0.2] * u.mag, [0.3, 0.4] * u.mag
    table["ebpminrp_gspphot_lower"], table["ebpminrp_gspphot_upper"] = [0.0, 0.1] * u.mag, [0.2, 0.2] * u.mag
    table["alphafe_gspspec"], table["radial_velocity"] = [0.1, 0.2], [-22.0, -110.0] * u.km / u.s
    path = tmp_path / "gaia.vot"
    table.write(path, format="votable")
    labels = sa.read_labels(path, system="gaia-dr3-gspphot")
    assert labels["object_id"].tolist() == ["5853498713190525696", "4472832130942575872"]
    assert labels["teff"].value.tolist() == [2900.0, 3100.0]
    assert labels["teff_err"].value.tolist() == [25.0, 5.0]
    assert labels["epoch"].tolist() == [2016.0, 2016.0]
    assert np.isclose(labels["e_bp_rp"].to_value(u.mag), [0.1, 0.2]).all()
    assert np.isclose(labels["e_bp_rp_err"].to_value(u.mag), [0.1, 0.05]).all()
    assert labels["a_g"].unit == u.mag
    spec = sa.read_labels(path, system="gaia-dr3-gspspec")
    assert np.isclose(spec["alpha_fe"].value, [0.1, 0.2]).all()
    assert spec.meta["masked"]["teff"] == {"no value": 1}


@pytest.mark.parametrize("ending", ["csv", "ecsv", "csv.gz", "vot", "xml", "fits", "fits.gz", "parquet"])
def test_formats_give_the_same_labels(tmp_path, ending):
    table = QTable({"object_id": ["0012", "0013"], "teff": [4800.0, np.nan] * u.K, "mg_fe": [0.1, 0.2] * u.dex})
    path = tmp_path / f"labels.{ending}"
    plain = Table({name: np.asarray(getattr(table[name], "value", table[name])) for name in table.colnames})
    if ending == "csv.gz":
        plain.write(tmp_path / "labels.csv", format="ascii.csv")
        path.write_bytes(gzip.compress((tmp_path / "labels.csv").read_bytes()))
    else:
        kind = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable", "xml": "votable"}.get(
            ending, ending[:7].rstrip(".")
        )
        (table if ending == "ecsv" else plain).write(path, format="fits" if "fits" in ending else kind)
    labels = sa.read_labels(path, system=SYSTEMS["specalign-mock"])
    assert labels["object_id"].tolist() == ["0012", "0013"]  # text, also where it looks like a number
    assert np.array_equal(labels["teff"].value, [4800, np.nan], equal_nan=True)
    assert labels["mg_fe"].unit == u.dex


def test_a_csv_that_was_cut_is_refused(tmp_path):
    path = tmp_path / "cut.csv"
    path.write_text("object_id,teff,logg\na,4800,2.5\nb,49")
    with pytest.raises(CorruptFileError, match="the last row has fewer cells than the 3 columns"):
        sa.read_labels(path, system="specalign-mock")
    path.write_text("object_id,teff,logg\na,4800,2.5\nb,4900,2.6")
    assert len(sa.read_labels(path, system="specalign-mock")) == 2
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    with pytest.raises(CorruptFileError, match=r"cut\.csv\.gz"):
        sa.read_labels(tmp_path / "cut.csv.gz", system="specalign-mock")


def test_columns_as_vizier_names_them():
    table = Table(
        {"object_id": ["a"], "Teff": [5000.0], "e_Teff": [50.0], "[Fe/H]": [0.1], "e_[Fe/H]": [0.02], "[Mg/Fe]": [0.2]}
    )
    table["RAJ2000"] = [10.0] * u.deg
    labels = sa.read_labels(table, system="specalign-mock")
    assert labels.colnames == ["object_id", "teff", "teff_err", "fe_h", "fe_h_err", "mg_fe", "ra"]


def test_a_system_of_ones_own():
    mine = LabelSystem(
        "mine-v1", ids=("star",), columns={"t_kilo": "teff", "met": "fe_h"}, units={"teff": "kK"}, prefix="my_",
        flags={"*": ("bad", 2)}, sentinels=(-1.0,), solar_scale="asplund-2009", epoch=2016.0, calibrated=False,
    )  # fmt: skip
    table = Table(
        {"star": ["a", "b", "c"], "T_kilo": [4.8, -1.0, 5.1], "met": [0.1, 0.2, 0.3], "my_logg": [2.0, 2.1, 2.2]}
    )
    table["bad"], table["ra"], table["dec"] = [0, 1, 2], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]
    labels = sa.read_labels(table, system=mine)
    assert np.isclose(labels["teff"].value, [4800, np.nan, np.nan], equal_nan=True).all()
    assert labels.meta["masked"]["fe_h"] == {"bad": 1}
    assert {key: labels.meta[key] for key in ("label_system", "calibrated", "solar_scale", "epoch")} == {
        "label_system": "mine-v1", "calibrated": False, "solar_scale": "asplund-2009", "epoch": 2016.0,
    }  # fmt: skip
    changed = dataclasses.replace(SYSTEMS["aspcap-dr17"], epoch=2022.7)
    assert sa.read_labels(all_star("dr17"), system=changed).meta["epoch"] == 2022.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "", "ids": ()}, "expected a name"),
        ({"name": "x", "ids": "star"}, "ids: expected a tuple of column names, got 'star'"),
        ({"name": "x", "ids": (), "error_correlation": 2}, "expected a correlation of -1 to 1, got 2"),
    ],
)
def test_impossible_systems(options, message):
    with pytest.raises(LabelError, match=message):
        LabelSystem(**options)


def test_facts_survive_a_file(tmp_path):
    labels = sa.read_labels(all_star("dr17"), system="aspcap-dr17")
    labels.write(tmp_path / "labels.ecsv")
    again = sa.read_labels(tmp_path / "labels.ecsv")
    for key in ("label_system", "calibrated", "solar_scale", "epoch", "error_correlation"):
        assert again.meta[key] == labels.meta[key]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_states_what_it_must(name):
    system = SYSTEMS[name]
    assert system.name == name
    assert system.ids
    assert system.data_model.startswith(("https://", "specalign."))
    assert system.solar_scale in (*SOLAR_SCALES, NOT_STATED)
    assert system.calibrated in (True, False, None)
    named = [*system.columns.values(), *(label for array in system.arrays.values() for label in array)]
    named += [label for label in system.flags if label != "*"]
    assert all(label_unit(label) is not None for label in named)
    assert all(column == column.lower() for column in [*system.columns, *system.ids, *system.arrays])


def test_labels_are_matched_by_their_own_positions():
    apogee = sa.read_labels(all_star("dr17"), system="aspcap-dr17")
    gaia = Table(
        {"source_id": [1, 2, 3], "teff_gspphot": [4800.0] * N, "pmra": [1.0, 2.0, 3.0], "pmdec": [3.0, 4.0, 5.0]}
    )
    years = (2016.0 - 2000.0) / 3.6e6  # mas to deg
    gaia["ra"] = apogee["ra"].value + years * gaia["pmra"] / np.cos(apogee["dec"].to_value(u.rad))
    gaia["dec"] = apogee["dec"].value + years * gaia["pmdec"]
    gaia = sa.read_labels(gaia, system="gaia-dr3-gspphot")
    pairs = sa.match(apogee, gaia, by="sky", radius=1 * u.arcsec, epoch="J2016.0")
    assert pairs["id_b"].tolist() == ["1", "2"]
    assert (pairs["separation"] < 1 * u.mas).all()
    assert pairs.meta["without_motion_a"] == [2]
    assert pairs.meta["unmatched_a"] == pairs.meta["unmatched_b"] == [2]
