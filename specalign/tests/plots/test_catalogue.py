"""Figures of a catalogue: what they count, leave out and refuse."""

import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table

import specalign.plots as plots
from specalign.exceptions import LabelError, MissingExtraError
from specalign.mock import draw_labels
from specalign.tests.plots.test_figures import draw

ELEMENTS = ["c", "n", "o", "na", "mg", "al", "si", "s", "k", "ca", "ti", "v", "cr", "mn", "co", "ni", "ce"]


@pytest.fixture(scope="module")
def stars():
    return draw_labels(700, seed=2)


def many_labels(n):
    rng = np.random.default_rng(8)
    table = draw_labels(n)["object_id", "teff", "logg", "fe_h"]
    for name in ELEMENTS:
        table[f"{name}_fe"] = rng.normal(0.05, 0.1, n) * u.dex
    return table


def mesh_of(figure):
    return figure.axes[0].collections[0].get_array()


def test_density_counts_every_star_that_is_drawn(stars, tmp_path):
    table = stars.copy()
    table["teff"][:30] = np.nan
    figure = draw(plots.plot_density(table), tmp_path)
    ax, bar = figure.axes
    title = ax.get_title(loc="left")
    outside = int(title.split(" outside")[0].split()[-1]) if "outside" in title else 0
    assert np.nansum(mesh_of(figure)) + outside == 670
    assert "670 stars" in title
    assert "30 without value" in title
    assert "labels: specalign-mock" in title
    assert ax.xaxis_inverted()
    assert ax.yaxis_inverted()
    assert bar.get_ylabel() == "Stars per bin [number]"
    assert not plots.plot_density(table, "fe_h", "mg_fe").axes[0].xaxis_inverted()


def test_density_does_not_depend_on_the_order_of_rows(stars):
    first, second = (mesh_of(plots.plot_density(table)) for table in (stars, stars[::-1]))
    assert np.array_equal(np.nan_to_num(first), np.nan_to_num(second))


def test_contours_of_other_catalogues(stars, tmp_path):
    figure = draw(plots.plot_density(stars, contours={"predicted": stars, "few": stars[:2]}), tmp_path)
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["predicted (700; 68 % and 95 %)", "few (2; 68 % and 95 %)"]
    assert len(figure.axes[0].collections) == 3


def test_contours_hold_the_share_of_stars_that_they_say():
    rng = np.random.default_rng(4)
    counts = np.histogram2d(*rng.normal(size=(2, 20000)), bins=40, range=[[-5, 5]] * 2)[0]
    outer, inner = plots.catalogue._levels(counts)
    assert counts[counts >= outer].sum() / counts.sum() == pytest.approx(0.95, abs=0.02)
    assert counts[counts >= inner].sum() / counts.sum() == pytest.approx(0.68, abs=0.02)
    assert plots.catalogue._levels(np.zeros((3, 3))) == []


def test_one_star_and_equal_stars_can_be_drawn(stars, tmp_path):
    for table in (stars[:1], stars[[3] * 5]):
        draw(plots.plot_density(table), tmp_path)
        draw(plots.plot_histogram(table), tmp_path)
        draw(plots.plot_abundance(table), tmp_path)
        draw(plots.plot_corner(table, ["teff", "logg"]), tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plot_density", "none of the 3 rows has both teff and logg"),
        ("plot_abundance", "none of the 3 rows has both fe_h and mg_fe"),
        ("plot_histogram", "no star has a value"),
        ("plot_corner", "no label has a value: teff, logg, fe_h, mg_fe"),
    ],
)
def test_labels_without_a_value_are_an_error(name, message):
    nothing = np.full(3, np.nan)
    table = QTable({"object_id": ["a", "b", "c"], "teff": nothing * u.K, "logg": u.Dex(nothing, u.dex(u.cm / u.s**2))})
    table["fe_h"] = table["mg_fe"] = nothing * u.dex
    with pytest.raises(LabelError, match=message):
        getattr(plots, name)(table)
    with pytest.raises(LabelError, match=message.replace("3 rows", "0 rows")):
        getattr(plots, name)(table[:0])


def test_histogram_counts_what_is_there(stars, tmp_path):
    masked = MaskedColumn(stars["fe_h"].value, mask=np.arange(700) < 100, unit=u.dex)
    table = Table({"object_id": stars["object_id"], "fe_h": masked})
    figure = draw(plots.plot_histogram({"one": stars, "two": table}), tmp_path)
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["one: 700 stars, specalign-mock", "two: 600 stars, 100 without value"]
    assert figure.axes[0].get_xlabel() == "[Fe/H] [dex]"
    with pytest.raises(LabelError, match="expected at least one table"):
        plots.plot_histogram({})


def test_bins_are_not_narrower_than_the_errors(stars):
    def width(table):
        return float(plots.plot_histogram(table).axes[0].get_ylabel().split()[2])

    table = stars.copy()
    table["fe_h_err"] = np.full(700, 0.3) * u.dex
    assert width(stars) < 0.2
    assert width(table) >= 0.3
    assert len(plots.plot_histogram(table, bins=50).axes[0].patches[0].get_path().vertices) > 100


def test_histogram_converts_units(stars):
    table = stars.copy()
    table["teff"] = table["teff"].to(u.kK)
    figure = plots.plot_histogram({"K": stars, "kK": table}, "teff")
    first, _, second, _ = [patch.get_path().vertices for patch in figure.axes[0].patches]
    assert np.allclose(first, second)
    assert "[K]" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("n", [7, pytest.param(20, marks=pytest.mark.slow)])
def test_corner_of_many_labels(n, tmp_path):
    table = many_labels(600)
    table = table[table.colnames[: n + 1]]
    table[table.colnames[-1]][40:] = np.nan
    table["n_fe"] = np.nan * u.dex
    figure = draw(plots.plot_corner(table), tmp_path)
    assert len(figure.axes) == (n - 1) * n // 2
    assert max(figure.get_size_inches()) <= 11
    assert (tmp_path / "figure.png").stat().st_size < 2e6
    assert "left out: [N/Fe]" in figure.texts[0].get_text()
    labelled = [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()]
    assert labelled[0] == "Teff\n[K]"
    assert len(labelled) == n - 1


def test_corner_shows_the_stars_that_a_panel_has(stars):
    """A label that few stars have does not take the others' stars away."""
    table = stars["object_id", "teff", "fe_h", "mg_fe"]
    table["mg_fe"][5:] = np.nan
    figure = plots.plot_corner(table)
    heights = [ax.patches[0].get_path().vertices[:, 1].max() for ax in figure.axes if ax.patches]
    whole = plots.plot_corner(stars["object_id", "teff", "fe_h"])
    assert heights[:2] == [ax.patches[0].get_path().vertices[:, 1].max() for ax in whole.axes if ax.patches]
    assert heights[2] <= 5


def test_corner_leaves_out_labels_that_share_no_star(stars):
    table = stars["object_id", "teff", "fe_h", "mg_fe"]
    table["teff"][:50], table["mg_fe"][50:] = np.nan, np.nan
    figure = plots.plot_corner(table)
    assert "left out: [Mg/Fe]" in figure.texts[0].get_text()
    assert len(figure.axes) == 3


def test_corner_needs_its_package(stars, monkeypatch):
    monkeypatch.setitem(sys.modules, "corner", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[plot\]'"):
        plots.plot_corner(stars)


def test_a_label_without_unit_is_an_error(stars):
    table = Table({"object_id": ["a"], "fe_h": [0.1], "mg_fe": [0.1]})
    for function in (plots.plot_abundance, plots.plot_histogram, plots.plot_corner):
        with pytest.raises(LabelError, match="expected a unit"):
            function(table)
