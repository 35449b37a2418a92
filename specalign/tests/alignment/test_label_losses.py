"""Losses of labels: what is known counts, what is not has no gradient, and wrong labels do not rule."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specalign.alignment.label_losses import LABEL_LOSSES, huber_label_loss, label_loss, log_label_loss


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


def test_relative_errors_count_alike_whatever_their_size():
    target, error = torch.zeros(4000, 2), torch.tensor([1.0, 0.05])
    both = [float(log_label_loss(scale * error + target, target)) for scale in (1.0, 2.0)]
    assert both[1] - both[0] == pytest.approx(math.log(2), abs=1e-3)


def test_a_few_wrong_labels_leave_the_right_ones_their_weight():
    """One label in twenty is wrong by a spread; a mean square would leave the others a twentieth of their gradient."""
    error = 0.05 * torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    wrong = error.clone()
    wrong[::20] = 1.0
    gradients = []
    for start in (error, wrong):
        predicted = start.clone().requires_grad_()
        log_label_loss(predicted, torch.zeros(400, 1)).backward()
        gradients.append(predicted.grad[1:20].abs().mean())
    assert gradients[1] > 0.25 * gradients[0]


def test_errors_that_are_all_large_are_not_taken_for_wrong_labels():
    """A training begins so: every label is far from its prediction."""
    predicted = torch.full((100, 1), 3.0, requires_grad=True)
    log_label_loss(predicted, torch.zeros(100, 1)).backward()
    assert torch.allclose(predicted.grad, torch.tensor(1 / 300), rtol=0.05)


def test_a_label_of_few_stars_has_a_bounded_gradient():
    predicted = torch.full((50, 1), 1e-4, requires_grad=True)
    target = torch.full((50, 1), math.nan)
    target[0] = 0.0
    log_label_loss(predicted, target).backward()
    assert 0 < float(predicted.grad.abs().max()) < 20
    assert not predicted.grad[1:].any()


def test_the_logarithm_of_nothing_known_is_zero():
    predicted = torch.ones(2, 2, requires_grad=True)
    loss = log_label_loss(predicted, torch.full((2, 2), math.nan))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not predicted.grad.any()


def test_an_unknown_label_does_not_dilute_a_known_one():
    target = torch.zeros(20, 2)
    target[:, 1] = math.nan
    assert torch.equal(
        log_label_loss(target.nan_to_num() + 1, target), log_label_loss(torch.ones(20, 1), target[:, :1])
    )


@pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=list(LABEL_LOSSES))
@given(seed=st.integers(0, 2**32 - 1))
def test_a_label_that_is_unknown_has_no_gradient(loss, seed):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn((5, 3), generator=generator).requires_grad_()
    target, weight = torch.randn((5, 3), generator=generator), torch.rand((5, 3), generator=generator) + 0.1
    target[torch.rand((5, 3), generator=generator) < 0.5] = torch.nan
    loss(predicted, target, weight).backward()
    assert ((predicted.grad != 0) == target.isfinite()).all()


@pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=list(LABEL_LOSSES))
def test_the_weight_of_a_label_multiplies_its_loss(loss):
    predicted, target, weight = torch.tensor([[0.04, 3.0]]), torch.zeros(1, 2), torch.tensor([[2.0, 0.5]])
    alone = [float(loss(predicted[:, [i]], target[:, [i]])) for i in (0, 1)]
    assert float(loss(predicted, target, weight)) == pytest.approx((2 * alone[0] + 0.5 * alone[1]) / 2)


def test_a_wrong_label_moves_the_optimum_less_than_the_square_would():
    target = torch.cat([torch.zeros(19, 1), torch.full((1, 1), 10.0)])
    guess = torch.linspace(-1, 1, 2001)[:, None, None]
    best = {
        name: float(guess[torch.stack([loss(x.expand(20, 1), target) for x in guess]).argmin()])
        for name, loss in LABEL_LOSSES.items()
    }
    assert best["squared"] == pytest.approx(0.5, abs=1e-3)
    assert 0 < best["huber"] < 0.01


def test_hubers_loss_has_no_step_where_the_square_ends():
    error = torch.tensor([0.1 - 1e-6, 0.1 + 1e-6], requires_grad=True)
    losses = torch.stack([huber_label_loss(x.reshape(1, 1), torch.zeros(1, 1)) for x in error])
    losses.sum().backward()
    assert float(losses.detach().diff().abs()) < 1e-5
    torch.testing.assert_close(error.grad, torch.ones(2), atol=1e-4, rtol=0)
