"""Spectra of chosen stars: gaps stay open, stars are found by name, and frames and wavelengths are told."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import given, settings
from hypothesis import strategies as st

import specalign.plots as plots
from specalign.exceptions import GridMismatchError, MatchError
from specalign.tests.plots.conftest import make_prepared
from specalign.tests.plots.test_figures import draw


def title(ax):
    return ax.get_title(loc="left")


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1))
def test_no_line_is_drawn_over_a_gap(seed):
    spectra = make_prepared(np.linspace(15100, 17000, 60), "apogee", n=2)
    spectra.mask = np.random.default_rng(seed).uniform(size=spectra.mask.shape) < 0.3
    figure = plots.plot_selected(spectra, rows=[1, 0])
    for ax, row in zip(figure.axes, (1, 0), strict=True):
        drawn = ax.lines[0].get_ydata()
        assert np.array_equal(np.isnan(drawn), spectra.mask[row])
        assert np.array_equal(drawn[~spectra.mask[row]], spectra.flux[row][~spectra.mask[row]])


def test_no_line_is_drawn_over_a_break_of_the_grid(tmp_path):
    axis = np.concatenate([np.linspace(4950, 5350, 400), np.linspace(6300, 6800, 500)])
    spectra = make_prepared(axis, "lamost", n=1)
    spectra.mask[:] = False
    figure = draw(plots.plot_selected(spectra), tmp_path)
    x, y = figure.axes[0].lines[0].get_data()
    assert np.flatnonzero(np.isnan(y)).tolist() == [400]
    assert x[399] == 5350
    assert x[401] == 6300
    shaded = [patch.get_bbox() for patch in figure.axes[0].patches]
    assert [(box.x0, box.x1) for box in shaded] == [(5350, 6300)]


def test_selected_stars_span_the_labels_and_say_so(apogee, labels, tmp_path):
    figure = draw(plots.plot_selected(apogee, labels=labels, n=5), tmp_path)
    assert len(figure.axes) == 5
    name = title(figure.axes[0]).split(",")[0]
    star = labels[labels["object_id"] == name][0]
    assert title(figure.axes[0]) == (
        f"{name}, Teff {star['teff'].value:.0f} K, log g {star['logg'].value:.2f}, [Fe/H] {star['fe_h'].value:.2f}, "
        f"S/N {apogee.snr[apogee.object_id == name][0]:.0f}"
    )
    assert len(figure.axes[0].patches) == 1  # the masked stretch


def test_selected_without_labels_and_with_missing_ones(apogee, labels, tmp_path):
    assert title(plots.plot_selected(apogee, n=3).axes[2]).startswith("star 2, S/N")
    some = labels.copy()
    some["logg"][:] = np.nan * some["logg"].unit
    figure = draw(plots.plot_selected(apogee, rows=["star 5", -1], labels=some), tmp_path)
    assert title(figure.axes[0]).startswith("star 5, Teff")
    assert "log g" not in title(figure.axes[0])
    assert title(figure.axes[1]).startswith("star 11,")


def test_the_best_spectrum_of_a_star_is_drawn(apogee):
    visits = apogee[[0, 1, 2]]
    visits.object_id = np.array(["a", "b", "a"])
    visits.ivar[2] *= 100
    figure = plots.plot_selected(visits, rows=["a"])
    drawn = figure.axes[0].lines[0].get_ydata()
    assert np.array_equal(drawn[~visits.mask[2]], visits.flux[2][~visits.mask[2]])


def test_stars_that_are_not_there_are_an_error(apogee, nirspec, labels):
    with pytest.raises(MatchError, match="object_id 'nobody' is not among the 12 spectra of apogee"):
        plots.plot_selected(apogee, rows=["nobody"])
    with pytest.raises(MatchError, match="row 12: expected 0 to 11"):
        plots.plot_selected(apogee, rows=[12])
    with pytest.raises(MatchError, match="none of the 10 labelled stars is among the 12 spectra"):
        plots.plot_selected(apogee, labels=labels[50:60])
    with pytest.raises(MatchError, match="got none of the 0 of apogee"):
        plots.plot_selected(apogee[:0])
    with pytest.raises(MatchError, match="'star 3' is not among the 2 spectra of nirspec"):
        plots.plot_overlay(apogee, nirspec[:2], "star 3")


def test_overlay_of_two_instruments(apogee, nirspec, labels, tmp_path):
    ax = draw(plots.plot_overlay(apogee, nirspec, "star 3", labels=labels), tmp_path).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["apogee (rest)", "nirspec (rest)"]
    assert title(ax).startswith("star 3, Teff")
    assert "frames differ" not in title(ax)
    assert ax.get_xlim()[0] < 9700
    common = draw(plots.plot_overlay(apogee, nirspec, "star 3", common=True), tmp_path).axes[0]
    good = [p.spectral_axis.value[~p.mask[3]] for p in (apogee, nirspec)]
    assert common.get_xlim() == (max(x[0] for x in good), min(x[-1] for x in good))
    zoomed = plots.plot_overlay(apogee, nirspec, "star 3", limits=[1.56, 1.55] * u.um).axes[0]
    assert zoomed.get_xlim() == pytest.approx((15500, 15600))


def test_overlay_says_that_frames_differ(apogee, nirspec):
    moved = nirspec[:]
    moved.catalog = QTable({"frame": np.full(len(moved), "barycentric")})
    ax = plots.plot_overlay(apogee, moved, "star 0").axes[0]
    assert "frames differ" in title(ax)
    assert ax.get_legend().get_texts()[1].get_text() == "nirspec (barycentric)"


def test_overlay_names_the_normalisation_where_there_is_a_choice(apogee, nirspec):
    other = nirspec[:]
    other.instrument = dataclasses.replace(nirspec.instrument, options={"normalization": "median"})
    ax = plots.plot_overlay(apogee, other, "star 0").axes[0]
    assert ax.get_legend().get_texts()[1].get_text() == "nirspec (rest, normalised: median)"


def test_two_instruments_of_one_name_have_two_colours(apogee):
    lines = plots.plot_overlay(apogee, apogee, "star 0").axes[0].lines
    assert lines[0].get_color() != lines[1].get_color()


def test_without_common_wavelengths_the_error_names_both_ranges(apogee):
    blue = make_prepared(np.linspace(3700, 9100, 900), "lamost")
    with pytest.raises(GridMismatchError, match="lamost from 3700 to 9100 Angstrom; leave out common=True"):
        plots.plot_overlay(apogee, blue, "star 1", common=True)
    assert len(plots.plot_overlay(apogee, blue, "star 1").axes[0].lines) == 2
    with pytest.raises(GridMismatchError, match="no spectrum has a good pixel from 100 to 200 Angstrom"):
        plots.plot_overlay(apogee, blue, "star 1", limits=[10, 20] * u.nm)
    masked = blue[:]
    masked.mask[:] = True
    for pair in ((masked, blue), (blue, masked)):
        with pytest.raises(GridMismatchError, match="share no wavelengths"):
            plots.plot_overlay(*pair, "star 1", common=True)
    numbers = make_prepared(np.linspace(1, 110, 110), "gaia_xp")
    numbers.axis_kind = "coefficient"
    with pytest.raises(GridMismatchError, match="gaia_xp: its axis is of the kind 'coefficient'"):
        plots.plot_overlay(apogee, numbers, "star 1")


def test_a_translated_spectrum_names_its_source_and_warns_of_no_frame(apogee):
    expected = apogee[:]
    expected.catalog = QTable({"snr": apogee.snr, "translated_from": np.full(len(expected), "lamost")})
    ax = plots.plot_overlay(apogee, expected, "star 0").axes[0]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["apogee (rest)", "apogee (translated from lamost)"]
    assert "frames differ" not in title(ax)
    alone = plots.plot_prepared(expected, rows=[0]).axes[0]
    assert title(alone).startswith("apogee: translated from lamost")
    assert alone.texts[0].get_text().endswith(" of lamost")
