"""The encoder {{ cookiecutter.plugin }}: spectra to vectors."""

import torch
from specalign.encoders import Encoder
from specalign.encoders.scaling import PixelScaler


class {{ cookiecutter.__class }}(Encoder):
    """A perceptron on standardised flux and its signal to noise.

    Parameters
    ----------
    n_pixels, embed_dim : int
    width : int
        Of the hidden layer.

    Examples
    --------
    >>> from specalign import get_encoder
    >>> encoder = get_encoder("{{ cookiecutter.plugin }}", n_pixels=50, embed_dim=8)
    >>> flux, mask = torch.ones(3, 50), torch.zeros(3, 50, dtype=torch.bool)
    >>> encoder(flux, torch.ones(3, 50), mask).shape
    torch.Size([3, 8])
    """

    # CHANGE: False where every good pixel counts the same, whatever its ivar
    uses_ivar = True

    def __init__(self, n_pixels, embed_dim=128, width=64):
        super().__init__(n_pixels, embed_dim)
        self.width = width
        self.scaler = PixelScaler(n_pixels)  # statistics in buffers, so that they are saved
        # CHANGE: your layers; the second half of the input says how well each pixel is known
        self.stem = torch.nn.Linear(2 * n_pixels, width)
        self.head = torch.nn.Linear(width, embed_dim)

    def config(self):
        """Every option of ``__init__``, JSON-like: a saved aligner builds the encoder from it."""
        return super().config() | {"width": self.width}

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Learn from training rows what does not need a gradient."""
        self.scaler.fit(flux, ivar, mask)

    def encode(self, flux, ivar, mask, snr):
        """Vectors of clean tensors: flux and ivar are 0 where mask is True, and snr is positive."""
        # CHANGE: your network
        scaled = self.scaler(flux).masked_fill(mask, 0)
        known = ivar.sqrt() * self.scaler.std
        weight = known / (1 + known)
        return self.head(torch.nn.functional.gelu(self.stem(torch.cat([scaled * weight, weight], dim=1))))
