"""A star's part follows from its identifier alone."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specalign.data.splits import hash_fraction, split

IDS = np.array([f"star-{i}" for i in range(4000)])


@given(st.permutations(range(40)), st.integers(1, 40), st.integers(0, 5))
def test_order_and_subset_do_not_matter(order, size, seed):
    rows = order[:size]
    assert split(IDS[rows], seed=seed).tolist() == split(IDS, seed=seed)[rows].tolist()


def test_visits_of_a_star_share_their_part():
    part = split(np.repeat(IDS, 3))
    assert (part.reshape(-1, 3) == part[::3, None]).all()


def test_shares_are_as_asked():
    part = split(IDS, validation=0.2, test=0.3)
    shares = [(part == name).mean() for name in ("train", "validation", "test")]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.03)


@pytest.mark.parametrize(("validation", "test", "only"), [(0, 0, "train"), (1, 0, "validation"), (0, 1, "test")])
def test_extreme_shares(validation, test, only):
    assert set(split(IDS, validation=validation, test=test)) == {only}


def test_the_test_part_does_not_depend_on_the_validation_part():
    some, more = split(IDS, validation=0.1), split(IDS, validation=0.4)
    assert ((some == "test") == (more == "test")).all()


def test_seeds_and_purposes_are_independent():
    base = hash_fraction(IDS)
    for other in (hash_fraction(IDS, seed=1), hash_fraction(IDS, purpose="order")):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.06
    assert np.sort(base)[[0, -1]] == pytest.approx([0, 1], abs=0.01)


def test_another_process_with_another_hash_seed_agrees():
    code = "from specalign.data.splits import hash_fraction; print(hash_fraction(['a', 'b'], 3).tolist())"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(hash_fraction(["a", "b"], 3).tolist())


def test_values_of_this_version_stay():
    """A change here moves stars of published tests into training sets."""
    assert hash_fraction(["2M17334253", "b"], 0).tolist() == pytest.approx([0.52765764, 0.43316357], abs=1e-8)


def test_no_rows():
    assert split([]).shape == (0,)


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0), (0.6, 0.6), (float("nan"), 0)])
def test_wrong_shares_are_refused(validation, test):
    with pytest.raises(ValueError, match="expected shares of at least 0 and at most 1 together"):
        split(IDS, validation=validation, test=test)
