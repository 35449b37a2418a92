"""A mock survey of NIRSpec and Gaia XP, an aligner of its training stars, and a model of them."""

import types

import numpy as np
import pytest
import torch

import specalign as sa
from specalign.exceptions import VelocityWarning
from specalign.mock import write_survey
from specalign.prediction import LabelTransfer

N_STARS, N_TRAIN = 400, 300


@pytest.fixture(scope="session")
def survey(tmp_path_factory):
    """Files, prepared spectra, aligner and labels; the first 300 stars are for training."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("survey")
    paths = write_survey(folder, N_STARS, ("nirspec", "gaia_xp"), seed=4)
    prepared = {}
    for name in ("nirspec", "gaia_xp"):
        instrument = sa.get_instrument(name)
        spectra = [spectrum for path in paths[name] for spectrum in instrument.read(path)]
        prepared[name] = prepare(instrument, spectra)
    labels = sa.read_labels(paths["labels"])
    training = {n: rows[np.isin(rows.object_id, labels["object_id"][:N_TRAIN])] for n, rows in prepared.items()}
    test = {n: rows[np.isin(rows.object_id, labels["object_id"][N_TRAIN:])] for n, rows in prepared.items()}
    aligner = sa.Aligner(["nirspec", "gaia_xp"], embed_dim=32)
    aligner.fit(training, max_epochs=12, batch_size=64, progress=False, accelerator="cpu")
    return types.SimpleNamespace(paths=paths, training=training, test=test, labels=labels, aligner=aligner)


def prepare(instrument, spectra):
    """Prepared spectra; that NIRSpec files state no velocity is known here."""
    if instrument.name != "nirspec":
        return instrument.prepare(spectra)
    with pytest.warns(VelocityWarning, match="no radial velocity"):
        return instrument.prepare(spectra)


def reference(survey):
    parts = [survey.aligner.embed(rows) for rows in survey.training.values()]
    return sa.EmbeddingTable.concatenate(parts)


@pytest.fixture(scope="session")
def model(survey):
    """A model that is not for science and labels NIRSpec spectra."""
    return LabelTransfer.build(
        survey.aligner,
        reference(survey),
        survey.labels,
        [survey.training["nirspec"]],
        names=["teff", "logg", "fe_h", "mg_fe"],
        note="made for a test",
        science=False,
    )
