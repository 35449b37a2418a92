"""The report of a user's own spectra: what it shows, what it leaves out and says so, and what it refuses."""

import html
import re

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import EmbeddingTable, PreparedSpectra, read_labels
from specalign.cli import main
from specalign.cli.report_outcome import with_ratios
from specalign.cli.report_sections import _shown_rows

pytestmark = pytest.mark.slow  # each report embeds a survey and lays it out in two dimensions


def run(*argv):
    return main([str(word) for word in argv])


def sections(path):
    """Text of each section by its title, without tags."""
    text = re.sub(r"<img[^>]*>", "[figure]", path.read_text(encoding="utf-8"))
    parts = re.findall(r"<section id=[^>]*><h2>(.*?)</h2>(.*?)</section>", text, flags=re.S)
    return {html.unescape(title): html.unescape(re.sub(r"<[^>]+>", " ", body)) for title, body in parts}


@pytest.fixture(scope="module")
def made(survey, tmp_path_factory):
    """The report of a survey with a star less in NIRSpec, a visit more, and a table of what was rejected."""
    folder = tmp_path_factory.mktemp("report")
    apogee, nirspec = (PreparedSpectra.read(survey / "prepared" / f"{name}.fits") for name in ("apogee", "nirspec"))
    again = nirspec[3]
    again.spectrum_id[:] = "a second visit"
    (folder / "prepared").mkdir()
    apogee.write(folder / "prepared" / "apogee.fits")
    PreparedSpectra.concatenate([nirspec[1:], again]).write(folder / "prepared" / "nirspec.fits")
    rejected = QTable({"spectrum_id": ["a.fits", "b.fits"], "object_id": ["", ""], "reason": ["cut", "cut"]})
    rejected.write(folder / "prepared" / "rejected.ecsv")
    argv = ["report", folder / "prepared", "--aligner", survey / "aligner", "--labels", survey / "mock" / "labels.ecsv"]
    assert run(*argv, "--system", "specalign-mock", "--baseline", "no", "--output", folder / "report.html") == 0
    return folder


def test_the_order_of_thought(made):
    found = sections(made / "report.html")
    assert list(found) == [
        "Look-alikes", "Neighbours", "The shared space", "Transferred labels", "Retrieval", "Labels against baselines",
        "Training", "Spectra", "Catalogue checks", "Provenance",
    ]  # fmt: skip
    figures = {title: body.count("[figure]") for title, body in found.items()}
    assert figures["Neighbours"] == figures["The shared space"] == 2
    assert figures["Transferred labels"] == 4
    assert 1 <= figures["Look-alikes"] <= 2
    assert "R² of every label by method" in found["Labels against baselines"]
    assert "coloured by instrument and 5 of 22 labels" in found["The shared space"]
    assert "Left out, labels by baseline: MLP on raw flux: not asked for" in found["Labels against baselines"]
    assert "It is not known whether the aligner was trained on these stars" in (made / "report.html").read_text("utf-8")


def test_catalogue_checks_count_what_is_there(made, survey):
    text = " ".join(sections(made / "report.html")["Catalogue checks"].split())
    first = PreparedSpectra.read(survey / "prepared" / "nirspec.fits").object_id[0]
    assert "2 files or spectra were rejected." in text
    assert "number reason for_ example 2 cut a.fits" in text
    apogee, nirspec = re.search(r"test_ spectra apogee ([\d ]+) nirspec ([\d ]+) ", text).groups()
    assert list(map(int, apogee.split()))[:4] == [60, 60, 0, 1]
    numbers = list(map(int, nirspec.split()))
    assert numbers[:4] == [60, 59, 1, 0]
    assert numbers[4] + numbers[5] == 60
    head = "object_ id instrument teff logg fe_ h mg_ fe c_ fe K dex(cm s⁻²) dex dex dex"
    assert f"Stars that only one instrument has {head} {first} apogee" in text
    assert "0 of 60 stars with spectra have no row in it" in text
    assert text.count("[figure]") == 4
    assert "label unit n n_ missing min p5 median p95 max median_ err" in text
    assert "5 of 22 labels" in text


def test_provenance_names_what_it_was_made_with(made, survey):
    import torch

    from specalign import Aligner

    text = sections(made / "report.html")["Provenance"]
    for fact in (Aligner.load(survey / "aligner").space, torch.__version__, "specalign report", "perplexity 30"):
        assert fact in text
    grids = [PreparedSpectra.read(path).instrument.grid_digest for path in (made / "prepared").glob("*.fits")]
    assert all(grid in text for grid in grids)


def test_without_labels_the_report_says_so_for_the_chosen_query(survey, tmp_path, capsys):
    output = tmp_path / "new" / "report.html"
    argv = ["report", survey / "prepared", "--aligner", survey / "aligner", "--query", "apogee"]
    assert run(*argv, "--output", output) == 0
    found = sections(output)
    assert "The nirspec spectra that are most like the apogee spectrum of a star" in found["Look-alikes"]
    assert "in the order of how likely they are of the same star" in found["Look-alikes"]
    assert "Left out: no catalogue of labels was given." in found["Transferred labels"]
    assert "There is no catalogue of labels" in found["Catalogue checks"]
    assert "Labels against baselines" not in found
    assert found["Retrieval"].count("[figure]") == 1
    assert "[figure]" in found["The shared space"]
    assert f"{output}: the report of" in capsys.readouterr().out


def test_one_instrument_gets_what_it_allows(survey, tmp_path):
    argv = ["report", survey / "prepared" / "nirspec.fits", "--aligner", survey / "aligner"]
    assert run(*argv, "--output", tmp_path / "r.html") == 0
    found = sections(tmp_path / "r.html")
    for title in ("Look-alikes", "Neighbours", "The shared space", "Retrieval"):
        assert "Left out: there are no test spectra of two instruments to compare." in found[title]
    assert "nirspec" in found["Spectra"]


def test_stars_without_a_partner_have_no_retrieval(survey, tmp_path, capsys):
    apogee, nirspec = (PreparedSpectra.read(survey / "prepared" / f"{name}.fits") for name in ("apogee", "nirspec"))
    nirspec.object_id = np.char.add("other ", nirspec.object_id)
    for rows in (apogee, nirspec):
        rows.write(tmp_path / f"{rows.instrument.name}.fits")
    assert run("report", tmp_path, "--aligner", survey / "aligner", "--output", tmp_path / "r.html") == 0
    assert "left out: retrieval: none of the" in capsys.readouterr().out
    found = sections(tmp_path / "r.html")
    assert "Left out, retrieval: none of the" in found["Retrieval"]
    assert "is not among the first" in found["Look-alikes"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--query", "lamost"], "--query: expected one of apogee, nirspec, got 'lamost'"),
        (["--query", "apogee", "--gallery", "apogee"], "expected two instruments, got 'apogee' twice"),
        (["--test", "1.5"], "--test: expected a share between 0 and 1, got 1.5"),
    ],
)
def test_wrong_options(survey, tmp_path, capsys, extra, message):
    argv = ["report", survey / "prepared", "--aligner", survey / "aligner", "--output", tmp_path / "r.html"]
    assert run(*argv, *extra) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ratios_to_iron_follow_with_their_errors(survey):
    labels = read_labels(survey / "mock" / "labels.ecsv", system="specalign-mock")
    known = with_ratios(labels)
    other = QTable({"object_id": labels["object_id"], "fe_h": labels["fe_h"], "mg_h": labels["mg_fe"] + labels["fe_h"]})
    other["fe_h_err"], other["mg_h_err"] = 0.03 * u.dex, 0.05 * u.dex
    other.meta = {"label_system": "mine", "masked": {"mg_h": {"flagged": 2}}}
    found = with_ratios(other)
    assert np.allclose(found["mg_fe"], known["mg_fe"])
    assert np.allclose(found["mg_fe_err"], np.hypot(0.03, 0.05) * u.dex)
    assert found.colnames[: len(other.colnames)] == other.colnames
    assert "mg_fe" not in other.colnames
    assert found.meta["label_system"] == "mine"
    assert found.meta["masked"]["mg_h"] == found.meta["masked"]["mg_fe"] == {"flagged": 2}
    assert with_ratios(known) is known
    assert with_ratios(None) is None


def test_labels_of_other_stars_are_no_error(survey, tmp_path, capsys):
    labels = QTable.read(survey / "mock" / "labels.ecsv")
    labels["object_id"] = [f"other {i}" for i in range(len(labels))]
    labels.write(tmp_path / "labels.ecsv")
    argv = ["report", survey / "prepared", "--aligner", survey / "aligner", "--labels", tmp_path / "labels.ecsv"]
    assert run(*argv, "--baseline", "no", "--output", tmp_path / "r.html") == 0
    assert "left out: labels: no test star is in the catalogue" in capsys.readouterr().out
    found = sections(tmp_path / "r.html")
    assert "Left out, labels: no test star is in the catalogue" in found["Transferred labels"]
    assert "60 of 60 stars with spectra have no row in it" in found["Catalogue checks"]


def test_pictures_keep_the_queries_of_a_large_gallery(monkeypatch):
    """A few queries in a large gallery are shown with their neighbours, however few points there are."""
    table = EmbeddingTable(np.eye(90), [f"star {i % 85}" for i in range(90)], range(90), "apogee", 1, 1)
    few = table[:80].search(table[85:], k=2)
    monkeypatch.setattr("specalign.cli.report_sections.MOST_POINTS", 30)
    rows = _shown_rows(table, table.object_id[85:], few, seed=4)
    shown = table.object_id[rows]
    assert len(rows) <= 30
    assert {*few["object_id"], *few["neighbour_object_id"]} <= set(shown)
    assert all((table.object_id == name).sum() == (shown == name).sum() for name in shown)
