"""What is installed is what is here, and the README's commands are those that are checked."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import specalign

ROOT = Path(specalign.__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "setup.cfg").is_file(), reason="needs a checkout of the repository")


@pytest.fixture(scope="module")
def metadata():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def requirements(metadata):
    """All requirements: those of the package and those of its extras."""
    lines = metadata["options"]["install_requires"].splitlines()
    for extra in metadata["options.extras_require"].values():
        lines += extra.splitlines()
    return [Requirement(line) for line in lines if line.strip()]


def commands():
    """The README's lines that start by making an environment."""
    return re.findall(r"^ +(python3 -m venv .+)$", (ROOT / "README.rst").read_text(), flags=re.MULTILINE)


def test_readme_has_one_command_for_the_main_job_and_one_for_the_tests():
    job, tests = commands()
    assert job.endswith("specalign quickstart")
    assert "constraints.txt" in job
    assert tests.endswith("tox -e test")


def test_ci_runs_the_test_command_as_the_readme_prints_it():
    script = ROOT / ".ci" / "run"
    assert commands()[1] in [line.strip() for line in script.read_text().splitlines()]
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_tox_uses_the_constraints_and_the_tested_extras():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "tox.ini")
    assert "PIP_CONSTRAINT = {tox_root}{/}constraints.txt" in parser["testenv"]["set_env"]
    assert parser["testenv"]["extras"].split() == ["all", "test", "docs"]
    assert "-W" in parser["testenv:build_docs"]["commands"]
    assert parser["tox"]["venv_redirect"] == "false"


def test_torch_is_pinned_to_a_build_without_cuda_libraries(pins):
    assert pins["torch"] == "2.13.0"


def test_every_requirement_has_a_pin_that_satisfies_it(metadata, pins):
    for requirement in requirements(metadata):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no line in constraints.txt"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} excludes the pin {pin}"


def test_metadata_keeps_ranges(metadata):
    assert not [str(r) for r in requirements(metadata) if any(s.operator in ("==", "===") for s in r.specifier)]


def test_versions_agree(metadata):
    version = specalign.__version__
    assert metadata["metadata"]["version"] == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert (ROOT / "CHANGES.rst").read_text().startswith(version.split(".dev")[0])


def test_entry_points_lead_to_classes_that_exist(metadata):
    for group, lines in metadata["options.entry_points"].items():
        for line in filter(None, lines.splitlines()):
            module, _, attribute = line.partition("=")[2].strip().partition(":")
            path = ROOT / module.replace(".", "/")
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            names = {getattr(node, "name", None) for node in ast.parse(path.read_text()).body}
            assert attribute in names, f"{group}: {line}"


def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "*.egg-info", "docs", "__pycache__", "build"))
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    ours = {str(p.relative_to(source)) for p in (source / "specalign").rglob("*") if p.is_file()}
    assert ours - {n for n in ours if n.endswith((".pyc", ".nbi", ".nbc"))} <= names
    assert any(name.endswith("dist-info/licenses/LICENSE.rst") for name in names)
