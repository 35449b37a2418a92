"""The shared space: how often stars are found again, and how it looks in two dimensions."""

import numpy as np

from specalign.data.columns import column_values, match_rows
from specalign.plots.labels import label_text
from specalign.plots.style import MUTED, PALETTE, instrument_colour, new_axes, styled, unit_label

__all__ = ["plot_embedding", "plot_retrieval"]

#: t-SNE of more rows takes minutes.
TSNE_ROWS = 4000


@styled
def plot_retrieval(results, ax=None):
    """Recall@k of several methods, against chance.

    Parameters
    ----------
    results : dict of str to dict
        Of `specalign.metrics.retrieval` and the baselines, best with more k: ``ks=(1, 2, 5, 10, 20, 50)``.
    ax : `~matplotlib.axes.Axes`, optional

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    if not results:
        raise ValueError("results: expected at least one method, got none")
    ax = new_axes(ax, width=5.6, height=3.8)
    for number, (name, figures) in enumerate(results.items()):
        ks = sorted(int(key.removeprefix("recall@")) for key in figures if key.startswith("recall@"))
        recall = [figures[f"recall@{k}"] for k in ks]
        color = MUTED if name == "chance" else PALETTE[number % len(PALETTE)]
        ax.plot(ks, recall, marker="o", markersize=4, color=color, label=f"{name} ({recall[0]:.3g} at k = {ks[0]})")
    if "chance" not in results:
        _draw_chance(ax, next(iter(results.values())))
    ax.set(xscale="log", yscale="log", title="The same star among the first k")
    ax.set(xlabel="k [rows of the gallery]", ylabel="Recall@k [fraction of queries]")
    ax.set_ylim(top=1.15)
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.set_xticks([], minor=True)
    ax.legend(fontsize=8)
    return ax.figure


def _draw_chance(ax, figures):
    ks = sorted(int(key.removeprefix("recall@")) for key in figures if key.startswith("recall@"))
    one = figures["chance_recall@1"]
    ax.plot(ks, 1 - (1 - one) ** np.array(ks), color=MUTED, linestyle="--", label=f"chance ({one:.2g} at k = 1)")


@styled
def plot_embedding(table, method="pca", labels=None, colour=None, ax=None, seed=0):
    """The vectors in two dimensions.

    Parameters
    ----------
    table : `~specalign.EmbeddingTable`
    method : {"pca", "tsne"}
        t-SNE takes at most 4,000 rows, chosen by the seed; the title says so.
    labels : `~astropy.table.QTable`, optional
    colour : str, optional
        A label to colour by; otherwise the instrument.
    ax : `~matplotlib.axes.Axes`, optional
    seed : int

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    ax = new_axes(ax, width=5.6, height=4.4)
    kept = _sample(len(table), method, seed)
    table = table[kept] if len(kept) < len(table) else table
    points, names = _project(table.vectors, method, seed)
    if colour is None:
        _draw_instruments(ax, points, table.instrument)
    else:
        _draw_coloured(ax, points, table, labels, colour)
    ax.set(xlabel=names[0], ylabel=names[1], title=f"{len(table)} spectra, {', '.join(np.unique(table.instrument))}")
    return ax.figure


def _sample(n, method, seed):
    if method not in ("pca", "tsne"):
        raise ValueError(f"method: expected 'pca' or 'tsne', got {method!r}")
    if method == "pca" or n <= TSNE_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:TSNE_ROWS])


def _project(vectors, method, seed):
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30, max(1, (len(vectors) - 1) / 3))
        model = TSNE(2, init="pca", random_state=seed, perplexity=perplexity, metric="cosine")
        return model.fit_transform(vectors), ["t-SNE 1 [arbitrary]", "t-SNE 2 [arbitrary]"]
    from sklearn.decomposition import PCA

    model = PCA(2, random_state=seed)
    points = model.fit_transform(vectors)
    shares = [
        f"PC {i} [dimensionless], {100 * s:.0f} % of variance" for i, s in enumerate(model.explained_variance_ratio_, 1)
    ]
    return points, shares


def _draw_instruments(ax, points, instrument):
    for number, name in enumerate(np.unique(instrument)):
        rows = instrument == name
        color = instrument_colour(name, number)
        ax.scatter(*points[rows].T, s=8, alpha=0.6, linewidths=0, color=color, label=name, rasterized=True)
    ax.legend(fontsize=8, markerscale=2)


def _draw_coloured(ax, points, table, labels, colour):
    values, unit, _ = column_values(labels, colour)
    rows = match_rows(table.object_id, labels["object_id"])
    values = np.where(rows >= 0, values[rows], np.nan)
    there = np.isfinite(values)
    ax.scatter(*points[~there].T, s=5, color=MUTED, linewidths=0, alpha=0.4)
    cloud = ax.scatter(*points[there].T, s=8, c=values[there], linewidths=0, alpha=0.8, rasterized=True)
    ax.figure.colorbar(cloud, ax=ax, label=unit_label(label_text(colour), unit), pad=0.02)
