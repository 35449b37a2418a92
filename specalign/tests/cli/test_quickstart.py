"""The quickstart: a small one that everything follows from, and the full one that must reach its figures."""

import re

import numpy as np
import pytest
from astropy.table import QTable

from specalign import Aligner, EmbeddingTable
from specalign.analysis import metrics
from specalign.cli import main

pytestmark = pytest.mark.slow


def quickstart(folder, *more):
    return main(["quickstart", "--output", str(folder), "--no-progress", *map(str, more)])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    assert quickstart(folder, "--stars", 60, "--max-epochs", 2) == 0
    return folder


def test_it_leaves_everything_that_it_made(small):
    names = {path.name for path in small.iterdir()}
    assert names == {"aligner", "embeddings", "labels", "mock", "model", "prepared", "report.html"}
    assert Aligner.load(small / "aligner").instruments == ("apogee", "nirspec")
    assert len(list((small / "labels").glob("nirspec-*.ecsv"))) == 3


def test_no_test_star_was_trained_on(small):
    tables = {path.stem: EmbeddingTable.read(path) for path in (small / "embeddings").iterdir()}
    trained = {star for name, table in tables.items() if name.endswith("-train") for star in table.object_id}
    tested = {star for name, table in tables.items() if name.endswith("-test") for star in table.object_id}
    assert len(tested) >= 3
    assert not trained & tested
    assert trained | tested == set(QTable.read(small / "mock" / "labels.ecsv")["object_id"])


def test_the_report_is_one_file_that_says_what_is_mock(small):
    text = (small / "report.html").read_text(encoding="utf-8")
    assert "Every spectrum here is a mock" in text
    assert text.count("data:image/png;base64,") >= 14
    assert (small / "report.html").stat().st_size < 15e6
    assert not re.search(r"(src|href)=[\"']?(https?:|//|file:)", text)
    for words in (
        "recall@1", "zero-shot, from apogee", "linear probe", "baseline: MLP on raw flux", "chance",
        "t-SNE 1 [arbitrary]",
        "UMAP 1 [arbitrary]", "Kiel diagram", "[Mg/Fe] against [Fe/H]", "Catalogue checks", "No spectrum was rejected",
    ):  # fmt: skip
        assert words in text


def test_it_can_be_run_again(small, capsys):
    before = EmbeddingTable.read(small / "embeddings" / "nirspec-test.fits")
    report = (small / "report.html").read_bytes()
    assert quickstart(small, "--stars", 60, "--max-epochs", 2) == 0
    after = EmbeddingTable.read(small / "embeddings" / "nirspec-test.fits")
    assert np.array_equal(before.vectors, after.vectors)
    assert (small / "report.html").read_bytes() == report
    text = capsys.readouterr().out
    assert "1/6" in text
    assert "next:" in text


def test_the_full_one_finds_stars_and_labels_them(tmp_path):
    folder = tmp_path / "run"
    assert quickstart(folder) == 0
    assert 2e6 < (folder / "report.html").stat().st_size < 15e6
    tables = {name: EmbeddingTable.read(folder / "embeddings" / f"{name}-test.fits") for name in ("apogee", "nirspec")}
    figures = metrics.retrieval(tables["nirspec"], tables["apogee"])
    assert figures["n_gallery"] > 250
    assert figures["recall@1"] >= 20 * figures["chance_recall@1"]
    true = QTable.read(folder / "mock" / "labels.ecsv")
    for name in ("zero-shot", "linear-probe"):
        errors = metrics.labels(QTable.read(folder / "labels" / f"nirspec-{name}.ecsv"), true)
        assert errors["r2"][list(errors["label"]).index("teff")] >= 0.8
