"""The main job on real input: real LAMOST spectra with emulated Gaia XP, and the four-instrument mock survey.

The full-size figures are in ``docs/results.rst``; here, smaller runs must stay far above what could happen by chance.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import specalign as sa
from specalign.analysis.baselines import matched_flux_retrieval
from specalign.data.splits import split

pytestmark = [pytest.mark.slow, pytest.mark.shared]


@pytest.fixture(scope="module")
def surveys():
    """The module of the benchmarks that prepares both surveys."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not (folder / "survey_data.py").is_file():
        pytest.skip("needs the checkout's folder 'benchmarks'")
    sys.path.insert(0, str(folder))
    try:
        import survey_data
    finally:
        sys.path.remove(str(folder))
    return survey_data


def align(train, **options):
    aligner = sa.Aligner(list(train))
    aligner.fit(train, progress=False, seed=0, **options)
    return aligner


@pytest.fixture(scope="module")
def real(shared, surveys):
    """Real LAMOST and emulated XP spectra: training and test parts, labels, and an aligner of the training part."""
    study = surveys.RealLamost(shared, seed=0)
    prepared = study.prepare()
    assert study.n_rejected + len(study.object_id) == 2000
    assert all(len(rows) + len(rows.rejected) == len(study.object_id) for rows in prepared.values())
    parts = {name: split(rows.object_id, seed=0, validation=0, test=0.2) for name, rows in prepared.items()}
    train = {name: rows[parts[name] != "test"] for name, rows in prepared.items()}
    test = {name: rows[parts[name] == "test"] for name, rows in prepared.items()}
    return train, test, study.labels, align(train, labels=study.labels)


def test_real_lamost_finds_its_xp_spectrum(real):
    _, test, _, aligner = real
    found = sa.metrics.retrieval(aligner.embed(test["lamost"]), aligner.embed(test["gaia_xp"]))
    raw = matched_flux_retrieval(test["lamost"], test["gaia_xp"])
    assert found["n_unmatched"] == 0
    assert found["recall@1"] > 15 * found["chance_recall@1"]
    assert found["recall@10"] > 3 * raw["recall@10"]


@pytest.mark.parametrize(("method", "source"), [("knn", "gaia_xp"), ("linear", "lamost")])
def test_labels_of_real_lamost_stars(real, method, source):
    train, test, labels, aligner = real
    model = sa.LabelModel(method).fit(aligner.embed(train[source]), labels)
    figures = sa.metrics.labels(model.predict(aligner.embed(test["lamost"])), labels)
    r2 = dict(zip(figures["label"], figures["r2"], strict=True))
    assert r2["teff"] > 0.85
    assert r2["fe_h"] > 0.75
    assert r2["logg"] > 0.65


def test_no_test_star_was_trained_on(real):
    train, test, _, aligner = real
    assert not set(train["lamost"].object_id) & set(test["gaia_xp"].object_id)
    assert aligner.history.counts["stars"] == len(set(train["lamost"].object_id) | set(train["gaia_xp"].object_id))


def test_mock_survey_from_nirspec_to_apogee(shared, surveys):
    survey = surveys.MockSurvey(shared, n_stars=2500, seed=7, n_test=500)
    train, test = ({}, {})
    for name in ("nirspec", "apogee"):
        train[name], test[name] = survey.prepare(name)
    aligner = align(train, max_epochs=20)
    found = sa.metrics.retrieval(aligner.embed(test["nirspec"]), aligner.embed(test["apogee"]))
    assert found["recall@1"] > 75 * found["chance_recall@1"]
    model = sa.LabelModel("knn").fit(aligner.embed(train["apogee"]), survey.labels)
    figures = sa.metrics.labels(model.predict(aligner.embed(test["nirspec"])), survey.labels, survey.bound("nirspec"))
    assert np.all(figures["r2"][figures["label"] == "teff"] > 0.85)
    assert np.all(figures["ratio"] > 0.8)  # nothing beats the information that is there
