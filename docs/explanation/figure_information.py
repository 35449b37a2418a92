"""Figures of the page on the information limit: the bound, how far the package is from it, and the oracle."""

import json
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context

from specalign.mock import cramer_rao, draw_labels
from specalign.plots.style import INSTRUMENTS, PALETTE, STYLE

# Sphinx runs this in the folder of the file.
RESULTS = Path("../../benchmarks/results")
NAMES = {"teff": "Teff [K]", "logg": "log g [dex]", "fe_h": "[Fe/H] [dex]", "mg_fe": "[Mg/Fe] [dex]"}
SHOWN = {"apogee": "APOGEE", "nirspec": "NIRSpec", "lamost": "LAMOST", "gaia_xp": "Gaia XP"}


def read_result(name):
    """A stored result of the programs in ``benchmarks``."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def draw_bounds():
    """Median bounds of 16 mock stars by signal to noise."""
    stars, ratios = draw_labels(16, seed=1), (10, 30, 100, 300)
    with rc_context(STYLE):
        _, axes = plt.subplots(2, 2, figsize=(7.2, 5.6), sharex=True, layout="constrained")
        for instrument, colour in INSTRUMENTS.items():
            bounds = [cramer_rao(instrument, stars, ratio) for ratio in ratios]
            for ax, name in zip(axes.flat, NAMES, strict=True):
                medians = [np.median(bound[name].value) for bound in bounds]
                ax.loglog(ratios, medians, "o-", color=colour, label=SHOWN[instrument], markersize=4)
        for ax, title in zip(axes.flat, NAMES.values(), strict=True):
            ax.set_title(f"Bound of {title}")
        for ax in axes[1]:
            ax.set_xlabel("Signal to noise of a pixel")
        axes[0, 0].legend()


def draw_distance():
    """Errors of labels from the shared space, and from raw flux, over the bound."""
    probe = read_result("four-all-stars20000-seed0")["probe"]
    references = read_result("four-references-stars20000-seed0")
    methods = {"shared space": {name: found["mlp"] for name, found in probe.items()}}
    methods["raw-flux MLP"] = references["raw-flux MLP"]
    labels = ("teff", "logg", "fe_h")
    places = np.arange(len(SHOWN) * len(labels)) + 0.8 * np.repeat(np.arange(len(SHOWN)), len(labels))
    with rc_context(STYLE):
        _, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
        for shift, (method, errors), colour in zip((-0.2, 0.2), methods.items(), PALETTE, strict=False):
            ratios = [errors[i][n]["rmse"] / references["bound"][i][n] for i in SHOWN for n in labels]
            ax.bar(places + shift, ratios, 0.38, color=colour, label=method)
        ax.axhline(1, color="k", linewidth=1, label="the bound")
        ax.set_xticks(places, [f"{name}" for _ in SHOWN for name in ("Teff", "log g", "[Fe/H]")], rotation=90)
        for number, name in enumerate(SHOWN.values()):
            ax.text(places[3 * number + 1], 4.1, name, ha="center", weight="bold")
        ax.set(ylabel="RMSE / bound", ylim=(0, 5.2))
        ax.legend(loc="upper center", ncols=3)


def draw_oracle():
    """Retrieval that is reached in one space of four instruments, and by the oracle."""
    reached, oracle = (
        read_result("four-all-stars20000-seed0")["retrieval"],
        read_result("four-references-stars20000-seed0")["oracle"],
    )
    order = sorted(oracle, key=oracle.get)
    places = np.arange(len(order))
    with rc_context(STYLE):
        _, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        ax.barh(places, [oracle[way] for way in order], color="#d9dee3", label="oracle")
        ax.barh(places, [reached[way]["recall@1"] for way in order], 0.5, color=PALETTE[0], label="shared space")
        names = [" to ".join(SHOWN[name] for name in way.split(" -> ")) for way in order]
        ax.set_yticks(places, names)
        ax.set(xlabel="recall@1 among 2,000 mock stars", xlim=(0, 1))
        ax.grid(axis="y", visible=False)
        ax.legend(loc="lower right")
