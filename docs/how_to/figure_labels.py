"""The figure of the page on choosing labels: what each instrument adds to what is known of the population."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context

from specalign.mock import cramer_rao, draw_labels
from specalign.plots.style import STYLE

SHOWN = {"apogee": "APOGEE", "nirspec": "NIRSpec", "lamost": "LAMOST", "gaia_xp": "Gaia XP"}


def spread(labels, name):
    """Scatter of a label over the mock stars."""
    return np.std(np.asarray(labels[name], dtype=float))


def draw_information(n_stars=16, snr=100):
    """The median bound over the scatter of the label among the stars: below 1 the spectrum tells something."""
    labels = draw_labels(n_stars, seed=1)
    population = draw_labels(2000, seed=1)
    names = [name for name in cramer_rao("gaia_xp", labels[:2], snr).colnames if not name.endswith(("_h", "object_id"))]
    names.insert(2, "fe_h")
    bounds = [cramer_rao(instrument, labels, snr) for instrument in SHOWN]
    values = [[np.median(bound[name].value) / spread(population, name) for bound in bounds] for name in names]
    with rc_context(STYLE):
        _, ax = plt.subplots(figsize=(6.2, 7.4), layout="constrained")
        image = ax.imshow(np.log10(values), cmap="RdYlBu_r", vmin=-1.5, vmax=1.5, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(np.log10(value)) > 0.9 else "black"
            ax.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8.5, color=colour)
        ax.set_xticks(range(len(SHOWN)), SHOWN.values())
        ax.set_yticks(range(len(names)), names)
        ax.grid(visible=False)
        ax.set_title(f"Bound / scatter among the stars, S/N {snr}")
        ticks = [-1, 0, 1]
        bar = ax.figure.colorbar(image, ax=ax, ticks=ticks, extend="both", shrink=0.6)
        bar.ax.set_yticklabels(["0.1: told", "1", "10: not told"])
