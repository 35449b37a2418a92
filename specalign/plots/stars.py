"""Spectra of chosen stars: those that span the labels, and one star by two instruments."""

import astropy.units as u
import numpy as np

from specalign.analysis.catalogue import select_spanning
from specalign.analysis.coverage import grid_breaks
from specalign.data.columns import column_values
from specalign.exceptions import GridMismatchError, MatchError
from specalign.plots.labels import label_text
from specalign.plots.spectra import axis_label, draw_row, flux_label, limit_flux, translated_from
from specalign.plots.style import MUTED, PALETTE, instrument_colours, new_axes, new_figure, styled, wavelength

__all__ = ["plot_overlay", "plot_selected"]


@styled
def plot_selected(prepared, rows=None, labels=None, n=10):
    """Some spectra, a panel each, with their labels; gaps are left open and shaded.

    Parameters
    ----------
    prepared : `~specalign.PreparedSpectra`
    rows : sequence of int or str, optional
        Rows, or object_id (of which the spectrum with the highest signal to noise is drawn).  By default stars that
        span the labels, see `~specalign.analysis.catalogue.select_spanning`, or the first ones where there are no
        labels.
    labels : `~astropy.table.QTable`, optional
        With object_id: teff, logg and fe_h stand in the titles.
    n : int
        How many, unless ``rows`` says which.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    MatchError
        A star or row is not there, or there is nothing to draw.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.plots import plot_selected
    >>> apogee, names = get_instrument("apogee"), ["a", "b", "c", "d"]
    >>> flux = 1 + 0.05 * np.random.default_rng(1).normal(size=(4, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(
    ...     flux, np.full(flux.shape, 400.0), spectral_axis=apogee.spectral_axis, object_id=names
    ... )
    >>> figure = plot_selected(prepared, rows=["b", "d"])
    >>> len(figure.axes)
    2
    """
    if rows is None:
        rows = range(min(n, len(prepared))) if labels is None else _spanning(prepared, labels, n)
    rows = [_star_row(prepared, row) for row in rows]
    if not rows:
        raise MatchError(f"expected at least one row, got none of the {len(prepared)} of {prepared.instrument.name}")
    figure = new_figure(height=1.15 * len(rows) + 0.8)
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for ax, row in zip(axes, rows, strict=True):
        draw_row(ax, prepared, row, label=False)
        limit_flux(ax, prepared.flux[row][~prepared.mask[row]])
        _shade_gaps(ax, prepared, row)
        ax.set_title(_describe(prepared, row, labels), fontsize=8.5)
    axes[-1].set_xlabel(axis_label(prepared))
    figure.supylabel(flux_label(prepared), fontsize=9.5)
    return figure


def _spanning(prepared, labels, n):
    there = labels[np.isin(np.asarray(labels["object_id"], dtype=str), prepared.object_id)]
    if not len(there):
        raise MatchError(
            f"none of the {len(labels)} labelled stars is among the {len(prepared)} spectra of "
            f"{prepared.instrument.name}; pass rows=, or labels of these stars"
        )
    return [str(name) for name in select_spanning(there, n)["object_id"]]


def _star_row(prepared, row):
    """The row itself, or the best spectrum of a star."""
    if not isinstance(row, str):
        if not -len(prepared) <= row < len(prepared):
            raise MatchError(f"row {row}: expected 0 to {len(prepared) - 1} of {prepared.instrument.name}")
        return int(row) % len(prepared)
    rows = np.flatnonzero(prepared.object_id == row)
    if not rows.size:
        raise MatchError(f"object_id {row!r} is not among the {len(prepared)} spectra of {prepared.instrument.name}")
    return int(rows[np.argmax(prepared.snr[rows])])


def _describe(prepared, row, labels):
    """Name, labels and signal to noise of a spectrum."""
    parts = [str(prepared.object_id[row]), *_label_texts(prepared.object_id[row], labels)]
    return ", ".join([*parts, f"S/N {prepared.snr[row]:.0f}"])


def _label_texts(star, labels):
    rows = [] if labels is None else np.flatnonzero(np.asarray(labels["object_id"], dtype=str) == star)
    texts = []
    for name in ("teff", "logg", "fe_h") if len(rows) else ():
        if name in labels.colnames and np.isfinite(value := column_values(labels[rows[:1]], name)[0][0]):
            unit = f" {labels[name].unit}" if name == "teff" else ""
            short = {"teff": "Teff", "logg": "log g"}.get(name, label_text(name))
            texts.append(f"{short} {value:.{0 if name == 'teff' else 2}f}{unit}")
    return texts


def _shade_gaps(ax, prepared, row, min_pixels=10):
    """Grey over masked stretches, so that they differ from a flat continuum."""
    x = wavelength(prepared.spectral_axis)[0]
    ends = np.flatnonzero(np.diff(np.concatenate([[False], prepared.mask[row], [False]]).astype(int)))
    for start, stop in ends.reshape(-1, 2):
        if stop - start >= min_pixels:
            ax.axvspan(x[start], x[stop - 1], color=MUTED, alpha=0.18, linewidth=0)
    for stop in grid_breaks(prepared.spectral_axis):
        ax.axvspan(x[stop - 1], x[stop], color=MUTED, alpha=0.18, linewidth=0)


@styled
def plot_overlay(prepared_a, prepared_b, object_id, limits=None, common=False, labels=None, ax=None):
    """The spectra of one star by two instruments, over each other.

    Both are drawn as they were prepared: each with its own normalisation, resolution and frame, which the legend names.
    Of several spectra of the star the one with the highest signal to noise is drawn.

    Parameters
    ----------
    prepared_a, prepared_b : `~specalign.PreparedSpectra`
    object_id : str
    limits : `~astropy.units.Quantity` (2,), optional
        Wavelengths to zoom to.
    common : bool
        Zoom to where both have good pixels.
    labels : `~astropy.table.QTable`, optional
        With object_id: teff, logg and fe_h stand in the title.
    ax : `~matplotlib.axes.Axes`, optional

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    MatchError
        The star is not among the spectra of both.
    GridMismatchError
        One of them has no wavelengths, there is no good pixel within ``limits``, or ``common`` is asked for and they
        share no wavelengths.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.plots import plot_overlay
    >>> apogee, names = get_instrument("apogee"), ["a", "b", "c", "d"]
    >>> flux = 1 + 0.05 * np.random.default_rng(1).normal(size=(4, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(
    ...     flux, np.full(flux.shape, 400.0), spectral_axis=apogee.spectral_axis, object_id=names
    ... )
    >>> nirspec = get_instrument("nirspec")
    >>> flux = np.ones((1, nirspec.n_pixels))
    >>> other = nirspec.prepare_arrays(flux, spectral_axis=nirspec.spectral_axis, object_id=["b"])
    >>> figure = plot_overlay(prepared, other, "b", common=True)
    >>> len(figure.axes)
    1
    """
    pairs = [(prepared, _star_row(prepared, str(object_id))) for prepared in (prepared_a, prepared_b)]
    ranges = [_good_range(*pair) for pair in pairs]
    if common:
        limits = _shared(pairs, ranges)
    elif limits is not None:
        limits = tuple(sorted(u.Quantity(limits).to_value(u.AA, u.spectral())))
    ax = new_axes(ax, height=3.6)
    _draw_pairs(ax, pairs, limits)
    ax.set_title(", ".join([str(object_id), *_label_texts(str(object_id), labels)]) + _warn_of_frames(pairs))
    return ax.figure


def _good_range(prepared, row):
    """First and last good wavelength in Angstrom; NaN where no pixel is good."""
    if prepared.axis_kind != "wavelength":
        raise GridMismatchError(
            f"{prepared.instrument.name}: its axis is of the kind {prepared.axis_kind!r}, and wavelengths were expected"
        )
    good = wavelength(prepared.spectral_axis)[0][~prepared.mask[row]]
    return (good.min(), good.max()) if good.size else (np.nan, np.nan)


def _shared(pairs, ranges):
    """The range that both have."""
    low, high = np.max([first for first, _ in ranges]), np.min([last for _, last in ranges])
    if not low < high:
        both = " and ".join(
            f"{prepared.instrument.name} from {low:.0f} to {high:.0f} Angstrom"
            for (prepared, _), (low, high) in zip(pairs, ranges, strict=True)
        )
        raise GridMismatchError(f"the spectra share no wavelengths: good pixels are {both}; leave out common=True")
    return low, high


def _draw_pairs(ax, pairs, limits):
    shown, names = [], [prepared.instrument.name for prepared, _ in pairs]
    for number, (prepared, row) in enumerate(pairs):
        color = instrument_colours(names)[names[number]]
        if names[number] in names[:number]:
            color = PALETTE[1] if color != PALETTE[1] else PALETTE[0]
        draw_row(ax, prepared, row, color=color, label=False, linewidth=1.1 - 0.3 * number, name=_facts(prepared, row))
        x = wavelength(prepared.spectral_axis)[0]
        inside = np.ones(len(x), dtype=bool) if limits is None else (x >= limits[0]) & (x <= limits[1])
        shown.append(prepared.flux[row][inside & ~prepared.mask[row]])
    shown = np.concatenate(shown)
    if not shown.size:
        where = "" if limits is None else f" from {limits[0]:.0f} to {limits[1]:.0f} Angstrom"
        raise GridMismatchError(f"no spectrum has a good pixel{where}")
    limit_flux(ax, shown)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.14 * (high - low), high)  # room for the legend
    if limits is not None:
        ax.set_xlim(*limits)
    ax.set(xlabel=axis_label(pairs[0][0]), ylabel=flux_label(pairs[0][0]))
    for line in ax.legend(fontsize=8, ncols=2, loc="lower right", frameon=True, framealpha=0.85).get_lines():
        line.set_linewidth(2)


def _facts(prepared, row):
    """Instrument, frame or source, and the normalisation where the instrument has a choice."""
    rule, source = prepared.instrument.options.get("normalization"), translated_from(prepared, row)
    first = f"translated from {source}" if source else _frame(prepared, row) or "frame not stated"
    facts = [first, *([f"normalised: {rule}"] if rule else [])]
    return f"{prepared.instrument.name} ({', '.join(facts)})"


def _frame(prepared, row):
    return str(prepared.catalog["frame"][row]) if "frame" in prepared.catalog.colnames else ""


def _warn_of_frames(pairs):
    frames = {_frame(*pair) for pair in pairs} - {""}  # translated spectra do not know the frame of the training
    return "\nframes differ: lines are shifted against each other" if len(frames) > 1 else ""
