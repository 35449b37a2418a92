"""Retrieved spectra over queries, and maps of neighbours."""

import dataclasses
from itertools import pairwise

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from specalign import EmbeddingTable
from specalign.exceptions import GridMismatchError, MatchError
from specalign.plots import plot_neighbour_labels, plot_neighbour_map, plot_retrieved, plot_similarity, project
from specalign.tests.plots.conftest import make_prepared


@pytest.fixture
def tables(embeddings):
    return [embeddings[embeddings.instrument == name] for name in ("nirspec", "apogee")]


@pytest.fixture
def neighbours(tables):
    queries, gallery = tables
    return gallery.search(queries, k=4)


@pytest.fixture
def found(tables, apogee):
    """Neighbours among the stars that have spectra."""
    queries, gallery = (table[np.isin(table.object_id, apogee.object_id)] for table in tables)
    return gallery.search(queries, k=4)


def units(figure):
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return all("[" in text for ax in axes for text in (ax.get_xlabel(), ax.get_ylabel()) if text)


def stars(ax):
    """Places of the queries; a query is drawn as one star."""
    return np.concatenate([c.get_offsets() for c in ax.collections if c.get_label().startswith("star ")])


def ends(ax):
    """Ends of the lines from queries to neighbours."""
    return np.array([line.get_xydata()[1] for line in ax.lines])


def test_retrieved_spectra_are_drawn_over_the_query(found, nirspec, apogee, tmp_path):
    figure = plot_retrieved(found, nirspec, apogee, spectrum_id="nirspec star 5", n=3)
    assert len(figure.axes) == 6
    assert units(figure)
    hits = found[found["spectrum_id"] == "nirspec star 5"]
    for hit, ax in zip(hits, figure.axes[::2], strict=False):
        assert f"cosine {hit['similarity']:.3f}" in ax.get_title(loc="left")
        lines = {line.get_label(): line for line in ax.lines}
        row = list(apogee.object_id).index(hit["neighbour_object_id"])
        drawn = lines["retrieved, apogee"].get_xydata()
        good = ~apogee.mask[row]
        assert np.array_equal(np.isfinite(drawn[:, 1]), good)
        assert np.array_equal(drawn[good, 1], apogee.flux[row][good])
        query = lines["query, nirspec"].get_xydata()
        inside = (nirspec.spectral_axis.value >= drawn[0, 0]) & (nirspec.spectral_axis.value <= drawn[-1, 0])
        assert np.allclose(query[:, 0], nirspec.spectral_axis.value[inside])
    assert "the same star" in figure.axes[0].get_title(loc="left")
    assert "another star" in figure.axes[2].get_title(loc="left")
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_the_detail_can_be_chosen_in_any_unit(found, nirspec, apogee):
    figure = plot_retrieved(found, nirspec, apogee, detail=[1.6, 1.62] * u.um)
    assert figure.axes[1].get_xlim() == pytest.approx((16000, 16200))
    chosen = plot_retrieved(found, nirspec, apogee).axes[1].get_xlim()
    assert 15118 < chosen[0] < chosen[1] < 17001


def test_wavelengths_of_the_detail_do_not_run_into_each_other(found, nirspec, apogee):
    figure = plot_retrieved(found, nirspec, apogee, detail=[16000, 16150] * u.AA)
    figure.draw_without_rendering()
    boxes = [tick.label1.get_window_extent() for tick in figure.axes[1].xaxis.get_major_ticks()]
    assert len(boxes) > 2
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_masked_query_can_be_drawn(found, nirspec, apogee, tmp_path):
    masked = nirspec[np.arange(len(nirspec))]
    masked.mask[:], masked.ivar[:] = True, 0
    plot_retrieved(found, masked, apogee).savefig(tmp_path / "figure.png", dpi=40)


def test_instruments_without_a_common_wavelength_are_refused(found, nirspec):
    blue = make_prepared(np.linspace(3700, 9000, 800), "lamost")
    with pytest.raises(GridMismatchError, match="nirspec and lamost have no wavelength in common"):
        plot_retrieved(found, nirspec, blue)
    blue.axis_kind = "coefficient"
    with pytest.raises(GridMismatchError, match="lamost are not on a wavelength axis but on coefficients"):
        plot_retrieved(found, nirspec, blue)


def test_queries_that_are_not_there_are_named(found, neighbours, labels, nirspec, apogee, tables):
    with pytest.raises(MatchError, match="'nobody' is not among the queries"):
        plot_retrieved(found, nirspec, apogee, spectrum_id="nobody")
    with pytest.raises(MatchError, match="'nobody' is not among the queries"):
        plot_neighbour_map(neighbours, *tables, spectrum_ids=["nobody"])
    with pytest.raises(MatchError, match="'nirspec star 7' is not among the 30 spectra"):
        plot_neighbour_map(neighbours, *tables, project(tables[1][:30]), spectrum_ids=["nirspec star 7"])
    with pytest.raises(MatchError, match="got an empty table"):
        plot_neighbour_labels(neighbours[:0], labels)


def test_the_map_draws_the_projection(neighbours, tables, embeddings, tmp_path):
    projection = project(EmbeddingTable.concatenate(tables), "pca")
    names = ["nirspec star 3", "nirspec star 250"]
    figure = plot_neighbour_map(neighbours, *tables, projection, spectrum_ids=names, k=3)
    ax = figure.axes[0]
    assert units(figure)
    assert np.array_equal(ax.collections[0].get_offsets(), projection.points)
    assert np.array_equal(stars(ax), projection.points[projection.rows("nirspec", names)])
    rows = [row for name in names for row in neighbours[neighbours["spectrum_id"] == name][:3]]
    wanted = projection.rows([r["neighbour_instrument"] for r in rows], [r["neighbour_spectrum_id"] for r in rows])
    assert np.array_equal(ends(ax), projection.points[wanted])
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_the_map_of_one_query_in_its_own_gallery(tables):
    """Queries that are in the gallery too are not drawn twice."""
    gallery = tables[1]
    ax = plot_neighbour_map(gallery.search(gallery[:1], k=2), gallery[:1], gallery).axes[0]
    assert len(ax.collections[0].get_offsets()) == len(gallery)
    assert len(stars(ax)) == 1
    assert ax.get_legend().get_texts()[0].get_text() == "star 0: found among its 2"


def test_neighbours_that_the_map_does_not_show_are_counted(neighbours, tables):
    queries, gallery = tables
    first = neighbours[:4]
    shown = EmbeddingTable.concatenate(
        [queries[:20], gallery[~np.isin(gallery.spectrum_id, first["neighbour_spectrum_id"][1:])]]
    )
    ax = plot_neighbour_map(first, queries, gallery, project(shown)).axes[0]
    assert "(3 neighbours not shown)" in ax.get_title(loc="left")
    assert np.isfinite(ends(ax)).all(axis=1).sum() == 1


def test_neighbours_on_the_kiel_diagram(neighbours, labels, tmp_path):
    figure = plot_neighbour_labels(neighbours, labels[::-1], n=5, k=2)
    ax = figure.axes[0]
    assert units(figure)
    assert ax.xaxis_inverted()
    assert ax.yaxis_inverted()
    truth = {row["object_id"]: (row["teff"].value, row["logg"].value) for row in labels}
    assert np.allclose(stars(ax), [truth[f"star {i}"] for i in range(5)])
    rows = neighbours[(neighbours["rank"] <= 2)][:10]
    assert np.allclose(ends(ax), [truth[name] for name in rows["neighbour_object_id"]])
    figure.savefig(tmp_path / "figure.png", dpi=40)


@pytest.mark.parametrize("masked", [False, True])
def test_neighbours_without_labels_are_counted(neighbours, labels, masked):
    name = neighbours["neighbour_object_id"][1]
    if masked:
        table = Table({n: MaskedColumn(getattr(labels[n], "value", labels[n])) for n in labels.colnames})
        table["teff"].unit, table["logg"].unit = labels["teff"].unit, labels["logg"].unit
        table["logg"].mask = labels["object_id"] == name
    else:
        table = labels[labels["object_id"] != name]
    ax = plot_neighbour_labels(neighbours, table, n=1).axes[0]
    assert "(1 neighbours without labels)" in ax.get_title(loc="left")
    assert np.isfinite(ends(ax)).all(axis=1).sum() == 3


def test_another_plane_runs_forwards(neighbours, labels):
    ax = plot_neighbour_labels(neighbours, labels, x="fe_h", y="teff").axes[0]
    assert not ax.xaxis_inverted()
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "[Fe/H] [dex]"


def test_likelihoods_are_drawn_less_the_best(tables):
    queries, gallery = (
        dataclasses.replace(table, latent_mean=table.vectors[:, :2], latent_variance=np.full((len(table), 2), 0.01))
        for table in tables
    )
    found = gallery.search(queries, k=4)
    ax = plot_similarity(found).axes[0]
    assert ax.get_ylabel() == "ln(likelihood / best) [dimensionless]"
    first = found["log_likelihood"][:4]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), first - first[0], atol=1e-6)
    assert max(line.get_ydata().max() for line in ax.lines) == 0
    assert plot_similarity(tables[1].search(tables[0])).axes[0].get_ylabel() == "Cosine similarity [dimensionless]"
