"""``specalign prepare --velocity measure``: mock spectra against templates made of them at their stated velocities."""

import astropy.units as u
import numpy as np
import pytest

from specalign import PreparedSpectra, get_instrument
from specalign.cli import main
from specalign.mock import write_survey


def run(*argv):
    return main([str(word) for word in argv])


@pytest.fixture(scope="module")
def lamost(tmp_path_factory):
    """Folder with mock files of eight stars, and templates."""
    folder = tmp_path_factory.mktemp("velocity")
    write_survey(folder / "mock", 8, ("lamost",), seed=3, snr=60)
    instrument = get_instrument("lamost", normalization="continuum")
    paths = sorted((folder / "mock" / "lamost").iterdir())
    spectra = [spectrum for path in paths for spectrum in instrument.read(path)]
    instrument.prepare(spectra).write(folder / "templates.fits")
    return folder


def test_measured_velocities_are_those_of_the_headers(lamost, tmp_path, capsys):
    measure = ("--velocity", "measure", "--templates", lamost / "templates.fits", "--within", 4200, 5700)
    assert run("prepare", lamost / "mock" / "lamost", *measure, "--output", tmp_path / "out") == 0
    assert "8 files: 8 spectra prepared, 0 files or spectra rejected" in capsys.readouterr().out
    measured = PreparedSpectra.read(tmp_path / "out" / "lamost.fits").catalog
    assert set(measured["velocity_source"]) == {"measured"}
    assert run("prepare", lamost / "mock" / "lamost", "--output", tmp_path / "stated") == 0
    stated = PreparedSpectra.read(tmp_path / "stated" / "lamost.fits").catalog
    assert set(stated["velocity_source"]) == {"header Z"}
    difference = measured["radial_velocity"] - stated["radial_velocity"]
    assert (np.abs(difference) < 10 * u.km / u.s).all()
    assert (difference != 0).any()


def test_velocities_are_left_in_where_they_are_ignored(lamost, tmp_path, capsys):
    ignore = ("--velocity", "ignore", "--output", tmp_path / "out")
    assert run("prepare", lamost / "mock" / "lamost", *ignore) == 0
    assert "no radial velocity is known for 8 spectra: they stay in the barycentric frame" in capsys.readouterr().err
    left = PreparedSpectra.read(tmp_path / "out" / "lamost.fits").catalog
    assert set(left["frame"]) == {"barycentric"}
    assert not left["velocity_applied"].value.any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--velocity", "measure"], "--velocity measure and --templates FILE need each other"),
        (["--templates", "TEMPLATES"], "--velocity measure and --templates FILE need each other"),
        (["--within", 4200, 5700], "--within needs --velocity measure"),
        (["--velocity", "measure", "--templates", "TEMPLATES", "TEMPLATES"], "is a second file for lamost"),
    ],
)
def test_options_that_do_not_fit_together(words, message, lamost, tmp_path, capsys):
    words = [lamost / "templates.fits" if word == "TEMPLATES" else word for word in words]
    assert run("prepare", lamost / "mock" / "lamost", *words, "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_templates_that_nothing_is_measured_against(lamost, tmp_path, capsys):
    words = ("--instrument", "apogee", "--velocity", "measure", "--templates", lamost / "templates.fits")
    assert run("prepare", lamost / "mock" / "lamost", *words, "--output", tmp_path / "out") == 1
    assert "there is no spectrum of lamost to measure" in capsys.readouterr().err
