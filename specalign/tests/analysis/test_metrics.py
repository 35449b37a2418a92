import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from specalign import EmbeddingTable, metrics
from specalign.exceptions import GridMismatchError, LabelError, MatchError
from specalign.tests.analysis.conftest import make_table


def table(vectors, names, instrument="apogee"):
    return EmbeddingTable(vectors, names, [f"{i}" for i in range(len(names))], instrument, 50, 1, {"space": "s"})


def test_figures_of_known_ranks():
    angle = np.radians([0, 10, 20, 30])
    gallery = table(np.stack([np.cos(angle), np.sin(angle)], axis=1), list("abcd"))
    # the queries point at a; their own stars are at ranks 1, 2 and 4
    queries = table([[1, 0]] * 4, ["a", "b", "d", "x"], "nirspec")
    assert metrics.retrieval(queries, gallery) == {
        "recall@1": pytest.approx(1 / 3),
        "recall@5": 1.0,
        "recall@10": 1.0,
        "mrr": pytest.approx((1 + 1 / 2 + 1 / 4) / 3),
        "median_rank": 2.0,
        "n_queries": 4,
        "n_gallery": 4,
        "n_unmatched": 1,
        "chance_recall@1": 0.25,
    }


def test_the_best_of_several_visits_counts():
    angle = np.radians([40, 0, 5, 10])
    gallery = table(np.stack([np.cos(angle), np.sin(angle)], axis=1), list("abca"))
    figures = metrics.retrieval(table([[1, 0]], ["a"], "nirspec"), gallery, ks=(2, 3))
    assert figures["median_rank"] == 3
    assert (figures["recall@2"], figures["recall@3"]) == (0, 1)
    assert figures["chance_recall@1"] == 0.5


def brute_force(queries, gallery):
    ranks = []
    for vector, name in zip(queries.vectors, queries.object_id, strict=True):
        order = np.argsort(-(gallery.vectors @ vector), kind="stable")
        ranks.append(1 + np.flatnonzero(gallery.object_id[order] == name)[0])
    return np.array(ranks)


@given(seed=st.integers(0, 50), visits=st.integers(1, 3))
def test_agrees_with_sorting_everything(seed, visits):
    gallery = make_table(30, visits=visits, noise=0.3, seed=seed)[0]
    queries = make_table(30, visits=2, noise=0.3, seed=seed + 100, instrument="nirspec")[0]
    rank = brute_force(queries, gallery)
    figures = metrics.retrieval(queries, gallery)
    assert figures["mrr"] == pytest.approx((1 / rank).mean())
    assert figures["recall@5"] == pytest.approx((rank <= 5).mean())
    assert figures["median_rank"] == np.median(rank)


@given(order=st.permutations(range(40)))
def test_the_order_of_rows_does_not_matter(order):
    gallery, queries = make_table(40, noise=0.3)[0], make_table(40, noise=0.3, seed=1)[0]
    assert metrics.retrieval(queries, gallery) == metrics.retrieval(queries[list(order)], gallery[list(order)[::-1]])


def test_no_common_star_is_an_error():
    with pytest.raises(MatchError, match=r"none of the 3 queries .* \['star 0100'"):
        metrics.retrieval(make_table(3, first=100)[0], make_table(3)[0])


def test_two_spaces_are_refused():
    with pytest.raises(GridMismatchError, match="cannot be compared"):
        metrics.retrieval(make_table(3)[0], make_table(3, space="s2")[0])


def test_compare_puts_methods_in_one_table():
    queries, gallery = make_table(20, seed=1)[0], make_table(20)[0]
    rows = metrics.compare({"aligned": metrics.retrieval(queries, gallery), "other": {"recall@1": 0.5}})
    assert list(rows["method"]) == ["aligned", "other"]
    assert rows["recall@1"][1] == 0.5
    assert np.isnan(rows["mrr"][1])


TRUE = QTable(
    {
        "object_id": list("abcd"),
        "teff": [4000.0, 4500, 5000, 6000] * u.K,
        "logg": [1.0, 2, 3, np.nan] * u.dex(u.cm / u.s**2),
    }
)
PREDICTED = QTable(
    {
        "object_id": ["c", "a", "b", "b", "x", "d"],
        "teff": [5.03, 4.0, 4.5, 4.45, 9, 6] * u.kK,
        "logg": [3.1, 1.0, 2.0, 2.0, 0.0, 4.0] * u.dex(u.cm / u.s**2),
    }
)


def test_label_figures_are_joined_by_star_and_converted():
    figures = metrics.labels(PREDICTED, TRUE)
    teff, logg = figures
    assert (teff["label"], teff["unit"], teff["n"], teff["n_missing"]) == ("teff", "K", 5, 1)
    assert (logg["label"], logg["unit"], logg["n"], logg["n_missing"]) == ("logg", "dex", 4, 2)
    difference = np.array([30.0, 0, 0, -50, 0])
    truth = np.array([5000.0, 4000, 4500, 4500, 6000])
    assert teff["rmse"] == pytest.approx(np.sqrt((difference**2).mean()))
    assert teff["bias"] == pytest.approx(-4)
    assert teff["mad"] == pytest.approx(0)
    assert teff["r2"] == pytest.approx(1 - (difference**2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert logg["bias"] == pytest.approx(0.025)
    assert np.isnan(teff["ratio"])


def test_ratio_to_a_bound_by_star_or_by_number():
    bound = QTable({"object_id": list("abcdx"), "teff": [10, 20, 30, 40, 1000] * u.K})
    by_star = metrics.labels(PREDICTED, TRUE, bound)[0]
    assert by_star["bound"] == pytest.approx(np.sqrt(np.mean(np.square([30, 10, 20, 20, 40]))))
    assert by_star["ratio"] == pytest.approx(by_star["rmse"] / by_star["bound"])
    assert metrics.labels(PREDICTED, TRUE, {"teff": 0.02 * u.kK})[0]["bound"] == pytest.approx(20)


@pytest.mark.parametrize("unit", [u.dex, u.dex(u.cm / u.s**2)])
def test_a_bound_of_log_g_is_in_dex(unit):
    gravity = u.dex(u.cm / u.s**2)
    true = QTable({"object_id": ["a", "b"], "logg": [2.0, 3.0] * gravity})
    predicted = QTable({"object_id": ["a", "b"], "logg": [2.1, 2.9] * gravity})
    assert metrics.labels(predicted, true, {"logg": 0.05 * unit})[0]["ratio"] == pytest.approx(2)
    assert np.isnan(metrics.labels(PREDICTED, TRUE, {"teff": 20 * u.K})[1]["ratio"])


def test_masked_labels_are_left_out():
    masked = Table({"object_id": list("abc"), "teff": MaskedColumn([4000.0, 1, 5000], mask=[0, 1, 0], unit="K")})
    assert metrics.labels(PREDICTED, QTable(masked))[0]["n"] == 2
    assert metrics.labels(PREDICTED, masked)[0]["n"] == 2


def test_two_systems_are_refused():
    a, b = TRUE.copy(), PREDICTED.copy()
    a.meta["label_system"], b.meta["label_system"] = "aspcap-dr17", "lamost-dr10"
    with pytest.raises(LabelError, match="'lamost-dr10' cannot be compared with those of 'aspcap-dr17'"):
        metrics.labels(b, a)


def test_a_star_labelled_twice_is_refused():
    with pytest.raises(MatchError, match="'a' occurs 2 times"):
        metrics.labels(PREDICTED, TRUE[[0, 0, 1]])


def test_a_label_without_unit_is_refused():
    with pytest.raises(LabelError, match="teff: expected a unit"):
        metrics.labels(PREDICTED, QTable({"object_id": ["a"], "teff": [4000.0]}))


def test_inconvertible_units_are_refused():
    with pytest.raises(LabelError, match="teff: expected km, got kK"):
        metrics.labels(PREDICTED, QTable({"object_id": ["a"], "teff": [4000.0] * u.km}))


def test_no_common_label_is_refused():
    with pytest.raises(LabelError, match="no common label"):
        metrics.labels(PREDICTED["object_id", "teff"], TRUE["object_id", "logg"])


class TestBins:
    @staticmethod
    def tables(n=400, seed=0):
        rng = np.random.default_rng(seed)
        teff, fe_h = rng.uniform(4000, 6500, n), rng.uniform(-2, 0.4, n)
        names = [f"star {i}" for i in range(n)]
        true = QTable({"object_id": names, "teff": teff * u.K, "fe_h": fe_h * u.dex})
        # a model that shrinks towards the mean, and is worse for hot stars
        noise = rng.normal(0, np.where(teff > 5500, 200, 50))
        predicted = QTable(
            {"object_id": names, "teff": (5000 + 0.9 * (teff - 5000) + noise) * u.K, "fe_h": fe_h * u.dex}
        )
        return predicted, true

    def test_each_bin_has_the_figures_of_its_stars(self):
        predicted, true = self.tables()
        found = metrics.labels_in_bins(predicted, true, by="teff")
        for name, rows in {"cool": true["teff"] < 4500 * u.K, "hot": true["teff"] >= 5500 * u.K}.items():
            expected = metrics.labels(predicted[rows], true)
            row = found[(found["bin"] == name) & (found["label"] == "teff")][0]
            assert row["n"] == rows.sum()
            for key in ("rmse", "bias", "mad", "r2"):
                assert row[key] == pytest.approx(expected[key][0])
        assert found["n"].sum() == 2 * len(true)

    def test_the_default_bins_leave_no_star_out(self):
        predicted, true = self.tables()
        for by in ("teff", "fe_h"):
            found = metrics.labels_in_bins(predicted, true, by=by)
            assert found["n"][found["label"] == "teff"].sum() == len(true)
            assert found.meta == {"by": by, "n_outside": 0, "n_unknown": 0}
        assert found["bin"][0] == "metal-poor"
        assert found["high"][0] == -1 * u.dex

    def test_an_empty_bin_stays(self):
        predicted, true = self.tables()
        found = metrics.labels_in_bins(predicted, true, edges=[3, 3.5, 5] * u.kK)
        assert found["n"].tolist()[:2] == [0, 0]
        assert np.isnan(found["rmse"][0])
        assert found["low"].unit == u.K
        assert found["bin"][0] == "3000 to 3500"

    def test_a_bin_holds_its_lower_edge_only(self):
        true = QTable({"object_id": list("abcd"), "teff": [4000, 5000, 5000, 6000.0] * u.K})
        found = metrics.labels_in_bins(true, true, edges=[4000, 5000, 6000] * u.K)
        assert found["n"].tolist() == [1, 2]
        assert found.meta["n_outside"] == 1

    @given(st.permutations(range(30)))
    def test_the_order_of_rows_does_not_matter(self, order):
        predicted, true = self.tables(30)
        here, there = (metrics.labels_in_bins(p, true, by="fe_h") for p in (predicted, predicted[order]))
        assert here["n"].tolist() == there["n"].tolist()
        np.testing.assert_allclose(here["rmse"], there["rmse"], rtol=1e-9)

    def test_no_prediction_is_lost(self):
        predicted, true = self.tables(50)
        true["teff"][:4] = np.nan * u.K
        found = metrics.labels_in_bins(predicted, true[:40], edges=[4000, 5000, 5500] * u.K)
        n = found["n"][found["label"] == "fe_h"].sum()
        assert n + found.meta["n_outside"] + found.meta["n_unknown"] == 50
        assert found.meta["n_unknown"] == 14

    def test_logarithmic_labels_can_bin(self):
        unit = u.dex(u.cm / u.s**2)
        true = QTable({"object_id": list("abc"), "logg": [1.0, 2.0, 4.4] * unit})
        found = metrics.labels_in_bins(true, true, by="logg")
        assert found["n"].tolist() == [2, 1]
        assert found["high"].unit == unit

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"by": "mg_fe"}, "mg_fe"),
            ({"edges": [4000, 5000]}, "edges: expected a Quantity in K"),
            ({"edges": [1, 2] * u.dex}, "edges: expected K, got dex"),
            ({"edges": [5000, 4000] * u.K}, "edges: expected at least two increasing values"),
            ({"edges": [5000] * u.K}, "edges: expected at least two increasing values"),
        ],
    )
    def test_wrong_bins_are_refused(self, options, message):
        with pytest.raises(LabelError, match=message):
            metrics.labels_in_bins(*self.tables(20), **options)

    def test_a_label_without_bins_of_its_own(self):
        true = QTable({"object_id": list("ab"), "mg_fe": [0.1, 0.2] * u.dex})
        with pytest.raises(LabelError, match=r"mg_fe: there are no bins of its own \(only of teff, logg, fe_h\)"):
            metrics.labels_in_bins(true, true, by="mg_fe")
