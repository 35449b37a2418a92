"""``specalign fetch`` against a server on this machine."""

import pytest
from astropy.table import Table

from specalign import get_instrument
from specalign.cli import main
from specalign.tests.fetch.server import Server
from specalign.tests.io.synthetic import lamost_coadd


@pytest.fixture
def server(tmp_path):
    lamost_coadd(tmp_path / "a.fits", header={"OBSID": 7})
    with Server().running() as running:
        running.add("/dr11/v2.0/lrs/spectrum/fits?obsid=7", (tmp_path / "a.fits").read_bytes())
        yield running


def test_files_are_fetched_and_listed(server, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("# one star\n7  # the star\n\n")
    words = ["fetch", "lamost", "--ids", str(tmp_path / "ids.txt"), "--release", "dr11", "--base-url", server.url]
    words += ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "found.ecsv")]
    assert main(words) == 0
    assert "1 downloaded, 0 cached, 0 missing, 0 failed" in capsys.readouterr().out
    assert main(words) == 0
    found = Table.read(tmp_path / "found.ecsv")
    assert list(found["status"]) == ["cached"]
    assert get_instrument("lamost").read(found["path"][0])[0].meta["spectrum_id"] == "lamost-7"


def test_what_is_not_there_is_an_error_with_its_reason(server, tmp_path, capsys):
    words = ["fetch", "lamost", "7", "8", "--release", "dr11", "--base-url", server.url]
    assert main([*words, "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr()
    assert "1 downloaded, 0 cached, 1 missing, 0 failed" in said.out
    assert "1 of 2 files are not there: 8: the archive answered 404 Not Found" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sloan", "1"], "invalid choice"),
        (["lamost"], "lamost: expected ids, or --ids FILE"),
        (["nirspec"], "nirspec: expected ids"),
        (["gaia_xp", "1", "--release", "dr3"], "gaia_xp has no option --release"),
        (["lamost", "1", "--calib-level", "3"], "lamost has no option --calib-level"),
        (["lamost", "1", "--limit", "0"], "0 does not conform to restriction v>0"),
    ],
)
def test_wrong_usage(words, message, capsys):
    assert main(["fetch", *words]) == 2
    assert message in capsys.readouterr().err


def test_an_id_of_another_form_is_one_line(capsys):
    assert main(["fetch", "lamost", "../7"]) == 1
    assert "obsid: expected something like '437513049', got '../7'" in capsys.readouterr().err
