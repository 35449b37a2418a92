"""What a search found: the retrieved spectrum over the query, and where neighbours lie in the space and in labels."""

import astropy.units as u
import numpy as np

from specalign.data.columns import column_values
from specalign.data.embeddings import EmbeddingTable
from specalign.exceptions import GridMismatchError, MatchError
from specalign.plots.labels import label_text
from specalign.plots.projection import Projection, project
from specalign.plots.spectra import row_of
from specalign.plots.style import MUTED, PALETTE, ink, instrument_colours, new_axes, new_figure, styled, unit_label

__all__ = ["plot_neighbour_labels", "plot_neighbour_map", "plot_retrieved", "plot_similarity"]

#: Labels that astronomers draw from large to small.
BACKWARDS = ("teff", "logg")

#: The detail is this share of the common range: a few hundred pixels of a spectrograph of R = 20,000 can be told apart.
DETAIL = 0.08


@styled
def plot_retrieved(neighbours, queries, gallery, spectrum_id=None, n=2, detail=None):
    """Retrieved spectra over the query, each with its similarity: the whole common range, and a detail.

    The detail is the grey stretch of the whole.  Each spectrum is drawn on its own pixels and at its own resolution:
    lines of the sharper instrument are deeper, also for the same star.

    Parameters
    ----------
    neighbours : `~astropy.table.QTable`
        From `specalign.EmbeddingTable.search`.
    queries, gallery : `~specalign.PreparedSpectra`
        Where the spectra of the query and of its neighbours are.
    spectrum_id : str, optional
        Of the query; by default the first one of the table.
    n : int
        Neighbours to draw, a row of panels each.
    detail : `~astropy.units.Quantity` (2,), optional
        Ends of the detail; by default the part of the common range where the query varies most.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    MatchError
        The query is not in the table, or a spectrum is not there.
    GridMismatchError
        The two instruments have no wavelength in common; `~specalign.plots.plot_neighbours` draws them apart.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.plots import plot_retrieved
    >>> apogee, names = get_instrument("apogee"), ["a", "b", "c", "d"]
    >>> flux = 1 + 0.05 * np.random.default_rng(1).normal(size=(4, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(
    ...     flux, np.full(flux.shape, 400.0), spectral_axis=apogee.spectral_axis, object_id=names
    ... )
    >>> from specalign import EmbeddingTable
    >>> near = EmbeddingTable(np.eye(4), names, prepared.spectrum_id, "apogee", [50] * 4, [1] * 4)
    >>> near = near.search(near, k=2)
    >>> figure = plot_retrieved(near, prepared, prepared, n=1)
    >>> len(figure.axes)
    2
    """
    found = _found(neighbours, spectrum_id)[:n]
    row = row_of(queries, found["spectrum_id"][0])
    ends = _common_range(queries, gallery)
    detail = _detail(queries, row, ends) if detail is None else u.Quantity(detail).to_value(u.AA, u.spectral())
    figure = new_figure(width=8.4, height=2.5 * len(found) + 0.3)
    axes = figure.subplots(len(found), 2, squeeze=False, width_ratios=(1.7, 1))
    for hit, (whole, part) in zip(found, axes, strict=True):
        other = row_of(gallery, hit["neighbour_spectrum_id"])
        for ax, limits in ((whole, ends), (part, detail)):
            _overlay(ax, (queries, row), (gallery, other), limits)
        part.locator_params(axis="x", nbins=4)  # five digits each: more would run into each other
        whole.axvspan(*detail, color=MUTED, alpha=0.25, linewidth=0, zorder=0)
        whole.set_title(_hit_title(hit), fontsize=9.5)
        whole.set_ylabel(unit_label("Normalised flux", u.dimensionless_unscaled))
    part.legend(fontsize=8, loc="lower right")
    for ax in axes[-1]:
        ax.set_xlabel("Vacuum wavelength [Å]")
    return figure


def _found(neighbours, spectrum_id):
    """The neighbours of one query, best first."""
    if not len(neighbours):
        raise MatchError("expected neighbours of at least one query, got an empty table")
    spectrum_id = str(neighbours["spectrum_id"][0]) if spectrum_id is None else str(spectrum_id)
    found = neighbours[np.asarray(neighbours["spectrum_id"], str) == spectrum_id]
    if not len(found):
        raise MatchError(f"spectrum_id {spectrum_id!r} is not among the queries of the table of neighbours")
    return found[np.argsort(found["rank"])]


def _common_range(queries, gallery):
    names = [prepared.instrument.name for prepared in (queries, gallery)]
    for prepared, name in zip((queries, gallery), names, strict=True):
        if prepared.axis_kind != "wavelength":
            raise GridMismatchError(f"spectra of {name} are not on a wavelength axis but on {prepared.axis_kind}s")
    axes = [prepared.spectral_axis.to_value(u.AA, u.spectral()) for prepared in (queries, gallery)]
    low, high = max(axis.min() for axis in axes), min(axis.max() for axis in axes)
    if not low < high:
        raise GridMismatchError(
            f"{names[0]} and {names[1]} have no wavelength in common, so that one cannot be drawn over the other; "
            f"plot_neighbours draws them apart"
        )
    return low, high


def _detail(prepared, row, ends):
    """The stretch of the common range in which the spectrum varies most."""
    x = prepared.spectral_axis.to_value(u.AA, u.spectral())
    flux = np.where(prepared.mask[row], np.nan, prepared.flux[row])
    width = DETAIL * (ends[1] - ends[0])
    starts = np.linspace(ends[0], ends[1] - width, 40)
    inside = [(x >= start) & (x <= start + width) & np.isfinite(flux) for start in starts]
    enough = max(2, 0.8 * max(part.sum() for part in inside))
    spread = [flux[part].std() if part.sum() >= enough else -1 for part in inside]
    start = starts[int(np.argmax(spread))]
    return start, start + width


def _overlay(ax, query, retrieved, limits):
    roles = {"query": query, "retrieved": retrieved}
    # the one with more pixels goes below: its noise would hide the other
    order = sorted(roles, key=lambda role: -roles[role][0].flux.shape[1])
    values = []
    for number, role in enumerate(order):
        prepared, row = roles[role]
        x = prepared.spectral_axis.to_value(u.AA, u.spectral())
        inside = (x >= limits[0]) & (x <= limits[1])
        values.append(np.where(prepared.mask[row], np.nan, prepared.flux[row])[inside])
        name, color = prepared.instrument.name, _role_colour(role, query[0], prepared)
        line, width = f"{role}, {name}", (0.6, 1.1)[number]
        ax.plot(x[inside], values[-1], color=color, linewidth=width, alpha=0.85, label=line, rasterized=True)
    ax.set_xlim(limits)
    _frame(ax, np.concatenate(values))


def _role_colour(role, query, prepared):
    name = prepared.instrument.name
    if role == "retrieved" and name == query.instrument.name:
        return PALETTE[2]
    return instrument_colours([query.instrument.name, name])[name]


def _frame(ax, values):
    """Room for the deepest lines, but not for a single wild pixel among thousands."""
    values = values[np.isfinite(values)]
    if values.size:
        low, high = np.percentile(values, [0.05, 99.95])
        margin = 0.12 * max(high - low, 1e-3)
        ax.set_ylim(low - 2 * margin, high + margin)


def _hit_title(hit):
    same = hit["neighbour_object_id"] == hit["object_id"]
    other = "the same star" if same else f"another star, {hit['neighbour_object_id']}"
    return f"{hit['object_id']}, rank {hit['rank']}: {other} (cosine {hit['similarity']:.3f})"


@styled
def plot_neighbour_map(neighbours, queries, gallery, method="pca", spectrum_ids=None, n=4, k=5, ax=None, seed=0):
    """Where the nearest neighbours of a few queries lie among all spectra, in two dimensions.

    Neighbours are found in all dimensions; on a plane they may lie apart.

    Parameters
    ----------
    neighbours : `~astropy.table.QTable`
        From `specalign.EmbeddingTable.search`.
    queries, gallery : `~specalign.EmbeddingTable`
        What was searched for, and in what.
    method : {"pca", "tsne", "umap"} or `~specalign.plots.projection.Projection`
        As for `~specalign.plots.plot_embedding`; a projection must hold the queries and the gallery.
    spectrum_ids : sequence of str, optional
        Of the queries to draw; by default the first ``n`` of the table.
    n, k : int
        Queries, and neighbours of each.
    ax : `~matplotlib.axes.Axes`, optional
    seed : int
        For t-SNE and UMAP.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    MatchError
        A query is not in the tables.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.plots import plot_neighbour_map
    >>> names = [f"star {i}" for i in range(30)]
    >>> vectors = np.random.default_rng(1).normal(size=(30, 8))
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(30, 50), np.ones(30))
    >>> figure = plot_neighbour_map(table.search(table, k=3), table, table, n=2, k=3)
    >>> len(figure.axes)
    1
    """
    projection = method if isinstance(method, Projection) else project(_union(queries, gallery), method, seed)
    ax = new_axes(ax, width=6.2, height=4.8)
    instruments = dict(zip(queries.spectrum_id.tolist(), queries.instrument.tolist(), strict=True))
    ax.scatter(*projection.points.T, s=6, color=MUTED, alpha=0.35, linewidths=0, rasterized=True)
    lost = 0
    for number, found in enumerate(_chosen(neighbours, spectrum_ids, n, k)):
        name = str(found["spectrum_id"][0])
        start = projection.rows(instruments.get(name, ""), [name])[0]
        if start < 0:
            raise MatchError(f"spectrum_id {name!r} is not among the {len(projection.table)} spectra of the projection")
        ends = projection.rows(found["neighbour_instrument"], found["neighbour_spectrum_id"])
        lost += int((ends < 0).sum())
        _draw_links(
            ax, number, found, projection.points[start], np.where(ends[:, None] < 0, np.nan, projection.points[ends])
        )
    ax.set(xlabel=projection.axis_labels[0], ylabel=projection.axis_labels[1])
    _finish_map(ax, f"Neighbours among {len(gallery)} spectra", lost, "not shown")
    return ax.figure


@styled
def plot_similarity(neighbours, ax=None, n=200):
    """Similarity against rank, a line a query, with a mark where a neighbour is the same star.

    Where likelihood orders the neighbours, its logarithm takes the place of the cosine, less that of the best.

    Parameters
    ----------
    neighbours : `~astropy.table.QTable`
        From `specalign.EmbeddingTable.search`.
    ax : `~matplotlib.axes.Axes`, optional
    n : int
        Queries to draw, spread over the table.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> from specalign.plots import plot_similarity
    >>> gallery = EmbeddingTable([[1, 0], [0, 1]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 50], [1, 1])
    >>> query = EmbeddingTable([[0.6, 0.8]], ["b"], ["b-2"], "nirspec", [50], [1])
    >>> plot_similarity(gallery.search(query, k=2)).axes[0].get_ylabel()
    'Cosine similarity [dimensionless]'
    """
    names = list(dict.fromkeys(np.asarray(neighbours["spectrum_id"], str).tolist()))
    names = names[:: max(1, -(-len(names) // n))]
    chosen = neighbours[np.isin(np.asarray(neighbours["spectrum_id"], str), names)]
    ax = new_axes(ax, width=5.6, height=3.8)
    queries = np.asarray(chosen["spectrum_id"], str)
    value, title = _compared(chosen)
    for name in names:
        mine = queries == name
        ax.plot(chosen["rank"][mine], value[mine], color=MUTED, linewidth=0.6, alpha=0.6)
    same = np.asarray(chosen["neighbour_object_id"] == chosen["object_id"])
    found = len(set(queries[same].tolist()))
    label = f"the same star, of {found} of {len(names)} queries"
    ax.plot(chosen["rank"][same], value[same], "o", color=PALETTE[1], markersize=3.5, label=label, rasterized=True)
    ax.set(xlabel="Rank [number]", ylabel=unit_label(title, u.dimensionless_unscaled))
    ax.set_title("Nearest neighbours")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    return ax.figure


def _compared(neighbours):
    """What ordered the neighbours (rows,), and what it is called."""
    if "log_likelihood" not in neighbours.colnames:
        return np.asarray(neighbours["similarity"]), "Cosine similarity"
    _, query = np.unique(np.asarray(neighbours["spectrum_id"], str), return_inverse=True)
    best = np.full(query.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, query, neighbours["log_likelihood"])
    return np.asarray(neighbours["log_likelihood"]) - best[query], "ln(likelihood / best)"


def _union(queries, gallery):
    """Both tables; a row that is in both is there once."""
    known = set(zip(gallery.instrument.tolist(), gallery.spectrum_id.tolist(), strict=True))
    pairs = zip(queries.instrument.tolist(), queries.spectrum_id.tolist(), strict=True)
    new = np.array([pair not in known for pair in pairs], dtype=bool)
    return EmbeddingTable.concatenate([gallery, queries[new]]) if new.any() else gallery


def _chosen(neighbours, spectrum_ids, n, k):
    names = list(dict.fromkeys(np.asarray(neighbours["spectrum_id"], str).tolist()))[:n]
    names = names if spectrum_ids is None else list(map(str, spectrum_ids))
    return [_found(neighbours, name)[:k] for name in names or [None]]


def _draw_links(ax, number, found, start, ends):
    """A query, lines to its neighbours, and a ring around those that are the same star."""
    color = PALETTE[number % len(PALETTE)]
    same = np.asarray(found["neighbour_object_id"] == found["object_id"])
    for end in ends:
        ax.plot(*np.stack([start, end]).T, color=color, linewidth=0.7, alpha=0.7, zorder=2)
    ax.scatter(*ends.T, s=26, color=color, linewidths=0, zorder=3)
    ax.scatter(*ends[same].T, s=70, facecolors="none", edgecolors=color, linewidths=1.3, zorder=3)
    label = f"{found['object_id'][0]}: {'found' if same.any() else 'not'} among its {len(found)}"
    ax.scatter(*start, s=110, marker="*", color=color, edgecolors=ink(), linewidths=0.6, zorder=4, label=label)


def _finish_map(ax, title, lost, why):
    title += f" ({lost} neighbours {why})" if lost else ""
    ax.set_title(title)
    ax.legend(
        fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2,
        title="star: query; dots: its neighbours; ring: the same star", title_fontsize=7.5,
    )  # fmt: skip


@styled
def plot_neighbour_labels(neighbours, labels, x="teff", y="logg", spectrum_ids=None, n=4, k=5, ax=None):
    """Where the nearest neighbours of a few queries lie in a plane of two labels, by default the Kiel diagram.

    Parameters
    ----------
    neighbours : `~astropy.table.QTable`
        From `specalign.EmbeddingTable.search`.
    labels : `~astropy.table.QTable`
        object_id (once each) and the labels, with units, of queries and gallery; unknown ones are NaN or masked.
    x, y : str
        Temperature and gravity are drawn from large to small.
    spectrum_ids : sequence of str, optional
        Of the queries to draw; by default the first ``n`` of the table.
    n, k : int
        Queries, and neighbours of each.
    ax : `~matplotlib.axes.Axes`, optional

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    LabelError
        A label is not in the table, or has no unit.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.mock import draw_labels
    >>> from specalign.plots import plot_neighbour_labels
    >>> labels, vectors = draw_labels(30), np.random.default_rng(1).normal(size=(30, 8))
    >>> names = labels["object_id"]
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(30, 50), np.ones(30))
    >>> figure = plot_neighbour_labels(table.search(table, k=3), labels, n=2, k=3)
    >>> figure.axes[0].get_xlabel()
    '...'
    """
    (xs, x_unit, _), (ys, y_unit, _) = column_values(labels, x), column_values(labels, y)
    points = np.stack([xs, ys], axis=1)
    place = {name: row for row, name in enumerate(np.asarray(labels["object_id"], str).tolist())}
    ax = new_axes(ax, width=6.2, height=4.8)
    ax.scatter(*points.T, s=6, color=MUTED, alpha=0.35, linewidths=0, rasterized=True)
    lost = 0
    for number, found in enumerate(_chosen(neighbours, spectrum_ids, n, k)):
        ends = _places(points, place, found["neighbour_object_id"])
        lost += int(np.isnan(ends).any(axis=1).sum())
        _draw_links(ax, number, found, _places(points, place, found["object_id"][:1])[0], ends)
    _label_axes(ax, x, x_unit, y, y_unit)
    _finish_map(ax, "Neighbours by their labels", lost, "without labels")
    return ax.figure


def _places(points, place, names):
    """Points of the named stars, NaN where a label is not known."""
    rows = np.array([place.get(name, -1) for name in np.asarray(names, str).tolist()], dtype=np.int64)
    found = np.where(rows[:, None] >= 0, points[rows], np.nan)
    return np.where(np.isfinite(found).all(axis=1)[:, None], found, np.nan)


def _label_axes(ax, x, x_unit, y, y_unit):
    ax.set(xlabel=unit_label(label_text(x), x_unit), ylabel=unit_label(label_text(y), y_unit))
    if x in BACKWARDS:
        ax.invert_xaxis()
    if y in BACKWARDS:
        ax.invert_yaxis()
