"""Spectra at rest know no velocity: it is a label of an aligner where all spectra that resolve it still have it."""

import logging

import astropy.units as u
import numpy as np
import pytest

from specalign import Aligner
from specalign.alignment import LabelRegressor
from specalign.exceptions import LabelError
from specalign.instruments.frames import frames_of
from specalign.tests.alignment.survey import label_table, observe, stars

SHORT = {"max_epochs": 1, "progress": False}


def seen(name, frame):
    rows = observe(name, stars(40))
    rows.catalog["frame"] = np.full(len(rows), frame)
    return rows


def labels_with_velocity():
    labels = label_table(stars(40))
    labels["radial_velocity"] = np.linspace(-100, 100, 40) * u.km / u.s
    labels["pmra"] = np.linspace(0, 1, 40) * u.mas / u.yr
    return labels


def labels_of(frames, labels):
    spectra = {name: seen(name, frame) for name, frame in frames.items()}
    aligner = Aligner(list(spectra), embed_dim=8)
    aligner.fit(spectra, labels=labels, **SHORT)
    return aligner._labels.names


@pytest.mark.parametrize(
    ("frames", "known"),
    [
        ({"apogee": "barycentric", "nirspec": "barycentric"}, True),
        ({"apogee": "barycentric", "gaia_xp": "barycentric"}, True),
        ({"apogee": "rest", "gaia_xp": "barycentric"}, False),
        ({"apogee": "rest", "nirspec": "rest"}, False),
    ],
)
def test_a_velocity_is_a_label_of_spectra_that_are_not_at_rest(frames, known):
    names = labels_of(frames, labels_with_velocity())
    assert ("radial_velocity" in names) == known
    assert "pmra" not in names


def test_frames_that_differ_are_told_and_have_no_velocity(caplog):
    with caplog.at_level(logging.WARNING, logger="specalign"):
        names = labels_of({"apogee": "rest", "nirspec": "barycentric"}, labels_with_velocity())
    assert "radial_velocity" not in names
    assert "frames of the spectra differ (apogee: rest; nirspec: barycentric)" in caplog.text


def test_a_velocity_that_was_named_is_refused_where_it_cannot_be_known():
    labels = labels_with_velocity()
    labels.meta["named_labels"] = ["teff", "radial_velocity"]
    with pytest.raises(LabelError, match="expected spectra that know their velocity, got apogee at rest; prepare with"):
        labels_of({"apogee": "rest", "nirspec": "barycentric"}, labels)
    with pytest.raises(LabelError, match="got apogee at rest"):
        LabelRegressor().fit(seen("apogee", "rest"), labels, names=["radial_velocity"], max_epochs=1)


def test_an_instrument_that_is_not_installed_is_taken_to_resolve_velocities():
    rows = observe("apogee", stars(3))
    assert frames_of(rows) == []
    rows.catalog["frame"] = ["observed", "rest", "rest"]
    rows.instrument = type(rows.instrument)("somebody-elses", {}, "0", "1")
    assert frames_of(rows) == ["observed", "rest"]
