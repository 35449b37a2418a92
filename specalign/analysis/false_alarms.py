"""How unusual a score is among those of normal stars: p-values that hold for finite samples, and tails beyond them.

>>> from specalign.analysis.false_alarms import FEWEST_REFERENCE
>>> FEWEST_REFERENCE
20
"""

import math

import numpy as np

from specalign.display import Displayed
from specalign.exceptions import MatchError

__all__ = ["FEWEST_REFERENCE", "Tail", "p_values", "stars_needed"]

#: Normal scores without which a tail is not learned.
FEWEST_REFERENCE = 20
BODY = 0.9  # share of the reference scores that are the body; those above are the tail


def stars_needed(false_alarm):
    """How many normal stars a rate of false alarms needs: with n of them no p-value is below 1 / (n + 1).

    Parameters
    ----------
    false_alarm : float
        Above 0 and below 1.

    Raises
    ------
    ValueError
        The rate is not between 0 and 1.

    Examples
    --------
    >>> from specalign.analysis.false_alarms import stars_needed
    >>> stars_needed(0.01), stars_needed(0.5)
    (99, 1)
    """
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm: expected a rate above 0 and below 1, got {false_alarm!r}")
    return max(1, math.ceil(1 / false_alarm - 1e-9) - 1)


def p_values(scores, normal, own=None):
    """Share of normal scores that are at least as high, the new one counted: (1 + #{normal >= score}) / (n + 1).

    Where the new star and the n normal ones are exchangeable, the p-value is at most p with a probability of at most
    p, for every n (Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random World).

    Parameters
    ----------
    scores : (N,) float64
        Higher is more unusual; NaN is unknown.
    normal : (n,) float64
        Scores of stars that are known to be normal.
    own : (N,) float64, optional
        The score of the same star among the normal ones, which then does not count; NaN where it is not there.

    Returns
    -------
    (N,) float64
        NaN where the score is unknown.

    Examples
    --------
    >>> from specalign.analysis.false_alarms import p_values
    >>> p_values([5.0, 1.5, float("nan")], [1.0, 2.0, 3.0])
    array([0.25, 0.75,  nan])
    >>> p_values([3.0], [1.0, 2.0, 3.0], own=[3.0])
    array([0.33333333])
    """
    scores, ordered = np.asarray(scores, dtype=np.float64), np.sort(np.asarray(normal, dtype=np.float64))
    at_least, n = len(ordered) - np.searchsorted(ordered, scores, side="left"), np.full(scores.shape, len(ordered))
    if own is not None:
        own = np.asarray(own, dtype=np.float64)
        at_least, n = at_least - (own >= scores), n - np.isfinite(own)
    return np.where(np.isnan(scores), np.nan, (1 + at_least) / (n + 1))


class Tail(Displayed):
    """Scores as -log10 of the probability that a normal star's is as high, also beyond the highest one that was seen.

    Up to the 90th percentile of the reference the probability is the empirical one.  Above it, what exceeds the
    percentile is exponential with the mean excess of the reference, the generalised Pareto distribution of shape 0
    (Pickands 1975, Annals of Statistics 3, 119).  So scores of different kinds are in one unit, and extreme ones keep
    their order.  A p-value does not rest on this law: it is the rank among stars of its own.

    Parameters
    ----------
    scores : (n,) float64
        Of normal stars; NaN is left out.

    Raises
    ------
    MatchError
        Fewer than 20 of them are known.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis.false_alarms import Tail
    >>> tail = Tail(np.random.default_rng(0).exponential(size=20_000))
    >>> tail(np.array([np.log(2), np.log(1e3), np.log(1e9)])).round(1)  # 1 in 2, in a thousand, in a thousand million
    array([0.3, 3. , 9. ])
    """

    def __init__(self, scores):
        known = np.sort(np.asarray(scores, dtype=np.float64))
        known = known[np.isfinite(known)]
        if len(known) < FEWEST_REFERENCE:
            raise MatchError(
                f"expected scores of at least {FEWEST_REFERENCE} normal stars to learn what is usual, got {len(known)}"
            )
        self.n = len(known)
        self.body = known[: max(1, round(BODY * self.n))]
        self.threshold = float(self.body[-1])
        excess = known[len(self.body) :] - self.threshold
        self.excess = max(float(excess.mean()), 1e-9 * max(1.0, abs(self.threshold)))

    def _facts(self):
        return {
            "reference": f"{self.n} scores",
            "threshold": f"{self.threshold:.4g}",
            "mean excess": f"{self.excess:.3g}",
        }

    def __call__(self, scores):
        """-log10 of the probability (N,) float64; NaN where the score is unknown."""
        scores = np.asarray(scores, dtype=np.float64)
        share = -np.log10(1 - (np.arange(len(self.body)) + 1) * BODY / len(self.body))
        beyond = share[-1] + (scores - self.threshold) / (self.excess * math.log(10))
        return np.where(scores > self.threshold, beyond, np.interp(scores, self.body, share))
