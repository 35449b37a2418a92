"""What every encoder promises, and what the built-in ones are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from specalign.encoders import Encoder, check_encoder, get_encoder
from specalign.encoders.base import signal_to_noise
from specalign.exceptions import PluginError, UnknownPluginError
from specalign.testing import parametrize_encoder

NAMES = ["autoencoder", "mlp", "specformer", "starnet"]
P = 40


def spectra(n=6, p=P, seed=0):
    rng = np.random.default_rng(seed)
    flux = (1 + 0.1 * rng.normal(size=(n, p))).astype(np.float32)
    ivar = rng.uniform(50, 200, (n, p)).astype(np.float32)
    mask = rng.random((n, p)) < 0.2
    ivar[mask] = 0
    return flux, ivar, mask


@pytest.fixture(params=NAMES)
def encoder(request):
    encoder = get_encoder(request.param, n_pixels=P, embed_dim=5)
    encoder.fit_scaler(*spectra(50, seed=1))
    return encoder.eval()


# a new process takes seconds, and the example of `specalign.testing.check_encoder` has one
@parametrize_encoder("mlp", marks={"survives_a_new_process": pytest.mark.slow})
def test_contract_of_mlp(check):
    check()


@parametrize_encoder("starnet", marks={"survives_a_new_process": pytest.mark.slow})
def test_contract_of_starnet(check):
    check()


@parametrize_encoder(
    "specformer", marks={"survives_a_new_process": pytest.mark.slow, "aligner_learns": pytest.mark.slow}
)
def test_contract_of_specformer(check):
    check()


@parametrize_encoder("autoencoder", marks={"survives_a_new_process": pytest.mark.slow})
def test_contract_of_autoencoder(check):
    check()


@pytest.mark.parametrize(
    ("n_pixels", "outputs", "expected"), [(7214, 3, 7_406_903), (8192, 3, 8_406_327), (8575, 20, 8_801_736)]
)
def test_starnet_has_the_published_number_of_parameters(n_pixels, outputs, expected):
    encoder = get_encoder("starnet", n_pixels=n_pixels, embed_dim=outputs)
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_starnet_uses_flux_and_mask_alone():
    encoder = get_encoder("starnet", n_pixels=P, embed_dim=5).eval()
    flux, ivar, mask = spectra()
    before = encoder(flux, ivar, mask, snr=np.full(6, 10.0))
    assert torch.equal(encoder(flux, ivar * 7, mask, snr=np.full(6, 99.0)), before)
    assert not torch.equal(encoder(flux, ivar, np.zeros_like(mask) | (ivar == 0)), encoder(flux * 1.1, ivar, mask))


def test_mlp_honours_inverse_variance_and_context():
    encoder = get_encoder("mlp", n_pixels=P, embed_dim=5)
    encoder.fit_scaler(*spectra(50, seed=1))
    flux, ivar, mask = spectra()
    snr = np.full(6, 30.0)
    before = encoder(flux, ivar, mask, snr=snr)
    assert not torch.allclose(encoder(flux, ivar / 100, mask, snr=snr), before)
    assert not torch.allclose(encoder(flux, ivar, mask, snr=10 * snr), before)


def test_mlp_learns_nothing_from_pixels_without_information():
    encoder = get_encoder("mlp", n_pixels=P, embed_dim=5)
    encoder.fit_scaler(*spectra(50, seed=1))
    flux, ivar, mask = spectra(6)
    snr, mask, little = np.full(6, 30.0), np.zeros_like(mask), np.full_like(ivar, 1e-9)
    vectors = encoder(flux, little, mask, snr=snr)
    assert torch.allclose(vectors, vectors[:1].expand(6, 5), atol=1e-4)
    assert not torch.allclose(encoder(flux, ivar + 1, mask, snr=snr), vectors, atol=1e-2)


RUBBISH = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 3e38])


@settings(max_examples=40)
@given(flux=arrays(np.float32, (6, P), elements=RUBBISH), ivar=arrays(np.float32, (6, P), elements=RUBBISH))
@pytest.mark.parametrize("name", NAMES)
def test_masked_pixels_never_matter(name, flux, ivar):
    encoder = get_encoder(name, n_pixels=P, embed_dim=5).eval()
    clean, weight, mask = spectra()
    hidden = np.where(mask, flux, clean), np.where(mask, ivar, weight), mask
    assert torch.equal(encoder(*hidden), encoder(clean, weight, mask))


def scaler(encoder):
    return encoder.scaler if hasattr(encoder, "scaler") else encoder.standardizer.scaler


def test_scaling_is_mean_and_spread_of_good_pixels(encoder):
    flux, _, mask = spectra(50, seed=1)
    good = np.ma.array(flux.astype(float), mask=mask)
    np.testing.assert_allclose(scaler(encoder).mean, good.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaler(encoder).std, good.std(axis=0), rtol=1e-4)


def test_scaling_of_pixels_that_nobody_has_or_that_never_vary(encoder):
    flux, ivar, mask = spectra(50, seed=1)
    mask[:, 3], flux[:, 4] = True, 1.0
    encoder.fit_scaler(flux, ivar, mask)
    assert scaler(encoder).mean[3] == 0
    assert 0.05 < scaler(encoder).std[3] < 0.2
    assert 0 < scaler(encoder).std[4] < 0.01
    assert bool(encoder(flux, ivar, mask).isfinite().all())


def test_wild_values_that_no_mask_has_caught_do_not_rule(encoder):
    flux, ivar, mask = spectra(50, seed=1)
    before = scaler(encoder).std[9].clone()
    mask[7, 9], ivar[7, 9], flux[7, 9] = False, 100, 3e38
    encoder.fit_scaler(flux, ivar, mask)
    assert scaler(encoder).std[9] < 4 * before
    assert bool(encoder(flux, ivar, mask).isfinite().all())


def test_nothing_to_fit_the_scaling(encoder):
    flux, ivar, mask = spectra(0)
    with pytest.raises(ValueError, match="at least one training spectrum"):
        encoder.fit_scaler(flux, ivar, mask)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf])
def test_rubbish_in_good_pixels_is_refused_with_row_and_count(encoder, rubbish):
    flux, ivar, mask = spectra()
    mask[3:5, :2] = False
    flux[3:5, :2] = rubbish
    with pytest.raises(ValueError, match=r"flux: 4 unmasked pixels in 2 rows hold NaN or Inf, the first in row 3"):
        encoder(flux, ivar, mask)


def test_negative_inverse_variance_is_refused(encoder):
    flux, ivar, mask = spectra()
    mask[2, 0], ivar[2, 0] = False, -1
    with pytest.raises(ValueError, match=r"ivar: 1 unmasked pixels in 1 rows .* row 2"):
        encoder(flux, ivar, mask)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_wrong_shapes_are_named(encoder, which):
    arguments = list(spectra())
    arguments[which] = arguments[which][:, 1:]
    with pytest.raises(
        ValueError, match=rf"{('flux', 'ivar', 'mask')[which]}: expected shape \(6, 40\), got \(6, 39\)"
    ):
        encoder(*arguments)


def test_context_of_the_wrong_length_is_refused(encoder):
    with pytest.raises(ValueError, match="snr: expected 6 finite numbers"):
        encoder(*spectra(), snr=np.ones(5))


def test_float64_beyond_float32_is_refused(encoder):
    flux, ivar, mask = spectra()
    flux = flux.astype(float)
    mask[0, 0], flux[0, 0] = False, 1e300
    with pytest.raises(ValueError, match="1 unmasked pixels in 1 rows hold NaN or Inf"):
        encoder(flux, ivar, mask)


@pytest.mark.parametrize(("which", "match"), [(0, "expected real numbers"), (2, "expected booleans")])
def test_other_types_are_refused(encoder, which, match):
    arguments = list(spectra())
    arguments[which] = arguments[which].astype("c8" if which == 0 else float)
    with pytest.raises(TypeError, match=match):
        encoder(*arguments)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_named_beside_those_that_there_are(name):
    with pytest.raises(TypeError, match=rf"the encoder '{name}' has no option 'widht'; its options: \w+, "):
        get_encoder(name, n_pixels=P, widht=8)


@pytest.mark.parametrize("name", NAMES)
def test_weights_follow_from_the_seed_and_leave_the_global_state(name):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (get_encoder(name, n_pixels=P, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_signal_to_noise_is_a_root_mean_square_over_good_pixels():
    flux, ivar = torch.tensor([[3.0, 4.0, 100.0], [1.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert signal_to_noise(flux, ivar).tolist() == pytest.approx([12.5**0.5, 0])


def test_get_encoder_takes_a_grid():
    assert get_encoder("mlp", spectral_axis=np.linspace(1, 2, 33)).n_pixels == 33


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"name": "mlp"}, ValueError, "either n_pixels or spectral_axis"),
        ({"name": "mlp", "n_pixels": 3, "spectral_axis": [1, 2, 3]}, ValueError, "either n_pixels or spectral_axis"),
        ({"name": "mlp", "n_pixels": 0}, ValueError, "n_pixels: expected a positive integer, got 0"),
        ({"name": "mlp", "n_pixels": 9, "width": 2.5}, ValueError, "width: expected a positive integer"),
        ({"name": "starnet", "n_pixels": 17}, ValueError, "expected at least 18"),
        ({"name": "transformer", "n_pixels": 9}, UnknownPluginError, "transformer.*installed: .*mlp"),
    ],
)
def test_wrong_options_are_named(options, error, match):
    with pytest.raises(error, match=match):
        get_encoder(**options)


class Sound(Encoder):
    def __init__(self, n_pixels=P, embed_dim=5):
        super().__init__(n_pixels, embed_dim)
        self.layer = torch.nn.Linear(n_pixels, embed_dim)

    def encode(self, flux, ivar, mask, snr):
        return self.layer(flux)


class WrongShape(Sound):
    def encode(self, flux, ivar, mask, snr):
        return flux


class NoNumbers(Sound):
    def encode(self, flux, ivar, mask, snr):
        return self.layer(flux) * torch.nan


class DoublePrecision(Sound):
    def encode(self, flux, ivar, mask, snr):
        return self.layer(flux).double()


class StrangeConfig(Sound):
    def config(self):
        return super().config() | {"function": print}


class ShortConfig(Sound):
    def config(self):
        return {}


class Forgetful(Sound):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3), persistent=False)


def test_encode_gets_no_flux_where_there_is_no_information():
    seen = []

    class Curious(Sound):
        def encode(self, flux, ivar, mask, snr):
            seen.append((flux, ivar, mask))
            return super().encode(flux, ivar, mask, snr)

    flux, ivar, mask = spectra()
    Curious()(flux + 1, ivar, np.zeros_like(mask))
    assert all(not values[torch.from_numpy(mask)].any() for values in seen[0][:2])
    assert torch.equal(seen[0][2], torch.from_numpy(mask))


def test_contract_of_a_sound_encoder():
    check_encoder(Sound(), "sound")


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (torch.nn.Linear(3, 3), "gives a Linear, expected an Encoder"),
        (WrongShape(), r"must give finite vectors of shape \(2, 5\), got \(2, 40\)"),
        (NoNumbers(), "must give finite vectors"),
        (DoublePrecision(), "must give vectors of torch.float32, got torch.float64"),
        (StrangeConfig(), "config.. must hold JSON-like values, but 'function'"),
        (ShortConfig(), "config.. must be a dict with n_pixels and embed_dim"),
        (Forgetful(), "the buffer 'mean' is not persistent"),
    ],
)
def test_the_failed_clause_is_named(made, match):
    with pytest.raises(PluginError, match=match):
        check_encoder(made, "theirs")


def test_an_encoder_without_encode_says_so():
    with pytest.raises(NotImplementedError, match="Encoder does not define encode"):
        Encoder(n_pixels=P)(*spectra())
