"""The figure of the front page: one mock star in two instruments, and how often it is found again."""

import json
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context

from specalign.mock import draw_labels, spectrum
from specalign.plots.style import INSTRUMENTS, PALETTE, STYLE

# Sphinx runs this in the folder of the file.
RESULT = Path("../benchmarks/results/nirspec-apogee-stars20000-seed0.json")
WAY = "nirspec -> apogee"


def draw_star(ax):
    """One giant, seen by APOGEE and by NIRSpec."""
    giant = draw_labels(40, seed=3)
    giant = giant[[int(np.argmin(giant["logg"].value))]]
    for name, shift, shown in (("apogee", 0.0, "APOGEE"), ("nirspec", 0.25, "NIRSpec")):
        axis, flux = spectrum(name, giant)
        wavelength = axis.to_value("Angstrom")
        near = (wavelength > 16000) & (wavelength < 16350)
        shown_flux = flux.value[0, near] / np.max(flux.value[0, near]) + shift
        ax.plot(wavelength[near], shown_flux, color=INSTRUMENTS[name], linewidth=1, label=shown)
    ax.set(xlabel="Vacuum wavelength [Å]", ylabel="Normalised flux, shifted", title="One star, two instruments")
    ax.set(xticks=(16000, 16150, 16300), ylim=(0.35, 1.3))
    ax.legend(loc="lower left", ncols=2)


def draw_found(ax):
    """How often the star itself is among the first k, beside the raw flux and the oracle."""
    result, ks = json.loads(RESULT.read_text(encoding="utf-8")), (1, 5, 10)
    contrast = result["contrast"]
    curves = {"shared space": contrast["retrieval"][WAY], "raw flux": contrast["baselines"]["raw-flux cosine"]}
    for (name, figures), colour in zip(curves.items(), PALETTE, strict=False):
        ax.plot(ks, [figures[f"recall@{k}"] for k in ks], "o-", color=colour, label=name)
    ax.plot([1], [result["oracle"]], "*", color=PALETTE[2], markersize=10, label="oracle")
    ax.plot(ks, [k / 2000 for k in ks], "--", color=PALETTE[5], linewidth=1, label="chance")
    ax.set(xlabel="k", ylabel="Star among the first k", ylim=(-0.03, 1), title="NIRSpec to APOGEE, 2,000 stars")
    ax.set_xticks(ks)
    ax.legend(loc="center right")


def draw():
    """Both panels."""
    with rc_context(STYLE):
        _, axes = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained", width_ratios=(1.25, 1))
        draw_star(axes[0])
        draw_found(axes[1])
