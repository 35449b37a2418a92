"""A catalogue of labels as figures: densities, histograms, abundances against metallicity, and a corner plot."""

import warnings

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from specalign.data.columns import column_values, label_names
from specalign.exceptions import LabelError, MissingExtraError
from specalign.plots.labels import label_text
from specalign.plots.style import ACCENT, MUTED, PALETTE, new_axes, new_figure, styled, unit_label

__all__ = ["plot_abundance", "plot_corner", "plot_density", "plot_histogram"]

#: What is drawn lies between these percentiles, and a margin; the title counts the rest.
PERCENTILES = (0.1, 99.9)
KIEL = ("teff", "logg")
CONTOURS = (0.95, 0.68)  # share of the stars within each line


@styled
def plot_density(labels, x="teff", y="logg", bins=None, contours=None, ax=None):
    """Two-dimensional histogram of the stars of a catalogue in two labels, with logarithmic colours.

    Both axes decrease where the labels are those of the Kiel diagram, teff and logg.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
        With columns ``x`` and ``y``, in units.
    x, y : str
    bins : int, optional
        Bins an axis; by default more where there are more stars.
    contours : dict of str to `~astropy.table.QTable`, optional
        Other catalogues (predicted labels, another survey), drawn over it as lines that hold 68 % and 95 % of their
        stars; the name is the one in the legend.
    ax : `~matplotlib.axes.Axes`, optional

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        A label is not in a table, has no unit, or no star has both.

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_density
    >>> figure = plot_density(draw_labels(500))
    >>> figure.axes[0].get_xlabel()
    'Effective temperature [K]'
    """
    points, units = _pair(labels, x, y)
    ax = new_axes(ax, width=5.6, height=4.4)
    limits = [_limits(values) for values in points]
    counts, *edges = np.histogram2d(*points, bins=bins or _n_bins(points.shape[1]), range=limits)
    norm = LogNorm(1, max(counts.max(), 2))
    mesh = ax.pcolormesh(*edges, np.where(counts > 0, counts, np.nan).T, norm=norm, cmap="viridis_r", rasterized=True)
    ticks = {"ticks": LogLocator(subs=(1, 2, 5)), "format": "%g"}
    ax.figure.colorbar(mesh, ax=ax, label="Stars per bin [number]", pad=0.02, **ticks).minorticks_off()
    _draw_contours(ax, contours or {}, (x, y), units, limits)
    ax.set(xlim=limits[0], ylim=limits[1])
    if (x, y) == KIEL:
        ax.invert_xaxis()
        ax.invert_yaxis()
    ax.set(xlabel=unit_label(label_text(x), units[0]), ylabel=unit_label(label_text(y), units[1]))
    ax.set_title(_count(labels, points.shape[1], points.shape[1] - int(counts.sum())))
    return ax.figure


def _pair(labels, *names, units=None):
    """Values (2, n) of the stars that have both labels, and their units."""
    columns = [column_values(labels, name, unit) for name, unit in zip(names, units or [None, None], strict=True)]
    points = np.stack([values for values, *_ in columns])
    points = points[:, np.isfinite(points).all(axis=0)]
    if not points.size:
        raise LabelError(f"none of the {len(labels)} rows has both {' and '.join(names)}; check flags and units")
    return points, [unit for _, unit, _ in columns]


def _limits(values):
    low, high = np.percentile(values, PERCENTILES)
    margin = 0.04 * (high - low) or max(1e-3 * abs(low), 1e-3)
    return low - margin, high + margin


def _n_bins(n):
    return int(np.clip(0.6 * np.sqrt(n), 12, 100))


def _count(labels, n, n_outside=0):
    parts = [f"{n:,} stars".replace(",", "\u2009")]
    parts += [f"{n_outside} outside"] * bool(n_outside) + [f"{len(labels) - n} without value"] * (n < len(labels))
    system = labels.meta.get("label_system")
    return ", ".join(parts) + (f"\nlabels: {system}" if system else "")


def _draw_contours(ax, tables, names, units, limits):
    from scipy.ndimage import gaussian_filter

    handles = []
    for number, (name, table) in enumerate(tables.items()):
        color = PALETTE[(number + 1) % len(PALETTE)]
        points, _ = _pair(table, *names, units=units)
        counts, *edges = np.histogram2d(*points, bins=min(_n_bins(points.shape[1]), 40), range=limits)
        counts = gaussian_filter(counts, 1.0)
        centres = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        if levels := _levels(counts):
            ax.contour(*centres, counts.T, levels=levels, colors=[color], linewidths=1.2)
        handles.append(Line2D([], [], color=color, label=f"{name} ({points.shape[1]}; 68 % and 95 %)"))
    if handles:
        place = "upper left" if names == KIEL else "best"
        ax.legend(handles=handles, fontsize=8, frameon=True, framealpha=0.85, loc=place)


def _levels(counts):
    """Heights above which lie the shares of `CONTOURS`, increasing."""
    ordered = np.sort(counts, axis=None)[::-1]
    cumulative = np.cumsum(ordered)
    if not cumulative[-1]:
        return []
    at = np.searchsorted(cumulative, np.array(CONTOURS) * cumulative[-1])
    return sorted(set(ordered[np.minimum(at, ordered.size - 1)].tolist()) - {0.0})


@styled
def plot_histogram(labels, name="fe_h", bins=None, ax=None):
    """How many stars have which value of one label, for one catalogue or several.

    Parameters
    ----------
    labels : `~astropy.table.QTable` or dict of str to `~astropy.table.QTable`
        Several are drawn over each other, in the units of the first.
    name : str
    bins : int, optional
        By default after Freedman & Diaconis (1981) or Sturges, whichever is finer, but never narrower than the median
        error of the label, where there is one: a finer histogram would show noise.
    ax : `~matplotlib.axes.Axes`, optional

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        The label is not in a table, has no unit, or no star has it.

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_histogram
    >>> figure = plot_histogram({"all": draw_labels(500), "half": draw_labels(250, 2)}, "fe_h")
    >>> figure.axes[0].get_xlabel()
    '[Fe/H] [dex]'
    """
    tables = labels if isinstance(labels, dict) else {"": labels}
    if not tables:
        raise LabelError("labels: expected at least one table, got none")
    ax = new_axes(ax, width=5.6, height=3.6)
    _, unit, error_unit = column_values(next(iter(tables.values())), name)
    found = {key: _finite(table, name, unit) for key, table in tables.items()}
    edges = _edges(found, bins, _typical_error(tables, name, error_unit))
    for number, (key, values) in enumerate(found.items()):
        color = PALETTE[number % len(PALETTE)]
        label = f"{key}: {_count(tables[key], len(values))}".replace("\nlabels: ", ", ")
        ax.hist(values, edges, histtype="stepfilled", color=color, alpha=0.25)
        ax.hist(values, edges, histtype="step", color=color, linewidth=1.4, label=label)
    width = f"{edges[1] - edges[0]:.2g} {error_unit.to_string('unicode')}"
    ax.set(xlabel=unit_label(label_text(name), unit), ylabel=f"Stars [per {width}]")
    if isinstance(labels, dict):
        ax.legend(fontsize=8)
    else:
        ax.set_title(_count(labels, len(found[""])))
    return ax.figure


def _finite(table, name, unit):
    values = column_values(table, name, unit)[0]
    return values[np.isfinite(values)]


def _typical_error(tables, name, unit):
    """The smallest of the tables' median errors, or 0 where none has errors."""
    errors = [_finite(table, f"{name}_err", unit) for table in tables.values() if f"{name}_err" in table.colnames]
    return min((float(np.median(values)) for values in errors if values.size), default=0.0)


def _edges(found, bins, error):
    values = np.concatenate(list(found.values()))
    if not values.size:
        raise LabelError("no star has a value of this label: check flags and missing values")
    limits = _limits(values)
    if bins is None:
        within = values[(values >= limits[0]) & (values <= limits[1])]
        bins = min(len(np.histogram_bin_edges(within, "auto", limits)) - 1, 120)
        bins = max(1, min(bins, int((limits[1] - limits[0]) / error))) if error > 0 else bins
    return np.linspace(*limits, bins + 1)


@styled
def plot_abundance(labels, name="mg_fe", against="fe_h", bins=None, contours=None, ax=None):
    """An abundance ratio against metallicity, as a density; dotted lines mark the solar values.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
    name, against : str
    bins, contours, ax
        As for `plot_density`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        A label is not in a table, has no unit, or no star has both.

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_abundance
    >>> figure = plot_abundance(draw_labels(500), "mg_fe")
    >>> figure.axes[0].get_ylabel()
    '[Mg/Fe] [dex]'
    """
    ax = new_axes(ax, width=5.6, height=4.2)
    figure = plot_density(labels, x=against, y=name, bins=bins, contours=contours, ax=ax)
    for line in (ax.axhline, ax.axvline):
        line(0, color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    return figure


@styled
def plot_corner(labels, names=None):
    """Every pair of labels, and every label alone, with the ``corner`` package (Foreman-Mackey 2016, JOSS 1, 24).

    Each panel shows the stars that have its labels, so that a label that few stars have hides nothing in the others.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
    names : sequence of str, optional
        By default every label of the table.  Labels without a value, or without a star in common with another label,
        are left out, which the title says.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        At most 11 inches wide, however many labels there are.

    Raises
    ------
    LabelError
        A label is not in the table or has no unit, or there is no label with a value.
    MissingExtraError
        The package ``corner`` is not installed.

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_corner
    >>> figure = plot_corner(draw_labels(500), ["teff", "logg", "fe_h"])
    >>> len(figure.axes)
    6
    """
    names = list(names or label_names(labels))
    columns = [column_values(labels, name) for name in names]
    used, limits, inside = _usable([values for values, *_ in columns])
    if not used:
        raise LabelError(f"no label has a value: {', '.join(names) or 'the table has no label columns'}")
    texts = [_corner_text(names[i], columns[i][1]) for i in used]
    # Outside of the limits they are in no bin: corner itself would need every star to have every label.
    values = [np.where(inside[i], columns[i][0], limits[i][1] + 9 * np.ptp(limits[i])) for i in used]
    figure = _draw_corner(values, [limits[i] for i in used], texts)
    _arrange(figure, len(used))
    left_out = [label_text(name) for i, name in enumerate(names) if i not in used]
    title = _count(labels, len(labels)) + (f"\nleft out: {', '.join(left_out)}" if left_out else "")
    figure.text(0.98, 0.98, title, ha="right", va="top", fontsize=10.5, fontweight="bold")
    return figure


_SHORT = {"teff": "Teff", "logg": "log g"}
_CORNER_INCHES = 11
_MANY_LABELS = 7


def _corner_text(name, unit):
    unit = unit_label("", unit).strip().replace("cm s⁻²", "cgs")  # as wide as a panel may be
    return f"{_SHORT.get(name, label_text(name))}\n{unit}"


def _usable(columns):
    """Numbers of the labels of which every pair has a star, limits of each, and which values lie within."""
    limits, inside = {}, {}
    for i, values in enumerate(columns):
        if np.isfinite(values).any():
            limits[i] = _limits(values[np.isfinite(values)])
            inside[i] = (values >= limits[i][0]) & (values <= limits[i][1])
    used = sorted(inside)
    while used:
        there = np.stack([inside[i] for i in used]).astype(float)
        alone = (there @ there.T == 0).sum(axis=1)
        if not alone.any():
            break
        used.pop(int(np.lexsort([there.sum(axis=1), -alone])[0]))
    return used, limits, inside


def _draw_corner(values, limits, texts):
    n = len(texts)
    size = min(1.55 * n + 1.2, _CORNER_INCHES)
    figure = new_figure(size, size, layout="none")
    data = np.stack(values, axis=1)
    data = np.vstack([data, np.broadcast_to([high + 9 * (high - low) for low, high in limits], (n, n))])
    small = {"fontsize": np.clip(80 / n, 7.5, 9.5)}
    few = len(data) < 500
    options = {"plot_datapoints": few, "plot_density": not few, "plot_contours": not few, "no_fill_contours": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="corner")
        _corner()(
            data, fig=figure, range=limits, bins=int(np.clip(0.6 * np.sqrt(len(data)), 10, 30)), color=ACCENT,
            labels=texts, label_kwargs=small, max_n_ticks=5, contour_kwargs={"linewidths": 0.6},
            hist_kwargs={"linewidth": 1.0}, data_kwargs={"alpha": 0.6, "ms": 2.5}, quiet=True, **options,
        )  # fmt: skip
    return figure


def _corner():
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="corner")
            from corner import corner
    except ImportError as error:
        raise MissingExtraError("plot_corner needs corner: pip install 'specalign[plot]'") from error
    return corner


def _arrange(figure, n):
    """Take empty panels away, and leave as much room for names and numbers as they need, however many panels."""
    panels = np.array(figure.axes).reshape(n, n)
    inches = figure.get_figwidth()
    figure.subplots_adjust(left=0.95 / inches, bottom=1.0 / inches, right=0.985, top=0.985, wspace=0.06, hspace=0.06)
    for row, column in zip(*np.triu_indices(n, 1), strict=True):
        panels[row, column].remove()
    for i in range(n):
        _arrange_names(panels[i, 0].yaxis if i else None, panels[-1, i].xaxis, inches, n)
        for ax in panels[i, : i + 1]:
            ax.grid(visible=False)
            if n >= _MANY_LABELS:
                _thin_out(ax, 4 if n <= 12 else 3, diagonal=ax is panels[i, i])
            ax.tick_params(labelsize=float(np.clip(70 / n, 5.5, 8)), length=2)


def _arrange_names(yaxis, xaxis, inches, n):
    share = (inches - 1.2) / inches / n * inches  # inches of a panel
    xaxis.set_label_coords(0.5, -0.5 / share)
    if yaxis is not None:
        yaxis.set_label_coords(-0.5 / share, 0.5)


def _thin_out(ax, most, diagonal):
    """Few ticks, and none near the ends, where the numbers of the next panel begin."""
    ax.set_xticks(_inner_ticks(*ax.get_xlim(), most))
    if not diagonal:
        ax.set_yticks(_inner_ticks(*ax.get_ylim(), most))


def _inner_ticks(low, high, most):
    margin = 0.13 * (high - low)
    ticks = MaxNLocator(most).tick_values(low, high)
    return ticks[(ticks > low + margin) & (ticks < high - margin)]
