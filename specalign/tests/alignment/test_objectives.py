"""Losses and augmentation by themselves."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from specalign import Aligner
from specalign.alignment import Objective, get_objective
from specalign.alignment.augment import add_noise
from specalign.alignment.objectives import InfoNCE, Sigmoid, check_objective
from specalign.alignment.training import AlignmentModule
from specalign.exceptions import PluginError, UnknownPluginError
from specalign.ops import info_nce, sigmoid_loss
from specalign.testing import parametrize_objective
from specalign.tests.alignment.survey import observe, stars


def unit(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(n, 6, generator=generator), dim=1)


@parametrize_objective("info_nce")
def test_contract_of_info_nce(check):
    check()


@parametrize_objective("sigmoid")
def test_contract_of_sigmoid(check):
    check()


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


def test_the_sigmoid_loss_has_a_bias_and_learns_it():
    vectors, ids = {"a": unit(4), "b": unit(5, 1)}, {"a": torch.arange(4), "b": torch.tensor([0, 1, 1, 2, 9])}
    objective = Sigmoid(initial_scale=5.0, initial_bias=-2.0)
    loss = objective(vectors, ids)
    torch.testing.assert_close(loss, sigmoid_loss(vectors["a"], vectors["b"], 5.0, -2.0, ids["a"], ids["b"]))
    loss.backward()
    assert objective.logit_bias.grad.abs() > 0
    assert Sigmoid().config() == {"initial_scale": 10.0, "max_scale": 200.0, "initial_bias": -10.0}
    with pytest.raises(ValueError, match="initial_bias: expected a finite number, got nan"):
        Sigmoid(initial_bias=math.nan)


class Broken(Objective):
    answer = torch.tensor(1.0)

    def forward(self, vectors, stars):
        return self.answer


def test_only_objectives_that_multiply_cosines_have_a_scale():
    assert InfoNCE().has_scale
    assert Sigmoid().has_scale
    assert not Broken().has_scale


class Many(Broken):
    answer = torch.ones(2)


class NoNumber(Broken):
    answer = torch.tensor(math.nan)


class StrangeConfig(Broken):
    def config(self):
        return {"function": print}


class Forgetful(Broken):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3), persistent=False)


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (torch.nn.Linear(3, 3), "gives a Linear, expected an Objective"),
        (Many(), "'theirs': forward on 3 stars must give a finite 0-d tensor"),
        (NoNumber(), "must give a finite 0-d tensor"),
        (StrangeConfig(), "config.. must hold JSON-like values, but 'function'"),
        (Forgetful(), "the buffer 'mean' is not persistent"),
    ],
)
def test_the_failed_clause_of_an_objective_is_named(made, match):
    check_objective(Broken(), "theirs")
    with pytest.raises(PluginError, match=match):
        check_objective(made, "theirs")


def test_an_objective_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Objective does not define forward"):
        Objective()({}, {})


def test_objectives_come_by_name_with_options():
    assert get_objective("sigmoid", initial_scale=4).config()["initial_scale"] == 4
    with pytest.raises(
        UnknownPluginError, match=r"no objective plugin is called 'triplet'; installed: .*info_nce, sigmoid"
    ):
        get_objective("triplet")
    with pytest.raises(TypeError, match="bias"):
        get_objective("info_nce", bias=3)


@pytest.mark.parametrize(
    ("choice", "error", "match"),
    [
        ("triplet", UnknownPluginError, "installed: .*info_nce, sigmoid"),
        (3, ValueError, "objective: expected an Objective or the name of one, got int"),
    ],
)
def test_an_aligner_refuses_what_is_no_objective(choice, error, match):
    with pytest.raises(error, match=match):
        Aligner(["apogee", "nirspec"], objective=choice)


def fitted(objective, seed=0, **options):
    aligner = Aligner(["apogee", "nirspec"], embed_dim=6, objective=objective)
    prepared = {name: observe(name, stars(80)) for name in aligner.instruments}
    options = {"max_epochs": 4, "batch_size": 32, "progress": False, "accelerator": "cpu"} | options
    aligner.fit(prepared, seed=seed, **options)
    return aligner


def test_an_aligner_trains_with_the_objective_of_its_choice():
    by_name, other = fitted("sigmoid"), fitted("info_nce")
    assert by_name.space != other.space
    assert by_name.history.epochs["train_loss"][-1] < by_name.history.epochs["train_loss"][0]
    assert by_name.history.epochs["logit_scale"][0] == pytest.approx(10, rel=0.1)


def test_a_given_objective_is_copied_and_stays_as_it_was():
    given = Sigmoid(initial_scale=20.0, max_scale=20.5)
    first, again = fitted(given, max_epochs=1), fitted(Sigmoid(initial_scale=20.0, max_scale=20.5), max_epochs=1)
    assert first.space == again.space != fitted("sigmoid", max_epochs=1).space
    assert float(given.logit_scale.detach()) == pytest.approx(20)
    assert given.log_scale.grad is None


class Turning(InfoNCE):
    """Learns a rotation of one of the instruments, too."""

    def __init__(self):
        super().__init__()
        self.turn = torch.nn.Parameter(torch.eye(6))

    def forward(self, vectors, stars):
        return super().forward(
            {name: rows @ self.turn if name == "apogee" else rows for name, rows in vectors.items()}, stars
        )


def test_numbers_and_matrices_of_an_objective_are_learned(monkeypatch):
    groups = []
    configure = AlignmentModule.configure_optimizers

    def spy(module):
        made = configure(module)
        groups.extend(made["optimizer"].param_groups)
        return made

    monkeypatch.setattr(AlignmentModule, "configure_optimizers", spy)
    trained = fitted(Turning(), max_epochs=1)._objective
    assert not torch.equal(trained.turn, torch.eye(6))
    assert float(trained.log_scale.detach()) != pytest.approx(float(InfoNCE().log_scale.detach()), rel=1e-4)
    rates = {
        group["initial_lr"]: group["params"] for group in groups if group["weight_decay"] or not group["params"][0].ndim
    }
    assert [p.shape for p in rates[2e-2]] == [()]  # ten times the rate of the weights
    assert (6, 6) in [p.shape for p in rates[2e-3]]


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


def test_an_aligner_names_its_objective_where_it_is_not_the_usual_one():
    assert repr(Aligner(["a", "b"])) == "<Aligner a, b: 128 dimensions, not trained>"
    assert (
        repr(Aligner(["a", "b"], objective="clip+predict"))
        == "<Aligner a, b: 128 dimensions, clip+predict, not trained>"
    )


def test_an_option_that_does_not_exist_is_named():
    with pytest.raises(
        TypeError, match="the objective 'sigmoid' has no option 'max_scal'; its options: initial_scale, "
    ):
        get_objective("sigmoid", max_scal=3)
