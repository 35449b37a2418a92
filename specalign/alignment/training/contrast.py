"""Alignment: encoders, objective and label head on batches of stars that several instruments saw."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from specalign.alignment.label_losses import log_label_loss
from specalign.alignment.training.loop import SpectraModule, check_numbers
from specalign.alignment.training.optimizer import parameter_groups, warm_cosine
from specalign.alignment.translation import Decoding

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
        if self.batch_size < 2:
            raise ValueError(f"batch_size: expected at least 2 stars, to tell one from another, got {self.batch_size}")


class AlignmentModule(SpectraModule):
    """Encoders, objective and label head, trained on batches of stars."""

    title = "aligning"

    def __init__(self, encoders, objective, head, data, settings, history, decoders):
        super().__init__(encoders, head, data, settings, history)
        self.objective, self.decoders = objective, torch.nn.ModuleDict(decoders)
        self.training_terms, self.validation_terms, self.seen = [], [], None

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

    @property
    def unjudged(self):
        return self.objective.unjudged

    def outputs(self, batch):
        """Unit vectors of each instrument's rows."""
        return {name: self.objective.unit(self._encode(name, rows)) for name, rows in batch.items()}

    def terms(self, batch, vectors):
        """The objective's terms and the logarithm of the labels' errors, each with its weight."""
        contrast, supervision = self.weights
        terms = self._objective_terms(batch, vectors) if contrast else {}
        weights = dict(self.objective.weights)
        if supervision:
            terms["labels"], weights["labels"] = self._label_error(batch, vectors), supervision
        kept = self.training_terms if self.training else self.validation_terms
        kept.append({name: float(term.detach()) for name, term in terms.items()})
        return {name: weights[name] * term for name, term in terms.items()}

    def _objective_terms(self, batch, vectors):
        stars = {name: rows["star"] for name, rows in batch.items()}
        return self.objective.terms(vectors, stars, self._decoding(batch, vectors) if self.decoders else None)

    def _decoding(self, batch, vectors):
        """Decoders on a batch; a vector's own spectrum is told by what came of a noisier one, in validation, too."""
        if not self.training and self.objective.reconstruct:
            vectors = self.outputs(self._augmented(batch, int(next(iter(batch.values()))["rows"][0])))
        return Decoding(self.decoders, self.data.decoded, batch, self.seen, vectors)

    def _augmented(self, batch, batch_number):
        noisy = super()._augmented(batch, batch_number)
        self.seen = {
            n: rows | ({"noise_basis": self._basis(n)} if n in self.bases else {}) for n, rows in noisy.items()
        }
        return noisy

    def _label_error(self, batch, vectors):
        targets = self.data.targets.to(self.device)
        shared = self.objective.shared(vectors)
        errors = [log_label_loss(self.head(shared[name]), targets[batch[name]["star"]]) for name in vectors]
        return torch.stack(errors).mean()

    def validated_decodings(self):
        """Vectors, stars and decoders of batches of the validation stars."""
        with torch.no_grad():
            for batch in self.val_dataloader():
                vectors = self.outputs(batch)
                stars = {name: rows["star"] for name, rows in batch.items()}
                yield vectors, stars, self._decoding(batch, vectors)

    @property
    def logit_scale(self):
        return float(self.objective.logit_scale.detach())

    def state(self):
        return f", logit_scale {self.logit_scale:.3g}"

    def epoch_row(self):
        row = {
            "recall@1": _recall(self.validated, self.objective) if self.validated else math.nan,
            "logit_scale": self.logit_scale,
            "learning_rate": self.optimizers().param_groups[0]["lr"],
        }
        for kind, kept in (("train", self.training_terms), ("val", self.validation_terms)):
            row |= {f"{kind}_{name}": value for name, value in _means(kept).items()}
            kept.clear()
        return row

    def optimizer_step(self, *arguments, **options):
        super().optimizer_step(*arguments, **options)
        self.objective.clamp()

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine; the objective's scalars have a learning rate of their own."""
        s = self.settings
        learned, head = list(self.objective.parameters()), [] if self.head is None else list(self.head.parameters())
        others = [*head, *self.decoders.parameters(), *(p for p in learned if p.ndim)]
        others = parameter_groups(others, s.weight_decay, s.learning_rate)
        # one number that sets the gradient of all others: it must arrive before them
        scalars = {
            "params": [p for p in learned if not p.ndim],
            "weight_decay": 0.0,
            "lr": SCALE_RATE * s.learning_rate,
        }
        steps = s.max_epochs * len(self._loader(self.data.training))
        return warm_cosine([*self.encoder_groups(), *others, scalars], steps)


def _means(kept):
    """The mean of each term over the batches that have it."""
    names = {name for terms in kept for name in terms}
    return {name: float(np.mean([terms[name] for terms in kept if name in terms])) for name in sorted(names)}


def _recall(validated, objective):
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
            nearest = objective.nearest(joined[query][0][known], joined[gallery][0])
            hits.append(float((joined[gallery][1][nearest] == joined[query][1][known]).double().mean()))
    return float(np.mean(hits)) if hits else math.nan
