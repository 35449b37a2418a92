"""What an encoder keeps, learns and gives back: checks that build, save and train it."""

import copy

import numpy as np
import torch

from specalign.encoders.base import check_buffers, check_config
from specalign.exceptions import SpecalignError
from specalign.testing.children import vectors_of_a_child
from specalign.testing.contract import fail
from specalign.testing.encoder_values import ENCODER, example, spectra
from specalign.testing.modules import (
    check_listing,
    check_options,
    check_same,
    clause,
    config_built,
    named_tensors,
    rebuilt,
    stir,
)
from specalign.testing.trainings import check_learning, check_saved_aligner

__all__ = ["ENCODER"]  # with the checks of its values, and with those below


@ENCODER.check
def config_rebuilds(subject, rng):
    """``config`` is JSON-like, and builds an encoder of the same options and shapes."""
    encoder = subject.fresh()
    with clause():
        check_config(encoder, type(encoder).__name__, ("n_pixels", "embed_dim"))
    other = config_built(subject, encoder)
    shapes = [{key: tuple(value.shape) for key, value in named_tensors(e).items()} for e in (encoder, other)]
    if shapes[0] != shapes[1]:
        fail("config() builds an encoder of other shapes: an option is missing in it")


@ENCODER.check
def state_is_saved(subject, rng):
    """Parameters and persistent buffers are the whole state: through safetensors, it gives the same vectors."""
    encoder = subject.fresh()
    with clause():
        check_buffers(encoder, type(encoder).__name__)
    stir(encoder)
    rows = spectra(rng, 5, encoder.n_pixels)
    other = rebuilt(subject, encoder).eval()
    check_same(other(*rows), encoder.eval()(*rows), "vectors before and after saving")


@ENCODER.check
def scaling_is_part_of_the_state(subject, rng):
    """What ``fit_scaler`` learns from training rows is saved with the weights."""
    encoder, rows = example(subject, rng)
    check_same(rebuilt(subject, encoder).eval()(*rows), encoder(*rows), "vectors with a scaling that was saved")


@ENCODER.check
def copies_are_equal(subject, rng):
    """A copy, which is what an aligner trains, gives the same vectors and shares no memory."""
    encoder, rows = example(subject, rng)
    before = encoder(*rows).detach().clone()
    other = copy.deepcopy(encoder)
    check_same(other(*rows), before, "vectors of a copy")
    stir(other)
    check_same(encoder(*rows), before, "vectors after the copy was changed")


@ENCODER.check
def gradients_reach_every_parameter(subject, rng):
    """Each parameter that is to be trained gets a gradient that is finite and not 0."""
    encoder, rows = example(subject, rng)
    stir(encoder)  # a layer that begins with zeros lets nothing through in its first step
    out = encoder.train()(*rows)
    weight = torch.from_numpy(rng.normal(size=tuple(out.shape)).astype(np.float32))
    (out * weight).sum().backward()
    if encoder.reconstructs:  # what decodes is trained without labels
        encoder.reconstruct(*rows, generator=torch.Generator().manual_seed(0)).flux.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            fail(f"no gradient reaches {name}: it is unused, or used without gradient; make it a buffer")
        if parameter.requires_grad and not bool(parameter.grad.isfinite().all()):
            fail(f"the gradient of {name} is not finite")
        if parameter.requires_grad and not bool(parameter.grad.any()):
            fail(f"the gradient of {name} is 0")


@ENCODER.check
def single_row_can_train(subject, rng):
    """A batch in which the instrument has one row can train: nothing needs statistics of a batch."""
    encoder, rows = example(subject, rng, n=1)
    out = encoder.train()(*rows)
    if not bool(out.isfinite().all()):
        fail("one spectrum in train mode gives NaN or Inf")


@ENCODER.check
def aligner_learns(subject, rng):
    """An aligner of two pretended instruments with this encoder learns."""
    check_learning({"encoders": subject.fresh})


@ENCODER.check
def unknown_options_are_refused(subject, rng):
    """An option that does not exist is refused with its name, and so is a size that is no positive integer."""
    check_options(subject)
    try:
        subject.factory(**(subject.options | {"n_pixels": 0}))
    except (ValueError, SpecalignError):
        return
    fail("n_pixels=0: expected a ValueError, got an encoder")


@ENCODER.check
def survives_a_new_process(subject, rng):
    """A new process builds the encoder from config and tensors, and makes the same vectors, bit for bit."""
    encoder, rows = example(subject, rng)
    inputs = dict(zip(("flux", "ivar", "mask"), map(torch.from_numpy, rows), strict=True))
    check_same(vectors_of_a_child(encoder, inputs), encoder(*rows).detach(), "vectors of another process")


@ENCODER.check
def aligner_saves_and_loads(subject, rng):
    """A saved aligner with this encoder, found by its name, embeds as before."""
    check_saved_aligner("encoders", subject)


@ENCODER.check
def listing_imports_nothing(subject, rng):
    """To list the plugins that are installed imports none of them."""
    check_listing("encoders", subject.name)
