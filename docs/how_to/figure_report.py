"""The figure of the page on the report: sketches of healthy panels, and of those that are a reason to look closer."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context

from specalign.plots.style import INSTRUMENTS, PALETTE, STYLE


def draw_space(ax, rng, shared):
    """Two instruments that cover each other, or stand apart."""
    along = rng.uniform(0, 3, 250)
    for name, shift in (("apogee", 0.0), ("nirspec", 0.0 if shared else 1.3)):
        places = np.stack([along + rng.normal(scale=0.12, size=250), np.sin(along) + shift])
        places[1] += rng.normal(scale=0.12, size=250)
        ax.plot(*places, ".", color=INSTRUMENTS[name], markersize=3, alpha=0.6, label=name)
    ax.set(xticks=[], yticks=[], title="Instruments overlap" if shared else "Instruments stand apart")


def draw_training(ax, rng, healthy):
    """A validation loss that follows the training loss, or turns."""
    epochs = np.arange(1, 31)
    training = 1 + 3 * np.exp(-epochs / 6) - (0 if healthy else 0.02 * epochs)
    validation = training + 0.15 + (0 if healthy else 0.06 * np.maximum(epochs - 9, 0))
    for values, name, colour in ((training, "training", PALETTE[0]), (validation, "validation", PALETTE[1])):
        ax.plot(epochs, values + rng.normal(scale=0.03, size=30), color=colour, label=name)
    title = "Losses fall together" if healthy else "Validation turns"
    ax.set(xlabel="Epoch", ylabel="Loss", yticks=[], title=title)


def draw_labels(ax, rng, healthy):
    """Predictions along the line, or near the mean whatever is true."""
    truth = rng.normal(size=250)
    found = truth + rng.normal(scale=0.2, size=250) if healthy else 0.1 * truth + rng.normal(scale=0.12, size=250)
    ax.plot(truth, found, ".", color=PALETTE[0], markersize=3)
    ax.axline((0, 0), slope=1, color="k", linewidth=0.8)
    title = "Follows the line" if healthy else "The mean for everybody"
    ax.set(xlabel="True", ylabel="Predicted", xticks=[], yticks=[], ylim=(-3, 3), title=title)


def draw():
    """Healthy panels above, worrying ones below."""
    rng = np.random.default_rng(0)
    with rc_context(STYLE):
        _, axes = plt.subplots(2, 3, figsize=(7.4, 4.8), layout="constrained")
        for row, healthy in zip(axes, (True, False), strict=True):
            for ax, panel in zip(row, (draw_space, draw_training, draw_labels), strict=True):
                panel(ax, rng, healthy)
        axes[0, 0].legend(loc="lower center", markerscale=3)
        axes[0, 1].legend()
