"""A residual perceptron on what a spectrum says of a few factors: quick on a CPU, and hard to beat."""

import torch
from torch import nn

from specalign.encoders.base import Encoder, positive
from specalign.encoders.factors import FactorAnalysis
from specalign.encoders.residual import ResidualBlock
from specalign.encoders.scaling import PixelScaler

__all__ = ["ResidualMLP"]

MIN_VARIANCE = 1e-12


class ResidualMLP(Encoder):
    """Residual blocks over the posterior of a few factors, with log10 S/N as context.

    The factors are those of a noise-weighted factor analysis of the training spectra.  Their posterior mean and
    variance carry each spectrum's own noise, mask and gaps: a masked pixel adds nothing, a noisy spectrum has wide
    posteriors near the prior, and correlated noise counts as such.

    Parameters
    ----------
    n_pixels, embed_dim : int
    n_factors : int
        Linear directions that are kept of the pixels.
    width : int
        Of the residual stream; the hidden layers of the blocks are twice as wide.
    depth : int
        Number of residual blocks.
    dropout : float
        Share of hidden units that are dropped in training.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.mlp import ResidualMLP
    >>> encoder = ResidualMLP(n_pixels=50, embed_dim=8)
    >>> flux, mask = torch.ones(3, 50), torch.zeros(3, 50, dtype=torch.bool)
    >>> encoder(flux, torch.ones(3, 50), mask).shape
    torch.Size([3, 8])
    """

    summarizes = True
    recipe = (
        "f = clip(flux, scaler.mean - 20 scaler.std, scaler.mean + 20 scaler.std) - factors.mean, and 0 in bad pixels.",
        "w = ivar / (factors.scale + factors.excess * ivar); with B = factors.basis (n_pixels, n_factors): "
        "A = B^T diag(w) B, b = B^T (w f). Spectra that state correlated noise have its inverse covariance for it.",
        "C = inverse of (identity + A); m = C b; s = square root of the diagonal of C.",
        "x = stem.weight @ [m, 0.6 ln(max(s, 1e-12)), clip(log10(snr), -1, 4) - 1.5] + stem.bias.",
        "x = x + Linear4(gelu(Linear1(LayerNorm0(x)))) for each blocks.i, with the layers blocks.i.0, .1 and .4, the "
        "exact gelu and a LayerNorm with epsilon 1e-5.",
        "The vector is Linear(LayerNorm(x)) with head.1 and head.0.",
    )

    def __init__(self, n_pixels, embed_dim=128, n_factors=64, width=256, depth=3, dropout=0.0):
        super().__init__(n_pixels, embed_dim)
        self.n_factors, self.width = positive("n_factors", n_factors), positive("width", width)
        self.depth, self.dropout = positive("depth", depth), float(dropout)
        self.scaler = PixelScaler(n_pixels)
        self.factors = FactorAnalysis(n_pixels, n_factors)
        self.factors.basis.copy_(_cosines(n_pixels, n_factors))
        self.stem = nn.Linear(2 * n_factors + 1, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout=dropout) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embed_dim))

    def config(self):
        options = ("n_factors", "width", "depth", "dropout")
        return super().config() | {name: getattr(self, name) for name in options}

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Fit the factors to the good pixels of training rows (N, P), of which some thousands are used."""
        self.scaler.fit(flux, ivar, mask)
        flux, ivar, mask = self.clean(flux, ivar, mask)
        self.factors.fit(self._tamed(flux, mask), ivar, mask, noise_scale=noise_scale, noise_basis=noise_basis)

    def _tamed(self, flux, mask):
        return self.scaler.tame(flux).masked_fill(mask, 0)

    @torch.no_grad()
    def summarize(self, flux, ivar, mask, *, snr=None, noise_scale=None, noise_basis=None):
        """The likelihood of the factors, and the S/N, of each row."""
        flux, ivar, mask, snr = self.checked(flux, ivar, mask, snr)
        noise = {"noise_scale": noise_scale, "noise_basis": noise_basis}
        return self.factors.summarize(self._tamed(flux, mask), ivar, mask, **noise) | {
            "log_snr": torch.log10(snr).clamp(-1, 4)
        }

    def add_noise(self, summary, strength, generator):
        """The summary with up to ``strength`` times each row's own noise on top; the S/N falls with it."""
        return self.factors.add_noise(summary, strength, generator)

    def encode_summary(self, summary):
        mean, deviation = self.factors.posterior(summary)
        context = summary["log_snr"][:, None] - 1.5
        # the logarithm in units of about its own spread, like the mean
        x = self.stem(torch.cat([mean, 0.6 * torch.log(deviation.clamp(min=MIN_VARIANCE)), context], dim=1))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _cosines(n_pixels, n_factors):
    """Smooth directions (P, K), so that an encoder that was fitted to nothing yet sees the spectrum, too."""
    place = (torch.arange(n_pixels, dtype=torch.float32) + 0.5) / n_pixels
    return 0.1 * torch.cos(torch.pi * place[:, None] * torch.arange(n_factors))
