"""``plot`` of objects: into axes that are given, or into a figure that a notebook shows by itself."""

import sys

import astropy.units as u
import matplotlib as mpl
import numpy as np
import pytest
from astropy.table import QTable, vstack
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from specalign import EmbeddingTable, LabelModel
from specalign.alignment import History, LabelHistory
from specalign.analysis.search import NeighbourTable
from specalign.data.scheme import PredictedLabels


def embeddings(instrument, n=40, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 6))
    names = [f"star {i}" for i in range(n)]
    return EmbeddingTable(vectors, names, [f"{instrument} {name}" for name in names], instrument, 50, 1)


def history(kind):
    one = kind()
    for epoch in range(4):
        row = {"train_loss": 2 / (1 + epoch), "val_loss": 2.2 / (1 + epoch), "recall@1": epoch / 4}
        one.add(epoch=epoch, learning_rate=1e-3, seconds=1.0, **row)
    return one


@pytest.fixture(scope="module")
def found():
    query = embeddings("nirspec")
    query.vectors = query.vectors + np.float32(0.01)
    return embeddings("apogee").search(query, k=5)


@pytest.fixture(scope="module")
def model(labels):
    return LabelModel("knn", k=3).fit(embeddings("apogee"), labels)


def objects(apogee, found, labels, model):
    table = embeddings("apogee")
    return {
        "spectra": (apogee.plot, 1),
        "embeddings": (table.plot, 1),
        "coloured": (lambda ax=None: table.plot(ax=ax, labels=labels), 1),
        "two colours": (lambda ax=None: table.plot(ax=ax, labels=labels, colour=["teff", "fe_h"]), 2),
        "history": (history(History).plot, 2),
        "label history": (history(LabelHistory).plot, 2),
        "similarity": (found.plot, 1),
        "map": (lambda ax=None: found.plot(embeddings("nirspec"), table, ax=ax), 1),
        "neighbour labels": (lambda ax=None: found.plot(labels=labels, ax=ax), 1),
        "one label": (lambda ax=None: model.predict(table).plot(labels, names=["teff"], ax=ax), 1),
        "labels": (lambda ax=None: model.predict(table).plot(labels, names=["teff", "fe_h"], ax=ax), 4),
        "kiel": (lambda ax=None: model.predict(table).plot(ax=ax), 1),
    }


NAMES = (
    "spectra", "embeddings", "coloured", "two colours", "history", "label history", "similarity", "map",
    "neighbour labels", "one label", "labels", "kiel",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_axes_that_are_given_are_drawn_into_and_returned(name, apogee, found, labels, model):
    plot, n = objects(apogee, found, labels, model)[name]
    figure = Figure()
    axes = figure.subplots(1, n)
    assert plot(ax=axes) is axes
    for ax in np.ravel(axes):
        assert ax.has_data()
    assert figure._suptitle is None
    figure.draw_without_rendering()


@pytest.mark.parametrize("name", NAMES)
def test_a_new_figure_is_returned_otherwise(name, apogee, found, labels, model):
    figure = objects(apogee, found, labels, model)[name][0]()
    assert isinstance(figure, Figure)
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    panels = [ax for ax in figure.axes if ax not in bars]
    assert panels
    assert all(ax.get_xlabel() or ax.get_ylabel() or figure.get_supxlabel() for ax in panels)
    assert all("[" in bar.get_ylabel() for bar in bars)  # a unit, or that there is none
    assert figure._repr_png_()[:4] == b"\x89PNG"  # what a notebook shows


@pytest.mark.parametrize("name", ["coloured", "history", "neighbour labels", "one label"])
def test_text_can_be_read_on_a_dark_figure(name, apogee, found, labels, model):
    plot, n = objects(apogee, found, labels, model)[name]
    with mpl.rc_context({}):
        mpl.style.use("dark_background")
        figure = Figure()
        axes = figure.subplots(1, n)
    before = dict(mpl.rcParams)
    plot(ax=axes)
    assert dict(mpl.rcParams) == before
    for text in figure.findobj(Text):
        if text.get_text():
            assert min(to_rgb(text.get_color())) > 0.6, text
    for ax in figure.axes:
        assert max(to_rgb(ax.get_facecolor())) < 0.3


@pytest.mark.parametrize("name", ["two colours", "history", "label history", "labels"])
def test_too_few_axes_are_an_error_that_tells_what_they_are_for(name, apogee, found, labels, model):
    plot, n = objects(apogee, found, labels, model)[name]
    with pytest.raises(ValueError, match=rf"ax: expected {n} axes, for .*, got 1; figure.subplots\({n}\) makes them"):
        plot(ax=Figure().subplots())


def test_spectra_of_neighbours_need_axes_for_each(apogee, nirspec):
    query, gallery = embeddings("nirspec", 12), embeddings("apogee", 12)
    found = gallery.search(query, k=2)
    axes = Figure().subplots(3)
    assert found.plot(nirspec, apogee, ax=axes) is axes
    assert "query, nirspec" in axes[0].get_title(loc="left")
    with pytest.raises(ValueError, match="expected 3 axes, for the query, rank 1, rank 2, got 2"):
        found.plot(nirspec, apogee, ax=Figure().subplots(2))
    with pytest.raises(ValueError, match="expected both or none"):
        found.plot(nirspec)


def test_the_residuals_take_a_strip_of_one_axes(labels, model):
    ax = Figure().subplots()
    predicted = model.predict(embeddings("apogee"))
    predicted.plot(labels, names=["teff"], ax=ax)
    top, bottom = ax.figure.axes
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("Predicted [K]", "Residual [K]")
    ax.figure.savefig("/dev/null", format="png")
    assert bottom.get_position().y1 < top.get_position().y0 + 0.01
    residual = bottom.collections[-1].get_offsets()[:, 1]
    truth = labels["teff"][:40].to_value(u.K)
    np.testing.assert_allclose(np.asarray(residual), predicted["teff"].to_value(u.K) - truth)


def test_embeddings_are_coloured_by_the_first_label(labels):
    figure = embeddings("apogee").plot(labels=labels)
    assert any(ax.get_ylabel() == "Effective temperature [K]" for ax in figure.axes)


def test_masked_pixels_are_marked_below_the_spectrum(apogee):
    ax = apogee.plot(rows=0).axes[0]
    marks = ax.collections[-1].get_offsets()
    assert len(marks) == apogee.mask[0].sum()
    assert marks[:, 1].max() < np.nanmin(ax.lines[0].get_ydata()) + 0.2
    assert len(apogee.plot(rows=0, show_mask=False).axes[0].collections) == len(ax.collections) - 1


def test_the_same_star_is_marked(found):
    ax = found.plot().axes[0]
    same = found[found["object_id"] == found["neighbour_object_id"]]
    assert len(ax.lines[-1].get_xdata()) == len(same)
    assert len(found.plot(n=7).axes[0].lines) <= 8


def test_tables_stay_what_they_are(found, model, labels, tmp_path):
    assert isinstance(found, QTable)
    assert isinstance(found[found["rank"] == 1], NeighbourTable)
    assert isinstance(vstack([found[:2], found[2:4]]), NeighbourTable)
    assert found.meta["k"] == 5
    found.write(tmp_path / "found.ecsv")
    assert NeighbourTable.read(tmp_path / "found.ecsv").plot().axes
    predicted = model.predict(embeddings("apogee"))
    assert isinstance(predicted, PredictedLabels)
    assert isinstance(predicted[:3], PredictedLabels)
    assert "PredictedLabels" in predicted._repr_html_()


def test_without_matplotlib_the_extra_is_named(apogee, found, labels, model, monkeypatch):
    from specalign.exceptions import MissingExtraError

    for name in [name for name in sys.modules if name.startswith("specalign.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr("specalign.plots", raising=False)
    for plot, _ in objects(apogee, found, labels, model).values():
        with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[plot\]'"):
            plot()
