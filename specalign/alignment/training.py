"""The training loop: a Lightning module, its callbacks, and a trainer that leaves nothing behind.

The only file that imports Lightning.
"""

import contextlib
import logging
import math
import random
import time
import warnings
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn import functional
from tqdm.auto import tqdm

from specalign.alignment.augment import add_noise
from specalign.alignment.objectives import label_loss
from specalign.data.loading import StarLoader
from specalign.exceptions import NonFiniteLossError
from specalign.ops import topk_similarity

__all__ = ["Settings", "TrainingData", "train"]

SCALE_RATE = 10.0  # learning rate of the logit scale, in units of that of the weights


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
        for name in ("max_epochs", "batch_size", "patience"):
            if not isinstance(getattr(self, name), (int, np.integer)) or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive integer, got {getattr(self, name)!r}")
        for name in ("learning_rate", "weight_decay", "noise", "label_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a finite number of at least 0, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class TrainingData:
    """Prepared spectra, the stars that their rows belong to, and which stars train.

    ``sources`` are what the encoders read: prepared spectra, or the summaries of all rows.  ``targets`` (S, L) float32
    are standardised labels of the stars, NaN = unknown, or None.
    """

    prepared: dict
    sources: dict
    index: object
    training: np.ndarray
    validation: np.ndarray
    targets: torch.Tensor | None

    def names(self, batch, bad):
        """Spectrum identifiers of some rows of a batch: dict of instrument to boolean (n,)."""
        return [
            f"{name}: {self.prepared[name].spectrum_id[row]}"
            for name in batch
            for row in batch[name]["rows"][bad[name].cpu()].tolist()
        ]


class AlignmentModule(pl.LightningModule):
    """Encoders, objective and label head, trained on batches of stars."""

    def __init__(self, encoders, objective, head, data, settings, history):
        super().__init__()
        self.encoders, self.objective, self.head = torch.nn.ModuleDict(encoders), objective, head
        self.data, self.settings, self.history = data, settings, history
        self.bases = {
            name: torch.from_numpy(np.asarray(p.covariance_factor[1], np.float32))
            for name, p in data.prepared.items()
            if p.covariance_factor is not None
        }
        self.train_losses, self.validated, self.batch = [], [], None

    def _loader(self, stars, epoch=0, shuffle=False):
        s = self.settings
        return StarLoader(
            self.data.sources, self.data.index, stars, s.batch_size, seed=s.seed, epoch=epoch, shuffle=shuffle
        )

    def train_dataloader(self):
        """Of the current epoch, so that its order does not depend on how the training came here."""
        return self._loader(self.data.training, self.current_epoch, shuffle=True)

    def val_dataloader(self):
        return self._loader(self.data.validation)

    @property
    def weights(self):
        """Weights (contrast, labels) of the current epoch's loss."""
        if self.current_epoch < self.settings.pretrain_epochs:
            return 0.0, 1.0
        supervised = self.data.targets is not None and self.settings.pretrain_epochs == 0
        return 1.0, self.settings.label_weight if supervised else 0.0

    def vectors(self, batch):
        """Unit vectors of each instrument's rows."""
        return {name: functional.normalize(self._encode(name, rows), dim=1) for name, rows in batch.items()}

    def _encode(self, name, rows):
        encoder = self.encoders[name]
        if encoder.summarizes:
            return encoder.encode_summary(rows)
        noise = {"noise_scale": rows.get("noise_scale"), "noise_basis": self._basis(name)}
        return encoder(rows["flux"], rows["ivar"], rows["mask"], **noise)

    def loss(self, batch, vectors):
        """The weighted sum of the contrast and the labels' error."""
        contrast, supervision = self.weights
        stars = {name: rows["star"] for name, rows in batch.items()}
        total = contrast * self.objective(vectors, stars) if contrast else 0.0
        if not supervision:
            return total
        targets = self.data.targets.to(self.device)
        errors = [label_loss(self.head(vectors[name]), targets[stars[name]]) for name in vectors]
        return total + supervision * torch.stack(errors).mean()

    def training_step(self, batch, batch_number):
        self.batch = batch
        vectors = self.vectors(self._augmented(batch, batch_number))
        loss = self.loss(batch, vectors)
        if not bool(torch.isfinite(loss)):
            self._stop("loss", {name: ~torch.isfinite(v).all(dim=1) for name, v in vectors.items()})
        self.train_losses.append(float(loss.detach()))
        return loss

    def _augmented(self, batch, batch_number):
        s = self.settings
        generator = torch.Generator(self.device)
        generator.manual_seed(((s.seed * 100_003 + self.current_epoch) * 100_003 + batch_number) % 2**63)
        return {name: self._noisy(name, rows, generator) for name, rows in sorted(batch.items())}

    def _noisy(self, name, rows, generator):
        strength = self.settings.noise
        if strength and self.encoders[name].summarizes:
            return self.encoders[name].add_noise(rows, strength, generator)
        return add_noise(rows, strength, generator, self._basis(name))

    def _basis(self, name):
        return self.bases[name].to(self.device) if name in self.bases else None

    def on_before_optimizer_step(self, optimizer):
        """Refuse a gradient that is not finite before it reaches the parameters."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(norm)):
            none = {name: torch.zeros(len(rows["rows"]), dtype=torch.bool) for name, rows in self.batch.items()}
            self._stop("gradient", none)
        torch.nn.utils.clip_grads_with_norm_(self.parameters(), 1.0, norm)

    def _stop(self, what, bad):
        rows = self.data.names(self.batch, bad)
        found = f"{len(rows)} rows have no finite vector: {', '.join(rows[:5])}"
        if not rows:
            first = {name: torch.arange(len(entry["rows"])) < 2 for name, entry in self.batch.items()}
            found = f"every vector is finite; the batch begins with {', '.join(self.data.names(self.batch, first))}"
        raise NonFiniteLossError(
            f"the {what} is not finite at step {self.global_step} (epoch {self.current_epoch}), learning rate "
            f"{self.optimizers().param_groups[0]['lr']:.3g}, logit_scale {self.logit_scale:.3g}; {found}. "
            f"No parameter was changed by this step: look at these spectra, or lower the learning rate"
        )

    @property
    def logit_scale(self):
        return float(self.objective.logit_scale.detach())

    def on_train_batch_end(self, *arguments):
        self.objective.clamp()

    def validation_step(self, batch, batch_number):
        vectors = self.vectors(batch)
        stars = {name: rows["star"] for name, rows in batch.items()}
        self.validated.append((float(self.loss(batch, vectors)), vectors, stars))

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine; no decay of biases, norms and the logit scale."""
        s = self.settings
        inner = [p for part in (self.encoders, self.head) if part is not None for p in part.parameters()]
        groups = [
            {"params": [p for p in inner if p.ndim > 1], "weight_decay": s.weight_decay},
            {"params": [p for p in inner if p.ndim <= 1], "weight_decay": 0.0},
            # one number that sets the gradient of all others: it must arrive before them
            {"params": list(self.objective.parameters()), "weight_decay": 0.0, "lr": SCALE_RATE * s.learning_rate},
        ]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=s.learning_rate)
        steps = max(1, s.max_epochs * len(self._loader(self.data.training)))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _schedule(progress, warm_up=0.05, last=0.01):
    """Share of the learning rate at a share of the training."""
    if progress < warm_up:
        return (progress + 1e-3) / warm_up
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))


class Recorder(Callback):
    """Write an epoch into the history, keep the best weights, and stop when the validation loss rests."""

    def __init__(self, progress):
        self.bar, self.progress = None, progress
        self.best_loss, self.best_state, self.since = math.inf, None, 0

    def on_train_start(self, trainer, module):
        self.bar = tqdm(total=trainer.max_epochs, unit="epoch", disable=not self.progress, desc="aligning")

    def on_train_epoch_start(self, trainer, module):
        self.started = time.perf_counter()
        module.train_losses.clear()

    def on_validation_epoch_start(self, trainer, module):
        module.validated.clear()

    def on_train_epoch_end(self, trainer, module):
        validated = bool(module.validated)
        loss = float(np.mean([entry[0] for entry in module.validated])) if validated else math.nan
        recall = _recall(module.validated) if validated else math.nan
        row = {"train_loss": float(np.mean(module.train_losses)), "val_loss": loss, "recall@1": recall}
        row["logit_scale"] = module.logit_scale
        row["learning_rate"] = module.optimizers().param_groups[0]["lr"]
        module.history.add(epoch=trainer.current_epoch, seconds=time.perf_counter() - self.started, **row)
        self.bar.set_postfix({name: f"{row[name]:.3g}" for name in ("train_loss", "val_loss", "recall@1")})
        self.bar.update()
        self._keep(trainer, module, loss if validated else -math.inf)

    def _keep(self, trainer, module, loss):
        if trainer.current_epoch < module.settings.pretrain_epochs:  # another loss
            return
        self.since += 1
        if loss < self.best_loss or not math.isfinite(loss):
            self.best_loss, self.since = loss, 0
            self.best_state = {name: value.detach().clone() for name, value in module.state_dict().items()}
            module.history.best_epoch = trainer.current_epoch
        trainer.should_stop = self.since >= module.settings.patience

    def restore(self, module):
        """Put the best weights back."""
        if self.best_state is not None:
            module.load_state_dict(self.best_state)

    def close(self):
        if self.bar is not None:
            self.bar.close()


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


def train(module, *, accelerator, devices, progress):
    """Train in place and keep the best weights; files, loggers and global random states stay as they are."""
    recorder = Recorder(progress)
    with _random_states(module.settings.seed), _quiet():
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            max_epochs=module.settings.max_epochs,
            callbacks=[recorder],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if len(module.data.validation) else 0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module)
        finally:
            recorder.close()
        recorder.restore(module)
    return module.cpu().eval()


@contextlib.contextmanager
def _random_states(seed):
    """Seed torch for what draws from the global state (dropout), and put all global states back."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


@contextlib.contextmanager
def _quiet():
    """Lightning's banners and hints are about files and workers that this training does not have."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*(GPU available|does not have many workers|LeafSpec).*")
            yield
    finally:
        logger.setLevel(level)
