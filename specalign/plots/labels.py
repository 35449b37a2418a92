"""Labels of stars: where they lie, and how well they are recovered."""

import numpy as np

from specalign.analysis import metrics
from specalign.data.columns import column_values, known_values
from specalign.plots.style import ACCENT, INK, MUTED, given_axes, ink, new_axes, new_figure, styled, unit_label

__all__ = ["plot_kiel", "plot_label_bins", "plot_labels"]

#: Above this many points a cloud is drawn as a density.
MANY = 3000

NAMES = {
    "teff": "Effective temperature", "logg": "Surface gravity log g", "fe_h": "[Fe/H]",
    "radial_velocity": "Radial velocity", "a_v": "Extinction A(V)", "a_g": "Extinction A(G)",
    "e_b_v": "Colour excess E(B - V)", "e_bp_rp": "Colour excess E(BP - RP)",
}  # fmt: skip


def label_text(name):
    """Name of a label as astronomers write it: mg_fe is [Mg/Fe]."""
    parts = name.split("_")
    if name not in NAMES and len(parts) == 2 and parts[1] in ("fe", "h", "m"):
        return f"[{parts[0].capitalize()}/{parts[1].capitalize()}]"
    return NAMES.get(name, name)


@styled
def plot_kiel(labels, colour="fe_h", ax=None):
    """Surface gravity against effective temperature, both decreasing as astronomers draw them.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
        With columns teff and logg, true or predicted.
    colour : str
        A third label; left out where the table does not have it.
    ax : `~matplotlib.axes.Axes`, optional

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_kiel
    >>> ax = plot_kiel(draw_labels(200)).axes[0]
    >>> bool(ax.xaxis_inverted()), bool(ax.yaxis_inverted())
    (True, True)
    """
    ax = new_axes(ax, width=5.4, height=4.4)
    teff, teff_unit, _ = column_values(labels, "teff")
    logg, logg_unit, _ = column_values(labels, "logg")
    shade = {"color": ACCENT}
    if colour in labels.colnames:
        values, unit, _ = column_values(labels, colour)
        shade = {"c": values}
    points = ax.scatter(teff, logg, s=8, alpha=0.8, linewidths=0, rasterized=True, **shade)
    if "c" in shade:
        ax.figure.colorbar(points, ax=ax, label=unit_label(label_text(colour), unit), pad=0.02)
    ax.invert_xaxis()
    ax.invert_yaxis()
    ax.set(xlabel=unit_label(NAMES["teff"], teff_unit), ylabel=unit_label(NAMES["logg"], logg_unit))
    system = labels.meta.get("label_system")
    ax.set_title(f"{len(labels)} stars" + (f", labels: {system}" if system else ""))
    return ax.figure


@styled
def plot_labels(predicted, true, names=None, ax=None):
    """Predicted against true labels, with residuals.

    Parameters
    ----------
    predicted, true : `~astropy.table.QTable`
        As for `specalign.metrics.labels`.
    names : sequence of str, optional
        By default the first three labels that both have.
    ax : `~matplotlib.axes.Axes` or (2, L) of them, optional
        One, of which a strip below is given to the residuals, for one label; for more labels, one above the other for
        each, as ``figure.subplots(2, len(names))`` makes them.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.plots import plot_labels
    >>> true = QTable({"object_id": ["a", "b", "c"], "teff": [4000, 5000, 6000] * u.K}, meta={"label_system": "mock"})
    >>> predicted = true.copy()
    >>> predicted["teff"] += 50 * u.K
    >>> [ax.get_ylabel() for ax in plot_labels(predicted, true).axes]
    ['Predicted [K]', 'Residual [K]']
    """
    figures = metrics.labels(predicted, true)
    names = list(names or [str(name) for name in figures["label"]][:3])
    rows = metrics.match_rows(predicted["object_id"], true["object_id"])
    panels = _label_panels(names, ax)
    for name, top, bottom in zip(names, *panels, strict=True):
        summary = figures[list(figures["label"]).index(name)]
        _draw_label(top, bottom, name, *_pairs(name, predicted, true, rows), summary)
    return panels[0][0].figure


def _label_panels(names, ax):
    """Axes (2, L) for labels and for their residuals."""
    if ax is None:
        figure = new_figure(width=3.4 * len(names) + 0.4, height=4.6)
        return figure.subplots(2, len(names), sharex="col", squeeze=False, height_ratios=(3, 1.2))
    if len(names) == 1 and np.size(ax) == 1:
        from mpl_toolkits.axes_grid1 import make_axes_locatable

        top = given_axes(ax, names[0])[0]
        bottom = make_axes_locatable(top).append_axes("bottom", size="40%", pad=0.08, sharex=top)
        top.tick_params(labelbottom=False)
        return [[top], [bottom]]
    parts = [f"{part} {name}" for part in ("values of", "residuals of") for name in names]
    return np.reshape(np.array(given_axes(ax, *parts), dtype=object), (2, len(names)))


@styled
def plot_label_bins(figures, names=None):
    """Scatter and bias of predicted labels in bins of a true label.

    Parameters
    ----------
    figures : `~astropy.table.QTable`
        As `specalign.metrics.labels_in_bins` gives it.
    names : sequence of str, optional
        Which labels; by default the first three.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from specalign import metrics
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_label_bins
    >>> true = draw_labels(300)
    >>> figure = plot_label_bins(metrics.labels_in_bins(true, true, by="teff"), ["teff", "logg"])
    >>> len(figure.axes)
    2
    """
    labels = np.asarray(figures["label"], dtype=str)
    names = list(names or dict.fromkeys(labels.tolist()))[: None if names else 3]
    figure = new_figure(width=3.2 * len(names) + 0.4, height=3.4)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _draw_bins(ax, name, figures[labels == name])
    title, unit = label_text(figures.meta["by"]), figures["low"].unit
    figure.supxlabel(unit_label(f"Bins of the true label: {title}", unit), fontsize=9.5)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="outside upper right", ncols=2)
    return figure


def _draw_bins(ax, name, rows):
    place = np.arange(len(rows))
    rmse, bias, n = (np.asarray(rows[key], dtype=float) for key in ("rmse", "bias", "n"))
    ax.bar(place, rmse, width=0.6, color=ACCENT, alpha=0.35, label="RMSE")
    # of the mean: the scatter that is not bias, over the root of the number
    error = np.sqrt(np.maximum(rmse**2 - bias**2, 0) / np.maximum(n, 1))
    ax.errorbar(place, bias, error, fmt="o", color=INK, markersize=4, elinewidth=1, label="bias")
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_xticks(place, [_bin_text(row) for row in rows], fontsize=8)
    ax.set(title=label_text(name), ylabel=unit_label("Predicted - true", str(rows["unit"][0])))
    ax.set_xlim(-0.6, len(rows) - 0.4)


def _bin_text(row):
    low, high = (getattr(row[key], "value", row[key]) for key in ("low", "high"))
    limits = f"< {high:g}" if low == -np.inf else f"≥ {low:g}" if high == np.inf else f"{low:g} to {high:g}"
    title = "" if row["bin"] == limits else f"{row['bin']}\n"
    return f"{title}{limits}\nn = {row['n']}"


def _pairs(name, predicted, true, rows):
    truth, unit, error_unit = known_values(true, name)
    values = column_values(predicted, name, unit)[0]
    errors = np.full(len(values), np.nan)
    if f"{name}_err" in predicted.colnames:
        errors = column_values(predicted, f"{name}_err", error_unit)[0]
    truth = np.where(rows >= 0, truth[rows], np.nan)
    used = np.isfinite(values) & np.isfinite(truth)
    return truth[used], values[used], errors[used], unit, error_unit


def _draw_label(top, bottom, name, truth, values, errors, unit, error_unit, summary):
    ends = [min(truth.min(), values.min()), max(truth.max(), values.max())] if truth.size else [0, 1]
    top.plot(ends, ends, color=ink(), linewidth=0.8, zorder=3)
    bottom.axhline(0, color=ink(), linewidth=0.8, zorder=3)
    _cloud(top, truth, values)
    if np.isfinite(errors).any() and len(truth) <= MANY:
        bottom.errorbar(truth, values - truth, errors, fmt="none", ecolor=MUTED, elinewidth=0.5, alpha=0.4)
    _cloud(bottom, truth, values - truth)
    top.set(title=label_text(name), ylabel=unit_label("Predicted", unit))
    bottom.set(xlabel=unit_label("True", unit), ylabel=unit_label("Residual", error_unit))
    top.annotate(_summary(summary), (0.04, 0.96), xycoords="axes fraction", va="top", fontsize=8.5)
    if truth.size:
        limit = max(np.percentile(np.abs(values - truth), 99) * 1.3, 1e-12)
        bottom.set_ylim(-limit, limit)


def _cloud(ax, x, y):
    if len(x) > MANY:
        ax.hexbin(x, y, gridsize=60, bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
    else:
        ax.scatter(x, y, s=9, alpha=0.55, color=ACCENT, linewidths=0, rasterized=True)


def _summary(row):
    unit = str(row["unit"])
    text = f"RMSE {row['rmse']:.3g} {unit}\nbias {row['bias']:+.3g} {unit}\nR² {row['r2']:.3f}\nn = {row['n']}"
    return text + (f"\n{row['ratio']:.2f} × bound" if np.isfinite(row["ratio"]) else "")
