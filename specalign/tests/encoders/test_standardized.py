"""Standard units, their way back, and the loss of a reconstruction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specalign.encoders.standardized import KINDS, Reconstruction, Standardizer, reconstruction_loss


def rows(n=5, p=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    flux = 1 + 0.1 * torch.randn(n, p, generator=generator)
    mask = torch.rand(n, p, generator=generator) < 0.2
    ivar = (50 + 100 * torch.rand(n, p, generator=generator)).masked_fill(mask, 0)
    return flux.masked_fill(mask, 0), ivar, mask


@pytest.fixture(params=KINDS)
def standardizer(request):
    one = Standardizer(30, request.param)
    one.fit(*rows(60, seed=1))
    return one


def test_standard_units_go_back_to_flux(standardizer):
    flux, ivar, mask = rows()
    found = standardizer(flux, ivar, mask, torch.full((5,), 10.0))
    torch.testing.assert_close(found.flux(found.values)[~mask], flux[~mask])
    assert not found.values[mask].any()
    assert not found.weight[mask].any()


def test_stars_differ_by_one_in_standard_units():
    flux, ivar, mask = rows(2000)
    standardizer = Standardizer(30)
    standardizer.fit(flux, ivar, mask)
    found = standardizer(flux, ivar, mask, torch.full((2000,), 10.0))
    assert float(found.values[~mask].std()) == pytest.approx(1, abs=0.02)


def test_a_pixel_is_worth_what_is_not_noise(standardizer):
    """Half, where the noise is as large as what stars differ by."""
    flux, _, mask = rows()
    mask = torch.zeros_like(mask)
    scale = standardizer(flux, torch.ones_like(flux), mask, torch.ones(5)).scale.expand_as(flux)
    found = standardizer(flux, 1 / scale**2, mask, torch.ones(5))
    torch.testing.assert_close(found.weight, torch.full_like(flux, 0.5))


def test_pixels_worth_next_to_nothing_are_left_out(standardizer):
    flux, ivar, mask = rows()
    mask[:, 7], ivar[:, 7], flux[:, 7] = False, 1e-3, 50.0
    found = standardizer(flux, ivar, mask, torch.ones(5))
    assert not found.weight[:, 7].any()
    assert not found.values[:, 7].any()
    assert (found.statistics[:, 0] < 1.5).all()


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="standardize: expected one of pixel, spectrum, got 'row'"):
        Standardizer(30, "row")
    with pytest.raises(ValueError, match="low_weight: expected a share from 0 to below 1, got 1"):
        Standardizer(30, low_weight=1)


def test_the_mean_spectrum_has_a_loss_of_one():
    """Of spectra whose noise is what they state, and that differ by what the scale says."""
    rng = np.random.default_rng(0)
    noise, scale = rng.uniform(0.01, 0.3, (400, 200)), 0.1
    flux = torch.tensor(1 + rng.normal(0, np.sqrt(noise**2 + scale**2)))
    found = Reconstruction(torch.ones_like(flux), torch.full_like(flux, scale), torch.ones_like(flux) > 0)
    loss = reconstruction_loss(found, flux, torch.tensor(noise**-2), torch.zeros_like(flux) > 0)
    assert float(loss.mean()) == pytest.approx(1, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rubbish=st.sampled_from([float("nan"), float("inf"), 1e30]))
def test_pixels_that_are_masked_or_copied_do_not_count(seed, rubbish):
    flux, ivar, mask = rows(seed=seed)
    counted = torch.rand(5, 30, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = Reconstruction(torch.ones_like(flux), torch.full_like(flux, 0.1), counted)
    expected = reconstruction_loss(found, flux, ivar, mask)
    hidden = torch.where(mask | ~counted, rubbish, flux)
    assert torch.equal(reconstruction_loss(found, hidden, ivar, mask), expected)


def test_a_row_in_which_nothing_counts_has_no_loss():
    flux, ivar, mask = rows()
    found = Reconstruction(flux, torch.ones_like(flux), torch.zeros_like(mask))
    assert not reconstruction_loss(found, flux, ivar, mask).any()
