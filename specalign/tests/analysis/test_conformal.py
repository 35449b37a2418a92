"""Intervals that hold as often as they say: order statistics, stars that are kept apart, bins of S/N."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import given, settings
from hypothesis import strategies as st

from specalign import EmbeddingTable, LabelModel, metrics
from specalign.analysis import ConformalLabels, calibration_ranks, interval_coverage
from specalign.analysis.conformal import conformal_quantile, stars_needed
from specalign.exceptions import LabelError, MatchError, SpecalignError
from specalign.tests.analysis.conftest import make_table


class Wrong:
    """A model whose errors are the same for all rows, whatever their S/N; its values are 5000 K."""

    def __init__(self, error=1.0):
        self.error, self.fitted = error, []

    def __repr__(self):
        return "Wrong()"

    def fit(self, table, labels, **options):
        self.fitted.append(set(table.object_id.tolist()))

    def predict(self, table):
        n = len(table)
        out = QTable({"object_id": table.object_id, "spectrum_id": table.spectrum_id})
        out["teff"], out["teff_err"] = np.full(n, 5000.0) * u.K, np.full(n, self.error) * u.K
        return out


def survey_of(n, seed, first=0):
    """Stars whose labels scatter by 1000 K over S/N."""
    rng = np.random.default_rng(seed)
    names, snr = [f"star {i}" for i in range(first, first + n)], rng.uniform(10, 100, n)
    table = EmbeddingTable(rng.normal(size=(n, 3)), names, names, "toy", snr, np.ones(n), {"space": "s"})
    return table, QTable({"object_id": names, "teff": (5000 + 1000 / snr * rng.normal(size=n)) * u.K})


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_quantile_is_the_order_statistic_of_the_finite_sample(scores, level):
    """Of n + 1 exchangeable scores, at least the level is at or below it, and it is the least such score."""
    found, n = conformal_quantile(scores, level), len(scores)
    assert (found == np.inf) == (n < stars_needed(level))
    if np.isfinite(found):
        assert (np.sum(np.array(scores) <= found)) / (n + 1) >= level - 1e-9
        assert (np.sum(np.array(scores) < found)) / (n + 1) < level


def test_coverage_over_many_calibrations_is_what_the_theory_says():
    """Of nine stars, the interval of 80 % is the eighth score, and holds 8 / 10 of new ones in the mean."""
    rng = np.random.default_rng(1)
    scores, new = rng.exponential(size=(4000, 9)), rng.exponential(size=4000)
    held = np.mean([one <= conformal_quantile(row, 0.8) for row, one in zip(scores, new, strict=True)])
    assert held == pytest.approx(0.8, abs=0.02)


def test_intervals_are_those_of_mapie():
    regression = pytest.importorskip("mapie.regression")
    from sklearn.dummy import DummyRegressor

    table, labels = survey_of(100, 1)
    levels = [0.5, 0.8, 0.95]
    mine = ConformalLabels(Wrong(3.0), levels, bins=None).fit_model(table[:0], labels).calibrate(table, labels)
    features, y = np.zeros((100, 1)), labels["teff"].value
    constant = DummyRegressor(strategy="constant", constant=5000.0).fit(features, y)
    peer = regression.SplitConformalRegressor(constant, confidence_level=levels).conformalize(features, y)
    ends = peer.predict_interval(features[:1])[1][0]
    found = mine.predict(table[:1])
    for level, (low, high) in zip(levels, ends.T, strict=True):
        assert found[f"teff_lo_{100 * level:g}"][0].value == pytest.approx(low)
        assert found[f"teff_hi_{100 * level:g}"][0].value == pytest.approx(high)


def test_bins_of_signal_to_noise_hold_in_each_of_them():
    table, labels = survey_of(3000, 1)
    test, truth = survey_of(3000, 2, first=5000)
    covered = {}
    for bins in ("snr", None):
        model = ConformalLabels(Wrong(), bins=bins, calibration=0.5).fit(table, labels)
        covered[bins] = interval_coverage(model.predict(test), truth, by=test.snr)
    for row in covered["snr"]:
        assert row["coverage"] == pytest.approx(row["level"], abs=0.05)
        assert row["n"] == (3000 if row["bin"] < 0 else 1000)
    marginal = covered[None][np.isclose(covered[None]["level"], 0.8)]["coverage"]
    assert marginal[0] == pytest.approx(0.8, abs=0.03)
    assert marginal[1] < 0.65  # the lowest S/N
    assert marginal[3] > 0.9


@pytest.mark.parametrize("method", ["knn", "linear", "mlp"])
def test_intervals_around_label_models(method):
    options = {"mlp": {"hidden": 16, "members": 1, "max_epochs": 10}}.get(method, {})
    table, labels = make_table(600, noise=0.1)
    test, truth = make_table(400, noise=0.1, first=1000)
    model = ConformalLabels(LabelModel(method, **options), calibration=0.4, bins=None).fit(table, labels)
    predicted = model.predict(test)
    assert predicted["logg_lo_50"].unit == u.dex(u.cm / u.s**2)
    assert (predicted["teff_lo_95"] < predicted["teff_lo_50"]).all()
    middle = (predicted["teff_lo_80"] + predicted["teff_hi_80"]) / 2
    np.testing.assert_allclose(middle.value, predicted["teff"].value)
    rows = interval_coverage(predicted, truth)
    assert len(rows) == 9
    assert np.abs(rows["coverage"] - rows["level"]).max() < 0.12  # 240 stars to calibrate, 400 to test
    assert predicted.meta["conformal"]["n_calibration"]["teff"] == list(model.n_calibration["teff"])


def test_calibration_stars_are_never_fitted_to_and_stay_whole():
    table, labels = make_table(200, visits=3)
    wrong = Wrong()
    model = ConformalLabels(wrong, calibration=0.3, bins=None).fit(table, labels)
    (fitted,) = wrong.fitted
    n = len(set(table.object_id.tolist()) - fitted)
    assert model.n_calibration["teff"] == (n,)  # a row a star
    assert 0.2 < n / 200 < 0.4
    with pytest.raises(MatchError, match="calibration stars that the model was not fitted to, got 600 rows"):
        model.fit_model(table, labels).calibrate(table, labels)
    other = Wrong()
    ConformalLabels(other, calibration=0.3, bins=None).fit(table[::-1], labels)
    assert other.fitted == [fitted]


def test_too_few_stars_are_an_error_that_says_how_many():
    table, labels = survey_of(300, 1)
    few = ConformalLabels(Wrong(), levels=[0.5, 0.99], calibration=0.5)
    with pytest.raises(
        LabelError, match=r"teff: the level 0.99 needs at least 99 .* with a label, got \d+ in S/N bin 1"
    ):
        few.fit(table, labels)
    labels["teff"][:290] = np.nan
    with pytest.raises(LabelError, match=r"the level 0.95 needs at least 19 .* got \d+; give more stars"):
        ConformalLabels(Wrong(), bins=None, calibration=0.5).fit(table, labels)
    with pytest.raises(LabelError, match="of which none are for calibration"):
        ConformalLabels(Wrong(), calibration=0.01).fit(table[:2], labels)


def test_labels_that_are_missing_are_not_counted():
    table, labels = survey_of(400, 1)
    labels["teff"][::2] = np.nan
    model = ConformalLabels(Wrong(), bins=None, calibration=0.5).fit(table, labels)
    kept = set(table.object_id.tolist()) - model.model.fitted[0]
    known = set(labels["object_id"][1::2].tolist())
    assert model.n_calibration["teff"] == (len(kept & known),)
    assert np.isfinite(model.predict(table)["teff_hi_95"].value).all()


def test_a_survey_s_sign_for_nothing_is_no_label():
    """A model is fitted without -9999; neither must its intervals, ranks and errors be of such labels."""
    table, labels = survey_of(400, 1)
    known, unknown = labels.copy(), labels.copy()
    known["teff"][::2], unknown["teff"][::2] = np.nan, -9999 * u.K
    true = {"nan": known, "-9999": unknown}
    models = {name: ConformalLabels(Wrong(), bins=None, calibration=0.5).fit(table, one) for name, one in true.items()}
    ends = {name: model.predict(table)["teff_hi_95"] for name, model in models.items()}
    assert np.array_equal(ends["-9999"], ends["nan"])
    covered = {name: interval_coverage(models["nan"].predict(table), one) for name, one in true.items()}
    assert list(covered["-9999"]["n"]) == list(covered["nan"]["n"]) == [200] * 3
    posterior = LabelModel("linear").fit(table, unknown).posterior(table)
    assert np.isnan(posterior.log_prob(unknown)[::2]).all()
    assert (calibration_ranks(posterior, unknown)["teff"][::2] == -1).all()
    assert metrics.labels(models["nan"].predict(table), unknown)["n"][0] == 200


def test_what_cannot_be_calibrated_is_an_error():
    table, labels = survey_of(300, 1)
    with pytest.raises(SpecalignError, match="have not been calibrated"):
        ConformalLabels(Wrong()).predict(table)
    with pytest.raises(SpecalignError, match="has not been fitted here"):
        ConformalLabels(Wrong()).calibrate(table, labels)
    with pytest.raises(LabelError, match="teff: expected values with positive errors"):
        ConformalLabels(Wrong(np.nan)).fit(table, labels)
    model = ConformalLabels(Wrong()).fit(table, labels)
    table.snr[5] = np.nan
    with pytest.raises(LabelError, match="bins='snr' needs the S/N of every row, which 1 of 300 lack"):
        model.predict(table)
    ConformalLabels(Wrong(), bins=None).fit(table, labels).predict(table)


@pytest.mark.parametrize(("options", "message"), [
    ({"levels": [0.5, 1.0]}, r"levels: expected probabilities above 0 and below 1, got \(0.5, 1.0\)"),
    ({"levels": []}, r"levels: expected .* got \(\)"),
    ({"levels": 80}, "levels: expected"),
    ({"bins": "teff"}, "bins: expected 'snr' or None, got 'teff'"),
    ({"n_bins": 0}, "n_bins: expected at least 1, got 0"),
    ({"calibration": 1.0}, "calibration: expected a share above 0 and below 1, got 1.0"),
])  # fmt: skip
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ConformalLabels(Wrong(), **options)
