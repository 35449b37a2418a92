"""The training loop: what every Lightning module here has in common, and a trainer that leaves nothing behind."""

import contextlib
import logging
import math
import random
import time
import warnings
from dataclasses import dataclass, field

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from specalign.alignment.augment import add_noise
from specalign.alignment.training.averaging import WeightAverage
from specalign.alignment.training.optimizer import parameter_groups
from specalign.config import conf, limited_threads, progress_bar, wants_progress
from specalign.data.loading import StarLoader
from specalign.exceptions import NonFiniteLossError, SpecalignError

__all__ = ["Recorder", "SpectraModule", "TrainingData", "check_numbers", "train"]

log = logging.getLogger(__name__)


def check_numbers(settings, integers, numbers):
    """Raise `ValueError` unless the integers are positive, and the numbers finite and at least 0."""
    for name in integers:
        if not isinstance(getattr(settings, name), (int, np.integer)) or getattr(settings, name) < 1:
            raise ValueError(f"{name}: expected a positive integer, got {getattr(settings, name)!r}")
    for name in numbers:
        if not 0 <= getattr(settings, name) < math.inf:
            raise ValueError(f"{name}: expected a finite number of at least 0, got {getattr(settings, name)!r}")


@dataclass(frozen=True)
class TrainingData:
    """Prepared spectra, the stars that their rows belong to, and which stars train.

    ``sources`` are what the encoders read: prepared spectra, or the summaries of all rows.  ``targets`` (S, L) float32
    are standardised labels of the stars, NaN = unknown, or None.  ``decoded`` is what decoders are to predict of all
    rows, for each instrument that has one.
    """

    prepared: dict
    sources: dict
    index: object
    training: np.ndarray
    validation: np.ndarray
    targets: torch.Tensor | None
    decoded: dict = field(default_factory=dict)

    def names(self, batch, bad):
        """Spectrum identifiers of some rows of a batch: dict of instrument to boolean (n,)."""
        return [
            f"{name}: {self.prepared[name].spectrum_id[row]}"
            for name in batch
            for row in batch[name]["rows"][bad[name].cpu()].tolist()
        ]


class SpectraModule(pl.LightningModule):
    """Encoders trained on batches of stars; a subclass supplies `outputs`, `terms` and the optimizer.

    Parameters
    ----------
    encoders : dict of str to Encoder
    head : `~torch.nn.Module` or None
    data : TrainingData
    settings
        With max_epochs, batch_size, noise, patience and seed.
    history
        Gets a row an epoch.
    """

    title = "training"
    #: Epochs before this one do not compete for the best weights.
    first_epoch = 0
    #: What the validation loss must gain to count as better.
    min_delta = 0.0
    #: Whether `epoch_row` looks at what the encoders made of the validation rows.
    keeps_outputs = True
    #: Terms of the loss that do not say which epoch is the best.
    unjudged = ()
    #: Memory of the average of the weights that is validated and kept, see `WeightAverage`; 0 = the weights themselves.
    averaging = 0.0

    def __init__(self, encoders, head, data, settings, history):
        super().__init__()
        self.encoders, self.head = torch.nn.ModuleDict(encoders), head
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

    def encoder_groups(self):
        """Parameters of the encoders for an optimizer, each at its own rate."""
        s = self.settings
        encoders = self.encoders.values()
        return [g for e in encoders for g in parameter_groups(e.parameters(), s.weight_decay, e.rate * s.learning_rate)]

    def outputs(self, batch):
        """What the encoders make of each instrument's rows: dict of str to (n, D) `~torch.Tensor`, or (n, ..., D)."""
        raise NotImplementedError

    def terms(self, batch, outputs):
        """The weighted terms of a batch's loss, which is their sum: dict of str to 0-d `~torch.Tensor`."""
        raise NotImplementedError

    def _judged(self, terms):
        """What the history keeps of a batch's loss."""
        return float(sum(term.detach() for name, term in terms.items() if name not in self.unjudged))

    def epoch_row(self):
        """What the history keeps of an epoch beside its losses."""
        return {}

    def state(self):
        """Numbers that a message on a loss that is not finite should give."""
        return ""

    def finished(self, why):
        """Called with the reason when the training is over."""

    def _encode(self, name, rows):
        encoder = self.encoders[name]
        if encoder.summarizes:
            return encoder.encode_summary(rows)
        noise = {"noise_scale": rows.get("noise_scale"), "noise_basis": self._basis(name)}
        return encoder(rows["flux"], rows["ivar"], rows["mask"], **noise)

    def training_step(self, batch, batch_number):
        self.batch = batch
        outputs = self.outputs(self._augmented(batch, batch_number))
        terms = self.terms(batch, outputs)
        loss = sum(terms.values())
        if not bool(torch.isfinite(loss)):
            self._stop("loss", not_finite(outputs))
        self.train_losses.append(self._judged(terms))
        return loss

    def _augmented(self, batch, batch_number):
        s = self.settings
        generator, epoch = torch.Generator(self.device), self.current_epoch if self.training else 0
        generator.manual_seed(((s.seed * 100_003 + epoch) * 100_003 + batch_number) % 2**63)
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
            f"{self.optimizers().param_groups[0]['lr']:.3g}{self.state()}; {found}. "
            f"No parameter was changed by this step: look at these spectra, or lower the learning rate"
        )

    def validation_step(self, batch, batch_number):
        self.batch = batch
        outputs, stars = self.outputs(batch), {name: rows["star"] for name, rows in batch.items()}
        terms = self.terms(batch, outputs)
        if not bool(torch.isfinite(sum(terms.values()))):
            self._stop("validation loss", not_finite(outputs))
        self.validated.append((self._judged(terms), outputs if self.keeps_outputs else None, stars))


def not_finite(outputs):
    """The rows (n,) of each instrument that have no finite vector."""
    return {name: ~torch.isfinite(values).flatten(1).all(dim=1) for name, values in outputs.items()}


class Recorder(Callback):
    """Write an epoch into the history, keep the best weights, and stop when the validation loss rests."""

    def __init__(self, progress):
        self.bar, self.progress = None, progress
        self.best_loss, self.best_state = math.inf, None
        self.reference, self.since = math.inf, 0
        self.validating = contextlib.ExitStack()

    def on_train_start(self, trainer, module):
        self.average = WeightAverage(module, module.averaging)
        self.bar = progress_bar(progress=self.progress, total=trainer.max_epochs, unit="epoch", desc=module.title)

    def on_train_epoch_start(self, trainer, module):
        self.started = time.perf_counter()
        self.rate = module.optimizers().param_groups[0]["lr"]
        module.train_losses.clear()

    def on_train_batch_end(self, trainer, module, *arguments):
        self.average.update()

    def on_validation_epoch_start(self, trainer, module):
        module.validated.clear()
        self.validating.enter_context(self.average.in_place())

    def on_validation_epoch_end(self, trainer, module):
        self.validating.close()

    def on_train_epoch_end(self, trainer, module):
        validated = bool(module.validated)
        loss = float(np.mean([entry[0] for entry in module.validated])) if validated else math.nan
        row = {"train_loss": float(np.mean(module.train_losses)), "val_loss": loss, "learning_rate": self.rate}
        row |= module.epoch_row()
        module.history.add(epoch=trainer.current_epoch, seconds=time.perf_counter() - self.started, **row)
        self.bar.set_postfix(
            {name: f"{row[name]:.3g}" for name in ("train_loss", "val_loss", "recall@1") if name in row}
        )
        self.bar.update()
        self._keep(trainer, module, loss if validated else -math.inf)

    def _keep(self, trainer, module, loss):
        if trainer.current_epoch < module.first_epoch:  # another loss
            return
        self.since += 1
        if loss < self.best_loss or not math.isfinite(loss):
            self.best_loss = loss
            with self.average.in_place():
                self.best_state = {name: value.detach().clone() for name, value in module.state_dict().items()}
            module.history.best_epoch = trainer.current_epoch
        if loss < self.reference - module.min_delta or not math.isfinite(loss):
            self.reference, self.since = loss, 0
        trainer.should_stop = self.since >= module.settings.patience

    def reason(self, module):
        """Why the training ended."""
        settings = module.settings
        if self.since < settings.patience:
            return "the limit of epochs was reached"
        return f"the validation loss did not fall by {module.min_delta:g} in {settings.patience} epochs"

    def restore(self, module):
        """Put the best weights back."""
        if self.best_state is not None:
            module.load_state_dict(self.best_state)

    def close(self):
        if self.bar is not None:
            self.bar.close()


def train(module, *, accelerator, devices, progress):
    """Train in place and keep the best weights; files, loggers, threads and global random states stay as they are."""
    recorder = Recorder(wants_progress(progress))
    accelerator = conf.accelerator if accelerator == "auto" else accelerator
    log.info("%s: at most %d epochs, on %s", module.title, module.settings.max_epochs, accelerator)
    with limited_threads(torch), _random_states(module.settings.seed), _quiet():
        trainer = _trainer(module, recorder, accelerator, devices)
        try:
            trainer.fit(module)
        finally:
            recorder.close()
        recorder.restore(module)
        reason = recorder.reason(module)
        log.info(
            "%s: ended after %d epochs: %s; kept epoch %d",
            module.title,
            trainer.current_epoch,
            reason,
            module.history.best_epoch,
        )
        module.finished(reason)
    return module.cpu().eval()


def _trainer(module, recorder, accelerator, devices):
    try:
        return pl.Trainer(
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
    except (MisconfigurationException, ValueError) as error:
        raise SpecalignError(f"accelerator={accelerator!r}: {error}; 'auto' takes what this machine has") from error


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
