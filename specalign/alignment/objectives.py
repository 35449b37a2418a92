"""Losses that draw the vectors of one star together: thin modules over `specalign.ops`."""

import itertools
import math

import torch
from torch import nn

from specalign.display import Displayed
from specalign.ops import info_nce

__all__ = ["InfoNCE", "label_loss"]


class InfoNCE(nn.Module, Displayed):
    """Symmetric InfoNCE over every pair of instruments, with a learned logit scale.

    Parameters
    ----------
    initial_scale, max_scale : float
        The multiplier of the cosines at the start, and the clamp that keeps one hard pair from ruling the gradient.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.objectives import InfoNCE
    >>> objective, star = InfoNCE(), torch.arange(2)
    >>> loss = objective({"a": torch.eye(2), "b": torch.eye(2)}, {"a": star, "b": star})
    >>> bool(loss < 0.01)
    True
    """

    def __init__(self, initial_scale=15.5, max_scale=200.0):
        super().__init__()
        if not 0 < initial_scale <= max_scale or not math.isfinite(max_scale):
            raise ValueError(f"expected 0 < initial_scale <= max_scale, got {initial_scale} and {max_scale}")
        self.max_scale = float(max_scale)
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))

    def extra_repr(self):
        """What torch prints between the parentheses."""
        return f"logit_scale={self.logit_scale.item():.4g}, max_scale={self.max_scale:g}"

    def _facts(self):
        return {"logit scale": f"{self.logit_scale.item():.4g}, at most {self.max_scale:g}"}

    @property
    def logit_scale(self):
        """The multiplier (0-d tensor), at most ``max_scale``."""
        return self.log_scale.clamp(max=math.log(self.max_scale)).exp()

    @torch.no_grad()
    def clamp(self):
        """Bring the parameter back to the limit, so that it does not wander where it has no gradient."""
        self.log_scale.clamp_(max=math.log(self.max_scale))

    def forward(self, vectors, stars):
        """Mean over the pairs of instruments that share a star.

        Parameters
        ----------
        vectors : dict of str to (n, D) `~torch.Tensor`
            Of unit length.
        stars : dict of str to (n,) int64 `~torch.Tensor`
            Equal for rows of one star.

        Returns
        -------
        `~torch.Tensor`
            0-d; 0, without gradient, where no two instruments share a star.
        """
        losses = [
            info_nce(vectors[a], vectors[b], self.logit_scale, stars[a], stars[b])
            for a, b in itertools.combinations(sorted(vectors), 2)
            if bool(torch.isin(stars[a], stars[b]).any())
        ]
        return torch.stack(losses).mean() if losses else next(iter(vectors.values())).sum() * 0


def label_loss(predicted, target, weight=None):
    """Mean squared error of scaled labels, over those that are known.

    Parameters
    ----------
    predicted, target : (n, L) `~torch.Tensor`
        NaN in ``target`` = unknown.
    weight : (n, L) `~torch.Tensor`, optional

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 where nothing is known.
    """
    known = torch.isfinite(target)
    difference = torch.where(known, predicted - torch.where(known, target, 0), 0)
    square = difference**2 if weight is None else weight * difference**2
    return square.sum() / known.sum().clamp(min=1)
