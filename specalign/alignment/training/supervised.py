"""Labels: one encoder whose vectors, or a linear layer on them, are the scaled labels."""

from dataclasses import dataclass

import torch

from specalign.alignment.label_losses import LABEL_LOSSES
from specalign.alignment.training.loop import SpectraModule, check_numbers
from specalign.alignment.training.sizes import batch_of, epochs_of

__all__ = ["LabelModule", "LabelSettings"]

EPOCHS = 20  # at least, by default


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How to train; see `LabelRegressor.fit`.

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
    min_delta: float
    patience: int
    step_size: int
    gamma: float
    seed: int
    loss: str
    averaging: float

    @classmethod
    def for_stars(cls, n_stars, *, max_epochs, batch_size, patience, step_size, **others):
        """Settings for so many training stars; None = what they need."""
        batch_size = batch_of(n_stars, batch_size)
        max_epochs = epochs_of(n_stars, batch_size, max_epochs, EPOCHS)
        quarter = max(EPOCHS // 4, max_epochs // 4)
        return cls(
            max_epochs=max_epochs,
            batch_size=batch_size,
            patience=quarter if patience is None else patience,
            step_size=quarter if step_size is None else step_size,
            **others,
        )

    def __post_init__(self):
        numbers = ("learning_rate", "weight_decay", "noise", "min_delta", "gamma")
        check_numbers(self, ("max_epochs", "batch_size", "patience", "step_size"), numbers)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma: expected a factor above 0 and at most 1, got {self.gamma!r}")
        if self.loss not in LABEL_LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LABEL_LOSSES)}, got {self.loss!r}")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging: expected a share from 0 to below 1, got {self.averaging!r}")


class LabelModule(SpectraModule):
    """An encoder, and a head where its vectors are not the labels themselves.

    ``weights`` (S, L) are those of each star's labels in the loss, or None.
    """

    title = "learning labels"

    def __init__(self, encoders, head, data, settings, history, weights=None):
        super().__init__(encoders, head, data, settings, history)
        self.weights = weights

    @property
    def min_delta(self):
        return self.settings.min_delta

    @property
    def averaging(self):
        return self.settings.averaging

    def outputs(self, batch):
        """Scaled labels of each row."""
        vectors = {name: self._encode(name, rows) for name, rows in batch.items()}
        return vectors if self.head is None else {name: self.head(rows) for name, rows in vectors.items()}

    def terms(self, batch, outputs):
        """Mean loss of the labels that are known."""
        ((name, predicted),) = outputs.items()
        star = batch[name]["star"].cpu()
        target = self.data.targets[star].to(predicted.device)
        weight = None if self.weights is None else self.weights[star].to(predicted.device)
        return {"labels": LABEL_LOSSES[self.settings.loss](predicted, target, weight)}

    def finished(self, why):
        self.history.stopped = why

    def configure_optimizers(self):
        """Adam (decoupled decay where asked for) with a learning rate that falls in steps of epochs."""
        s = self.settings
        head = [] if self.head is None else list(self.head.parameters())
        groups = [{"params": list(e.parameters()), "lr": e.rate * s.learning_rate} for e in self.encoders.values()]
        groups += [{"params": head, "lr": s.learning_rate}] if head else []
        optimizer = torch.optim.AdamW(groups, weight_decay=s.weight_decay)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=s.step_size, gamma=s.gamma)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
