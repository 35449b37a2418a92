import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable
from astropy.utils.masked import Masked

from specalign.analysis import metrics
from specalign.data.label_systems import check_same_system
from specalign.data.labels import read_labels
from specalign.data.matching import match
from specalign.data.offsets import join_labels, measure_offsets
from specalign.exceptions import LabelError, MatchError

LOGG = u.dex(u.cm / u.s**2)


def catalogue(system, names, teff=0.0, logg=0.0, seed=0, **columns):
    rng = np.random.default_rng(seed)
    n = len(names)
    table = QTable({"object_id": names}, meta={"label_system": system})
    table["teff"] = (5000 + teff + rng.normal(0, 20, n)) * u.K
    table["logg"] = u.Quantity(2.5 + logg + rng.normal(0, 0.05, n), LOGG, subok=True)
    table["teff_err"], table["logg_err"] = np.full(n, 30.0) * u.K, np.full(n, 0.03) * u.dex
    table["ra"], table["dec"] = np.linspace(10, 20, n) * u.deg, np.zeros(n) * u.deg
    for name, values in columns.items():
        table[name] = values
    return table


NAMES = np.array([f"star {i:03d}" for i in range(400)])
OFFSETS = {"teff": -60 * u.K, "logg": 0.1 * u.dex}


def test_measured_offsets_agree_with_what_was_put_in():
    a, b = catalogue("a", NAMES, seed=1), catalogue("b", NAMES[::-1], teff=60, logg=-0.1, seed=2)
    offsets = measure_offsets(a, b)
    assert offsets["label"].tolist() == ["teff", "logg"]
    assert offsets["unit"].tolist() == ["K", "dex"]
    assert (offsets.meta["to"], offsets.meta["of"]) == ("a", "b")
    for row, true, sigma in zip(offsets, (-60, 0.1), (20, 0.05), strict=True):
        assert abs(row["offset"] - true) < 4 * row["offset_err"]
        assert np.isclose(row["mad"] * 1.4826, sigma * np.sqrt(2), rtol=0.15)
        assert np.isclose(row["offset_err"], 1.2533 * sigma * np.sqrt(2) / 20, rtol=0.15)
        assert row["n"] == 400


def test_the_error_of_the_median_is_its_scatter():
    found = [measure_offsets(catalogue("a", NAMES[:50], seed=2 * i), catalogue("b", NAMES[:50], seed=2 * i + 1))[0]
             for i in range(300)]  # fmt: skip
    scatter = np.std([row["offset"] for row in found])
    assert np.isclose(np.mean([row["offset_err"] for row in found]), scatter, rtol=0.12)


def test_values_without_a_number_and_rare_labels_are_left_out():
    a, b = catalogue("a", NAMES[:30]), catalogue("b", NAMES[:30], seed=1)
    a["teff"][:12] = np.nan * u.K
    b["logg"][5:] = np.nan * LOGG
    offsets = measure_offsets(a, b)
    assert offsets["label"].tolist() == ["teff"]
    assert offsets["n"].tolist() == [18]
    assert offsets.meta["left_out"] == {"logg": "5 stars"}
    with pytest.raises(LabelError, match=r"expected at least 50 stars .* got \{'teff': '18 stars'"):
        measure_offsets(a, b, min_stars=50)
    with pytest.raises(MatchError, match="no row of the tables is in common"):
        measure_offsets(a, catalogue("b", ["x"]))


def test_join_brings_the_second_to_the_first():
    a, b = catalogue("a", NAMES[:5]), catalogue("b", NAMES[3:9], seed=1)
    errors = {"teff": 40 * u.K}
    joined = join_labels(a, b, OFFSETS, errors)
    assert joined["object_id"].tolist() == NAMES[:9].tolist()
    assert joined["label_origin"].tolist() == ["a"] * 5 + ["b"] * 4
    assert np.allclose(joined["teff"].value, np.append(a["teff"].value, b["teff"].value[2:] - 60))
    assert np.allclose(joined["logg"].value, np.append(a["logg"].value, b["logg"].value[2:] + 0.1))
    assert joined["logg"].unit == LOGG
    assert np.allclose(joined["teff_err"].value, [30] * 5 + [50] * 4)
    assert np.allclose(joined["logg_err"].value, 0.03)
    assert joined.meta["label_system"] == "a"
    assert joined.meta["joined_systems"] == ["a", "b"]
    assert joined.meta["offsets"]["teff"] == {"offset": -60.0, "error": 40.0, "unit": "K"}
    assert joined.meta["replaced_rows"] == 2
    assert b["teff"].value.max() > 4950  # the input is not changed


def test_the_measured_table_is_a_declaration_for_its_systems_only():
    a, b = catalogue("a", NAMES), catalogue("b", NAMES, teff=60, seed=1)
    offsets = measure_offsets(a, b)
    joined = join_labels(a[:100], b, offsets)
    assert len(joined) == 400
    assert abs(np.mean(joined["teff"].value[100:]) - 5000) < 10
    assert np.allclose(joined["teff_err"].value[100:], np.hypot(30, offsets["offset_err"][0]))
    with pytest.raises(LabelError, match="the offsets bring 'b' to 'a', and the tables are of 'a' and 'b'"):
        join_labels(b, a, offsets)


def test_a_joined_table_can_be_written_and_joined_again(tmp_path):
    a, b, c = (catalogue(name, NAMES[i : i + 3], seed=i) for i, name in enumerate("abc"))
    a.meta["epoch"], b.meta["epoch"] = 2000.0, 2016.0
    joined = join_labels(a, b, OFFSETS)
    assert joined["epoch"].tolist() == [2000.0, 2000.0, 2000.0, 2016.0]
    joined.write(tmp_path / "joined.ecsv")
    again = read_labels(tmp_path / "joined.ecsv")
    assert again.meta["offsets"] == joined.meta["offsets"]
    thrice = join_labels(joined, c, OFFSETS)
    assert thrice["label_origin"].tolist() == ["a", "a", "a", "b", "c"]
    assert np.isnan(thrice["epoch"][-1])


def test_labels_of_one_table_only():
    a = catalogue("a", NAMES[:2], mg_fe=[0.1, 0.2] * u.dex, mg_fe_corr=[0.1, 0.2])
    b = catalogue("b", NAMES[1:4], ca_fe=[0.1, 0.2, 0.3] * u.dex, seed=1)
    joined = join_labels(a, b, OFFSETS)
    assert np.isnan(joined["mg_fe"].value).tolist() == [False, False, True, True]
    assert joined.meta["left_out"] == ["mg_fe_corr", "ca_fe"]
    b.meta["masked"] = {"teff": {"no value": 3}}
    assert join_labels(a, b, OFFSETS).meta["masked_of_joined"] == {"teff": {"no value": 3}}


def test_pairs_say_which_stars_are_the_same():
    a, b = catalogue("a", NAMES[:4]), catalogue("b", ["w", "x", "y", "z"], seed=1)
    b["ra"] = b["ra"] + [0, 0, 3600, 3600] * u.arcsec
    pairs = match(a, b, by="sky", radius=1 * u.arcsec)
    joined = join_labels(a, b, OFFSETS, pairs=pairs)
    assert joined["object_id"].tolist() == [*NAMES[:4].tolist(), "y", "z"]


def test_one_system_needs_no_offset():
    joined = join_labels(catalogue("a", NAMES[:2]), catalogue("a", NAMES[2:4]))
    assert len(joined) == 4
    assert joined.meta["offsets"]["teff"] == {"offset": 0.0, "error": 0.0, "unit": "K"}


@pytest.mark.parametrize(
    ("offsets", "errors", "message"),
    [
        (
            None,
            None,
            "system 'b' cannot be joined to those of 'a' without a declared offset: teff, logg have none. Pass",
        ),
        ({"teff": 20 * u.K}, None, "declared offset: logg have none.*measure_offsets"),
        ({"teff": 20.0, "logg": 0 * u.dex}, None, "offset of teff: expected a quantity in K, got 20.0"),
        ({"teff": 20 * u.m, "logg": 0 * u.dex}, None, "offset of teff: expected a quantity in K, got <Quantity 20. m>"),
        ({"teff": np.nan * u.K, "logg": 0 * u.dex}, None, "offset of teff: expected a finite offset"),
        (OFFSETS, {"teff": -1 * u.K}, "error of teff: expected a finite error"),
        ({**OFFSETS, "mg_fe": 0 * u.dex}, None, "offsets of mg_fe were declared, and both tables have only teff, logg"),
        ({**OFFSETS, "colour": 0 * u.mag}, None, "offset of 'colour': this is no label"),
        ([1, 2], None, "offsets: expected a dict of labels to quantities, or measure_offsets' table"),
    ],
)
def test_what_is_no_declaration(offsets, errors, message):
    with pytest.raises(LabelError, match=message):
        join_labels(catalogue("a", NAMES[:2]), catalogue("b", NAMES[2:4]), offsets, errors)


def test_tables_that_do_not_say_their_system():
    nameless = catalogue("a", NAMES[:2])
    nameless.meta = {}
    with pytest.raises(LabelError, match="the second table does not say its label system"):
        join_labels(catalogue("a", NAMES[:2]), nameless, OFFSETS)


def test_the_refusal_to_compare_names_the_way_out():
    a, b = catalogue("a", NAMES), catalogue("b", NAMES, seed=1)
    for refused in (lambda: check_same_system(a, b), lambda: metrics.labels(a, b)):
        with pytest.raises(LabelError, match=r"system 'a' cannot be compared with those of 'b'; .*measure_offsets"):
            refused()
    joined = join_labels(b[:0], a, OFFSETS)
    assert joined.meta["label_system"] == "b"
    assert metrics.labels(joined, b)["n"].tolist() == [400, 400]


def test_real_labels_of_two_systems(shared):
    apogee = read_labels(shared / "data/spectra/nirspec/m71_labels.csv", system="aspcap-dr17")
    lamost = read_labels(shared / "data/spectra/lamost_lrs/LASP_CurveFit_inferred.csv", system="lamost-lasp")
    with pytest.raises(LabelError, match=r"'lamost-lasp' cannot be joined to those of 'aspcap-dr17'.*radial_velocity"):
        join_labels(apogee, lamost, {"teff": 0 * u.K, "logg": 0 * u.dex, "fe_h": 0 * u.dex})
    zero = {"teff": 0 * u.K, "logg": 0 * u.dex, "fe_h": 0 * u.dex, "radial_velocity": 5 * u.km / u.s}
    joined = join_labels(apogee, lamost, zero)
    assert len(joined) == len(apogee) + len(lamost)
    assert np.isclose(joined["radial_velocity"][3], lamost["radial_velocity"][0] + 5 * u.km / u.s)
    assert np.isnan(joined["mg_fe"].value[3:]).all()


def test_what_hides_under_a_mask_moves_no_offset_and_joins_as_nan():
    a, b = catalogue("a", NAMES[:40], seed=1), catalogue("b", NAMES[:50], seed=2)
    hidden = np.arange(40) < 15
    a["teff"] = Masked(np.where(hidden, 9e9, a["teff"].value) * u.K, mask=hidden)
    b["snr"] = MaskedColumn(np.full(50, 7.0), mask=np.arange(50) == 45)
    a["snr"] = np.full(40, 9.0)
    offsets = measure_offsets(a, b)
    assert offsets["n"].tolist() == [25, 40]
    joined = join_labels(a, b, offsets)
    assert np.isnan(joined["teff"].value).tolist() == [*hidden, *[False] * 10]
    assert np.flatnonzero(np.isnan(joined["snr"])).tolist() == [45]
