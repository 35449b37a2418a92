"""The shared space: how often stars are found again, and how it looks in two dimensions."""

import numpy as np
from matplotlib.lines import Line2D

from specalign.data.columns import column_values, label_names, match_rows
from specalign.plots.labels import label_text
from specalign.plots.projection import Projection, project
from specalign.plots.style import (
    MUTED,
    PALETTE,
    given_axes,
    instrument_colours,
    new_axes,
    new_figure,
    styled,
    unit_label,
)

__all__ = ["plot_embedding", "plot_retrieval"]

#: Shapes that tell instruments apart where the colour shows a label.
SHAPES = ("o", "^", "s", "D", "v", "P")

#: Panels beside each other.
COLUMNS = 3


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

    Examples
    --------
    >>> from specalign.plots import plot_retrieval
    >>> figures = {"recall@1": 0.5, "recall@10": 0.9, "n_gallery": 1000, "chance_recall@1": 0.001}
    >>> figure = plot_retrieval({"aligned": figures})
    >>> figure.axes[0].get_xlabel()
    'k [rows of the gallery]'
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
    """The vectors in two dimensions, coloured by instrument or by labels.

    Parameters
    ----------
    table : `~specalign.EmbeddingTable`
        Of one instrument or of several: each has a shape of its own.
    method : {"pca", "tsne", "umap"} or `~specalign.plots.projection.Projection`
        See `specalign.plots.project`, which has been called already where a projection is given: ``table`` is not
        looked at then, so that several figures cost one projection.
    labels : `~astropy.table.QTable`, optional
        object_id (once each) and labels with units.  Stars without a value are grey.
    colour : str or sequence of str, optional
        A label to colour by, or ``"instrument"``; by default the first of the labels, where there are labels.  Several
        of them get a panel each.
    ax : `~matplotlib.axes.Axes` or sequence of them, optional
        One for each colour.
    seed : int
        For t-SNE and UMAP.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        A label is not in the table, or has no unit.
    SpectrumError
        There are fewer than three rows.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.plots import plot_embedding
    >>> names = [f"star {i}" for i in range(30)]
    >>> vectors = np.random.default_rng(1).normal(size=(30, 8))
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(30, 50), np.ones(30))
    >>> figure = plot_embedding(table)
    >>> len(figure.axes)
    1
    """
    projection = method if isinstance(method, Projection) else project(table, method, seed)
    colours = _colours(colour, labels)
    panels = _panels(len(colours)) if ax is None else given_axes(ax, *colours)
    for panel, name in zip(panels, colours, strict=True):
        _draw_cloud(panel, projection, labels, name, name_bar=len(panels) == 1)
    if ax is not None or len(panels) == 1:
        for panel in panels:
            panel.set(xlabel=projection.axis_labels[0], ylabel=projection.axis_labels[1])
    else:
        _shared_labels(panels[0].figure, projection.axis_labels)
    _title_embedding(panels, projection, colours, ax is None)
    return panels[0].figure


def _colours(colour, labels):
    if colour is None:
        names = [] if labels is None else label_names(labels)
        return [names[0] if names else "instrument"]
    colours = [colour] if isinstance(colour, str) else list(colour)
    if not colours:
        raise ValueError("colour: expected one label or more, got none")
    return colours


def _panels(n):
    if n == 1:
        return [new_axes(width=5.6, height=4.4)]
    columns = 2 if n == 4 else min(n, COLUMNS)
    rows = -(-n // columns)
    figure = new_figure(width=3.4 * columns, height=3.0 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax in axes[n:]:
        ax.remove()
    for ax in axes[max(0, n - columns) : n]:
        ax.tick_params(labelbottom=True)
    return list(axes[:n])


def _shared_labels(figure, names):
    """Say what the shared axes are once: beside each panel, the names would run into each other."""
    figure.supxlabel(names[0], fontsize=9.5)
    figure.supylabel(names[1], fontsize=9.5)


def _title_embedding(panels, projection, colours, own):
    table, left = projection.table, projection.n_left_out
    title = f"{len(table)} spectra, {', '.join(np.unique(table.instrument))}"
    title += f" ({left} more are not shown)" if left else ""
    if len(panels) == 1:
        panels[0].set_title(title)
        return
    if own:
        panels[0].figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    for panel, name in zip(panels, colours, strict=True):
        panel.set_title("Instrument" if name == "instrument" else label_text(name), fontweight="normal")


def _draw_cloud(ax, projection, labels, colour, name_bar):
    instrument = projection.table.instrument
    if colour == "instrument":
        for number, (name, color) in enumerate(instrument_colours(np.unique(instrument).tolist()).items()):
            _scatter(ax, projection.points[instrument == name], number, color=color, label=name)
        ax.legend(fontsize=8, markerscale=2)
        return
    values, unit = _values(projection.table, labels, colour)
    there = np.isfinite(values)
    limits = np.percentile(values[there], [1, 99]) if there.any() else (0, 1)
    for number, name in enumerate(np.unique(instrument)):
        mine = instrument == name
        _scatter(ax, projection.points[mine & ~there], number, s=5, color=MUTED, alpha=0.4)
        shade = {"c": values[mine & there], "vmin": limits[0], "vmax": limits[1]}
        cloud = _scatter(ax, projection.points[mine & there], number, label=name, **shade)
    text = unit_label(label_text(colour) if name_bar else "", unit).strip()
    ax.figure.colorbar(cloud, ax=ax, label=text, pad=0.02, extend="both")
    if len(np.unique(instrument)) > 1:
        _legend_of_shapes(ax, np.unique(instrument), there.all())


def _scatter(ax, points, number, **look):
    """Points of one instrument; drawn as pixels, since a page with thousands of vector points cannot be scrolled."""
    look = {"s": 9, "alpha": 0.7, "linewidths": 0, "rasterized": True, "marker": SHAPES[number % len(SHAPES)]} | look
    return ax.scatter(*points.T, **look)


def _values(table, labels, name):
    if labels is None:
        raise ValueError(f"labels: expected a table with {name!r} to colour by, got none")
    values, unit, _ = column_values(labels, name)
    rows = match_rows(table.object_id, labels["object_id"])
    return np.where(rows >= 0, values[rows], np.nan), unit


def _legend_of_shapes(ax, names, complete):
    shapes = [
        Line2D([], [], linestyle="", marker=SHAPES[number % len(SHAPES)], color=MUTED, markersize=4.5, label=name)
        for number, name in enumerate(names)
    ]
    ax.legend(handles=shapes, fontsize=7.5, title=None if complete else "small, grey: no value", title_fontsize=7.5)
