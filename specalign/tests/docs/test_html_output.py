"""Formulas need no network, and source code leads back to where an object is documented."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PACKAGE = DOCS.parent / "specalign"
pytestmark = pytest.mark.skipif(not (DOCS / "html_output.py").is_file(), reason="needs the checkout's folder 'docs'")
FORMULA = re.compile(r":math:`([^`]+)`|\.\. math::((?:[ ]\S.*)|(?:\n\n(?:[ ]+\S.*\n)+))")


@pytest.fixture
def html_output(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS))
    import html_output

    return html_output


def formulas():
    paths = [*DOCS.rglob("*.rst"), *PACKAGE.rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in paths if "tests" not in path.parts]
    return [inline or block for text in texts for inline, block in FORMULA.findall(text)]


def test_every_formula_is_one_that_docutils_knows(html_output):
    from docutils.nodes import math_block

    found = formulas()
    assert len(found) > 15
    for formula in found:
        assert html_output.to_mathml(math_block("", formula.strip())).startswith("<math")


def test_an_unknown_command_is_a_warning_and_stays_readable(html_output, caplog):
    from docutils.nodes import math

    assert html_output.to_mathml(math("", r"\nonsense{a} < b")) == r"<code>\nonsense{a} &lt; b</code>"
    assert 'formula: Unknown LaTeX command "\\nonsense"' in caplog.text


@pytest.mark.parametrize(
    ("page", "anchor", "right"),
    [
        ("specalign.alignment.Aligner", "specalign.alignment.aligner.Aligner.fit", "specalign.alignment.Aligner.fit"),
        ("specalign.io.files.open_fits", "specalign.io.open_fits", "specalign.io.files.open_fits"),
        ("specalign.prediction.predict", "specalign.prediction.predict.predict", "specalign.prediction.predict"),
        ("specalign.data.splits.split", "specalign.data.splits.split", "specalign.data.splits.split"),
    ],
)
def test_source_code_leads_back_to_the_page_of_an_object(html_output, page, anchor, right):
    link = '<a class="viewcode-back" href="../../reference/api/{}.html#{}">[docs]</a>'
    context = {"body": link.format(page, anchor)}
    html_output.mend_way_back(None, "_modules/specalign/x", "page.html", context, None)
    assert context["body"] == link.format(page, right)


def test_other_pages_are_left_alone(html_output):
    body = '<a href="api/specalign.Aligner.html#specalign.alignment.Aligner">x</a>'
    context = {"body": body}
    html_output.mend_way_back(None, "reference/index", "page.html", context, None)
    assert context["body"] == body


GALLERY = """
  .. image:: /tutorials/images/thumb/sphx_glr_starnet_thumb.png
    :alt:

  :doc:`/tutorials/starnet`

.. raw:: html

      <div class="sphx-glr-thumbnail-title">Train and judge StarNet</div>
"""


def test_a_thumbnail_has_the_title_of_its_page(html_output):
    source = [GALLERY]
    html_output.name_thumbnails(None, "tutorials/index", source)
    assert source == [GALLERY.replace(":alt:", ":alt: Train and judge StarNet")]
