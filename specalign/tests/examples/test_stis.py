"""The study of stars that HST and Gaia XP both saw: its figures mean what the results page says."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from specalign.exceptions import SpectrumError

ROOT = Path(__file__).resolve().parents[3]
PATHS = [str(ROOT / "benchmarks"), str(ROOT / "docs" / "examples" / "specalign-stis")]


@pytest.fixture(scope="module")
def bench():
    """The benchmark, with the plugin of the example as it lies in the documentation."""
    if not (ROOT / "benchmarks" / "bench_calspec.py").is_file():
        pytest.skip("needs the checkout's folder 'benchmarks'")
    pytest.importorskip("pyarrow")
    before = list(sys.path)
    sys.path[:0] = PATHS
    try:
        import bench_calspec
    finally:
        sys.path[:] = before
    yield bench_calspec
    sys.modules.pop("specalign_stis", None)  # the other tests want the installed one


@pytest.fixture
def stars():
    """ln XP of star i over HST of star j (20, 20, 50): other shapes, one ratio for all, levels, noise, gaps."""
    rng = np.random.default_rng(4)
    shape, ratio = rng.normal(0, 0.02, (20, 50)), 0.3 * np.sin(np.arange(50.0))
    seen = shape + ratio + rng.normal(0, 0.002, (20, 50)) + rng.normal(size=(20, 1))
    difference = seen[:, None] - shape[None]
    difference[3, :, 10:14] = difference[:, 3, 10:14] = np.nan
    return difference


def test_the_ratio_of_the_training_stars_finds_stars_that_a_plain_chi_square_confuses(bench, stars):
    middle, scatter = bench.learned(stars, np.arange(20))
    plain = bench.ranks(bench.chi_square_scores(stars, 0.01), np.arange(20))
    found = bench.ranks(bench.chi_square_scores(stars - middle, scatter), np.arange(20))
    assert all((found[way] == 1).all() for way in bench.WAYS)
    assert all((plain[way] == 1).mean() < 0.8 for way in bench.WAYS)


def test_levels_and_samples_without_a_scatter_say_nothing(bench, stars):
    stars[:, :, 7] = np.nan
    middle, scatter = bench.learned(stars, np.arange(20))
    scores = bench.chi_square_scores(stars - middle, scatter)
    raised = bench.chi_square_scores(stars - middle + 3.0, scatter)
    assert scatter[7] == np.inf
    np.testing.assert_allclose(raised, scores, rtol=1e-6)


def test_a_score_that_is_no_number_is_an_error_and_no_hit(bench):
    with pytest.raises(SpectrumError, match="expected finite numbers, got 9"):
        bench.ranks(np.full((3, 3), np.nan), np.arange(3))
    ranks = bench.ranks(np.array([[2.0, 3.0], [1.0, 4.0]]), np.arange(2))
    assert [ranks[way].tolist() for way in bench.WAYS] == [[2, 1], [1, 1]]


def test_every_star_is_tested_once_and_never_trained_on_then(bench):
    folds = bench.folds_of(91, seed=2)
    assert np.sort(np.concatenate([test for test, _ in folds])).tolist() == list(range(91))
    assert all(not set(test) & set(train) and len(test) + len(train) == 91 for test, train in folds)
    assert [test.tolist() for test, _ in folds] != [test.tolist() for test, _ in bench.folds_of(91, seed=3)]


def test_each_star_has_the_rank_of_the_fold_that_tests_it(bench):
    pairs = types.SimpleNamespace(name=np.arange(91), type=np.repeat(list(bench.TYPES), (30, 10, 23, 24, 4)))
    trained = []

    def scores_of(train):
        trained.append(train)
        scores = np.eye(91)
        scores[train] = 2 * np.roll(np.eye(91), 1, axis=1)[train]  # a star that was trained on would never be found
        return scores

    found = bench.in_turns(pairs, 0, scores_of)
    assert len(trained) == 5
    assert (found[bench.WAYS[0]] == 1).all()
    found[bench.WAYS[0]][:15] = 2
    table = bench.summary(found, pairs)[bench.WAYS[0]]
    assert table["recall@1"] == pytest.approx(76 / 91)
    assert (table["by_type"]["WD"], table["by_type"]["A"]) == (0.5, 1)


def test_cosines_tell_stars_apart_that_float32_cannot(bench):
    flux = 1 + 1e-5 * np.random.default_rng(1).normal(size=(20, 400))
    scores = bench.ops.masked_similarity(*map(bench.tensor, (flux, np.ones_like(flux), flux, np.ones_like(flux))))
    assert all((rank == 1).all() for rank in bench.ranks(scores.numpy(), np.arange(20)).values())


def test_rows_of_different_lengths_come_to_their_samples(bench):
    import calspec_data
    import pandas

    wavelength = [np.array([336.0, 339.99999999999994, 1020.0]), np.array([338.0])]
    table = pandas.DataFrame({"wavelength": wavelength, "flux": [np.array([1.0, 2.0, 3.0]), np.array([4.0])]})
    out = calspec_data._on_samples(table, "flux")
    assert (out[0, [0, 2, 342]].tolist(), out[1, 1], np.isfinite(out).sum()) == ([1, 2, 3], 4, 4)
    assert calspec_data.class_of("DA2.4", calspec_data.TYPES) == "WD"
    kinds = [calspec_data.class_of(kind) for kind in ("O9V", "sdO", "DA2.4", "A2/3", "sdF6", "M7V")]
    assert kinds == ["O, B, WD", "O, B, WD", "O, B, WD", "A", "F, G", "K, M"]


def test_the_page_shows_what_is_stored(bench, tmp_path):
    from results_calspec import calspec_section
    from results_page import write_page

    store, page = ROOT / "benchmarks" / "results", (ROOT / "docs" / "results.rst").read_text(encoding="utf-8")
    section = calspec_section(store)
    assert section.count("\n   * - ") > 30
    assert section in page
    write_page(tmp_path / "results.rst", store)
    assert (tmp_path / "results.rst").read_text(encoding="utf-8") == page, "run: python benchmarks/bench_results.py"


@pytest.mark.shared
def test_real_stars_agree_with_hst_to_one_per_cent_in_the_red(bench, shared):
    pairs = bench.read_pairs(shared)
    row = bench.bin_row(pairs, 680, 750)
    assert (len(pairs.name), len(pairs.stated), row["n"]) == (91, 11, 91)
    assert row["quantiles"][1] == pytest.approx(1, abs=0.01)
    train = bench.folds_of(91, 0)[0][1]
    known = bench.calibrated(pairs, train)
    own = [bench.log_ratio(one, "matched")[train, train, 10:300] for one in (pairs, known)]
    waves = [np.nanstd(np.nanmedian(one - np.nanmedian(one, axis=1, keepdims=True), axis=0)) for one in own]
    assert waves[1] < 0.2 * waves[0]
    made = bench.between(pairs, train, 40, np.random.default_rng(1))
    assert [one.mask.any() for one in made.values()] == [False, False]
    colour = [one.flux[:, 100] / one.flux[:, 200] for one in (made["stis"], pairs.prepared["matched"][train])]
    assert 0.99 * colour[1].min() < colour[0].min() < colour[0].max() < 1.01 * colour[1].max()
    scores = bench.chi_square_scores(bench.log_ratio(pairs, "matched"), 0.01)
    chance = 1 / 91
    assert all((rank == 1).mean() > 20 * chance for rank in bench.ranks(scores, np.arange(91)).values())
