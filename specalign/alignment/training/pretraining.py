"""Self-supervision: one encoder that predicts what it does not see of a spectrum, or what lies behind its noise."""

import math
from dataclasses import dataclass

import torch

from specalign.alignment.training.loop import SpectraModule, check_numbers
from specalign.alignment.training.optimizer import warm_cosine
from specalign.alignment.training.sizes import batch_of, epochs_of
from specalign.encoders.standardized import Reconstruction, reconstruction_loss

__all__ = ["PretrainingModule", "PretrainingSettings"]

EPOCHS = 10  # at least, by default


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """How to train; see `specalign.pretrain`.

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
    patience: int
    seed: int

    @classmethod
    def for_stars(cls, n_stars, *, max_epochs, batch_size, patience, **others):
        """Settings for so many training stars; None = what they need."""
        batch_size = batch_of(n_stars, batch_size)
        max_epochs = epochs_of(n_stars, batch_size, max_epochs, EPOCHS)
        patience = math.ceil(max_epochs / 2) if patience is None else patience
        return cls(max_epochs=max_epochs, batch_size=batch_size, patience=patience, **others)

    def __post_init__(self):
        check_numbers(self, ("max_epochs", "batch_size", "patience"), ("learning_rate", "weight_decay", "noise"))


class PretrainingModule(SpectraModule):
    """One encoder; noise is added to what it sees, and not to what it is to give back."""

    title = "pre-training"
    keeps_outputs = False

    def outputs(self, batch):
        """Flux, scale and whether a pixel counts, stacked (n, 3, P)."""
        ((name, rows),) = batch.items()
        found = self.encoders[name].reconstruct(
            rows["flux"], rows["ivar"], rows["mask"], generator=self._hiding(rows["rows"])
        )
        return {name: torch.stack([found.flux, found.scale, found.counted.float()], dim=1)}

    def _hiding(self, rows):
        """What is hidden follows from the step, and in validation from the rows alone."""
        step = self.global_step + 1 if self.training else 0
        generator = torch.Generator(self.device)
        return generator.manual_seed((self.settings.seed * 1_000_003 + step * 10_007 + int(rows[0])) % 2**63)

    def terms(self, batch, outputs):
        """The mean over the rows of `~specalign.encoders.standardized.reconstruction_loss`."""
        ((name, rows),) = batch.items()
        flux, scale, counted = outputs[name].unbind(dim=1)
        found = Reconstruction(flux, scale, counted > 0)
        return {"reconstruction": reconstruction_loss(found, rows["flux"], rows["ivar"], rows["mask"]).mean()}

    def finished(self, why):
        self.history.stopped = why

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine."""
        return warm_cosine(self.encoder_groups(), self.settings.max_epochs * len(self._loader(self.data.training)))
