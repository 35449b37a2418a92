"""Encoders of several instruments, trained into one shared space."""

import copy
import logging
import math
from pathlib import Path

import numpy as np

from specalign.alignment import weights
from specalign.alignment.checkpoint import load_checkpoint, save_checkpoint, weights_digest
from specalign.alignment.choices import (
    check_encoder_choice,
    check_fit_options,
    check_objective_choice,
    check_reconstruction,
    check_spectra,
)
from specalign.alignment.embedding import distributions, embed_rows, known_name, scales
from specalign.alignment.inputs import describe_record, encoder_source, linear_head, scale_input
from specalign.alignment.objectives import Objective, get_objective
from specalign.alignment.stars import join_prepared, new_history, scaled_targets, split_stars
from specalign.alignment.translation import build_decoders, calibrate, translated
from specalign.data.embeddings import EmbeddingTable
from specalign.data.loading import check_good_pixels
from specalign.display import Displayed
from specalign.encoders import Encoder, get_encoder
from specalign.exceptions import GridMismatchError, SpecalignError

__all__ = ["Aligner"]

log = logging.getLogger(__name__)

OBJECTIVE = "clip+likelihood"
LABEL_WEIGHT = 0.5
NOISE = 2.0  # of 0.5 to 2, the larger generalised better on mock surveys


class Aligner(Displayed):
    """One shared space for two instruments or more.

    Parameters
    ----------
    encoders : sequence of str, or dict of str to Encoder or str
        The instruments, each with the default encoder; or an encoder (or the name of its plugin) for each instrument.
        A given encoder is copied and begins with its weights; one that was trained before keeps the scaling of its
        input, too.
        A key is the instrument's name, or begins with it where two settings of one instrument are aligned
        (``"nirspec-g140h"``).
    embed_dim : int
        What an encoder gives for a spectrum: the dimensions of the shared space and, where the objective has such,
        those of normal distributions and of private parts, see ``objective``.
    objective : str or `~specalign.alignment.Objective`
        What the training makes small: the name of a plugin, or an objective with options of its own, which is copied.
        By default the contrast of the vectors and, beside it, of normal distributions that know how uncertain each
        spectrum is (`~specalign.alignment.likelihood.MutualLikelihood`): of 128 numbers, 104 are the vector, 12 are
        means and 12 variances.  ``"clip"`` has vectors alone; those of ``"clip+predict"`` and others translate
        spectra, too.

    Attributes
    ----------
    instruments : tuple of str
    encoders : dict of str to Encoder
        Trained; empty before `fit`.
    history : History or None

    Raises
    ------
    ValueError
        Fewer than two instruments, repeated names, or an encoder of another dimension.
    UnknownPluginError
        No objective of that name is installed; the message lists those that are.

    Examples
    --------
    >>> from specalign import Aligner
    >>> Aligner(["apogee", "nirspec"])
    <Aligner apogee, nirspec: 128 dimensions, not trained>
    """

    def __init__(self, encoders, embed_dim=128, objective=OBJECTIVE):
        chosen = encoders if isinstance(encoders, dict) else dict.fromkeys(encoders, "mlp")
        if isinstance(encoders, str) or len(chosen) < 2 or len(chosen) != len(encoders):
            raise ValueError(f"expected at least two different instruments, got {encoders!r}")
        for name, encoder in chosen.items():
            check_encoder_choice(name, encoder, embed_dim)
        check_objective_choice(objective, embed_dim)
        self.embed_dim = embed_dim
        self.instruments = tuple(chosen)
        self.encoders, self.history = {}, None
        self._chosen, self._chosen_objective = chosen, objective
        self._records, self._head, self._labels, self._objective, self._space = {}, None, None, None, ""
        self._decoders = {}

    def __repr__(self):
        state = f"space {self.space[:12]}" if self.encoders else "not trained"
        how = "" if (name := self._objective_name()) == OBJECTIVE else f", {name}"
        return f"<Aligner {', '.join(self.instruments)}: {self.embed_dim} dimensions{how}, {state}>"

    def _objective_name(self):
        choice = self._chosen_objective
        return repr(choice) if isinstance(choice, Objective) else choice if isinstance(choice, str) else choice[0]

    def _facts(self):
        facts = {"shared space": f"{self.embed_dim} dimensions, {self.space[:12] or 'not trained'}"}
        facts["objective"] = self._objective_name()
        if self._decoders:
            facts["translates"] = ", ".join(f"{a} to {b}" for b, d in self._decoders.items() for a in d.sources)
        for name in self.instruments:
            encoder = self.encoders.get(name, self._chosen[name])
            facts[name] = (
                f"{type(encoder).__name__}, {encoder.n_pixels} pixels" if name in self.encoders else "not trained"
            )
            if name in self._records:
                facts[name] += f"; {describe_record(self._records[name])}"
        if self._labels:
            names = ", ".join(f"{n} [{unit}]" for n, unit in zip(self._labels.names, self._labels.units, strict=True))
            facts["labels"] = names + (f"; {self._labels.system}" if self._labels.system else "")
        return facts | ({"training": repr(self.history)[1:-1]} if self.history else {})

    @property
    def space(self):
        """Name of the shared space: the SHA-256 of the weights; empty before training."""
        return self._space

    def fit(
        self,
        prepared,
        labels=None,
        pairs=None,
        *,
        validation=0.1,
        max_epochs=30,
        batch_size=256,
        accelerator="auto",
        devices="auto",
        seed=0,
        progress=None,
        supervision="joint",
        learning_rate=2e-3,
        weight_decay=0.05,
        noise=NOISE,
        label_weight=LABEL_WEIGHT,
        patience=None,
    ):
        """Train from the start; the same seed gives the same weights, bit for bit, on one CPU.

        Rows are joined by object_id, never by position; several visits of a star are positives of each other; a star
        may be missing from an instrument.  Stars, not rows, are split into training and validation, and everything that
        is fitted (scaling of the input and of the labels, early stopping) sees the stars that it should.

        Parameters
        ----------
        prepared : dict of str to PreparedSpectra
            One for each instrument.
        labels : `~astropy.table.Table`, optional
            object_id and numeric labels with units.  Unknown ones are masked or NaN, and stars may be absent.
        pairs : `~astropy.table.Table`, optional
            Where catalogues name one star differently, such as from `specalign.match`: see
            `specalign.data.loading.join_stars`.
        validation : float
            Share of the stars that decides when to stop; 0 = train to the end.
        max_epochs, batch_size : int
            A batch is counted in stars.
        accelerator, devices
            As Lightning takes them; one device is used.  ``accelerator="auto"`` is what `~specalign.config.conf` says.
        seed : int
        progress : bool, optional
            Show a progress bar; by default as `~specalign.config.conf` says, where somebody looks on.
        supervision : {"joint", "pretrain"}
            With labels: add their error to the loss, or train the encoders on them alone for the first third of the
            epochs.
        learning_rate, weight_decay : float
        noise : float
            Augmentation: each row gets up to this many times its own stated noise on top.
        label_weight : float
            Weight of the logarithm of the labels' errors in the joint loss, see
            `~specalign.alignment.label_losses.log_label_loss`.
        patience : int, optional
            Epochs without a better validation loss before training stops; the best weights are kept.  Half of
            ``max_epochs`` where not given, since the loss falls last where the learning rate does.

        Returns
        -------
        History

        Raises
        ------
        MatchError
            Fewer than two training stars were seen by two instruments.
        LabelError
            The labels have no star in common with the spectra, or a label is known for none.
        SpectrumError
            An unmasked pixel is not finite, or a row has no good pixel.
        GridMismatchError
            The spectra of one instrument are offered under the name of another, or under two names.
        NonFiniteLossError
            The loss or a gradient is not finite; the error names the step and the spectra.
        """
        from specalign.alignment.training import Settings, TrainingData

        check_fit_options(supervision, validation, labels, devices)
        check_spectra(self.instruments, prepared)
        index = join_prepared(prepared, self.instruments, pairs)
        training, held = split_stars(index, validation, seed)
        targets, scaler = scaled_targets(labels, index, prepared, training)
        pretrain = math.ceil(max_epochs / 3) if supervision == "pretrain" else 0
        patience = math.ceil(max_epochs / 2) if patience is None else patience
        settings = Settings(
            max_epochs, batch_size, learning_rate, weight_decay, noise, label_weight, pretrain, patience, seed
        )
        prepared = {name: prepared[name] for name in self.instruments}
        encoders = {name: self._build(name, prepared[name], seed + i) for i, name in enumerate(self.instruments)}
        objective = self._build_objective(seed)
        check_reconstruction(objective, encoders, noise)
        for name, encoder in encoders.items():
            check_good_pixels(prepared[name], encoder.least_pixels)
            scale_input(encoder, prepared[name], index.rows(name, training)[0], seed)
        sources = {name: encoder_source(encoders[name], rows) for name, rows in prepared.items()}
        decoders, decoded = build_decoders(objective, encoders, prepared, index, training, sources, seed)
        data = TrainingData(prepared, sources, index, training, held, targets, decoded)
        return self._train(encoders, objective, decoders, data, settings, scaler, accelerator, progress)

    def _train(self, encoders, objective, decoders, data, settings, scaler, accelerator, progress):
        from specalign.alignment.training import AlignmentModule, train

        dimensions = objective.n_shared(self.embed_dim)
        head = linear_head(dimensions, len(scaler.names), settings.seed) if scaler else None
        history = new_history(data.index, data.training, data.validation)
        log.info("%r, as the training begins: %s", self, history.counts)
        module = AlignmentModule(encoders, objective, head, data, settings, history, decoders)
        train(module, accelerator=accelerator, devices=1, progress=progress)
        if decoders:
            calibrate(decoders, module.objective, module.validated_decodings())
        self.encoders, self._head, self._labels, self._objective = encoders, head, scaler, module.objective
        self._decoders = {name: decoder.eval() for name, decoder in decoders.items()}
        self._records = {name: data.prepared[name].instrument for name in self.instruments}
        self._space = weights_digest(weights.tensors(encoders, head, module.objective, decoders))
        self.history = history
        log.info("%r", history)
        return history

    def _build(self, name, prepared, seed):
        choice, n_pixels = self._chosen[name], prepared.flux.shape[1]
        if not isinstance(choice, Encoder):
            plugin, options = (choice, {}) if isinstance(choice, str) else choice
            return get_encoder(plugin, n_pixels=n_pixels, embed_dim=self.embed_dim, seed=seed, **options)
        if choice.n_pixels != n_pixels:
            raise GridMismatchError(
                f"the encoder of {name} takes {choice.n_pixels} pixels, the spectra have {n_pixels}"
            )
        return copy.deepcopy(choice).train()

    def _build_objective(self, seed):
        choice = self._chosen_objective
        if isinstance(choice, Objective):
            return copy.deepcopy(choice).train()
        name, options = (choice, {}) if isinstance(choice, str) else choice
        return get_objective(name, seed=seed, **options)

    def embed(self, prepared, *, private=False):
        """Vectors of spectra that were prepared like those of the training.

        Parameters
        ----------
        prepared : PreparedSpectra
            Of one of the instruments.
        private : bool
            Give the dimensions of the instrument's own, too, where the objective has such, in the block ``private``
            behind the block ``shared``.  Such vectors can be compared within one instrument only.

        Returns
        -------
        EmbeddingTable
            In the order of the rows; with ``latent_mean`` and ``latent_variance`` where the objective makes them
            (``clip+likelihood``), and the instrument was not adapted by labels alone.

        Raises
        ------
        SpecalignError
            The aligner is not trained, or has no private dimensions.
        GridMismatchError
            The spectra have another grid, other options or other mask rules than those of the training.
        """
        name = self._key(prepared)
        check_good_pixels(prepared, self.encoders[name].least_pixels)
        if private and not self._objective.private:
            raise SpecalignError("this aligner has no private dimensions; train one with objective='split'")
        rows, shared = self._embedded(name, prepared), self._objective.n_shared(self.embed_dim)
        end = self._objective.n_vector(self.embed_dim)
        return EmbeddingTable(
            vectors=rows[:, : end if private else shared].numpy(),
            object_id=prepared.object_id,
            spectrum_id=prepared.spectrum_id,
            instrument=np.full(len(prepared), name),
            snr=prepared.snr,
            good_fraction=prepared.good_fraction,
            provenance=self._provenance() | ({"space": f"{self.space}+private of {name}"} if private else {}),
            blocks={"shared": (0, shared), "private": (shared, end)} if private else {},
            **self._distributions(name, rows),
        )

    def _distributions(self, name, rows):
        return {} if self.history.adapted_by_labels(name) else distributions(self._objective, rows)

    def _embedded(self, name, prepared):
        return embed_rows(self.encoders[name], self._objective, prepared)

    def _provenance(self):
        return scales(self._objective) | {
            "space": self.space,
            "grids": {name: record.grid_digest for name, record in self._records.items()},
            "mask_versions": {name: record.mask_version for name, record in self._records.items()},
        }

    def _key(self, prepared):
        """The name under which this aligner knows the spectra's instrument."""
        self._check_trained()
        return known_name(self._records, prepared)

    def _check_trained(self):
        if not self.encoders:
            raise SpecalignError("this aligner is not trained: call fit, or Aligner.load a trained one")

    def translate(self, prepared, to):
        """Noise-free spectra as another instrument would see these stars, with what is not known of them.

        Objectives with prediction (``"clip+predict"``, ``"clip+both"``, ``"split"``) train decoders from one instrument
        to another, those with reconstruction (``"clip+reconstruct"``, ``"clip+both"``, ``"split"``) to the same one.

        Parameters
        ----------
        prepared : PreparedSpectra
            Of one of the instruments.
        to : str
            One of the instruments, or the same one.

        Returns
        -------
        PreparedSpectra
            Normalised as that instrument's spectra are, in the order of the rows, under their names.  ``ivar`` is one
            over the variance of the prediction, whose errors are correlated from pixel to pixel:
            ``covariance_factor`` has that part.  Pixels that too few training spectra had are masked.  A measured
            spectrum deviates by its own noise, too.

        Raises
        ------
        SpecalignError
            The aligner is not trained, or its objective trained no such decoder.
        GridMismatchError
            The spectra have another grid, other options or other mask rules than those of the training.
        """
        name = self._key(prepared)
        if to not in self.instruments:
            raise ValueError(f"to: expected one of {', '.join(self.instruments)}, got {to!r}")
        if name not in (self._decoders[to].sources if self._decoders else ()):
            wanted = "'clip+reconstruct'" if to == name else "'clip+predict'"
            raise SpecalignError(
                f"no decoder from {name} to {to} was trained: train an aligner with objective={wanted} or 'clip+both'; "
                f"or use embed, and search among embedded {to} spectra for the nearest real ones"
            )
        check_good_pixels(prepared, self.encoders[name].least_pixels)
        vectors = self._embedded(name, prepared)
        if to != name:
            vectors = self._objective.without_private({name: vectors})[name]
        return translated(self._decoders[to], vectors, name, prepared, self._records[to])

    def adapt(self, prepared, labels=None, **options):
        """A new aligner, in which one encoder has seen few spectra of another domain; this one stays as it is.

        Parameters
        ----------
        prepared : PreparedSpectra
            Of one of the instruments: real spectra after a training on mock ones, say.
        labels : `~astropy.table.Table`, optional
            Some of the labels of the training, of some of the stars.
        **options
            Those of `specalign.alignment.adapt`, which has the whole story: ``partners``, ``method`` and others.

        Returns
        -------
        Aligner
            With a ``space`` of its own.
        """
        from specalign.alignment.adaptation import adapt

        return adapt(self, prepared, labels, **options)

    def save(self, folder):
        """Write the aligner into a folder: ``aligner.json`` and a safetensors file, replaced as a whole.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Made if it does not exist.

        Raises
        ------
        SpecalignError
            The aligner is not trained.
        PluginError
            An encoder or the objective is no installed plugin, so that nobody could load it.
        """
        self._check_trained()
        tensors = weights.tensors(self.encoders, self._head, self._objective, self._decoders)
        save_checkpoint(Path(folder), weights.describe(self), tensors)

    @classmethod
    def load(cls, folder):
        """Read an aligner that `save` wrote.

        Encoders and objective are built by the names of installed plugins; nothing in the files is executed.

        Parameters
        ----------
        folder : str or `~pathlib.Path`

        Returns
        -------
        Aligner

        Raises
        ------
        CheckpointError
            A file is missing, was changed, or does not fit the others.
        UnknownPluginError
            The plugin of an encoder or of the objective is not installed.
        """
        description, tensors = load_checkpoint(folder)
        parts = weights.restore(description, tensors, folder)
        aligner = cls(parts.encoders, embed_dim=parts.embed_dim)
        aligner._chosen, aligner._chosen_objective = dict(parts.choices), parts.objective_choice
        aligner.encoders, aligner._head, aligner._objective = parts.encoders, parts.head, parts.objective
        aligner._records, aligner._labels, aligner._decoders = parts.records, parts.labels, parts.decoders
        aligner.history, aligner._space = parts.history, description["weights"]["sha256"]
        return aligner
