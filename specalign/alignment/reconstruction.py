"""What a trained encoder makes of spectra, as spectra with an uncertainty."""

import dataclasses
import logging

import numpy as np
import torch

from specalign.alignment.inputs import EMBED_ROWS, encoder_inputs
from specalign.data.loading import check_good_pixels
from specalign.encoders.scaling import spread_rows
from specalign.exceptions import GridMismatchError
from specalign.instruments.prepared import empty_rejected
from specalign.io.quality import COMMON_BITS, bit_value

__all__ = ["reconstruct"]

log = logging.getLogger(__name__)

PASSES = 8  # with other windows hidden, so that each pixel is predicted from others
REFERENCE_ROWS = 1024
FEW_ROWS = 100  # a median of fewer squares a pixel is mostly chance, and of one it is the pixel's own error
HALF_NORMAL_MEDIAN = 0.4549364  # of the square of a standard normal number
STEPS = 40  # of a bisection


@torch.no_grad()
def reconstruct(encoder, prepared, *, reference=None, seed=0):
    """Spectra as an encoder gives them back, with what it leaves of normal spectra as their uncertainty.

    Encoders that hide windows run eight times with other windows hidden; a pixel is the mean of the passes that
    predicted it, and masked where none did.  The variance of a pixel is s^2 such that the median of
    (f - g)^2 / (1 / ivar + s^2) over reference spectra is that of a squared standard normal number: what the noise of
    the spectra does not explain, whatever a few outliers among them do.

    Parameters
    ----------
    encoder : Encoder
        Trained by `~specalign.pretrain`.
    prepared : `~specalign.PreparedSpectra`
    reference : `~specalign.PreparedSpectra`, optional
        Spectra that the encoder was not trained on, which say how well it reconstructs; by default ``prepared``, which
        then should be a hundred spectra or more; fewer are used with a warning in the log.  At most 1024 are used.
    seed : int
        Of what is hidden.

    Returns
    -------
    `~specalign.PreparedSpectra`
        The same rows, with flux, ivar, mask and quality of the reconstruction: ``UNCOVERED`` where no pass predicted a
        pixel.

    Raises
    ------
    ValueError
        The encoder does not reconstruct spectra.
    GridMismatchError
        It takes another number of pixels or was trained on another grid, other options or other mask rules, or the
        reference is of another grid.
    SpectrumError
        An unmasked pixel is not finite, or a row has no good pixel.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.testing.stars import observe
    >>> stars = observe("mine", [f"star {i}" for i in range(120)], n_pixels=40)
    >>> encoder = sa.pretrain("autoencoder", stars, hidden=32, bottleneck=4, max_epochs=3, progress=False)
    >>> found = sa.reconstruct(encoder, stars)
    >>> found.flux.shape, bool((found.ivar > 0).all())
    ((120, 40), True)
    """
    _check(encoder, prepared)
    reference = prepared if reference is None else reference
    prepared.check_same_grid(reference)
    flux, known = _passes(encoder, prepared, seed)
    if reference is not prepared:
        _check(encoder, reference)
    sample = reference[spread_rows(len(reference), REFERENCE_ROWS)]
    if 0 < len(sample) < FEW_ROWS:
        log.warning(
            "the uncertainty of the reconstruction rests on %d spectra; give reference= with a hundred or more that "
            "the encoder was not trained on",
            len(sample),
        )
    variance = _left_over(sample, *_passes(encoder, sample, seed))
    ivar = np.where(known, 1 / variance, 0).astype(np.float32)
    quality = np.where(known, 0, bit_value(COMMON_BITS, "UNCOVERED")).astype(np.uint32)
    changes = {"flux": flux, "ivar": ivar, "mask": ~known, "quality": quality, "quality_bits": dict(COMMON_BITS)}
    changes["covariance_factor"] = None
    return dataclasses.replace(prepared, rejected=empty_rejected(), **changes)


def _check(encoder, prepared):
    if not encoder.reconstructs:
        raise ValueError(f"{type(encoder).__name__} does not reconstruct spectra; 'specformer' and 'autoencoder' do")
    if encoder.n_pixels != prepared.flux.shape[1]:
        raise GridMismatchError(
            f"the encoder takes {encoder.n_pixels} pixels, the spectra have {prepared.flux.shape[1]}"
        )
    if encoder.origin is not None:
        encoder.origin.check(prepared)
    check_good_pixels(prepared, encoder.least_pixels)


def _passes(encoder, prepared, seed):
    """Mean of what the passes predict (N, P), and whether any of them did."""
    training = encoder.training
    encoder.eval()
    blocks = np.array_split(np.arange(len(prepared)), max(1, -(-len(prepared) // EMBED_ROWS)))
    parts = [_block(encoder, prepared, rows, seed) for rows in blocks]
    encoder.train(training)
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def _block(encoder, prepared, rows, seed):
    inputs = {name: value for name, value in encoder_inputs(prepared, rows).items() if not name.startswith("noise_")}
    generator = torch.Generator().manual_seed(seed)
    total, count = torch.zeros(inputs["flux"].shape), torch.zeros(inputs["flux"].shape)
    for _ in range(PASSES):
        found = encoder.reconstruct(**inputs, generator=generator)
        total += torch.where(found.counted, found.flux, 0).cpu()
        count += found.counted.cpu()
        if bool(found.counted.all()):
            break
    return (total / count.clamp(min=1)).numpy(), (count > 0).numpy()


def _left_over(prepared, flux, known):
    """Variance a pixel (P,) that the stated noise does not explain, by bisection of its logarithm."""
    good = known & ~prepared.mask & (prepared.ivar > 0)
    noise = np.where(good, 1 / np.where(good, prepared.ivar, 1), np.nan)
    square = np.where(good, (prepared.flux - flux).astype(np.float64) ** 2, np.nan)
    seen = good.any(axis=0)
    if not seen.any():
        return np.ones(len(seen))
    high = np.log(np.maximum(np.max(np.where(good, square, 0), axis=0) / HALF_NORMAL_MEDIAN, 1e-12) * 2)
    low = np.full(high.shape, np.log(1e-12))
    for _ in range(STEPS):
        middle = (low + high) / 2
        ratio = np.where(good, square / (noise + np.exp(middle)), np.nan)[:, seen]
        above = np.zeros(len(middle), bool)
        above[seen] = np.nanmedian(ratio, axis=0) > HALF_NORMAL_MEDIAN
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found = np.exp(high)
    return np.where(seen, found, found[seen].max())
