import pytest
from astropy.table import Table

from specalign.cli import main


@pytest.fixture
def catalogue(tmp_path):
    table = Table({"APOGEE_ID": ["a", "b", "b", "c", "c"], "TEFF": [4800.0, -9999.0, -9999.0, 5000.0, 5001.0]})
    table["MG_FE"], table["RA"], table["DEC"] = [0.1, 0.2, 0.2, 0.3, 0.3], [0.0, 1.0, 1.0, 2.0, 2.0], [0.0] * 5
    table["MG_FE_FLAG"], table["TARGFLAGS"] = [1, 0, 0, 0, 0], ["x"] * 5
    path = tmp_path / "catalogue.csv"
    table.write(path, format="ascii.csv")
    return path


def test_inspect_says_what_a_catalogue_of_labels_holds(catalogue, capsys):
    assert main(["inspect", str(catalogue), "--labels", "--system", "aspcap-dr17"]) == 0
    text = capsys.readouterr().out
    for line in (
        f"{catalogue}: 4 stars or rows of labels",
        "  system        aspcap-dr17",
        "  calibrated    True",
        "  solar scale   grevesse-2007",
        "  epoch         2000.0",
        "  labels        teff, mg_fe",
        "  joined        1 equal rows of one star",
        "  conflicts     1 stars with rows that differ: c",
        "  masked        teff: no value 2",
        "  masked        mg_fe: mg_fe_flag 1",
        "  not read      MG_FE_FLAG, TARGFLAGS",
    ):
        assert line in text.splitlines()


def test_inspect_refuses_a_catalogue_without_system(catalogue, capsys):
    assert main(["inspect", str(catalogue), "--labels"]) == 1
    assert "expected the name of its label system; pass system=" in capsys.readouterr().err
