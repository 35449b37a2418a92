"""Training without labels: it learns, follows from its seed, and what it learned is used."""

import numpy as np
import pytest
import torch

import specalign as sa
from specalign.alignment import LabelRegressor, PretrainingHistory
from specalign.alignment.training import PretrainingSettings
from specalign.encoders import autoencoder, specformer
from specalign.exceptions import EmptySpectrumError, GridMismatchError, MatchError, SpectrumError
from specalign.testing import stars as stars_of_the_kit
from specalign.tests.alignment.survey import label_table, observe, stars

SMALL = {"specformer": {"width": 32, "depth": 2, "heads": 2, "window": 5, "stride": 5}, "autoencoder": {"hidden": 32}}
QUICK = {"progress": False, "accelerator": "cpu", "batch_size": 32}


@pytest.fixture(scope="module")
def spectra():
    return observe("apogee", stars(200))


@pytest.fixture(scope="module", params=["autoencoder", pytest.param("specformer", marks=pytest.mark.slow)])
def pretrained(request, spectra):
    options = SMALL[request.param] | QUICK
    return sa.pretrain(request.param, spectra, embed_dim=16, max_epochs=40, learning_rate=8e-3, **options)


def test_it_learns_more_than_the_mean_spectrum(pretrained):
    """The mean spectrum has a loss of 1; the stars have three numbers, and 40 pixels show them well."""
    history = pretrained.history
    assert isinstance(history, PretrainingHistory)
    assert history.counts["training"] + history.counts["validation"] == history.counts["rows"] == 200
    assert history.epochs["val_loss"][history.best_epoch] < 0.5
    assert pretrained.scaled
    assert not pretrained.training


def test_few_stars_have_small_batches_and_a_thousand_steps():
    settings = PretrainingSettings.for_stars(
        80, max_epochs=None, batch_size=128, patience=None, learning_rate=1e-3, weight_decay=0.0, noise=1.0, seed=0
    )
    assert (settings.batch_size, settings.max_epochs, settings.patience) == (10, 125, 63)


def test_the_same_seed_gives_the_same_weights(spectra):
    first, again, other = (
        sa.pretrain("autoencoder", spectra, max_epochs=1, seed=seed, hidden=8, **QUICK).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])


def test_what_is_hidden_in_validation_is_the_same_in_every_epoch(spectra):
    """Without a step of the optimizer, the validation loss stays, bit for bit."""
    encoder = sa.pretrain("specformer", spectra, max_epochs=3, learning_rate=0.0, **SMALL["specformer"], **QUICK)
    losses = encoder.history.epochs["val_loss"]
    assert losses[0] == losses[1] == losses[2]
    assert len(set(encoder.history.epochs["train_loss"])) == 3


def test_a_given_encoder_is_copied_and_goes_on(spectra, pretrained):
    before = {name: value.clone() for name, value in pretrained.state_dict().items()}
    more = sa.pretrain(pretrained, spectra, max_epochs=2, **QUICK)
    assert more is not pretrained
    assert all(torch.equal(value, before[name]) for name, value in pretrained.state_dict().items())
    assert more.history.epochs["val_loss"][-1] < 1.2 * np.min(pretrained.history.epochs["val_loss"])


@pytest.mark.slow
def test_the_aligner_and_the_regressor_begin_with_what_was_learned(spectra, pretrained):
    other = observe("nirspec", stars(200))
    frozen = sa.pretrain(pretrained, spectra, max_epochs=1, learning_rate=0.0, **QUICK).freeze()
    aligner = sa.Aligner({"apogee": frozen, "nirspec": "mlp"}, embed_dim=16)
    aligner.fit({"apogee": spectra, "nirspec": other}, max_epochs=10, progress=False, accelerator="cpu", batch_size=32)
    trained = aligner.encoders["apogee"]
    kept = [name for name, p in frozen.named_parameters() if not p.requires_grad]
    assert kept
    for name in kept:
        assert torch.equal(trained.get_parameter(name), frozen.get_parameter(name)), name
    assert torch.equal(trained.standardizer.scaler.mean, pretrained.standardizer.scaler.mean)
    changed = [
        not torch.equal(p, frozen.get_parameter(name)) for name, p in trained.head.named_parameters(prefix="head")
    ]
    assert all(changed)
    assert aligner.history.epochs["recall@1"][-1] > 0.2
    regressor = LabelRegressor(pretrained)
    regressor.fit(spectra, label_table(stars(200)), max_epochs=2, progress=False)
    assert torch.equal(regressor.encoder.standardizer.scaler.mean, pretrained.standardizer.scaler.mean)


def test_a_pretrained_aligner_is_saved_and_loaded(spectra, pretrained, tmp_path):
    other = observe("nirspec", stars(200))
    aligner = sa.Aligner({"apogee": pretrained, "nirspec": "mlp"}, embed_dim=16)
    aligner.fit({"apogee": spectra, "nirspec": other}, max_epochs=1, progress=False, accelerator="cpu")
    aligner.save(tmp_path / "aligner")
    loaded = sa.Aligner.load(tmp_path / "aligner")
    np.testing.assert_allclose(loaded.embed(spectra).vectors, aligner.embed(spectra).vectors, atol=1e-6)


def test_stars_are_split_and_not_rows():
    visits = observe("apogee", stars(20), visits=2)
    encoder = sa.pretrain("autoencoder", visits, max_epochs=1, hidden=8, **QUICK)
    counts = encoder.history.counts
    assert (counts["stars"], counts["rows"]) == (20, 40)
    assert counts["training"] + counts["validation"] == 20


def test_noise_is_added_to_what_is_seen_and_not_to_what_is_to_be_given_back(spectra):
    """A loss that compared with the noisy copy could not fall below the noise that was added."""
    quiet, noisy = (
        sa.pretrain("autoencoder", spectra, max_epochs=12, noise=noise, hidden=32, **QUICK).history.epochs
        for noise in (0.0, 3.0)
    )
    assert noisy["train_loss"][-1] < 3 * quiet["train_loss"][-1]


@pytest.mark.parametrize(
    ("choice", "options", "error", "message"),
    [
        ("mlp", {}, ValueError, "ResidualMLP does not reconstruct spectra, .* 'specformer' and 'autoencoder' do"),
        (None, {}, ValueError, "encoder: expected a plugin's name .with options. or an Encoder, got None"),
        ("autoencoder", {"validation": 1.0}, ValueError, "validation: expected a share from 0 to below 1, got 1.0"),
        ("autoencoder", {"max_epochs": 0}, ValueError, "max_epochs: expected a positive integer, got 0"),
        ("autoencoder", {"noise": -1.0}, ValueError, "noise: expected a finite number of at least 0, got -1.0"),
    ],
)
def test_wrong_settings_are_errors(spectra, choice, options, error, message):
    with pytest.raises(error, match=message):
        sa.pretrain(choice, spectra, progress=False, **options)


def test_an_encoder_of_another_grid_is_refused(spectra):
    with pytest.raises(GridMismatchError, match="the encoder takes 30 pixels, the spectra have 40"):
        sa.pretrain(sa.get_encoder("autoencoder", n_pixels=30), spectra)


def test_one_star_is_too_few():
    with pytest.raises(MatchError, match="expected at least 2 training stars, got 1 of 1"):
        sa.pretrain("autoencoder", observe("apogee", stars(1)), progress=False)


def test_a_row_without_good_pixels_is_named():
    spectra = observe("apogee", stars(5))
    spectra.mask[3], spectra.ivar[3] = True, 0
    with pytest.raises(SpectrumError, match=r"apogee '.*' \(row 3\) has no good pixel"):
        sa.pretrain("specformer", spectra, progress=False)


def test_a_row_with_fewer_good_pixels_than_a_window_is_named():
    spectra, sparse = observe("apogee", stars(5)), observe("apogee", stars(5))
    sparse.ivar[3, 7:] = 0
    options = {"window": 8, "stride": 8, "width": 8, "depth": 1, "heads": 1, "max_epochs": 1, "progress": False}
    message = r"apogee '.*' \(row 3\) has fewer than 8 good pixels, which the encoder needs"
    with pytest.raises(EmptySpectrumError, match=message):
        sa.pretrain("specformer", sparse, **options)
    encoder = sa.pretrain("specformer", spectra, **options)
    aligner = sa.Aligner({"apogee": encoder, "nirspec": "mlp"}, embed_dim=encoder.embed_dim)
    fit = {"max_epochs": 1, "progress": False, "accelerator": "cpu"}
    with pytest.raises(EmptySpectrumError, match=message):
        aligner.fit({"apogee": sparse, "nirspec": observe("nirspec", stars(5))}, **fit)
    aligner.fit({"apogee": spectra, "nirspec": observe("nirspec", stars(5))}, **fit)
    partners = {"nirspec": observe("nirspec", stars(5))}
    for refuses in (
        aligner.embed,
        lambda rows: aligner.adapt(rows, partners=partners, progress=False),
        lambda rows: sa.reconstruct(encoder, rows),
    ):
        with pytest.raises(EmptySpectrumError, match=message):
            refuses(sparse)


PUBLISHED = {
    "specformer": (1462, specformer.PUBLISHED, 42e6),
    "autoencoder": (343, autoencoder.PUBLISHED, 42e6),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_step_of_the_published_size(name):
    """One step of the optimizer on eight spectra: the loss is finite, and every part of the body has moved."""
    n_pixels, options, least = PUBLISHED[name]
    prepared = stars_of_the_kit.observe("lamost", stars(8), n_pixels)
    fresh = sa.get_encoder(name, n_pixels=n_pixels, embed_dim=768, **options)
    assert sum(p.numel() for p in fresh.parameters()) > least
    encoder = sa.pretrain(fresh, prepared, max_epochs=1, batch_size=8, validation=0, progress=False, accelerator="cpu")
    assert np.isfinite(encoder.history.epochs["train_loss"]).all()
    assert len(encoder.history.epochs) == 1
    after = encoder.state_dict()
    moved = {key.split(".")[0] for key, value in fresh.named_parameters() if not torch.equal(value, after[key])}
    body = {key.split(".")[0] for key, _ in fresh.named_parameters()} - {"head"}
    assert moved == body
    assert all(bool(value.isfinite().all()) for value in after.values())


@pytest.fixture(scope="module")
def gratings():
    """The same three elements in the lines of two gratings of NIRSpec, in other stars."""
    rng = np.random.default_rng(0)
    centre, depth, element = rng.uniform(9700, 30500, 600), rng.uniform(0.02, 0.4, 600), rng.integers(0, 3, 600)

    def observed(seed, **options):
        instrument, draw = sa.get_instrument("nirspec", **options), np.random.default_rng(seed)
        axis = instrument.spectral_axis
        sigma = centre[:, None] / 2700 / 2.355
        lines = depth[:, None] * np.exp(-0.5 * ((axis.to_value("Angstrom") - centre[:, None]) / sigma) ** 2)
        lines = np.stack([lines[element == k].sum(axis=0) for k in range(3)])
        flux = 1 - (0.5 + 0.2 * draw.normal(size=(200, 3))) @ lines
        flux += 0.02 * draw.normal(size=flux.shape)
        names, ivar = [f"star {seed}-{i}" for i in range(200)], np.full_like(flux, 2500.0)
        return instrument.prepare_arrays(flux, ivar=ivar, spectral_axis=axis, object_id=names, normalized=True)

    return observed(1, disperser="g140h", filter="f100lp"), observed(2, disperser="g235h", filter="f170lp")


@pytest.mark.slow
def test_an_encoder_goes_on_with_another_grating(gratings):
    """What one grating taught is worth more, after one epoch with the other, than to begin there."""
    first, second = gratings
    options = {"learning_rate": 4e-3, **QUICK}
    encoder = sa.pretrain("specformer", first, max_epochs=12, width=64, depth=2, **options)
    fresh = sa.get_encoder(
        "specformer", n_pixels=second.flux.shape[1], window=encoder.window, stride=encoder.stride, width=64, depth=2
    )
    moved = encoder.on_grid(second.spectral_axis)
    losses = [sa.pretrain(one, second, max_epochs=3, **options).history.epochs["val_loss"] for one in (moved, fresh)]
    assert losses[0][0] < losses[1][-1] < 1
