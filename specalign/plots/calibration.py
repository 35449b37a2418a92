"""Whether posteriors are calibrated: histograms of ranks."""

import numpy as np

from specalign.analysis.calibration import rank_counts, rank_names
from specalign.plots.labels import label_text
from specalign.plots.style import ACCENT, MUTED, given_axes, ink, new_figure, styled

__all__ = ["plot_calibration"]


@styled
def plot_calibration(ranks, names=None, bins=16, band=0.99, ax=None):
    """Ranks of true labels among samples of their posteriors, and the band in which uniform ranks would lie.

    High at both ends, posteriors are too narrow; high in the middle, too wide; high on the left, labels are predicted
    too high (Talts et al. 2018, arXiv 1804.06788).

    Parameters
    ----------
    ranks : `~astropy.table.QTable`
        As `specalign.analysis.calibration_ranks` gives them.
    names : sequence of str, optional
        Which labels; by default the first three.
    bins : int
    band : float
        Probability that a bar of uniform ranks lies in the band.
    ax : `~matplotlib.axes.Axes` or (L,) of them, optional
        One a label; by default in a new figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        No rank of a label is known.
    ValueError
        There are more bins than ranks, or more or fewer axes than labels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign.plots import plot_calibration
    >>> names, rng = np.arange(500).astype(str), np.random.default_rng(1)
    >>> ranks = QTable({"object_id": names, "spectrum_id": names, "teff": rng.integers(0, 128, 500)})
    >>> ranks.meta["n_samples"] = 127
    >>> plot_calibration(ranks).axes[0].get_xlabel()
    'Rank among 127 samples'
    """
    names = list(names or rank_names(ranks)[:3])
    if not 2 <= bins <= ranks.meta["n_samples"] + 1:
        raise ValueError(f"bins: expected from 2 to {ranks.meta['n_samples'] + 1}, one a rank, got {bins}")
    if ax is None:
        axes = new_figure(width=2.8 * len(names) + 0.6, height=2.8).subplots(1, len(names), squeeze=False)[0]
    else:
        axes = given_axes(ax, *names)
    for one, name in zip(axes, names, strict=True):
        _draw_ranks(one, name, ranks, bins, band)
    axes[0].set_ylabel("Stars")
    return axes[0].figure


def _draw_ranks(ax, name, ranks, bins, band):
    from scipy.stats import binom

    counts, expected = rank_counts(ranks, name, bins)
    n, edges = counts.sum(), np.ceil(np.linspace(0, ranks.meta["n_samples"] + 1, bins + 1))
    low, high = binom.ppf([[(1 - band) / 2], [(1 + band) / 2]], n, expected / n)
    ax.stairs(high, edges, baseline=low, fill=True, color=MUTED, alpha=0.35, label=f"{100 * band:g} % of uniform ranks")
    ax.stairs(expected, edges, color=ink(), linewidth=0.8, baseline=None)
    ax.stairs(counts, edges, color=ACCENT, linewidth=1.4, label=f"{n} stars")
    ax.set(title=label_text(name), xlabel=f"Rank among {ranks.meta['n_samples']} samples", ylim=(0, None))
    ax.set_xlim(edges[0], edges[-1])
    ax.legend(fontsize=7.5, loc="lower center")
