"""The study of a catalogue: every row is accounted for, and the order of rows changes nothing."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

import specalign as sa
from specalign.analysis.catalogue import (
    compare_catalogues,
    describe_labels,
    find_duplicates,
    select_spanning,
    unique_stars,
)
from specalign.exceptions import LabelError, MatchError
from specalign.mock import draw_labels

GRAVITY = u.dex(u.cm / u.s**2)
LABELS = ("teff", "logg", "fe_h")


def catalogue(ids, teff, logg=None, fe_h=None, **columns):
    logg = np.full(len(ids), 2.5) if logg is None else logg
    fe_h = np.full(len(ids), -0.1) if fe_h is None else fe_h
    table = QTable({"object_id": np.array(ids, dtype=str), "teff": np.array(teff, dtype=float) * u.K})
    table["logg"], table["fe_h"] = u.Dex(logg, GRAVITY), np.array(fe_h, dtype=float) * u.dex
    for name, column in columns.items():
        table[name] = column
    return table


values = st.sampled_from([4000.0, 4500.0, 5000.0, np.nan])
rows = st.lists(st.tuples(st.sampled_from("abcdef"), values, st.sampled_from([1.0, 2.0, np.nan])), max_size=12)


def from_rows(drawn):
    ids, teff, logg = zip(*drawn, strict=True) if drawn else ((), (), ())
    return catalogue(ids, teff, np.array(logg, dtype=float))


def same(one, other, without=()):
    """Whether two tables hold the same, to the last bit."""
    names = [name for name in one.colnames if name not in without]
    plain = [[np.asarray(getattr(t[name], "value", t[name])) for name in names] for t in (one, other)]
    return len(one) == len(other) and all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in zip(*plain, strict=True)
    )


@settings(max_examples=40)
@given(rows, rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(drawn_a, drawn_b, random):
    a, b = from_rows(drawn_a), from_rows(drawn_b)
    mixed_a, mixed_b = (from_rows(random.sample(drawn, len(drawn))) for drawn in (drawn_a, drawn_b))
    study, again = compare_catalogues(a, b), compare_catalogues(mixed_a, mixed_b)
    assert study.facts() == again.facts()
    for name in ("only_a", "only_b", "agreement"):
        assert same(getattr(study, name), getattr(again, name))
    assert same(study.a.labels, again.a.labels)
    assert same(study.a.duplicates, again.a.duplicates, without=["row"])
    assert same(unique_stars(a), unique_stars(mixed_a))


@settings(max_examples=50)
@given(rows, rows)
def test_every_row_and_star_is_accounted_for(drawn_a, drawn_b):
    a, b = from_rows(drawn_a), from_rows(drawn_b)
    study = compare_catalogues(a, b)
    for part, only, table in ((study.a, study.only_a, a), (study.b, study.only_b, b)):
        assert part.n_rows == len(table) == part.n_stars + part.n_dropped
        assert part.n_dropped == (~part.duplicates["kept"]).sum()
        assert part.n_stars == study.n_common + len(only) == len(set(table["object_id"].tolist()))
        assert (part.labels["n"] + part.labels["n_missing"] == part.n_stars).all()
    assert (study.agreement["n"] + study.agreement["n_missing"] == study.n_common).all()
    assert not set(study.only_a["object_id"].tolist()) & set(b["object_id"].tolist())


@given(rows)
def test_duplicates_have_one_kept_row_a_star(drawn):
    table = from_rows(drawn)
    found = find_duplicates(table)
    for star in set(found["object_id"].tolist()):
        rows_of = found[found["object_id"] == star]
        assert rows_of["kept"].sum() == 1
        assert sorted(rows_of["row"]) == np.flatnonzero(table["object_id"] == star).tolist()
        inside = table[rows_of["row"]]
        equal = all(same(inside[[i]][LABELS], inside[[0]][LABELS]) for i in range(len(inside)))
        assert set(rows_of["kind"]) == {"equal" if equal else "conflicting"}
    assert len(table) - len(found) == sum(np.unique(table["object_id"], return_counts=True)[1] == 1)


def test_the_row_with_the_highest_snr_is_kept_then_the_fullest():
    table = catalogue(["a", "a", "b", "b"], [4000, 4100, np.nan, 5000], snr=[50.0, 90.0, np.nan, np.nan])
    found = find_duplicates(table)
    assert found["row"][found["kept"]].tolist() == [1, 3]
    assert found["differing"].tolist() == ["teff"] * 4
    assert unique_stars(table)["teff"].value.tolist() == [4100, 5000]


def test_ranges_leave_masked_and_missing_values_out():
    ids = [f"s{i}" for i in range(5)]
    teff = MaskedColumn([4000.0, 4500, 5000, -9999, np.nan], mask=[0, 0, 0, 1, 0], unit=u.K)
    table = Table({"object_id": ids, "teff": teff, "teff_err": [50.0, 60, 70, 80, 90] * u.K})
    row = describe_labels(table).labels[0]
    assert (row["n"], row["n_missing"], row["min"], row["median"], row["max"]) == (3, 2, 4000, 4500, 5000)
    assert row["median_err"] == 70


def test_empty_and_missing_labels_are_described_without_a_warning():
    empty = catalogue([], [])
    assert describe_labels(empty).n_stars == 0
    assert describe_labels(empty).labels["n"].tolist() == [0, 0, 0]
    missing = describe_labels(catalogue(["a"], [np.nan]))
    assert np.isnan(missing.labels["median"][0])
    assert "1 of 1 stars" in repr(missing)
    both = compare_catalogues(empty, catalogue(["a"], [4000]))
    assert (both.n_common, len(both.only_b), both.agreement["n"].tolist()) == (0, 1, [0, 0, 0])
    assert np.isnan(both.agreement["rms"]).all()
    assert "stars in both" in both._repr_html_()


def test_agreement_is_robust_and_names_the_worst_star():
    rng = np.random.default_rng(3)
    ids = [f"s{i:03d}" for i in range(400)]
    a = catalogue(ids, rng.uniform(4000, 6000, 400), fe_h=rng.normal(size=400))
    b = a.copy()
    b["teff"] = b["teff"] + (30 + rng.normal(0, 50, 400)) * u.K
    b["teff"][7] += 3000 * u.K
    a["teff_err"], b["teff_err"] = np.full(400, 30) * u.K, np.full(400, 0.04) * u.kK
    b["teff"] = b["teff"].to(u.kK)
    study = compare_catalogues(a, b[rng.permutation(400)], names=("a", "b")).agreement
    teff = study[study["label"] == "teff"][0]
    assert teff["object_id"] == "s007"
    assert teff["median"] == pytest.approx(30, abs=8)
    assert teff["mad_std"] == pytest.approx(50, abs=6)
    assert teff["rms"] > 150
    assert teff["expected"] == pytest.approx(50)
    assert teff["unit"] == "K"
    assert study["unit"][study["label"] == "logg"][0] == "dex"
    assert study["largest"][study["label"] == "fe_h"][0] == 0


def test_agreement_leaves_out_what_one_of_them_lacks():
    a, b = catalogue(["x", "y", "z"], [4000, np.nan, 5000]), catalogue(["x", "y", "z"], [np.nan, 4500, 5020])
    teff = compare_catalogues(a, b).agreement[0]
    assert (teff["n"], teff["n_missing"], teff["median"], teff["object_id"]) == (1, 2, 20, "z")


def test_two_systems_are_named():
    a, b = catalogue(["x"], [4000]), catalogue(["x"], [4050])
    a.meta["label_system"], b.meta["label_system"] = "aspcap-dr17", "lamost-lasp"
    text = repr(compare_catalogues(a, b))
    assert "lamost-lasp minus aspcap-dr17" in text
    assert "the label systems differ" in text
    assert "differ" not in repr(compare_catalogues(a, a))
    assert "aspcap-dr17 (a)" in repr(compare_catalogues(a, a))


def test_stars_in_one_set_only_have_their_labels():
    labels = catalogue(["x", "y", "z"], [4256.7, 5000, 6000], [1.84, 3, 4], [-0.023, 0, 0])
    spectra = sa.EmbeddingTable(np.eye(2), ["z", "y"], ["z1", "y1"], "nirspec", 50, 1)
    study = compare_catalogues(labels, spectra)
    assert study.only_a["teff"].value.tolist() == [4256.7]
    assert study.b.name == "nirspec"
    other = sa.EmbeddingTable(np.eye(3), ["y", "x", "w"], ["1", "2", "3"], "apogee", 50, 1)
    study = compare_catalogues(spectra, other, labels=labels)
    assert study.only_b["object_id"].tolist() == ["w", "x"]
    assert np.isnan(study.only_b["teff"][0])
    assert study.only_b["teff"][1] == 4256.7 * u.K
    assert study.only_a["logg"].unit == GRAVITY


def test_several_spectra_of_a_star_are_no_conflict():
    spectra = sa.EmbeddingTable(np.eye(3), ["a", "b", "a"], ["1", "2", "3"], "nirspec", [50, 40, 70], 1)
    found = find_duplicates(spectra)
    assert found["kind"].tolist() == ["spectrum", "spectrum"]
    assert found["row"][found["kept"]].tolist() == [2]
    assert len(unique_stars(spectra)) == 2


def test_rows_joined_when_read_are_told():
    table = Table({"APOGEE_ID": ["a", "a", "b"], "TEFF": [4000.0, 4000, -9999]})
    study = describe_labels(sa.read_labels(table, system="aspcap-dr17"))
    assert study.n_joined == 1
    assert "1 equal rows joined when read" in repr(study)


def test_identifiers_that_are_missing_are_an_error():
    with pytest.raises(LabelError, match="expected a column object_id, got"):
        describe_labels(QTable({"teff": [4000] * u.K}))
    with pytest.raises(LabelError, match="object_id: 1 rows have no identifier, the first is row 1"):
        find_duplicates(catalogue(["a", " "], [1, 2]))
    with pytest.raises(LabelError, match="teff: expected a unit"):
        describe_labels(Table({"object_id": ["a"], "teff": [4000.0]}))


@settings(max_examples=20)
@given(st.integers(0, 5), st.randoms(use_true_random=False))
def test_selection_spans_the_labels_whatever_the_order(seed, random):
    labels = draw_labels(600, seed=seed)
    order = random.sample(range(600), 600)
    stars = select_spanning(labels, seed=seed)
    assert stars["object_id"].tolist() == select_spanning(labels[order], seed=seed)["object_id"].tolist()
    assert len(set(stars["object_id"].tolist())) == 10
    for name in LABELS:
        low, high = np.percentile(labels[name].value, [10, 90])
        assert stars[name].value.min() < low
        assert stars[name].value.max() > high
    counts = [stars.meta[name] for name in ("n_candidates", "n_without_label", "n_outlying")]
    assert sum(counts) == 600


def test_selection_leaves_out_what_has_no_label_and_wrong_values():
    labels = draw_labels(500)
    labels["fe_h"][:40] = np.nan
    labels["teff"][41] = 1e6 * u.K
    stars = select_spanning(labels, n=20)
    assert stars.meta["n_without_label"] == 40
    assert np.isfinite(stars["fe_h"].value).all()
    assert stars["teff"].max() < 1e4 * u.K


def test_selection_of_few_stars():
    labels = draw_labels(3)
    assert sorted(select_spanning(labels)["object_id"]) == sorted(labels["object_id"])
    assert len(select_spanning(labels[:1])) == 1
    labels["teff"] = np.nan * u.K
    with pytest.raises(LabelError, match="none of the 3 stars has teff, logg, fe_h"):
        select_spanning(labels)
    with pytest.raises(LabelError, match="none of the 0 stars"):
        select_spanning(draw_labels(3)[:0])
    with pytest.raises(MatchError, match="n: expected a positive number of stars, got 0"):
        select_spanning(draw_labels(3), n=0)
    with pytest.raises(LabelError, match="label 'mg_h' is not in the table"):
        select_spanning(draw_labels(3), names=("mg_h",))
