"""A star's part follows from its identifier alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specalign.data.splits import StarSplit, hash_fraction, split
from specalign.exceptions import MatchError, SpecalignWarning, UnknownProductError

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


@pytest.mark.slow
def test_another_process_with_another_hash_seed_agrees():
    code = "from specalign.data.splits import hash_fraction; print(hash_fraction(['a', 'b'], 3).tolist())"
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": other}, capture_output=True, text=True, check=True
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


def test_a_ratio_is_shares():
    assert split(IDS, ratio=(5, 1, 2), seed=42).tolist() == split(IDS, validation=1 / 8, test=2 / 8, seed=42).tolist()
    assert split(IDS, ratio=(50, 10, 20)).tolist() == split(IDS, ratio=(5, 1, 2)).tolist()
    assert set(split(IDS, ratio=(0, 0, 1))) == {"test"}


@pytest.mark.parametrize(
    "ratio", [(1, 1), (0, 0, 0), (1, -1, 1), "5:1:2", 5, (1, 1, float("inf")), (1, float("nan"), 1)]
)
def test_wrong_ratios_are_refused(ratio):
    with pytest.raises(ValueError, match="ratio: expected three numbers of at least 0"):
        split(IDS, ratio=ratio)


class TestStarSplit:
    def test_it_is_the_split(self):
        parts = StarSplit.draw(np.repeat(IDS, 2), seed=7)
        assert parts.of(IDS).tolist() == split(IDS, ratio=(5, 1, 2), seed=7).tolist()
        assert len(parts) == sum(parts.counts.values()) == len(IDS)
        assert (parts.of(IDS)[parts.rows(IDS, "validation")] == "validation").all()
        assert "ratio 5:1:2, seed 7" in repr(parts)

    @settings(max_examples=30)
    @given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True))
    def test_what_is_saved_comes_back_whatever_the_names(self, tmp_path_factory, names):
        path = tmp_path_factory.mktemp("split") / "split.ecsv"
        names = [name for name in names if name.isprintable() and name.strip() == name]
        parts = StarSplit.draw([*names, "star"], seed=3)
        parts.save(path)
        again = StarSplit.load(path, [*names, "star"])
        assert again.object_id.tolist() == parts.object_id.tolist()
        assert again.part.tolist() == parts.part.tolist()
        assert (again.seed, again.ratio, again.digest) == (3, (5, 1, 2), parts.digest)

    def test_parts_of_ones_own_come_back_too(self, tmp_path):
        parts = StarSplit(["b", "a"], ["test", "train"])
        parts.save(tmp_path / "split.ecsv")
        again = StarSplit.load(tmp_path / "split.ecsv")
        assert again.of(["a", "b"]).tolist() == ["train", "test"]
        assert again.ratio is again.seed is None
        assert "of its own" in repr(again)

    def test_stars_at_hand_that_the_file_lacks_are_named(self, tmp_path):
        StarSplit.draw(IDS[:10]).save(tmp_path / "split.ecsv")
        match = (
            r"split\.ecsv: 2 stars \(new-1, new-2\) are at hand but not in the file; 1 star \(star-0\) is in the file"
        )
        with pytest.raises(MatchError, match=match):
            StarSplit.load(tmp_path / "split.ecsv", [*IDS[1:10], "new-2", "new-1"])

    def test_stars_of_the_file_that_are_not_at_hand_are_a_warning(self, tmp_path):
        StarSplit.draw(IDS[:10]).save(tmp_path / "split.ecsv")
        with pytest.warns(SpecalignWarning, match=r"7 stars \(star-3, .*, \.\.\.\) are in the file but not at hand"):
            StarSplit.load(tmp_path / "split.ecsv", IDS[:3])

    def test_a_star_that_was_moved_is_named(self, tmp_path):
        path = tmp_path / "split.ecsv"
        StarSplit.draw(IDS[:10]).save(path)
        lines = path.read_text().splitlines()
        row = next(i for i, line in enumerate(lines) if line.endswith(" star-5"))
        lines[row] = "test star-5" if lines[row].startswith("train") else "train star-5"
        path.write_text("\n".join(lines))
        with pytest.raises(MatchError, match=r"1 star \(star-5\) is in another part than seed and ratio"):
            StarSplit.load(path)

    @pytest.mark.parametrize(
        "content", ["", "not a table", "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n"]
    )
    def test_other_files_are_refused(self, tmp_path, content):
        path = tmp_path / "split.ecsv"
        path.write_text(content)
        with pytest.raises(UnknownProductError, match=r"split\.ecsv: expected a split that StarSplit\.save wrote"):
            StarSplit.load(path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            StarSplit.load(tmp_path / "none.ecsv")

    def test_a_failed_save_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "split.ecsv"
        StarSplit.draw(IDS[:10]).save(path)
        before = path.read_bytes()
        monkeypatch.setattr(
            "specalign.io.files._sync", lambda path: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
        with pytest.raises(OSError, match="No space left"):
            StarSplit.draw(IDS).save(path)
        assert path.read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_star_without_a_part_is_named(self):
        with pytest.raises(MatchError, match=r"1 star \(x\) is in no part of the split"):
            StarSplit.draw(IDS).of([IDS[0], "x", "x"])

    @pytest.mark.parametrize("names", [["a", "a"], ["a", ""], ["a", " b"], ["a", "b\n"], ["a", "\x85b"]])
    def test_names_that_no_file_would_keep_are_refused(self, names):
        with pytest.raises(MatchError, match=r"expected one part for each|expected printable names"):
            StarSplit(names, ["train", "test"])

    def test_other_parts_are_refused(self):
        with pytest.raises(ValueError, match="expected train, validation, test, got 'dev'"):
            StarSplit(["a"], ["dev"])
        with pytest.raises(ValueError, match="expected train, validation, test, got 'dev'"):
            StarSplit.draw(IDS).rows(IDS, "dev")
