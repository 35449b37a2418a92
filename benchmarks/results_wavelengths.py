"""The figure of ``docs/results.rst`` with the residuals of translated spectra by wavelength."""

import numpy as np
from matplotlib.figure import Figure
from results_foundation import PAIRS, PREDICTED, read

from specalign.io.files import atomic_write

CHI2_TICKS = (0.1, 0.3, 1, 3)
TRUTHS = {"measured": ("C1", "measured spectra"), "noise-free": ("C0", "noise-free spectra")}


def write_wavelengths(path, store, n_stars):
    """A row of panels for each pair, where its predictions are stored: chi-square and fractional residuals."""
    found = {pair: results for (pair, method), results in read(store, n_stars).items() if method == PREDICTED}
    found = {pair: found[pair] for pair in PAIRS if pair in found}
    if not found:
        return
    figure = Figure(figsize=(10, 2.6 * len(found) + 0.6), layout="constrained")
    axes = figure.subplots(len(found), 4, squeeze=False)
    for row, (pair, results) in zip(axes, found.items(), strict=True):
        for panels, way in zip((row[:2], row[2:]), results[0]["translation"], strict=True):
            draw(*panels, way, [result["translation"][way] for result in results])
        row[0].set_ylabel(PAIRS[pair].replace(", ", "\n").replace(" and ", " and\n"), fontsize=8)
    figure.legend(*axes[0][1].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel("vacuum wavelength (Angstrom)")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


def draw(chi2, residual, way, found):
    """One direction, the mean of all seeds: reduced chi-square, and scatter and bias of the fractional residuals."""
    title = way.replace("->", "to")
    for truth, (color, label) in TRUTHS.items():
        bins = [one[truth]["bins"] for one in found if one[truth]]
        if not bins:
            continue
        edges, style = [edge["angstrom"] for edge in bins[0]], {"color": color, "lw": 1}
        centre = np.mean(edges, axis=1)
        chi2.semilogy(centre, mean(bins, "chi2"), **style)
        residual.semilogy(centre, 100 * mean(bins, "scatter"), **style, label=f"scatter, {label}")
        residual.semilogy(centre, 100 * np.abs(mean(bins, "bias")), **style, ls=":", label=f"|bias|, {label}")
    chi2.axhline(1, color="0.8", lw=1, zorder=0)
    chi2.set_yticks(CHI2_TICKS, [f"{tick:g}" for tick in CHI2_TICKS])
    chi2.set_yticks([], minor=True)
    chi2.set_ylim(CHI2_TICKS[0] / 2, CHI2_TICKS[-1] * 1.5)
    chi2.set_title(f"{title}:\nreduced chi-square", fontsize=8)
    residual.set_title(f"{title}:\nfractional residual (%)", fontsize=8)
    for ax in (chi2, residual):
        ax.tick_params(labelsize=7)


def mean(bins, key):
    """Over seeds, a number each bin, and NaN where nothing is known of a bin."""
    return np.mean(np.array([[one[key] for one in seed] for seed in bins], dtype=float), axis=0)
