"""What happened in a training: a row an epoch, and how the rows were joined."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from astropy.table import Table

from specalign.display import Displayed, brief

__all__ = ["AdaptationHistory", "History", "LabelHistory", "PretrainingHistory"]


def _no_epochs(names):
    return Table(names=names, dtype=[int] + [float] * (len(names) - 1))


def _plain_columns(epochs):
    """Columns as lists, where NaN is None."""
    return {n: [None if value != value else value for value in epochs[n].tolist()] for n in epochs.colnames}


@dataclass(eq=False)  # tables have no single answer
class History(Displayed):
    """Returned by `Aligner.fit`.

    Attributes
    ----------
    epochs : `~astropy.table.Table`
        epoch, train_loss and val_loss (the weighted sum of the terms that say which epoch is the best one: all but
        those of distributions), recall@1 (mean over the ordered pairs of instruments, gallery = the validation
        stars), logit_scale, learning_rate, seconds; and each term of the loss before it is weighted, such as
        train_contrast and val_contrast.  NaN where there was no validation.
    best_epoch : int
        The epoch whose weights were kept.
    counts : dict
        stars, matched, training, validation (stars), and rows an instrument.
    unmatched : dict of str to dict
        For each instrument, the number of stars that no other instrument has, and the first five identifiers.
    adaptations : list of AdaptationHistory
        What `Aligner.adapt` did since, in its order.
    """

    COLUMNS: ClassVar = ("epoch", "train_loss", "val_loss", "recall@1", "logit_scale", "learning_rate", "seconds")

    epochs: Table = field(default_factory=lambda: _no_epochs(History.COLUMNS))
    best_epoch: int = 0
    counts: dict = field(default_factory=dict)
    unmatched: dict = field(default_factory=dict)
    adaptations: list = field(default_factory=list)

    def add(self, **row):
        """Append one epoch; what no epoch before had is NaN there."""
        for name in [name for name in row if name not in self.epochs.colnames]:
            self.epochs[name] = np.full(len(self.epochs), np.nan)
        self.epochs.add_row({name: row.get(name, float("nan")) for name in self.epochs.colnames})

    def __repr__(self):
        best = self.epochs[self.epochs["epoch"] == self.best_epoch]
        text = f"<History: {len(self.epochs)} epochs, {self.counts.get('matched', 0)} matched stars"
        if len(best):
            row = best[0]
            text += (
                f"; best epoch {row['epoch']}: training loss {row['train_loss']:.3f}, validation loss "
                f"{row['val_loss']:.3f}, recall@1 {row['recall@1']:.3f} of {self.counts.get('validation', 0)} stars"
            )
        text += "".join(f"; {entry.what}" for entry in self.adaptations)
        left = {name: entry["count"] for name, entry in self.unmatched.items() if entry["count"]}
        return text + (f"; unmatched {left}>" if left else ">")

    def _facts(self):
        last = self.epochs[-1]["epoch"] if len(self.epochs) else "none"
        seconds = sum(self.epochs["seconds"]) if len(self.epochs) else 0.0
        facts = {"epochs": f"{len(self.epochs)} (last {last}, kept {self.best_epoch}), {seconds:.0f} s"}
        for row in self.epochs[self.epochs["epoch"] == self.best_epoch]:
            facts |= {f"{name}, kept epoch": f"{row[name]:.4g}" for name in self.COLUMNS[1:-1]}
        counts = {name: brief(count) for name, count in self.counts.items()}
        unmatched = getattr(self, "unmatched", {})
        if adapted := getattr(self, "adaptations", []):
            counts["adapted"] = ", then ".join(entry.what for entry in adapted)
        return facts | counts | {f"unmatched in {name}": brief(entry) for name, entry in unmatched.items()}

    def plot(self, ax=None, **options):
        """Draw the losses and the recall over the epochs; see `specalign.plots.plot_history`.

        Parameters
        ----------
        ax : sequence of 2 `~matplotlib.axes.Axes`, optional
            For the loss and for the recall; by default in a new figure.

        Returns
        -------
        `~matplotlib.figure.Figure` or `~matplotlib.axes.Axes`
            The new figure, or the ``ax`` that was given.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.

        Examples
        --------
        >>> from specalign.alignment import History
        >>> history = History()
        >>> history.add(epoch=0, train_loss=2.0, val_loss=2.1)
        >>> len(history.plot().axes)
        2
        """
        from specalign.plots import plot_history

        figure = plot_history(self, ax=ax, **options)
        return figure if ax is None else ax

    def adapted_by_labels(self, name):
        """Whether an instrument's encoder was adapted last without spectra of other instruments.

        Labels say nothing of the normal distributions beside the vectors, which such an encoder gives wrong.
        """
        own = [entry for entry in self.adaptations if entry.counts.get("instrument") == name]
        return bool(own) and own[-1].counts.get("partners") == 0

    def as_dict(self):
        """JSON-like form; NaN becomes None."""
        adapted = {"adaptations": [entry.as_dict() for entry in self.adaptations]} if self.adaptations else {}
        return adapted | {
            "epochs": _plain_columns(self.epochs),
            "best_epoch": self.best_epoch,
            "counts": self.counts,
            "unmatched": self.unmatched,
        }

    @classmethod
    def from_dict(cls, values):
        """The inverse of `as_dict`."""
        history = cls(best_epoch=values["best_epoch"], counts=values["counts"], unmatched=values["unmatched"])
        history._fill(values["epochs"])
        history.adaptations = [AdaptationHistory.from_dict(entry) for entry in values.get("adaptations", ())]
        return history

    def _fill(self, columns):
        names = [*self.COLUMNS, *(name for name in columns if name not in self.COLUMNS)]
        for row in zip(*[columns[name] for name in names], strict=True):
            self.add(**{n: float("nan") if v is None else v for n, v in zip(names, row, strict=True)})


@dataclass(eq=False)  # tables have no single answer
class LabelHistory(Displayed):
    """What happened while a `specalign.alignment.LabelRegressor` was trained.

    Attributes
    ----------
    epochs : `~astropy.table.Table`
        epoch (from 0), train_loss, val_loss (mean squared error of the scaled labels), learning_rate, seconds.  NaN
        where there was no validation.
    best_epoch : int
        The epoch whose weights were kept.
    stopped : str
        Why the training ended.
    counts : dict
        Stars a part of the split, and labelled stars that train and that validate.
    """

    COLUMNS: ClassVar = ("epoch", "train_loss", "val_loss", "learning_rate", "seconds")
    LOSS: ClassVar = "Mean squared error [scaled labels]"

    epochs: Table = field(default_factory=lambda: _no_epochs(LabelHistory.COLUMNS))
    best_epoch: int = 0
    stopped: str = ""
    counts: dict = field(default_factory=dict)

    add, _fill = History.add, History._fill

    def __repr__(self):
        text = f"<{type(self).__name__}: {len(self.epochs)} epochs"
        if len(best := self.epochs[self.epochs["epoch"] == self.best_epoch]):
            row = best[0]
            text += f"; best epoch {row['epoch']}: training loss {row['train_loss']:.3g}, validation loss "
            text += f"{row['val_loss']:.3g}"
        return text + (f"; {self.stopped}>" if self.stopped else ">")

    def _facts(self):
        return {"stopped": self.stopped or "not yet", **History._facts(self)}

    def plot(self, ax=None, **options):
        """Draw the losses and the learning rate; see `specalign.plots.plot_training`.

        Parameters
        ----------
        ax : sequence of 2 `~matplotlib.axes.Axes`, optional
            For the losses and for the learning rate; by default in a new figure.

        Returns
        -------
        `~matplotlib.figure.Figure` or `~matplotlib.axes.Axes`
            The new figure, or the ``ax`` that was given.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.

        Examples
        --------
        >>> from specalign.alignment import LabelHistory
        >>> history = LabelHistory()
        >>> history.add(epoch=0, train_loss=0.9, val_loss=1.1, learning_rate=1e-3)
        >>> len(history.plot().axes)
        2
        """
        from specalign.plots import plot_training

        figure = plot_training(self, ax=ax, **options)
        return figure if ax is None else ax

    def as_dict(self):
        """JSON-like form; NaN becomes None."""
        known = {"best_epoch": self.best_epoch, "stopped": self.stopped, "counts": self.counts}
        return known | {"epochs": _plain_columns(self.epochs)}

    @classmethod
    def from_dict(cls, values):
        """The inverse of `as_dict`."""
        history = cls(best_epoch=values["best_epoch"], stopped=values["stopped"], counts=values["counts"])
        history._fill(values["epochs"])
        return history


class PretrainingHistory(LabelHistory):
    """What happened while an encoder was trained to give back spectra, see `specalign.pretrain`.

    Attributes
    ----------
    epochs : `~astropy.table.Table`
        epoch (from 0), train_loss, val_loss (1 is what the mean spectrum reaches), learning_rate, seconds.  NaN where
        there was no validation.
    best_epoch : int
        The epoch whose weights were kept.
    stopped : str
        Why the training ended.
    counts : dict
        Stars, those that train and that validate, and rows.

    Examples
    --------
    >>> from specalign.alignment import PretrainingHistory
    >>> history = PretrainingHistory(counts={"stars": 500})
    >>> history.add(epoch=0, train_loss=0.9, val_loss=0.8, learning_rate=1e-3)
    >>> history
    <PretrainingHistory: 1 epochs; best epoch 0: training loss 0.9, validation loss 0.8>
    """

    LOSS: ClassVar = "Loss [mean spectrum = 1]"


class AdaptationHistory(LabelHistory):
    """What happened while one encoder of a space was adapted, see `specalign.alignment.adapt`.

    Attributes
    ----------
    epochs : `~astropy.table.Table`
        epoch (from 0), train_loss, val_loss, learning_rate, seconds.  NaN where there was no validation.
    best_epoch : int
        The epoch whose weights were kept.
    stopped : str
        Why the training ended.
    counts : dict
        instrument, method, and how many stars (training, validation), rows and partners' rows there were.

    Examples
    --------
    >>> from specalign.alignment import AdaptationHistory
    >>> AdaptationHistory(counts={"instrument": "nirspec", "method": "head", "training": 10, "validation": 0})
    <AdaptationHistory: nirspec by head; 10 stars train, 0 validate; 0 epochs, kept 0>
    """

    LOSS: ClassVar = "Loss [nat]"

    @property
    def what(self):
        """What was adapted, in words."""
        counts = {"instrument": "nothing", "method": "none", "training": 0, "validation": 0} | self.counts
        return "{instrument} by {method}; {training} stars train, {validation} validate".format_map(counts)

    def __repr__(self):
        return f"<AdaptationHistory: {self.what}; {len(self.epochs)} epochs, kept {self.best_epoch}>"
