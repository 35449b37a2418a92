"""Factors under each spectrum's own noise."""

import itertools

import numpy as np
import pytest
import torch

from specalign.encoders.factors import FEW_ROWS, FactorAnalysis

N, P, K = 400, 60, 3


def survey(seed=0, noise=0.02):
    """Spectra of three factors, with gaps, and noise that differs from row to row and from pixel to pixel."""
    rng = np.random.default_rng(seed)
    basis = 0.1 * np.random.default_rng(99).normal(size=(P, K))
    factors = rng.normal(size=(N, K))
    sigma = noise * rng.uniform(0.3, 3, (N, 1)) * rng.uniform(0.5, 2, P)
    flux = 1 + factors @ basis.T + sigma * rng.normal(size=(N, P))
    mask = rng.random((N, P)) < 0.15
    flux[mask] = np.nan
    ivar = np.where(mask, 0, sigma**-2.0)
    return flux.astype(np.float32), ivar.astype(np.float32), mask, factors, basis


@pytest.fixture(scope="module")
def fitted():
    model = FactorAnalysis(P, K)
    model.fit(*survey()[:3])
    return model


def exact(model, flux, ivar, covariance=None):
    """Posterior by the textbook, a row at a time, in float64."""
    basis, mean = model.basis.double().numpy(), model.mean.double().numpy()
    out = []
    for row, weight in zip(flux.astype(float), ivar.astype(float), strict=True):
        good = weight > 0
        noise = np.diag(1 / weight[good]) if covariance is None else covariance[np.ix_(good, good)]
        noise = noise * float(model.scale) + np.diag(model.excess.double().numpy()[good])
        inverse = np.linalg.inv(noise)
        posterior = np.linalg.inv(basis[good].T @ inverse @ basis[good] + np.eye(K))
        out.append((posterior @ basis[good].T @ inverse @ (row - mean)[good], np.sqrt(np.diag(posterior))))
    return [np.array(part) for part in zip(*out, strict=True)]


def test_the_basis_spans_the_true_one(fitted):
    basis = survey()[4]
    solution = np.linalg.lstsq(fitted.basis.double().numpy(), basis, rcond=None)[0]
    assert np.abs(fitted.basis.numpy() @ solution - basis).max() < 0.03 * np.abs(basis).max()


def test_factors_are_standard_normal_and_their_errors_true(fitted):
    flux, ivar, mask, factors, _ = survey(seed=5)
    mean, deviation = (value.double().numpy() for value in fitted.posterior(fitted.summarize(flux, ivar, mask)))
    assert np.std(mean) == pytest.approx(1, abs=0.1)
    # truth in the model's own factors: those that give the same noiseless spectra
    noiseless = factors @ survey(seed=5)[4].T + 1 - fitted.mean.double().numpy()
    truth = np.linalg.lstsq(fitted.basis.double().numpy(), noiseless.T, rcond=None)[0].T
    assert np.std((mean - truth) / deviation) == pytest.approx(1, abs=0.2)


def test_posterior_is_that_of_the_textbook(fitted):
    flux, ivar, mask, *_ = survey(seed=7)
    got = fitted.posterior(fitted.summarize(flux[:8], ivar[:8], mask[:8]))
    for value, expected in zip(got, exact(fitted, flux[:8], ivar[:8]), strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-3, atol=2e-4)


def test_correlated_noise_is_that_of_the_textbook(fitted):
    rng = np.random.default_rng(3)
    noise_basis, noise_scale = 0.03 * rng.normal(size=(4, P)), rng.uniform(0.5, 1.5, (5, 4))
    flux = 1 + 0.1 * rng.normal(size=(5, P))
    for row in range(5):
        covariance = noise_basis.T @ np.diag(noise_scale[row] ** 2) @ noise_basis + 1e-3 * np.eye(P)
        ivar = 1 / np.diag(covariance)[None]
        summary = fitted.summarize(
            flux[row : row + 1], ivar, ivar == 0, noise_scale=noise_scale[row : row + 1], noise_basis=noise_basis
        )
        for value, expected in zip(
            fitted.posterior(summary), exact(fitted, flux[row : row + 1], ivar, covariance), strict=True
        ):
            np.testing.assert_allclose(value, expected, rtol=2e-3, atol=2e-4)


def test_ignoring_the_correlation_would_differ(fitted):
    rng = np.random.default_rng(3)
    noise_basis, noise_scale = 0.1 * np.ones((1, P)), np.ones((1, 1))
    flux, ivar = 1 + 0.1 * rng.normal(size=(1, P)), np.full((1, P), 1 / 0.011)
    alone = fitted.posterior(fitted.summarize(flux, ivar, ivar == 0))[1]
    noise = {"noise_scale": noise_scale, "noise_basis": noise_basis}
    assert not np.allclose(fitted.posterior(fitted.summarize(flux, ivar, ivar == 0, **noise))[1], alone, rtol=0.05)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -1e30])
def test_masked_pixels_never_matter(fitted, rubbish):
    flux, ivar, mask, *_ = survey(seed=2)
    before = fitted.summarize(flux, ivar, mask)
    flux[mask], ivar[mask] = rubbish, rubbish
    after = fitted.summarize(flux, ivar, mask)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_row_without_information_is_the_prior(fitted):
    nothing = np.zeros((1, P), np.float32)
    mean, deviation = fitted.posterior(fitted.summarize(nothing, nothing, nothing == 0))
    assert torch.equal(mean, torch.zeros(1, K))
    assert torch.allclose(deviation, torch.ones(1, K))


def test_added_noise_has_the_stated_size(fitted):
    flux, ivar, mask, *_ = survey(seed=4)
    summary = fitted.summarize(flux[:1].repeat(4000, 0), ivar[:1].repeat(4000, 0), mask[:1].repeat(4000, 0))
    noisy = fitted.add_noise(summary, 1.0, torch.Generator().manual_seed(1))
    share = summary["precision"] / noisy["precision"]  # 1 + a^2
    assert 1 <= float(share.min()) < float(share.max()) <= 2.001
    drawn = noisy["projection"] * share - summary["projection"]
    wide = share > 1.01  # 1 + a^2 is rounded where a is small
    score = drawn[wide] / ((share - 1) * summary["precision"])[wide].sqrt()
    assert float(score.std()) == pytest.approx(1, abs=0.03)


def test_few_rows_are_summarised_as_many(fitted):
    flux, ivar, mask, *_ = survey(seed=6)
    whole = fitted.posterior(fitted.summarize(flux, ivar, mask))
    cuts = (0, 0, 1, FEW_ROWS, 2 * FEW_ROWS)
    rows = [slice(*ends) for ends in itertools.pairwise(cuts)]
    parts = [fitted.posterior(fitted.summarize(flux[one], ivar[one], mask[one])) for one in rows]
    for found, wanted in zip(map(torch.cat, zip(*parts, strict=True)), whole, strict=True):
        torch.testing.assert_close(found, wanted[: 2 * FEW_ROWS], rtol=1e-3, atol=1e-4)


def test_same_fit_twice_whatever_the_global_state():
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = FactorAnalysis(P, K)
        model.fit(*survey()[:3])
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_noise_that_was_overstated_is_scaled_down():
    flux, ivar, mask, *_ = survey()
    model = FactorAnalysis(P, K)
    model.fit(flux, ivar / 9, mask)
    assert float(model.scale) == pytest.approx(1 / 9, rel=0.25)


def test_noise_that_was_understated_becomes_excess():
    flux, ivar, mask, *_ = survey()
    model = FactorAnalysis(P, K)
    model.fit(flux, ivar * 9, mask)
    stated = np.nanmean(np.where(mask, np.nan, 1 / np.where(mask, 1, ivar)), axis=0)
    assert np.median(model.excess.numpy() / (stated * 8 / 9)) == pytest.approx(1, abs=0.3)


def test_fewer_rows_than_factors():
    flux, ivar, mask, *_ = survey()
    model = FactorAnalysis(P, 8)
    model.fit(flux[:4], ivar[:4], mask[:4])
    mean, deviation = model.posterior(model.summarize(flux, ivar, mask))
    assert bool(mean.isfinite().all())
    assert bool((deviation > 0).all())
