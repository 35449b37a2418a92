"""The import rules, on the syntax tree: who may import whom, and what nobody may use.

``docs/development/architecture.rst`` explains the rules.  Every rule is also held against samples that break it.
"""

import ast
import configparser
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent

# Layers that a layer may import, besides itself.
BELOW = {
    "exceptions": "",
    "display": "",
    "config": "",
    "plugins": "exceptions",
    "io": "exceptions plugins",
    "instruments": "exceptions plugins io",
    "ops": "exceptions",
    "encoders": "exceptions plugins ops",
    "data": "exceptions config plugins io instruments ops",
    "analysis": "exceptions config plugins io instruments ops data",
    "alignment": "exceptions config plugins io instruments ops data encoders",
    "plots": "exceptions config plugins io instruments ops data analysis",
    "prediction": "exceptions config plugins io instruments ops data encoders alignment analysis",
    "mock": "exceptions config plugins io instruments",
    "fetch": "exceptions config plugins io",
    "testing": "exceptions config plugins io instruments ops data encoders alignment analysis prediction mock",
    "cli": "exceptions config plugins io instruments ops data encoders alignment analysis prediction plots mock fetch "
    "testing",
}
BELOW = {layer: set(below.split()) for layer, below in BELOW.items()}
WITHOUT_ASTROPY = ("exceptions", "display", "plugins", "ops", "encoders")
# Every layer shows its objects, and those that have astropy anyway follow the user's settings.
for layer in BELOW.keys() - {"exceptions", "display"}:
    BELOW[layer] |= {"exceptions", "display"} | (set() if layer in (*WITHOUT_ASTROPY, "config") else {"config"})

# Methods that may import upwards inside the function, and what.
UPWARD = {"search": {"analysis"}, "plot": {"plots"}, "make_example": {"mock"}, "write_example": {"mock"}}

# Packages that only these modules may import.
ONLY_IN = {
    "torch": ("ops", "encoders", "alignment", "data.loading", "data.embeddings", "analysis", "testing"),
    "specutils": ("io", "instruments", "mock", "testing"),
    "matplotlib": ("plots",),
    "triton": ("ops._triton",),
    "huggingface_hub": ("alignment.sharing.hub",),
    "lightning": ("alignment.training",),
    "pytorch_lightning": ("alignment.training",),
}
ASTROPY = {"astropy", "specutils", "gwcs", "ndcube"}

MODULES_THAT_RUN_FILES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS_THAT_RUN_FILES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES_THAT_RUN_FILES = {
    ("torch", "load"),
    ("torch", "hub"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "full_load"),
    ("yaml", "unsafe_load"),
    ("pd", "read_pickle"),
    ("pandas", "read_pickle"),
}
KEYWORDS_THAT_RUN_FILES = {"allow_pickle", "trust_remote_code"}


def instrument_names():
    """Names of the built-in instruments, each of which has a module of that name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options.entry_points"]["specalign.instruments"].split("\n")
    return {line.partition("=")[0].strip() for line in lines if line.strip()}


def imports(tree, module, is_package=False):
    """Dotted names that a module imports, with the names of the functions around each import."""
    found = []

    def visit(node, functions):
        if isinstance(node, ast.Import):
            found.extend((alias.name, functions) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, module, is_package)
            found.extend((f"{source}.{alias.name}", functions) for alias in node.names)
        elif isinstance(node, ast.Call) and dynamic(node):
            found.append((node.args[0].value, functions))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions = (*functions, node.name)
        for child in ast.iter_child_nodes(node):
            visit(child, functions)

    visit(tree, ())
    return found


def absolute(node, module, is_package):
    if not node.level:
        return node.module
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def dynamic(call):
    """Whether a call is ``import_module("a.name")``."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "import_module" and call.args and isinstance(getattr(call.args[0], "value", None), str)


def inside(module, places):
    """Whether a module, without the package's name, is one of the places or below one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def layer_violations(module, tree, is_package=False):
    """Imports of layers that stand above, or beside."""
    layer = module.split(".")[0]
    for name, functions in imports(tree, f"specalign.{module}", is_package):
        parts = name.split(".")
        if parts[0] != "specalign":
            continue
        other = (*parts, "the top, which reaches every layer")[1]
        if other == layer or other in BELOW[layer] or other == "__version__":
            continue
        if any(other in UPWARD.get(function, ()) for function in functions):
            continue
        yield f"{module} imports {name}"


def foreign_violations(module, tree, is_package=False):
    """Imports of packages that belong to other modules."""
    for name, _ in imports(tree, f"specalign.{module}", is_package):
        package = name.split(".")[0]
        if package in ONLY_IN and not inside(module, ONLY_IN[package]):
            yield f"{module} imports {package}"
        if package in ASTROPY and inside(module, WITHOUT_ASTROPY):
            yield f"{module} imports {package}"


def instrument_violations(module, tree, is_package=False):
    """One instrument's file that imports another's."""
    mine = module.split(".")[-1]
    if mine not in instrument_names() or module.split(".")[0] not in ("io", "instruments"):
        return
    for name, _ in imports(tree, f"specalign.{module}", is_package):
        others = set(name.split(".")[1:3]) & instrument_names() - {mine}
        if name.startswith("specalign.") and others:
            yield f"{module} imports {name}"


def unsafe_violations(module, tree, is_package=False):
    """Anything that turns a file or a string into code."""
    for name, _ in imports(tree, f"specalign.{module}", is_package):
        if name.split(".")[0] in MODULES_THAT_RUN_FILES or tuple(name.split(".")[:2]) in ATTRIBUTES_THAT_RUN_FILES:
            yield f"{module} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CALLS_THAT_RUN_FILES:
            yield f"{module} calls {node.func.id}"
        if isinstance(node, ast.Attribute) and (getattr(node.value, "id", ""), node.attr) in ATTRIBUTES_THAT_RUN_FILES:
            yield f"{module} uses {node.value.id}.{node.attr}"
        if isinstance(node, ast.keyword) and node.arg in KEYWORDS_THAT_RUN_FILES:
            yield f"{module} passes {node.arg}"


def shape_violations(module, source, is_package=False):
    """Files that are too long, or that collect what has no home."""
    if source.count("\n") >= 500:
        yield f"{module} has {source.count(chr(10))} lines; 500 are too many"
    if set(module.split(".")) & {"utils", "util", "helpers", "misc"}:
        yield f"{module}: a helper lives with its one user, or in the lowest layer that needs it"
    if module.split(".")[0] not in {*BELOW, "tests", "__init__", "conftest"}:
        yield f"{module} is in no layer; add it to the rules and to the documentation"


@cache
def modules():
    """Every module of the package but its tests: dotted name without the package's, path, whether it is a package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "tests" and len(parts) + (parts[-1] != "__init__") > 1:
            is_package = parts[-1] == "__init__" and len(parts) > 1
            found[".".join(parts[:-1] if is_package else parts)] = (path, is_package)
    return found


RULES = [layer_violations, foreign_violations, instrument_violations, unsafe_violations]


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds_in_every_module(rule):
    found = []
    for module, (path, is_package) in modules().items():
        if module == "__init__":
            continue
        found.extend(rule(module, ast.parse(path.read_text(encoding="utf-8")), is_package))
    assert not found


def test_files_are_short_and_have_a_place():
    found = [
        v for name, (path, is_package) in modules().items() for v in shape_violations(name, path.read_text("utf-8"))
    ]
    assert not found


def test_the_top_module_imports_nothing_of_the_package():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert [name for name, _ in imports(tree, "specalign", True)] == ["importlib", "logging"]


def test_benchmarks_and_configuration_run_no_files():
    paths = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").glob("*.py")]
    assert not [v for path in paths for v in unsafe_violations(path.stem, ast.parse(path.read_text(encoding="utf-8")))]


def test_there_are_modules_to_hold_the_rules_against():
    assert {"exceptions", "plugins", "io.products", "instruments.prepared", "data", "cli"} <= set(modules())


BAD = [
    (layer_violations, "io.apogee", "from specalign.instruments.prepared import PreparedSpectra"),
    (layer_violations, "io.apogee", "from ..instruments import prepared"),
    (layer_violations, "io", "from ..data import labels"),
    (layer_violations, "instruments.base", "import specalign.data.embeddings"),
    (layer_violations, "exceptions", "from specalign import plugins"),
    (layer_violations, "ops.reference", "from specalign.config import conf"),
    (layer_violations, "display", "from specalign.config import conf"),
    (layer_violations, "config", "from specalign.plugins import load_plugin"),
    (foreign_violations, "display", "import astropy.units"),
    (layer_violations, "ops.reference", "from specalign.plugins import load_plugin"),
    (layer_violations, "encoders.mlp", "from specalign.alignment import Aligner"),
    (layer_violations, "encoders.mlp", "from specalign.instruments import get_instrument"),
    (layer_violations, "analysis.search", "from specalign.alignment.aligner import Aligner"),
    (layer_violations, "analysis.labels", "def f():\n    from specalign.encoders import get_encoder"),
    (layer_violations, "data.matching", "from specalign.mock import write_survey"),
    (layer_violations, "alignment.aligner", "from specalign.mock import write_survey"),
    (layer_violations, "plots.report", "import specalign.cli"),
    (layer_violations, "plots.report", "from specalign.prediction import predict"),
    (layer_violations, "prediction.model", "from specalign.cli.files import expand"),
    (layer_violations, "prediction.model", "from specalign.mock import write_survey"),
    (layer_violations, "alignment.aligner", "from specalign.prediction import predict"),
    (foreign_violations, "prediction.domain", "import torch"),
    (layer_violations, "cli.main", "from specalign.tests import conftest"),
    (layer_violations, "fetch.sdss", "from specalign.instruments import get_instrument"),
    (layer_violations, "prediction.model", "from specalign.fetch import apogee"),
    (layer_violations, "prediction.model", "from specalign.testing import check_instrument"),
    (layer_violations, "instruments.base", "def make_example():\n    from specalign.testing import check_instrument"),
    (layer_violations, "instruments.base", "def read():\n    from specalign.mock import write_survey"),
    (layer_violations, "testing.contract", "from specalign.cli import main"),
    (layer_violations, "data.embeddings", "from specalign.analysis import search"),
    (layer_violations, "data.embeddings", "def find():\n    from specalign.analysis import search"),
    (layer_violations, "data.embeddings", "def search():\n    from specalign.plots import figures"),
    (layer_violations, "io.files", "import specalign as sa"),
    (layer_violations, "io.files", "from specalign import get_instrument"),
    (layer_violations, "data.embeddings", "import importlib\nimportlib.import_module('specalign.plots')"),
    (foreign_violations, "instruments.base", "import torch"),
    (foreign_violations, "data.labels", "from torch import nn"),
    (foreign_violations, "data.labels", "def f():\n    import torch.nn as nn"),
    (foreign_violations, "analysis.search", "from specutils import Spectrum"),
    (foreign_violations, "cli.inspect", "import matplotlib.pyplot as plt"),
    (foreign_violations, "ops.library", "import triton"),
    (foreign_violations, "alignment.aligner", "import lightning as L"),
    (foreign_violations, "alignment.sharing.folder", "from huggingface_hub import HfApi"),
    (foreign_violations, "ops.reference", "import astropy.units as u"),
    (foreign_violations, "encoders.base", "def f():\n    from astropy import units"),
    (foreign_violations, "plugins", "import specutils"),
    (instrument_violations, "instruments.apogee", "from specalign.instruments.lamost import Lamost"),
    (instrument_violations, "instruments.apogee", "from specalign.instruments import lamost"),
    (instrument_violations, "instruments.apogee", "from . import lamost"),
    (instrument_violations, "io.nirspec", "from specalign.io.apogee import read"),
    (instrument_violations, "instruments.gaia_xp", "from specalign.io import lamost"),
    (unsafe_violations, "io.files", "import pickle"),
    (unsafe_violations, "io.files", "from joblib import load"),
    (unsafe_violations, "io.files", "def f():\n    import dill as json"),
    (unsafe_violations, "io.files", "eval('1')"),
    (unsafe_violations, "io.files", "exec('1')"),
    (unsafe_violations, "io.files", "__import__('os')"),
    (unsafe_violations, "alignment.checkpoint", "import torch\ntorch.load('w.pt', weights_only=True)"),
    (unsafe_violations, "alignment.checkpoint", "from torch import load"),
    (unsafe_violations, "alignment.checkpoint", "torch.hub.load('a', 'b')"),
    (unsafe_violations, "cli.main", "yaml.load(text, Loader=yaml.SafeLoader)"),
    (unsafe_violations, "cli.main", "from yaml import unsafe_load"),
    (unsafe_violations, "data.store", "np.load(path, allow_pickle=False)"),
    (unsafe_violations, "encoders.base", "f(trust_remote_code=True)"),
]


@pytest.mark.parametrize(("rule", "module", "source"), BAD)
def test_rule_catches_a_violation(rule, module, source):
    assert list(rule(module, ast.parse(source), is_package="." not in module and module == "io"))


GOOD = [
    (layer_violations, "io.files", "from specalign.config import conf\nfrom specalign.display import brief"),
    (layer_violations, "encoders.mlp", "from specalign.display import brief"),
    (layer_violations, "data.embeddings", "def search(self):\n    from specalign.analysis.search import search"),
    (layer_violations, "instruments.prepared", "def plot(self):\n    from specalign.plots import figures"),
    (layer_violations, "alignment.aligner", "from specalign.data.embeddings import EmbeddingTable"),
    (layer_violations, "cli.quickstart", "from specalign import __version__, mock"),
    (layer_violations, "cli.plugins", "from specalign.testing import check_instrument"),
    (layer_violations, "instruments.apogee", "def write_example(self):\n    from specalign.mock import write_survey"),
    (foreign_violations, "data.embeddings", "import torch"),
    (foreign_violations, "ops._triton", "import triton.language as tl"),
    (instrument_violations, "instruments.apogee", "from specalign.io import apogee"),
    (unsafe_violations, "cli.main", "yaml.safe_load(text)\nre.compile('a')\ntorch.compile(f)\nmodel.eval()"),
]


@pytest.mark.parametrize(("rule", "module", "source"), GOOD)
def test_rule_lets_the_allowed_pass(rule, module, source):
    assert not list(rule(module, ast.parse(source)))


@pytest.mark.parametrize(
    ("module", "source"), [("io.files", "\n" * 500), ("io.utils", ""), ("utils", ""), ("processing.fit", "")]
)
def test_shape_rule_catches_a_violation(module, source):
    assert list(shape_violations(module, source))


def graph():
    """Module-level imports between the package's modules."""
    known = modules()
    edges = {}
    for module, (path, is_package) in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [n for n, functions in imports(tree, f"specalign.{module}", is_package) if not functions]
        edges[module] = {target(name, known) for name in names if name.startswith("specalign.")} - {module, None}
    return edges


def target(name, known):
    """The module that an imported name is, or is in."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or None


def cycle(edges):
    """One cycle of a graph as a list of nodes, or an empty list."""
    done = set()

    def walk(node, trail):
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges.get(node, ())):
            if found := walk(other, [*trail, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := walk(node, []))), [])


def test_no_cycles():
    assert cycle(graph()) == []


def test_cycles_are_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
