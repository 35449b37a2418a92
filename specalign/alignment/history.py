"""What happened in a training: a row an epoch, and how the rows were joined."""

from dataclasses import dataclass, field

from astropy.table import Table

__all__ = ["History"]

COLUMNS = {
    "epoch": int,
    "train_loss": float,
    "val_loss": float,
    "recall@1": float,
    "logit_scale": float,
    "learning_rate": float,
    "seconds": float,
}


@dataclass
class History:
    """Returned by `Aligner.fit`.

    Attributes
    ----------
    epochs : `~astropy.table.Table`
        epoch, train_loss, val_loss, recall@1 (mean over the ordered pairs of instruments, gallery = the validation
        stars), logit_scale, learning_rate, seconds.  NaN where there was no validation.
    best_epoch : int
        The epoch whose weights were kept.
    counts : dict
        stars, matched, training, validation (stars), and rows an instrument.
    unmatched : dict of str to dict
        For each instrument, the number of stars that no other instrument has, and the first five identifiers.
    """

    epochs: Table = field(default_factory=lambda: Table(names=list(COLUMNS), dtype=list(COLUMNS.values())))
    best_epoch: int = 0
    counts: dict = field(default_factory=dict)
    unmatched: dict = field(default_factory=dict)

    def add(self, **row):
        """Append one epoch."""
        self.epochs.add_row({name: row.get(name, float("nan")) for name in COLUMNS})

    def __repr__(self):
        best = self.epochs[self.epochs["epoch"] == self.best_epoch]
        text = f"<History: {len(self.epochs)} epochs, {self.counts.get('matched', 0)} matched stars"
        if len(best):
            row = best[0]
            text += (
                f"; best epoch {row['epoch']}: training loss {row['train_loss']:.3f}, validation loss "
                f"{row['val_loss']:.3f}, recall@1 {row['recall@1']:.3f} of {self.counts.get('validation', 0)} stars"
            )
        left = {name: entry["count"] for name, entry in self.unmatched.items() if entry["count"]}
        return text + (f"; unmatched {left}>" if left else ">")

    def plot(self, **options):
        """Draw the losses and the recall over the epochs; options go to `specalign.plots.plot_history`."""
        from specalign.plots import plot_history

        return plot_history(self, **options)

    def as_dict(self):
        """JSON-like form; NaN becomes None."""
        columns = {
            name: [None if value != value else value for value in self.epochs[name].tolist()] for name in COLUMNS
        }
        return {
            "epochs": columns,
            "best_epoch": self.best_epoch,
            "counts": self.counts,
            "unmatched": self.unmatched,
        }

    @classmethod
    def from_dict(cls, values):
        """The inverse of `as_dict`."""
        history = cls(best_epoch=values["best_epoch"], counts=values["counts"], unmatched=values["unmatched"])
        columns = [values["epochs"][name] for name in COLUMNS]
        for row in zip(*columns, strict=True):
            history.add(**{n: float("nan") if v is None else v for n, v in zip(COLUMNS, row, strict=True)})
        return history
