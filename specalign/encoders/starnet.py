"""The convolutional network of StarNet (Fabbro et al. 2018, MNRAS 475, 2978)."""

import itertools

import torch
from torch import nn

from specalign.encoders.base import Encoder, positive
from specalign.encoders.scaling import PixelScaler

__all__ = ["StarNet"]


class StarNet(Encoder):
    """Convolutions, one pooling and dense layers, by default in the published shape; uses flux and mask alone.

    Conv1d(1, 4, 8) - ReLU - Conv1d(4, 16, 8) - ReLU - MaxPool(4) - 256 - 128 - ``embed_dim``.  The input is
    standardised a pixel, so that a masked pixel is one that holds the mean.

    Parameters
    ----------
    n_pixels : int
        At least 18 in the published shape: what the convolutions leave must fill one pooling window.
    embed_dim : int
    filters : sequence of int
        Filters a convolution.
    filter_length, pool_length : int
        In pixels.
    hidden : sequence of int
        Widths of the dense layers before the last.

    Raises
    ------
    ValueError
        A size is not a positive integer, or there are too few pixels.

    Examples
    --------
    >>> from specalign.encoders.starnet import StarNet
    >>> encoder = StarNet(n_pixels=7214, embed_dim=3)
    >>> sum(p.numel() for p in encoder.parameters())
    7406903
    """

    uses_ivar = False
    recipe = (
        "x = clip((flux - scaler.mean) / scaler.std, -20, 20), and 0 in bad pixels; a single channel of n_pixels.",
        "x = relu(conv1d(x)) for each of convolutions.0, convolutions.2, ... (stride 1, no padding, not flipped).",
        "x = max-pooling of x over pool_length pixels without overlap; what is left at the end is dropped; then "
        "flattened, channel by channel.",
        "x = relu(W x + b) for each of dense.0, dense.2, ...; the last of them without relu gives the vector.",
    )

    def __init__(self, n_pixels, embed_dim=128, filters=(4, 16), filter_length=8, pool_length=4, hidden=(256, 128)):
        super().__init__(n_pixels, embed_dim)
        self.filters = [positive("filters", number) for number in filters]
        self.filter_length = positive("filter_length", filter_length)
        self.pool_length = positive("pool_length", pool_length)
        self.hidden = [positive("hidden", width) for width in hidden]
        lost = len(self.filters) * (filter_length - 1)
        pooled = (n_pixels - lost) // pool_length
        if pooled < 1:
            raise ValueError(
                f"n_pixels: expected at least {lost + pool_length} for {len(self.filters)} convolutions and a pooling, "
                f"got {n_pixels}"
            )
        self.scaler = PixelScaler(n_pixels)
        self.convolutions = nn.Sequential(*self._convolutions(), nn.MaxPool1d(pool_length), nn.Flatten())
        self.dense = nn.Sequential(*self._dense(pooled * [1, *self.filters][-1]))

    def _convolutions(self):
        for before, after in itertools.pairwise([1, *self.filters]):
            yield nn.Conv1d(before, after, self.filter_length)
            yield nn.ReLU()

    def _dense(self, n_inputs):
        for before, after in itertools.pairwise([n_inputs, *self.hidden]):
            yield nn.Linear(before, after)
            yield nn.ReLU()
        yield nn.Linear([n_inputs, *self.hidden][-1], self.embed_dim)

    def config(self):
        options = ("filters", "filter_length", "pool_length", "hidden")
        return super().config() | {name: getattr(self, name) for name in options}

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Mean and standard deviation a pixel, over the good pixels of training rows (N, P)."""
        self.scaler.fit(flux, ivar, mask)

    def encode(self, flux, ivar, mask, snr):
        scaled = self.scaler(flux).masked_fill(mask, 0)
        return self.dense(self.convolutions(torch.unsqueeze(scaled, 1)))
