"""The convolutional network of StarNet (Fabbro et al. 2018, MNRAS 475, 2978)."""

import torch
from torch import nn

from specalign.encoders.base import Encoder
from specalign.encoders.scaling import PixelScaler

__all__ = ["StarNet"]


class StarNet(Encoder):
    """Two convolutions, one pooling and three dense layers, in the published shape; uses flux and mask alone.

    Conv1d(1, 4, 8) - ReLU - Conv1d(4, 16, 8) - ReLU - MaxPool(4) - 256 - 128 - ``embed_dim``.  The input is
    standardised a pixel, so that a masked pixel is one that holds the mean.

    Parameters
    ----------
    n_pixels : int
        At least 18.
    embed_dim : int

    Examples
    --------
    >>> from specalign.encoders.starnet import StarNet
    >>> encoder = StarNet(n_pixels=7214, embed_dim=3)
    >>> sum(p.numel() for p in encoder.parameters())
    7406903
    """

    def __init__(self, n_pixels, embed_dim=128):
        super().__init__(n_pixels, embed_dim)
        pooled = (n_pixels - 14) // 4
        if pooled < 1:
            raise ValueError(f"n_pixels: expected at least 18 for two convolutions and a pooling, got {n_pixels}")
        self.scaler = PixelScaler(n_pixels)
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, 4, 8), nn.ReLU(), nn.Conv1d(4, 16, 8), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten()
        )
        self.dense = nn.Sequential(
            nn.Linear(16 * pooled, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, embed_dim)
        )

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Mean and standard deviation a pixel, over the good pixels of training rows (N, P)."""
        self.scaler.fit(flux, ivar, mask)

    def encode(self, flux, ivar, mask, snr):
        scaled = self.scaler(flux).masked_fill(mask, 0)
        return self.dense(self.convolutions(torch.unsqueeze(scaled, 1)))
