"""Rows that know how uncertain they are: a normal distribution beside each vector.

A cosine gives a precise and a noisy spectrum of one direction the same neighbours.  Here each row has a mean and a
variance in a few dimensions, too, and two rows are compared by the likelihood that they are of one point: the mutual
likelihood score of Shi & Jain (2019, arXiv 1904.09658), trained by the contrast.
"""

import torch

from specalign.alignment.objectives import InfoNCE, checked_weight
from specalign.ops import mutual_likelihood_nce

__all__ = ["MutualLikelihood"]


class MutualLikelihood(InfoNCE):
    """`InfoNCE` of the vectors, and of normal distributions beside them, which know how uncertain each row is.

    Embeddings then have the columns ``latent_mean`` and ``latent_variance``. Searches
    (`~specalign.analysis.search.search`) and `~specalign.analysis.metrics.retrieval` order the candidates that cosines
    find by `specalign.ops.mutual_likelihood`.

    Parameters
    ----------
    latent : int
        How many of the encoders' dimensions are means, a quarter of them at most; as many are for variances, and the
        others are the vector.
    likelihood : float
        Weight of the contrast of the distributions.
    initial_scale, max_scale : float
        See `InfoNCE`.

    Raises
    ------
    ValueError
        The number is not a positive integer, or the weight is negative or not finite.

    Examples
    --------
    >>> from specalign.alignment.likelihood import MutualLikelihood
    >>> objective = MutualLikelihood()
    >>> objective.n_shared(128), objective.n_latent(128), objective.weights
    (104, 12, {'contrast': 1.0, 'likelihood': 1.0})
    """

    def __init__(self, latent=12, likelihood=1.0, initial_scale=15.5, max_scale=200.0):
        super().__init__(initial_scale, max_scale)
        if isinstance(latent, bool) or not isinstance(latent, int) or latent < 1:
            raise ValueError(f"latent: expected a number of dimensions, at least 1, got {latent!r}")
        self.latent, self.likelihood = latent, checked_weight("likelihood", likelihood)

    @property
    def weights(self):
        return {"contrast": 1.0, "likelihood": self.likelihood}

    def config(self):
        return super().config() | {"latent": self.latent, "likelihood": self.likelihood}

    def terms(self, vectors, stars, decoding=None):
        found = {name: self.distribution(rows) for name, rows in vectors.items()}
        losses = [
            mutual_likelihood_nce(*found[a], *found[b], stars[a], stars[b]) for a, b in self.pairs(vectors, stars)
        ]
        likelihood = torch.stack(losses).mean() if losses else self.nothing(vectors)
        return super().terms(vectors, stars, decoding) | {"likelihood": likelihood}
