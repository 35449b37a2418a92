"""Losses and augmentation by themselves."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from specalign.alignment.augment import add_noise
from specalign.alignment.objectives import InfoNCE, label_loss
from specalign.ops import info_nce


def unit(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(n, 6, generator=generator), dim=1)


def test_every_pair_of_instruments_counts_once():
    vectors = {"a": unit(4), "b": unit(4, 1), "c": unit(3, 2)}
    stars = {"a": torch.arange(4), "b": torch.arange(4), "c": torch.tensor([1, 2, 9])}
    objective = InfoNCE(initial_scale=5.0)
    expected = [
        info_nce(vectors[x], vectors[y], 5.0, stars[x], stars[y]) for x, y in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    torch.testing.assert_close(objective(vectors, stars), sum(expected) / 3)


def test_pairs_without_a_common_star_do_not_count():
    vectors, stars = {"a": unit(3), "b": unit(3, 1), "c": unit(2, 2)}, {"a": torch.arange(3), "b": torch.arange(3)}
    objective = InfoNCE()
    with_c = objective(vectors, stars | {"c": torch.tensor([8, 9])})
    del vectors["c"]
    torch.testing.assert_close(with_c, objective(vectors, stars))


def test_no_common_star_is_no_loss_and_no_gradient():
    x = unit(3).requires_grad_()
    loss = InfoNCE()({"a": x}, {"a": torch.arange(3)})
    loss.backward()
    assert float(loss.detach()) == 0
    assert not x.grad.any()


def test_the_logit_scale_is_learned_and_clamped():
    objective = InfoNCE(initial_scale=15.5, max_scale=20.0)
    x, star = unit(8), torch.arange(8)
    objective({"a": x, "b": x}, {"a": star, "b": star}).backward()
    assert objective.log_scale.grad < 0  # a perfect match wants a larger scale
    with torch.no_grad():
        objective.log_scale.fill_(50.0)
    assert float(objective.logit_scale.detach()) == pytest.approx(20, rel=1e-6)
    objective.clamp()
    assert float(objective.log_scale.detach()) == pytest.approx(math.log(20), rel=1e-6)


@pytest.mark.parametrize("scales", [(0, 1), (5, 4), (1, math.inf), (math.nan, 3)])
def test_unusable_scales_are_refused(scales):
    with pytest.raises(ValueError, match="expected 0 < initial_scale <= max_scale"):
        InfoNCE(*scales)


def test_label_loss_is_the_mean_square_over_known_labels():
    predicted = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = label_loss(predicted, torch.tensor([[0.0, math.nan], [math.nan, 7.0]]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 + 9) / 2)
    assert predicted.grad.tolist() == [[1, 0], [0, -3]]


def test_label_loss_of_unknown_labels_is_zero():
    predicted = torch.ones(2, 2, requires_grad=True)
    label_loss(predicted, torch.full((2, 2), math.nan)).backward()
    assert not predicted.grad.any()


def noise_batch(n=4000, p=5):
    ivar = torch.tensor([4.0, 100.0, 1.0, 0.0, 25.0]).expand(n, p)
    mask = torch.tensor([False, False, True, False, False]).expand(n, p)
    return {"flux": torch.ones(n, p), "ivar": ivar.clone(), "mask": mask.clone()}


def generator():
    return torch.Generator().manual_seed(3)


def test_added_noise_has_the_stated_variance():
    batch = noise_batch()
    out = add_noise(batch, 2.0, generator())
    amplitude = batch["ivar"][:, :1] / out["ivar"][:, :1] - 1  # a^2
    assert float(amplitude.min()) >= 0
    assert float(amplitude.max()) == pytest.approx(4, rel=0.01)
    scaled = (out["flux"] - 1) / amplitude.sqrt() * batch["ivar"].sqrt()
    np.testing.assert_allclose(scaled[:, [0, 1, 4]].var(dim=0), 1, rtol=0.08)


def test_pixels_without_information_stay():
    batch = noise_batch()
    out = add_noise(batch, 1.0, generator())
    assert (out["flux"][:, [2, 3]] == 1).all()
    assert (out["ivar"][:, [2, 3]] == 0).all()
    assert (batch["flux"] == 1).all()


def test_no_strength_changes_nothing():
    batch = noise_batch()
    assert add_noise(batch, 0, generator()) is batch


def test_correlated_noise_keeps_its_correlation():
    basis = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    scale = torch.tensor([0.3, 0.2]).expand(6000, 2)
    independent = 0.1**2
    covariance = basis.T @ torch.diag(scale[0] ** 2) @ basis + independent * torch.eye(3)
    ivar = (1 / covariance.diagonal()).expand(6000, 3)
    batch = {"flux": torch.zeros(6000, 3), "ivar": ivar, "mask": torch.zeros(6000, 3, dtype=torch.bool)}
    out = add_noise(batch | {"noise_scale": scale}, 1.0, generator(), basis)
    amplitude = (ivar[:, :1] / out["ivar"][:, :1] - 1).sqrt()
    drawn = out["flux"] / amplitude.clamp(min=1e-3)
    np.testing.assert_allclose(drawn.T @ drawn / 6000, covariance, atol=0.01)
