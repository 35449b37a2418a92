"""What an encoder is made of, and StarNet's published sizes."""

import numpy as np
import pytest
import torch
from torch import nn

from specalign import get_encoder
from specalign.encoders import Encoder, summary


@pytest.mark.parametrize(
    ("n_pixels", "n_labels", "parameters"),
    [
        (8192, 3, 8_406_327),  # synthetic NIRSpec spectra, three labels
        (8575, 20, 8_801_736),  # APOGEE spectra, twenty labels
        (7214, 3, 7_406_903),  # the pixels of APOGEE's three chips
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(n_pixels, n_labels, parameters):
    assert summary(get_encoder("starnet", n_pixels=n_pixels, embed_dim=n_labels)).parameters == parameters


def test_shapes_are_those_of_convolutions_without_padding():
    shapes = {
        layer.kind: layer.output_shape for layer in summary(get_encoder("starnet", n_pixels=8192, embed_dim=3)).layers
    }
    assert shapes["Conv1d"] == (16, 8192 - 7 - 7)
    assert shapes["MaxPool1d"] == (16, 2044)
    assert shapes["Flatten"] == (16 * 2044,)
    assert shapes["Linear"] == (3,)


@pytest.mark.parametrize("name", ["starnet", "mlp"])
def test_every_trainable_number_is_counted_once(name):
    encoder = get_encoder(name, n_pixels=60, embed_dim=5)
    found = summary(encoder)
    assert found.parameters == sum(p.numel() for p in encoder.parameters())
    assert found.fixed == sum(b.numel() for b in encoder.buffers())
    assert found.layers[-1].output_shape == (5,)


def test_the_encoder_stays_as_it_is():
    encoder = get_encoder("mlp", n_pixels=60, embed_dim=5, dropout=0.5)
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    summary(encoder.train())
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(module._forward_hooks for module in encoder.modules())


class Shared(Encoder):
    """Two layers that share their weights, a parameter of its own, and frozen ones."""

    def __init__(self, n_pixels, embed_dim=4):
        super().__init__(n_pixels, embed_dim)
        self.offset = nn.Parameter(torch.zeros(n_pixels))
        self.first = nn.Linear(n_pixels, embed_dim, bias=False)
        self.again = nn.Linear(n_pixels, embed_dim, bias=False)
        self.again.weight = self.first.weight
        self.frozen = nn.Linear(embed_dim, embed_dim).requires_grad_(False)

    def encode(self, flux, ivar, mask, snr):
        return self.frozen(self.first(flux + self.offset) + self.again(flux))


def test_shared_own_and_frozen_parameters():
    found = summary(Shared(10))
    assert found.parameters == 10 + 40
    assert found.fixed == 4 * 4 + 4
    assert [layer.parameters for layer in found.layers] == [10, 40, 0, 0]


def test_the_printed_table_lines_up():
    lines = repr(summary(get_encoder("starnet", n_pixels=100, embed_dim=3))).splitlines()
    assert lines[0] == "StarNet: 100 pixels to 3 numbers"
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert lines[-1] == "200 more are fixed"


def test_sizes_of_starnet_can_be_turned():
    options = {"filters": [2, 3, 5], "filter_length": 4, "pool_length": 3, "hidden": [7]}
    encoder = get_encoder("starnet", n_pixels=50, embed_dim=6, **options)
    pooled = (50 - 3 * 3) // 3
    expected = (2 * 4 + 2) + (3 * 2 * 4 + 3) + (5 * 3 * 4 + 5) + (5 * pooled * 7 + 7) + (7 * 6 + 6)
    assert summary(encoder).parameters == expected
    assert encoder.config() == {"n_pixels": 50, "embed_dim": 6} | options


@pytest.mark.parametrize(
    "options", [{"filters": [0]}, {"filter_length": 2.0}, {"pool_length": 0}, {"hidden": [True]}, {"pool_length": 90}]
)
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        get_encoder("starnet", n_pixels=50, embed_dim=6, **options)


def test_a_masked_pixel_never_matters_whatever_the_sizes():
    encoder = get_encoder("starnet", n_pixels=50, embed_dim=6, filters=[3], hidden=[4])
    rng = np.random.default_rng(0)
    flux, mask = rng.normal(1, 0.1, (3, 50)), rng.random((3, 50)) < 0.3
    other = np.where(mask, 1e6, flux)
    assert torch.equal(encoder(flux, np.ones((3, 50)), mask), encoder(other, np.ones((3, 50)), mask))
