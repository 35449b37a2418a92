"""The scaling of pixels does not depend on the order of the rows."""

import numpy as np
import torch

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
