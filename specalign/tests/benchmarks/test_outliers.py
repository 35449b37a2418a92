"""Planted outliers: what each kind changes, that normal stars stay as they were, and figures of the study."""

import numpy as np
import pytest
from astropy.table import QTable

INSTRUMENTS = ("lamost_lrs", "gaia_xp")


@pytest.fixture(scope="module")
def planted(program, shared):
    """A survey with outliers, the same without, and what both instruments saw."""
    module = program("planted_outliers")
    survey = module.PlantedSurvey(shared, 120, 3, n_held=30, n_test=60, instruments=INSTRUMENTS)
    plain = program("survey_data").MockSurvey(shared, 120, 3, n_test=60)
    return survey, {name: (survey.observe(name), plain.observe(name)) for name in INSTRUMENTS}


def changed(pair):
    """Stars whose good pixels differ."""
    after, before = pair
    good = ~after["mask"] & ~before["mask"]
    return (np.where(good, after["flux"] != before["flux"], False)).any(axis=1)


@pytest.mark.shared
def test_normal_stars_stay_and_held_out_stars_are_normal(planted):
    survey, seen = planted
    assert set(survey.kinds[30:60]) == {"normal"}
    assert {kind: (survey.kinds == kind).sum() for kind in set(survey.kinds) - {"normal"}} == dict.fromkeys(
        ("white-dwarf", "binary", "emission", "wrong-pair", "fault"), 2 + 3
    )
    both = {name: changed(pair) for name, pair in seen.items()}
    assert not np.any([one[survey.kinds == "normal"] for one in both.values()])
    for kind in ("white-dwarf", "binary", "emission"):
        assert np.all([one[survey.kinds == kind] for one in both.values()])
    wrong = survey.kinds == "wrong-pair"
    assert not both["lamost_lrs"][wrong].any()
    assert both["gaia_xp"][wrong].all()
    faulty = np.stack([one[survey.kinds == "fault"] for one in both.values()])
    assert (faulty.sum(axis=0) == 1).all()


@pytest.mark.shared
def test_wrong_pairs_hold_each_others_spectra(planted):
    survey, seen = planted
    after, before = seen["gaia_xp"]
    rows = np.flatnonzero(survey.kinds == "wrong-pair")
    np.testing.assert_array_equal(after["flux"][rows], before["flux"][np.roll(rows, 1)])
    np.testing.assert_array_equal(after["coefficient_error"][rows], before["coefficient_error"][np.roll(rows, 1)])


@pytest.mark.shared
def test_emission_lines_are_bright_at_balmer_wavelengths(planted):
    survey, seen = planted
    after, before = seen["lamost_lrs"]
    rows, wavelength = survey.kinds == "emission", after["wavelength"]
    good = ~after["mask"][rows]
    ratio = np.where(good, after["flux"][rows] / np.where(good, before["flux"][rows], 1), 1)
    assert abs(wavelength[ratio.mean(axis=0).argmax()] - 6564.6) < 3
    far = np.abs(wavelength - 6564.6) > 40
    assert np.abs(ratio[:, far & (wavelength > 5000)] - 1).max() < 0.05


@pytest.mark.shared
def test_white_dwarfs_are_blue_with_deep_lines(planted):
    survey, seen = planted
    for name in INSTRUMENTS:
        after, before = (one["flux"][survey.kinds == "white-dwarf"] for one in seen[name])
        good = ~seen[name][0]["mask"][survey.kinds == "white-dwarf"]
        wavelength = seen[name][0]["wavelength"]
        blue, red = (np.abs(wavelength - at) < 60 for at in (4550, 6900))
        colour = [
            np.nanmedian(np.where(good, one, np.nan)[:, blue], 1) / np.nanmedian(np.where(good, one, np.nan)[:, red], 1)
            for one in (after, before)
        ]
        assert (colour[0] > 2).all()
        assert (colour[0] > colour[1]).all()


def test_hydrogen_lines_are_where_they_are(program):
    lines = program("planted_outliers").hydrogen_lines
    assert np.abs(lines(6000, 7000)[0] - 6564.6).max() < 0.3
    assert np.abs(lines(12000, 13000)[0] - 12821.6).max() < 1  # Paschen beta
    assert lines(15000, 17000).shape[1] > 8  # Brackett
    assert lines(100, 200).shape == (2, 0)


def test_precision_is_that_of_one_in_a_hundred(program):
    study = program("outliers_study")
    kinds = {f"n{i}": "normal" for i in range(990)} | {f"w{i}": "fault" for i in range(50)} | {"x": "binary"}
    rng = np.random.default_rng(0)
    perfect = {name: float(kind == "fault") for name, kind in kinds.items()}
    assert study.precision(perfect, kinds, "fault")["average_precision"] == pytest.approx(1)
    chance = np.mean(
        [study.precision(dict(zip(kinds, rng.random(len(kinds)), strict=True)), kinds, "fault")["average_precision"]
         for _ in range(20)]
    )  # fmt: skip
    assert abs(chance - 0.01) < 0.004


def test_stars_have_the_highest_score_of_their_spectra(program):
    study = program("outliers_study")
    score = np.ma.array([1.0, 3, 2, 9], mask=[False, False, False, True])
    assert study.by_star(QTable({"object_id": ["a", "b", "a", "c"], "score": score})) == {"a": 2, "b": 3}
