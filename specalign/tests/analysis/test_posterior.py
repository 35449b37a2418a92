"""Posteriors of labels, and what the catalogue's own errors do to them."""

import importlib.util
import math
import sys

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import QTable

from specalign import EmbeddingTable, LabelModel, get_instrument
from specalign.analysis.ensemble import label_noise
from specalign.analysis.flow import FlowEnsemble, _proposed
from specalign.exceptions import LabelError, MissingExtraError, SpecalignError, SpectrumError, VelocityWarning
from specalign.tests.analysis.conftest import make_table

HAS_ZUKO = importlib.util.find_spec("zuko") is not None
needs_zuko = pytest.mark.skipif(not HAS_ZUKO, reason="needs zuko")
QUICK = {
    "knn": {"k": 20},
    "linear": {},
    "mlp": {"hidden": 16, "members": 1, "max_epochs": 4},
    "flow": {"hidden": 16, "members": 2, "transforms": 1, "max_epochs": 4},
}
METHODS = [pytest.param(name, marks=needs_zuko if name == "flow" else ()) for name in QUICK]
WITH_DENSITY = [name for name in METHODS if name.values[0] != "knn"]


def on_a_circle(n, seed, width=0.1):
    """Directions whose label is normal around the angle, with a width that the spectra do not tell."""
    rng = np.random.default_rng([n, seed])
    seen = rng.uniform(0, 2, n)
    names, vectors = [f"{seed} {i}" for i in range(n)], np.stack([np.cos(seen), np.sin(seen)], axis=1)
    true = seen + width * rng.normal(size=n)
    table = EmbeddingTable(vectors, names, names, "toy", np.full(n, 50.0), np.ones(n), {"space": "s"})
    return table, QTable({"object_id": names, "teff": true * u.K}, meta={"label_system": "toy"}), seen


def measured(labels, small, large, seed):
    """Labels with the errors of a catalogue, half of them large, and stated."""
    rng, out = np.random.default_rng(seed), labels.copy()
    error = np.where(rng.random(len(out)) < 0.5, small, large)
    out["teff"] += error * rng.normal(size=len(out)) * u.K
    out["teff_err"] = error * u.K
    return out


@pytest.mark.parametrize("method", METHODS)
def test_samples_agree_with_the_prediction(survey, method):
    apogee, nirspec, labels = survey
    model, nirspec = LabelModel(method, **QUICK[method]).fit(apogee, labels), nirspec[:40]
    predicted, samples = model.predict(nirspec), model.posterior(nirspec).samples(800, seed=3)
    for name in ("teff", "logg", "fe_h"):
        values = samples[name].value
        assert values.shape == (40, 800)
        assert samples[name].unit == labels[name].unit
        error = predicted[f"{name}_err"].value
        assert np.abs((values.mean(axis=1) - predicted[name].value) / error).max() < 0.3
        assert np.median(values.std(axis=1) / error) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("method", METHODS)
def test_samples_follow_from_the_seed_and_quantiles_from_samples(survey, method):
    apogee, nirspec, labels = survey
    posterior = LabelModel(method, **QUICK[method]).fit(apogee, labels).posterior(nirspec[:5])
    one, same, other = (posterior.samples(50, seed=seed)["teff"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    table = posterior.quantiles([0, 0.5], n=50, seed=1)
    assert table.colnames[:4] == ["object_id", "spectrum_id", "teff_q0", "teff_q50"]
    assert np.array_equal(table["teff_q0"], one.min(axis=1))
    assert table["logg_q50"].unit == u.dex(u.cm / u.s**2)
    ends = posterior.intervals(0.8, n=50, seed=1)
    assert (ends["teff_lo_80"] < ends["teff_hi_80"]).all()


@pytest.mark.parametrize("method", WITH_DENSITY)
def test_the_density_is_that_of_the_samples_and_integrates_to_one(method):
    table, labels, _ = on_a_circle(300, 1)
    posterior = LabelModel(method, **QUICK[method]).fit(table, labels).posterior(table[:1])
    grid = np.linspace(-6, 8, 4001)
    density = np.exp([posterior._log_prob(np.array([[x]]))[0] for x in grid[::40]])
    assert np.trapezoid(density, grid[::40]) == pytest.approx(1, abs=0.02)
    mean = np.trapezoid(density * grid[::40], grid[::40])
    assert mean == pytest.approx(posterior.samples(4000)["teff"].value.mean(), abs=0.05)


@pytest.mark.parametrize("method", WITH_DENSITY)
def test_the_density_of_labels_in_other_units(method):
    table, labels, _ = on_a_circle(100, 1)
    posterior = LabelModel(method, **QUICK[method]).fit(table, labels).posterior(table)
    other = labels[::-1].copy()
    other["teff"] = other["teff"].to(u.mK)
    other["teff"][0] = np.nan
    found = posterior.log_prob(other)
    assert np.isnan(found[-1])
    np.testing.assert_allclose(found[:-1], posterior.log_prob(labels)[:-1], rtol=1e-5)
    assert np.isnan(posterior.log_prob(labels[:50])[50:]).all()


def test_neighbours_have_no_density_and_draw_whole_stars(survey):
    apogee, nirspec, labels = survey
    labels["logg"][:150] = np.nan
    posterior = LabelModel("knn", k=5).fit(apogee, labels).posterior(nirspec[:3])
    with pytest.raises(SpecalignError, match="'knn' is a sum over training stars and has no density"):
        posterior.log_prob(labels)
    drawn = posterior.samples(20)
    pairs = set(zip(labels["teff"].value[150:], labels["logg"].value[150:], strict=True))
    assert set(zip(drawn["teff"].value.ravel(), drawn["logg"].value.ravel(), strict=True)) <= pairs
    labels["teff"][150:] = np.nan
    with pytest.raises(LabelError, match="with every label to draw from, got none of 200"):
        LabelModel("knn", k=5).fit(apogee, labels).posterior(nirspec).samples(3)


def test_wrong_numbers_are_errors(survey):
    posterior = LabelModel("linear").fit(survey[0], survey[2]).posterior(survey[0])
    with pytest.raises(ValueError, match="n: expected at least one sample, got 0"):
        posterior.samples(0)
    with pytest.raises(ValueError, match=r"q: expected numbers from 0 to 1, got \[1.5\]"):
        posterior.quantiles(1.5)
    with pytest.raises(ValueError, match=r"levels: expected probabilities above 0 and below 1, got \[1.0\]"):
        posterior.intervals(1)
    with pytest.raises(LabelError, match="label 'logg' is not in the table"):
        posterior.log_prob(survey[2]["object_id", "teff"])


def test_sampling_gives_the_integral_over_true_labels():
    """Of a normal density the integral is known: the variances add, and over a missing label it is one."""
    mean, width = torch.tensor([0.3, -0.5]).expand(4, 2), torch.tensor([0.2, 0.7]).expand(4, 2)
    labels = torch.tensor([[0.4, 0.1], [0.4, 0.1], [math.nan, 0.1], [math.nan, math.nan]])
    noise = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, 1.5], [0.0, 0.1]])
    drawn, weight = _proposed(mean, width.log(), labels, noise, 20000, torch.Generator().manual_seed(1))
    density = torch.distributions.Normal(mean, width).log_prob(drawn).sum(dim=-1)
    found = (density + weight).logsumexp(dim=0) - math.log(20000)
    spread = (width**2 + noise**2).sqrt()
    known = torch.distributions.Normal(mean, spread).log_prob(labels.nan_to_num())
    expected = torch.where(torch.isfinite(labels), known, 0.0).sum(dim=1)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def noisy():
    """Training and test stars on a circle; the catalogue's errors are known, and half of them are large."""
    table, labels, _ = on_a_circle(1500, 1)
    return table, measured(labels, 0.02, 0.6, 3), *on_a_circle(500, 2)


LEARNED = {
    "mlp": {"hidden": 32, "members": 1, "max_epochs": 40},
    "flow": {"hidden": 32, "members": 1, "max_epochs": 15, "batch_size": 64},
}


@pytest.mark.parametrize("method", ["mlp", pytest.param("flow", marks=[needs_zuko, pytest.mark.slow])])
def test_errors_of_the_catalogue_enter_the_loss(noisy, method):
    """True labels scatter by 0.1 around what the spectra tell; the catalogue's, by 0.43."""
    table, labels, test, true, seen = noisy
    predicted = {}
    for used in (True, False):
        model = LabelModel(method, **LEARNED[method]).fit(table, labels, label_errors=used)
        predicted[used] = model.predict(test)
        predicted[used].meta["density"] = model.posterior(test).log_prob(true).mean()
    assert predicted[True].meta["label_errors"] == ["teff"]
    assert predicted[False].meta["label_errors"] == []
    assert np.median(predicted[True]["teff_err"].value) == pytest.approx(0.12, abs=0.05)
    assert np.median(predicted[False]["teff_err"].value) > 0.4
    rmse = {used: np.sqrt(np.mean((p["teff"].value - seen) ** 2)) for used, p in predicted.items()}
    assert rmse[True] < rmse[False]
    assert predicted[True].meta["density"] > predicted[False].meta["density"] + 0.5


@pytest.mark.slow
@needs_zuko
def test_a_flow_knows_a_posterior_that_no_normal_distribution_is():
    """Two angles look alike: the posterior has two peaks, and neither is at the mean."""
    table, labels, seen = on_a_circle(1500, 1, width=0.02)
    rng = np.random.default_rng(4)
    labels["teff"] = (labels["teff"].value + np.where(rng.random(1500) < 0.5, 3, -3)) * u.K
    options = {"hidden": 32, "members": 1, "max_epochs": 12, "batch_size": 64}
    posterior = LabelModel("flow", **options).fit(table, labels).posterior(table[:200])
    drawn = posterior.samples(200)["teff"].value - seen[:200, None]
    assert np.mean(np.abs(drawn) < 1.5) < 0.15  # 0.38 of a normal distribution
    assert 0.4 < np.mean(drawn > 0) < 0.6


@pytest.mark.slow
@needs_zuko
def test_a_flow_learns_from_stars_that_lack_labels(survey):
    """Every star lacks one of two labels, so that no row is complete, and none is left out."""
    apogee, labels = make_table(400)
    labels = labels["object_id", "teff", "logg"]
    labels["teff"][::2], labels["logg"][1::2] = np.nan, np.nan
    model = LabelModel("flow", hidden=32, members=1, max_epochs=25).fit(apogee, labels)
    test, truth = make_table(100, first=1000)
    predicted = model.predict(test)
    assert predicted.meta["n_train"] == 400
    for name in ("teff", "logg"):
        assert np.corrcoef(predicted[name].value, truth[name].value)[0, 1] > 0.95


@pytest.mark.slow
@needs_zuko
def test_a_flow_uses_the_signal_to_noise_where_it_is_known():
    """Labels scatter more at low S/N, and the direction does not say it."""
    table, labels, seen = on_a_circle(1500, 1)
    rng = np.random.default_rng(3)
    table.snr[:] = np.where(rng.random(1500) < 0.5, 20, 200)
    labels["teff"] = (seen + 10 / table.snr * rng.normal(size=1500)) * u.K
    options = {"hidden": 32, "members": 1, "max_epochs": 12, "batch_size": 64}
    errors = LabelModel("flow", **options).fit(table, labels).predict(table[:200])["teff_err"].value
    assert np.median(errors[table.snr[:200] < 100]) > 3 * np.median(errors[table.snr[:200] > 100])
    without = LabelModel("flow", **options | {"max_epochs": 1}, snr=False).fit(table, labels)
    table.snr[3] = np.nan
    without.predict(table[:9])
    with pytest.raises(SpectrumError, match="S/N of each spectrum, which is not known of 1 of 1500"):
        LabelModel("flow", **QUICK["flow"], snr=True).fit(table, labels)
    LabelModel("flow", **options | {"max_epochs": 1}).fit(table, labels).predict(table[:9])


@pytest.mark.parametrize("method", METHODS)
def test_velocity_and_extinction_are_labels(survey, method):
    apogee, nirspec, labels = survey
    labels["radial_velocity"] = (labels["teff"].value - 5000) / 10 * u.km / u.s
    labels["a_v"] = (0.3 + 0.1 * (labels["logg"].value - 2.5)) * u.mag
    model = LabelModel(method, **QUICK[method]).fit(apogee, labels, names=["radial_velocity", "a_v"])
    predicted = model.predict(nirspec)
    assert predicted["radial_velocity"].unit == u.km / u.s
    assert predicted["radial_velocity_err"].unit == u.km / u.s
    assert (predicted["radial_velocity"] < 0 * u.km / u.s).any()
    assert predicted["a_v"].unit == u.mag
    assert model.posterior(nirspec[:2]).samples(3)["a_v"].unit == u.mag


def test_velocities_are_known_of_spectra_in_the_frame_of_the_observation():
    """One line, moved by the velocity; at rest, it stays where it is, and says nothing."""
    apogee, rng, names = get_instrument("apogee"), np.random.default_rng(1), np.arange(60).astype(str)
    velocity = rng.uniform(-100, 100, 60) * u.km / u.s
    axis = np.arange(15900, 16100, 0.2)
    place = 16000 * (1 + velocity.to_value(u.km / u.s) / 299792.458)
    flux = 1 - 0.5 * np.exp(-0.5 * ((axis - place[:, None]) / 3) ** 2) + 0.002 * rng.normal(size=(60, len(axis)))
    given = {"spectral_axis": axis * u.AA, "object_id": names, "frame": "barycentric", "normalized": True}
    with pytest.warns(VelocityWarning, match="stay in the barycentric frame"):
        observed = apogee.prepare_arrays(flux, np.full(flux.shape, 1e5), **given)
    rest = apogee.prepare_arrays(flux, np.full(flux.shape, 1e5), radial_velocity=velocity, **given)
    labels, error = QTable({"object_id": names, "radial_velocity": velocity}), {}
    for frame, rows in (("observed", observed), ("rest", rest)):
        seen = rows.flux[:, (~rows.mask).all(axis=0)]
        vectors = np.column_stack([np.ones(60), np.linalg.svd(seen - seen.mean(axis=0))[0][:, :5]])
        table = EmbeddingTable(vectors, names, names, "apogee", np.ones(60), np.ones(60))
        model = LabelModel("linear").fit(table[:40], labels, names=["radial_velocity"])
        error[frame] = (model.predict(table[40:])["radial_velocity"] - velocity[40:]).value.std()
    assert error["observed"] < 15
    assert error["rest"] > 40


def test_errors_in_other_units_and_unknown_ones(survey):
    labels = survey[2]
    labels["teff_err"] = np.full(200, 0.05) * u.kK
    labels["teff_err"][:3] = [np.nan, 0, -9999] * u.kK
    model = LabelModel("mlp", **QUICK["mlp"]).fit(survey[0], labels)
    assert model.predict(survey[0]).meta["label_errors"] == ["teff"]
    errors = model._scheme.errors(labels, survey[0].object_id)
    assert np.isnan(errors[:3]).all()
    np.testing.assert_allclose(errors[3:, 0], 50)
    assert np.isnan(errors[:, 1]).all()
    noise = label_noise(np.ones((200, 3)), errors)
    np.testing.assert_allclose(noise[:, 0], 50)
    assert not noise[:, 1:].any()
    labels["teff_err"] = np.ones(200) * u.km
    with pytest.raises(LabelError, match="teff_err: expected K, got km"):
        LabelModel("mlp", **QUICK["mlp"]).fit(survey[0], labels)


def test_without_zuko_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[posterior\]'"):
        LabelModel("flow")


@needs_zuko
def test_a_flow_takes_one_thread_where_nobody_says_more(monkeypatch):
    seen, rng = [], np.random.default_rng(0)
    monkeypatch.setattr(FlowEnsemble, "_fit_member", lambda self, *a: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        FlowEnsemble(members=2).fit(rng.normal(size=(20, 3)).astype(np.float32), np.ones((20, 1)), np.arange(20))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]
