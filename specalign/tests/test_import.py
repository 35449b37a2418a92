"""What an import brings along, and that every public name is there."""

import json
import os
import subprocess
import sys

import pytest

import specalign

HEAVY = {
    "numpy",
    "scipy",
    "astropy",
    "specutils",
    "torch",
    "numba",
    "sklearn",
    "lightning",
    "matplotlib",
    "pynndescent",
}
BLOCK_ASTROPY = "import sys\nfor name in ('astropy', 'specutils', 'gwcs', 'ndcube', 'erfa'): sys.modules[name] = None\n"


def loaded_after(code):
    """Names of the modules that are loaded once the code has run in a fresh interpreter."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(name for name, m in sys.modules.items() if m is not None)))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import specalign", "import specalign; dir(specalign)", "import specalign.cli"])
def test_importing_the_package_loads_nothing_heavy(code):
    assert not HEAVY & loaded_after(code)


def test_importing_the_package_loads_none_of_its_folders():
    assert {name for name in loaded_after("import specalign") if name.startswith("specalign")} == {"specalign"}


@pytest.mark.parametrize(
    "code",
    [
        "import specalign.ops",
        "import specalign.encoders",
        "import specalign\nspecalign.get_encoder('mlp', n_pixels=64, embed_dim=4)",
        "import specalign\nspecalign.get_encoder('starnet', n_pixels=64, embed_dim=4)",
    ],
)
def test_ops_and_encoders_work_where_astropy_is_absent(code):
    loaded = loaded_after(BLOCK_ASTROPY + code)
    assert not {"astropy", "specutils"} & loaded


def test_the_block_of_astropy_blocks():
    with pytest.raises(AssertionError, match=r"'astropy' is not a package"):
        loaded_after(BLOCK_ASTROPY + "import astropy.units")


@pytest.mark.parametrize("name", specalign.__all__)
def test_every_public_name_resolves(name):
    assert getattr(specalign, name) is not None
    assert name in dir(specalign)


def test_the_public_names_are_these():
    assert set(specalign.__all__) == {
        "Aligner",
        "EmbeddingTable",
        "LabelModel",
        "OutlierModel",
        "PreparedSpectra",
        "__version__",
        "conf",
        "get_encoder",
        "get_instrument",
        "match",
        "metrics",
        "predict",
        "pretrain",
        "read_labels",
        "reconstruct",
    }


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'specalign' has no attribute 'get_telescope'"):
        _ = specalign.get_telescope
