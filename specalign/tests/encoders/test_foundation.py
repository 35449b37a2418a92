"""Encoders that can be trained without labels: published shapes, masks, windows, other grids."""

import astropy.units as u
import numpy as np
import pytest
import torch

from specalign.encoders import Encoder, get_encoder
from specalign.encoders.autoencoder import PUBLISHED as PUBLISHED_AUTOENCODER
from specalign.encoders.specformer import PUBLISHED as PUBLISHED_SPECFORMER
from specalign.tests.encoders.test_encoders import spectra

SMALL = {"specformer": {"width": 16, "depth": 1, "heads": 2, "window": 8, "stride": 4}, "autoencoder": {"hidden": 24}}
P = 40


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=list(SMALL))
def encoder(request):
    encoder = get_encoder(request.param, n_pixels=P, embed_dim=5, **SMALL[request.param])
    encoder.fit_scaler(*spectra(50, seed=1))
    return encoder.eval()


@pytest.fixture(scope="module")
def published():
    return get_encoder("specformer", n_pixels=1462, embed_dim=768, **PUBLISHED_SPECFORMER)


def test_specformer_has_the_published_tokens(published):
    """146 tokens of 21 numbers from 1,462 pixels (Zhao et al. 2025): windows that end with 0, and statistics."""
    rng = np.random.default_rng(0)
    flux = (1 + 0.1 * rng.normal(size=(2, 1462))).astype(np.float32)
    tokens = published.tokens(flux, np.full_like(flux, 1e12), np.zeros(flux.shape, bool))
    assert tokens.shape == (2, 146, 21)
    assert not tokens[:, :145, 20].any()
    scaled = (flux[0] - flux[0].mean()) / flux[0].std()
    np.testing.assert_allclose(tokens[0, 3, :20], scaled[30:50], atol=1e-4)
    assert float(tokens[0, 145, 20]) == pytest.approx(np.log10(flux[0].std()), abs=1e-4)


def test_specformer_has_about_the_published_number_of_parameters(published):
    """43 million without the head, of which six blocks of width 768 are nearly all."""
    assert 42e6 < sum(p.numel() for name, p in published.named_parameters() if not name.startswith("head.")) < 44e6


def test_autoencoder_has_the_published_shape():
    encoder = get_encoder("autoencoder", n_pixels=343, embed_dim=768, **PUBLISHED_AUTOENCODER)
    assert (encoder.stem.in_features, encoder.stem.out_features) == (345, 1290)
    assert (encoder.encoder[-1].out_features, encoder.decoder[-1].out_features) == (768, 345)
    parts = [
        p.numel() for name, p in encoder.named_parameters() if not name.startswith(("head.", "worth.", "context."))
    ]
    assert 42e6 < sum(parts) < 44e6


def test_attention_is_scaled_once():
    """With two keys at right angles, the share of the nearer one is that of the logit q.k / sqrt(d)."""
    from specalign.encoders.specformer import _attended

    key = torch.tensor([[[2.0, 0, 0, 0], [0, 2.0, 0, 0]]])
    value = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 0, 0]]])
    found = _attended(key[:, :1], key, value, torch.ones(1, 2, dtype=torch.bool), heads=1)
    assert float(found[0, 0, 0]) == pytest.approx(1 / (1 + np.exp(-4 / np.sqrt(4))), abs=1e-6)


def test_a_window_of_bad_pixels_takes_no_part():
    """Its token would say where it is; nothing of it must reach the vector but the statistics of the spectrum."""
    encoder = get_encoder("specformer", n_pixels=P, embed_dim=5, width=16, depth=2, heads=2, window=8, stride=8).eval()
    flux, ivar, mask = spectra()
    mask[:, 8:16], ivar[:, 8:16] = True, 0
    before = encoder(flux, ivar, mask)
    encoder.log_wavelength[8:16] += 0.3
    assert torch.equal(encoder(flux, ivar, mask), before)
    encoder.log_wavelength[16:24] += 0.3
    assert not torch.equal(encoder(flux, ivar, mask), before)


def test_a_window_of_low_weight_takes_no_part():
    """Good pixels that are worth nothing: of them no token, and no part in the attention."""
    encoder = get_encoder("specformer", n_pixels=P, embed_dim=5, width=16, depth=2, heads=2, window=8, stride=8).eval()
    flux, ivar, mask = spectra()
    mask[:, 8:16], ivar[:, 8:16] = False, 1e-3
    before = encoder(flux, ivar, mask, snr=np.full(6, 10.0))
    encoder.log_wavelength[8:16] += 0.3
    flux[:, 8:16] += 0.5
    assert torch.equal(encoder(flux, ivar, mask, snr=np.full(6, 10.0)), before)
    ivar[:, 8:16] = ivar[:, 16:24]
    assert not torch.equal(encoder(flux, ivar, mask, snr=np.full(6, 10.0)), before)


def test_pixels_of_low_weight_take_no_part(encoder):
    flux, ivar, mask = spectra()
    mask[:, 5], ivar[:, 5] = False, 1e-3
    before = encoder(flux, ivar, mask, snr=np.full(6, 10.0))
    flux[:, 5] += 0.5
    assert torch.equal(encoder(flux, ivar, mask, snr=np.full(6, 10.0)), before)


def test_a_reconstruction_is_flux_and_follows_from_the_generator(encoder):
    rows = spectra()
    found, again, other = (encoder.reconstruct(*rows, generator=generator(seed)) for seed in (1, 1, 2))
    assert found.flux.shape == found.scale.shape == found.counted.shape == (6, P)
    assert bool(found.flux.isfinite().all())
    assert torch.equal(found.flux, again.flux)
    assert torch.equal(found.counted, again.counted)
    assert found.counted.any(dim=1).all()
    assert bool(found.counted.all()) or not torch.equal(found.counted, other.counted)


def test_what_lies_under_the_mask_does_not_matter_to_a_reconstruction(encoder):
    flux, ivar, mask = spectra()
    before = encoder.reconstruct(flux, ivar, mask, generator=generator()).flux
    flux[mask] = np.nan
    assert torch.equal(encoder.reconstruct(flux, ivar, mask, generator=generator()).flux, before)


def test_hidden_pixels_do_not_leak():
    """Whatever a pixel holds that counts as predicted, the prediction is the same."""
    encoder = get_encoder("specformer", n_pixels=P, embed_dim=5, **SMALL["specformer"]).eval()
    flux, ivar, _ = spectra()
    mask, ivar = np.zeros_like(flux, bool), np.full_like(ivar, 1e8)
    found = encoder.reconstruct(flux, ivar, mask, snr=np.full(6, 10.0), generator=generator())
    with torch.no_grad():  # statistics of the whole spectrum would tell
        encoder.context.weight.zero_()
        encoder.values.weight[:, [0, -1]] = 0
        expected = encoder.reconstruct(flux, ivar, mask, snr=np.full(6, 10.0), generator=generator()).flux
        flux = np.where(found.counted, flux + 0.05 * np.random.default_rng(0).normal(size=flux.shape), flux)
        other = encoder.reconstruct(flux.astype(np.float32), ivar, mask, snr=np.full(6, 10.0), generator=generator())
    torch.testing.assert_close(other.flux[found.counted], expected[found.counted])


def test_pixels_behind_the_last_window_do_not_count():
    encoder = get_encoder("specformer", n_pixels=P + 3, embed_dim=5, **SMALL["specformer"]).eval()
    found = encoder.reconstruct(*spectra(p=P + 3), generator=generator())
    assert not found.counted[:, P:].any()


def test_another_grid_keeps_the_weights_and_knows_its_wavelengths():
    encoder = get_encoder("specformer", n_pixels=P, embed_dim=5, **SMALL["specformer"]).eval()
    encoder.fit_scaler(*spectra(50, seed=1))
    other = encoder.on_grid(np.linspace(16600, 31700, 60) * u.AA)
    assert other.n_pixels == 60
    assert not other.scaled
    assert not other.training
    assert torch.equal(other.blocks[0].qkv.weight, encoder.blocks[0].qkv.weight)
    assert float(other.log_wavelength[-1]) == pytest.approx(np.log(31700), rel=1e-6)
    assert torch.equal(other.standardizer.scaler.mean, torch.zeros(60))
    nm = encoder.on_grid(np.linspace(1660, 3170, 60) * u.nm)
    torch.testing.assert_close(nm.log_wavelength, other.log_wavelength)


def test_a_grid_shorter_than_a_window_is_refused():
    encoder = get_encoder("specformer", n_pixels=P, embed_dim=5, **SMALL["specformer"])
    with pytest.raises(ValueError, match="window <= 7 pixels of the spectrum, got window=8"):
        encoder.on_grid(np.linspace(1, 2, 7) * u.um)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 16, "heads": 3}, "heads: expected a divisor of the width 16, got 3"),
        ({"hidden_share": 1.0}, "hidden_share: expected a share between 0 and 1, got 1.0"),
        ({"chunks": 0}, "chunks: expected a positive integer, got 0"),
        ({"window": 41, "stride": 8}, "window <= 40 pixels of the spectrum, got window=41"),
    ],
)
def test_wrong_options_of_specformer_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        get_encoder("specformer", n_pixels=P, **options)


def test_freezing_leaves_the_head(encoder):
    assert encoder.freeze() is encoder
    trained = {name.split(".")[0] for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {"head"}
    with pytest.raises(ValueError, match="StarNet has no head that could be trained alone"):
        get_encoder("starnet", n_pixels=P).freeze()


def test_others_do_not_reconstruct():
    with pytest.raises(NotImplementedError, match="Encoder does not reconstruct spectra"):
        Encoder(n_pixels=3).reconstruct(*spectra(p=3), generator=generator())
