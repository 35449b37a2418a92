import dataclasses
import importlib.util

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, QTable, Table

from specalign import EmbeddingTable, LabelModel, metrics
from specalign.exceptions import GridMismatchError, LabelError, MatchError, SpecalignError
from specalign.tests.analysis.conftest import make_table

OPTIONS = {
    "knn": {"k": 5},
    "linear": {},
    "mlp": {"hidden": 64, "members": 2, "max_epochs": 50},
    "flow": {"hidden": 32, "members": 1, "max_epochs": 40},
}
QUICK = OPTIONS | {
    "mlp": {"hidden": 16, "members": 2, "max_epochs": 2},
    "flow": {"hidden": 16, "members": 2, "transforms": 1, "max_epochs": 2},
}


def split(table, start=150):
    number = np.array([int(name.split()[1]) for name in table.object_id])
    return table[number < start], table[number >= start]


NEEDS_ZUKO = pytest.mark.skipif(importlib.util.find_spec("zuko") is None, reason="needs zuko")
FLOW = pytest.param("flow", marks=NEEDS_ZUKO)
SLOW_FLOW = pytest.param("flow", marks=[NEEDS_ZUKO, pytest.mark.slow])


@pytest.fixture(params=["knn", "linear", "mlp", SLOW_FLOW])
def model(request):
    return LabelModel(request.param, **OPTIONS[request.param])


@pytest.fixture(params=["knn", "linear", "mlp", FLOW])
def quick(request):
    """For what does not depend on how well a model is trained."""
    return LabelModel(request.param, **QUICK[request.param])


def test_labels_of_the_other_instrument(survey, model):
    """Zero-shot: learned from one instrument's vectors, asked for those of other stars in another instrument."""
    apogee, nirspec, labels = survey
    predicted = model.fit(split(apogee)[0], labels).predict(split(nirspec)[1])
    figures = metrics.labels(predicted, labels)
    r2 = dict(zip(figures["label"], figures["r2"], strict=True))
    assert r2["teff"] > 0.95
    assert r2["logg"] > 0.95
    # the linear probe cannot know a product of two others but through the vector's fifth element
    assert r2["fe_h"] > 0.8


def test_layout_units_and_system(survey, quick):
    apogee, nirspec, labels = survey
    order = np.random.default_rng(3).permutation(50)
    predicted = quick.fit(apogee, labels).predict(nirspec[order])
    assert predicted.colnames == [
        "object_id", "spectrum_id", "teff", "teff_err", "logg", "logg_err", "fe_h", "fe_h_err",
    ]  # fmt: skip
    assert np.array_equal(predicted["spectrum_id"], nirspec.spectrum_id[order])
    assert predicted["teff"].unit == u.K
    assert predicted["teff_err"].unit == u.K
    assert predicted["logg"].unit == u.dex(u.cm / u.s**2)
    assert predicted["logg_err"].unit == u.dex
    assert (predicted["teff_err"] > 0 * u.K).all()
    assert predicted.meta["label_system"] == "toy"
    assert predicted.meta["method"] == quick.method
    assert predicted.meta["n_train"] == 200


def test_errors_are_about_right(survey, model):
    train, _ = make_table(800, noise=0.1)
    test, truth = make_table(400, noise=0.1, first=1000)
    labels = make_table(800, noise=0.1)[1]
    predicted = model.fit(train, labels).predict(test)
    pull = ((predicted["teff"] - truth["teff"]) / predicted["teff_err"]).to_value(u.one)
    assert 0.7 < np.std(pull) < 1.4


def test_rows_do_not_depend_on_each_other(survey, quick):
    apogee, nirspec, labels = survey
    quick.fit(apogee, labels)
    together, alone = quick.predict(nirspec), quick.predict(nirspec[17])
    assert np.allclose(together["teff"][17].value, alone["teff"][0].value, rtol=1e-6)
    assert np.allclose(together["teff_err"][17].value, alone["teff_err"][0].value, rtol=1e-4)


def test_the_same_seed_gives_the_same_and_no_global_state_moves(survey, quick):
    apogee, nirspec, labels = survey
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987)  # any state but the one that a training would leave behind
        numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        first = quick.fit(apogee, labels).predict(nirspec)
        assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), torch_state)
    second = LabelModel(quick.method, **quick.options).fit(apogee, labels).predict(nirspec)
    assert np.array_equal(first["teff"].value, second["teff"].value)


def test_missing_labels_are_left_out_label_by_label(survey, quick):
    apogee, nirspec, labels = survey
    plain = quick.fit(apogee, labels).predict(nirspec)
    holes = labels.copy()
    holes["logg"][::2] = np.nan
    holed = LabelModel(quick.method, **quick.options).fit(apogee, holes).predict(nirspec)
    assert np.isfinite(holed["logg"].value).all()
    assert not np.array_equal(holed["logg"].value, plain["logg"].value)
    if quick.method not in ("mlp", "flow"):  # whose labels share their hidden layers
        assert np.array_equal(holed["teff"].value, plain["teff"].value)


def test_masked_labels_are_never_learned_from(survey, quick):
    apogee, nirspec, labels = survey
    table = Table({"object_id": labels["object_id"], "teff": MaskedColumn(labels["teff"].value, unit="K")})
    table["teff"].mask[:50] = True
    table["teff"].data.data[:50] = -9999
    masked = quick.fit(apogee, table).predict(nirspec)
    unlabelled = LabelModel(quick.method, **quick.options).fit(apogee, table[50:]).predict(nirspec)
    assert masked.meta["n_unlabelled"] == 50
    assert np.array_equal(masked["teff"].value, unlabelled["teff"].value)


def test_a_probe_of_an_embedding_with_idle_directions_is_well_conditioned():
    """Warnings are errors here: in float32 this ridge is singular to rounding, and says so."""
    rng = np.random.default_rng(0)
    n = 40_000
    angle = rng.uniform(0, 2 * np.pi, n)
    idle = 1e-5 * rng.normal(size=(n, 6))
    names = np.arange(n).astype(str)
    vectors = np.concatenate([np.cos(angle)[:, None], np.sin(angle)[:, None], idle], axis=1)
    table = EmbeddingTable(vectors, names, names, "apogee", np.full(n, 50), np.ones(n))
    labels = QTable({"object_id": names, "teff": (5000 + 300 * np.sin(angle)) * u.K})
    figures = metrics.labels(LabelModel("linear").fit(table, labels).predict(table), labels)
    assert figures["r2"][0] > 0.99


def test_rows_without_labels_are_counted(survey):
    apogee, _, labels = survey
    predicted = LabelModel("knn").fit(apogee, labels[:120]).predict(apogee)
    assert (predicted.meta["n_train"], predicted.meta["n_unlabelled"]) == (120, 80)


def test_visits_of_a_star_are_held_out_together():
    """If they were split, the probe would know its held-out stars and its errors would be too small."""
    rng = np.random.default_rng(0)
    apogee, labels = make_table(20, visits=6, noise=1e-3)
    labels["teff"] = rng.normal(5000, 100, 20) * u.K
    predicted = LabelModel("linear", alphas=(1e-6,)).fit(apogee, labels, names=["teff"]).predict(apogee)
    assert predicted["teff_err"][0] > 90 * u.K


def test_knn_weights_the_nearest_most():
    table, labels = make_table(50, noise=0)
    own = LabelModel("knn", k=1).fit(table, labels).predict(table)
    assert np.allclose(own["teff"].value, labels["teff"].value)
    assert np.isnan(own["teff_err"].value).all()
    weighted = LabelModel("knn", k=5).fit(table, labels).predict(table)
    rows = table.search(table, k=5)["neighbour_row"].reshape(-1, 5)
    plain = labels["teff"].value[rows].mean(axis=1)
    assert np.abs(weighted["teff"].value - labels["teff"].value).mean() < np.abs(plain - labels["teff"].value).mean()


def test_equal_neighbours_count_equally():
    table, labels = make_table(4, noise=0)
    table.vectors[:] = table.vectors[0]
    assert np.allclose(
        LabelModel("knn", k=4).fit(table, labels).predict(table)["teff"].value, labels["teff"].value.mean()
    )


@pytest.fixture(scope="module")
def circle():
    """2,000 directions in a plane, and noisy ones of 2,000 more with a concentration of 200: the posterior is known."""
    rng = np.random.default_rng(5)
    true = rng.uniform(0, 3, 4000)
    seen = np.concatenate([true[:2000], rng.vonmises(true[2000:], 200.0)])
    vectors, names = np.stack([np.cos(seen), np.sin(seen)], axis=1), [f"star {i}" for i in range(4000)]
    table = EmbeddingTable(vectors, names, names, "toy", 50, 1, {"space": "s", "logit_scale": 200.0})
    labels = QTable({"object_id": names, "teff": (4000 + 1000 * true) * u.K}, meta={"label_system": "toy"})
    return table[:2000], table[2000:], labels


def test_knn_gives_the_mean_of_the_posterior(circle):
    """Weights that are in proportion to the likelihood of the query's angle, and nothing else."""
    gallery, queries, labels = circle
    predicted = LabelModel("knn").fit(gallery, labels).predict(queries)
    weight = np.exp(200.0 * (queries.vectors.astype(float) @ gallery.vectors.T.astype(float) - 1))
    exact = weight @ labels["teff"].value[:2000] / weight.sum(axis=1)
    assert np.allclose(predicted["teff"].value, exact, atol=0.5)


def test_knn_errors_are_those_of_the_posterior(circle):
    gallery, queries, labels = circle
    predicted = LabelModel("knn").fit(gallery, labels).predict(queries)
    pull = (predicted["teff"].value - labels["teff"].value[2000:]) / predicted["teff_err"].value
    assert 0.66 < np.mean(np.abs(pull) < 1) < 0.71
    assert 0.94 < np.mean(np.abs(pull) < 2) < 0.97


def test_as_many_nearest_as_there_are_is_all_of_them(circle):
    gallery, queries, labels = circle
    every = LabelModel("knn").fit(gallery, labels).predict(queries)
    nearest = LabelModel("knn", k=2000).fit(gallery, labels).predict(queries)
    assert np.allclose(every["teff"].value, nearest["teff"].value, atol=0.5)
    assert np.allclose(every["teff_err"].value, nearest["teff_err"].value, atol=0.5)


def test_knn_with_the_scale_of_the_space_beats_ten_neighbours(circle):
    gallery, queries, labels = circle
    gallery, queries = dataclasses.replace(gallery), dataclasses.replace(queries)
    known = LabelModel("knn").fit(gallery, labels).predict(queries)
    gallery.provenance, queries.provenance = {"space": "s"}, {"space": "s"}
    unknown = LabelModel("knn").fit(gallery, labels).predict(queries)
    chosen = LabelModel("knn", logit_scale=200.0).fit(gallery, labels).predict(queries)
    true = labels["teff"].value[2000:]
    errors = [np.sqrt(np.mean((one["teff"].value - true) ** 2)) for one in (known, unknown)]
    assert errors[0] < errors[1]
    assert np.median(known["teff_err"].value) > 5 * np.median(unknown["teff_err"].value)
    assert np.array_equal(chosen["teff"], known["teff"])


@pytest.mark.parametrize(("options", "message"), [
    ({"k": 0}, "k: expected at least one neighbour, got 0"),
    ({"logit_scale": 0.0}, "logit_scale: expected a positive number, got 0.0"),
    ({"logit_scale": np.inf}, "logit_scale: expected a positive number, got inf"),
])  # fmt: skip
def test_wrong_options_of_knn_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        LabelModel("knn", **options)


def test_another_space_is_refused(survey, quick):
    apogee, _, labels = survey
    with pytest.raises(GridMismatchError, match="space 's1' cannot be compared with those of 's2'"):
        quick.fit(apogee, labels).predict(make_table(space="s2")[0])


def test_predicting_before_fitting_is_an_error(survey):
    with pytest.raises(SpecalignError, match="has not been fitted"):
        LabelModel().predict(survey[0])


def test_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="knn, linear, mlp, flow, got 'forest'"):
        LabelModel("forest")


def test_a_contradicting_system_is_an_error(survey):
    apogee, _, labels = survey
    with pytest.raises(LabelError, match="'toy', but system='aspcap-dr17'"):
        LabelModel().fit(apogee, labels, system="aspcap-dr17")


def test_an_unnamed_system_is_said_to_be_unstated(survey):
    apogee, _, labels = survey
    labels.meta.clear()
    assert LabelModel().fit(apogee, labels).predict(apogee).meta["label_system"] == "unstated"
    assert LabelModel().fit(apogee, labels, system="mine").predict(apogee).meta["label_system"] == "mine"


def test_a_label_without_values_is_an_error(survey):
    apogee, _, labels = survey
    labels["fe_h"][:] = np.nan
    with pytest.raises(LabelError, match="fe_h: expected at least two rows"):
        LabelModel().fit(apogee, labels)


@pytest.mark.parametrize("method", ["linear", "mlp", FLOW])
def test_visits_of_one_star_are_too_few(method):
    table, labels = make_table(1, visits=4)
    with pytest.raises(LabelError, match="rows of at least two stars, since some are held out, got 4 rows of 1"):
        LabelModel(method, **QUICK[method]).fit(table, labels)


def test_no_rows_have_no_labels(survey, quick):
    apogee, _, labels = survey
    nothing = quick.fit(apogee, labels).predict(apogee[:0])
    assert len(nothing) == 0
    assert nothing["teff"].unit == u.K
    assert quick.posterior(apogee[:0]).samples(3)["teff"].shape == (0, 3)
    assert len(quick.posterior(apogee[:0]).quantiles()) == 0


def test_no_common_star_is_an_error(survey):
    with pytest.raises(MatchError, match="none of the 200 spectra"):
        LabelModel().fit(survey[0], make_table(5, first=500)[1])


def test_columns_that_are_not_labels_are_not_predicted(survey):
    apogee, _, labels = survey
    labels["ra"], labels["teff_err"], labels["snr"] = 1.0 * u.deg, 30.0 * u.K, 100.0
    assert "ra" not in LabelModel().fit(apogee, labels).predict(apogee).colnames


def test_no_label_column_is_an_error(survey):
    with pytest.raises(LabelError, match="no column of the label table"):
        LabelModel().fit(survey[0], QTable({"object_id": survey[2]["object_id"]}))
