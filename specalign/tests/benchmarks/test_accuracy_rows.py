"""Rows of the accuracy study: what is fitted never sees a test star, and every row runs from end to end."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import specalign as sa
from specalign.alignment import LabelRegressor
from specalign.exceptions import UnknownPluginError

ROWS = (
    "lamost-gaia_xp",
    "supervised-given",
    "mock20-decorrelated",
    "lamost-real",
    "lamost-transfer",
    "four",
    "new-instrument",
    "throughput",
)


@pytest.mark.shared
def test_the_last_stars_are_the_test_and_follow_from_the_seed(program, shared):
    make = program("accuracy_survey").Survey
    first, again, other = (make(shared, 50, seed) for seed in (5, 5, 6))
    seen = first.seen("gaia_xp")
    assert (len(seen.train), len(seen.test)) == (40, 10)
    np.testing.assert_array_equal(seen.test.object_id, first.mock.object_id[-10:])
    assert not set(seen.train.object_id) & set(seen.test.object_id)
    fluxes = [survey.mock.observe("gaia_xp")["flux"] for survey in (first, again, other)]
    np.testing.assert_array_equal(fluxes[0], fluxes[1])
    assert not np.allclose(fluxes[0], fluxes[2])
    assert first.seen("gaia_xp") is seen


@pytest.mark.shared
def test_labels_are_those_that_the_models_know(program, shared):
    survey = program("accuracy_survey").Survey(shared, 50, 5)
    assert survey.labels(["lamost_lrs", "gaia_xp"]).colnames == ["object_id", "teff", "logg", "fe_h"]
    assert survey.labels(["apogee", "gaia_xp"]).colnames[-1] == "alpha_m"
    assert survey.known(["gaia_xp"]) == {"gaia_xp": ("teff", "logg", "fe_h")}


class Recording:
    """Stands for an aligner: keeps what it is fitted with, and embeds at random."""

    fits = []

    def __init__(self, instruments):
        self.instruments = instruments

    def fit(self, prepared, **options):
        self.fits.append((prepared, options))
        return SimpleNamespace(epochs=[1, 2])

    def embed(self, rows):
        vectors = np.random.default_rng(len(rows)).normal(size=(len(rows), 4)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return sa.EmbeddingTable(vectors, rows, rows, "any", np.ones(len(rows)), np.ones(len(rows)))


def test_a_space_is_trained_with_the_defaults_on_training_stars_alone(program, monkeypatch):
    from astropy.table import QTable

    space, known = program("accuracy_space"), []
    fit = sa.LabelModel.fit
    monkeypatch.setattr(sa, "Aligner", Recording)
    monkeypatch.setattr(Recording, "fits", [])
    monkeypatch.setattr(
        sa.LabelModel, "fit", lambda self, table, *a, **k: known.append(table) or fit(self, table, *a, **k)
    )
    monkeypatch.setattr(space, "PROBES", ("knn",))
    stars = np.array([f"star-{i}" for i in range(50)])
    labels = QTable({"object_id": stars, "teff": np.linspace(4000, 6000, 50) * program("survey_data").UNITS["teff"]})
    train, test = (dict.fromkeys("ab", part) for part in (stars[:40], stars[40:]))
    for use_labels in (True, False):
        found = space.study_space(train, test, labels, {"a": ["teff"], "b": ["teff"]}, 3, use_labels)
        assert set(found["retrieval"]) == set(found["zero-shot"]) == {"a -> b", "b -> a"}
        assert found["retrieval"]["a -> b"]["n_gallery"] == 10
    for (prepared, options), given in zip(Recording.fits, (labels, None), strict=True):
        assert all(set(rows) == set(stars[:40]) for rows in prepared.values())
        assert options.pop("labels") is given
        assert options == {"seed": 3, "progress": False}  # nothing is tuned
    assert len(known) == 8
    assert all(set(table.object_id) == set(stars[:40]) for table in known)


def test_the_best_network_is_chosen_on_validation_stars(program):
    def one(validation, test):
        return {"validation": {"teff": {"rmse": validation}}, "test": {"teff": {"rmse": test}}}

    best = program("accuracy_supervised").best_of({"a": one(1.0, 9.0), "b": one(2.0, 3.0)})
    assert best == {"teff": {"rmse": 9.0, "network": "a"}}


def test_a_fold_belongs_to_a_star(program):
    folds = program("accuracy_real").folds
    stars = [f"star-{i}" for i in range(500)]
    fold = folds(stars, 1)
    np.testing.assert_array_equal(folds(stars[::-1], 1)[::-1], fold)
    assert (np.bincount(fold) > 70).all()
    assert (folds(stars, 2) != fold).any()


def test_errors_of_hot_stars_are_not_quoted(program):
    from astropy.table import QTable

    real = program("accuracy_real")
    units = program("survey_data").UNITS
    labels = QTable({name: np.array([5000.0, 6999.0, 7000.0]) * units[name] for name in real.NAMES})
    predicted = real.values_of(labels) + np.array([[10.0], [30.0], [900.0]])
    assert real.absolute_errors(predicted, labels) == pytest.approx(dict.fromkeys(real.NAMES, 20.0))


def test_no_labels_of_test_stars_reach_what_is_transferred(program):
    transfer = program("accuracy_transfer")
    study, rows, test = transfer_study(program, 120), np.arange(0, 60), np.arange(60, 120)
    found = {kind: transfer.Study.probed(study, kind, rows, test) for kind in ("knn", "corrected")}
    np.testing.assert_allclose(found["corrected"], transfer.values_of(study.labels[test]), rtol=1e-6)
    for name in transfer.NAMES:
        study.labels[name].view(np.ndarray)[60:] = 1.0
    for kind, before in found.items():
        np.testing.assert_array_equal(transfer.Study.probed(study, kind, rows, test), before)


def transfer_study(program, n):
    """Embeddings that say nothing, and labels of a probe that are right but for a constant."""
    from astropy.table import QTable

    transfer, units = program("accuracy_transfer"), program("survey_data").UNITS
    rng, names = np.random.default_rng(3), np.array([f"star-{i}" for i in range(n)])
    values = rng.uniform(4000, 6000, (n, 3))
    labels = QTable({"object_id": names} | {x: values[:, i] * units[x] for i, x in enumerate(transfer.NAMES)})
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = sa.EmbeddingTable(vectors, names, names, "lamost", np.full(n, 50.0), np.ones(n))
    study = SimpleNamespace(
        labels=labels, vectors=table, full=SimpleNamespace(object_id=names), mock_values=values - 300
    )
    study.probed = lambda *arguments: transfer.Study.probed(study, *arguments)
    return study


def test_the_best_from_scratch_counts_label_by_label(program):
    transfer = program("accuracy_transfer")
    scratch = {"a": {"teff": 90.0, "logg": 0.3, "fe_h": 0.1}, "b": {"teff": 80.0, "logg": 0.4, "fe_h": 0.2}}
    moved = {transfer.BOTH: {"teff": 40.0, "logg": 0.2, "fe_h": 0.1}}
    found = transfer.summary([{"n": 30, "scratch": scratch, "transfer": moved}] * 2)["figures"]
    assert {name: one["network"] for name, one in found.items()} == {"teff": "b", "logg": "a", "fe_h": "a"}
    assert found["teff"] == {"scratch": 80.0, "network": "b", "transfer": 40.0}


def test_a_plugin_is_offered_for_a_while(program):
    outsider, before = program("accuracy_instrument"), list(sys.path)
    with pytest.raises(UnknownPluginError):
        sa.get_instrument("outsider")
    with outsider.offered():
        instrument = sa.get_instrument("outsider")
    assert instrument.n_pixels == len(outsider.AXIS)
    assert sys.path == before
    with pytest.raises(UnknownPluginError):
        sa.get_instrument("outsider")


def test_the_new_instrument_sees_at_its_own_resolution(program):
    outsider = program("accuracy_instrument")
    fine = 10 ** (4.179 + 6e-6 * np.arange(8575))
    weights = outsider.smoothing(fine, outsider.AXIS)
    np.testing.assert_allclose(weights @ np.ones(len(fine)), 1, rtol=1e-5)
    line = np.exp(-0.5 * ((fine - 16000) / (16000 / 22500 / 2.3548)) ** 2)
    seen = weights @ line
    width = np.sqrt((seen * (outsider.AXIS - 16000) ** 2).sum() / seen.sum())
    assert width * 2.3548 == pytest.approx(16000 / 5600, rel=0.02)


def test_bounds_of_elements_are_never_wider_than_what_is_known_beforehand(program, monkeypatch):
    elements = program("accuracy_elements")
    monkeypatch.setattr(elements, "LABELS", ("teff", "mg_fe", "ce_fe"))
    monkeypatch.setattr(elements, "UNCERTAIN", ("teff", "mg_fe", "ce_fe"))
    truth = elements.draw_labels(12, 1)
    script = SimpleNamespace(SNR={"nirspec": (30, 300)}, VELOCITY_ERROR={"nirspec": 8.0})
    seen = elements.observe(script, 5, "nirspec", truth, 0)
    assert len(seen) == 12
    bound, spread = elements.bound_of("nirspec", truth, seen, truth), elements.spread_of(truth)
    assert all(0 < bound[name] <= spread[name] for name in elements.LABELS)
    assert bound["teff"] < 0.3 * spread["teff"]


@pytest.mark.shared
def test_an_unknown_normalisation_takes_information_away(program, shared):
    survey = program("accuracy_survey").Survey(shared, 100, 5)
    gradients = survey.mock.script._gradients
    found = program("accuracy_limits").limits_row(survey)
    assert survey.mock.script._gradients is gradients
    for name, (plugin, _) in survey.mock.settings.items():
        known = survey.mock.bound(name)
        growth = [found["bound"][plugin][label] / value.value for label, value in known.items()]
        assert min(growth) > 1
        assert max(growth) < 2
    assert len(found["oracle"]) == 12
    assert all(0 < recall <= 1 for recall in found["oracle"].values())


@pytest.mark.parametrize(("name", "number"), [("apogee", 15), ("nirspec", 6), ("lamost", 1), ("gaia_xp", 1)])
def test_an_unknown_factor_has_the_shapes_that_a_normalisation_divides_by(program, name, number):
    instrument = sa.get_instrument(name)
    wavelength = instrument.spectral_axis.to_value("Angstrom")
    shapes = program("accuracy_limits").factors_of(instrument, wavelength)
    assert shapes.shape == (number, len(wavelength))
    assert np.linalg.matrix_rank(shapes) == number
    rng = np.random.default_rng(0)
    flux = 2 + (rng.normal(size=number) / number) @ shapes
    if number > 1:  # what prepare divides by is such a factor, but for pixels that are not quite even in wavelength
        assert np.ptp(flux) > 0.15
        prepared = instrument.prepare_arrays(flux[None], spectral_axis=instrument.spectral_axis, object_id=["a"])
        np.testing.assert_allclose(prepared.flux[~prepared.mask], 1, atol=0.02)


def test_waiting_is_the_time_between_asking_and_getting(program, monkeypatch):
    throughput = program("accuracy_throughput")
    now = iter([0.0, 2.0, 10.0, 11.0, 14.0, 20.0])  # epoch, got, step over, asked, got, step over
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(now))
    clock = throughput.Clock()
    for _ in throughput.Watched([{"a": {"rows": [0, 1]}}, {"a": {"rows": [2]}, "b": {"rows": [0]}}], clock):
        clock.end_step()
        if clock.spectra == 4:
            break  # as the training does, which never asks for a batch too many
    assert (clock.waiting, clock.steps, clock.spectra, clock.started) == (5.0, 20.0, 4, 0.0)


@pytest.fixture
def quick(program, monkeypatch):
    """The program with few epochs and numbers of labels, and a perceptron for every StarNet, which takes minutes."""
    for trained in (sa.Aligner, LabelRegressor):
        monkeypatch.setitem(trained.fit.__kwdefaults__, "max_epochs", 2)
    bench, real, transfer = (program(name) for name in ("bench_accuracy", "accuracy_real", "accuracy_transfer"))
    monkeypatch.setattr(program("accuracy_supervised"), "NETWORKS", ("mlp", "raw flux"))
    monkeypatch.setitem(real.NETWORKS, "starnet", real.NETWORKS["default"])
    monkeypatch.setattr(transfer, "SIZES", (30,))
    monkeypatch.setattr("specalign.alignment.training.sizes.STEPS", 100)
    others = tuple(f"{size:,} labels" for size in (100, 300, 1600))
    figures = [figure for figure in bench.FIGURES if not any(text in figure.title for text in others)]
    monkeypatch.setattr(bench, "FIGURES", figures)
    return bench


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("row", ROWS)
def test_a_row_runs_from_end_to_end(quick, shared, tmp_path, capsys, row):
    command = ["--shared", str(shared), "--store", str(tmp_path), "--seed", "8", "--stars", "300", "--rows", row]
    quick.main(command)
    path = tmp_path / f"accuracy-{row}-seed8-stars300.json"
    result, before = json.loads(path.read_text()), path.read_bytes()
    assert len(numbers(result)) > 5
    assert all(math.isfinite(value) for value in numbers(result))
    mine = [figure.title for figure in quick.FIGURES if set(figure.rows) == {row}]
    assert all(title in capsys.readouterr().out for title in mine[:1])
    quick.main(command)  # what is stored is not run again
    assert path.read_bytes() == before


def numbers(value):
    """All numbers of a result."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []
