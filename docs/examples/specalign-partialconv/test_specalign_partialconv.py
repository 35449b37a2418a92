"""The contract of the plugin, and what its weights promise."""

import pytest
import torch
from specalign_partialconv import PartialConv

from specalign import get_encoder
from specalign.testing import parametrize_encoder


@parametrize_encoder("partialconv")
def test_contract(check):
    check()


@pytest.fixture
def stars():
    """An encoder that knows the spread of 64 stars with different slopes, and these stars without noise."""
    encoder = get_encoder("partialconv", n_pixels=500, embed_dim=8)
    slope = torch.linspace(-0.5, 0.5, 64)[:, None]
    flux = 1 + slope * torch.linspace(-1, 1, 500) + 0.1 * torch.sin(30 * slope)
    encoder.fit_scaler(flux, torch.full_like(flux, 1e4), torch.zeros_like(flux, dtype=torch.bool))
    return encoder, flux


def distance(stars, seen, ivar, mask=None):
    """How far the vectors of stars as they are seen lie from those of the same stars without noise or gaps."""
    encoder, flux = stars
    nothing = torch.zeros_like(flux, dtype=torch.bool)
    with torch.no_grad():
        exact = encoder(flux, torch.full_like(flux, 1e8), nothing)
        return (encoder(seen, ivar, nothing if mask is None else mask) - exact).norm(dim=1).mean()


def test_a_pixel_without_information_is_one_under_the_mask(stars):
    encoder, flux = stars
    mask = torch.zeros_like(flux, dtype=torch.bool)
    mask[:, 100:200] = True
    ivar = torch.full_like(flux, 100.0)
    with torch.no_grad():
        torch.testing.assert_close(encoder(flux, ivar.masked_fill(mask, 0), mask & False), encoder(flux, ivar, mask))


def test_what_remains_of_a_window_stands_for_all_of_it():
    layer = PartialConv(1, 1, length=9, stride=4)
    torch.nn.init.ones_(layer.convolution.weight)
    torch.nn.init.constant_(layer.log_prior, -20)
    weight, third = torch.ones(1, 1, 90), torch.arange(90) % 3 == 0
    whole, _ = layer(torch.full((1, 1, 90), 5.0), weight)
    holes, _ = layer(torch.full((1, 1, 90), 5.0), weight.masked_fill(third, 0))
    empty, held = layer(torch.full((1, 1, 90), 5.0), weight.masked_fill(torch.arange(90) > 40, 0))
    torch.testing.assert_close(holes[..., 1:-1], whole[..., 1:-1])
    assert (empty[held == 0] == 0).all()
    assert (held == 0).any()


def test_noise_counts_for_less_where_the_weights_know_of_it(stars):
    _, flux = stars
    noise = torch.randn(flux.shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.where(torch.arange(500) % 2 == 0, 1.0, 0.01)
    known = distance(stars, flux + sigma * noise, (sigma**-2).expand_as(flux))
    assert known < 0.5 * distance(stars, flux + sigma * noise, torch.full_like(flux, 1e8))
