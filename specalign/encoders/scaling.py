"""Statistics a pixel over good pixels of training rows, kept as buffers of the encoder."""

import numpy as np
import torch
from torch import nn

from specalign.encoders.base import as_tensor

__all__ = ["PixelScaler", "spread_rows"]

BLOCK_ROWS = 1024  # rows that are converted to float64 at a time
SAMPLE_ROWS = 512  # rows for medians
WILD = 20.0  # spreads beyond which a value is a fault that no mask has caught


def spread_rows(n_rows, n_wanted):
    """Rows (n,) from the first to the last, since the first ones of a sorted table are no sample.

    Examples
    --------
    >>> from specalign.encoders.scaling import spread_rows
    >>> spread_rows(10, 4), spread_rows(2, 4)
    (array([0, 3, 6, 9]), array([0, 1]))
    """
    return np.linspace(0, n_rows - 1, min(n_rows, n_wanted)).astype(int)


class PixelScaler(nn.Module):
    """Standardise each pixel by its mean and spread over training rows; wild values are drawn in to 20 spreads.

    Attributes
    ----------
    mean, std : `~torch.Tensor` (P,)
        Of the good pixels.
    """

    def __init__(self, n_pixels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_pixels))
        self.register_buffer("std", torch.ones(n_pixels))

    def fit(self, flux, ivar, mask):
        """Compute the statistics from rows (N, P); a pixel that no row has keeps mean 0 and the typical spread."""
        if len(flux) == 0:
            raise ValueError("expected at least one training spectrum to fit the scaling of the input, got none")
        count, total, square = _moments(flux, ivar, mask, _limits(flux, ivar, mask))
        seen = count > 1
        count = count.clamp(min=1)
        mean = total / count
        variance = (square / count - mean**2).clamp(min=0)
        typical = variance[seen].median() if seen.any() else torch.ones((), dtype=torch.float64)
        # a pixel that hardly varies must not be blown up by the division
        floor = torch.where(typical > 0, 1e-4 * typical, 1.0)
        variance = torch.where(seen, variance, torch.where(typical > 0, typical, 1.0)).clamp(min=floor)
        self.mean.copy_(mean)
        self.std.copy_(variance.sqrt())

    def tame(self, flux):
        """The flux, with wild values drawn in."""
        reach = WILD * self.std
        return torch.minimum(torch.maximum(flux, self.mean - reach), self.mean + reach)

    def forward(self, flux):
        return ((flux - self.mean) / self.std).clamp(-WILD, WILD)


def _moments(flux, ivar, mask, limits):
    """Count, sum and sum of squares a pixel, in float64, block by block."""
    sums = torch.zeros(3, flux.shape[1], dtype=torch.float64)
    for start in range(0, len(flux), BLOCK_ROWS):
        block, good = _good(flux, ivar, mask, slice(start, start + BLOCK_ROWS))
        block = block.clamp(*limits).masked_fill(~good, 0)
        sums += torch.stack([good.sum(0), block.sum(0), (block**2).sum(0)])
    if not bool(sums.isfinite().all()):
        raise ValueError("good pixels of the training spectra hold NaN or Inf; mask them, or use prepared spectra")
    return sums


def _good(flux, ivar, mask, rows):
    good = ~as_tensor(mask[rows], torch.bool) & (as_tensor(ivar[rows]) > 0)
    return as_tensor(flux[rows]).masked_fill(~good, 0).to(torch.float64), good


def _limits(flux, ivar, mask):
    """Lowest and highest value (P,) that is no fault, from the median and the median deviation of some rows."""
    block, good = _good(flux, ivar, mask, spread_rows(len(flux), SAMPLE_ROWS))
    block = block.masked_fill(~good, torch.nan)
    middle = block.nanmedian(dim=0).values
    reach = WILD * (block - middle).abs().nanmedian(dim=0).values
    known = reach > 0
    return torch.where(known, middle - reach, -torch.inf), torch.where(known, middle + reach, torch.inf)
