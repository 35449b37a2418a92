"""Joining by identifier and batching by star."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specalign.data.loading import StarLoader, check_good_pixels, join_stars
from specalign.exceptions import EmptySpectrumError, MatchError, SpectrumError
from specalign.tests.alignment.survey import observe, stars

IDS = st.lists(st.sampled_from([f"s{i}" for i in range(12)]), max_size=20)


@given(IDS, IDS, IDS)
def test_every_row_belongs_to_its_star(a, b, c):
    ids = {"a": a, "b": b, "c": c}
    index = join_stars(ids)
    for name, rows in ids.items():
        assert index.star_id[index.star[name]].tolist() == rows
    expected = [sum(star in rows for rows in ids.values()) > 1 for star in index.star_id]
    assert index.shared().tolist() == expected
    alone = {name: sorted({s for s in rows if sum(s in r for r in ids.values()) == 1}) for name, rows in ids.items()}
    assert {name: found.tolist() for name, found in index.unmatched().items()} == alone


def survey():
    both = stars(30)
    return {
        "apogee": observe("apogee", stars(33), visits=3),
        "nirspec": observe("nirspec", both[5:] + stars(4, first=50), visits=2),
        "gaia_xp": observe("gaia_xp", both[:2], correlated=True),
    }


def joined(prepared):
    return join_stars(
        {n: p.object_id for n, p in prepared.items()}, spectrum_id={n: p.spectrum_id for n, p in prepared.items()}
    )


def batches(prepared, **options):
    index = joined(prepared)
    return index, list(StarLoader(prepared, index, np.arange(len(index)), 7, **options))


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_row_comes_once_an_epoch(shuffle):
    prepared = survey()
    _, epoch = batches(prepared, shuffle=shuffle)
    for name, rows in prepared.items():
        seen = np.concatenate([b[name]["rows"] for b in epoch if name in b])
        assert sorted(seen) == list(range(len(rows)))


def test_all_visits_of_a_star_are_in_one_batch():
    index, epoch = batches(survey())
    where = [np.unique(np.concatenate([rows["star"] for rows in batch.values()])) for batch in epoch]
    assert len(np.concatenate(where)) == len(index)
    assert {len(stars_) for stars_ in where} <= {6, 7}


def test_batches_hold_the_rows_that_they_name():
    prepared = survey()
    index, epoch = batches(prepared)
    for name, rows in ((n, r) for batch in epoch for n, r in batch.items()):
        for key in ("flux", "ivar", "mask"):
            np.testing.assert_array_equal(rows[key], getattr(prepared[name], key)[rows["rows"].numpy()])
        assert (index.star_id[rows["star"]] == prepared[name].object_id[rows["rows"].numpy()]).all()
        assert ("noise_scale" in rows) == (name == "gaia_xp")


def test_missing_instruments_leave_no_empty_entry():
    _, epoch = batches(survey())
    assert any("gaia_xp" not in batch for batch in epoch)
    assert all(len(rows["flux"]) for batch in epoch for rows in batch.values())


def test_the_order_follows_from_seed_and_epoch():
    def order(**options):
        return [b["apogee"]["rows"].tolist() for b in batches(survey(), **options)[1]]

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert order(seed=1, epoch=2) != order(seed=1, epoch=3)
    assert order(seed=1, epoch=2) != order(seed=2, epoch=2)
    assert order(shuffle=False, epoch=1) == order(shuffle=False, epoch=2)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_the_position_of_rows_does_not_matter(seed):
    prepared, rng = survey(), np.random.default_rng(seed)
    moved = {name: rows[rng.permutation(len(rows))] for name, rows in prepared.items()}
    for before, after in zip(batches(prepared)[1], batches(moved)[1], strict=True):
        assert before.keys() == after.keys()
        for name in before:
            assert torch.equal(before[name]["flux"], after[name]["flux"])
            assert torch.equal(before[name]["star"], after[name]["star"])


def test_read_only_memory_maps_are_read_without_a_warning(tmp_path):
    prepared = observe("apogee", stars(5))
    np.save(tmp_path / "flux.npy", prepared.flux)
    prepared.flux = np.load(tmp_path / "flux.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, epoch = batches({"apogee": prepared})
    assert epoch[0]["apogee"]["flux"].shape == (5, 40)


def test_no_stars_and_no_batch_size():
    prepared = survey()
    assert list(StarLoader(prepared, joined(prepared), np.arange(0), 7)) == []
    with pytest.raises(ValueError, match="batch_size: expected at least 1 star, got 0"):
        StarLoader(prepared, joined(prepared), np.arange(3), 0)


def test_pairs_translate_identifiers():
    ids = {"apogee": ["a1", "a2", "a2", "same"], "nirspec": ["n2", "n1", "same"]}
    index = join_stars(ids, {"object_id_a": ["a1", "a2"], "object_id_b": ["n1", "n2"]})
    a, n = index.star["apogee"], index.star["nirspec"]
    assert (a[0], a[1], a[2]) == (n[1], n[0], n[0])
    assert a[3] != n[2]  # equal names in two catalogues are no pair
    assert {k: len(v) for k, v in index.unmatched().items()} == {"apogee": 1, "nirspec": 1}


def test_pairs_with_a_column_an_instrument():
    ids = {"a": ["a1", "a2"], "b": ["b1"], "c": ["c1", "c2"]}
    index = join_stars(
        ids, {"a": ["a1", "", "a2"], "b": ["b1", "", ""], "c": ["c1", "c9", "c2"], "distance": [0, 0, 0]}
    )
    assert index.star["a"].tolist() == index.star["c"].tolist()
    assert index.star["a"][0] == index.star["b"][0]


def test_repeated_rows_of_pairs_are_one():
    index = join_stars({"a": ["a1"], "b": ["b1"]}, {"a": ["a1", "a1"], "b": ["b1", "b1"]})
    assert index.shared().tolist() == [True]


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ({"x": ["1"], "y": ["2"]}, "expected a column for each of a, b .* got x, y"),
        ({"a": ["a1", "a1"], "b": ["b1", "b2"]}, "a 'a1' is paired with 2 different objects"),
        ({"a": ["a1", "a2"], "b": ["b1", "b1"]}, "b 'b1' is paired with 2 different objects"),
    ],
)
def test_unusable_pairs_are_named(pairs, match):
    with pytest.raises(MatchError, match=match):
        join_stars({"a": ["a1"], "b": ["b1"]}, pairs)


@pytest.mark.parametrize(("name", "value"), [("flux", np.nan), ("flux", np.inf), ("ivar", np.nan), ("ivar", -1)])
def test_rubbish_in_good_pixels_is_named(name, value):
    prepared = observe("apogee", stars(4))
    column = int(np.flatnonzero(~prepared.mask[2])[0])
    getattr(prepared, name)[2, column] = value
    with pytest.raises(
        SpectrumError, match=r"apogee 'apogee-star-0002-0' \(row 2\) has flux or ivar that is not finite"
    ):
        check_good_pixels(prepared)


def test_a_row_without_good_pixels_is_named():
    prepared = observe("apogee", stars(4))
    prepared.mask[3], prepared.ivar[3] = True, 0
    with pytest.raises(EmptySpectrumError, match=r"row 3\) has no good pixel"):
        check_good_pixels(prepared)
