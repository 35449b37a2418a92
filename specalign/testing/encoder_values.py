"""What an encoder makes of spectra, good and bad: checks that look at its vectors."""

import numpy as np
import torch

from specalign.encoders.base import Encoder, check_output
from specalign.testing.contract import Contract, fail, skip
from specalign.testing.modules import (
    Subject,
    check_close,
    check_random_states,
    check_same,
    check_seeding,
    clause,
    named_tensors,
)

__all__ = ["ENCODER", "example", "spectra"]

PIXELS, DIMENSIONS = 96, 8
RUBBISH = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 0.0], np.float32)
ALONE = (np.float32(0), np.float32(np.nan), np.float32(1e30))  # what hides in a mixture, such as a mean that is huge


def _subject(target, seed):
    return Subject("encoders", target, Encoder, seed, n_pixels=PIXELS, embed_dim=DIMENSIONS)


ENCODER = Contract("encoder", _subject)


def spectra(rng, n, n_pixels):
    """Flux, ivar and mask (n, P) as ``prepare`` gives them: smooth features, noise, a sixth of the pixels bad."""
    x = np.linspace(0, 1, n_pixels)
    waves = np.sin(np.outer(rng.uniform(2, 20, 4), x) + rng.uniform(0, 6, (4, 1)))
    ivar = rng.uniform(100, 1000, (n, 1)) * rng.uniform(0.5, 1, (n, n_pixels))
    flux = 1 + 0.1 * rng.normal(size=(n, 4)) @ waves + rng.normal(size=(n, n_pixels)) / np.sqrt(ivar)
    mask = rng.random((n, n_pixels)) < 1 / 6
    good = ~mask
    return np.where(good, flux, 0).astype(np.float32), np.where(good, ivar, 0).astype(np.float32), mask


def fitted(subject, rng):
    """An encoder in eval mode whose scaling was fitted to 64 spectra."""
    encoder = subject.fresh()
    encoder.fit_scaler(*spectra(rng, 64, encoder.n_pixels))
    return encoder.eval()


def example(subject, rng, n=6):
    """A fitted encoder, and flux, ivar and mask of other spectra than those it was fitted to."""
    encoder = fitted(subject, rng)
    return encoder, spectra(rng, n, encoder.n_pixels)


@ENCODER.check
def output_is_float32_vectors(subject, rng):
    """Spectra become finite float32 vectors of shape (n, embed_dim), whatever ``embed_dim`` is asked for."""
    encoder, rows = example(subject, rng)
    sizes = (encoder.embed_dim + 3,) if subject.given is None else ()
    for one in (encoder, *(subject.build(embed_dim=size) for size in sizes)):
        with clause():
            check_output(one, type(one).__name__)
        out = one.eval()(*rows)
        if out.shape != (6, one.embed_dim) or not bool(out.isfinite().all()):
            fail(f"expected finite vectors of shape (6, {one.embed_dim}), got shape {tuple(out.shape)}, or NaN or Inf")


@ENCODER.check
def masked_pixels_never_matter(subject, rng):
    """Whatever lies under the mask, NaN and infinity included, the vectors are the same, bit for bit."""
    encoder, (flux, ivar, mask) = example(subject, rng)
    expected = encoder(flux, ivar, mask)
    for rubbish in (RUBBISH, *ALONE):
        hidden = [np.where(mask, rng.choice(np.atleast_1d(rubbish), mask.shape), values) for values in (flux, ivar)]
        check_same(encoder(*hidden, mask), expected, f"vectors with {rubbish} under the mask")


@ENCODER.check
def pixels_without_information_never_matter(subject, rng):
    """The flux of a pixel whose inverse variance is 0 does not matter, masked or not."""
    encoder, (flux, ivar, mask) = example(subject, rng)
    expected = encoder(flux, ivar, mask)
    other = np.where(ivar == 0, rng.normal(size=mask.shape), flux).astype(np.float32)
    check_same(encoder(other, ivar, np.zeros_like(mask)), expected, "vectors where ivar is 0 and nothing is masked")


@ENCODER.check
def masked_pixels_never_matter_to_the_scaling(subject, rng):
    """Whatever lies under the mask, ``fit_scaler`` learns the same."""
    flux, ivar, mask = spectra(rng, 64, subject.fresh().n_pixels)
    states = []
    for hidden in (*ALONE, rng.choice(RUBBISH, mask.shape)):
        encoder = subject.fresh()
        encoder.fit_scaler(np.where(mask, hidden, flux), np.where(mask, hidden, ivar), mask)
        states.append(named_tensors(encoder))
    for what, state in zip((*ALONE[1:], "a mixture"), states[1:], strict=True):
        for key, expected in states[0].items():
            check_same(state[key], expected, f"{key} fitted with {what} in place of 0 under the mask")


@ENCODER.check
def rubbish_on_good_pixels_is_refused(subject, rng):
    """NaN, infinity and negative inverse variances on good pixels are a `ValueError`, not a vector."""
    encoder, (flux, ivar, mask) = example(subject, rng)
    mask[3, 5] = False
    for name, value in (("flux", np.nan), ("flux", np.inf), ("ivar", np.nan), ("ivar", -1.0)):
        spoiled = {"flux": flux.copy(), "ivar": np.where(mask, 0, np.maximum(ivar, 1)), "mask": mask}
        spoiled[name][3, 5] = value
        _expect_refusal(encoder, spoiled, f"{name} {value} on a good pixel")


@ENCODER.check
def wrong_shapes_are_refused(subject, rng):
    """Arrays of another number of pixels are a `ValueError`."""
    encoder, rows = example(subject, rng)
    short = {name: values[:, 1:] for name, values in zip(("flux", "ivar", "mask"), rows, strict=True)}
    _expect_refusal(encoder, short, f"{encoder.n_pixels - 1} pixels in place of {encoder.n_pixels}")


def _expect_refusal(encoder, rows, what):
    try:
        encoder(**rows)
    except ValueError:
        return
    except Exception as error:
        fail(f"{what}: expected a ValueError, got {type(error).__name__}: {error}")
    fail(f"{what}: expected a ValueError, got vectors")


@ENCODER.check
def batch_equals_loop(subject, rng):
    """A row's vector does not depend on the other rows of its batch."""
    encoder, rows = example(subject, rng)
    single = [encoder(*(values[i : i + 1] for values in rows)) for i in range(6)]
    check_close(torch.cat(single), encoder(*rows), "rows one by one and at once")


@ENCODER.check
def empty_batch_is_empty(subject, rng):
    """No spectra become no vectors, of shape (0, embed_dim)."""
    encoder, rows = example(subject, rng, n=0)
    if (shape := tuple(encoder(*rows).shape)) != (0, encoder.embed_dim):
        fail(f"expected shape (0, {encoder.embed_dim}) for no spectra, got {shape}")


@ENCODER.check
def order_of_rows_is_kept(subject, rng):
    """Permuted spectra give permuted vectors."""
    encoder, rows = example(subject, rng)
    order = rng.permutation(6)
    check_close(encoder(*(values[order] for values in rows)), encoder(*rows)[order], "permuted rows")


@ENCODER.check
def is_deterministic(subject, rng):
    """The same seed builds and fits the same encoder, and no global random state is moved, but that of torch in
    training and to draw the first weights.
    """
    rows = spectra(rng, 64, subject.fresh().n_pixels)
    states = []
    for seed in (1, 2):  # of the global state, which must not matter
        encoder = subject.fresh()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            check_random_states(lambda one=encoder: one.fit_scaler(*rows), "fit_scaler")
        states.append(named_tensors(encoder))
    for key in states[0]:
        check_same(states[1][key], states[0][key], f"{key} built and fitted twice")
    check_random_states(lambda: encoder.eval()(*rows), "forward in eval mode")
    check_random_states(lambda: encoder.train()(*rows), "forward in train mode", torch_too=False)
    if subject.given is None:
        check_seeding(subject)


@ENCODER.check
def eval_mode_has_no_randomness(subject, rng):
    """In eval mode, the same spectra give the same vectors, whatever the global random state is."""
    encoder, rows = example(subject, rng)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        first = encoder(*rows)
        torch.default_generator.manual_seed(2)
        check_same(encoder(*rows), first, "the same spectra twice")


@ENCODER.check
def input_is_untouched(subject, rng):
    """Neither arrays nor tensors that are given are changed."""
    encoder, rows = example(subject, rng)
    arrays, tensors = [values.copy() for values in rows], [torch.from_numpy(values.copy()) for values in rows]
    for given in (arrays, tensors):
        encoder(*given)
        encoder.fit_scaler(*given)
        for name, value, expected in zip(("flux", "ivar", "mask"), given, rows, strict=True):
            if not np.array_equal(np.asarray(value), expected):
                fail(f"{name} ({type(value).__name__}) was changed by forward or fit_scaler")


@ENCODER.check
def arrays_of_any_type_are_taken(subject, rng):
    """Big-endian, double-precision, read-only, Fortran-ordered and reversed arrays, and tensors, give the same
    vectors.
    """
    encoder, (flux, ivar, mask) = example(subject, rng)
    expected = encoder(flux, ivar, mask)
    for dtype in (">f4", ">f8", "<f8", "<f4"):
        foreign = flux.astype(dtype), ivar.astype(dtype), mask.copy()
        for values in foreign:
            values.flags.writeable = False
        check_same(encoder(*foreign), expected, f"vectors of {dtype} arrays")
    check_same(encoder(*map(torch.tensor, (flux, ivar, mask))), expected, "vectors of tensors")
    check_same(encoder(*map(np.asfortranarray, (flux, ivar, mask))), expected, "vectors of Fortran-ordered arrays")
    reversed_ = (np.flip(np.flip(values).copy()) for values in (flux, ivar, mask))  # with negative strides
    check_same(encoder(*reversed_), expected, "vectors of reversed arrays")


@ENCODER.check
def inverse_variance_matters_or_is_declared_unused(subject, rng):
    """``uses_ivar`` says whether the inverse variance of good pixels matters, and what it says is so."""
    encoder, (flux, ivar, mask) = example(subject, rng)
    same = torch.equal(encoder(flux, ivar / 50, mask), encoder(flux, ivar, mask))
    if encoder.uses_ivar and same:
        fail("a hundredth of the inverse variance changes nothing: use it, or say uses_ivar = False")
    if not encoder.uses_ivar and not same:
        fail("uses_ivar is False, and another inverse variance changes the vectors")


@ENCODER.check
def wholly_masked_rows_are_finite(subject, rng):
    """A spectrum without a good pixel gives a finite vector and finite gradients, and does not change the vector of
    another.
    """
    encoder, (flux, ivar, mask) = example(subject, rng)
    expected = encoder(flux, ivar, mask)
    mask[2], ivar[2] = True, 0
    out = encoder(flux, ivar, mask)
    if not bool(out.isfinite().all()):
        fail("a spectrum without a good pixel gives NaN or Inf")
    keep = [0, 1, 3, 4, 5]
    check_close(out[keep], expected[keep], "vectors beside a row without good pixels")
    encoder.zero_grad()
    encoder.train()(flux, ivar, mask).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            fail(f"beside a spectrum without a good pixel, the gradient of {name} is not finite")


@ENCODER.check
def correlated_noise_is_taken(subject, rng):
    """``noise_scale`` and ``noise_basis`` are taken by ``forward`` and ``fit_scaler``, whether or not they are used."""
    encoder = subject.fresh()
    rows = spectra(rng, 64, encoder.n_pixels)
    noise = {
        "noise_scale": rng.uniform(0.01, 0.02, (64, 2)).astype(np.float32),
        "noise_basis": rng.normal(size=(2, encoder.n_pixels)).astype(np.float32),
    }
    encoder.fit_scaler(*rows, **noise)
    if not bool(encoder.eval()(*rows, **noise).isfinite().all()):
        fail("spectra with correlated noise give NaN or Inf")


@ENCODER.check
def summary_equals_forward(subject, rng):
    """Where an encoder ``summarizes``, its summaries are a row each, and give the vectors that ``forward`` gives."""
    encoder, rows = example(subject, rng)
    if not encoder.summarizes:
        skip("it does not summarize spectra")
    summary = encoder.summarize(*rows)
    if wrong := [key for key, value in summary.items() if len(value) != 6]:
        fail(f"the summary {wrong[0]!r} of 6 spectra has {len(summary[wrong[0]])} rows")
    some = {key: value[2:4] for key, value in summary.items()}
    expected = encoder(*rows)
    check_close(encoder.encode_summary(summary), expected, "vectors of summaries")
    check_close(encoder.encode_summary(some), expected[2:4], "vectors of some of the summaries")
    _check_noise(encoder, summary)


def _check_noise(encoder, summary):
    before = {key: value.clone() for key, value in summary.items()}
    noisy = [encoder.add_noise(summary, 1.0, torch.Generator().manual_seed(3)) for _ in range(2)]
    for key, value in before.items():
        check_same(summary[key], value, f"the summary {key!r}, to which noise was added")
        check_same(noisy[0][key], noisy[1][key], f"noise on {key!r} from one seed")
    if torch.equal(encoder.encode_summary(noisy[0]), encoder.encode_summary(summary)):
        fail("add_noise changes nothing")


@ENCODER.check
def reconstruction_is_flux(subject, rng):
    """An encoder that reconstructs gives flux and scale on every pixel, the same from the same generator, whatever lies
    under the mask; something of every spectrum is predicted.
    """
    encoder, (flux, ivar, mask) = example(subject, rng)
    if not encoder.reconstructs:
        skip("it does not reconstruct spectra")
    found = _reconstructed(encoder, flux, ivar, mask)
    for name, values in (("flux", found.flux), ("scale", found.scale)):
        if values.shape != flux.shape or not bool(values.isfinite().all()):
            fail(f"reconstruct: expected finite {name} of shape {flux.shape}, got {tuple(values.shape)}, or NaN or Inf")
    if found.counted.shape != flux.shape or not bool(found.counted.any(dim=1).all()):
        fail("reconstruct: expected at least one pixel of every spectrum to count as predicted")
    check_same(_reconstructed(encoder, flux, ivar, mask).flux, found.flux, "the same generator twice")
    hidden = np.where(mask, np.float32(np.nan), flux)
    check_same(_reconstructed(encoder, hidden, ivar, mask).flux, found.flux, "reconstruction with NaN under the mask")


def _reconstructed(encoder, flux, ivar, mask):
    return encoder.reconstruct(flux, ivar, mask, generator=torch.Generator().manual_seed(0))
