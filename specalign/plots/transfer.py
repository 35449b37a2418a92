"""Labels that were transferred, beside the true ones, in planes that astronomers know."""

import numpy as np

from specalign.analysis.metrics import match_rows
from specalign.data.columns import column_values, known_values
from specalign.exceptions import LabelError
from specalign.plots.labels import label_text
from specalign.plots.neighbours import BACKWARDS
from specalign.plots.style import ACCENT, INK, new_figure, styled, unit_label

__all__ = ["plot_transferred"]


@styled
def plot_transferred(predicted, true, x="teff", y="logg", colour="fe_h"):
    """Predicted labels beside the true ones of the same stars, on the same axes and with the same colours.

    By default the Kiel diagram; ``x="fe_h", y="mg_fe"`` gives the plane in which the discs of the Galaxy part.  A cross
    shows the median of the stated errors, where the predictions have them.

    Parameters
    ----------
    predicted : `~astropy.table.QTable`
        object_id and labels with units, a row a spectrum, as `specalign.LabelModel` gives them.
    true : `~astropy.table.QTable`
        object_id (once each) and labels with units, of the same system.
    x, y : str
        Temperature and gravity are drawn from large to small.
    colour : str or None
        A third label; left out where one of the tables does not have it.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        A label is missing, or known for no star in both tables.
    MatchError
        No star is in both tables.

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_transferred
    >>> labels = draw_labels(100)
    >>> figure = plot_transferred(labels, labels, colour=None)
    >>> len(figure.axes)
    2
    """
    rows = match_rows(predicted["object_id"], true["object_id"])
    names = [x, y] + ([colour] if colour and all(colour in t.colnames for t in (predicted, true)) else [])
    truth, values, units = _columns(names, predicted, true, rows)
    used = np.isfinite(truth[:2]).all(axis=0) & np.isfinite(values[:2]).all(axis=0)
    if not used.any():
        raise LabelError(f"{x} and {y}: expected a star for which both tables know both, found none")
    figure = new_figure(width=8.4, height=4.0)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    limits = _limits(truth[2][used]) if len(names) == 3 else None
    left = len(used) - int(used.sum())
    titles = (f"{used.sum()} stars, true" + (f" ({left} left out)" if left else ""), "Transferred")
    for ax, columns, title in zip(axes, (truth[:, used], values[:, used]), titles, strict=True):
        points = _cloud(ax, columns, limits)
        ax.set(title=title, xlabel=unit_label(label_text(x), units[0]))
    _finish(figure, axes, points, names, units)
    _draw_errors(axes[1], predicted, (x, y), units, used)
    return figure


def _columns(names, predicted, true, rows):
    truth, values, units = [], [], []
    for name in names:
        column, unit, _ = known_values(true, name)
        truth.append(np.where(rows >= 0, column[rows], np.nan))
        values.append(column_values(predicted, name, unit)[0])
        units.append(unit)
    return np.array(truth), np.array(values), units


def _limits(values):
    values = values[np.isfinite(values)]
    return tuple(np.percentile(values, [1, 99])) if values.size else (0, 1)


def _cloud(ax, columns, limits):
    shade = {"color": ACCENT} if limits is None else {"c": columns[2], "vmin": limits[0], "vmax": limits[1]}
    return ax.scatter(*columns[:2], s=9, alpha=0.8, linewidths=0, rasterized=True, plotnonfinite=True, **shade)


def _finish(figure, axes, points, names, units):
    axes[0].set_ylabel(unit_label(label_text(names[1]), units[1]))
    if names[0] in BACKWARDS:
        axes[0].invert_xaxis()
    if names[1] in BACKWARDS:
        axes[0].invert_yaxis()
    if len(names) == 3:
        label = unit_label(label_text(names[2]), units[2])
        figure.colorbar(points, ax=list(axes), label=label, pad=0.015, extend="both")


def _draw_errors(ax, predicted, names, units, used):
    """A cross of the typical stated error, in the corner that the axes leave to it."""
    if not all(f"{name}_err" in predicted.colnames for name in names):
        return
    sizes = [
        column_values(predicted, f"{name}_err", getattr(unit, "function_unit", unit))[0][used]
        for name, unit in zip(names, units[:2], strict=True)
    ]
    if not all(np.isfinite(size).any() for size in sizes):
        return
    middle = [np.nanmedian(size) for size in sizes]
    upper = names[1] in BACKWARDS  # the corner that stars leave empty in both planes
    place = _at(ax.get_xlim(), 0.12), _at(ax.get_ylim(), 0.88 if upper else 0.12)
    ax.autoscale(False)
    ax.errorbar(*place, xerr=middle[0], yerr=middle[1], color=INK, elinewidth=1, capsize=2)
    ax.annotate("median of\nthe stated errors", place, (16, -6), textcoords="offset points", fontsize=7.5, va="top")


def _at(limits, share):
    return limits[0] + share * (limits[1] - limits[0])
