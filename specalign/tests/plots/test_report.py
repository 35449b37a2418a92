import re
from html.parser import HTMLParser

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table

from specalign import EmbeddingTable
from specalign.exceptions import SpecalignError
from specalign.plots import Section, plot_embedding, plot_kiel, plot_transferred, write_report


class Reader(HTMLParser):
    """Tags in their order, checked to be closed, and every attribute that could fetch something."""

    EMPTY = {"meta", "img", "wbr"}

    def __init__(self):
        super().__init__()
        self.open, self.links, self.images, self.text = [], [], 0, []
        self.names, self.anchors, self.alts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in self.EMPTY else [tag]
        self.images += tag == "img"
        attrs = dict(attrs)
        if tag == "a":
            self.anchors.append(attrs.pop("href"))
        self.links += [attrs[name] for name in ("src", "href") if name in attrs]
        self.names += [attrs["id"]] if "id" in attrs else []
        self.alts += [attrs["alt"]] if "alt" in attrs else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def test_a_report_is_one_closed_file_with_everything_in_it(tmp_path, labels):
    section = Section("Stars", "One.\n\nTwo.", [(plot_kiel(labels), "The <stars>")], [(labels, "Labels")], ["A mock."])
    path = tmp_path / "report.html"
    write_report(
        path, "A <run>", [section, Section("Empty")], subtitle="of a test",
        headline=[("recall@1", "0.5", "chance 0.1")], notes=["Nothing here is real."],
        provenance={"seed": 1, "grids": {"apogee": "abc", "nirspec": {"n": 2}}, "versions": ["a", "b"]},
    )  # fmt: skip
    page = read(path)
    assert page.images == 1
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    for text in (
        "A <run>",
        "of a test",
        "One.",
        "Two.",
        "A mock.",
        "Nothing here is real.",
        "recall@1",
        "0.5",
        "abc",
        "a, b",
        "n: 2",
    ):
        assert text in page.text
    assert "Labels (the first 60 of 300 rows)" in page.text
    assert "dex(cm s⁻²)" in page.text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_nothing_can_be_fetched_and_nothing_can_run(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, "</title><script>alert(1)</script>", [Section("<img src=x>")], provenance={"<b>": "<i>"})
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|<i>|<b>|https?:", text)
    assert "default-src 'none'" in text


def test_the_same_content_gives_the_same_bytes(tmp_path, labels):
    for name in ("a", "b"):
        write_report(tmp_path / name, "A run", [Section("Stars", figures=[(plot_kiel(labels), "Stars")])])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.41234, "0.4123"), (5.4321, "5.432"), (62.344, "62.34"), (4512.34, "4\u2009512.3"), (np.nan, "–"),
        (3.2e-7, "3.20e-07"), (-0.25, "-0.2500"), (1234567, "1\u2009234\u2009567"), (True, "yes"), ("text", "text"),
    ],
)  # fmt: skip
def test_numbers_are_readable(tmp_path, value, text):
    write_report(tmp_path / "r.html", "t", [Section("s", tables=[(Table({"a": [value]}), "c")])])
    assert text in read(tmp_path / "r.html").text


def test_masked_values_are_dashes(tmp_path):
    masked = Table({"teff": MaskedColumn([4000.0, -9999.0], mask=[0, 1], unit="K")})
    for table in (masked, QTable(masked)):
        write_report(tmp_path / "r.html", "t", [Section("s", tables=[(table, "c")])])
        assert "9" not in "".join(read(tmp_path / "r.html").text[-4:])
        assert "–" in read(tmp_path / "r.html").text


def test_a_column_of_vectors_is_refused_and_nothing_is_written(tmp_path):
    table = QTable({"flux": np.ones((2, 3)) * u.Jy})
    with pytest.raises(SpecalignError, match="'flux' has 2 dimensions"):
        write_report(tmp_path / "r.html", "t", [Section("s", tables=[(table, "c")])])
    assert not list(tmp_path.iterdir())


def test_contents_lead_to_every_section(tmp_path):
    titles = ["Look-alikes", "[Mg/Fe] & more", "Look-alikes", "Look-alikes 2", "Provenance", "★"]
    path = tmp_path / "r.html"
    write_report(path, "t", [Section(title) for title in titles], provenance={"seed": 1})
    page = read(path)
    assert page.anchors == [f"#{name}" for name in page.names]
    assert len(set(page.names)) == len(titles) + 1
    assert page.names[0] == "look-alikes"
    assert page.names[-1] == "provenance"
    assert all(re.fullmatch(r"#[a-z0-9-]+", anchor) for anchor in page.anchors)


def test_figures_are_told_in_words(tmp_path, predicted, labels):
    path = tmp_path / "r.html"
    write_report(path, "t", [Section("s", figures=[(plot_transferred(predicted, labels), 'A "caption" <b>')])])
    page = read(path)
    words = "Surface gravity log g [dex(cm s⁻²)] against Effective temperature [K]"
    assert page.alts == [f"Figure. 2 panels. 300 stars, true: {words}; Transferred: {words}."]
    assert 'A "caption" <b>' in page.text


def test_axes_that_all_panels_share_are_told_in_words(tmp_path):
    vectors = np.random.default_rng(1).normal(size=(30, 8))
    names = [f"star {i}" for i in range(30)]
    table = EmbeddingTable(vectors, names, names, "apogee", np.full(30, 50), np.ones(30))
    labels = QTable({"object_id": names, "teff": np.linspace(4000, 5000, 30) * u.K})
    path = tmp_path / "r.html"
    write_report(path, "t", [Section("s", figures=[(plot_embedding(table, "pca", labels, ["teff", "teff"]), "c")])])
    panel = r"Effective temperature: PC 2 [^;]* against PC 1 [^;]*"
    assert re.fullmatch(rf"Figure\. 2 panels\. {panel}; {panel}\.", read(path).alts[0])


def test_it_prints_on_white_and_keeps_figures_whole(tmp_path, labels):
    """What a browser does with it has to be looked at; this only holds the rules in place."""
    path = tmp_path / "r.html"
    write_report(path, "t", [Section("s", figures=[(plot_kiel(labels), "c")])])
    text = path.read_text(encoding="utf-8")
    assert "--inches:5.40" in text
    assert "@page { size: A4" in text
    assert "@media screen and (prefers-color-scheme: dark)" in text
    printed = text.split("@media print")[1]
    assert re.search(r"figure, tr[^}]*break-inside: avoid", printed)
    assert "max-height: 190mm" in printed
    assert not re.search(r'<img[^>]*style="[^"]*width', text)  # it would win over the width for paper
