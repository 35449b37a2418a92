"""Every name of the API reference has an example, and the list that says so can be trusted."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

import specalign

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "public_names.py").is_file(), reason="needs the checkout's folder 'docs'")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("public_names", DOCS / "public_names.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_public_name_has_an_example(script):
    names = script.public_names()
    assert len(names) > 200
    assert not [str(name) for name in names if not name.has_example]


def test_every_name_at_the_top_is_in_the_reference(script):
    documented = {name.name for name in script.public_names()}
    assert {name for name in specalign._PUBLIC if name != "metrics"} <= documented


def test_an_example_must_use_the_name(script, monkeypatch):
    module = types.ModuleType("sample", "Text.\n\n>>> SIZE\n1\n")
    module.SIZE, module.WIDTH, module.__all__ = 1, 2, ["SIZE", "WIDTH", "used", "unused", "Thing"]

    def used():
        """Text.

        >>> used()
        """

    def unused():
        """It says unused, and its example is of another.

        >>> used()
        """

    class Thing:
        def method(self):
            """Text.

            >>> Thing().method()
            """

    module.used, module.unused, module.Thing = used, unused, Thing
    monkeypatch.setitem(sys.modules, "sample", module)
    found = {name.name: name.has_example for name in script._names("sample", {"WIDTHS"})}
    assert found == {"SIZE": True, "WIDTH": False, "used": True, "unused": False, "Thing": True}


def test_the_list_fails_where_an_example_is_missing(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "public_names", lambda: [script.PublicName("a", "b", False)])
    assert script.main() == 1
    assert "NO   a.b" in capsys.readouterr().out
