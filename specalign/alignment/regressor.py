"""Labels straight from the spectra of one instrument, with any encoder: supervised training as StarNet's."""

import copy
import dataclasses
import logging
from pathlib import Path

import numpy as np
import torch

from specalign.alignment import weights
from specalign.alignment.calibration import LabelErrors
from specalign.alignment.checkpoint import REGRESSOR, add_member, load_checkpoint, save_checkpoint
from specalign.alignment.history import LabelHistory
from specalign.alignment.inputs import (
    describe_record,
    encoder_inputs,
    encoder_source,
    linear_head,
    plain_record,
    scale_input,
)
from specalign.alignment.origin import software_versions
from specalign.alignment.stars import LabelledStars
from specalign.config import limited_threads
from specalign.data.loading import check_good_pixels
from specalign.data.scaling import METHODS, ColumnScaler
from specalign.display import Displayed, brief
from specalign.encoders import Encoder, get_encoder
from specalign.exceptions import GridMismatchError, SpecalignError

__all__ = ["LabelRegressor"]

log = logging.getLogger(__name__)

PREDICT_ROWS = 128  # rows at a time; a convolution keeps some tens of numbers a pixel


class LabelRegressor(Displayed):
    """Labels of stars from their prepared spectra, without any alignment.

    The encoder's vectors are the scaled labels themselves, as in StarNet [1]_, or a linear layer makes labels of them
    where the given encoder has another dimension.  StarNet's own settings are ``LabelRegressor("starnet")`` and
    ``fit(..., loss="squared", averaging=0)``.

    Parameters
    ----------
    encoder : str or Encoder
        ``"mlp"``, ``"starnet"``, the name of an installed plugin, or an encoder.  A given encoder is copied and begins
        with its weights; one that was trained before keeps the scaling of its input, too.
    scaling : {"standard", "minmax"}
        Of the labels; fitted on training stars alone.
    **options
        Of the encoder's plugin.

    Attributes
    ----------
    encoder : Encoder or None
        Trained; None before `fit`.
    history : LabelHistory or None
    split : `~specalign.data.splits.StarSplit` or None
        Which star trained, decided when to stop, or is left for a test.

    References
    ----------
    .. [1] Fabbro et al. 2018, MNRAS 475, 2978, doi:10.1093/mnras/stx3298.

    Examples
    --------
    >>> from specalign.alignment import LabelRegressor
    >>> LabelRegressor("starnet", scaling="minmax")
    <LabelRegressor starnet, minmax: not trained>
    """

    def __init__(self, encoder="mlp", scaling="standard", **options):
        if not isinstance(encoder, (str, Encoder)) or (options and not isinstance(encoder, str)):
            raise ValueError(f"encoder: expected a plugin's name (with options) or an Encoder, got {encoder!r}")
        if scaling not in METHODS:
            raise ValueError(f"scaling: expected one of {', '.join(METHODS)}, got {scaling!r}")
        self.scaling, self.options = scaling, options
        self.encoder = self.history = self.split = None
        self._choice = encoder
        self._head = self._scaler = self._scheme = self._errors = self._record = None

    def __repr__(self):
        name = self._choice if isinstance(self._choice, str) else type(self._choice).__name__
        if self.encoder is None:
            return f"<LabelRegressor {name}, {self.scaling}: not trained>"
        return (
            f"<LabelRegressor {name}, {self.scaling}: {', '.join(self._scheme.names)} from {self._record.name}, "
            f"learned from {self._scheme.n_train} spectra>"
        )

    def _facts(self):
        if self.encoder is None:
            return {"encoder": brief(self._choice), "scaling": self.scaling, "state": "not trained"}
        labels = zip(self._scheme.names, self._scheme.units, strict=True)
        return {
            "encoder": f"{type(self.encoder).__name__}, {self.encoder.n_pixels} pixels",
            "spectra": describe_record(self._record),
            "labels": ", ".join(f"{name} [{unit}]" for name, unit in labels),
            "label system": self._scheme.system,
            "scaling": self.scaling,
            "learned from": f"{self._scheme.n_train} spectra; {self._scheme.n_unlabelled} without a label",
            "split": repr(self.split)[1:-1],
            "training": repr(self.history)[1:-1],
        }

    def fit(
        self,
        prepared,
        labels,
        *,
        split=(5, 1, 2),
        names=None,
        system=None,
        weighted=False,
        max_epochs=None,
        batch_size=64,
        learning_rate=1e-3,
        weight_decay=0.0,
        noise=0.0,
        loss="huber",
        averaging=0.98,
        min_delta=1e-3,
        patience=None,
        step_size=None,
        gamma=0.5,
        seed=42,
        accelerator="auto",
        progress=None,
    ):
        """Train from the start; the same seed gives the same weights, bit for bit, on one CPU.

        Stars, not rows, are split.  Stars of the test part are not looked at, and those without a label are left out.
        The loss is a mean over scaled labels, label by label over the stars where it is known.

        Parameters
        ----------
        prepared : PreparedSpectra
        labels : `~astropy.table.QTable`
            object_id (once each) and columns with units; NaN, masked values and -9999 are unknown.
        split : tuple of 3 numbers, `~specalign.data.splits.StarSplit` or None
            Train : validation : test, or an assignment.  None: no test part, and one star in ten validates.
        names : sequence of str, optional
            Which labels; by default all.
        system : str, optional
            Name of the label system; by default ``labels.meta["label_system"]``.
        weighted : bool
            Weigh each label of each star by ``1 / (1 + (error / median error)^2)``, with the errors of the columns
            ``*_err``: those below the median count alike, so that a few errors that are stated too small cannot
            outweigh all other stars.
        max_epochs : int, optional
            20, or as many as make a thousand steps.
        batch_size : int
            In stars; a batch has at most one in eight of those that train, but not fewer than 8.
        learning_rate, weight_decay : float
        noise : float
            Augmentation: each row gets up to this many times its own stated noise on top.
        loss : {"huber", "squared"}
            Of a scaled label.  Labels of surveys are wrong now and then, and with ``"huber"`` errors above 0.1 count in
            proportion, not by their squares; see `~specalign.alignment.label_losses.huber_label_loss`.
        averaging : float
            The weights that are validated and kept are an average over the last steps, of which each step keeps this
            share; 0 = the weights of the last step.
        min_delta, patience : float, int
            Training stops when the validation loss has not fallen by ``min_delta`` in ``patience`` epochs (by default a
            quarter of ``max_epochs``, but not fewer than 5).  The weights of the lowest validation loss are kept.  The
            loss is one of scaled labels: with ``scaling="minmax"`` it is a few times to some ten times smaller, and
            the same ``min_delta`` stops earlier.
        step_size, gamma : int, float
            The learning rate is multiplied by ``gamma`` every ``step_size`` epochs, by default as many as ``patience``
            has; 1 keeps it.
        seed : int
            Of the split, the weights and the order of the stars.
        accelerator : str
            As Lightning takes it; ``"auto"`` is what `~specalign.config.conf` says.
        progress : bool, optional
            Show a progress bar; by default as `~specalign.config.conf` says, where somebody looks on.

        Returns
        -------
        self

        Raises
        ------
        LabelError
            A label is missing, has no unit, is known for fewer than two training stars or the same for all of them.
        MatchError
            No star has a label, one is labelled twice, or one has no part in the split.
        SpectrumError
            An unmasked pixel is not finite, or a row has no good pixel.
        GridMismatchError
            A given encoder takes another number of pixels.
        NonFiniteLossError
            The loss or a gradient is not finite; the error names the step and the spectra.
        ValueError
            A setting is out of its range.
        """
        from specalign.alignment.training import LabelSettings

        stars = LabelledStars(prepared, labels, names, system, split, seed)
        settings = LabelSettings.for_stars(
            len(stars.training),
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            noise=noise,
            loss=loss,
            averaging=averaging,
            min_delta=min_delta,
            patience=patience,
            step_size=step_size,
            gamma=gamma,
            seed=seed,
        )
        scaler = ColumnScaler.fit(stars.values[stars.training], self.scaling)
        label_weights = stars.weights(labels) if weighted else None
        encoder, head = self._build(prepared, len(stars.scheme.names), seed)
        rows = stars.rows(stars.training)[0]
        check_good_pixels(prepared, encoder.least_pixels)
        scale_input(encoder, prepared, rows, seed)
        history = self._train(prepared, stars, scaler, label_weights, encoder, head, settings, accelerator, progress)
        self.encoder, self._head, self._scaler, self.history = encoder, head, scaler, history
        self.split, self._record = stars.split, prepared.instrument
        unlabelled = len(prepared) - len(stars.rows(stars.labelled)[0])
        self._scheme = dataclasses.replace(stars.scheme, n_train=len(rows), n_unlabelled=unlabelled)
        self._errors = self._calibrate(prepared, stars)
        log.info("%r: %r, %s, %d spectra without a label", self, self.history, self.split, unlabelled)
        return self

    def _build(self, prepared, n_labels, seed):
        n_pixels, choice = prepared.flux.shape[1], self._choice
        if isinstance(choice, str):
            return get_encoder(choice, n_pixels=n_pixels, embed_dim=n_labels, seed=seed, **self.options), None
        if choice.n_pixels != n_pixels:
            raise GridMismatchError(f"the encoder takes {choice.n_pixels} pixels, the spectra have {n_pixels}")
        head = None if choice.embed_dim == n_labels else linear_head(choice.embed_dim, n_labels, seed)
        return copy.deepcopy(choice).train(), head

    def _train(self, prepared, stars, scaler, label_weights, encoder, head, settings, accelerator, progress):
        from specalign.alignment.training import LabelModule, TrainingData, train

        targets = torch.from_numpy(scaler.forward(stars.values).astype(np.float32))
        source = {stars.name: encoder_source(encoder, prepared)}
        data = TrainingData({stars.name: prepared}, source, stars.index, stars.training, stars.held, targets)
        history = LabelHistory(counts=stars.counts())
        module = LabelModule({stars.name: encoder}, head, data, settings, history, label_weights)
        train(module, accelerator=accelerator, devices=1, progress=progress)
        return history

    def _calibrate(self, prepared, stars):
        rows, star = stars.rows(stars.held)
        held = prepared[rows]
        return LabelErrors.fit(self._values(held) - stars.values[star], held.snr)

    @torch.no_grad()
    def _values(self, prepared):
        """Labels (N, L) float64 without units."""
        blocks = np.array_split(np.arange(len(prepared)), max(1, -(-len(prepared) // PREDICT_ROWS)))
        with limited_threads(torch):
            outputs = [self.encoder(**encoder_inputs(prepared, rows)) for rows in blocks]
        scaled = torch.cat(outputs if self._head is None else [self._head(vectors) for vectors in outputs])
        return self._scaler.inverse(scaled.double().numpy())

    def predict(self, prepared):
        """Labels of every row, in the order of the rows.

        The error of a label is the square root of ``floor^2 + (slope / snr)^2``, with both fitted to the residuals of
        the validation stars (their mean squared residual over squared error is 1).  It is the error against the given
        labels, with their own errors in it, for stars like those; validation stars decided when to stop, so that it
        is a little too small.  It is NaN for a label that fewer than two of them have.

        Parameters
        ----------
        prepared : PreparedSpectra
            Prepared like those of the training.

        Returns
        -------
        labels : `~astropy.table.QTable`
            object_id, spectrum_id and for each label its value and ``*_err``, with units; meta has ``label_system``,
            ``method``, ``instrument`` and the numbers of rows that were learned from.

        Raises
        ------
        SpecalignError
            The regressor is not trained.
        GridMismatchError
            The spectra have another grid, other options or other mask rules than those of the training.
        """
        self._check_trained()
        if plain_record(prepared.instrument) != plain_record(self._record):
            raise GridMismatchError(
                f"this regressor was trained on {describe_record(self._record)}, the spectra come from "
                f"{describe_record(prepared.instrument)}; prepare them like those of the training"
            )
        check_good_pixels(prepared, self.encoder.least_pixels)
        meta = {"method": f"LabelRegressor {type(self.encoder).__name__}", "instrument": prepared.instrument.name}
        errors = self._errors.at(prepared.snr)
        return self._scheme.to_table(prepared.object_id, prepared.spectrum_id, self._values(prepared), errors, meta)

    def _check_trained(self):
        if self.encoder is None:
            raise SpecalignError("this regressor is not trained: call fit, or LabelRegressor.load a trained one")

    def save(self, folder):
        """Write the regressor into a folder: ``regressor.json``, safetensors and the split; replaced as a whole.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Made if it does not exist; an aligner may lie in it, too.

        Raises
        ------
        SpecalignError
            The regressor is not trained.
        PluginError
            The encoder is no installed plugin, so that nobody could load it.
        """
        self._check_trained()
        folder, description = Path(folder), self._description()
        folder.mkdir(parents=True, exist_ok=True)
        description["split"] = add_member(folder, "split", ".ecsv", weights.split_content(self.split))
        save_checkpoint(folder, description, weights.tensors({"spectra": self.encoder}, self._head, None), REGRESSOR)
        for other in folder.glob("split-*.ecsv"):
            if other.name != description["split"]["file"]:
                other.unlink()

    def _description(self):
        scheme = dataclasses.asdict(self._scheme)
        return {
            "encoder": weights.plugin_name("encoders", self.encoder),
            "config": self.encoder.config(),
            "record": plain_record(self._record),
            "scheme": scheme | {"units": [unit.to_string() for unit in self._scheme.units]},
            "scaling": dataclasses.asdict(self._scaler),
            "errors": self._errors.as_dict(),
            "history": self.history.as_dict(),
            "software": software_versions(),
        }

    @classmethod
    def load(cls, folder):
        """Read a regressor that `save` wrote; nothing in the files is executed.

        Parameters
        ----------
        folder : str or `~pathlib.Path`

        Returns
        -------
        LabelRegressor

        Raises
        ------
        CheckpointError
            A file is missing, was changed, or does not fit the others.
        UnknownPluginError
            The encoder's plugin is not installed.
        """
        description, tensors = load_checkpoint(folder, REGRESSOR)
        parts = weights.restore_regressor(description, tensors, folder)
        regressor = cls(parts.name, parts.scaler.method, **parts.options)
        regressor.encoder, regressor._head, regressor._scaler = parts.encoder, parts.head, parts.scaler
        regressor._scheme, regressor._errors, regressor._record = parts.scheme, parts.errors, parts.record
        regressor.history = parts.history
        regressor.split = weights.restore_split(Path(folder), description)
        return regressor
