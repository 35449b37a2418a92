"""The aligner on small linear stars: training, embedding, identities, labels."""

import functools
import os
import random

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import QTable

from specalign import Aligner, EmbeddingTable, get_encoder, ops
from specalign.alignment import objectives, training
from specalign.data.splits import split
from specalign.encoders import Encoder
from specalign.exceptions import (
    EmptySpectrumError,
    GridMismatchError,
    LabelError,
    MatchError,
    NonFiniteLossError,
    SpecalignError,
    SpectrumError,
)
from specalign.tests.alignment.survey import PIXELS, label_table, observe, stars

QUICK = {"max_epochs": 3, "batch_size": 32, "progress": False, "accelerator": "cpu"}


def small(*names, seed=0):
    return {
        name: get_encoder("mlp", n_pixels=PIXELS[name], embed_dim=8, width=32, depth=1, seed=seed) for name in names
    }


def pair(n=120, **options):
    return {name: observe(name, stars(n), **options) for name in ("apogee", "nirspec")}


def fitted(prepared=None, labels=None, pairs=None, **options):
    prepared = pair() if prepared is None else prepared
    aligner = Aligner(small(*prepared), embed_dim=8)
    aligner.fit(prepared, labels, pairs, **(QUICK | options))
    return aligner


def rank_one(aligner, a, b):
    x, y = aligner.embed(a), aligner.embed(b)
    return (y.object_id[(x.vectors @ y.vectors.T).argmax(axis=1)] == x.object_id).mean()


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    return fitted(pair(400), label_table(stars(400)), max_epochs=15)


def test_stars_that_were_not_trained_on_are_found_again(trained):
    new = {name: observe(name, stars(100, first=1000), seed=5) for name in ("apogee", "nirspec")}
    assert rank_one(trained, new["apogee"], new["nirspec"]) > 0.4  # chance is 0.01
    assert rank_one(trained, new["nirspec"], new["apogee"]) > 0.4


def test_the_history_tells_what_happened(trained):
    epochs = trained.history.epochs
    assert epochs["epoch"].tolist() == list(range(15))
    assert epochs["train_loss"][-1] < 0.7 * epochs["train_loss"][0]
    assert epochs["val_loss"][trained.history.best_epoch] == epochs["val_loss"].min()
    assert np.isfinite([epochs["recall@1"], epochs["logit_scale"], epochs["learning_rate"]]).all()
    held = trained.history.counts["validation"]
    assert trained.history.counts["training"] + held == trained.history.counts["matched"] == 400
    assert "15 epochs, 400 matched stars" in repr(trained.history)
    assert f"of {held} stars>" in repr(trained.history)


def test_labels_can_be_read_off_the_space(trained):
    new = observe("apogee", stars(200, first=1000), seed=5)
    head = trained._head(torch.tensor(trained.embed(new).vectors)).detach().numpy()
    teff = head[:, 0] * trained._labels.std[0] + trained._labels.mean[0]
    true = label_table(stars(200, first=1000))["teff"].value
    assert np.corrcoef(teff, true)[0, 1] > 0.8


def test_an_embedding_table_keeps_rows_and_their_origin(trained):
    prepared = observe("nirspec", stars(5, first=2000), visits=2)
    table = trained.embed(prepared)
    assert isinstance(table, EmbeddingTable)
    assert table.spectrum_id.tolist() == prepared.spectrum_id.tolist()
    assert set(table.instrument) == {"nirspec"}
    np.testing.assert_allclose(np.linalg.norm(table.vectors, axis=1), 1, rtol=1e-6)
    assert table.provenance["space"] == trained.space
    assert table.logit_scale == pytest.approx(float(trained._objective.logit_scale.detach()))
    assert table.provenance["grids"]["nirspec"] == prepared.instrument.grid_digest
    assert table.provenance["mask_versions"] == {"apogee": "1", "nirspec": "1"}
    np.testing.assert_allclose(trained.embed(prepared[3:4]).vectors, table.vectors[3:4], atol=1e-6)


def test_no_rows_embed_to_no_rows(trained):
    assert trained.embed(observe("apogee", stars(3))[:0]).vectors.shape == (0, 6)


def test_what_hides_under_the_mask_never_matters():
    spaces = []
    for rubbish in (0.0, 1e30):
        prepared = pair(60)
        for rows in prepared.values():
            rows.flux[rows.mask] = rubbish
        aligner = fitted(prepared, noise=1.0)
        spaces.append((aligner.space, aligner.embed(prepared["apogee"]).vectors.tobytes()))
    assert spaces[0] == spaces[1]


def test_everything_follows_from_the_seed():
    first, again, other = (fitted(labels=label_table(stars(120)), seed=s) for s in (1, 1, 2))
    assert first.space == again.space != other.space
    assert first.history.epochs["train_loss"].tolist() == again.history.epochs["train_loss"].tolist()


def test_training_is_that_of_the_formula_written_out(monkeypatch):
    """The loss in tiles changes nothing beyond rounding, over a whole training."""
    tiled = fitted()
    plain = functools.partial(ops.info_nce, backend="reference")
    monkeypatch.setattr(objectives, "info_nce", plain)
    written_out = fitted()
    assert tiled.history.epochs["train_loss"].tolist() == pytest.approx(
        written_out.history.epochs["train_loss"].tolist(), rel=1e-4
    )
    vectors = [aligner.embed(pair()["apogee"]).vectors for aligner in (tiled, written_out)]
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-3


def test_a_second_fit_starts_anew():
    aligner = fitted()
    space = aligner.space
    aligner.fit(pair(), **QUICK)
    assert aligner.space == space


def test_default_encoders_follow_from_the_seed_too():
    spaces = []
    for _ in range(2):
        aligner = Aligner(["apogee", "nirspec"], embed_dim=4)
        aligner.fit(pair(40), **(QUICK | {"max_epochs": 1}))
        spaces.append(aligner.space)
    assert spaces[0] == spaces[1]


@pytest.mark.slow
def test_encoders_that_read_pixels_follow_from_the_seed_and_learn():
    prepared = pair(300) | {"gaia_xp": observe("gaia_xp", stars(300), correlated=True)}
    aligners = []
    for _ in range(2):
        encoders = {name: get_encoder("starnet", n_pixels=PIXELS[name], embed_dim=8) for name in prepared}
        aligners.append(Aligner(encoders, embed_dim=8))
        aligners[-1].fit(prepared, **(QUICK | {"max_epochs": 8}))
    assert aligners[0].space == aligners[1].space
    losses = aligners[0].history.epochs["train_loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_the_position_of_rows_does_not_matter():
    labels, rng = label_table(stars(120)), np.random.default_rng(3)
    prepared = pair(visits=2)
    moved = {name: rows[rng.permutation(len(rows))] for name, rows in prepared.items()}
    shuffled = labels[rng.permutation(len(labels))]
    assert fitted(prepared, labels).space == fitted(moved, shuffled).space


def test_global_states_and_the_folder_are_left_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(987654321)  # a state that no training would leave by chance
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    fitted()
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_is_shown_when_asked_for(capfd):
    fitted(progress=True)
    assert "val_loss" in capfd.readouterr().err


def test_input_is_not_modified():
    prepared = pair()
    before = {name: rows.flux.copy() for name, rows in prepared.items()}
    fitted(prepared)
    assert all((prepared[name].flux == before[name]).all() for name in prepared)


def test_stars_without_a_partner_are_counted():
    prepared = {"apogee": observe("apogee", stars(60)), "nirspec": observe("nirspec", stars(60, first=7))}
    history = fitted(prepared).history
    assert history.counts["stars"] == 67
    assert history.counts["matched"] == 53
    assert history.unmatched["apogee"] == {"count": 7, "first": stars(5)}
    assert history.unmatched["nirspec"] == {"count": 7, "first": stars(5, first=60)}
    assert "unmatched {'apogee': 7, 'nirspec': 7}" in repr(history)


def test_three_instruments_with_gaps():
    prepared = {
        "apogee": observe("apogee", stars(90)),
        "nirspec": observe("nirspec", stars(80, first=20), visits=2),
        "gaia_xp": observe("gaia_xp", stars(40), correlated=True),
    }
    aligner = fitted(prepared)
    assert aligner.history.counts["rows"] == {"apogee": 90, "nirspec": 160, "gaia_xp": 40}
    assert {aligner.embed(rows).vectors.shape[1] for rows in prepared.values()} == {6}


def test_pairs_join_two_catalogues():
    prepared = pair(80)
    prepared["nirspec"].object_id = np.char.replace(prepared["nirspec"].object_id, "star", "source")
    names = np.array(stars(80))
    pairs = QTable({"object_id_a": names[:70], "object_id_b": np.char.replace(names[:70], "star", "source")})
    history = fitted(prepared, label_table(names), pairs).history
    assert history.counts["matched"] == 70
    assert history.unmatched["nirspec"]["count"] == 10


def test_validation_stars_are_split_by_star_and_scalers_never_see_them():
    prepared = pair(visits=2)
    held = split(prepared["apogee"].object_id, validation=0.3, test=0.0, seed=0, purpose="fit") == "validation"
    spoiled = {name: rows[:] for name, rows in prepared.items()}
    spoiled["apogee"].flux = np.where(held[:, None], 50.0, prepared["apogee"].flux).astype(np.float32)
    labels, wrong = label_table(stars(120)), label_table(stars(120))
    wrong["teff"][np.isin(wrong["object_id"], prepared["apogee"].object_id[held])] = 90000 * u.K
    aligners = fitted(prepared, labels, validation=0.3), fitted(spoiled, wrong, validation=0.3)
    first, second = (a.encoders["apogee"].scaler for a in aligners)
    assert torch.equal(first.mean, second.mean)
    assert aligners[0]._labels == aligners[1]._labels
    losses = [a.history.epochs["train_loss"].tolist() for a in aligners]
    assert losses[0] == losses[1]
    assert aligners[0].history.epochs["val_loss"][0] != aligners[1].history.epochs["val_loss"][0]


def test_without_validation_the_last_weights_are_kept():
    history = fitted(validation=0).history
    assert history.counts["validation"] == 0
    assert np.isnan(history.epochs["val_loss"]).all()
    assert history.best_epoch == 2


def test_training_stops_when_the_validation_loss_rests():
    history = fitted(learning_rate=0.0, max_epochs=9, patience=2).history
    assert len(history.epochs) == 3
    assert history.best_epoch == 0


def test_the_best_weights_are_kept_not_the_last(monkeypatch):
    keep, seen = training.Recorder._keep, []

    def worse_and_worse(self, trainer, module, loss):
        seen.append({name: value.clone() for name, value in module.encoders.state_dict().items()})
        keep(self, trainer, module, float(trainer.current_epoch))

    monkeypatch.setattr(training.Recorder, "_keep", worse_and_worse)
    aligner = fitted(max_epochs=4, patience=9)
    kept = torch.nn.ModuleDict(aligner.encoders).state_dict()
    assert aligner.history.best_epoch == 0
    assert all(torch.equal(kept[name], seen[0][name]) for name in kept)
    assert any(not torch.equal(kept[name], seen[3][name]) for name in kept)


def test_the_weight_of_the_labels_is_that_of_their_error_in_the_loss():
    labels, rest = label_table(stars(120)), {"learning_rate": 0.0, "max_epochs": 1}
    epochs = [fitted(labels=labels, label_weight=weight, **rest).history.epochs[0] for weight in (0.0, 20.0, 40.0)]
    losses = np.array([[epoch["train_loss"], epoch["val_loss"]] for epoch in epochs])
    assert (np.abs(losses[1] - losses[0]) > 0.05).all()
    np.testing.assert_allclose(losses[2] - losses[0], 2 * (losses[1] - losses[0]), rtol=1e-4)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(SpecalignError, match=r"accelerator='abacus'.*'auto' takes what this machine has"):
        fitted(accelerator="abacus")


def test_pretraining_on_labels_comes_first():
    labels = label_table(stars(120))
    aligner = fitted(labels=labels, supervision="pretrain", max_epochs=9)
    scale = aligner.history.epochs["logit_scale"]
    assert len(set(scale[:3].tolist())) == 1  # the contrast has not begun
    assert scale[3] != scale[2]
    assert aligner.history.best_epoch >= 3


def test_label_scaling_carries_units_and_ignores_what_is_unknown():
    labels = label_table(stars(120))
    labels["teff"][:30] = np.nan
    labels["logg"][30:40] = -9999 * labels["logg"].unit
    scaler = fitted(labels=labels[:100])._labels
    assert scaler.names == ["teff", "logg", "fe_h"]
    assert [u.Unit(text) for text in scaler.units] == [u.K, u.dex(u.cm / u.s**2), u.dex]
    assert scaler.mean[0] == pytest.approx(5000, abs=150)
    assert abs(scaler.mean[1]) < 10


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda t: t["teff", "logg"], "expected a column object_id, got teff, logg"),
        (lambda t: t["object_id", "teff_err"], "expected numeric columns besides object_id"),
        (lambda t: t[[0, 1, 1]], "object_id 'star-0001' is repeated"),
        (lambda t: QTable({"object_id": ["x"], "teff": [5000.0] * u.K}), "none of the 120 stars is in the table"),
        (lambda t: QTable({"object_id": t["object_id"], "teff": np.full(len(t), 5.0)}), "'teff' is the same for all"),
        (lambda t: QTable({"object_id": t["object_id"], "teff": np.full(len(t), np.nan)}), "none is known for a train"),
    ],
)
def test_unusable_labels_are_named(spoil, match):
    with pytest.raises(LabelError, match=match):
        fitted(labels=spoil(label_table(stars(120))))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"supervision": "never"}, "supervision: expected 'joint'"),
        ({"supervision": "pretrain"}, "'pretrain' with labels"),
        ({"validation": 1.0}, "validation: expected a share"),
        ({"max_epochs": 0}, "max_epochs: expected a positive integer, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected a positive integer, got 2.5"),
        ({"batch_size": 1}, "batch_size: expected at least 2 stars, to tell one from another, got 1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number"),
        ({"devices": 2}, "training runs on one device; expected 'auto' or 1, got 2"),
    ],
)
def test_wrong_options_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        fitted(**options)


def test_wrong_spectra_are_named():
    aligner, prepared = Aligner(small("apogee", "nirspec"), embed_dim=8), pair()
    with pytest.raises(ValueError, match="expected spectra of apogee, nirspec, got apogee"):
        aligner.fit({"apogee": prepared["apogee"]})
    with pytest.raises(GridMismatchError, match="expected spectra of apogee, got those of nirspec"):
        aligner.fit({"apogee": prepared["nirspec"], "nirspec": prepared["apogee"]})
    with pytest.raises(GridMismatchError, match="the encoder of apogee takes 30 pixels, the spectra have 40"):
        Aligner({"apogee": small("nirspec")["nirspec"], "nirspec": "mlp"}, embed_dim=8).fit(prepared, **QUICK)


def test_nothing_in_common_is_an_error_that_shows_both_sides():
    prepared = {"apogee": observe("apogee", stars(20)), "nirspec": observe("nirspec", stars(20, first=50))}
    with pytest.raises(MatchError, match=r"got 0 .*star-0000.*star-0050.*Use pairs="):
        fitted(prepared)


def test_rubbish_in_good_pixels_is_named():
    prepared = pair()
    prepared["nirspec"].mask[4, 2], prepared["nirspec"].flux[4, 2] = False, np.nan
    with pytest.raises(SpectrumError, match="nirspec 'nirspec-star-0004-0'"):
        fitted(prepared)


def test_embedding_refuses_what_it_was_not_trained_on(trained):
    rows = observe("apogee", stars(3))
    other = observe("apogee", stars(3))
    other.instrument = type(rows.instrument)("apogee", {"mode": "test"}, "f" * 64, "1")
    with pytest.raises(
        GridMismatchError, match=rf"grid {rows.instrument.grid_digest[:12]}.*come from apogee with grid ffff"
    ):
        trained.embed(other)
    other.instrument = type(rows.instrument)("apogee", {"mode": "test"}, rows.instrument.grid_digest, "2")
    with pytest.raises(GridMismatchError, match=r"mask rules 1 .*mask rules 2"):
        trained.embed(other)
    with pytest.raises(GridMismatchError, match="trained on apogee, nirspec, the spectra come from 'gaia_xp'"):
        trained.embed(observe("gaia_xp", stars(3)))
    rows.mask[1], rows.ivar[1] = True, 0
    with pytest.raises(EmptySpectrumError, match=r"apogee-star-0001-0.*no good pixel"):
        trained.embed(rows)


def test_before_training_and_without_decoders(trained, tmp_path):
    new = Aligner(["apogee", "nirspec"])
    for call in (lambda: new.embed(observe("apogee", stars(2))), lambda: new.save(tmp_path / "x")):
        with pytest.raises(SpecalignError, match="not trained: call fit"):
            call()
    with pytest.raises(SpecalignError, match="no decoder from apogee to nirspec was trained"):
        trained.translate(observe("apogee", stars(2)), to="nirspec")
    with pytest.raises(ValueError, match="to: expected one of apogee, nirspec, got 'kepler'"):
        trained.translate(observe("apogee", stars(2)), to="kepler")


@pytest.mark.parametrize(
    ("encoders", "match"),
    [
        (["apogee"], "at least two different instruments"),
        ("apogee", "at least two different instruments"),
        (["apogee", "apogee"], "at least two different instruments"),
        (["apogee", "a.b"], "expected names of instruments .* got 'a.b'"),
        ({"apogee": "mlp", "nirspec": print}, "nirspec: expected an Encoder or the name of one"),
        ({"apogee": "mlp", "nirspec": get_encoder("mlp", n_pixels=9, embed_dim=3)}, "gives 3 dimensions.*has 128"),
    ],
)
def test_wrong_encoders_are_named(encoders, match):
    with pytest.raises(ValueError, match=match):
        Aligner(encoders)


def test_two_settings_of_one_instrument():
    prepared = {"nirspec-a": observe("nirspec", stars(50)), "nirspec-b": observe("nirspec", stars(50), seed=3)}
    prepared["nirspec-b"].instrument = type(prepared["nirspec-a"].instrument)("nirspec", {"mode": "b"}, "0" * 64, "1")
    aligner = Aligner({name: small("nirspec")["nirspec"] for name in prepared}, embed_dim=8)
    aligner.fit(prepared, **QUICK)
    assert set(aligner.embed(prepared["nirspec-b"]).instrument) == {"nirspec-b"}


def test_two_names_of_one_setting_are_refused():
    """Spectra could not tell which of the two encoders is theirs."""
    prepared = {"nirspec-a": observe("nirspec", stars(50)), "nirspec-b": observe("nirspec", stars(50), seed=3)}
    aligner = Aligner({name: small("nirspec")["nirspec"] for name in prepared}, embed_dim=8)
    with pytest.raises(GridMismatchError, match="nirspec-a and nirspec-b are spectra of one instrument with one grid"):
        aligner.fit(prepared, **QUICK)


def spying(monkeypatch):
    """Parameters at every call of the optimizer."""
    seen = []
    step = torch.optim.AdamW.step

    def spy(self, closure=None):
        before = [p.detach().clone() for g in self.param_groups for p in g["params"]]
        try:
            return step(self, closure)
        except NonFiniteLossError:
            seen.append(
                all(
                    torch.equal(a, b)
                    for a, b in zip(before, (p for g in self.param_groups for p in g["params"]), strict=True)
                )
            )
            raise

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    return seen


class Fragile(Encoder):
    """Reads pixels, and fails on large values, as a network may that divides or takes roots."""

    def __init__(self, n_pixels, embed_dim=8):
        super().__init__(n_pixels, embed_dim)
        self.layer = torch.nn.Linear(n_pixels, embed_dim)

    def encode(self, flux, ivar, mask, snr):
        broken = (flux.abs() > 1000).any(dim=1, keepdim=True)
        return self.layer(flux) * torch.where(broken, torch.nan, 1)


def fragile(prepared, **options):
    aligner = Aligner({name: Fragile(PIXELS[name]) for name in prepared}, embed_dim=8)
    aligner.fit(prepared, **(QUICK | options))
    return aligner


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_rows(monkeypatch):
    unchanged, prepared = spying(monkeypatch), pair()
    good = np.flatnonzero(~prepared["apogee"].mask[7])
    prepared["apogee"].flux[7, good[0]] = 1e4
    match = r"the loss is not finite at step \d+ \(epoch 0\), learning rate .*, logit_scale 15.5.*apogee-star-0007-0"
    with pytest.raises(NonFiniteLossError, match=match):
        fragile(prepared, validation=0)
    assert unchanged == [True]


def test_a_gradient_that_is_not_finite_stops_before_the_step(monkeypatch):
    unchanged = spying(monkeypatch)
    terms = training.AlignmentModule.terms

    def steep(self, batch, vectors):
        found = terms(self, batch, vectors)
        value = sum(found.values())
        slope = (value - value.detach()).abs().sqrt()  # infinite at 0
        return found if self.global_step < 2 else found | {"slope": slope}

    monkeypatch.setattr(training.AlignmentModule, "terms", steep)
    with pytest.raises(
        NonFiniteLossError, match=r"the gradient is not finite at step 2 .*every vector is finite; .*star-"
    ):
        fitted(max_epochs=1)
    assert unchanged == [True]


def test_a_failed_training_leaves_the_aligner_as_it_was():
    aligner, prepared = fragile(pair()), pair()
    space, vectors = aligner.space, aligner.embed(prepared["apogee"]).vectors
    prepared["apogee"].flux[:, 0], prepared["apogee"].mask[:, 0], prepared["apogee"].ivar[:, 0] = 1e4, False, 1
    with pytest.raises(NonFiniteLossError, match="not finite"):
        aligner.fit(prepared, **QUICK)
    assert aligner.space == space
    assert (aligner.embed(pair()["apogee"]).vectors == vectors).all()
