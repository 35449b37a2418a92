"""The benchmark of label errors: calibration stars are kept whole and apart; what is told is what was measured."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import EmbeddingTable
from specalign.analysis.posterior import LabelPosterior
from specalign.data.scheme import LabelScheme


def table_of(names):
    return EmbeddingTable(np.eye(len(names)), names, np.arange(len(names)), "toy", 50, 1)


def test_the_stars_that_calibrate_are_the_same_in_both_instruments_and_not_trained_on(program):
    bench = program("bench_labels")
    names = [f"star {i // 2}" for i in range(300)]
    train, kept = bench.split_training(table_of(names), seed=1)
    _, other = bench.split_training(table_of(names[::-1]), seed=1)
    stars = set(kept.object_id.tolist())
    assert stars == set(other.object_id.tolist())
    assert not stars & set(train.object_id.tolist())
    assert len(train) + len(kept) == 300
    assert len(stars) / 150 == pytest.approx(bench.KEPT, abs=0.1)


def test_coverage_is_told_in_points_of_the_worst_label_and_third(program):
    bench = program("bench_labels")
    names = np.arange(300).astype(str)
    true = QTable({"object_id": names, "teff": np.zeros(300) * u.K})
    low = np.where(np.arange(300) < 75, 1, -1) * u.K  # a quarter, of the lowest S/N, is missed
    table = QTable({"object_id": names, "teff_lo_80": low, "teff_hi_80": np.full(300, 2.0) * u.K})
    found = bench.coverages(table, true, np.arange(300.0))
    assert found == {"0.8": {"teff": {"all": 0.75, "thirds": [0.25, 1.0, 1.0]}}}
    assert bench.departure("0.8", found["0.8"]) == "80 % off by at most 5.0, in a third 55.0"


def test_latency_is_of_one_spectrum(program):
    bench, asked = program("bench_labels"), []
    bench.latency(lambda rows: asked.append(len(rows)), table_of(np.arange(130).astype(str)), singles=3)
    assert asked == [100, 100, 1, 1, 1]


def test_histograms_stay_on_one_line(program):
    text = program("bench_labels").compact({"counts": [1, 2, 3], "shares": [0.5, -1e-05], "names": ["a b", "c"]})
    assert '"counts": [ 1, 2, 3 ],\n "shares": [ 0.5, -1e-05 ],' in text
    assert json.loads(text) == {"counts": [1, 2, 3], "shares": [0.5, -1e-05], "names": ["a b", "c"]}


def test_ranks_of_a_right_posterior_fill_equal_bins(program):
    bench = program("bench_labels")
    names, rng = np.arange(400).astype(str), np.random.default_rng(2)
    true = QTable({"object_id": names, "teff": rng.normal(size=400) * u.K})
    posterior = LabelPosterior(LabelScheme(("teff",), (u.K,), "mock", 1, 0), names, names, "toy", standard_normal)
    found = bench.ranks_of(posterior, true)["teff"]
    assert sum(found["counts"]) == 400
    assert len(found["counts"]) == 20
    assert max(found["counts"]) < 40
    assert found["p_value"] > 1e-3


def standard_normal(n, seed):
    return np.random.default_rng(seed).normal(size=(400, n, 1))


def test_stars_move_as_the_doppler_formula_says(program):
    observed = program("survey_observed")
    wavelength = 10 ** (np.log10(4900.0) + 1e-4 * np.arange(180))
    line = 1 - 0.5 * np.exp(-0.5 * ((wavelength - 5000) / 2) ** 2)
    velocity = np.array([0.0, 150.0, -150.0])
    flux = observed.moved(wavelength, np.tile(line, (3, 1)), velocity)
    places = ((1 - flux) * wavelength).sum(axis=1) / (1 - flux).sum(axis=1)
    np.testing.assert_allclose(299792.458 * (places / 5000 - 1), velocity, atol=0.5)
    np.testing.assert_allclose(flux[0], line, atol=1e-6)
    assert flux[1].min() == pytest.approx(0.5, abs=0.01)  # no line is smeared out


def test_velocities_that_are_not_reliable_are_told_apart(program):
    table = QTable(
        {"velocity": [10.0, 21.0, 500.0, np.nan] * u.km / u.s, "velocity_err": [1.0, 2.0, 9.0, 1.0] * u.km / u.s}
    )
    table["reliable"] = [True, True, False, False]
    found = program("survey_observed").velocity_figures(table, np.array([9.0, 22.0, 0.0, 0.0]), np.full(4, 0.5))
    assert (found["measured"], found["reliable"]) == (0.75, 0.5)
    assert found["rmse, reliable"] == pytest.approx(1)
    assert found["rmse"] == pytest.approx(np.sqrt((1 + 1 + 500**2) / 3))
    assert (found["bound"], found["error over bound"]) == (0.5, 3)


@pytest.mark.shared
def test_the_moving_survey_bounds_velocity_and_extinction(program, shared):
    stars = program("survey_observed").MovingStars(shared, 12, seed=3, n_test=6)
    assert stars.labels.colnames[1:] == ["teff", "logg", "fe_h", "radial_velocity", "a_v"]
    assert stars.labels["radial_velocity"].value.std() == pytest.approx(100, rel=0.6)
    test = stars.prepare("lamost_lrs")[1]
    assert set(test.catalog["frame"]) == {"barycentric"}
    assert 0.05 < stars.bound("lamost_lrs")["radial_velocity"].value < 30
    assert 0.001 < stars.bound("gaia_xp")["a_v"].value < 0.3
    table, velocity = stars.correlated_velocities()
    difference = (table["velocity"].value - velocity)[table["reliable"]]
    assert len(difference) > 2
    assert np.abs(difference).max() < 30


def method_of(share, rmse, counts=None):
    third = {"all": share, "thirds": [share, share, share - 0.04]}
    rank = {"p_value": 0.2, "mean": 0.5, "spread": 1.1} | ({"counts": counts} if counts else {})
    exact = {"all": 0.8, "thirds": [0.8, 0.8, 0.8]}
    return {
        "seconds": 1.0,
        "labels": {"radial_velocity": {"rmse": rmse, "bias": 0.0, "r2": 0.9}},
        "coverage": {"0.8": {"radial_velocity": third}},
        "coverage, conformal": {"0.8": {"radial_velocity": exact}},
        "coverage, marginal": {"0.8": {"radial_velocity": exact}},
        "width over bound": {"radial_velocity": 2.5},
        "ranks": {"radial_velocity": rank},
        "label_ms": {"batch": 0.5, "single": 2.0},
        "posterior_ms": {"batch": 1.0, "single": 3.0},
    }


def store_row(folder, row, counts=None, seed=31, share=0.77, **more):
    methods = {"knn": method_of(share, 31.0, counts), "mlp": method_of(0.81, 20.0, counts)}
    one = {"n_test": 2000, "embed_ms": {"batch": 0.25, "single": 1.0}, "methods": methods}
    result = {"fit_seconds": 9.0, "n_kept": 500, "threads": 2, "instruments": {"lamost": one}} | more
    (folder / f"labels-{row}-seed{seed}-stars20000.json").write_text(json.dumps(result))


def test_seeds_that_kept_different_numbers_of_stars_are_told(program, tmp_path):
    page = program("results_labels")
    for seed, kept in ((31, 512), (32, 500)):
        store_row(tmp_path, "apogee-nirspec-given", seed=seed, n_kept=kept)
    assert "Seeds: 2; 500 to 512 stars calibrate, 2000 test." in page.labels_section(tmp_path, 20000)


def test_the_section_tells_what_is_stored_and_which_targets_are_met(program, tmp_path):
    page = program("results_labels")
    assert page.labels_section(tmp_path, 20000) == ""
    store_row(tmp_path, "apogee-nirspec-given")  # as rows were stored before histograms were
    text = page.labels_section(tmp_path, 20000)
    assert page.labels_section(tmp_path, 300) == ""
    cells = ["lamost", "knn", "3.0", "7.0", *4 * ["0.0"], "0.2", "1.10-1.10", "0.75; 3.0", "1.25; 4.0"]
    assert "   * - " + "\n     - ".join(cells) in text
    assert "* own posterior: met by mlp on lamost; missed by knn on lamost." in text
    assert "* conformal by S/N: met by knn on lamost, mlp on lamost; missed by none." in text
    assert "The aligner took 0.1 minutes, and the slowest label model, ``mlp``, 1 seconds (threads: 2)." in " ".join(
        text.split()
    )
    assert "     - exact, by chance\n     - 0.6\n" in text
    assert "Seeds: 1; 500 stars calibrate, 2000 test." in text
    assert "31.0 (2.50)" in text
    assert "figure::" not in text
    page.write_figure(tmp_path / "ranks.png", tmp_path, 20000)
    assert not (tmp_path / "ranks.png").exists()


def test_coverage_is_averaged_over_seeds(program, tmp_path):
    page = program("results_labels")
    for seed, share in ((31, 0.77), (32, 0.81)):
        store_row(tmp_path, "apogee-nirspec-given", seed=seed, share=share)
    text = page.labels_section(tmp_path, 20000)
    assert "     - knn\n     - 1.0\n     - 5.0\n" in text  # 0.79 on all, 0.75 in a third
    assert "Seeds: 2;" in text


def test_exact_intervals_depart_as_binomials_do(program):
    by_chance = program("coverage_by_chance").by_chance
    own, kept = by_chance(2000, 0, 1, (0.5,)), by_chance(2000, 2000, 1, (0.5,), n_bins=1)
    sigma = 100 * np.sqrt(0.25 / 2000)
    assert own["all"] == pytest.approx(0.674 * sigma, rel=0.2)  # the median of |z|
    assert kept["all"] == pytest.approx(0.674 * sigma * np.sqrt(2), rel=0.2)  # as many calibrate as test
    assert own["third"] > 1.5 * own["all"]
    assert by_chance(2000, 0, 1, (0.5,), n_seeds=9)["all"] == pytest.approx(own["all"] / 3, rel=0.3)


def test_velocities_stand_beside_those_of_cross_correlation(program, tmp_path):
    page, measured = program("results_labels"), {"measured": 1.0, "reliable": 0.99, "rmse": 30.0, "rmse, reliable": 4.0}
    measured |= {"scatter": 2.0, "pull": 1.0, "error over bound": 1.0, "bound": 3.5}
    store_row(tmp_path, "lamost-gaia_xp-observed", [100] * 20, **{"cross-correlation": measured})
    text = " ".join(page.labels_section(tmp_path, 20000).split())
    assert "20.0 km/s (mlp), 5.0 times the error of cross-correlation. An encoder is not made" in text
    assert f"figure:: {page.FIGURE}" in text
    page.write_figure(tmp_path / page.FIGURE, tmp_path, 20000)
    assert (tmp_path / page.FIGURE).read_bytes().startswith(b"\x89PNG")
