"""The verbs ``model`` and ``predict``."""

import numpy as np
import pytest
from astropy.table import QTable

from specalign.cli import main

pytestmark = pytest.mark.slow  # a survey is made, prepared and trained on first


def run(*argv):
    return main([str(word) for word in argv])


@pytest.fixture(scope="module")
def folder(survey, tmp_path_factory):
    """A model of the small mock survey."""
    path = tmp_path_factory.mktemp("model")
    labels = survey / "mock" / "labels.ecsv"
    argv = ["--aligner", survey / "aligner", "--labels", labels, "--instruments", "nirspec", "--output", path]
    assert run("model", survey / "prepared", *argv, "--science", "no", "--note", "a small one") == 0
    return path


def test_model_says_what_it_made(survey, tmp_path, capsys):
    argv = ["--aligner", survey / "aligner", "--labels", survey / "mock" / "labels.ecsv", "--output", tmp_path / "m"]
    assert run("model", survey / "prepared", *argv, "--instruments", "nirspec", "--reference", "apogee") == 0
    text = capsys.readouterr().out
    assert "<LabelTransfer to nirspec: knn of teff, logg" in text
    assert "from 60 spectra" in text
    assert "errors of nirspec: checked on 60 stars that were held out in turn" in text
    assert f"next: specalign predict YOUR-FILES/ --model {tmp_path / 'm'} --output labels.ecsv" in text


def test_model_refuses_instruments_that_are_not_there(survey, tmp_path, capsys):
    argv = ["--aligner", survey / "aligner", "--labels", survey / "mock" / "labels.ecsv", "--output", tmp_path]
    assert run("model", survey / "prepared", *argv, "--instruments", "lamost") == 2
    assert "--instruments: expected some of apogee, nirspec, got 'lamost'" in capsys.readouterr().err


def test_predict_prints_labels_domain_and_what_it_rejects(survey, folder, tmp_path, capsys):
    files = sorted((survey / "mock" / "nirspec").iterdir())[:3]
    apogee = sorted((survey / "mock" / "apogee").iterdir())[0]
    output = tmp_path / "labels.ecsv"
    assert run("predict", *files, apogee, "--model", folder, "--output", output) == 0
    captured = capsys.readouterr()
    assert f"rejected: {apogee}: " in captured.out
    assert "3 spectra labelled in the system specalign-mock" in captured.out
    assert "1 files or spectra rejected" in captured.out
    assert "NOT FOR SCIENCE: a small one" in captured.out
    assert "this model is not for science: a small one" in captured.err
    table = QTable.read(output)
    assert len(table) == 3
    assert np.isfinite(table["teff"].value).all()
    assert table.meta["not_for_science"] is True
    assert "not_for_science" in output.read_text()


def test_predict_refuses_what_it_cannot_write_before_the_work(survey, folder, capsys, monkeypatch):
    monkeypatch.setattr("specalign.prediction.predict", lambda *a, **k: pytest.fail("the work was done"))
    assert run("predict", survey / "mock" / "nirspec", "--model", folder, "--output", "labels.xlsx") == 2
    assert "expected a name that ends in .ecsv" in capsys.readouterr().err


@pytest.mark.parametrize(("where", "message"), [("mock/apogee", "none of the 60 files"), ("nothing", "nothing")])
def test_predict_ends_with_1_where_nothing_is_left(survey, folder, capsys, where, message):
    assert run("predict", survey / where, "--model", folder) == 1
    assert message in capsys.readouterr().err


def test_predict_without_a_model(survey, tmp_path, capsys):
    assert run("predict", survey / "mock" / "nirspec", "--model", tmp_path) == 1
    assert "expected a file of a saved model" in capsys.readouterr().err
