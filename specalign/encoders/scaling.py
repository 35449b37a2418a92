"""Statistics a pixel over good pixels of training rows, kept as buffers of the encoder."""

import torch
from torch import nn

from specalign.encoders.base import as_tensor

__all__ = ["PixelScaler"]

BLOCK_ROWS = 1024  # rows that are converted to float64 at a time


class PixelScaler(nn.Module):
    """Standardise each pixel by its mean and spread over training rows.

    Attributes
    ----------
    mean, std : `~torch.Tensor` (P,)
        Of the good pixels.
    noise : `~torch.Tensor` (P,)
        Mean variance of the stated noise, in units of ``std ** 2``.
    """

    def __init__(self, n_pixels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_pixels))
        self.register_buffer("std", torch.ones(n_pixels))
        self.register_buffer("noise", torch.zeros(n_pixels))

    def fit(self, flux, ivar, mask):
        """Compute the statistics from rows (N, P); a pixel that no row has keeps mean 0 and the typical spread."""
        count, total, square, noise = _moments(flux, ivar, mask, self.mean.shape[0])
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
        self.noise.copy_(noise / count / variance)

    def forward(self, flux):
        return (flux - self.mean) / self.std


def _moments(flux, ivar, mask, n_pixels):
    """Count, sum, sum of squares and sum of noise variance a pixel, in float64, block by block."""
    if len(flux) == 0:
        raise ValueError("expected at least one training spectrum to fit the scaling of the input, got none")
    sums = torch.zeros(4, n_pixels, dtype=torch.float64)
    for start in range(0, len(flux), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block_ivar = as_tensor(ivar[rows])
        good = ~as_tensor(mask[rows], torch.bool) & (block_ivar > 0)
        block = as_tensor(flux[rows]).masked_fill(~good, 0).to(torch.float64)
        noise = torch.where(good, 1 / block_ivar.masked_fill(~good, 1), 0)
        sums += torch.stack([good.sum(0), block.sum(0), (block**2).sum(0), noise.sum(0)])
    if not bool(sums.isfinite().all()):
        raise ValueError("good pixels of the training spectra hold NaN or Inf; mask them, or use prepared spectra")
    return sums
