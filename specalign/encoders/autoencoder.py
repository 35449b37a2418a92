"""An autoencoder of residual perceptrons, after SpecCLIP's for Gaia XP (Zhao et al. 2025, arXiv 2507.01939).

>>> from specalign.encoders.autoencoder import PUBLISHED
>>> PUBLISHED["hidden"], PUBLISHED["bottleneck"]
(1290, 768)
"""

import torch
from torch import nn

from specalign.encoders.base import Encoder, positive
from specalign.encoders.residual import ResidualBlock
from specalign.encoders.standardized import RECIPE, STATISTICS, Reconstruction, Standardizer

__all__ = ["PUBLISHED", "AutoEncoder"]

#: Options of the published autoencoder of Gaia XP spectra (343 pixels).
PUBLISHED = {"hidden": 1290, "bottleneck": 768, "blocks": 2, "expansion": 3, "standardize": "spectrum"}
WIDEST = 3.0  # of log10 of a spectrum's standard deviation, so that a wild one stays finite


class AutoEncoder(Encoder):
    """Pixels and statistics through residual perceptrons into a bottleneck, and back; a perceptron makes the vector.

    `specalign.pretrain` trains it to give back the spectrum that it sees through noise, without labels.  Pixels that
    are masked, or worth next to nothing, hold the average star's value; what each pixel is worth is a second input.

    Parameters
    ----------
    n_pixels, embed_dim : int
    hidden : int
        Width of the residual stream.
    bottleneck : int
    blocks : int
        Residual blocks, before the bottleneck and behind it.
    expansion : int
        Width of a block's hidden layer over that of the stream.
    standardize : {"pixel", "spectrum"}
        See `~specalign.encoders.standardized.Standardizer`.
    low_weight : float
        Pixels whose inverse variance is below this share of their spectrum's median do not count.

    Raises
    ------
    ValueError
        A size is not a positive integer, or an option is out of its range.

    References
    ----------
    Zhao et al. 2025, arXiv 2507.01939; its shape, 345 - 1290 - 768 - 1290 - 345, is
    ``get_encoder("autoencoder", n_pixels=343, **PUBLISHED)``.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.autoencoder import AutoEncoder
    >>> encoder = AutoEncoder(n_pixels=50, embed_dim=8, hidden=32, bottleneck=4)
    >>> flux, mask = torch.ones(3, 50), torch.zeros(3, 50, dtype=torch.bool)
    >>> encoder(flux, torch.ones(3, 50), mask).shape
    torch.Size([3, 8])
    """

    reconstructs = True
    recipe = (
        *RECIPE,
        "x = stem([z * weight]) + worth.weight @ weight + context.weight @ statistics; with standardize = "
        '"spectrum" the first two statistics follow z * weight in the brackets.',
        "x = x + Linear4(gelu(Linear1(LayerNorm0(x)))) for each of encoder.0 ... encoder.(blocks - 1), with the layers "
        "encoder.i.0, .1 and .4, the exact gelu and a LayerNorm with epsilon 1e-5.",
        "code = Linear(LayerNorm(x)) with encoder.(blocks + 1) and encoder.(blocks).",
        "The vector is Linear3(gelu(Linear1(LayerNorm0(code)))) with the layers of head.",
    )

    def __init__(
        self,
        n_pixels,
        embed_dim=128,
        hidden=256,
        bottleneck=128,
        blocks=2,
        expansion=3,
        standardize="pixel",
        low_weight=1e-3,
    ):
        super().__init__(n_pixels, embed_dim)
        self.hidden, self.bottleneck = positive("hidden", hidden), positive("bottleneck", bottleneck)
        self.n_blocks, self.expansion = positive("blocks", blocks), positive("expansion", expansion)
        self.standardizer = Standardizer(n_pixels, standardize, low_weight)
        #: Mean and log10 of the standard deviation of a spectrum, which go through the bottleneck with it.
        self.n_moments = 2 if standardize == "spectrum" else 0
        n_numbers = n_pixels + self.n_moments
        self.stem, self.worth = nn.Linear(n_numbers, hidden), nn.Linear(n_pixels, hidden, bias=False)
        self.context = nn.Linear(STATISTICS, hidden, bias=False)
        self.encoder = nn.Sequential(*self._blocks(), nn.LayerNorm(hidden), nn.Linear(hidden, bottleneck))
        self.decoder = nn.Sequential(
            nn.Linear(bottleneck, hidden), *self._blocks(), nn.LayerNorm(hidden), nn.Linear(hidden, n_numbers)
        )
        self.head = nn.Sequential(
            nn.LayerNorm(bottleneck), nn.Linear(bottleneck, 2 * bottleneck), nn.GELU(),
            nn.Linear(2 * bottleneck, embed_dim),
        )  # fmt: skip

    def _blocks(self):
        return (ResidualBlock(self.hidden, self.expansion) for _ in range(self.n_blocks))

    def config(self):
        options = {"hidden": self.hidden, "bottleneck": self.bottleneck, "blocks": self.n_blocks}
        standardize = {"standardize": self.standardizer.kind, "low_weight": self.standardizer.low_weight}
        return super().config() | options | {"expansion": self.expansion} | standardize

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Mean and spread a pixel, over the good pixels of training rows (N, P)."""
        self.standardizer.fit(flux, ivar, mask)

    def encode(self, flux, ivar, mask, snr):
        return self.head(self._code(self.standardizer(flux, ivar, mask, snr)))

    def _code(self, rows):
        values = torch.cat([rows.values * rows.weight, rows.statistics[:, : self.n_moments]], dim=1)
        return self.encoder(self.stem(values) + self.worth(rows.weight) + self.context(rows.statistics))

    def reconstruct(self, flux, ivar, mask, *, snr=None, generator=None):
        """Every pixel, through the bottleneck."""
        flux, ivar, mask, snr = self.checked(flux, ivar, mask, snr)
        rows = self.standardizer(flux, ivar, mask, snr)
        values, moments = self.decoder(self._code(rows)).split([self.n_pixels, self.n_moments], dim=1)
        if self.n_moments:
            found = moments[:, :1] + 10 ** moments[:, 1:].clamp(max=WIDEST) * values
        else:
            found = rows.flux(values)
        return Reconstruction(found, rows.scale.expand_as(flux), torch.ones_like(mask))
