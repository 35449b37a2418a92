"""The figure of ranks."""

import numpy as np
import pytest
from astropy.table import QTable

from specalign.analysis import calibration_ranks
from specalign.exceptions import LabelError
from specalign.plots import plot_calibration
from specalign.plots.style import new_figure
from specalign.tests.analysis.test_calibration import truth_and_posterior


def test_the_figure_has_a_bar_a_bin_and_a_band_that_holds_uniform_ranks():
    true, posterior = truth_and_posterior(2000)
    figure = plot_calibration(calibration_ranks(posterior, true), bins=8)
    band, expected, counts = (patch.get_data() for patch in figure.axes[0].patches)
    assert counts.values.sum() == 2000
    np.testing.assert_allclose(expected.values, 250)
    assert (band.baseline < 250).all()
    assert ((counts.values >= band.baseline) & (counts.values <= band.values)).all()
    true, narrow = truth_and_posterior(2000, width=0.5)
    band, _, counts = (p.get_data() for p in plot_calibration(calibration_ranks(narrow, true), bins=8).axes[0].patches)
    assert counts.values[0] > band.values[0]
    assert counts.values[-1] > band.values[-1]


def test_the_figure_draws_on_given_axes_and_refuses_others():
    true, posterior = truth_and_posterior(100)
    ranks, figure = calibration_ranks(posterior, true), new_figure()
    axes = figure.subplots(1, 2)
    assert plot_calibration(ranks, ax=axes[0]) is figure
    with pytest.raises(ValueError, match="ax: expected 1 axes, for teff, got 2"):
        plot_calibration(ranks, ax=axes)
    with pytest.raises(ValueError, match="bins: expected from 2 to 128"):
        plot_calibration(ranks, bins=1)


def test_labels_without_a_rank_are_an_error():
    true, posterior = truth_and_posterior(5)
    true["teff"][:] = np.nan
    with pytest.raises(LabelError, match="teff: no rank is known"):
        plot_calibration(calibration_ranks(posterior, true))


def test_the_first_three_labels_are_drawn():
    names = np.arange(50).astype(str)
    ranks = QTable({"object_id": names, "spectrum_id": names}, meta={"n_samples": 15})
    for name in ("teff", "logg", "fe_h", "mg_fe"):
        ranks[name] = np.arange(50) % 16
    assert [ax.get_title(loc="left") for ax in plot_calibration(ranks).axes][2] == "[Fe/H]"
    assert len(plot_calibration(ranks, names=["mg_fe"]).axes) == 1
