"""The verb that looks at a catalogue and its spectra: what the report says, and what it does where something lacks."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, vstack

from specalign import PreparedSpectra
from specalign.cli import main


@pytest.fixture
def catalogue(tmp_path):
    """A catalogue of three stars, one of them twice and one without metallicity."""
    table = QTable({"object_id": ["a", "b", "b", "c"], "teff": [4000, 5000, 5100, 6000] * u.K})
    table["fe_h"] = [0.1, -0.3, -0.3, np.nan] * u.dex
    table.meta["label_system"] = "mine"
    table.write(tmp_path / "labels.ecsv")
    return tmp_path / "labels.ecsv"


def run(*argv):
    return main([str(word) for word in argv])


def test_study_of_a_catalogue_alone(catalogue, tmp_path, capsys):
    assert run("study", catalogue, "--output", tmp_path / "out" / "study.html") == 0
    page = (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
    assert "<p>rows: 4 of 3 stars</p>" in page
    assert "<p>rows dropped: 1 (1 conflicting)</p>" in page
    assert page.count("<img ") == 2  # neither Kiel diagram nor magnesium
    assert "rows dropped  1 (1 conflicting)" in capsys.readouterr().out


def test_study_against_another_catalogue(catalogue, tmp_path):
    other = vstack([QTable.read(catalogue)[:1], QTable.read(catalogue)[:1]], metadata_conflicts="silent")
    other["object_id"][1] = "z"
    other["teff"] += 70 * u.K
    other.meta["label_system"] = "theirs"
    other.write(tmp_path / "other.ecsv")
    assert run("study", catalogue, "--against", tmp_path / "other.ecsv", "--output", tmp_path / "study.html") == 0
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert "<p>stars in both: 1</p>" in page
    assert "<p>stars in labels.ecsv only: 2</p>" in page
    assert "the label systems differ" in page
    assert "other.ecsv minus labels.ecsv" in page
    assert '<td class="number">70.00</td>' in page


@pytest.mark.slow
def test_study_of_spectra(survey, tmp_path):
    apogee = PreparedSpectra.read(survey / "prepared" / "apogee.fits")
    apogee[:50].write(tmp_path / "apogee.fits")
    spectra = [tmp_path / "apogee.fits", survey / "prepared" / "nirspec.fits"]
    argv = [survey / "mock" / "labels.ecsv", "--spectra", *spectra, "--stars", 3, "--output", tmp_path / "study.html"]
    assert run("study", *argv) == 0
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert "<h2>apogee</h2>" in page
    assert "<p>stars in labels.ecsv only: 10</p>" in page
    assert "<td>UNCOVERED</td>" in page
    assert "apogee and nirspec: one star, where both have wavelengths" in page
    assert len(page) < 5e6


@pytest.mark.slow
def test_spectra_without_labels_are_drawn_with_a_note(survey, catalogue, tmp_path):
    spectra = survey / "prepared" / "nirspec.fits"
    assert run("study", catalogue, "--spectra", spectra, "--stars", 2, "--output", tmp_path / "study.html") == 0
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert "not ones that span the labels: none of the 0 stars has teff, fe_h" in page


def test_an_unknown_label_system_is_an_error(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("object_id,teff\nx,4000\n")
    assert run("study", tmp_path / "a.csv", "--output", tmp_path / "study.html") == 1
    assert "expected the name of its label system" in capsys.readouterr().err
    assert not (tmp_path / "study.html").exists()
