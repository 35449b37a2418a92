"""What an objective promises, as named checks."""

import copy
import math

import torch
from torch.nn import functional

from specalign.alignment.objectives import Objective
from specalign.encoders.base import check_buffers, check_config
from specalign.testing.contract import Contract, fail
from specalign.testing.modules import (
    Subject,
    check_close,
    check_listing,
    check_options,
    check_random_states,
    check_same,
    clause,
    config_built,
    rebuilt,
)
from specalign.testing.trainings import check_learning, check_saved_aligner

__all__ = ["OBJECTIVE", "batch"]

STARS, DIMENSIONS = 12, 16


def _subject(target, seed):
    return Subject("objectives", target, Objective, seed)


OBJECTIVE = Contract("objective", _subject)


def batch(rng, names="ab", agreement=1.0):
    """Unit vectors of 12 stars, of which the first two were visited twice, and the star of each row.

    The vectors of a star agree from instrument to instrument up to noise of length 1 / ``agreement``.
    """
    star = torch.tensor([0, 1, *range(STARS)])
    own = torch.from_numpy(rng.normal(size=(STARS, DIMENSIONS)))[star]
    vectors = {name: agreement * own + torch.from_numpy(rng.normal(size=own.shape)) for name in names}
    unit = {name: functional.normalize(value, dim=1).float() for name, value in vectors.items()}
    return unit, {name: star.clone() for name in names}


def loss_of(objective, vectors, stars):
    """The loss without gradient."""
    with torch.no_grad():
        return objective(vectors, stars)


def gradients(objective, vectors, stars):
    """The loss, and its gradient by the vectors of each instrument."""
    leaves = {name: value.clone().requires_grad_() for name, value in vectors.items()}
    loss = objective(leaves, stars)
    if not loss.requires_grad:
        fail("the loss has no gradient, so that a training step would fail; see Objective.nothing")
    loss.backward()
    return loss.detach(), {name: torch.zeros_like(v) if v.grad is None else v.grad for name, v in leaves.items()}


def whole_loss(objective, vectors, stars):
    """All terms as an aligner adds them up, where they want no decoders."""
    if objective.decodes:
        return objective(vectors, stars)
    terms = objective.terms({name: objective.unit(value) for name, value in vectors.items()}, stars)
    return sum(objective.weights[name] * term for name, term in terms.items())


@OBJECTIVE.check
def config_rebuilds(subject, rng):
    """``config`` is JSON-like, and builds an objective of the same options."""
    objective = subject.fresh()
    with clause():
        check_config(objective, type(objective).__name__)
    other = config_built(subject, objective)
    vectors, stars = batch(rng)
    if subject.given is None:
        check_same(loss_of(other, vectors, stars), loss_of(objective, vectors, stars), "loss of what config() builds")


@OBJECTIVE.check
def state_is_saved(subject, rng):
    """Parameters and persistent buffers are the whole state: through safetensors, it gives the same loss."""
    objective, (vectors, stars) = subject.fresh(), batch(rng)
    with clause():
        check_buffers(objective, type(objective).__name__)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.125)
    expected = loss_of(objective, vectors, stars)
    check_same(loss_of(rebuilt(subject, objective), vectors, stars), expected, "loss before and after saving")


@OBJECTIVE.check
def copies_are_equal(subject, rng):
    """A copy, which is what an aligner trains, gives the same loss."""
    objective, (vectors, stars) = subject.fresh(), batch(rng)
    other = copy.deepcopy(objective)
    check_same(loss_of(other, vectors, stars), loss_of(objective, vectors, stars), "loss of a copy")


@OBJECTIVE.check
def loss_is_a_finite_number(subject, rng):
    """The loss of a batch is a finite 0-d tensor."""
    loss = loss_of(subject.fresh(), *batch(rng))
    if not isinstance(loss, torch.Tensor) or loss.shape != () or not bool(loss.isfinite()):
        fail(f"expected a finite 0-d tensor, got {loss!r}")


@OBJECTIVE.check
def gradients_reach_vectors_and_parameters(subject, rng):
    """The gradients by each instrument's vectors and by each parameter are finite and not 0; where the vectors of a
    star are equal, as at the end of a training, they are finite.
    """
    objective = subject.fresh()
    vectors, stars = batch(rng, "a")
    _, equal = gradients(objective, dict.fromkeys("ab", vectors["a"]), dict.fromkeys("ab", stars["a"]))
    if not all(bool(value.isfinite().all()) for value in equal.values()):
        fail("where the vectors of each star are equal, the gradient is not finite: is there a root of a distance?")
    objective = subject.fresh()
    _, found = gradients(objective, *batch(rng))
    named = {f"the vectors of {name!r}": value for name, value in found.items()}
    whole_loss(objective, *batch(rng)).backward()
    named |= {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}
    for name, value in named.items():
        if value is None or not bool(value.any()):
            fail(f"no gradient reaches {name}")
        if not bool(value.isfinite().all()):
            fail(f"the gradient by {name} is not finite")


@OBJECTIVE.check
def order_of_rows_does_not_matter(subject, rng):
    """Rows in another order, with their stars, have the same loss."""
    objective, (vectors, stars) = subject.fresh(), batch(rng)
    orders = {name: torch.from_numpy(rng.permutation(len(value))) for name, value in vectors.items()}
    moved = [{name: values[name][orders[name]] for name in values} for values in (vectors, stars)]
    check_close(loss_of(objective, *moved), loss_of(objective, vectors, stars), "loss of permuted rows")


@OBJECTIVE.check
def order_of_instruments_does_not_matter(subject, rng):
    """Another order of the dict has the same loss, also where the instruments have different numbers of rows."""
    objective, (vectors, stars) = subject.fresh(), batch(rng, "abc")
    for name, first in (("b", 3), ("c", 1)):
        vectors[name], stars[name] = vectors[name][first:], stars[name][first:]
    moved = [dict(reversed(values.items())) for values in (vectors, stars)]
    check_close(loss_of(objective, *moved), loss_of(objective, vectors, stars), "loss of a dict in another order")


@OBJECTIVE.check
def rows_of_one_star_are_never_negatives(subject, rng):
    """No two rows of one star, such as its visits, are pushed apart."""
    axes = torch.eye(DIMENSIONS)
    stars = torch.tensor([0, 0, 1, 2])
    x, y = axes[4:8].clone(), axes[:4]
    x[0] = (axes[0] + axes[4]) / math.sqrt(2)  # one visit has found its place: the other one must not suffer
    _, found = gradients(subject.fresh(), {"a": x, "b": y}, {"a": stars, "b": stars})
    # all other vectors are orthogonal: the part of a gradient along one of them is the derivative by that cosine
    between, within = found["a"] @ y.T, found["a"][0] @ x[1]
    same = stars[:, None] == stars[None, :]
    largest = max(float(between[same].max()), float(within))
    if largest > 1e-5 * float(found["a"].abs().max()):
        fail(f"the loss grows by {largest:.3g} where two rows of one star come closer: they are taken for two stars")


@OBJECTIVE.check
def no_shared_star_is_no_loss(subject, rng):
    """Where no two instruments share a star, the loss is 0 and so is its gradient, and nothing fails."""
    vectors, stars = batch(rng)
    stars["b"] = stars["b"] + STARS
    alone = {"a": vectors["a"]}, {"a": stars["a"]}
    for what, rows in (("two instruments without a common star", (vectors, stars)), ("one instrument", alone)):
        loss, found = gradients(subject.fresh(), *rows)
        if float(loss) != 0 or any(bool(value.any()) for value in found.values()):
            fail(f"{what}: expected the loss 0 without gradient, got {float(loss):.3g}")


@OBJECTIVE.check
def missing_instrument_is_no_failure(subject, rng):
    """A batch without one of the instruments that were seen before, or in which its stars are others', has a loss, the
    same as before in the first case, and not thinned in the second.
    """
    objective, (vectors, stars) = subject.fresh(), batch(rng, "abc")
    two = {"a": vectors["a"], "c": vectors["c"]}, {"a": stars["a"], "c": stars["c"]}
    before = loss_of(subject.fresh(), *two)
    loss_of(objective, vectors, stars)
    check_same(loss_of(objective, *two), before, "loss of two instruments, after that of three")
    apart = stars | {"b": stars["b"] + STARS}
    for rows in (two, (vectors, apart)):
        loss, found = gradients(objective, *rows)
        if not bool(loss.isfinite()) or not bool(found["a"].any()):
            fail("without one of three instruments, the loss is not finite or has no gradient")
    whole, beside = (float(loss_of(objective, *rows)) for rows in (two, (vectors, apart)))
    if beside < whole - 0.5 * abs(whole):
        got = f"{whole:.4g}, and {beside:.4g} beside an instrument that shares no star"
        fail(f"the loss of two instruments is {got}: average over the pairs that share stars (Objective.pairs)")


@OBJECTIVE.check
def one_star_is_no_failure(subject, rng):
    """A batch of one star has a finite loss and finite gradients."""
    vectors, stars = batch(rng)
    one = [{name: values[name][:1] for name in values} for values in (vectors, stars)]
    loss, found = gradients(subject.fresh(), *one)
    if not bool(loss.isfinite()) or not all(bool(value.isfinite().all()) for value in found.values()):
        fail(f"the loss of one star is {float(loss)}, or its gradient is not finite")


@OBJECTIVE.check
def aligned_is_better_than_shuffled(subject, rng):
    """Equal vectors of each star have a smaller loss than those of other stars."""
    _expect_better(subject.fresh(), rng, "ab", "b")


@OBJECTIVE.check
def third_instrument_counts(subject, rng):
    """Of three instruments, each counts: shuffling the third is worse, and gradients reach it."""
    objective = subject.fresh()
    _expect_better(objective, rng, "abc", "c")
    _, found = gradients(objective, *batch(rng, "abc"))
    if not all(bool(value.any()) for value in found.values()):
        fail("no gradient reaches one of three instruments")


def _expect_better(objective, rng, names, shuffled):
    vectors, stars = batch(rng, names[:1])
    aligned, stars = dict.fromkeys(names, vectors["a"]), dict.fromkeys(names, stars["a"])
    worse = aligned | {shuffled: vectors["a"].roll(5, dims=0)}
    losses = [float(loss_of(objective, rows, stars)) for rows in (aligned, worse)]
    if not losses[0] < losses[1]:
        fail(f"the loss is {losses[0]:.4g} where all agree, and {losses[1]:.4g} where {shuffled!r} is shuffled")


@OBJECTIVE.check
def parameters_are_clamped(subject, rng):
    """After ``clamp``, which changes parameters in place, no value of a learned scalar makes the loss or
    ``logit_scale`` infinite.
    """
    vectors, stars = batch(rng, agreement=30.0)
    for value in (1e4, -1e4):
        objective = subject.fresh()
        before = list(objective.parameters())
        with torch.no_grad():
            for parameter in objective.parameters():
                if parameter.ndim == 0:
                    parameter.fill_(value)
        objective.clamp()
        if any(one is not other for one, other in zip(before, objective.parameters(), strict=True)):
            fail("clamp replaces a parameter, which the optimizer then lacks; change it in place, under torch.no_grad")
        with torch.no_grad():
            scale, loss = objective.logit_scale, whole_loss(objective, vectors, stars)
        if not isinstance(scale, torch.Tensor) or scale.shape != () or not 0 <= float(scale.detach()) < math.inf:
            fail(f"logit_scale after clamp: expected a finite 0-d tensor of at least 0, got {scale!r}")
        if not bool(loss.isfinite()):
            fail(f"the loss after clamp is {float(loss)} where a learned scalar went to {value:g}")


@OBJECTIVE.check
def half_precision_is_close(subject, rng):
    """Vectors of float16 and bfloat16 give the loss of the same numbers in float32, to a hundredth."""
    objective, (vectors, stars) = subject.fresh(), batch(rng)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = {name: value.to(dtype) for name, value in vectors.items()}
        wide = {name: value.float() for name, value in rounded.items()}
        found, expected = (float(loss_of(objective, rows, stars)) for rows in (rounded, wide))
        if not abs(found - expected) <= 0.01 * abs(expected) + 0.01:
            fail(f"the loss of {dtype} vectors is {found:.4g}, that of the same numbers in float32 {expected:.4g}")


@OBJECTIVE.check
def input_is_untouched(subject, rng):
    """Neither vectors nor stars nor the dicts are changed."""
    vectors, stars = batch(rng, "abc")
    kept = [{name: value.clone() for name, value in values.items()} for values in (vectors, stars)]
    loss_of(subject.fresh(), vectors, stars)
    for given, before in zip((vectors, stars), kept, strict=True):
        if list(given) != list(before) or not all(torch.equal(given[name], before[name]) for name in before):
            fail("forward changed the vectors, the stars, or their dicts")


@OBJECTIVE.check
def is_deterministic(subject, rng):
    """The same batch has the same loss, bit for bit, and no global random state is moved."""
    objective, (vectors, stars) = subject.fresh(), batch(rng)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        first = loss_of(objective, vectors, stars)
        torch.default_generator.manual_seed(2)
        check_same(loss_of(objective, vectors, stars), first, "loss of the same batch")
    check_random_states(lambda: loss_of(objective, vectors, stars), "forward")


@OBJECTIVE.check
def unknown_options_are_refused(subject, rng):
    """An option that does not exist is refused with its name."""
    check_options(subject)


@OBJECTIVE.check
def aligner_learns(subject, rng):
    """An aligner of two pretended instruments with this objective learns."""
    check_learning({"objective": subject.fresh})


@OBJECTIVE.check
def aligner_saves_and_loads(subject, rng):
    """A saved aligner with this objective, found by its name, embeds as before."""
    check_saved_aligner("objectives", subject)


@OBJECTIVE.check
def listing_imports_nothing(subject, rng):
    """To list the plugins that are installed imports none of them."""
    check_listing("objectives", subject.name)
