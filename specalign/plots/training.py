"""What happened while an aligner was trained."""

import numpy as np

from specalign.plots.style import MUTED, PALETTE, new_figure, styled

__all__ = ["plot_history"]


@styled
def plot_history(history):
    """Losses and recall over the epochs; a line marks the epoch whose weights were kept.

    Parameters
    ----------
    history : `specalign.alignment.history.History`
        Or anything with ``epochs`` (a table with epoch, train_loss, val_loss, recall@1) and ``best_epoch``.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    figure = new_figure(height=3.0)
    left, right = figure.subplots(1, 2)
    epochs = history.epochs
    for name, label, color in (("train_loss", "training", PALETTE[0]), ("val_loss", "validation", PALETTE[1])):
        _draw_column(left, epochs, name, label, color)
    _draw_column(right, epochs, "recall@1", "validation stars", PALETTE[2])
    left.set(title="Loss", xlabel="Epoch [number]", ylabel="Loss [nat]")
    right.set(title="Recall@1", xlabel="Epoch [number]", ylabel="Recall@1 [fraction]")
    right.set_ylim(bottom=0)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.axvline(history.best_epoch, color=MUTED, linestyle=":", label="weights kept")
        ax.legend(fontsize=8)
    return figure


def _draw_column(ax, epochs, name, label, color):
    if name in epochs.colnames and np.isfinite(np.asarray(epochs[name], dtype=float)).any():
        ax.plot(epochs["epoch"], epochs[name], color=color, label=label, marker="o", markersize=2.5)
