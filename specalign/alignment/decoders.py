"""Vectors of a shared space to spectra of one instrument, with what is not known of them."""

from dataclasses import dataclass

import torch
from torch import nn

from specalign.display import Displayed
from specalign.encoders.base import positive
from specalign.encoders.factors import FactorAnalysis
from specalign.encoders.residual import ResidualBlock

__all__ = ["FactorDecoder", "Likelihood", "log_evidence"]

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -14.0, 2.0  # of a factor, whose spread over stars is 1


class FactorDecoder(nn.Module, Displayed):
    """A normal distribution of noise-free spectra for each vector.

    The spectra of an instrument are modelled as ``mean + basis @ factors`` (see
    ``specalign.encoders.factors``); a perceptron gives mean and variance of each factor.  It is trained
    by the likelihood of measured spectra under their own noise, see `log_evidence`: what a pixel's noise hides is
    neither learned nor punished, and the variance that it learns is that of the noise-free spectrum.

    Parameters
    ----------
    n_pixels, embed_dim : int
    sources : sequence of str
        Instruments whose vectors are decoded; how much a vector tells depends on where it comes from.
    axis_kind, axis_unit : str
        Of the pixels, as in `~specalign.PreparedSpectra`.
    n_factors, width, depth : int
        Factors, width of the residual stream, number of residual blocks.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.decoders import FactorDecoder
    >>> decoder = FactorDecoder(n_pixels=40, embed_dim=8, sources=["apogee", "nirspec"], n_factors=4)
    >>> spectra = decoder.spectra(torch.randn(3, 8), "apogee")
    >>> spectra["flux"].shape, spectra["factor_scale"].shape
    (torch.Size([3, 40]), torch.Size([3, 4]))
    """

    def __init__(
        self, n_pixels, embed_dim, sources, axis_kind="wavelength", axis_unit="Angstrom", n_factors=64, width=256,
        depth=2,
    ):  # fmt: skip
        super().__init__()
        self.n_pixels, self.embed_dim = positive("n_pixels", n_pixels), positive("embed_dim", embed_dim)
        self.sources, self.axis_kind, self.axis_unit = tuple(sources), axis_kind, axis_unit
        self.n_factors, self.width = positive("n_factors", n_factors), positive("width", width)
        self.depth = positive("depth", depth)
        self.factors = FactorAnalysis(n_pixels, n_factors)
        self.register_buffer("axis", torch.zeros(n_pixels, dtype=torch.float64))
        self.register_buffer("lsf_sigma", torch.zeros(n_pixels))
        self.register_buffer("calibration", torch.zeros(len(self.sources)))
        self.stem = nn.Linear(embed_dim + len(self.sources), width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * n_factors))
        # a decoder that has learned nothing gives the population
        nn.init.zeros_(self.head[1].weight)
        nn.init.zeros_(self.head[1].bias)

    def config(self):
        """JSON-like keywords that build a decoder of the same shape."""
        names = ("n_pixels", "embed_dim", "axis_kind", "axis_unit", "n_factors", "width", "depth")
        return {name: getattr(self, name) for name in names} | {"sources": list(self.sources)}

    def _facts(self):
        return {
            "spectra": f"{self.n_pixels} pixels in {self.n_factors} factors",
            "vectors": f"{self.embed_dim} dimensions, of {', '.join(self.sources)}",
            "parameters": f"{sum(p.numel() for p in self.parameters()):,}",
        }

    def forward(self, vectors, source):
        """Mean and logarithm of the variance (n, K) of the factors.

        Parameters
        ----------
        vectors : (n, D) `~torch.Tensor`
        source : str
            The instrument of which they are.
        """
        number = torch.tensor(self.sources.index(source), device=vectors.device)
        which = nn.functional.one_hot(number, len(self.sources)).to(vectors).expand(len(vectors), -1)
        x = self.stem(torch.cat([vectors, which], dim=1))
        for block in self.blocks:
            x = block(x)
        mean, log_variance = self.head(x).chunk(2, dim=1)
        return mean, log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def error(self, vectors, source, likelihood, extra=0.0):
        """Minus the logarithm of the evidence (n,) of measured spectra, over that of the population, a factor.

        0 is what is reached without looking at the vectors; -1 where a factor is known, on average, a nat better.

        Parameters
        ----------
        vectors : (n, D) `~torch.Tensor`
        source : str
        likelihood : Likelihood
            Of n spectra.
        extra : float
            Added to the logarithm of the variance.
        """
        mean, log_variance = self(vectors, source)
        gain = log_evidence(mean, log_variance + extra, likelihood) - likelihood.of_population
        return -gain.float() / self.n_factors

    @torch.no_grad()
    def spectra(self, vectors, source):
        """What the vectors say of noise-free spectra.

        Returns
        -------
        dict of str to `~torch.Tensor`
            flux and variance (n, P), and factor_scale (n, K): the part of the covariance that pixels share is
            ``basis @ diag(factor_scale**2) @ basis.T``.
        """
        mean, log_variance = self(vectors, source)
        scale = (0.5 * (log_variance + self.calibration[self.sources.index(source)])).exp()
        basis = self.factors.basis
        variance = scale**2 @ (basis**2).T + self.factors.excess
        return {"flux": self.factors.mean + mean @ basis.T, "variance": variance, "factor_scale": scale}

    @property
    def seen(self):
        """Pixels (P,) bool that enough training spectra have."""
        return (self.factors.basis != 0).any(dim=1)


@dataclass(frozen=True, repr=False)
class Likelihood(Displayed):
    """What measured spectra say of their factors z: exp(-z L z / 2 + b z), up to a constant.

    Attributes
    ----------
    precision : `~torch.Tensor` (n, K, K) float64
        L.
    information : `~torch.Tensor` (n, K) float64
        b.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.decoders import Likelihood
    >>> summary = {"rotation": torch.eye(2)[None], "precision": torch.ones(1, 2), "projection": torch.zeros(1, 2)}
    >>> whole = Likelihood.of(summary)
    >>> half = Likelihood(whole.precision / 2, whole.information / 2)
    >>> bool((whole.without(half).precision == half.precision).all())
    True
    """

    precision: torch.Tensor
    information: torch.Tensor

    @classmethod
    def of(cls, summary):
        """From rotation (n, K, K), precision and projection (n, K), as a factor analysis summarizes spectra."""
        rotation = summary["rotation"].double()
        precision = (rotation * summary["precision"].double()[:, None, :]) @ rotation.mT
        return cls(precision, (rotation @ summary["projection"].double()[:, :, None])[:, :, 0])

    def _facts(self):
        return {"spectra": f"{len(self.information)}", "factors": f"{self.information.shape[1]}"}

    @property
    def of_population(self):
        """The evidence (n,) where nothing but the population of the factors, a standard normal one, is known."""
        nothing = torch.zeros_like(self.information)
        return log_evidence(nothing, nothing, self)

    def __getitem__(self, rows):
        return Likelihood(self.precision[rows], self.information[rows])

    def without(self, part):
        """What is left of the spectra's information once a part of it was given away.

        A spectrum x with the noise s, with noise a e of the same kind added, has 1 / (1 + a^2) of the information; what
        is left is that of x - e / a, whose noise is independent of that of x + a e (Leiner et al. 2023, J. Am. Stat.
        Assoc. 120, 135).
        """
        return Likelihood(self.precision - part.precision, self.information - part.information)


def log_evidence(mean, log_variance, likelihood):
    """Logarithm of the probability (n,) of measured spectra whose factors are expected to be normal.

    The integral over the factors of N(mean, diag(variance)) times the likelihood: the noise of the spectrum, the
    correlated part included, and its masked pixels are accounted for exactly, without a sum over pixels.

    Parameters
    ----------
    mean, log_variance : (n, K) `~torch.Tensor`
    likelihood : Likelihood

    Returns
    -------
    `~torch.Tensor` (n,) float64
        Up to a constant that does not depend on mean and variance.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.decoders import Likelihood, log_evidence
    >>> says_one = Likelihood(torch.full((1, 1, 1), 3.0).double(), torch.full((1, 1), 3.0).double())
    >>> right, wrong = torch.ones(1, 1), torch.zeros(1, 1)
    >>> bool(log_evidence(right, wrong, says_one) > log_evidence(wrong, wrong, says_one))
    True
    """
    return _Evidence.apply(mean.double(), log_variance.double(), likelihood.precision, likelihood.information)


def _inverse(triangular):
    """Of lower triangular matrices (n, K, K)."""
    unit = torch.eye(triangular.shape[1], dtype=triangular.dtype, device=triangular.device)
    return torch.linalg.solve_triangular(triangular, unit.expand_as(triangular), upper=False)


class _Evidence(torch.autograd.Function):
    """With derivatives of its own: those of a Cholesky factor cost several times the factor."""

    @staticmethod
    def forward(ctx, mean, log_variance, precision, information):
        inverse = (-log_variance).exp()
        pull = (precision @ mean[:, :, None])[:, :, 0]
        whole = precision.clone()
        whole.diagonal(dim1=1, dim2=2).add_(inverse)
        cholesky = torch.linalg.cholesky(whole)
        root = _inverse(cholesky)  # root.mT @ root is the posterior's covariance, of which the diagonal is enough
        shift = (root.mT @ (root @ (information - pull)[:, :, None]))[:, :, 0]
        volume = cholesky.diagonal(dim1=1, dim2=2).log().sum(dim=1) + 0.5 * log_variance.sum(dim=1)
        by_variance = 0.5 * (inverse * (shift**2 + torch.linalg.vector_norm(root, dim=1) ** 2) - 1)
        ctx.save_for_backward(inverse * shift, by_variance)
        quadratic = (mean * (information - 0.5 * pull)).sum(dim=1)
        return quadratic + 0.5 * (shift * (information - pull)).sum(dim=1) - volume

    @staticmethod
    def backward(ctx, gradient):
        by_mean, by_variance = ctx.saved_tensors
        return gradient[:, None] * by_mean, gradient[:, None] * by_variance, None, None
