import numpy as np
import pytest

from specalign.mock import draw_labels


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


def test_no_stars_is_an_error():
    with pytest.raises(ValueError, match="expected a positive number of stars, got 0"):
        draw_labels(0)
