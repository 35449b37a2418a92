"""Labels straight from spectra: training, masks, missing labels, errors, and what is refused."""

import astropy.units as u
import numpy as np
import pytest
import torch

from specalign import get_encoder, metrics
from specalign.alignment import LabelHistory, LabelRegressor
from specalign.alignment.calibration import LabelErrors
from specalign.alignment.training import LabelModule, Recorder
from specalign.data.splits import StarSplit
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
from specalign.tests.alignment.survey import label_table, observe, stars

QUICK = {"max_epochs": 3, "batch_size": 32, "progress": False, "accelerator": "cpu"}
NAMES = ("teff", "logg", "fe_h")


def known(n=120, system="mock"):
    table = label_table(stars(n))
    table.meta["label_system"] = system
    return table


def fitted(prepared=None, labels=None, encoder="starnet", scaling="standard", **options):
    prepared = observe("apogee", stars(120)) if prepared is None else prepared
    options = QUICK | options
    return LabelRegressor(encoder, scaling).fit(prepared, known() if labels is None else labels, **options)


def same_weights(*models):
    first, second = (model.encoder.state_dict() for model in models)
    return all(torch.equal(first[name], second[name]) for name in first)


def values(table):
    return np.stack([table[name].value for name in NAMES], axis=1)


@pytest.fixture(scope="module")
def survey():
    return observe("apogee", stars(600), visits=2, noise=0.03)


@pytest.fixture(scope="module", params=[pytest.param("starnet", marks=pytest.mark.slow), "mlp"])
def trained(request, survey):
    torch.set_num_threads(1)
    options = {"max_epochs": 20, "learning_rate": 3e-3, "batch_size": 32}
    return fitted(survey, known(600), request.param, **options)


def test_stars_that_were_not_trained_on_get_their_labels(trained, survey):
    test = survey[trained.split.rows(survey.object_id, "test")]
    figures = metrics.labels(trained.predict(test), known(600))
    assert (figures["r2"] > 0.9).all()
    assert figures["n"].tolist() == [len(test)] * 3


def test_predictions_carry_units_errors_and_system(trained, survey):
    table = trained.predict(survey[:5])
    assert table.colnames == ["object_id", "spectrum_id", *(n + e for n in NAMES for e in ("", "_err"))]
    assert [table[n].unit for n in NAMES] == [u.K, u.dex(u.cm / u.s**2), u.dex]
    assert [table[f"{n}_err"].unit for n in NAMES] == [u.K, u.dex, u.dex]
    assert table["spectrum_id"].tolist() == survey.spectrum_id[:5].tolist()
    assert table.meta["label_system"] == "mock"
    assert table.meta["n_train"] == 2 * trained.split.counts["train"]


def test_errors_are_those_of_stars_that_were_not_trained_on(trained, survey):
    test = survey[trained.split.rows(survey.object_id, "test")]
    predicted, true = trained.predict(test), label_table(test.object_id[::2])
    ratio = [(predicted[n].value - np.repeat(true[n].value, 2)) / predicted[f"{n}_err"].value for n in NAMES]
    spread = np.sqrt(np.square(ratio).mean(axis=1))  # of one label 0.6 to 1.6 over seeds, with so few held-out stars
    assert 0.75 < np.sqrt((spread**2).mean()) < 1.35
    assert (spread < 2).all()


def test_the_order_and_company_of_rows_do_not_matter(trained, survey):
    rows = [7, 300, 2]
    np.testing.assert_allclose(
        values(trained.predict(survey[rows])), values(trained.predict(survey))[rows], rtol=1e-5, atol=1e-4
    )


def test_no_rows_give_no_rows(trained, survey):
    assert len(trained.predict(survey[:0])) == 0


def test_the_history_says_what_happened(trained):
    history = trained.history
    rates = history.epochs["learning_rate"]
    np.testing.assert_allclose(rates, 3e-3 * 0.5 ** (np.arange(len(rates)) // 5))
    assert history.epochs["val_loss"][history.best_epoch] == history.epochs["val_loss"].min()
    assert history.stopped in repr(history)
    assert history.counts["training"] == trained.split.counts["train"]
    again = LabelHistory.from_dict(history.as_dict())
    assert repr(again) == repr(history)
    assert again.epochs["val_loss"].tolist() == history.epochs["val_loss"].tolist()


@pytest.mark.parametrize("encoder", ["starnet", "mlp"])
def test_everything_follows_from_the_seed(encoder):
    first, again, other = (fitted(encoder=encoder, seed=seed, noise=0.5) for seed in (1, 1, 2))
    assert all(
        torch.equal(a, b) for a, b in zip(*(m.encoder.state_dict().values() for m in (first, again)), strict=True)
    )
    assert first.history.epochs["train_loss"].tolist() == again.history.epochs["train_loss"].tolist()
    assert first.split.part.tolist() != other.split.part.tolist()


def test_the_order_of_the_input_does_not_matter():
    prepared = observe("apogee", stars(120))
    order = np.random.default_rng(0).permutation(120)
    plain, mixed = fitted(prepared), fitted(prepared[order], known()[order[::-1]])
    assert same_weights(plain, mixed)


def test_what_hides_under_the_mask_never_matters():
    found = []
    for rubbish in (0.0, 1e30):
        prepared = observe("apogee", stars(120))
        prepared.flux[prepared.mask] = rubbish
        found.append(values(fitted(prepared).predict(prepared)).tobytes())
    assert found[0] == found[1]


def test_the_test_stars_are_never_looked_at():
    prepared, labels = observe("apogee", stars(120)), known()
    parts = StarSplit.draw(prepared.object_id, seed=3)
    spoilt, wrong = observe("apogee", stars(120)), known()
    test = parts.rows(prepared.object_id, "test")
    spoilt.flux[test] = 1e6
    wrong["teff"][test] = 1e9 * u.K
    plain, other = fitted(prepared, labels, split=parts), fitted(spoilt, wrong, split=parts)
    assert values(plain.predict(prepared)).tobytes() == values(other.predict(prepared)).tobytes()
    assert plain.split is parts


def test_missing_labels_are_left_out_label_by_label():
    labels = known()
    labels["logg"][::2] = -9999 * u.dex(u.cm / u.s**2)
    labels["teff"][:10] = np.nan * u.K
    model = fitted(labels=labels)
    assert np.isfinite(model.history.epochs["train_loss"]).all()
    assert model._scaler.centre[1] > 0  # a -9999 would have dragged it far below
    changed = labels.copy()
    changed["logg"][::2] = np.nan * u.dex(u.cm / u.s**2)
    assert values(fitted(labels=changed).predict(observe("apogee", stars(9)))).tobytes() == (
        values(model.predict(observe("apogee", stars(9)))).tobytes()
    )


def test_stars_without_any_label_are_counted():
    model = fitted(labels=known()[:80])
    assert model.predict(observe("apogee", stars(3))).meta["n_unlabelled"] == 40


def test_min_max_scaling_brings_training_labels_between_0_and_1():
    model = fitted(scaling="minmax")
    training = known()[model.split.rows(known()["object_id"], "train")]
    scaled = model._scaler.forward(values(training))
    np.testing.assert_allclose([scaled.min(axis=0), scaled.max(axis=0)], [[0] * 3, [1] * 3], atol=1e-12)
    assert fitted(scaling="standard").history.epochs["val_loss"][0] > model.history.epochs["val_loss"][0]


def test_units_of_the_labels_are_those_of_the_table():
    other = known()
    other["teff"] = other["teff"].to(u.kK)
    here, there = (
        fitted().predict(observe("apogee", stars(9))),
        fitted(labels=other).predict(observe("apogee", stars(9))),
    )
    assert there["teff"].unit == u.kK
    np.testing.assert_allclose(there["teff"].to_value(u.K), here["teff"].value, rtol=1e-4)


class TestStopping:
    def test_training_ends_where_the_validation_loss_rests(self):
        model = fitted(max_epochs=9, learning_rate=0.0, patience=2)
        assert len(model.history.epochs) == 3
        assert model.history.stopped == "the validation loss did not fall by 0.001 in 2 epochs"

    def test_the_limit_is_a_reason_too(self):
        assert fitted().history.stopped == "the limit of epochs was reached"

    @pytest.mark.parametrize(("step", "epochs"), [(2e-3, 9), (5e-4, 4)])
    def test_a_gain_counts_from_min_delta_on(self, monkeypatch, step, epochs):
        keep = Recorder._keep

        def slowly(self, trainer, module, loss):
            keep(self, trainer, module, 1 - step * trainer.current_epoch)

        monkeypatch.setattr(Recorder, "_keep", slowly)
        model = fitted(max_epochs=9, patience=3, min_delta=1.9e-3)
        # three epochs of small gains fall by 1.5e-3 together, which is not enough
        assert len(model.history.epochs) == epochs
        assert model.history.best_epoch == epochs - 1

    def test_the_best_weights_are_kept_not_the_last(self, monkeypatch):
        keep, seen = Recorder._keep, []

        def worse_and_worse(self, trainer, module, loss):
            with self.average.in_place():
                seen.append({name: value.clone() for name, value in module.encoders["apogee"].state_dict().items()})
            keep(self, trainer, module, float(trainer.current_epoch))

        monkeypatch.setattr(Recorder, "_keep", worse_and_worse)
        kept = fitted(max_epochs=4, patience=9).encoder.state_dict()
        assert all(torch.equal(kept[name], seen[0][name]) for name in kept)
        assert any(not torch.equal(kept[name], seen[3][name]) for name in kept)

    def test_without_validation_stars_it_trains_to_the_end_and_knows_no_errors(self):
        model = fitted(split=(1, 0, 1))
        assert np.isnan(model.history.epochs["val_loss"]).all()
        table = model.predict(observe("apogee", stars(3)))
        assert np.isfinite(table["teff"]).all()
        assert np.isnan(table["teff_err"]).all()

    def test_none_keeps_no_star_for_a_test(self):
        assert fitted(split=None).split.counts["test"] == 0


class TestWeights:
    def test_labels_with_large_errors_count_less(self):
        labels = known()
        wrong = np.arange(120) % 3 == 0
        labels["teff"][wrong] += 3000 * u.K
        labels["logg_err"], labels["fe_h_err"] = np.full(120, 0.1) * u.dex, np.full(120, 0.1) * u.dex
        labels["teff_err"][wrong] = 1e5 * u.K
        options = {"max_epochs": 20, "learning_rate": 3e-3, "patience": 20, "loss": "squared"}
        prepared = observe("apogee", stars(120))
        truth = known()["teff"].value
        bias = [
            np.mean(fitted(prepared, labels, weighted=weighted, **options).predict(prepared)["teff"].value - truth)
            for weighted in (False, True)
        ]
        assert bias[0] > 500
        assert abs(bias[1]) < 0.3 * bias[0]

    def test_the_weights_are_those_of_the_errors(self, monkeypatch):
        labels, seen = known(), []
        labels["logg_err"], labels["fe_h_err"] = np.full(120, 0.1) * u.dex, np.full(120, 0.1) * u.dex
        labels["teff_err"] = np.where(np.arange(120) % 3 == 0, 300, 100) * u.K
        terms = LabelModule.terms

        def spy(self, batch, outputs):
            found = terms(self, batch, outputs)
            star, predicted = batch["apogee"]["star"], outputs["apogee"]
            number = torch.tensor([int(name[-4:]) for name in self.data.index.star_id[star]])
            weight = torch.ones(len(star), 3)
            weight[number % 3 == 0, 0] = 0.2  # 1 / (1 + 3^2), over that of the median error
            weight[:, 0] /= self.mean
            by_hand = (weight * (predicted - self.data.targets[star]) ** 2).mean()
            seen.append((float(found["labels"].detach()), float(by_hand.detach())))
            return found

        training = fitted().split.rows(labels["object_id"], "train")
        monkeypatch.setattr(LabelModule, "mean", np.where(training % 3 == 0, 0.2, 1.0).mean(), raising=False)
        monkeypatch.setattr(LabelModule, "terms", spy)
        fitted(labels=labels, weighted=True, max_epochs=1, loss="squared")
        assert len(seen) > 3
        np.testing.assert_allclose(*np.transpose(seen), rtol=1e-5)

    def test_equal_errors_change_nothing(self):
        labels = known()
        labels["logg_err"], labels["fe_h_err"] = np.full(120, 0.1) * u.dex, np.full(120, 0.1) * u.dex
        prepared = observe("apogee", stars(120))
        found = [values(fitted(prepared, labels, weighted=w).predict(prepared)) for w in (False, True)]
        np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-4)

    def test_labels_without_errors_cannot_be_weighted(self):
        with pytest.raises(LabelError, match="logg_err"):
            fitted(weighted=True)


@pytest.mark.slow
def test_a_few_wrong_labels_bias_the_default_less_than_the_square():
    labels, prepared = known(), observe("apogee", stars(120))
    labels["teff"][::5] += 5000 * u.K
    truth, options = known()["teff"].value, {"max_epochs": 20, "learning_rate": 3e-3, "patience": 20}
    bias = {
        loss: np.median(fitted(prepared, labels, loss=loss, **options).predict(prepared)["teff"].value - truth)
        for loss in ("huber", "squared")
    }
    assert abs(bias["huber"]) < 0.5 * bias["squared"]


class TestAveraging:
    def test_the_average_is_what_is_validated_and_kept(self, monkeypatch):
        seen, validated = [], LabelModule.validation_step

        def spy(self, batch, batch_number):
            seen.append({name: value.clone() for name, value in self.encoders["apogee"].state_dict().items()})
            validated(self, batch, batch_number)

        monkeypatch.setattr(LabelModule, "validation_step", spy)
        kept = fitted(max_epochs=1).encoder.state_dict()
        assert all(torch.equal(kept[name], seen[-1][name]) for name in kept)
        last = fitted(max_epochs=1, averaging=0.0).encoder.state_dict()
        assert any(not torch.equal(kept[name], last[name]) for name in kept)


class TestErrors:
    def test_the_part_that_falls_with_the_signal_is_found(self):
        rng = np.random.default_rng(0)
        snr = rng.uniform(5, 200, 4000)
        residual = rng.normal(0, np.sqrt(30**2 + (900 / snr) ** 2))[:, None]
        errors = LabelErrors.fit(residual, snr)
        assert errors.floor[0] == pytest.approx(30, rel=0.1)
        assert errors.slope[0] == pytest.approx(900, rel=0.15)
        assert ((residual / errors.at(snr)) ** 2).mean() == pytest.approx(1, abs=1e-9)

    def test_where_the_signal_does_not_matter_the_error_is_constant(self):
        rng = np.random.default_rng(1)
        errors = LabelErrors.fit(rng.normal(0, 2, (50, 1)), rng.uniform(20, 21, 50))
        assert errors.slope == [0.0]

    def test_a_label_without_residuals_has_no_error(self):
        errors = LabelErrors.fit(np.array([[1.0, np.nan], [2.0, np.nan]]), np.ones(2))
        assert np.isnan(errors.at(np.ones(3))).tolist() == [[False, True]] * 3


class TestEncoders:
    def test_a_given_encoder_of_another_dimension_gets_a_linear_layer(self):
        given_encoder = get_encoder("mlp", n_pixels=40, embed_dim=16, width=32, depth=1)
        before = {name: value.clone() for name, value in given_encoder.state_dict().items()}
        model = fitted(encoder=given_encoder)
        assert model._head.out_features == 3
        assert all(torch.equal(value, before[name]) for name, value in given_encoder.state_dict().items())

    def test_a_given_encoder_begins_with_its_weights(self):
        first, other = (get_encoder("starnet", n_pixels=40, embed_dim=3, seed=s) for s in (0, 1))
        losses = [fitted(encoder=e).history.epochs["train_loss"][0] for e in (first, first, other)]
        assert losses[0] == losses[1] != losses[2]

    def test_an_encoder_that_was_trained_keeps_the_scaling_of_its_input(self):
        first = fitted(encoder="mlp")
        again = fitted(encoder=first.encoder, labels=known()[:80])
        fresh = fitted(encoder=get_encoder("mlp", n_pixels=40, embed_dim=3), labels=known()[:80])
        basis = [model.encoder.factors.basis for model in (first, again, fresh)]
        assert torch.equal(basis[0], basis[1])
        assert not torch.equal(basis[0], basis[2])

    def test_an_encoder_from_a_file_keeps_the_scaling_of_its_input(self, tmp_path):
        first = fitted(encoder="mlp")
        first.save(tmp_path)
        again = fitted(encoder=LabelRegressor.load(tmp_path).encoder, labels=known()[:80])
        assert torch.equal(first.encoder.factors.basis, again.encoder.factors.basis)

    def test_an_encoder_of_another_grid_is_refused(self):
        with pytest.raises(GridMismatchError, match="takes 41 pixels, the spectra have 40"):
            fitted(encoder=get_encoder("starnet", n_pixels=41, embed_dim=3))

    @pytest.mark.parametrize("bad", [3, None])
    def test_anything_else_is_no_encoder(self, bad):
        with pytest.raises(ValueError, match="expected a plugin's name"):
            LabelRegressor(bad)

    def test_options_are_those_of_a_plugin(self):
        encoder = get_encoder("starnet", n_pixels=40)
        with pytest.raises(ValueError, match="expected a plugin's name"):
            LabelRegressor(encoder, filters=[2])
        model = LabelRegressor("starnet", filters=[2]).fit(observe("apogee", stars(120)), known(), **QUICK)
        assert model.encoder.filters == [2]

    def test_correlated_noise_reaches_the_encoder(self):
        prepared = observe("gaia_xp", stars(120), correlated=True)
        model = fitted(prepared, encoder="mlp", noise=1.0)
        assert np.isfinite(values(model.predict(prepared))).all()


class TestRefusals:
    def test_nothing_is_predicted_before_a_fit(self):
        model = LabelRegressor()
        with pytest.raises(SpecalignError, match="not trained: call fit"):
            model.predict(observe("apogee", stars(2)))
        with pytest.raises(SpecalignError, match="not trained"):
            model.save("nowhere")
        assert model.encoder is model.history is model.split is None

    def test_spectra_of_another_grid_are_refused(self):
        model, rows = fitted(), observe("apogee", stars(3))
        rows.instrument = type(rows.instrument)("apogee", {"mode": "test"}, "e" * 64, "1")
        with pytest.raises(GridMismatchError, match="eeeeeeeeeeee"):
            model.predict(rows)
        with pytest.raises(GridMismatchError, match="come from nirspec"):
            model.predict(observe("nirspec", stars(3)))

    def test_constant_labels_cannot_be_learned(self):
        labels = known()
        labels["fe_h"] = np.full(120, 0.1) * u.dex
        with pytest.raises(LabelError, match=r"fe_h is the same for all of them.*drop it with names"):
            fitted(labels=labels)
        assert fitted(labels=labels, names=["teff"]).predict(observe("apogee", stars(1))).colnames[2:] == [
            "teff",
            "teff_err",
        ]

    def test_a_label_that_no_training_star_has(self):
        labels = known()
        train = StarSplit.draw(labels["object_id"], seed=42).rows(labels["object_id"], "train")
        labels["logg"][train[1:]] = np.nan * u.dex(u.cm / u.s**2)
        with pytest.raises(LabelError, match="logg is known for 1 training stars"):
            fitted(labels=labels)

    def test_a_split_without_the_stars(self):
        with pytest.raises(MatchError, match=r"star-0060, .*in no part of the split"):
            fitted(split=StarSplit.draw(stars(60)))

    def test_labels_of_other_stars(self):
        labels = known()
        labels["object_id"] = np.char.add("x", labels["object_id"])
        with pytest.raises(MatchError, match="none of the 120 spectra"):
            fitted(labels=labels)

    def test_spectra_that_would_spoil_the_training(self):
        prepared = observe("apogee", stars(120))
        prepared.mask[3] = True
        with pytest.raises(EmptySpectrumError, match="apogee-star-0003-0"):
            fitted(prepared)
        prepared = observe("apogee", stars(120))
        prepared.flux[5, ~prepared.mask[5]] = np.nan
        with pytest.raises(SpectrumError, match="apogee-star-0005-0"):
            fitted(prepared)
        with pytest.raises(SpectrumError, match="apogee-star-0005-0"):
            fitted().predict(prepared)

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"gamma": 0.0}, "gamma: expected a factor above 0"),
            ({"loss": "absolute"}, "loss: expected one of huber, squared, got 'absolute'"),
            ({"averaging": 1.0}, "averaging: expected a share from 0 to below 1"),
            ({"averaging": -0.1}, "averaging: expected a share from 0 to below 1"),
            ({"batch_size": 0}, "batch_size: expected a positive integer"),
            ({"gamma": 1.5}, "gamma: expected a factor above 0"),
            ({"step_size": 0}, "step_size: expected a positive integer"),
            ({"min_delta": -1.0}, "min_delta: expected a finite number"),
            ({"patience": 0}, "patience: expected a positive integer"),
            ({"batch_size": 2.5}, "batch_size: expected a positive integer"),
            ({"learning_rate": np.nan}, "learning_rate: expected a finite number"),
            ({"split": (1, 2)}, "ratio: expected three numbers"),
        ],
    )
    def test_settings_out_of_their_range(self, option, message):
        with pytest.raises(ValueError, match=message):
            fitted(**option)

    def test_an_unknown_scaling(self):
        with pytest.raises(ValueError, match="expected one of standard, minmax, got 'robust'"):
            LabelRegressor(scaling="robust")


class Fragile(Encoder):
    """Gives NaN for one star, after the first step."""

    def __init__(self, n_pixels, embed_dim=3):
        super().__init__(n_pixels, embed_dim)
        self.layer = torch.nn.Linear(n_pixels, embed_dim)

    def encode(self, flux, ivar, mask, snr):
        return self.layer(flux) + torch.where(flux[:, :1] > 50, torch.nan, 0.0)


def test_a_loss_that_is_not_finite_names_the_spectra_and_leaves_the_regressor_as_it_was():
    good = observe("apogee", stars(120))
    model = fitted(good, encoder=Fragile(40))
    before = values(model.predict(good))
    train = model.split.rows(good.object_id, "train")[4]
    bad = observe("apogee", stars(120))
    bad.flux[train, 0], bad.mask[train, 0], bad.ivar[train, 0] = 100, False, 1
    match = rf"the loss is not finite at step \d+ \(epoch 0\), learning rate .*{bad.spectrum_id[train]}"
    with pytest.raises(NonFiniteLossError, match=match):
        model.fit(bad, known(), **QUICK)
    assert (values(model.predict(good)) == before).all()


def test_a_validation_loss_that_is_not_finite_is_not_the_best():
    prepared = observe("apogee", stars(120))
    row = StarSplit.draw(prepared.object_id).rows(prepared.object_id, "validation")[0]
    prepared.flux[row, 0], prepared.mask[row, 0], prepared.ivar[row, 0] = 100, False, 1
    with pytest.raises(NonFiniteLossError, match=rf"the validation loss is not finite .*{prepared.spectrum_id[row]}"):
        fitted(prepared, encoder=Fragile(40))


def test_no_parameter_changes_by_a_bad_step(monkeypatch):
    unchanged = []
    stop = LabelModule._stop

    def spy(self, what, bad):
        unchanged.append(all(bool(torch.isfinite(p).all()) for p in self.parameters()))
        stop(self, what, bad)

    terms = LabelModule.terms

    def steep(self, batch, outputs):
        found = terms(self, batch, outputs)
        value = found["labels"]
        slope = (value - value.detach()).abs().sqrt()  # infinite at 0
        return found if self.global_step < 2 else found | {"slope": slope}

    monkeypatch.setattr(LabelModule, "_stop", spy)
    monkeypatch.setattr(LabelModule, "terms", steep)
    with pytest.raises(NonFiniteLossError, match="the gradient is not finite at step 2 "):
        fitted()
    assert unchanged == [True]
