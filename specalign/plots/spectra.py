"""Spectra before and after preparation, and beside those that look like them.

Masked pixels are gaps: no line is drawn over them, nor over a break of the grid.
"""

import astropy.units as u
import numpy as np

from specalign.analysis.coverage import grid_breaks
from specalign.exceptions import MatchError
from specalign.plots.style import (
    ACCENT,
    MUTED,
    SOFT,
    given_axes,
    instrument_colours,
    new_axes,
    new_figure,
    styled,
    unit_label,
    wavelength,
)

__all__ = ["plot_before_after", "plot_neighbours", "plot_prepared"]


@styled
def plot_prepared(prepared, ax=None, rows=(0, 1, 2), show_mask=True):
    """Prepared spectra above each other, with gaps where pixels are masked and a band of one standard deviation.

    Parameters
    ----------
    prepared : `~specalign.PreparedSpectra`
    ax : `~matplotlib.axes.Axes`, optional
    rows : sequence of int
        Those that are beyond the end are left out; one number draws one row.
    show_mask : bool
        Mark masked pixels below each spectrum.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments import get_instrument
    >>> from specalign.plots import plot_prepared
    >>> apogee = get_instrument("apogee")
    >>> flux = np.ones((2, 8575))
    >>> prepared = apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=["a", "b"])
    >>> plot_prepared(prepared, rows=[1]).axes[0].get_xlabel()
    'Vacuum wavelength [Å]'
    """
    rows = [range(len(prepared))[row] for row in np.atleast_1d(rows) if row < len(prepared)]
    ax = new_axes(ax, height=1.6 + 0.9 * len(rows))
    step = _offset(prepared, rows)
    for number, row in enumerate(rows):
        draw_row(ax, prepared, row, offset=number * step)
        if show_mask:
            _draw_mask_below(ax, prepared, row, number * step)
    ax.set(title=_title(prepared), ylabel=flux_label(prepared, step if len(rows) > 1 else 0))
    ax.set_xlabel(axis_label(prepared))
    return ax.figure


def _draw_mask_below(ax, prepared, row, offset):
    """Ticks under the masked pixels, just below what is drawn of the spectrum."""
    x, mask = wavelength(prepared.spectral_axis)[0], prepared.mask[row]
    if mask.any() and not mask.all():
        low, high = np.percentile(prepared.flux[row][~mask], [0.5, 99.5])
        place = np.full(np.count_nonzero(mask), offset + low - 0.12 * max(high - low, 1e-3))
        ax.scatter(x[mask], place, marker="|", s=12, color=MUTED, linewidths=0.5, rasterized=True)


def _offset(prepared, rows):
    shown = np.where(prepared.mask[rows], np.nan, prepared.flux[rows])
    if not np.isfinite(shown).any():
        return 1.0
    low, high = np.nanpercentile(shown, [1, 99])
    return float(max(1.3 * (high - low), 1e-3))


def draw_row(ax, prepared, row, offset=0.0, color=None, label=True, linewidth=0.7, name=None):
    """One spectrum with a band of one standard deviation; its name beside it, or in the legend."""
    x, _ = wavelength(prepared.spectral_axis)
    good = ~prepared.mask[row]
    flux = np.where(good, prepared.flux[row], np.nan) + offset
    sigma = 1 / np.sqrt(np.where(good & (prepared.ivar[row] > 0), prepared.ivar[row], np.inf))
    color = color or instrument_colours([prepared.instrument.name])[prepared.instrument.name]
    breaks = grid_breaks(prepared.spectral_axis)
    x, line, sigma = (np.insert(values, breaks, np.nan) for values in (x, flux, sigma))
    ax.fill_between(x, line - sigma, line + sigma, color=color, alpha=0.18, linewidth=0)
    ax.plot(x, line, color=color, linewidth=linewidth, label=name)
    if label and good.any():
        source = translated_from(prepared, row)
        text = f"{prepared.object_id[row]}  S/N {prepared.snr[row]:.0f}" + (f" of {source}" if source else "")
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
        ax.annotate(text, (1, np.percentile(flux[good], 99.5)), (0, 3), fontsize=7.5, **place)


def translated_from(prepared, row):
    """The instrument whose spectrum was translated to this row; empty where it is none of `Aligner.translate`."""
    return str(prepared.catalog["translated_from"][row]) if "translated_from" in prepared.catalog.colnames else ""


def _title(prepared):
    sources = sorted({translated_from(prepared, row) for row in range(len(prepared))} - {""})
    what = f"translated from {' and '.join(sources)}" if sources else "prepared"
    return f"{prepared.instrument.name}: {what}, {100 * prepared.good_fraction.mean():.0f} % of pixels good"


def axis_label(prepared):
    """Name and unit of the spectral axis."""
    label = wavelength(prepared.spectral_axis)[1]
    return label.replace("Wavelength", "Vacuum wavelength") if prepared.axis_kind == "wavelength" else label


def flux_label(prepared, step=0):
    """Name and unit of the flux, and by how much spectra are set off."""
    text = unit_label("Normalised flux", u.dimensionless_unscaled)
    return f"{text}\n(steps of {step:.2g})" if step else text


@styled
def plot_before_after(spectrum, prepared, row=0):
    """One spectrum as it was read, and as it was prepared.

    Parameters
    ----------
    spectrum : `~specutils.Spectrum`
        Of one dimension, with a mask (True = bad).
    prepared : `~specalign.PreparedSpectra`
    row : int
        Which row of ``prepared`` belongs to the spectrum.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.plots import plot_before_after
    >>> apogee, names = get_instrument("apogee"), ["a", "b", "c", "d"]
    >>> flux = 1 + 0.05 * np.random.default_rng(1).normal(size=(4, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(
    ...     flux, np.full(flux.shape, 400.0), spectral_axis=apogee.spectral_axis, object_id=names
    ... )
    >>> figure = plot_before_after(prepared.to_spectrum(0), prepared)
    >>> len(figure.axes)
    2
    """
    figure = new_figure(height=5.2)
    top, bottom = figure.subplots(2, 1)
    _draw_read(top, spectrum)
    draw_row(bottom, prepared, row)
    _draw_masked(bottom, wavelength(prepared.spectral_axis)[0], prepared.mask[row])
    frame = _catalog(prepared, row, "frame")
    bottom.set(title=f"prepared{frame}", xlabel=axis_label(prepared), ylabel=flux_label(prepared))
    return figure


def _draw_read(ax, spectrum):
    x, label = wavelength(spectrum.spectral_axis)
    mask = np.zeros(x.shape, dtype=bool) if spectrum.mask is None else np.asarray(spectrum.mask, dtype=bool)
    flux = np.asarray(spectrum.flux.value, dtype=float)
    ax.plot(x, np.where(mask, np.nan, flux), color=ACCENT, linewidth=0.7)
    _draw_masked(ax, x, mask)
    limit_flux(ax, flux[~mask])
    facts = [str(spectrum.meta[key]) for key in ("object_id", "product", "frame", "medium") if spectrum.meta.get(key)]
    ax.set(title="as read: " + (", ".join(facts) or "no facts stated"), xlabel=label)
    ax.set_ylabel(unit_label("Flux", spectrum.flux.unit))


def _draw_masked(ax, x, mask):
    if mask.any():
        ax.plot(x[mask], np.full(mask.sum(), 0.02), "|", color=MUTED, markersize=5, transform=ax.get_xaxis_transform())
        place = {"xycoords": "axes fraction", "fontsize": 7.5, "color": SOFT}
        ax.annotate(f"{100 * mask.mean():.0f} % masked", (0.005, 0.05), **place)


def limit_flux(ax, values):
    """Limits of the flux that single bad pixels do not stretch."""
    values = values[np.isfinite(values)]
    if values.size:
        low, high = np.percentile(values, [0.05, 99.95])
        margin = 0.1 * (high - low) + 1e-12 * max(abs(high), 1e-30)
        ax.set_ylim(low - margin, high + margin)


def _catalog(prepared, row, name):
    if name not in prepared.catalog.colnames:
        return ""
    return f", {prepared.catalog[name][row]} {name}"


@styled
def plot_neighbours(neighbours, queries, gallery, spectrum_id=None, n=3, ax=None):
    """A query spectrum above the spectra that were found for it.

    Parameters
    ----------
    neighbours : `~astropy.table.QTable`
        From `specalign.EmbeddingTable.search`.
    queries, gallery : `~specalign.PreparedSpectra`
        Where the spectra of the query and of its neighbours are.
    spectrum_id : str, optional
        Of the query; by default the first one of the table.
    n : int
        Neighbours to draw.
    ax : sequence of `~matplotlib.axes.Axes`, optional
        For the query and for each neighbour.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    MatchError
        A spectrum is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.plots import plot_neighbours
    >>> apogee, names = get_instrument("apogee"), ["a", "b", "c", "d"]
    >>> flux = 1 + 0.05 * np.random.default_rng(1).normal(size=(4, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(
    ...     flux, np.full(flux.shape, 400.0), spectral_axis=apogee.spectral_axis, object_id=names
    ... )
    >>> from specalign import EmbeddingTable
    >>> near = EmbeddingTable(np.eye(4), names, prepared.spectrum_id, "apogee", [50] * 4, [1] * 4)
    >>> near = near.search(near, k=2)
    >>> figure = plot_neighbours(near, prepared, prepared, n=2)
    >>> len(figure.axes)
    3
    """
    spectrum_id = str(neighbours["spectrum_id"][0]) if spectrum_id is None else spectrum_id
    found = neighbours[neighbours["spectrum_id"] == spectrum_id]
    found = found[np.argsort(found["rank"])][:n]
    axes = new_figure(height=1.7 * (1 + len(found))).subplots(1 + len(found), 1, squeeze=False) if ax is None else ax
    axes = given_axes(axes, "the query", *(f"rank {rank}" for rank in found["rank"]))
    row = row_of(queries, spectrum_id)
    _draw_panel(axes[0], queries, row, f"query, {queries.instrument.name}: {queries.object_id[row]}")
    for ax, hit in zip(axes[1:], found, strict=True):
        row = row_of(gallery, hit["neighbour_spectrum_id"])
        same = ", the same star" if hit["neighbour_object_id"] == hit["object_id"] else ""
        name = f"{gallery.instrument.name}: {hit['neighbour_object_id']}{same}"
        _draw_panel(ax, gallery, row, f"{hit['rank']}. {name} (cosine {hit['similarity']:.3f})")
    return axes[0].figure


def row_of(prepared, spectrum_id):
    """The row of a spectrum."""
    rows = np.flatnonzero(prepared.spectrum_id == spectrum_id)
    if not rows.size:
        raise MatchError(
            f"spectrum_id {str(spectrum_id)!r} is not among the {len(prepared)} spectra of {prepared.instrument.name}"
        )
    return int(rows[0])


def _draw_panel(ax, prepared, row, title):
    """One spectrum in a panel of its own."""
    draw_row(ax, prepared, row, label=False)
    limit_flux(ax, prepared.flux[row][~prepared.mask[row]])
    ax.set_title(title, fontsize=9)
    ax.set(xlabel=axis_label(prepared), ylabel="Norm. flux\n[dimensionless]")
