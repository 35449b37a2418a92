"""A convolutional encoder that knows how much each pixel tells: partial convolutions over Wiener weights."""

import torch
from torch import nn
from torch.nn import functional

from specalign.encoders.base import Encoder, positive
from specalign.encoders.scaling import PixelScaler


class PartialConv(nn.Module):
    """A strided convolution of weighted pixels, divided by the mean weight in its window plus a learned constant.

    With weights of 0 and 1, and without the constant, it is that of Liu et al. (2018, arXiv:1804.07723): what remains
    of a window stands for all of it. The constant draws a window that tells little towards 0, which is the mean star.

    Parameters
    ----------
    channels_in, channels_out, length, stride : int
        ``length`` of the filters, in pixels.
    """

    def __init__(self, channels_in, channels_out, length, stride):
        super().__init__()
        self.convolution = nn.Conv1d(channels_in, channels_out, length, stride, padding=length // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels_out, 1))
        self.log_prior = nn.Parameter(torch.tensor(-2.0))
        self.window = {"kernel_size": length, "stride": stride, "padding": length // 2}

    def forward(self, values, weight):
        """Values (n, channels_out, Q) and weights (n, 1, Q) of values (n, channels_in, P) with weights (n, 1, P)."""
        held = functional.avg_pool1d(weight, **self.window, count_include_pad=False)
        return self.convolution(values * weight) / (held + self.log_prior.exp()) + self.bias, held


class PartialConvNet(Encoder):
    """Partial convolutions, each followed by GELU, and two dense layers.

    The input is standardised a pixel. The weight of a pixel is that of a Wiener filter, s^2 / (s^2 + 1 / ivar) with the
    spread s of the training spectra in that pixel: near 1 where the noise is small against what differs between
    stars, near 0 where it is large, 0 where the pixel is masked.

    Parameters
    ----------
    n_pixels, embed_dim : int
    channels : sequence of int
        Filters of each convolution.
    length, stride : int
        Length and step of all filters, in pixels of the layer before.
    width : int
        Of the dense layer before the last.

    Examples
    --------
    >>> import torch
    >>> from specalign_partialconv import PartialConvNet
    >>> encoder = PartialConvNet(n_pixels=500, embed_dim=8)
    >>> flux, ivar = torch.ones(3, 500), torch.full((3, 500), 100.0)
    >>> encoder(flux, ivar, torch.zeros(3, 500, dtype=torch.bool)).shape
    torch.Size([3, 8])
    """

    def __init__(self, n_pixels, embed_dim=128, channels=(16, 32, 32), length=9, stride=4, width=256):
        super().__init__(n_pixels, embed_dim)
        self.channels = [positive("channels", number) for number in channels]
        self.length, self.stride = positive("length", length), positive("stride", stride)
        self.width = positive("width", width)
        self.scaler = PixelScaler(n_pixels)
        sizes = zip([1, *self.channels], self.channels, strict=False)
        self.layers = nn.ModuleList(PartialConv(*size, length, stride) for size in sizes)
        for _ in self.layers:
            n_pixels = (n_pixels + 2 * (length // 2) - length) // stride + 1
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(n_pixels * self.channels[-1], width), nn.GELU(), nn.Linear(width, embed_dim)
        )

    def config(self):
        """JSON-like keywords that build an encoder of the same shape."""
        options = ("channels", "length", "stride", "width")
        return super().config() | {name: getattr(self, name) for name in options}

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Mean and spread a pixel, over the good pixels of training rows (N, P)."""
        self.scaler.fit(flux, ivar, mask)

    def encode(self, flux, ivar, mask, snr):
        """Vectors (n, embed_dim); flux and ivar are 0 where mask is True."""
        information = self.scaler.std**2 * ivar
        weight = (information / (1 + information))[:, None]
        values = self.scaler(flux)[:, None]
        for layer in self.layers:
            values, weight = layer(values, weight)
            values = functional.gelu(values)
        return self.head(values)
