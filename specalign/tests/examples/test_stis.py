"""The study of stars that HST and Gaia XP both saw: its figures mean what the results page says."""

import sys
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


def test_rows_of_different_lengths_come_to_their_samples(bench):
    import calspec_data
    import pandas

    wavelength = [np.array([336.0, 339.99999999999994, 1020.0]), np.array([338.0])]
    table = pandas.DataFrame({"wavelength": wavelength, "flux": [np.array([1.0, 2.0, 3.0]), np.array([4.0])]})
    out = calspec_data._on_samples(table, "flux")
    assert (out[0, [0, 2, 342]].tolist(), out[1, 1], np.isfinite(out).sum()) == ([1, 2, 3], 4, 4)
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
    scores = bench.chi_square_scores(bench.log_ratio(pairs, "matched"), 0.01)
    chance = 1 / 91
    assert all((rank == 1).mean() > 20 * chance for rank in bench.ranks(scores, np.arange(91)).values())
