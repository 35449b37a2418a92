"""What happened while an aligner or a label regressor was trained."""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from specalign.plots.style import ACCENT, MUTED, PALETTE, SOFT, given_axes, new_figure, styled

__all__ = ["plot_history", "plot_training"]


@styled
def plot_history(history, ax=None):
    """Losses and recall over the epochs; a line marks the epoch whose weights were kept.

    Parameters
    ----------
    history : `specalign.alignment.history.History`
        Or anything with ``epochs`` (a table with epoch, train_loss, val_loss, recall@1) and ``best_epoch``.
    ax : sequence of 2 `~matplotlib.axes.Axes`, optional
        For the loss and for the recall.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from specalign.alignment import History
    >>> from specalign.plots import plot_history
    >>> history = History()
    >>> history.add(epoch=0, train_loss=2.0, val_loss=2.1)
    >>> [ax.get_ylabel() for ax in plot_history(history).axes]
    ['Loss [nat]', 'Recall@1 [fraction]']
    """
    axes = new_figure(height=3.0).subplots(1, 2) if ax is None else ax
    left, right = given_axes(axes, "the loss", "the recall")
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
    return left.figure


@styled
def plot_training(history, ax=None):
    """Losses of the training of one encoder, with the kept epoch, the end and its reason, and the learning rate.

    Lines mark the steps of a rate that falls in steps.

    Parameters
    ----------
    history : `specalign.alignment.history.LabelHistory`
        That of a pre-training or an adaptation is one, too.  Or anything with ``epochs`` (a table with epoch,
        train_loss, val_loss, learning_rate), ``best_epoch``, ``stopped`` and ``LOSS``, the name of the loss.
    ax : sequence of 2 `~matplotlib.axes.Axes`, optional
        For the losses and for the learning rate.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from specalign.alignment import LabelHistory
    >>> from specalign.plots import plot_training
    >>> history = LabelHistory(stopped="the limit of epochs was reached")
    >>> history.add(epoch=0, train_loss=0.9, val_loss=1.1, learning_rate=1e-3)
    >>> plot_training(history).axes[0].get_title(loc="left")
    '1 epochs: the limit of epochs was reached'
    """
    axes = new_figure(height=4.4).subplots(2, 1, sharex=True, height_ratios=(3, 1)) if ax is None else ax
    top, bottom = given_axes(axes, "the losses", "the learning rate")
    epochs = history.epochs
    for name, label, color in (("train_loss", "training", PALETTE[0]), ("val_loss", "validation", PALETTE[1])):
        _draw_column(top, epochs, name, label, color)
    top.set(ylabel=history.LOSS, title=_ending(history))
    _draw_rate(top, bottom, np.asarray(epochs["epoch"]), np.asarray(epochs["learning_rate"], dtype=float))
    top.axvline(history.best_epoch, color=SOFT, linestyle=":", label="weights kept")
    if len(epochs):
        top.axvline(epochs["epoch"][-1], color=SOFT, linestyle="-", linewidth=0.9, label="end")
    top.legend(fontsize=8, loc="upper right", ncols=2, frameon=True, edgecolor="none")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    bottom.set(xlabel="Epoch [number]", ylabel="Rate [1 / step]")
    losses = np.concatenate([np.asarray(epochs[name], dtype=float) for name in ("train_loss", "val_loss")])
    if not (losses <= 0).any():  # a likelihood of labels may be below 0
        _log_axis(top)
    _log_axis(bottom)
    return top.figure


def _ending(history):
    return f"{len(history.epochs)} epochs" + (f": {history.stopped}" if history.stopped else "")


def _log_axis(ax):
    """A logarithmic axis with plain numbers, also where it spans less than a decade."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_rate(top, bottom, epoch, rate):
    bottom.step(epoch, rate, where="mid", color=ACCENT, marker="o" if len(epoch) == 1 else None)
    steps = epoch[1:][np.diff(rate) != 0] - 0.5
    if len(steps) > len(epoch) / 2:  # a rate that falls all the time has no steps
        return
    for i, place in enumerate(steps):
        for ax in (top, bottom):
            label = "step of the learning rate" if i == 0 and ax is top else None
            ax.axvline(place, color=MUTED, linestyle="--", linewidth=0.7, zorder=0, label=label)


def _draw_column(ax, epochs, name, label, color):
    if name in epochs.colnames and np.isfinite(np.asarray(epochs[name], dtype=float)).any():
        ax.plot(epochs["epoch"], epochs[name], color=color, label=label, marker="o", markersize=2.5)
