"""The objective {{ cookiecutter.plugin }}: what the training of an aligner makes small."""

import math

import torch
from specalign.alignment import Objective


class {{ cookiecutter.__class }}(Objective):
    """Of all rows of the other instrument, those of the same star are to be the most similar.

    Parameters
    ----------
    initial_scale, max_scale : float
        The multiplier of the cosines at the start, and its limit.

    Examples
    --------
    >>> from specalign.alignment import get_objective
    >>> objective, star = get_objective("{{ cookiecutter.plugin }}"), torch.arange(2)
    >>> loss = objective({"a": torch.eye(2), "b": torch.eye(2)}, {"a": star, "b": star})
    >>> bool(loss < 0.01)
    True
    """

    def __init__(self, initial_scale=10.0, max_scale=100.0):
        super().__init__()
        self.initial_scale, self.max_scale = float(initial_scale), float(max_scale)
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(initial_scale)))

    def config(self):
        """Every option of ``__init__``, JSON-like: a saved aligner builds the objective from it."""
        return {"initial_scale": self.initial_scale, "max_scale": self.max_scale}

    @property
    def logit_scale(self):
        """The multiplier (0-d tensor), which the history of a training keeps."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp(self):
        """Bring learned numbers back to their limits; called after every step."""
        self.log_scale.clamp_(max=math.log(self.max_scale))

    def forward(self, vectors, stars):
        """The mean over pairs of instruments that share a star, in both directions; 0 where there is none."""
        losses = [
            self.of_pair(vectors[one], vectors[other], stars[one], stars[other])
            for pair in self.pairs(vectors, stars)
            for one, other in (pair, pair[::-1])
        ]
        return torch.stack(losses).mean() if losses else self.nothing(vectors)

    def of_pair(self, x, y, stars_x, stars_y):
        """The loss (0-d) of the rows of one instrument among those of another."""
        # CHANGE: your loss. Rows of one star are never negatives of each other
        same = stars_x[:, None] == stars_y[None, :]
        logits = self.logit_scale * (x.float() @ y.float().T)
        others = torch.logsumexp(logits.masked_fill(same, -torch.inf), dim=1, keepdim=True)
        return torch.nn.functional.softplus(others - logits)[same].mean()
