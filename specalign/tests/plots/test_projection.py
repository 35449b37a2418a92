"""Projections repeat themselves, keep stars whole, and are what the figures draw."""

import subprocess
import sys
import warnings

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import LabelError, MissingExtraError, SpectrumError
from specalign.plots import plot_embedding, project
from specalign.plots.projection import METHODS


def offsets(ax):
    return np.concatenate([np.ma.filled(c.get_offsets(), np.nan) for c in ax.collections])


def same_points(a, b):
    return np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


UMAP_IS_SLOW = [m if m != "umap" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]


@pytest.fixture(scope="module")
def few(embeddings):
    return embeddings[::6]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_seed_gives_the_same_places(few, method):
    first = project(few, method, seed=3)
    assert first.points.shape == (len(few), 2)
    assert np.isfinite(first.points).all()
    assert np.array_equal(first.points, project(few, method, seed=3).points)
    assert all("[" in label for label in first.axis_labels)


@pytest.mark.parametrize("method", UMAP_IS_SLOW)
def test_neighbours_in_the_space_are_neighbours_on_the_plane(few, method):
    """The two spectra of a star are all but one point here: they must stay so, whatever the method."""
    points = project(few, method).points
    half = len(few) // 2
    apart = np.linalg.norm(points[:half, None] - points[None, half:], axis=2)
    own = apart[np.arange(half), np.arange(half)]
    assert np.median(own) < 0.2 * np.median(apart)


@pytest.mark.parametrize("method", UMAP_IS_SLOW)
def test_three_rows_are_enough_and_two_are_not(embeddings, method):
    rows = embeddings[[0, 100, 200]]
    assert np.isfinite(project(rows, method).points).all()
    with pytest.raises(SpectrumError, match="at least 3 embeddings to draw on a plane, got 2"):
        project(embeddings[:2], method)


def test_too_many_rows_leave_out_whole_stars(embeddings):
    projection = project(embeddings, "tsne", seed=1, max_rows=61)
    _, counts = np.unique(projection.table.object_id, return_counts=True)
    assert len(projection.points) == len(projection.table) == 60
    assert (counts == 2).all()
    assert projection.n_left_out == len(embeddings) - 60
    assert "(540 more are not shown)" in plot_embedding(None, projection).axes[0].get_title(loc="left")
    with pytest.raises(ValueError, match="max_rows: expected room"):
        project(embeddings, "tsne", max_rows=1)


def test_rows_are_found_by_instrument_and_spectrum(few):
    projection = project(few)
    assert list(projection.rows(few.instrument[::-1], few.spectrum_id[::-1])) == list(range(len(few)))[::-1]
    assert list(projection.rows("nirspec", [few.spectrum_id[0]])) == [-1]


def test_an_unknown_method_is_an_error(few):
    with pytest.raises(ValueError, match="method: expected one of pca, tsne, umap, got 'som'"):
        project(few, "som")


def test_without_umap_the_error_names_the_extra(few, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[plot\]'"):
        project(few, "umap")


@pytest.mark.slow
def test_plots_do_not_import_umap_before_it_is_asked_for():
    code = "import sys, specalign.plots as p; p.plot_embedding, p.project; print('umap' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.slow
def test_umap_hides_no_warning_of_others(few):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        project(few, "umap")
        warnings.warn("mine", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["mine"]


def test_every_label_has_a_panel_with_all_spectra(few, labels):
    projection = project(few)
    figure = plot_embedding(None, projection, labels, ["instrument", "teff", "logg", "fe_h"])
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert [ax.get_title(loc="left") for ax in panels] == [
        "Instrument", "Effective temperature", "Surface gravity log g", "[Fe/H]",
    ]  # fmt: skip
    for ax in panels:
        assert same_points(offsets(ax), projection.points)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["apogee", "nirspec"]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("", "")
    assert (figure.get_supxlabel(), figure.get_supylabel()) == projection.axis_labels
    bars = [ax.get_ylabel() for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bars == ["[K]", "[dex(cm s⁻²)]", "[dex]"]


def test_colours_are_the_labels_of_the_stars(few, labels):
    ax = plot_embedding(few, labels=labels[::-1], colour="teff").axes[0]
    drawn = np.concatenate([c.get_array() for c in ax.collections if c.get_array() is not None])
    truth = dict(zip(labels["object_id"], labels["teff"].value, strict=True))
    assert sorted(drawn) == sorted(truth[name] for name in few.object_id)


def test_stars_without_a_value_are_grey_and_counted_in(few, labels):
    labels = labels.copy()
    labels["teff"][labels["object_id"] == few.object_id[0]] = np.nan * u.K
    ax = plot_embedding(few, labels=labels[:200], colour="teff").axes[0]
    assert same_points(offsets(ax), project(few).points)
    coloured = sum(len(c.get_offsets()) for c in ax.collections if c.get_array() is not None)
    known = np.isin(few.object_id, labels["object_id"][:200]) & (few.object_id != few.object_id[0])
    assert 0 < coloured == known.sum() < len(few)
    assert ax.get_legend().get_title().get_text() == "small, grey: no value"


@pytest.mark.parametrize("n", [2, 4, 20])
def test_any_number_of_labels(few, labels, n):
    labels = labels.copy()
    names = [f"x{chr(97 + i)}_h" for i in range(n)]
    for name in names:
        labels[name] = labels["fe_h"]
    figure = plot_embedding(few, labels=labels, colour=names)
    assert len(figure.axes) == 2 * n
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert titles == [f"[X{name[1]}/H]" for name in names]


def test_colours_that_cannot_be_drawn_are_errors(few, labels):
    with pytest.raises(LabelError, match="label 'vsini' is not in the table"):
        plot_embedding(few, labels=labels, colour="vsini")
    with pytest.raises(ValueError, match="expected a table with 'teff' to colour by, got none"):
        plot_embedding(few, colour="teff")
    ax = plot_embedding(few).axes[0]
    with pytest.raises(ValueError, match=r"expected 2 axes, for teff, logg, got 1"):
        plot_embedding(few, labels=labels, colour=["teff", "logg"], ax=ax)


@pytest.mark.slow
def test_a_picture_changes_nothing_for_what_is_computed_after_it():
    """In a process of its own: numba sets the threads when it is first used."""
    pytest.importorskip("umap")
    code = (
        "import os, numpy as np, torch; from specalign import EmbeddingTable; from specalign.plots import project\n"
        "n = os.cpu_count() + 1; torch.set_num_threads(n); names = [str(i) for i in range(20)]\n"
        "vectors = np.random.default_rng(0).normal(size=(20, 8))\n"
        "project(EmbeddingTable(vectors, names, names, 'apogee', np.full(20, 50), np.ones(20)), 'umap')\n"
        "print(torch.get_num_threads() - n)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
