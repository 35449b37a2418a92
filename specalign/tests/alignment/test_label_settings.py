"""What a training of labels is given where nobody says: by the number of stars; and the average of its weights."""

import pytest
import torch

from specalign.alignment.training import LabelSettings, WeightAverage

OTHERS = dict.fromkeys(("learning_rate", "weight_decay", "noise", "min_delta", "averaging"), 0.1) | {
    "gamma": 0.5,
    "seed": 0,
    "loss": "huber",
}


@pytest.mark.parametrize(
    ("n_stars", "batch", "epochs"), [(1, 8, 1000), (30, 8, 250), (100, 12, 112), (1600, 64, 40), (18000, 64, 20)]
)
def test_few_stars_make_small_batches_and_many_epochs(n_stars, batch, epochs):
    asked = dict.fromkeys(("max_epochs", "patience", "step_size")) | {"batch_size": 64}
    settings = LabelSettings.for_stars(n_stars, **asked, **OTHERS)
    assert (settings.batch_size, settings.max_epochs) == (batch, epochs)
    assert settings.patience == settings.step_size == max(5, epochs // 4)


def test_what_is_asked_for_is_what_one_gets():
    asked = {"max_epochs": 7, "patience": 2, "step_size": 3, "batch_size": 5}
    settings = LabelSettings.for_stars(1000, **asked, **OTHERS)
    assert {name: getattr(settings, name) for name in asked} == asked


def test_training_goes_on_from_the_step_and_not_from_the_average():
    alone = WeightAverage(layer := torch.nn.Linear(2, 1), memory=0.5)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    alone.update()
    with alone.in_place():
        torch.testing.assert_close(layer.weight.detach(), before + 10 / 11)
    assert torch.equal(layer.weight.detach(), before + 1)


def test_no_memory_is_the_weights_themselves():
    average = WeightAverage(layer := torch.nn.Linear(2, 1), memory=0.0)
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update()
    with average.in_place():
        inside = layer.weight.detach().clone()
    assert torch.equal(inside, layer.weight.detach())
