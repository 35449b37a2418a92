"""Losses that draw the vectors of one star together: thin modules over `specalign.ops`; one plugin a class."""

import itertools
import math

import torch
from torch import nn

from specalign.display import Displayed
from specalign.encoders.base import check_buffers, check_config
from specalign.exceptions import PluginError
from specalign.ops import info_nce, mutual_likelihood, sigmoid_loss, topk_similarity
from specalign.ops.likelihood import CANDIDATES
from specalign.plugins import check_options, load_plugin

__all__ = ["InfoNCE", "Objective", "Sigmoid", "check_objective", "get_objective"]

LEAST_SQUARE = 1e-12
LEAST_VARIANCE = 1e-4  # of a scale that training finds; keeps the ratio of a distance to it in range
DISTRIBUTION = (
    " The last {1} numbers, divided by the root mean square of all {2}, are a normal distribution: {0} numbers y of "
    "means m = {3}, and {0} numbers x of variances v = ln(1 + exp({4})) + {5:g}. How likely two rows are of one star: "
    "-1/2 sum((m - m')^2 / (v + v') + ln(2 pi (v + v'))){6}"
)

_CHECKED = set()  # classes whose contract was checked in this process


class Objective(nn.Module, Displayed):
    """What an `~specalign.Aligner` makes small; a subclass supplies `forward`.

    All state is in parameters and persistent buffers, and all options are in `config`: a saved aligner keeps the
    plugin's name, the ``config`` and the tensors, and nothing else.

    Examples
    --------
    The smallest one, the mean distance of the rows of one star:

    >>> import torch
    >>> from specalign.alignment.objectives import Objective
    >>> class Distance(Objective):
    ...     def forward(self, vectors, stars):
    ...         pairs = self.pairs(vectors, stars)
    ...         losses = [self.of_pair(vectors[a], vectors[b], stars[a], stars[b]) for a, b in pairs]
    ...         return torch.stack(losses).mean() if losses else self.nothing(vectors)
    ...
    ...     def of_pair(self, x, y, stars_x, stars_y):
    ...         same = stars_x[:, None] == stars_y[None, :]
    ...         return (1 - x @ y.T)[same].mean()
    >>> star = torch.arange(2)
    >>> float(Distance()({"a": torch.eye(2), "b": torch.eye(2)}, {"a": star, "b": star}))
    0.0
    """

    #: Weights of the spectra that vectors must tell, their own or another instrument's: `terms` then gets decoders.
    #: Objectives that have such are subclasses of `~specalign.alignment.decoding.Clip`.
    reconstruct = predict = 0.0
    #: Share of a vector's dimensions, the last ones, that are an instrument's own, and not compared.
    private = 0.0
    #: How many of the dimensions, an eighth of them at most, are means of a normal distribution, which each row then
    #: has beside its vector; as many more are for its variances.  They are the last ones, and not of the vector.
    latent = 0
    #: Names of the terms that do not say which epoch is the best one.
    unjudged = ()

    @property
    def decodes(self):
        """Whether decoders are to be trained."""
        return bool(self.reconstruct or self.predict)

    @property
    def weights(self):
        """Weight of each term of the loss (dict of str to float), in the order in which a history keeps them."""
        return {"contrast": 1.0}

    def terms(self, vectors, stars, decoding=None):
        """The terms of the loss by name, each 0-d, before they are weighted; takes what `forward` takes, and decoders.

        Parameters
        ----------
        vectors : dict of str to (n, D) `~torch.Tensor`
            With their private dimensions, and those of their normal distributions.
        stars : dict of str to (n,) int64 `~torch.Tensor`
        decoding : Decoding, optional
            ``decoding.other(target, source, vectors, rows)`` tells how badly vectors of one instrument tell rows of
            another's part of the batch, ``decoding.own(name)`` how badly they tell their own spectra.
        """
        return {"contrast": self(self.shared(vectors), stars)}

    def n_shared(self, dimensions):
        """How many of a vector's dimensions instruments share."""
        return self.n_vector(dimensions) - round(self.private * dimensions)

    def n_vector(self, dimensions):
        """How many of an encoder's dimensions are the vector, the private ones included."""
        return dimensions - 2 * self.n_latent(dimensions)

    def n_latent(self, dimensions):
        """How many dimensions the normal distributions have; 0 where there are none."""
        return min(self.latent, max(1, dimensions // 8)) if self.latent else 0

    def unit(self, raw):
        """What an encoder gives (n, D) as vectors whose shared and private parts have unit length each.

        The numbers of distributions are in units of the root mean square of all: encoders begin at sizes of their own.
        """
        ends = [self.n_shared(raw.shape[1]), self.n_vector(raw.shape[1])]
        shared, private, rest = raw.tensor_split(ends, dim=1)
        parts = [nn.functional.normalize(part, dim=1) for part in (shared, private) if part.shape[1]]
        if rest.shape[1]:
            parts.append(rest / (raw.square().mean(dim=1, keepdim=True) + LEAST_SQUARE).sqrt())
        return torch.cat(parts, dim=1)

    def shared(self, vectors):
        """The dimensions of the vectors that instruments share."""
        return {name: v[:, : self.n_shared(v.shape[1])] for name, v in vectors.items()}

    def distribution(self, vectors):
        """Means and variances (n, K) of the normal distributions of rows (n, D) as `unit` gives them."""
        mean, spread = vectors[:, self.n_vector(vectors.shape[1]) :].tensor_split(2, dim=1)
        return mean, nn.functional.softplus(spread) + LEAST_VARIANCE

    def nearest(self, queries, gallery):
        """Row (Q,) of a gallery that is most like each query, of rows as `unit` gives them.

        By cosine; where rows have normal distributions, by likelihood among those that cosines find.
        """
        rows, others = self.shared({"rows": queries, "others": gallery}).values()
        wanted = min(CANDIDATES, len(gallery)) if self.latent else 1
        cosine, found = topk_similarity(rows, others, wanted)
        if not self.latent:
            return found[:, 0]
        theirs = (values[found] for values in self.distribution(gallery))
        likelihood = self.likelihood_scale * (cosine - 1) + mutual_likelihood(*self.distribution(queries), *theirs)
        return found.gather(1, likelihood.argmax(dim=1, keepdim=True))[:, 0]

    def recipe(self, dimensions):
        """What another program has to do with what an encoder gives."""
        shared, latent = self.n_shared(dimensions), self.n_latent(dimensions)
        if shared == dimensions:
            vector = "Divide the encoder's vector by its Euclidean norm."
        else:
            vector = f"Divide the first {shared} numbers of the encoder's {dimensions} by their Euclidean norm."
        text = f"{vector} Vectors of all instruments are compared by their dot product."
        if private := self.n_vector(dimensions) - shared:
            text += f" The next {private}, divided by theirs, are the instrument's own."
        return text + (self.latent_recipe(latent, dimensions) if latent else "")

    def latent_recipe(self, latent, dimensions):
        """The part of `recipe` that tells of normal distributions."""
        return DISTRIBUTION.format(latent, 2 * latent, dimensions, "y", "x", LEAST_VARIANCE, ".")

    @property
    def likelihood_scale(self):
        """What multiplies (cosine - 1) in the logarithm of the likelihood of rows with distributions (0-d tensor).

        One over the variance, in each dimension, of the difference of two vectors of one star; 0 leaves vectors out.
        """
        return torch.zeros(())

    @property
    def logit_scale(self):
        """The multiplier of the cosines (0-d tensor), which the history of a training keeps; 1 where there is none."""
        return torch.ones(())

    @property
    def has_scale(self):
        """Whether the cosines have such a multiplier, which embeddings then carry."""
        return type(self).logit_scale is not Objective.logit_scale

    def config(self):
        """JSON-like keywords that build the same objective."""
        return {}

    def clamp(self):
        """Bring parameters back to their limits; called after every step of the optimizer."""

    def forward(self, vectors, stars):
        """The loss of a batch.

        Parameters
        ----------
        vectors : dict of str to (n, D) `~torch.Tensor`
            Of unit length, for each instrument that has rows in the batch; n may differ.
        stars : dict of str to (n,) int64 `~torch.Tensor`
            Equal for rows of one star, which are never negatives of each other.

        Returns
        -------
        `~torch.Tensor`
            0-d; 0, without gradient, where no two instruments share a star.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward(vectors, stars)")

    @staticmethod
    def pairs(vectors, stars):
        """Names of the pairs of instruments that share a star, in an order that is not that of the dict."""
        pairs = itertools.combinations(sorted(vectors), 2)
        return [(a, b) for a, b in pairs if bool(torch.isin(stars[a], stars[b]).any())]

    @staticmethod
    def nothing(vectors):
        """The loss (0-d) of a batch that says nothing: 0, to which every instrument's gradient is 0."""
        return torch.stack([rows.sum() * 0 for rows in vectors.values()]).sum()


class _Scaled(Objective):
    """The mean over pairs of instruments of a loss of scaled cosines; a subclass supplies `of_pair`."""

    def __init__(self, initial_scale, max_scale):
        super().__init__()
        if not 0 < initial_scale <= max_scale or not math.isfinite(max_scale):
            raise ValueError(f"expected 0 < initial_scale <= max_scale, got {initial_scale} and {max_scale}")
        self.initial_scale, self.max_scale = float(initial_scale), float(max_scale)
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))

    def config(self):
        return {"initial_scale": self.initial_scale, "max_scale": self.max_scale}

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

    def of_pair(self, x, y, stars_x, stars_y):
        """The loss (0-d) of two instruments' rows."""
        raise NotImplementedError

    def forward(self, vectors, stars):
        losses = [self.of_pair(vectors[a], vectors[b], stars[a], stars[b]) for a, b in self.pairs(vectors, stars)]
        return torch.stack(losses).mean() if losses else self.nothing(vectors)


class InfoNCE(_Scaled):
    """Symmetric InfoNCE over every pair of instruments that share a star, with a learned logit scale.

    The loss of CLIP (Radford et al. 2021, arXiv 2103.00020), in which all rows of one star are positives; see
    `specalign.ops.info_nce`.

    Parameters
    ----------
    initial_scale, max_scale : float
        The multiplier of the cosines at the start, and the clamp that keeps one hard pair from ruling the gradient.

    Raises
    ------
    ValueError
        Not ``0 < initial_scale <= max_scale``.

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
        super().__init__(initial_scale, max_scale)

    def of_pair(self, x, y, stars_x, stars_y):
        return info_nce(x, y, self.logit_scale, stars_x, stars_y)


class Sigmoid(_Scaled):
    """The sigmoid loss over every pair of instruments that share a star, with learned scale and bias.

    Each pair of rows is judged alone: one star or not (SigLIP; Zhai et al. 2023, arXiv 2303.15343, whose initial
    values are the defaults); see `specalign.ops.sigmoid_loss`.

    Parameters
    ----------
    initial_scale, max_scale : float
        The multiplier of the cosines at the start, and its clamp.
    initial_bias : float
        What is added to the scaled cosines at the start; below 0, since most pairs of rows are of two stars.

    Raises
    ------
    ValueError
        Not ``0 < initial_scale <= max_scale``, or a bias that is not finite.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.objectives import Sigmoid
    >>> objective, star = Sigmoid(), torch.arange(2)
    >>> loss = objective({"a": torch.eye(2), "b": torch.eye(2)}, {"a": star, "b": star})
    >>> round(float(loss.detach()), 3)  # log 2 for the pair of each star, whose logit is 10 - 10
    0.693
    """

    def __init__(self, initial_scale=10.0, max_scale=200.0, initial_bias=-10.0):
        super().__init__(initial_scale, max_scale)
        if not math.isfinite(initial_bias):
            raise ValueError(f"initial_bias: expected a finite number, got {initial_bias}")
        self.initial_bias = float(initial_bias)
        self.logit_bias = nn.Parameter(torch.tensor(self.initial_bias))

    def config(self):
        return super().config() | {"initial_bias": self.initial_bias}

    def of_pair(self, x, y, stars_x, stars_y):
        return sigmoid_loss(x, y, self.logit_scale, self.logit_bias, stars_x, stars_y)


def checked_weight(name, value):
    """The weight of a term as a float; raise `ValueError` unless it is finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected a finite weight of at least 0, got {value!r}")
    return float(value)


def get_objective(name, *, seed=0, **options):
    """Build an objective by its plugin's name.

    Parameters
    ----------
    name : str
        ``"info_nce"``, ``"sigmoid"`` or the name of an installed plugin.
    seed : int
        Of the initial parameters, where they are random; the global random state is left as it is.
    **options
        Keywords of the objective.

    Returns
    -------
    Objective

    Raises
    ------
    TypeError, ValueError
        An option is unknown or wrong.
    UnknownPluginError, PluginError
        No such objective, or it breaks the contract; the message names the clause.

    Examples
    --------
    >>> from specalign.alignment import get_objective
    >>> get_objective("sigmoid", max_scale=100).config()
    {'initial_scale': 10.0, 'max_scale': 100.0, 'initial_bias': -10.0}
    """
    factory = load_plugin("objectives", name)
    check_options("objectives", name, factory, (), options)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        objective = factory(**options)
        if type(objective) not in _CHECKED:
            check_objective(objective, name)
            _CHECKED.add(type(objective))
    return objective


def check_objective(objective, name):
    """Check the first clauses of an objective's contract; `specalign.testing.check_objective` holds it to all.

    Raises
    ------
    PluginError
        Names the clause that failed.

    Examples
    --------
    >>> from specalign.alignment.objectives import InfoNCE, check_objective
    >>> check_objective(InfoNCE(), "info_nce")
    """
    if not isinstance(objective, Objective):
        raise PluginError(f"the objective plugin {name!r} gives a {type(objective).__name__}, expected an Objective")
    check_config(objective, name)
    check_buffers(objective, name)
    vectors, star = torch.eye(3), torch.arange(3)
    with torch.no_grad():
        loss = objective({"a": vectors, "b": vectors}, {"a": star, "b": star})
    if not isinstance(loss, torch.Tensor) or loss.shape != () or not bool(loss.isfinite()):
        raise PluginError(f"{name!r}: forward on 3 stars must give a finite 0-d tensor, got {loss!r}")
