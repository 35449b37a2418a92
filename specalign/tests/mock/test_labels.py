import astropy.units as u
import numpy as np
import pytest

from specalign.data.abundances import to_x_h
from specalign.mock import ELEMENTS, draw_labels, measure_labels

X_FE = [f"{element}_fe" for element in ELEMENTS if element != "fe"]


def test_a_longer_survey_begins_with_a_shorter_one():
    short, long = draw_labels(10, seed=3), draw_labels(600, seed=3)
    for name in short.colnames:
        assert np.array_equal(short[name], long[name][:10]), name


def test_seeds_give_other_stars():
    one, two = draw_labels(100, seed=0), draw_labels(100, seed=1)
    assert not np.any(one["teff"] == two["teff"])
    assert set(one["object_id"]).isdisjoint(two["object_id"])


def test_kiel_diagram_and_units():
    labels = draw_labels(3000)
    teff, logg = labels["teff"].value, labels["logg"].value
    assert str(labels["teff"].unit) == "K"
    assert str(labels["logg"].unit) == "dex(cm / s2)"
    assert str(labels["mg_fe"].unit) == "dex"
    assert labels.meta["label_system"] == "specalign-mock"
    assert len(set(labels["object_id"])) == 3000
    assert teff.min() >= 3600
    assert teff.max() <= 7200
    giants, dwarfs, clump = (labels["phase"] == name for name in ("giant", "dwarf", "clump"))
    assert np.corrcoef(teff[giants], logg[giants])[0, 1] > 0.9
    assert np.std(logg[clump]) < 0.1
    assert np.all(logg[dwarfs] > 3.4)
    assert 0.3 < np.mean(dwarfs) < 0.4


def test_two_alpha_sequences_and_dredge_up():
    labels = draw_labels(3000)
    fe_h, alpha = labels["fe_h"].value, labels["mg_fe"].value
    middle = (fe_h > -0.6) & (fe_h < -0.4)
    assert np.sum(alpha[middle] > 0.19) > 30
    assert np.sum(alpha[middle] < 0.13) > 30
    carbon_to_nitrogen = (labels["c_fe"] - labels["n_fe"]).value
    giants = labels["logg"].value < 2.8
    assert np.median(carbon_to_nitrogen[giants]) < np.median(carbon_to_nitrogen[~giants]) - 0.25


def test_alpha_elements_are_bimodal_at_one_metallicity():
    """Fewer stars lie between the sequences than on either."""
    labels = draw_labels(6000)
    alpha = sum(labels[name].value for name in ("o_fe", "mg_fe", "si_fe")) / (1.1 + 1.0 + 0.75)
    counts = np.histogram(alpha[np.abs(labels["fe_h"].value + 0.45) < 0.12], np.arange(0.0, 0.37, 0.04))[0]
    valley = 2 + np.argmin(counts[2:6])
    assert counts[valley] < 0.7 * min(counts[:valley].max(), counts[valley + 1 :].max())


def test_none_of_the_decorrelated_abundances_tells_of_another():
    labels, usual = draw_labels(8000, seed=2, decorrelated=True), draw_labels(8000, seed=2)
    values = np.array([labels[name].value for name in ("fe_h", "teff", "logg", *X_FE)])
    correlation = np.corrcoef(values)[:, 3:]
    assert np.max(np.abs(correlation - np.eye(len(values))[:, 3:])) < 0.05
    assert np.all(np.abs(values[3:]) <= 0.3)
    assert np.array_equal(labels["teff"], usual["teff"])
    assert abs(np.corrcoef(usual["mg_fe"].value, usual["o_fe"].value)[0, 1]) > 0.8
    short = draw_labels(10, seed=2, decorrelated=True)
    assert np.array_equal(short["ce_fe"], labels["ce_fe"][:10])


def test_there_are_twenty_labels_as_x_h():
    labels = draw_labels(50)
    table = to_x_h(labels)
    assert {name for name in table.colnames if name.endswith("_h")} == {"fe_h", *(name[:-3] + "_h" for name in X_FE)}
    assert not [name for name in table.colnames if name.endswith("_fe")]
    assert len(ELEMENTS) == 18
    assert np.allclose((table["mg_h"] - labels["fe_h"]).value, labels["mg_fe"].value)
    assert np.array_equal(table["fe_h"], labels["fe_h"])
    assert table.meta["label_system"] == "specalign-mock"


def test_hot_dwarfs_rotate():
    labels = draw_labels(4000)
    vsini, teff, logg = (labels[name].value for name in ("vsini", "teff", "logg"))
    assert labels["vsini"].unit == u.km / u.s
    assert np.median(vsini[(teff > 6500) & (logg > 3.8)]) > 3 * np.median(vsini[logg < 3])
    assert vsini.min() >= 1


def test_measured_labels_have_the_errors_that_they_state():
    truth = draw_labels(3000, seed=1)
    measured = measure_labels(truth, seed=5)
    for name in ("teff", "logg", "fe_h", "mg_fe", "ce_fe"):
        pull = (measured[name].value - truth[name].value) / measured[f"{name}_err"].value
        assert 0.95 < np.nanstd(pull) < 1.05, name
        assert abs(np.nanmean(pull)) < 0.06
    assert measured["logg"].unit == truth["logg"].unit
    assert measured["logg_err"].unit == u.dex
    poor = truth["fe_h"].value < -1.2
    assert np.nanmedian(measured["mg_fe_err"].value[poor]) > 1.5 * np.nanmedian(measured["mg_fe_err"].value[~poor])
    assert 0 < np.mean(np.isnan(measured["ce_fe"].value)) < 0.1
    assert np.all(measured["vsini"].value >= 0)


def test_the_errors_of_a_star_depend_on_the_star_and_the_seed():
    truth = draw_labels(40, seed=1)
    all_, one = measure_labels(truth, seed=5), measure_labels(truth[7:8], seed=5)
    assert np.array_equal(all_["teff"][7:8], one["teff"])
    assert not np.any(measure_labels(truth, seed=6)["teff"] == all_["teff"])


def test_no_stars_is_an_error():
    with pytest.raises(ValueError, match="expected a positive number of stars, got 0"):
        draw_labels(0)
