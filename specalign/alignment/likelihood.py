"""Rows that know how uncertain they are: a normal distribution beside each vector.

A cosine gives a precise and a noisy spectrum of one direction the same neighbours.  Here each row has a mean and a
variance in a few dimensions, too, and two rows are compared by the likelihood that they are of one point: the mutual
likelihood score of Shi & Jain (2019, arXiv 1904.09658), trained by the contrast.

Vectors are part of that likelihood, with one variance for all rows, which is learned last: where few stars or few steps
have not told the distributions anything yet, the order is that of the cosines; where they have, the variance is large.
"""

import math

import torch
from torch import nn

from specalign.alignment.objectives import DISTRIBUTION, LEAST_VARIANCE, InfoNCE, checked_weight
from specalign.ops import mutual_likelihood_nce

__all__ = ["MutualLikelihood"]

LARGEST = 7.0  # of the logarithms of the factors; a thousand times what trainings find
FACTORS = (
    " - s (1 - c), where c is the dot product of their vectors. a = exp(log_mean), b = exp(log_spread) and "
    "s = exp(log_cosine) are of objective.safetensors."
)


class MutualLikelihood(InfoNCE):
    """`InfoNCE` of the vectors, and of normal distributions beside them, which know how uncertain each row is.

    Embeddings then have the columns ``latent_mean`` and ``latent_variance``. Searches
    (`~specalign.analysis.search.search`) and `~specalign.analysis.metrics.retrieval` order the candidates that cosines
    find by ``likelihood_scale`` (cosine - 1) + `specalign.ops.mutual_likelihood`, the logarithm of the likelihood that
    two rows are of one point.

    Parameters
    ----------
    latent : int
        How many of the encoders' dimensions are means, an eighth of them at most; as many are for variances, and the
        others are the vector.
    likelihood : float
        Weight of the contrast of the distributions.
    initial_scale, max_scale : float
        See `InfoNCE`; the scale of the cosines within the likelihood begins at the same value.

    Raises
    ------
    ValueError
        The number is not a positive integer, or the weight is negative or not finite.

    Examples
    --------
    >>> from specalign.alignment.likelihood import MutualLikelihood
    >>> objective = MutualLikelihood()
    >>> objective.n_shared(128), objective.n_latent(128), objective.weights
    (104, 12, {'contrast': 1.0, 'likelihood': 1.0, 'joint': 1.0})
    """

    #: Few stars teach distributions to be too sure, which costs likelihood long before vectors have learned.
    unjudged = ("likelihood", "joint")

    def __init__(self, latent=12, likelihood=1.0, initial_scale=15.5, max_scale=200.0):
        super().__init__(initial_scale, max_scale)
        if isinstance(latent, bool) or not isinstance(latent, int) or latent < 1:
            raise ValueError(f"latent: expected a number of dimensions, at least 1, got {latent!r}")
        self.latent, self.likelihood = latent, checked_weight("likelihood", likelihood)
        self.log_mean, self.log_spread = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.log_cosine = nn.Parameter(torch.tensor(math.log(initial_scale)))

    @property
    def weights(self):
        return {"contrast": 1.0, "likelihood": self.likelihood, "joint": 1.0}

    def config(self):
        return super().config() | {"latent": self.latent, "likelihood": self.likelihood}

    @property
    def likelihood_scale(self):
        """Learned: few steps leave it near that of the cosines, and the distributions of many stars make it small."""
        return self.log_cosine.exp()

    @torch.no_grad()
    def clamp(self):
        """Bring all learned numbers back to their limits."""
        super().clamp()
        for factor in (self.log_mean, self.log_spread, self.log_cosine):
            factor.clamp_(-LARGEST, LARGEST)

    def distribution(self, vectors):
        mean, spread = vectors[:, self.n_vector(vectors.shape[1]) :].tensor_split(2, dim=1)
        return self.log_mean.exp() * mean, nn.functional.softplus(self.log_spread.exp() * spread) + LEAST_VARIANCE

    def latent_recipe(self, latent, dimensions):
        return DISTRIBUTION.format(latent, 2 * latent, dimensions, "a y", "b x", LEAST_VARIANCE, FACTORS)

    def terms(self, vectors, stars, decoding=None):
        rows = {name: self.distribution(part) for name, part in vectors.items()}
        losses = [mutual_likelihood_nce(*rows[a], *rows[b], stars[a], stars[b]) for a, b in self.pairs(vectors, stars)]
        likelihood = torch.stack(losses).mean() if losses else self.nothing(vectors)
        terms = super().terms(vectors, stars, decoding) | {"likelihood": likelihood}
        return terms | {"joint": self._joint(self.shared(vectors), rows, stars)}

    def _joint(self, vectors, rows, stars):
        """The contrast of distributions and cosines together, which teaches nothing but how much cosines count."""
        vectors = {name: part.detach() for name, part in vectors.items()}
        rows = {name: tuple(part.detach() for part in parts) for name, parts in rows.items()}
        losses = [
            mutual_likelihood_nce(
                *rows[a], *rows[b], stars[a], stars[b], logits=self.likelihood_scale * (vectors[a] @ vectors[b].T - 1)
            )
            for a, b in self.pairs(vectors, stars)
        ]
        return torch.stack(losses).mean() if losses else self.nothing(vectors)
