"""Trainings follow the settings, and say what they do."""

import logging

import pytest
import torch

from specalign import Aligner
from specalign.alignment import LabelRegressor
from specalign.alignment.training import loop
from specalign.config import conf
from specalign.exceptions import SpecalignError
from specalign.tests.alignment.survey import label_table, observe, stars

SPECTRA = {name: observe(name, stars(40)) for name in ("apogee", "nirspec")}


def fit(**options):
    aligner = Aligner(list(SPECTRA), embed_dim=4)
    aligner.fit(SPECTRA, batch_size=32, **{"max_epochs": 3, "accelerator": "cpu"} | options)
    return aligner


@pytest.mark.slow
def test_threads_and_accelerator_are_those_of_the_settings(monkeypatch):
    seen, trainer = [], loop._trainer

    def watched(module, recorder, accelerator, devices):
        seen.append((torch.get_num_threads(), accelerator, recorder.progress))
        return trainer(module, recorder, accelerator, devices)

    monkeypatch.setattr(loop, "_trainer", watched)
    with conf.set_temp("threads", 2), conf.set_temp("accelerator", "cpu"), conf.set_temp("progress", False):
        aligner = fit(max_epochs=1, accelerator="auto")
        fit(max_epochs=1, accelerator="cpu", progress=True)
        encode = aligner.encoders["apogee"].forward
        monkeypatch.setattr(
            aligner.encoders["apogee"], "forward",
            lambda **rows: (seen.append((torch.get_num_threads(), "embed", False)), encode(**rows))[1],
        )  # fmt: skip
        aligner.embed(SPECTRA["apogee"])
    assert seen == [(2, "cpu", False), (2, "cpu", True), (2, "embed", False)]
    assert torch.get_num_threads() == 1


def test_an_accelerator_of_the_settings_that_is_not_there_is_named():
    with conf.set_temp("accelerator", "abacus"), pytest.raises(SpecalignError, match="accelerator='abacus'"):
        fit(accelerator="auto")


def test_a_training_tells_its_stars_and_why_it_ended(caplog):
    caplog.set_level(logging.INFO, logger="specalign")
    fit(patience=1, learning_rate=0.0, validation=0.5)
    for part in (
        "'matched': 40",
        "aligning: at most 3 epochs, on cpu",
        "the validation loss did not fall",
        "<History:",
    ):
        assert part in caplog.text


def test_a_regressor_tells_what_it_learned_from(caplog):
    caplog.set_level(logging.INFO, logger="specalign")
    regressor = LabelRegressor("mlp").fit(SPECTRA["apogee"], label_table(stars(30)), max_epochs=1, accelerator="cpu")
    for part in ("<LabelHistory: 1 epochs", "<StarSplit of 40 stars", "10 spectra without a label"):
        assert part in caplog.text
    text = regressor._repr_html_()
    for part in ("teff [K], logg [dex(cm / s2)], fe_h [dex]", "10 without a label", "40 pixels"):
        assert part in text


def test_a_trained_aligner_shows_what_it_is():
    aligner = fit(max_epochs=1)
    text = aligner._repr_html_()
    for part in (f"4 dimensions, {aligner.space[:12]}", "40 pixels; apogee with grid", "mode", "40 matched stars"):
        assert part in text
