import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from specalign.data.abundances import SOLAR_SCALES, change_solar_scale, to_x_fe, to_x_h
from specalign.data.labels import read_labels
from specalign.exceptions import LabelError

SIGMA = st.floats(0.001, 0.5)
VALUE = st.floats(-3, 1)


def table(**columns):
    meta = {"label_system": "mine", "solar_scale": "grevesse-2007"}
    return QTable({"object_id": ["a"], **{name: [value] * u.dex for name, value in columns.items()}}, meta=meta)


@given(VALUE, VALUE, SIGMA, SIGMA, st.floats(-1, 1))
def test_values_and_errors_return(fe_h, mg_fe, sigma_fe, sigma_mg, rho):
    labels = table(fe_h=fe_h, fe_h_err=sigma_fe, mg_fe=mg_fe, mg_fe_err=sigma_mg)
    x_h = to_x_h(labels, correlation=rho)
    assert np.isclose(x_h["mg_h"].value, mg_fe + fe_h)
    again = to_x_fe(x_h)
    assert again.colnames[:5] == labels.colnames
    assert np.isclose(again["mg_fe"].value, mg_fe)
    # near rho = -1 with equal errors, the error of [X/H] is the difference of two large numbers
    assert np.isclose(again["mg_fe_err"].value, sigma_mg, rtol=1e-5, atol=1e-7)
    if sigma_fe > 0.01 and sigma_mg > 0.01 and abs(rho) < 0.99:
        assert np.isclose(again["mg_fe_corr"][0], rho, atol=1e-6)
    assert x_h.meta["converted"] == {"mg_h": "mg_fe"}


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.3, 0.9])
def test_errors_agree_with_a_monte_carlo(rho):
    rng = np.random.default_rng(1)
    sigma_x, sigma_fe, n = 0.05, 0.03, 400_000
    cov = [[sigma_x**2, rho * sigma_x * sigma_fe], [rho * sigma_x * sigma_fe, sigma_fe**2]]
    x, fe = rng.multivariate_normal([0, 0], cov, n).T
    converted = to_x_fe(table(fe_h=0.0, fe_h_err=sigma_fe, mg_h=0.0, mg_h_err=sigma_x), correlation={"mg": rho})
    assert np.isclose(converted["mg_fe_err"][0].value, np.std(x - fe), rtol=0.01)
    assert np.isclose(converted["mg_fe_corr"][0], np.corrcoef(x - fe, fe)[0, 1], atol=0.01)
    converted = to_x_h(table(fe_h=0.0, fe_h_err=sigma_fe, mg_fe=0.0, mg_fe_err=sigma_x), correlation={"mg_fe": rho})
    assert np.isclose(converted["mg_h_err"][0].value, np.std(x + fe), rtol=0.01)
    assert np.isclose(converted["mg_h_corr"][0], np.corrcoef(x + fe, fe)[0, 1], atol=0.01)


def test_the_default_correlation_is_that_of_the_system():
    labels = table(fe_h=0.0, fe_h_err=0.03, mg_fe=0.0, mg_fe_err=0.04)
    assert np.isclose(to_x_h(labels)["mg_h_err"].value, 0.05)
    labels.meta["error_correlation"] = 1.0
    assert np.isclose(to_x_h(labels)["mg_h_err"].value, 0.07)
    assert np.isclose(to_x_h(labels, correlation=-1)["mg_h_err"].value, 0.01)


def test_metallicity_is_the_reference_of_x_m_and_alpha():
    labels = table(m_h=-0.5, m_h_err=0.03, alpha_m=0.2, alpha_m_err=0.04, c_m=0.1)
    x_h = to_x_h(labels)
    assert x_h.colnames == ["object_id", "m_h", "m_h_err", "alpha_h", "alpha_h_err", "alpha_h_corr", "c_h"]
    assert np.isclose(
        [x_h["alpha_h"].value, x_h["alpha_h_err"].value, x_h["c_h"].value], [[-0.3], [0.05], [-0.4]]
    ).all()
    assert x_h.meta["without_errors"] == ["c_h"]


def test_what_is_not_converted_is_said():
    both = to_x_h(table(fe_h=0.1, mg_fe=0.2, c_m=0.0, mg_h=0.3, na_fe=0.1))
    assert both.meta["not_converted"] == {"mg_fe": "the table has a mg_h of its own", "c_m": "there is no m_h"}
    assert both.meta["converted"] == {"na_h": "na_fe"}
    assert both["mg_fe"].value == [0.2]
    with pytest.raises(LabelError, match=r"expected an \[X/H\] beside .*; the table has object_id, fe_h, m_h"):
        to_x_fe(table(fe_h=0.1, m_h=0.1))
    with pytest.raises(LabelError, match="the table has object_id, mg_fe, without fe_h"):
        to_x_h(table(mg_fe=0.1))


def test_values_lost_for_want_of_iron_are_counted():
    labels = QTable(
        {"object_id": ["a", "b", "c"], "fe_h": [0.1, np.nan, np.nan] * u.dex}, meta={"label_system": "mine"}
    )
    labels["mg_fe"] = [0.2, 0.3, np.nan] * u.dex
    labels = read_labels(labels)
    converted = to_x_h(labels)
    assert np.isfinite(converted["mg_h"].value).tolist() == [True, False, False]
    assert converted.meta["masked"]["mg_h"] == {"no value": 1, "no fe_h": 1}
    assert labels.meta["masked"] == {"fe_h": {"no value": 2}, "mg_fe": {"no value": 1}}


@pytest.mark.parametrize("correlation", [1.1, -2, np.nan, {"mg": 3}, {"mg_fe": [0.1, 0.2]}])
def test_impossible_correlations_are_refused(correlation):
    with pytest.raises(LabelError, match="expected a correlation of -1 to 1"):
        to_x_h(table(fe_h=0.0, mg_fe=0.0), correlation=correlation)


def test_a_correlation_of_another_label_is_refused():
    with pytest.raises(LabelError, match="na are none of the labels to convert: mg_fe"):
        to_x_h(table(fe_h=0.0, mg_fe=0.0), correlation={"na": 0.1})
    labels = QTable({"fe_h": [0.0], "mg_fe": [0.1]})
    with pytest.raises(LabelError, match="fe_h: expected a unit, got none"):
        to_x_h(labels)


def test_correlations_survive_a_file(tmp_path):
    converted = to_x_h(read_labels(table(fe_h=0.0, fe_h_err=0.03, mg_fe=0.0, mg_fe_err=0.04)))
    converted.write(tmp_path / "labels.ecsv")
    again = read_labels(tmp_path / "labels.ecsv")
    assert np.isclose(again["mg_h_corr"], 0.6)
    assert np.isclose(to_x_fe(again)["mg_fe_err"].value, 0.04)


def test_real_labels_of_m71(shared):
    labels = read_labels(shared / "data/spectra/nirspec/m71_labels.csv", system="aspcap-dr17")
    x_h = to_x_h(labels)
    assert np.allclose(x_h["o_h"].value, (labels["o_fe"] + labels["fe_h"]).value)
    assert np.allclose(x_h["alpha_h"].value, [-0.503325, -0.559625, -0.429675])
    assert len(x_h) == len(labels)
    assert not [name for name in x_h.colnames if name.endswith("_fe")]


def test_solar_scales_are_complete_and_differ():
    assert set(SOLAR_SCALES["grevesse-2007"]) == set(SOLAR_SCALES["asplund-2009"]) == set(SOLAR_SCALES["asplund-2021"])
    iron = [SOLAR_SCALES[name]["fe"] for name in ("grevesse-2007", "asplund-2009", "asplund-2021")]
    assert iron == [7.45, 7.50, 7.46]
    assert [SOLAR_SCALES[name]["ce"] for name in SOLAR_SCALES] == [1.70, 1.58, 1.58]  # the columns are in step
    assert [SOLAR_SCALES[name]["eu"] for name in SOLAR_SCALES] == [0.52, 0.52, 0.52]


@given(VALUE, VALUE, VALUE)
def test_a_solar_scale_and_back(fe_h, mg_h, ce_fe):
    labels = table(fe_h=fe_h, mg_h=mg_h, ce_fe=ce_fe)
    there = change_solar_scale(labels, to="asplund-2021")
    assert np.isclose(there["fe_h"].value, fe_h + 7.45 - 7.46)
    assert np.isclose(there["mg_h"].value, mg_h + 7.53 - 7.55)
    assert np.isclose(there["ce_fe"].value, ce_fe + (1.70 - 1.58) - (7.45 - 7.46))
    back = change_solar_scale(there, to="grevesse-2007")
    for name in ("fe_h", "mg_h", "ce_fe"):
        assert np.isclose(back[name].value, labels[name].value)
    # the absolute number of atoms is the same on both scales
    assert np.isclose(there["mg_h"].value + 7.55, mg_h + 7.53)


def test_the_order_of_conversion_and_scale_does_not_matter():
    labels = table(fe_h=-0.2, mg_fe=0.3)
    one = change_solar_scale(to_x_h(labels), to="asplund-2009")
    other = to_x_h(change_solar_scale(labels, to="asplund-2009"))
    assert np.isclose(one["mg_h"].value, other["mg_h"].value)


def test_labels_without_a_solar_number_become_nan_with_a_reason():
    labels = table(fe_h=0.0, m_h=0.1, m_h_err=0.02, alpha_fe=0.1, te_h=0.1, c_m=0.2)
    changed = change_solar_scale(labels, to="asplund-2009")
    assert np.isnan([changed[name][0].value for name in ("m_h", "m_h_err", "alpha_fe", "te_h", "c_m")]).all()
    assert changed.meta["masked"]["alpha_fe"] == {"no solar value of alpha": 1}
    assert changed.meta["masked"]["c_m"] == {"no solar value of m": 1}
    assert labels["m_h"].value == [0.1]
    assert changed.meta["label_system"] == "mine on asplund-2009"
    assert change_solar_scale(changed, to="asplund-2021").meta["label_system"] == "mine on asplund-2021"


def test_unknown_and_contradicting_scales_are_refused():
    labels = table(fe_h=0.0)
    with pytest.raises(LabelError, match=r"expected one of grevesse-2007, .*, got 'anders-1989'"):
        change_solar_scale(labels, to="anders-1989")
    with pytest.raises(LabelError, match="the labels are on 'grevesse-2007', not 'asplund-2009'"):
        change_solar_scale(labels, to="asplund-2021", scale="asplund-2009")
    labels.meta["solar_scale"] = "not stated"
    with pytest.raises(LabelError, match="got 'not stated'; pass scale= if you know"):
        change_solar_scale(labels, to="asplund-2021")
    assert np.isclose(change_solar_scale(labels, to="asplund-2021", scale="asplund-2009")["fe_h"].value, 0.04)


@pytest.mark.parametrize("kind", [QTable, Table])
def test_what_hides_under_a_mask_is_no_value(kind):
    """Tables that astropy reads from files have masks where others have NaN."""
    labels = kind({"object_id": ["a", "b"]}, meta={"solar_scale": "grevesse-2007"})
    for name, values, mask in (("fe_h", [0.1, 0.2], [0, 0]), ("mg_fe", [0.3, 77.0], [0, 1])):
        column = MaskedColumn(values, mask=mask, unit="dex")
        labels[name] = Masked(values * u.dex, mask=np.array(mask, bool)) if kind is QTable else column
    for changed, name in ((to_x_h(labels), "mg_h"), (change_solar_scale(labels, to="asplund-2009"), "mg_fe")):
        assert np.isfinite(changed[name].value).tolist() == [True, False]
    assert "mg_h" not in to_x_h(labels).meta["masked"]
