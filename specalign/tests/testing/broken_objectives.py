"""An objective that keeps every promise, and objectives that each break one."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from specalign.alignment.objectives import InfoNCE, Objective


class Sound(Objective):
    """Squared distances within stars against those to the other stars, with a learned scale, written out plainly."""

    def __init__(self, start=10.0, limit=100.0):
        super().__init__()
        self.start, self.limit = float(start), float(limit)
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)))

    def config(self):
        return {"start": self.start, "limit": self.limit}

    @property
    def logit_scale(self):
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp(self):
        self.log_scale.clamp_(max=math.log(self.limit))

    def of_pair(self, x, y, stars_x, stars_y):
        same = stars_x[:, None] == stars_y[None, :]
        logits = self.logit_scale * (x.float() @ y.float().T)
        others = logits.masked_fill(same, -torch.inf)
        negatives = torch.cat([torch.logsumexp(others, 1)[:, None].expand_as(logits)[same]])
        return -functional.logsigmoid(logits[same] - negatives).mean()

    def forward(self, vectors, stars):
        losses = [
            (
                self.of_pair(vectors[a], vectors[b], stars[a], stars[b])
                + self.of_pair(vectors[b], vectors[a], stars[b], stars[a])
            )
            / 2
            for a, b in self.pairs(vectors, stars)
        ]
        return torch.stack(losses).mean() if losses else self.nothing(vectors)


class ShortConfig(Sound):
    def config(self):
        return {"start": self.start}


class ForgottenBuffer(Sound):
    def __init__(self, start=10.0, limit=100.0):
        super().__init__(start, limit)
        self.register_buffer("factor", torch.ones(()), persistent=False)


class StateInAnAttribute(Sound):
    """What was learned is kept beside the parameters."""

    def __init__(self, start=10.0, limit=100.0):
        super().__init__(start, limit)
        self.learned = [nn.Parameter(torch.ones(()))]

    def forward(self, vectors, stars):
        return super().forward(vectors, stars) * self.learned[0].detach()


class NoCopies(Sound):
    def __deepcopy__(self, memo):
        return type(self)(start=self.start / 2)


class OneNumberARow(Sound):
    def forward(self, vectors, stars):
        return super().forward(vectors, stars)[None]


class UnusedParameter(Sound):
    def __init__(self, start=10.0, limit=100.0):
        super().__init__(start, limit)
        self.unused = nn.Parameter(torch.zeros(3))


class FirstRowCountsMore(Sound):
    def of_pair(self, x, y, stars_x, stars_y):
        return super().of_pair(x, y, stars_x, stars_y) * (1 + float(x[0, 0].detach()) ** 2)


class FirstInstrumentCountsMore(Sound):
    def forward(self, vectors, stars):
        return super().forward(vectors, stars) * (1 + 0.1 * len(next(iter(vectors.values()))))


class RowsArePairs(Sound):
    """As for images and their captions: all other rows are negatives, also those of the same star."""

    def of_pair(self, x, y, stars_x, stars_y):
        common = [s for s in stars_x.tolist() if s in stars_y.tolist()]
        rows_x = torch.tensor([stars_x.tolist().index(s) for s in dict.fromkeys(common)])
        rows_y = torch.tensor([stars_y.tolist().index(s) for s in dict.fromkeys(common)])
        rows_x, rows_y = (_with_repeats(rows, stars) for rows, stars in ((rows_x, stars_x), (rows_y, stars_y)))
        if len(rows_x) != len(rows_y):
            return super().of_pair(x, y, stars_x, stars_y)
        names = torch.arange(len(rows_x))
        return super().of_pair(x[rows_x], y[rows_y], names, names)


def _with_repeats(rows, stars):
    """Rows of stars that are in both, sorted by star."""
    return torch.tensor(sorted(r for s in stars[rows].tolist() for r in (stars == s).nonzero()[:, 0].tolist()))


class PushesVisitsApart(Sound):
    """Within an instrument, all rows repel each other."""

    def forward(self, vectors, stars):
        loss = super().forward(vectors, stars)
        if not self.pairs(vectors, stars):
            return loss
        return loss + 0.1 * torch.stack([(v @ v.T).exp().triu(1).mean() for v in vectors.values()]).mean()


class NeedsASharedStar(Sound):
    def forward(self, vectors, stars):
        if not self.pairs(vectors, stars):
            raise ValueError("no two instruments share a star")
        return super().forward(vectors, stars)


class NeedsEveryInstrument(Sound):
    names = None

    def forward(self, vectors, stars):
        if len(vectors) > 1:
            self.names = self.names or len(vectors)
            if len(vectors) != self.names:
                raise KeyError("an instrument is missing")
        return super().forward(vectors, stars)


class NeedsTwoStars(Sound):
    def forward(self, vectors, stars):
        # as a standardisation over the batch would
        scale = 1.0 if len(next(iter(vectors.values()))) > 1 else torch.nan
        return super().forward(vectors, stars) * scale


class UpsideDown(Sound):
    def forward(self, vectors, stars):
        return -super().forward(vectors, stars)


class FirstTwoOnly(Sound):
    def forward(self, vectors, stars):
        some = sorted(vectors)[:2]
        return super().forward({k: vectors[k] for k in some}, {k: stars[k] for k in some})


class OnePairIsEnough(Sound):
    @staticmethod
    def pairs(vectors, stars):
        return Objective.pairs(vectors, stars)[:1]


class NoClamp(Sound):
    def clamp(self):
        pass


class HalfSums(Sound):
    """Sums of half-precision numbers in half precision."""

    def of_pair(self, x, y, stars_x, stars_y):
        if x.dtype == torch.float32:
            return super().of_pair(x, y, stars_x, stars_y)
        return super().of_pair((8 * x).round() / 8, (8 * y).round() / 8, stars_x, stars_y)


class WritesToItsInput(Sound):
    def forward(self, vectors, stars):
        loss = super().forward(vectors, stars)
        for value in stars.values():
            value += 1
        return loss


class FollowsTheGlobalSeed(Sound):
    def forward(self, vectors, stars):
        return super().forward(vectors, stars) * (1 + 0.1 * (torch.initial_seed() % 7))


class MovesNumpysState(Sound):
    def forward(self, vectors, stars):
        np.random.random()  # noqa: NPY002
        return super().forward(vectors, stars)


class TakesAnything(Sound):
    def __init__(self, start=10.0, limit=100.0, **anything):
        super().__init__(start, limit)


class WrongGradient(Sound):
    """A loss of the right size, with a gradient that has nothing to do with it."""

    def forward(self, vectors, stars):
        if not self.pairs(vectors, stars):
            return self.nothing(vectors)
        loss = super().forward({name: value.detach() for name, value in vectors.items()}, stars)
        other = torch.stack([value[:, -1].float().mean() for value in vectors.values()]).sum()
        return loss + other - other.detach()


class LosesItsLimit(InfoNCE):
    """A loaded aligner would have another scale than the one that was saved."""

    def _load_from_state_dict(self, state, *arguments):
        super()._load_from_state_dict({key: value * 0 for key, value in state.items()}, *arguments)


class ThinnedByStrangers(Sound):
    """The mean over all pairs of instruments, also of those that share no star."""

    def forward(self, vectors, stars):
        n = len(vectors)
        return super().forward(vectors, stars) * (len(self.pairs(vectors, stars)) / max(n * (n - 1) / 2, 1))


class ThinnedByHistory(Sound):
    """The mean over as many pairs as there ever were."""

    most = 1

    def forward(self, vectors, stars):
        pairs = len(self.pairs(vectors, stars))
        self.most = max(self.most, pairs)
        return super().forward(vectors, stars) * (pairs / self.most)


class RootOfDistances(Sound):
    def of_pair(self, x, y, stars_x, stars_y):
        same = stars_x[:, None] == stars_y[None, :]
        distance = (x[:, None].float() - y[None].float()).square().sum(dim=2)[same].sqrt()
        return super().of_pair(x, y, stars_x, stars_y) + 0.01 * distance.mean()


class PlainExponentials(Sound):
    """Too large for float32 where the scale is at its limit and two vectors agree."""

    def of_pair(self, x, y, stars_x, stars_y):
        same = stars_x[:, None] == stars_y[None, :]
        weights = (self.logit_scale * (x.float() @ y.float().T)).exp()
        return -(weights / (weights + (weights * ~same).sum(dim=1, keepdim=True))).log()[same].mean()


class NewParameter(Sound):
    def clamp(self):
        self.log_scale = nn.Parameter(self.log_scale.detach().clamp(max=math.log(self.limit)))


# Every check that a class fails, and no other.
BROKEN = {
    ShortConfig: {"config_rebuilds"},
    ForgottenBuffer: {"state_is_saved"},
    StateInAnAttribute: {"state_is_saved"},
    LosesItsLimit: {"state_is_saved"},
    NoCopies: {"copies_are_equal"},
    OneNumberARow: {"loss_is_a_finite_number"},
    UnusedParameter: {"gradients_reach_vectors_and_parameters"},
    FirstRowCountsMore: {"order_of_rows_does_not_matter"},
    FirstInstrumentCountsMore: {"order_of_instruments_does_not_matter"},
    RowsArePairs: {"rows_of_one_star_are_never_negatives", "order_of_rows_does_not_matter"},
    PushesVisitsApart: {"rows_of_one_star_are_never_negatives"},
    NeedsASharedStar: {"no_shared_star_is_no_loss"},
    NeedsEveryInstrument: {"missing_instrument_is_no_failure"},
    NeedsTwoStars: {"one_star_is_no_failure"},
    UpsideDown: {"aligned_is_better_than_shuffled", "third_instrument_counts", "rows_of_one_star_are_never_negatives"},
    FirstTwoOnly: {"third_instrument_counts", "missing_instrument_is_no_failure"},
    OnePairIsEnough: {"third_instrument_counts"},
    NoClamp: {"parameters_are_clamped"},
    HalfSums: {"half_precision_is_close"},
    WritesToItsInput: {"input_is_untouched"},
    FollowsTheGlobalSeed: {"is_deterministic"},
    MovesNumpysState: {"is_deterministic"},
    ThinnedByStrangers: {"missing_instrument_is_no_failure"},
    ThinnedByHistory: {"missing_instrument_is_no_failure"},
    RootOfDistances: {"gradients_reach_vectors_and_parameters"},
    PlainExponentials: {"parameters_are_clamped"},
    NewParameter: {"parameters_are_clamped"},
    TakesAnything: {"unknown_options_are_refused"},
}
