"""The scaling of pixels does not depend on the order of the rows."""

import numpy as np
import torch

from specalign.encoders.factors import FactorAnalysis
from specalign.encoders.scaling import SAMPLE_ROWS, PixelScaler


def fitted(flux):
    scaler = PixelScaler(flux.shape[1])
    scaler.fit(flux, np.full_like(flux, 100), np.zeros(flux.shape, bool))
    return scaler


def test_a_table_that_begins_with_stars_of_one_kind_is_scaled_as_any_other():
    rng = np.random.default_rng(1)
    hot = 1 + 1e-4 * rng.normal(size=(SAMPLE_ROWS + 88, 6))
    cool = 0.7 + 0.1 * rng.normal(size=(3000, 6))
    rows = np.concatenate([hot, cool]).astype(np.float32)
    in_order, mixed = fitted(rows), fitted(rows[rng.permutation(len(rows))])
    torch.testing.assert_close(in_order.mean, mixed.mean)
    torch.testing.assert_close(in_order.std, mixed.std)
    assert (in_order.tame(torch.from_numpy(rows)) == torch.from_numpy(rows)).all()


def test_a_wild_value_does_not_count():
    flux = np.random.default_rng(2).normal(1, 0.1, (600, 4)).astype(np.float32)
    flux[5, 1] = 1e6
    assert fitted(flux).std.max() < 0.3


def test_the_size_of_correlated_noise_is_that_of_the_whole_table():
    rng, n, size = np.random.default_rng(3), 3000, np.where(np.arange(3000) < 1100, 0.05, 0.1)
    flux = (1 + size[:, None] * rng.normal(size=(n, 20))).astype(np.float32)
    scale, basis = np.full((n, 1), 0.01, np.float32), rng.normal(size=(1, 20)).astype(np.float32)
    found = []
    for rows in (np.arange(n), rng.permutation(n)):
        factors, given = FactorAnalysis(20, 2), flux[rows]
        ivar, mask = np.full_like(given, 100), np.zeros(given.shape, bool)
        factors.fit(given, ivar, mask, noise_scale=scale[rows], noise_basis=basis)
        found.append(float(factors.scale))
    assert abs(found[0] / found[1] - 1) < 0.1, found
