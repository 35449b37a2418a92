"""Outliers: scores against S/N, and the spectra with the highest ones beside what was expected."""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from specalign.exceptions import MatchError
from specalign.plots.spectra import axis_label, draw_row, flux_label, limit_flux, row_of
from specalign.plots.style import MUTED, PALETTE, given_axes, instrument_colours, new_figure, styled

__all__ = ["plot_outliers"]


@styled
def plot_outliers(found, prepared=None, n=3, reconstruction=None, ax=None):
    """Scores of all spectra against their S/N, outliers marked; with spectra, the worst ones below.

    Parameters
    ----------
    found : `~specalign.analysis.outliers.OutlierTable`
    prepared : `~specalign.PreparedSpectra`, optional
        Spectra of one instrument; those of its rows with the highest scores are drawn, worst first.
    n : int
        How many of them.
    reconstruction : `~specalign.PreparedSpectra`, optional
        What was expected, drawn over them where the spectrum has good pixels: elsewhere it was held against nothing.
    ax : `~matplotlib.axes.Axes` or sequence of them, optional
        For the scores, and for each spectrum.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    MatchError
        No row has a score, or none of the spectra is among the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable, OutlierModel
    >>> from specalign.plots import plot_outliers
    >>> names = [f"star {i}" for i in range(300)]
    >>> vectors = np.array([4.0, 0, 0]) + np.random.default_rng(0).normal(size=(300, 3))
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.linspace(20, 90, 300), np.ones(300))
    >>> figure = plot_outliers(OutlierModel().fit(table).predict(table))
    >>> figure.axes[0].get_ylabel()
    'Score, -log10 p [dimensionless]'
    """
    known = ~np.ma.getmaskarray(np.ma.asarray(found["score"]))
    if not known.any():
        raise MatchError(f"none of the {len(found)} rows has a score; give predict what its scores need")
    worst = [] if prepared is None else _worst(found[known], prepared, n)
    names = ["the scores", *(f"spectrum {number + 1}" for number in range(len(worst)))]
    if ax is None:
        heights = [2.2, *[1.3] * len(worst)]
        figure = new_figure(height=3.4 + 1.6 * len(worst))
        ax = figure.subplots(len(names), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    axes = given_axes(ax, *names)
    _draw_scores(axes[0], found[known], int((~known).sum()))
    for panel, row in zip(axes[1:], worst, strict=True):
        _draw_spectrum(panel, row, prepared, reconstruction)
    return axes[0].figure


def _worst(found, prepared, n):
    """Rows of the table with the highest scores whose spectra are there."""
    rows = found[np.isin(np.asarray(found["spectrum_id"]), prepared.spectrum_id)]
    rows = rows[np.asarray(rows["instrument"]) == prepared.instrument.name]
    if not len(rows):
        raise MatchError(f"none of the {len(prepared)} spectra of {prepared.instrument.name} is among the rows")
    order = np.lexsort((np.asarray(rows["spectrum_id"]), -np.asarray(rows["score"])))
    return [rows[int(row)] for row in order[:n]]


def _draw_scores(ax, found, n_unknown):
    outlier = np.asarray(found["outlier"], dtype=bool)
    instrument, snr, score = (np.asarray(found[name]) for name in ("instrument", "snr", "score"))
    for name, color in instrument_colours(np.unique(instrument).tolist()).items():
        for marked, style in ((False, {"s": 8, "alpha": 0.5, "linewidths": 0}), (True, {"s": 26, "marker": "D"})):
            rows = (instrument == name) & (outlier == marked)
            what = f"{name}: {rows.sum()} {'outliers' if marked else 'others'}"
            if rows.any():
                edge = {"edgecolors": PALETTE[-1], "linewidths": 0.6} if marked else {}
                ax.scatter(snr[rows], score[rows], color=color, label=what, rasterized=True, **style | edge)
    if (snr[np.isfinite(snr)] > 0).all():
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    unknown = f", {n_unknown} unknown" * bool(n_unknown)
    rate = f"{100 * found.meta['false_alarm']:g} % false alarms"
    ax.set_title(f"{outlier.sum()} of {len(found)} spectra are outliers at {rate}{unknown}")
    ax.set(xlabel="S/N a pixel [dimensionless]", ylabel="Score, -log10 p [dimensionless]")
    ax.legend(fontsize=8)


def _draw_spectrum(ax, found, prepared, reconstruction):
    row = row_of(prepared, found["spectrum_id"])
    draw_row(ax, prepared, row, label=False, name=prepared.instrument.name)
    if reconstruction is not None:
        expected = reconstruction[[row_of(reconstruction, found["spectrum_id"])]]
        expected.mask = expected.mask | prepared.mask[row]
        draw_row(ax, expected, 0, color=MUTED, label=False, name="expected")
        ax.legend(fontsize=8)
    limit_flux(ax, prepared.flux[row][~prepared.mask[row]])
    ax.set_title(f"{prepared.object_id[row]}: score {found['score']:.1f}, p {found['p_value']:.2g}", fontsize=9)
    ax.set(xlabel=axis_label(prepared), ylabel=flux_label(prepared).replace("Normalised flux ", "Norm. flux\n"))
