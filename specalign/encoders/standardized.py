"""Flux in units in which stars differ by about one, what each pixel is worth there, and the way back.

>>> from specalign.encoders.standardized import KINDS, RECIPE, STATISTICS
>>> KINDS, STATISTICS, len(RECIPE)
(('pixel', 'spectrum'), 4, 4)
"""

from dataclasses import dataclass

import torch
from torch import nn

from specalign.display import Displayed
from specalign.encoders.scaling import PixelScaler

__all__ = ["KINDS", "RECIPE", "STATISTICS", "Reconstruction", "Standardized", "Standardizer", "reconstruction_loss"]

KINDS = ("pixel", "spectrum")
STATISTICS = 4  # numbers that are kept of a whole spectrum
RECIPE = (
    "A pixel is used where it is not bad and ivar > low_weight * (lower median of ivar over pixels that are not bad).",
    "f = clip(flux, scaler.mean - 20 scaler.std, scaler.mean + 20 scaler.std), with the tensors standardizer.scaler.*.",
    "statistics = [mean of f, log10 of its standard deviation (at least 1e-6), log10(snr) - 1.5, share of used "
    "pixels], over the used pixels, the standard deviation divided by their number.",
    "z = (f - centre) / scale and weight = 1 / (1 + 1 / (ivar scale^2)), both 0 in pixels that are not used; "
    'standardize = "pixel": centre = scaler.mean, scale = scaler.std; "spectrum": mean and standard deviation of f.',
)
LEAST_SPREAD = 1e-6  # of a spectrum's flux: one of equal pixels has no spread to divide by


@dataclass(frozen=True, repr=False)
class Standardized(Displayed):
    """Spectra in standard units.

    Attributes
    ----------
    values : `~torch.Tensor` (n, P)
        (flux - centre) / scale; 0 in pixels that do not count.
    weight : `~torch.Tensor` (n, P)
        Share of a pixel's variance that is not noise: 1 without noise, 1/2 where the noise is as large as what stars
        differ by, 0 in pixels that do not count.
    statistics : `~torch.Tensor` (n, 4)
        Mean and log10 of the standard deviation of the flux, log10 of the S/N less 1.5, share of good pixels.
    centre, scale : `~torch.Tensor` (n, P) or (1, P) or (n, 1)

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.standardized import Standardized
    >>> one = torch.ones(1, 3)
    >>> Standardized(one, one, torch.zeros(1, 4), centre=one, scale=0.1 * one).flux(2 * one)
    tensor([[1.2000, 1.2000, 1.2000]])
    """

    values: torch.Tensor
    weight: torch.Tensor
    statistics: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor

    def flux(self, values):
        """Values (n, P) in standard units as flux."""
        return self.centre + self.scale * values


@dataclass(frozen=True, repr=False)
class Reconstruction(Displayed):
    """What an encoder makes of spectra that it saw in part, or through a bottleneck.

    Attributes
    ----------
    flux : `~torch.Tensor` (n, P)
    scale : `~torch.Tensor` (n, P)
        What stars differ by in a pixel: errors count in these units where the noise is smaller.
    counted : `~torch.Tensor` (n, P) bool
        Pixels that are predicted, and not copied from what the encoder saw.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.standardized import Reconstruction
    >>> found = Reconstruction(torch.ones(2, 3), torch.full((2, 3), 0.1), torch.ones(2, 3, dtype=torch.bool))
    >>> found.flux.shape, int(found.counted.sum())
    (torch.Size([2, 3]), 6)
    """

    flux: torch.Tensor
    scale: torch.Tensor
    counted: torch.Tensor


def reconstruction_loss(found, flux, ivar, mask):
    """Mean squared error (n,) of each row over the predicted pixels that are good, weighted by the inverse variance.

    A pixel's error is divided by its variance and by what stars differ by there, added: noise-free pixels would
    otherwise count without limit.  1 is what the mean spectrum reaches, 0 a perfect reconstruction of noise-free
    spectra; rows without such a pixel give 0.

    Parameters
    ----------
    found : Reconstruction
    flux, ivar, mask : (n, P) `~torch.Tensor`

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.standardized import Reconstruction, reconstruction_loss
    >>> row = torch.ones(1, 4)
    >>> found = Reconstruction(row + 0.2, 0.1 * row, torch.tensor([[True, True, True, False]]))
    >>> reconstruction_loss(found, row, 100 * row, torch.tensor([[False, False, True, False]]))
    tensor([2.0000])
    """
    counted = found.counted & ~mask & (ivar > 0)
    variance = 1 / torch.where(counted, ivar, 1) + found.scale**2
    error = torch.where(counted, (found.flux - torch.where(counted, flux, 0)) ** 2 / variance, 0)
    return error.sum(dim=1) / counted.sum(dim=1).clamp(min=1)


class Standardizer(nn.Module, Displayed):
    """Standard units a pixel, or a spectrum.

    Parameters
    ----------
    n_pixels : int
    kind : {"pixel", "spectrum"}
        Subtract and divide by mean and spread of each pixel over training spectra, or of each spectrum over its own
        pixels.
    low_weight : float
        Pixels whose inverse variance is below this share of their spectrum's median do not count.

    Raises
    ------
    ValueError
        Another kind, or a share that is not between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.standardized import Standardizer
    >>> standardizer = Standardizer(3, "spectrum")
    >>> flux, mask = torch.tensor([[0.9, 1.0, 1.1]]), torch.zeros(1, 3, dtype=torch.bool)
    >>> standardizer(flux, torch.full((1, 3), 1e8), mask, torch.tensor([1e4])).values
    tensor([[-1.2247, 0.0000, 1.2247]])
    """

    def __init__(self, n_pixels, kind="pixel", low_weight=1e-3):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"standardize: expected one of {', '.join(KINDS)}, got {kind!r}")
        if not 0 <= low_weight < 1:
            raise ValueError(f"low_weight: expected a share from 0 to below 1, got {low_weight!r}")
        self.kind, self.low_weight = kind, float(low_weight)
        self.scaler = PixelScaler(n_pixels)

    def _facts(self):
        low = f"below {self.low_weight:g} of the median inverse variance"
        return {"standard units": f"of each {self.kind}", "pixels": str(len(self.scaler.mean)), "left out": low}

    def fit(self, flux, ivar, mask):
        """Mean and spread of each pixel over training rows (N, P)."""
        self.scaler.fit(flux, ivar, mask)

    def forward(self, flux, ivar, mask, snr):
        """Standardized rows of clean tensors, as `Encoder.checked` gives them."""
        good = ~mask & (ivar > self.low_weight * _median(ivar, ~mask))
        flux = self.scaler.tame(flux)
        statistics, mean, spread = _statistics(flux, good, snr)
        by_pixel = self.kind == "pixel"
        centre, scale = (self.scaler.mean[None], self.scaler.std[None]) if by_pixel else (mean, spread)
        noise = 1 / (torch.where(good, ivar, 1) * scale**2)
        weight = torch.where(good, 1 / (1 + noise), 0)
        return Standardized(((flux - centre) / scale).masked_fill(~good, 0), weight, statistics, centre, scale)


def _median(values, good):
    """Of the good pixels of each row (n, 1); 0 where there is none."""
    return torch.where(good, values, torch.nan).nanmedian(dim=1, keepdim=True).values.nan_to_num(0.0)


def _statistics(flux, good, snr):
    """What a whole spectrum is like (n, 4), and the mean and standard deviation (n, 1) of its good pixels."""
    count = good.sum(dim=1, keepdim=True).clamp(min=1)
    mean = flux.masked_fill(~good, 0).sum(dim=1, keepdim=True) / count
    variance = ((flux - mean) ** 2).masked_fill(~good, 0).sum(dim=1, keepdim=True) / count
    spread = variance.sqrt().clamp(min=LEAST_SPREAD)
    share = good.float().mean(dim=1, keepdim=True)
    statistics = torch.cat([mean, torch.log10(spread), torch.log10(snr)[:, None] - 1.5, share], dim=1)
    return statistics, mean, spread
