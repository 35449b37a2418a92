"""A transformer over windows of pixels, after SpecCLIP's (Zhao et al. 2025, arXiv 2507.01939).

>>> from specalign.encoders.specformer import PUBLISHED
>>> PUBLISHED["window"], PUBLISHED["width"]
(20, 768)
"""

import torch
from torch import nn
from torch.nn import functional

from specalign.encoders.base import Encoder, positive
from specalign.encoders.residual import ResidualBlock
from specalign.encoders.standardized import RECIPE, STATISTICS, Reconstruction, Standardizer
from specalign.encoders.windows import PositionCode, hidden_windows, joined, uncovered, window_layout

__all__ = ["PUBLISHED", "SpecFormer"]

#: Options of the published encoder of LAMOST spectra (1462 pixels, 4000-5599 Angstrom).
PUBLISHED = {
    "window": 20, "stride": 10, "width": 768, "depth": 6, "heads": 6, "hidden_share": 60 / 145, "chunks": 6,
    "standardize": "spectrum",
}  # fmt: skip


class SpecFormer(Encoder):
    """Windows of pixels and one token of statistics through a transformer; a learned query pools them.

    Pixels that are masked, or worth next to nothing, are left out of their windows, windows without any other out of
    the attention.  What a pixel is worth shrinks its value towards that of the average star, and the windows carry it
    beside the values.  Windows know their wavelength, so that an encoder that was trained on one grid can go on with
    another (`on_grid`).  `specalign.pretrain` trains it to predict hidden windows, without labels.

    Parameters
    ----------
    n_pixels, embed_dim : int
    window, stride : int, optional
        In pixels; by default at most 32 windows that hardly overlap and leave no pixel out.  With others, what is left
        behind the last whole window is not used.
    width, depth, heads : int
        Of the transformer.
    hidden_share, chunks : float, int
        Share of the windows that are hidden while it is pre-trained, in so many chunks.
    standardize : {"pixel", "spectrum"}
        See `~specalign.encoders.standardized.Standardizer`.
    low_weight : float
        Pixels whose inverse variance is below this share of their spectrum's median are left out.

    Raises
    ------
    ValueError
        A size is not a positive integer, the window is longer than the spectrum, or ``heads`` does not divide
        ``width``.

    References
    ----------
    Zhao et al. 2025, arXiv 2507.01939; its shape is ``get_encoder("specformer", n_pixels=1462, **PUBLISHED)``, with
    attention that is scaled once.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.specformer import SpecFormer
    >>> encoder = SpecFormer(n_pixels=200, embed_dim=8, width=32, depth=1)
    >>> flux, mask = torch.ones(3, 200), torch.zeros(3, 200, dtype=torch.bool)
    >>> encoder(flux, torch.ones(3, 200), mask).shape
    torch.Size([3, 8])
    """

    reconstructs = True
    recipe = (
        *RECIPE,
        "Window k has the pixels k * stride ... k * stride + window - 1; windows that would go beyond the end are left "
        "out. It is seen where one of its pixels is used.",
        "token k = values([z * weight of its pixels, 0]) + worth.weight @ (1 - weight of its pixels).",
        "p = mean of log_wavelength over its pixels, phase = p * position.frequency, in double precision, "
        "[gain, place] = position.linear([sin(phase), cos(phase)]), halves; token k = token k * gain + place.",
        "The last token = values([mean of f, 0, ..., 0, log10 of its standard deviation]) + context(statistics).",
        "For each blocks.i: t = t + out(attention(qkv(norm(t)))), with multi-head attention (query, key and value are "
        "the thirds of qkv, heads are consecutive parts, scores are divided by sqrt(width / heads), tokens that are "
        "not seen are no keys); then t = t + Linear4(gelu(Linear1(LayerNorm0(t)))) with blocks.i.perceptron.0, .1, .4.",
        "x = attention of the one query head.query to [key, value] = halves of head.key_value(head.norm(t)), likewise; "
        "the vector is Linear3(gelu(Linear1(LayerNorm0(x)))) with the layers of head.mlp.",
    )
    rate = 0.25  # with 2e-3 the vectors of all stars became one

    def __init__(
        self,
        n_pixels,
        embed_dim=128,
        window=None,
        stride=None,
        width=128,
        depth=4,
        heads=4,
        hidden_share=0.4,
        chunks=6,
        standardize="pixel",
        low_weight=1e-3,
    ):
        super().__init__(n_pixels, embed_dim)
        self.window, self.stride = window_layout(n_pixels, window, stride)
        self.width, self.depth = positive("width", width), positive("depth", depth)
        self.heads = positive("heads", heads)
        if width % heads:
            raise ValueError(f"heads: expected a divisor of the width {width}, got {heads}")
        if not 0 < hidden_share < 1:
            raise ValueError(f"hidden_share: expected a share between 0 and 1, got {hidden_share!r}")
        self.hidden_share, self.chunks = float(hidden_share), positive("chunks", chunks)
        self.standardizer = Standardizer(n_pixels, standardize, low_weight)
        self.register_buffer("log_wavelength", torch.log(torch.linspace(1.0, 2.0, n_pixels)))
        self.position = PositionCode(2 * width)
        with torch.no_grad():
            self.position.linear.weight[width:] *= 0.1  # what all stars share must not hide what they differ in
        self.values, self.worth = nn.Linear(self.window + 1, width), nn.Linear(self.window, width, bias=False)
        self.context = nn.Linear(STATISTICS, width)
        self.blank = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.predicted = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.window))
        self.head = _Pool(width, heads, embed_dim)

    @property
    def least_pixels(self):
        """As many good pixels as a window has."""
        return self.window

    @property
    def n_windows(self):
        """Windows of a spectrum."""
        return (self.n_pixels - self.window) // self.stride + 1

    def config(self):
        options = ("window", "stride", "width", "depth", "heads", "hidden_share", "chunks")
        standardize = {"standardize": self.standardizer.kind, "low_weight": self.standardizer.low_weight}
        return super().config() | {name: getattr(self, name) for name in options} | standardize

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Mean and spread a pixel, over the good pixels of training rows (N, P)."""
        self.standardizer.fit(flux, ivar, mask)

    def fit_axis(self, wavelength):
        """Learn where the pixels (P,) are."""
        self.log_wavelength.copy_(torch.log(torch.as_tensor(wavelength, dtype=torch.float64)))

    def on_grid(self, spectral_axis):
        """An encoder with the same weights for spectra on another grid, whose scaling is to be fitted anew.

        Windows keep their number of pixels and know their new wavelengths.  Training fits the scaling of the input to
        the new spectra, as for an encoder that was never trained; `fit_scaler` does it without training.

        Parameters
        ----------
        spectral_axis : `~astropy.units.Quantity` (P,)
            In vacuum.

        Returns
        -------
        SpecFormer

        Raises
        ------
        ValueError
            The grid has fewer pixels than a window.

        Examples
        --------
        >>> import numpy as np
        >>> import astropy.units as u
        >>> from specalign import get_encoder
        >>> encoder = get_encoder("specformer", n_pixels=400, width=32, depth=1)
        >>> other = encoder.on_grid(np.linspace(16600, 31700, 300) * u.AA)
        >>> other.n_pixels, other.window == encoder.window
        (300, True)
        """
        wavelength = spectral_axis.to_value("Angstrom")
        with torch.random.fork_rng(devices=[]):
            other = type(self)(**self.config() | {"n_pixels": len(wavelength)})
        own = {name for name, _ in other.standardizer.named_buffers(prefix="standardizer")} | {"log_wavelength"}
        other.load_state_dict({k: v for k, v in self.state_dict().items() if k not in own}, strict=False)
        other.fit_axis(wavelength)
        return other.train(self.training)

    def tokens(self, flux, ivar, mask, snr=None):
        """Windows (n, T + 1, window + 1) of standardised flux, with 0 in bad pixels; the last one holds statistics.

        Its first number is the mean and its last one log10 of the standard deviation of the flux; the last number of
        all others is 0.
        """
        return self._tokens(self.standardizer(*self.checked(flux, ivar, mask, snr)))

    def _tokens(self, rows):
        windows = functional.pad((rows.values * rows.weight).unfold(1, self.window, self.stride), (0, 1))
        last = torch.zeros_like(windows[:, :1])
        last[:, 0, 0], last[:, 0, -1] = rows.statistics[:, 0], rows.statistics[:, 1]
        return torch.cat([windows, last], dim=1)

    def encode(self, flux, ivar, mask, snr):
        rows = self.standardizer(flux, ivar, mask, snr)
        tokens, seen = self._embedded(rows, None)
        return self.head(self._transformed(tokens, seen), seen)

    def reconstruct(self, flux, ivar, mask, *, snr=None, generator):
        """Windows that are hidden at random, predicted from the others.

        After a training the same windows are hidden of all rows, so that what is made of a row does not depend on its
        place among others.
        """
        flux, ivar, mask, snr = self.checked(flux, ivar, mask, snr)
        rows = self.standardizer(flux, ivar, mask, snr)
        n_draws = len(flux) if self.training else 1
        hidden = hidden_windows(n_draws, self.n_windows, self.hidden_share, self.chunks, generator)
        hidden = hidden.expand(len(flux), -1)
        tokens, seen = self._embedded(rows, hidden)
        values = self.predicted(self._transformed(tokens, seen)[:, :-1])
        found = rows.flux(joined(values, self.stride, self.n_pixels))
        counted = uncovered(~hidden, self.window, self.stride, self.n_pixels)
        return Reconstruction(found, rows.scale.expand_as(flux), counted)

    def _embedded(self, rows, hidden):
        """Tokens (n, T + 1, width), and which of them take part in the attention."""
        weight = rows.weight.unfold(1, self.window, self.stride)
        seen = (weight > 0).any(dim=2)
        tokens = self.values(self._tokens(rows))
        windows = tokens[:, :-1] + self.worth(1 - weight)
        if hidden is not None:
            windows, seen = torch.where(hidden[:, :, None], self.blank, windows), seen | hidden
        centre = self.log_wavelength.double().unfold(0, self.window, self.stride).mean(dim=1)
        gain, place = self.position(centre).chunk(2, dim=1)
        last = tokens[:, -1:] + self.context(rows.statistics)[:, None]
        return torch.cat([windows * gain + place, last], dim=1), functional.pad(seen, (0, 1), value=True)

    def _transformed(self, tokens, seen):
        for block in self.blocks:
            tokens = block(tokens, seen)
        return tokens


class _Block(nn.Module):
    """Self-attention among the tokens that are seen, and a perceptron; each on normalised tokens, and added."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm, self.perceptron = nn.LayerNorm(width), ResidualBlock(width, expansion=4)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        for last in (self.out, self.perceptron[-1]):  # begins as what changes nothing, and learns what to add
            nn.init.zeros_(last.weight)

    def forward(self, tokens, seen):
        query, key, value = self.qkv(self.norm(tokens)).chunk(3, dim=2)
        return self.perceptron(tokens + self.out(_attended(query, key, value, seen, self.heads)))


class _Pool(nn.Module):
    """A learned query attends to the tokens; a perceptron makes a vector of what it finds."""

    def __init__(self, width, heads, embed_dim):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.norm, self.key_value = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, embed_dim)
        )

    def forward(self, tokens, seen):
        key, value = self.key_value(self.norm(tokens)).chunk(2, dim=2)
        query = self.query.expand(len(tokens), -1, -1)
        return self.mlp(_attended(query, key, value, seen, self.heads)[:, 0])


def _attended(query, key, value, seen, heads):
    """What queries (n, Q, width) find among the tokens (n, T, width) that are seen; the library scales, once."""
    parts = (tokens.unflatten(2, (heads, -1)).transpose(1, 2) for tokens in (query, key, value))
    found = functional.scaled_dot_product_attention(*parts, attn_mask=seen[:, None, None])
    return found.transpose(1, 2).flatten(2)
