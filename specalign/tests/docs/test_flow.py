"""The figure of the flow is the one that its code draws, and names what there is."""

import importlib
import importlib.util
import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest

import specalign
from specalign.cli.parser import VERBS

DOCS = Path(__file__).resolve().parents[3] / "docs"
PACKAGE = Path(specalign.__file__).parent
pytestmark = pytest.mark.skipif(not (DOCS / "flow.py").is_file(), reason="needs the checkout's folder 'docs'")


@pytest.fixture(scope="module")
def flow():
    spec = importlib.util.spec_from_file_location("flow", DOCS / "flow.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date(flow):
    assert flow.PICTURE.read_text(encoding="utf-8") == flow.render(), "run: python docs/flow.py"


def test_folders_and_verbs_exist(flow):
    folders = [name for names, _, _ in flow.STEPS for name in names]
    assert [name for name in folders if not (PACKAGE / name / "__init__.py").is_file()] == []
    assert {verb for _, _, verbs in flow.STEPS for verb in verbs} <= set(VERBS)


def test_objects_that_look_like_classes_exist():
    text = (DOCS / "flow.svg").read_text(encoding="utf-8")
    homes = {"PreparedSpectra": specalign, "EmbeddingTable": specalign, "LabelModel": specalign, "Aligner": specalign}
    homes |= {"Spectrum": importlib.import_module("specutils"), "QTable": importlib.import_module("astropy.table")}
    assert [name for name, home in homes.items() if name not in text or not hasattr(home, name)] == []


def test_everything_lies_inside_the_picture(flow):
    root = ElementTree.fromstring(flow.render())
    space = "{http://www.w3.org/2000/svg}"
    for box in root.iter(f"{space}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert x >= 0
        assert x + float(box.get("width")) <= flow.WIDTH
        assert y + float(box.get("height")) <= flow.HEIGHT
    assert root.find(f"{space}title").text == flow.ALT


def test_boxes_of_a_row_do_not_overlap(flow):
    for row in range(len(flow.ROWS)):
        boxes = sorted((flow.place(lane), width) for number, lane, _, _, _, width in flow.OBJECTS if number == row)
        pairs = itertools.pairwise(boxes)
        assert all(left + width / 2 < right - other / 2 for (left, width), (right, other) in pairs)
