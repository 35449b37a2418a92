"""The benchmark of label errors: calibration stars are kept whole and apart; what is printed is what was measured."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import EmbeddingTable


def table_of(names):
    return EmbeddingTable(np.eye(len(names)), names, np.arange(len(names)), "toy", 50, 1)


def test_the_stars_that_calibrate_are_the_same_in_both_instruments_and_not_trained_on(program):
    bench = program("bench_labels")
    names = [f"star {i // 2}" for i in range(300)]
    both = {"a": table_of(names), "b": table_of(names[::-1])}
    train, kept = bench.split_training(both, seed=1)
    stars = {key: set(rows.object_id.tolist()) for key, rows in kept.items()}
    assert stars["a"] == stars["b"]
    assert not stars["a"] & set(train["a"].object_id.tolist())
    assert len(train["a"]) + len(kept["a"]) == 300
    assert len(stars["a"]) / 150 == pytest.approx(bench.KEPT, abs=0.1)


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
