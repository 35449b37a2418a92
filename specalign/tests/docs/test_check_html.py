"""The check of the built documentation sees every kind of fault, and none where there is none."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "check_html.py").is_file(), reason="needs the checkout's folder 'docs'")

PAGE = '<html><head><title>{title}</title><link rel="stylesheet" href="_static/a.css"></head><body>{body}</body></html>'


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_html", DOCS / "check_html.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built(tmp_path, check):
    """Two sound pages, a style sheet, a picture, and an index that knows all words."""
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text("a {}")
    (tmp_path / "_static" / "template.html").write_text("<p>no page")
    (tmp_path / "a b.svg").write_text("<svg/>")
    body = (
        '<h1 id="top">T</h1><a href="guide/one.html#part">x</a><a href="https://example.org/x">y</a><a href="#">z</a>'
    )
    (tmp_path / "index.html").write_text(PAGE.format(title="Home", body=body))
    (tmp_path / "guide").mkdir()
    body = '<h2 id="part">T</h2><a href="../index.html">up</a><img alt="A flow" src="../a%20b.svg">'
    (tmp_path / "guide" / "one.html").write_text(PAGE.format(title="One", body=body).replace("_static", "../_static"))
    words = [word for keyword in check.KEYWORDS for word in keyword.lower().split("-")]
    stems = {word[:-1] if len(word) > 6 and word != "nirspec" else word: [0] for word in words}
    index = {"docnames": ["index"], "terms": stems, "titleterms": {}}
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps(index)})")
    return tmp_path


def add(folder, text, name="index.html"):
    path = folder / name
    path.write_text(path.read_text().replace("</body>", f"{text}</body>"))


def test_sound_pages_have_no_faults(built, check, capsys):
    assert check.find_faults(built) == []
    assert check.main([str(built)]) == 0
    assert capsys.readouterr().out == "0 faults in 2 pages\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<a href="gone.html">x</a>', "a: gone.html: no such file"),
        ('<a href="guide/">x</a>', "a: guide/: no such file"),
        ('<a href="guide/one.html#gone">x</a>', "a: guide/one.html#gone: no such anchor"),
        ('<a href="#gone">x</a>', "a: #gone: no such anchor"),
        ('<a href="../elsewhere.html">x</a>', "a: ../elsewhere.html: points out of the documentation"),
        ('<img alt="A figure" src="_images/gone.png">', "img: _images/gone.png: no such file"),
        ('<img src="a%20b.svg">', "picture without alt text: a%20b.svg"),
        ('<img alt=" " src="a%20b.svg">', "picture without alt text: a%20b.svg"),
        ('<script src="gone.js"></script>', "script: gone.js: no such file"),
        ('<a href="https://example.org/a b">x</a>', "a: https://example.org/a b: not an address"),
        ('<a href="htps://example.org">x</a>', "a: htps://example.org: not an address"),
        ('<a href="http://localhost/x">x</a>', "a: http://localhost/x: not an address"),
        ('<a href="http://[::1/x">x</a>', "a: http://[::1/x: Invalid IPv6 URL"),
    ],
)
def test_a_broken_link_or_picture_is_named_with_its_page(built, check, text, fault):
    add(built, text)
    assert check.find_faults(built) == [f"index.html: {fault}"]


def test_an_empty_picture_is_a_fault(built, check):
    (built / "a b.svg").write_text("")
    assert check.find_faults(built) == ["guide/one.html: img: ../a%20b.svg: the file is empty"]


def test_a_page_without_a_title_is_a_fault(built, check):
    path = built / "guide" / "one.html"
    path.write_text(path.read_text().replace("<title>One</title>", "<title> </title>"))
    assert check.find_faults(built) == ["guide/one.html: has no title"]


def test_a_word_that_the_index_lacks_is_named(built, check):
    path = built / "searchindex.js"
    path.write_text(path.read_text().replace('"nirspec"', '"nirspect"').replace('"mask": [0]', '"mas": [0]'))
    assert check.find_faults(built) == ["the search does not know 'nirspec'", "the search does not know 'mask'"]


@pytest.mark.parametrize("text", [None, "", "Search.setIndex({broken)"])
def test_an_index_that_cannot_be_read_is_a_fault(built, check, text):
    path = built / "searchindex.js"
    path.unlink() if text is None else path.write_text(text)
    assert check.find_faults(built) == ["searchindex.js: not there, or not what Sphinx writes"]


def test_faults_and_missing_folders_set_the_exit_code(built, check, tmp_path, capsys):
    add(built, '<a href="gone.html">x</a>')
    assert check.main([str(built)]) == 1
    assert check.main([str(built / "guide")]) == 1
    assert check.main([]) == 2
    printed = capsys.readouterr().out
    assert "no index.html" in printed
    assert "index.html: a: gone.html: no such file\n1 faults in 2 pages" in printed
