"""Velocity and extinction as labels, from the fit to figures, intervals and files; and spectra that hide them."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import EmbeddingTable, LabelModel, metrics
from specalign.analysis import ConformalLabels, FluxLabelModel, interval_coverage
from specalign.data.columns import label_names
from specalign.exceptions import LabelError
from specalign.instruments import get_instrument
from specalign.plots import plot_labels
from specalign.prediction.model import _plain_labels

NAMES = ["teff", "radial_velocity", "a_v"]


@pytest.fixture(scope="module")
def stars():
    """Embeddings of 400 stars whose labels can be read off them, and the labels."""
    rng, names = np.random.default_rng(1), np.arange(400).astype(str)
    vectors = rng.normal(size=(400, 3))
    labels = QTable({"object_id": names}, meta={"label_system": "mock"})
    for name, scale, unit, column in zip(NAMES, (500, 100, 0.3), (u.K, u.km / u.s, u.mag), vectors.T, strict=True):
        labels[name] = (scale * (column + 0.1 * rng.normal(size=400))) * unit
    return EmbeddingTable(vectors, names, names, "toy", rng.uniform(10, 99, 400), np.ones(400), {"space": "s"}), labels


def test_a_predicted_velocity_is_judged_and_drawn_as_other_labels_are(stars, tmp_path):
    table, labels = stars
    assert label_names(labels) == ["teff", "a_v"]
    predicted = LabelModel("linear").fit(table[:200], labels, names=NAMES).predict(table[200:])
    rows = {row["label"]: row for row in metrics.labels(predicted, labels)}
    assert list(rows) == NAMES
    assert (rows["radial_velocity"]["unit"], rows["a_v"]["unit"]) == ("km / s", "mag")
    residual = (predicted["radial_velocity"] - labels["radial_velocity"][200:]).value
    assert rows["radial_velocity"]["rmse"] == pytest.approx(np.sqrt((residual**2).mean()))
    assert rows["radial_velocity"]["rmse"] < 50
    bins = metrics.labels_in_bins(predicted, labels, by="radial_velocity", edges=[-500, 0, 500] * u.km / u.s)
    assert set(bins["label"]) == set(NAMES)
    figure = plot_labels(predicted, labels, ["radial_velocity", "a_v"])
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["Radial velocity", "Extinction A(V)"]
    assert figure.axes[0].get_ylabel() == "Predicted [km s⁻¹]"
    predicted.write(tmp_path / "labels.ecsv")
    assert list(metrics.labels(QTable.read(tmp_path / "labels.ecsv"), labels)["label"]) == NAMES


def test_velocities_get_conformal_intervals(stars):
    table, labels = stars
    model = ConformalLabels(LabelModel("linear"), [0.8], calibration=0.5).fit(table[:300], labels, names=NAMES)
    intervals = model.predict(table[300:])
    assert intervals["radial_velocity_lo_80"].unit == u.km / u.s
    held = interval_coverage(intervals, labels)
    assert held["coverage"][list(held["label"]).index("radial_velocity")] == pytest.approx(0.8, abs=0.13)


def test_a_catalogue_s_velocity_is_no_label_of_a_model_that_was_not_asked_for_it(stars):
    table, labels = stars
    predicted = LabelModel("linear").fit(table, labels).predict(table)
    assert "radial_velocity" not in predicted.colnames
    assert "named_labels" not in predicted.meta
    predicted["radial_velocity"] = labels["radial_velocity"]
    assert list(metrics.labels(predicted, labels)["label"]) == ["teff", "a_v"]


def test_a_model_that_is_kept_keeps_its_velocities(stars):
    table, labels = stars
    assert label_names(_plain_labels(labels, table, NAMES)) == NAMES
    assert label_names(_plain_labels(labels, table, None)) == ["teff", "a_v"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("apogee", r"got apogee at rest; prepare with radial_velocity=np.nan \* u.km / u.s"),
        ("gaia_xp", "got the resolution of gaia_xp, which hides it; leave the label out"),
    ],
)
def test_spectra_that_cannot_know_a_velocity_say_so(name, words):
    instrument, names = get_instrument(name), ["a", "b", "c"]
    flux = np.ones((3, instrument.n_pixels))
    prepared = instrument.prepare_arrays(flux, spectral_axis=instrument.spectral_axis, object_id=names)
    labels = QTable({"object_id": names, "radial_velocity": [1.0, 2.0, 3.0] * u.km / u.s})
    with pytest.raises(LabelError, match=words):
        FluxLabelModel().fit(prepared, labels, names=["radial_velocity"])
