"""Transferred labels beside the true ones."""

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import LabelError, MatchError
from specalign.plots import plot_transferred


def clouds(figure):
    return [np.asarray(ax.collections[0].get_offsets()) for ax in figure.axes[:2]]


def test_both_panels_show_the_same_stars(predicted, labels, tmp_path):
    figure = plot_transferred(predicted, labels[::-1])
    left, right = clouds(figure)
    assert np.allclose(left, np.stack([labels["teff"].value, labels["logg"].value], axis=1))
    assert np.allclose(right, np.stack([predicted["teff"].value, predicted["logg"].value], axis=1))
    assert figure.axes[0].xaxis_inverted()
    assert figure.axes[1].yaxis_inverted()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    colours = [ax.collections[0].get_clim() for ax in figure.axes[:2]]
    assert colours[0] == colours[1]
    assert [ax.get_ylabel() for ax in figure.axes] == ["Surface gravity log g [dex(cm s⁻²)]", "", "[Fe/H] [dex]"]
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_the_cross_is_the_median_of_the_stated_errors(predicted, labels):
    panel = plot_transferred(predicted, labels).axes[1]
    bars = [c.get_segments()[0] for c in panel.collections[1:]]
    lengths = sorted(np.ptp(bar, axis=0).max() for bar in bars)
    assert lengths == pytest.approx([2 * 0.12, 2 * 60])
    without = predicted[[name for name in predicted.colnames if not name.endswith("_err")]]
    assert len(plot_transferred(without, labels).axes[1].collections) == 1


def test_stars_without_a_value_are_left_out_on_both_sides(predicted, labels):
    predicted, labels = predicted.copy(), labels.copy()
    predicted["teff"][3] = np.nan * u.K
    labels["fe_h"][5] = np.nan * u.dex
    labels = labels[10:]
    figure = plot_transferred(predicted, labels)
    assert [len(points) for points in clouds(figure)] == [290, 290]
    assert figure.axes[0].get_title(loc="left") == "290 stars, true (10 left out)"


def test_a_colour_that_only_one_table_has_is_left_out(predicted, labels):
    figure = plot_transferred(predicted["object_id", "teff", "logg"], labels)
    assert len(figure.axes) == 2
    assert len(plot_transferred(predicted, labels, "fe_h", "teff", colour=None).axes) == 2


def test_units_are_converted(predicted, labels):
    other = predicted.copy()
    other["teff"] = other["teff"].to(u.kK)
    assert np.allclose(clouds(plot_transferred(other, labels))[1], clouds(plot_transferred(predicted, labels))[1])


def test_what_cannot_be_drawn_is_named(predicted, labels):
    with pytest.raises(LabelError, match="'mg_fe' is not in the table"):
        plot_transferred(predicted, labels, "fe_h", "mg_fe")
    empty = labels.copy()
    empty["logg"][:] = np.nan * empty["logg"].unit
    with pytest.raises(LabelError, match="teff and logg: expected a star for which both tables know both, found none"):
        plot_transferred(predicted, empty)
    others = labels.copy()
    others["object_id"] = [f"other {i}" for i in range(len(others))]
    with pytest.raises(MatchError, match="none of the 300 spectra"):
        plot_transferred(predicted, others)


def test_the_order_of_the_catalogue_does_not_matter(predicted, labels):
    order = np.random.default_rng(2).permutation(len(labels))
    shuffled, given = (clouds(plot_transferred(predicted[:40], table)) for table in (labels[order], labels))
    assert np.array_equal(shuffled, given)
