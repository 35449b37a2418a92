"""Scores against S/N, and the worst spectra, each with units."""

import dataclasses

import numpy as np
import pytest

from specalign import plots
from specalign.analysis.outliers import OutlierTable
from specalign.exceptions import MatchError
from specalign.tests.plots.test_figures import draw


@pytest.fixture
def found(apogee):
    n = len(apogee)
    score = np.ma.array(np.arange(n, dtype=float), mask=np.arange(n) == 0)
    rows = {"object_id": apogee.object_id, "spectrum_id": apogee.spectrum_id, "instrument": ["apogee"] * n}
    rows |= {"snr": np.linspace(20, 90, n), "score": score, "p_value": np.ma.array(1 / (1 + score), mask=score.mask)}
    rows["outlier"] = np.ma.array(score.data > 9, mask=score.mask)
    return OutlierTable(rows, meta={"false_alarm": 0.01})


def test_the_worst_spectra_are_drawn_worst_first(found, apogee, tmp_path):
    made = dataclasses.replace(apogee, flux=np.ones_like(apogee.flux), mask=np.zeros_like(apogee.mask))
    figure = draw(plots.plot_outliers(found, apogee, n=2, reconstruction=made), tmp_path)
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles[0] == "2 of 11 spectra are outliers at 1 % false alarms, 1 unknown"
    assert [title.split(":")[0] for title in titles[1:]] == ["star 11", "star 10"]
    assert [len(ax.lines) for ax in figure.axes[1:]] == [2, 2]
    assert figure.axes[0].get_xlabel() == "S/N a pixel [dimensionless]"
    drawn = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_array_equal(np.isnan(drawn), apogee.mask[11])
    expected = figure.axes[1].lines[1]
    np.testing.assert_array_equal(np.isnan(expected.get_ydata()), apogee.mask[11])
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["apogee", "expected"]


def test_scores_alone_go_into_given_axes(found, tmp_path):
    figure = draw(found.plot(), tmp_path)
    assert sum(len(one.get_offsets()) for one in figure.axes[0].collections) == 11
    assert found.plot(ax=figure.axes[0]) is figure.axes[0]


def test_nothing_to_draw_is_an_error(found, nirspec):
    with pytest.raises(MatchError, match="none of the 12 spectra of nirspec is among the rows"):
        found.plot(nirspec)
    with pytest.raises(MatchError, match="none of the 1 rows has a score"):
        found[:1].plot()
