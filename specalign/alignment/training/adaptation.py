"""Adaptation: one encoder of a trained space on few stars, while everything else of the space stays."""

import math
from dataclasses import dataclass

import torch

from specalign.alignment.label_losses import log_label_loss
from specalign.alignment.training.loop import SpectraModule, check_numbers
from specalign.alignment.training.optimizer import warm_cosine
from specalign.alignment.training.sizes import batch_of
from specalign.alignment.training.updates import METHODS, update_parameters

__all__ = ["AdaptationModule", "AdaptationSettings"]

STEPS = 300  # by default
#: Learning rate and decay towards the start: with less decay, or larger steps, three spectra do harm.
DEFAULTS = {"low_rank": (3e-4, 300.0), "head": (3e-4, 300.0), "full": (1e-4, 1000.0)}


@dataclass(frozen=True, kw_only=True)
class AdaptationSettings:
    """How to train; see `specalign.alignment.adapt`.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    method: str
    rank: int
    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    noise: float
    label_weight: float
    averaging: float
    patience: int
    seed: int

    @classmethod
    def for_stars(cls, n_stars, *, method, max_epochs, batch_size, learning_rate, weight_decay, patience, **others):
        """Settings for so many training stars; None = what they need."""
        rate, decay = DEFAULTS.get(method, (0.0, 0.0))
        batch_size = batch_of(n_stars, batch_size)
        max_epochs = math.ceil(STEPS / math.ceil(n_stars / batch_size)) if max_epochs is None else max_epochs
        return cls(
            method=method,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=rate if learning_rate is None else learning_rate,
            weight_decay=decay if weight_decay is None else weight_decay,
            patience=max(1, max_epochs // 2) if patience is None else patience,
            **others,
        )

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {self.method!r}")
        numbers = ("learning_rate", "weight_decay", "noise", "label_weight")
        check_numbers(self, ("rank", "max_epochs", "batch_size", "patience"), numbers)
        if self.learning_rate * self.weight_decay >= 1:
            raise ValueError(
                f"weight_decay: expected less than {1 / self.learning_rate:g}, one over the learning rate, got "
                f"{self.weight_decay:g}"
            )


class AdaptationModule(SpectraModule):
    """An encoder with changes of its weights, an objective and a label head that are frozen.

    ``partners`` are vectors (N, D) of other instruments, with all their dimensions, and the stars (N,) that they belong
    to: all of them are compared with every batch.
    """

    title = "adapting"
    keeps_outputs = False

    def __init__(self, encoders, objective, head, data, settings, history, partners):
        super().__init__(encoders, head, data, settings, history)
        self.objective, self.partners = objective, partners

    @property
    def averaging(self):
        return self.settings.averaging

    @property
    def unjudged(self):
        return self.objective.unjudged

    def outputs(self, batch):
        """Unit vectors of each row."""
        return {name: self.objective.unit(self._encode(name, rows)) for name, rows in batch.items()}

    def terms(self, batch, vectors):
        """The contrast with the partners and the logarithm of the labels' errors, weighted as in an alignment."""
        ((name, own),) = vectors.items()
        star = batch[name]["star"]
        supervision = self._label_error(self.objective.shared(vectors)[name], star)
        return self._contrast(name, own, star) | {"labels": self.settings.label_weight * supervision}

    def _label_error(self, own, star):
        if self.data.targets is None:
            return own.sum() * 0
        return log_label_loss(self.head(own), self.data.targets.to(self.device)[star])

    def _contrast(self, name, own, star):
        """Weighted terms, each the mean over partners; those are not compared with each other, since they stay."""
        found = [
            self.objective.terms({name: own, other: vectors.to(self.device)}, {name: star, other: of.to(self.device)})
            for other, (vectors, of) in self.partners.items()
        ]
        weights, names = self.objective.weights, found[0] if found else ()
        return {term: weights[term] * torch.stack([terms[term] for terms in found]).mean() for term in names}

    def finished(self, why):
        self.history.stopped = why

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine; the decay is one of changes, and so leads to the start."""
        s = self.settings
        ((_, encoder),) = self.encoders.items()
        decayed, others = update_parameters(encoder)
        rate = encoder.rate * s.learning_rate
        groups = [
            {"params": decayed, "weight_decay": s.weight_decay, "lr": rate},
            {"params": others, "weight_decay": 0.0, "lr": rate},
        ]
        return warm_cosine(groups, s.max_epochs * len(self._loader(self.data.training)))
