import sys
from dataclasses import dataclass
from typing import ClassVar

import astropy.units as u
import matplotlib as mpl
import numpy as np
import pytest
from astropy.nddata import InverseVariance
from astropy.table import Table
from specutils import Spectrum

import specalign.plots as plots
from specalign import metrics
from specalign.alignment import AdaptationHistory, PretrainingHistory
from specalign.analysis import baselines
from specalign.exceptions import LabelError, MatchError, MissingExtraError
from specalign.plots.style import instrument_colours


def texts(figure):
    axes = [ax for ax in figure.axes if ax.axison]
    return [text for ax in axes for text in (ax.get_xlabel(), ax.get_ylabel()) if text]


def draw(figure, path):
    """Every axis has a unit in brackets, and the figure can be written without a display."""
    assert all("[" in text for text in texts(figure)), texts(figure)
    figure.savefig(path / "figure.png")
    assert (path / "figure.png").stat().st_size > 5000
    return figure


@pytest.fixture
def spectrum(apogee):
    flux = apogee.flux[0] * 300 * u.Unit("1e-17 erg / (s cm2 AA)")
    meta = {"object_id": "star 0", "frame": "rest", "medium": "vacuum"}
    axis = apogee.spectral_axis.to(u.nm)
    ivar = InverseVariance(apogee.ivar[0] / 300**2 / flux.unit**2)
    return Spectrum(flux=flux, spectral_axis=axis, uncertainty=ivar, mask=apogee.mask[0], meta=meta)


def test_instruments_of_other_distributions_are_told_apart():
    colours = instrument_colours(["desi", "apogee", "gaia_rvs", "nirspec", "stis"])
    assert len(set(colours.values())) == 5
    assert {name: colours[name] for name in ("apogee", "nirspec")} == instrument_colours(["nirspec", "apogee"])


def test_prepared_hides_what_is_under_the_mask(apogee, tmp_path):
    ax = draw(plots.plot_prepared(apogee, rows=(0, 3, 99)), tmp_path).axes[0]
    assert len(ax.lines) == 2
    drawn = ax.lines[0].get_ydata()
    assert np.array_equal(np.isnan(drawn), apogee.mask[0])
    assert np.nanmin(drawn) > -1
    assert "Vacuum wavelength [Å]" in texts(ax.figure)


def test_all_masked_spectra_can_be_drawn(apogee, tmp_path):
    masked = apogee[[0, 1]]
    masked.mask[:], masked.ivar[:] = True, 0
    draw(plots.plot_prepared(masked), tmp_path)


def test_before_and_after(spectrum, apogee, tmp_path):
    figure = draw(plots.plot_before_after(spectrum, apogee), tmp_path)
    top, bottom = figure.axes
    assert "erg" in top.get_ylabel()
    assert "star 0, rest, vacuum" in top.get_title(loc="left")
    assert np.allclose(top.lines[0].get_xdata(), apogee.spectral_axis.value)
    assert "3 % masked" in {text.get_text() for text in top.texts} & {text.get_text() for text in bottom.texts}


def test_coefficients_have_numbers_instead_of_wavelengths(apogee, tmp_path):
    spectrum = Spectrum(flux=np.arange(5.0) * u.one, spectral_axis=np.arange(5) * u.pix)
    figure = draw(plots.plot_before_after(spectrum, apogee), tmp_path)
    assert figure.axes[0].get_xlabel() == "Coefficient number [pix]"


def test_neighbours_say_which_is_the_same_star(embeddings, apogee, nirspec, tmp_path):
    first = embeddings[np.isin(embeddings.object_id, apogee.object_id)]
    found = first[first.instrument == "apogee"].search(first[first.instrument == "nirspec"], k=4)
    figure = draw(plots.plot_neighbours(found, nirspec, apogee, spectrum_id="nirspec star 5", n=2), tmp_path)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0] == "query, nirspec: star 5"
    assert len(titles) == 3
    assert any(title.startswith("1. apogee: star 5, the same star (cosine 0.9") for title in titles)


def test_neighbours_without_spectra_are_an_error(embeddings, apogee, nirspec):
    found = embeddings[embeddings.instrument == "apogee"].search(embeddings[-1], k=2)
    with pytest.raises(MatchError, match="'nirspec star 299' is not among the 12 spectra of nirspec"):
        plots.plot_neighbours(found, nirspec, apogee)


def test_kiel_diagram_runs_backwards(labels, tmp_path):
    ax = draw(plots.plot_kiel(labels), tmp_path).axes[0]
    assert ax.xaxis_inverted()
    assert ax.yaxis_inverted()
    assert "labels: mock" in ax.get_title(loc="left")
    assert len(plots.plot_kiel(labels["object_id", "teff", "logg"]).axes) == 1


def test_kiel_diagram_needs_units():
    table = Table({"object_id": ["a"], "teff": [4000.0], "logg": [2.0]})
    with pytest.raises(LabelError, match="teff: expected a unit"):
        plots.plot_kiel(table)


def test_labels_show_the_figures_of_metrics(predicted, labels, tmp_path):
    figure = draw(plots.plot_labels(predicted, labels), tmp_path)
    assert len(figure.axes) == 6
    rmse = metrics.labels(predicted, labels)["rmse"][0]
    assert f"RMSE {rmse:.3g} K" in figure.axes[0].texts[0].get_text()
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == [
        "Effective temperature",
        "Surface gravity log g",
        "[Fe/H]",
    ]


def test_many_labels_are_drawn_as_a_density(predicted, labels, tmp_path):
    rows = np.tile(np.arange(len(predicted)), 11)
    draw(plots.plot_labels(predicted[rows], labels, names=["teff"]), tmp_path)


def test_retrieval_against_chance(embeddings, tmp_path):
    gallery, queries = (embeddings[embeddings.instrument == name] for name in ("apogee", "nirspec"))
    results = {"shared space": metrics.retrieval(queries, gallery, ks=(1, 5, 20))}
    ax = draw(plots.plot_retrieval(results), tmp_path).axes[0]
    assert ax.lines[1].get_ydata()[0] == pytest.approx(1 / 300)
    assert list(ax.lines[0].get_xdata()) == [1, 5, 20]
    results["chance"] = baselines.chance(queries, gallery, ks=(1, 5, 20))
    assert len(plots.plot_retrieval(results).axes[0].lines) == 2


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_embedding_in_two_dimensions(embeddings, labels, method, tmp_path):
    few = embeddings[::5]
    ax = draw(plots.plot_embedding(few, method=method), tmp_path).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["apogee", "nirspec"]
    colored = draw(few.plot(method=method, labels=labels[:100], colour="teff"), tmp_path)
    assert sum(len(c.get_offsets()) for c in colored.axes[0].collections) == len(few)


def test_an_unknown_method_is_an_error(embeddings):
    with pytest.raises(ValueError, match="expected one of pca, tsne, umap, got 'som'"):
        plots.plot_embedding(embeddings, method="som")


@dataclass
class History:
    epochs: Table
    best_epoch: int = 1


def test_history_without_validation(tmp_path):
    epochs = Table({"epoch": [0, 1], "train_loss": [2.0, 1.0], "val_loss": [np.nan] * 2, "recall@1": [np.nan, 0.2]})
    left, right = draw(plots.plot_history(History(epochs)), tmp_path).axes
    assert len(left.lines) == 2
    assert len(right.lines) == 2


@dataclass
class Training:
    epochs: Table
    best_epoch: int = 4
    stopped: str = "the validation loss did not fall by 0.001 in 5 epochs"
    LOSS: ClassVar = "Loss [nat]"


def training(n=9, validated=True):
    loss = 0.5 ** np.arange(n)
    rate = 1e-3 * 0.5 ** (np.arange(n) // 4)
    val = 0.1 + loss if validated else np.full(n, np.nan)
    return Training(Table({"epoch": np.arange(n), "train_loss": loss, "val_loss": val, "learning_rate": rate}))


def test_training_marks_its_end_the_kept_weights_and_the_steps(tmp_path):
    top, bottom = draw(plots.plot_training(training()), tmp_path).axes
    assert top.get_title(loc="left") == "9 epochs: the validation loss did not fall by 0.001 in 5 epochs"
    upright = {line.get_label(): line.get_xdata()[0] for line in top.lines if len(set(line.get_xdata())) == 1}
    assert upright["weights kept"] == 4
    assert upright["end"] == 8
    assert sorted(line.get_xdata()[0] for line in bottom.lines if line.get_linestyle() == "--") == [3.5, 7.5]


def test_training_without_validation_or_steps(tmp_path):
    history = training(3, validated=False)
    top, _ = draw(plots.plot_training(history), tmp_path).axes
    assert "validation" not in {line.get_label() for line in top.lines}
    assert "step of the learning rate" not in {line.get_label() for line in top.lines}


def test_a_rate_that_falls_all_the_time_has_no_steps(tmp_path):
    history = PretrainingHistory()
    for epoch in range(6):
        history.add(epoch=epoch, train_loss=1 / (1 + epoch), val_loss=0.5, learning_rate=1e-3 * (6 - epoch))
    top, bottom = draw(plots.plot_training(history), tmp_path).axes
    assert [line for line in bottom.lines if line.get_linestyle() == "--"] == []
    assert top.get_ylabel() == "Loss [mean spectrum = 1]"


def test_a_loss_below_zero_is_drawn(tmp_path):
    history = AdaptationHistory()
    for epoch in range(3):
        history.add(epoch=epoch, train_loss=-0.5 - epoch, learning_rate=1e-3)
    top, bottom = draw(plots.plot_training(history), tmp_path).axes
    assert (top.get_yscale(), bottom.get_yscale()) == ("linear", "log")
    assert top.get_ylim()[0] < -2.5


def test_bins_say_how_many_stars_they_hold(predicted, labels, tmp_path):
    figures = metrics.labels_in_bins(predicted, labels, by="fe_h")
    figure = draw(plots.plot_label_bins(figures), tmp_path)
    assert len(figure.axes) == 3
    numbers = figures["n"][figures["label"] == "teff"]
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks[0] == f"metal-poor\n< -1\nn = {numbers[0]}"
    assert ticks[-1] == f"metal-rich\n≥ -0.5\nn = {numbers[-1]}"
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    np.testing.assert_allclose(heights, figures["rmse"][figures["label"] == "teff"])


def test_empty_bins_and_one_label_can_be_drawn(predicted, labels, tmp_path):
    figures = metrics.labels_in_bins(predicted, labels, by="teff", edges=[100, 200, 9000] * u.K)
    ticks = draw(plots.plot_label_bins(figures, names=["logg"]), tmp_path).axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["100 to 200\nn = 0", "200 to 9000\nn = 300"]


def test_settings_of_the_user_stay_as_they_are(apogee):
    before = dict(mpl.rcParams)
    plots.plot_prepared(apogee)
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "specalign.plots."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(vars(plots), "plot_prepared", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[plot\]'"):
        _ = plots.plot_prepared


def test_every_public_name_is_there():
    assert all(callable(getattr(plots, name)) for name in plots.__all__)
    with pytest.raises(AttributeError, match="no attribute 'plot_nothing'"):
        _ = plots.plot_nothing
