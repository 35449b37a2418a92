"""Alignment: encoders, objective and label head on batches of stars that several instruments saw."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from specalign.alignment.label_losses import log_label_loss
from specalign.alignment.training.loop import SpectraModule, check_numbers
from specalign.alignment.training.optimizer import parameter_groups, warm_cosine
from specalign.ops import topk_similarity

__all__ = ["AlignmentModule", "Settings"]

SCALE_RATE = 10.0  # learning rate of the objective's scalars, such as the logit scale, in units of that of the weights


@dataclass(frozen=True)
class Settings:
    """How to train; see `Aligner.fit`.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    noise: float
    label_weight: float
    pretrain_epochs: int
    patience: int
    seed: int

    def __post_init__(self):
        numbers = ("learning_rate", "weight_decay", "noise", "label_weight")
        check_numbers(self, ("max_epochs", "batch_size", "patience"), numbers)


class AlignmentModule(SpectraModule):
    """Encoders, objective and label head, trained on batches of stars."""

    title = "aligning"

    def __init__(self, encoders, objective, head, data, settings, history):
        super().__init__(encoders, head, data, settings, history)
        self.objective = objective

    @property
    def first_epoch(self):
        return self.settings.pretrain_epochs

    @property
    def weights(self):
        """Weights (contrast, labels) of the current epoch's loss."""
        if self.current_epoch < self.settings.pretrain_epochs:
            return 0.0, 1.0
        supervised = self.data.targets is not None and self.settings.pretrain_epochs == 0
        return 1.0, self.settings.label_weight if supervised else 0.0

    def outputs(self, batch):
        """Unit vectors of each instrument's rows."""
        return {name: functional.normalize(self._encode(name, rows), dim=1) for name, rows in batch.items()}

    def loss(self, batch, vectors):
        """The weighted sum of the contrast and the logarithm of the labels' errors."""
        contrast, supervision = self.weights
        stars = {name: rows["star"] for name, rows in batch.items()}
        total = contrast * self.objective(vectors, stars) if contrast else 0.0
        if not supervision:
            return total
        targets = self.data.targets.to(self.device)
        errors = [log_label_loss(self.head(vectors[name]), targets[stars[name]]) for name in vectors]
        return total + supervision * torch.stack(errors).mean()

    @property
    def logit_scale(self):
        return float(self.objective.logit_scale.detach())

    def state(self):
        return f", logit_scale {self.logit_scale:.3g}"

    def epoch_row(self):
        return {
            "recall@1": _recall(self.validated) if self.validated else math.nan,
            "logit_scale": self.logit_scale,
            "learning_rate": self.optimizers().param_groups[0]["lr"],
        }

    def optimizer_step(self, *arguments, **options):
        super().optimizer_step(*arguments, **options)
        self.objective.clamp()

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine; the objective's scalars have a learning rate of their own."""
        s = self.settings
        learned, head = list(self.objective.parameters()), [] if self.head is None else list(self.head.parameters())
        others = parameter_groups([*head, *(p for p in learned if p.ndim)], s.weight_decay, s.learning_rate)
        # one number that sets the gradient of all others: it must arrive before them
        scalars = {
            "params": [p for p in learned if not p.ndim],
            "weight_decay": 0.0,
            "lr": SCALE_RATE * s.learning_rate,
        }
        steps = s.max_epochs * len(self._loader(self.data.training))
        return warm_cosine([*self.encoder_groups(), *others, scalars], steps)


def _recall(validated):
    """Mean recall@1 over the ordered pairs of instruments; a hit is any row of the same star."""
    names = sorted({name for _, vectors, _ in validated for name in vectors})
    joined = {
        name: tuple(torch.cat([entry[k][name] for entry in validated if name in entry[1]]) for k in (1, 2))
        for name in names
    }
    hits = []
    for query, gallery in ((a, b) for a in names for b in names if a != b):
        known = torch.isin(joined[query][1], joined[gallery][1])
        if bool(known.any()):
            nearest = topk_similarity(joined[query][0][known], joined[gallery][0], 1).indices[:, 0]
            hits.append(float((joined[gallery][1][nearest] == joined[query][1][known]).double().mean()))
    return float(np.mean(hits)) if hits else math.nan
