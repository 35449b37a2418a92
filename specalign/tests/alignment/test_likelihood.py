"""Vectors with normal distributions beside them: trained, embedded, saved, adapted and told to other programs."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional

from specalign import Aligner, EmbeddingTable, get_encoder, metrics, ops
from specalign.alignment import export_weights
from specalign.alignment.inputs import encoder_inputs
from specalign.alignment.likelihood import MutualLikelihood
from specalign.alignment.objectives import LEAST_VARIANCE, InfoNCE
from specalign.exceptions import SpecalignWarning
from specalign.testing import parametrize_objective
from specalign.tests.alignment.survey import PIXELS, label_table, observe, stars

QUICK = {"progress": False, "accelerator": "cpu"}


@parametrize_objective("clip+likelihood", marks={"aligner_learns": pytest.mark.slow})
def test_contract(check):
    check()


def fitted(n=300, max_epochs=25, **options):
    prepared = {name: observe(name, stars(n)) for name in ("apogee", "nirspec")}
    size = {"embed_dim": 16, "width": 32, "depth": 1}
    encoders = {name: get_encoder("mlp", n_pixels=PIXELS[name], **size) for name in prepared}
    aligner = Aligner(encoders, embed_dim=16, objective="clip+likelihood")
    aligner.fit(prepared, max_epochs=max_epochs, batch_size=64, learning_rate=5e-3, **options, **QUICK)
    return aligner


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    return fitted(labels=label_table(stars(300)))


@pytest.fixture(scope="module")
def held():
    return {name: observe(name, stars(150, first=5000)) for name in ("apogee", "nirspec")}


def test_embeddings_have_distributions(trained, held):
    table = trained.embed(held["apogee"])
    assert table.vectors.shape == (150, 12)
    assert table.latent_mean.shape == table.latent_variance.shape == (150, 2)
    assert table.latent_variance.min() >= LEAST_VARIANCE
    assert table.likelihood_scale == pytest.approx(float(trained._objective.likelihood_scale.detach()))
    assert {"train_likelihood", "val_likelihood", "val_joint"} <= set(trained.history.epochs.colnames)
    assert trained.history.epochs["val_likelihood"][-1] < trained.history.epochs["val_likelihood"][0]


def test_stars_are_found_by_likelihood(trained, held):
    apogee, nirspec = (trained.embed(rows) for rows in held.values())
    found = metrics.retrieval(nirspec, apogee)
    assert found["recall@1"] > 20 * found["chance_recall@1"]
    assert apogee.search(nirspec, k=2).meta["similarity"] == "likelihood"


def test_noisy_spectra_know_that_they_are(trained):
    clear, noisy = (trained.embed(observe("apogee", stars(60, first=7000), noise=noise)) for noise in (0.01, 0.2))
    assert np.median(noisy.latent_variance) > 1.5 * np.median(clear.latent_variance)


def test_the_loss_is_that_of_the_formula():
    objective, raw = MutualLikelihood(), torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    vectors = dict(zip("ab", map(objective.unit, raw), strict=True))
    star = dict.fromkeys("ab", torch.arange(5))
    own = raw / raw.square().mean(dim=2, keepdim=True).sqrt()
    parts = [(rows[:, 6:7], functional.softplus(rows[:, 7:]) + LEAST_VARIANCE) for rows in own]
    found = objective.terms(vectors, star)
    torch.testing.assert_close(found["likelihood"], ops.mutual_likelihood_nce(*parts[0], *parts[1]))
    cosines = [functional.normalize(rows[:, :6], dim=1) for rows in raw]
    torch.testing.assert_close(found["contrast"], ops.info_nce(*cosines, objective.logit_scale))
    logits = 15.5 * (cosines[0] @ cosines[1].T) + ops.mutual_likelihood(*parts[0], *parts[1])
    joint = (functional.cross_entropy(part, star["a"]) for part in (logits, logits.T))
    torch.testing.assert_close(found["joint"], sum(joint) / 2)
    nothing = objective.terms(vectors, star | {"b": torch.arange(5, 10)})
    assert [float(nothing[name].detach()) for name in ("likelihood", "joint")] == [0, 0]


def test_the_joint_likelihood_teaches_nothing_but_its_scale():
    objective, raw = MutualLikelihood(), torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    raw.requires_grad_()
    vectors = dict(zip("ab", map(objective.unit, raw), strict=True))
    objective.terms(vectors, dict.fromkeys("ab", torch.arange(5)))["joint"].backward()
    assert raw.grad is None
    assert [name for name, part in objective.named_parameters() if part.grad is not None] == ["log_cosine"]


def test_distributions_do_not_say_which_epoch_is_the_best(trained):
    """Few stars make them too sure of themselves, which would end a training while its vectors still learn."""
    epochs = trained.history.epochs
    for kind in ("train", "val"):
        judged = epochs[f"{kind}_contrast"] + 0.5 * epochs[f"{kind}_labels"]
        np.testing.assert_allclose(epochs[f"{kind}_loss"], judged, rtol=1e-5, atol=1e-5)
    assert trained.history.best_epoch == int(np.argmin(epochs["val_loss"]))


def test_an_adaptation_is_judged_by_its_vectors_too(trained):
    some = stars(40, first=9000)
    rows, partner = observe("nirspec", some, seed=5), {"apogee": observe("apogee", some)}
    losses = []
    for weight in (0.0, 50.0):
        other = copy.deepcopy(trained)
        other._objective.likelihood = weight
        told = other.adapt(rows, partners=partner, max_epochs=1, learning_rate=1e-12, **QUICK)
        losses.append([float(told.history.adaptations[-1].epochs[0][name]) for name in ("train_loss", "val_loss")])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_size_of_what_an_encoder_gives_does_not_matter(size):
    objective, raw = MutualLikelihood(), torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(objective.unit(size * raw), objective.unit(raw), rtol=1e-4, atol=1e-6)


def test_rows_of_zeros_are_finite():
    assert MutualLikelihood().unit(torch.zeros(2, 16)).isfinite().all()


def test_few_steps_find_what_cosines_find():
    """The distributions have hardly begun where few stars trained for some steps; their order does not count yet."""
    rows = {name: observe(name, stars(60)) for name in ("apogee", "nirspec")}
    aligner = Aligner(list(rows), objective="clip+likelihood")
    aligner.fit(rows, max_epochs=15, batch_size=20, validation=0, **QUICK)
    apogee, nirspec = (aligner.embed(part) for part in rows.values())
    joint, cosine = (metrics.retrieval(nirspec, apogee, similarity=how) for how in ("auto", "cosine"))
    assert cosine["recall@1"] > 0.5
    assert joint["recall@1"] >= cosine["recall@1"] - 0.05
    assert 10 < apogee.likelihood_scale < 30


def test_a_loaded_aligner_has_the_same_distributions(trained, held, tmp_path):
    trained.save(tmp_path / "model")
    loaded = Aligner.load(tmp_path / "model").embed(held["apogee"])
    for name in ("vectors", "latent_mean", "latent_variance"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(trained.embed(held["apogee"]), name))


def test_the_published_recipe_gives_the_embeddings(trained, held, tmp_path):
    export_weights(trained, tmp_path / "published", prepared=held)
    text = json.loads((tmp_path / "published" / "config.json").read_text())["output"]
    assert "first 12 numbers of the encoder's 16" in text
    assert "last 4 numbers, divided by the root mean square of all 16" in text
    assert "2 numbers y of means m = a y, and 2 numbers x of variances v = ln(1 + exp(b x)) + 0.0001" in text
    assert "s (1 - c), where c is the dot product" in text
    with safe_open(tmp_path / "published" / "objective.safetensors", "pt") as file:
        a, b, s = (np.exp(float(file.get_tensor(f"log_{name}"))) for name in ("mean", "spread", "cosine"))
    with torch.no_grad():
        raw = trained.encoders["apogee"](**encoder_inputs(held["apogee"], np.arange(150)))
    table = trained.embed(held["apogee"])
    np.testing.assert_allclose(table.vectors, functional.normalize(raw[:, :12], dim=1), atol=1e-6)
    y, x = np.split(raw[:, 12:].numpy() / np.sqrt(np.mean(raw.numpy() ** 2, axis=1, keepdims=True)), 2, axis=1)
    np.testing.assert_allclose(table.latent_mean, a * y, rtol=1e-4)
    np.testing.assert_allclose(table.latent_variance, np.log1p(np.exp(b * x)) + 1e-4, rtol=1e-4)
    assert table.likelihood_scale == pytest.approx(s)


def test_partners_adapt_the_distributions(trained):
    some = stars(80, first=9000)
    rows = observe("nirspec", some, seed=5)
    rows.flux[:] = np.where(rows.mask, 0, 1 + 1.5 * (rows.flux - 1))
    partner = {"apogee": observe("apogee", some)}
    changed = trained.adapt(rows, partners=partner, max_epochs=20, **QUICK)
    before, after = (
        metrics.retrieval(model.embed(rows), model.embed(partner["apogee"]))["mrr"] for model in (trained, changed)
    )
    assert after > before + 0.05


def test_labels_say_nothing_of_distributions(trained, held, tmp_path):
    some = stars(40, first=9000)
    rows, partner = observe("nirspec", some, seed=5), {"apogee": observe("apogee", some)}
    told = trained.adapt(rows, label_table(some), max_epochs=1, **QUICK)
    told.save(tmp_path / "told")
    for model in (told, Aligner.load(tmp_path / "told")):
        apogee, nirspec = (model.embed(held[name]) for name in ("apogee", "nirspec"))
        assert apogee.is_probabilistic
        assert not nirspec.is_probabilistic
        assert apogee.search(nirspec, k=1).meta["similarity"] == "cosine"
    export_weights(told, tmp_path / "published", prepared=held)
    text = json.loads((tmp_path / "published" / "config.json").read_text())["output"]
    assert text.endswith("Not so for nirspec, adapted by labels, which say nothing of them.")
    with pytest.warns(SpecalignWarning, match="spectra of nirspec have no normal distributions .* compared by cosine"):
        assert not EmbeddingTable.concatenate([apogee, nirspec]).is_probabilistic
    again = told.adapt(rows, partners=partner, max_epochs=1, **QUICK)
    assert again.embed(held["nirspec"]).is_probabilistic
    both = trained.adapt(rows, label_table(some), partners=partner, max_epochs=1, **QUICK)
    assert both.embed(held["nirspec"]).is_probabilistic


def test_the_most_like_row_is_the_most_likely_one(trained, held):
    objective = trained._objective
    rows = {name: trained._embedded(name, held[name]) for name in ("apogee", "nirspec")}
    tables = {name: trained.embed(held[name]) for name in rows}
    found = tables["apogee"].search(tables["nirspec"], k=1)["neighbour_row"]
    assert objective.nearest(rows["nirspec"], rows["apogee"]).tolist() == found.tolist()
    cosine = tables["apogee"].search(tables["nirspec"], k=1, similarity="cosine")["neighbour_row"]
    nearest = InfoNCE().nearest(*(torch.from_numpy(tables[name].vectors) for name in ("nirspec", "apogee")))
    assert nearest.tolist() == cosine.tolist() != found.tolist()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"latent": 0.5}, "latent: expected a number of dimensions, at least 1, got 0.5"),
        ({"latent": 0}, "latent: expected a number of dimensions, at least 1, got 0"),
        ({"latent": True}, "latent: expected a number of dimensions, at least 1, got True"),
        ({"likelihood": -1}, "likelihood: expected a finite weight of at least 0, got -1"),
        ({"likelihood": True}, "likelihood: expected a finite weight of at least 0, got True"),
    ],
)
def test_unusable_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        MutualLikelihood(**options)


def test_too_few_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"1 means and variances leave 0 of 2 to share; choose .* a larger embed_dim"):
        Aligner(["apogee", "nirspec"], embed_dim=2, objective="clip+likelihood")
