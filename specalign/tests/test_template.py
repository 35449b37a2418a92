"""Distributions made from the template: what comes out is installed, keeps every promise, and refuses bad names."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import specalign
from specalign.cli import main

ROOT = Path(specalign.__file__).parents[1]
TEMPLATE = ROOT / "templates" / "plugin"
PAGE = ROOT / "docs" / "how_to" / "start_a_plugin.rst"
KINDS = ("instrument", "encoder", "objective")
PIP = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")

pytestmark = pytest.mark.skipif(not TEMPLATE.is_dir(), reason="the template is not beside the package")


@pytest.fixture
def make(tmp_path):
    """Make a distribution without a question, and without a trace in the home folder."""
    cookiecutter = pytest.importorskip("cookiecutter.main")
    config = tmp_path / "config.yaml"
    config.write_text(f"cookiecutters_dir: {tmp_path}\nreplay_dir: {tmp_path / 'replay'}\n")

    def make(**answers):
        made = cookiecutter.cookiecutter(
            str(TEMPLATE), no_input=True, extra_context=answers, output_dir=tmp_path / "made", config_file=str(config)
        )
        return Path(made)

    return make


@pytest.fixture
def forget():
    """Modules of the plugins that were made are gone afterwards."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("specalign_", "test_specalign_")):
            del sys.modules[name]


def install(folder, site):
    command = [sys.executable, "-m", "pip", "install", *PIP, "--target", site, folder]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def own_tests(folder, site):
    """Run the tests of a distribution in a process of its own; gives the last line."""
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.returncode == 0, run.stdout
    return run.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_distribution_is_a_module_a_line_a_test_and_a_page(make, kind):
    folder = make(distribution="specalign-My.Thing", kind=kind, plugin="my_thing", author="A. Stronomer")
    module = "specalign_my_thing"
    names = {"LICENSE", "README.rst", "my_thing.rst", "pyproject.toml", f"{module}.py", f"test_{module}.py"}
    assert {path.name for path in folder.iterdir()} == names
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"] == {f"specalign.{kind}s": {"my_thing": f"{module}:MyThing"}}
    assert project["project"]["authors"] == [{"name": "A. Stronomer"}]
    source = (folder / f"{module}.py").read_text()
    compile(source, module, "exec")
    assert "class MyThing(" in source
    assert source.count("CHANGE") >= 1
    assert f'@parametrize_{kind}("my_thing")' in (folder / f"test_{module}.py").read_text()
    texts = [path.read_text() for path in folder.iterdir()]
    assert all(text.endswith("\n") and not text.endswith("\n\n") for text in texts)
    assert max(len(line) for line in source.splitlines()) <= 120
    assert not [path for path in folder.iterdir() if "cookiecutter" in path.read_text() or "{%" in path.read_text()]


@pytest.mark.parametrize(
    "answers",
    [
        {"distribution": "../elsewhere"},
        {"distribution": "9lives"},
        {"distribution": "Specalign"},
        {"plugin": "lambda"},
        {"plugin": "My-Plugin"},
        {"plugin": "a; import os"},
        {"author": 'A "B" C'},
    ],
)
def test_names_that_could_not_be_installed_are_refused(make, answers, tmp_path):
    from cookiecutter.exceptions import FailedHookException

    with pytest.raises(FailedHookException):
        make(**answers)
    assert not list((tmp_path / "made").rglob("*.py"))


def test_what_is_made_is_installed_and_keeps_every_promise(make, forget, tmp_path, monkeypatch, capsys):
    folder = make(distribution="specalign-lean", kind="objective", plugin="lean")
    install(folder, tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert main(["plugins", "check", "lean"]) == 0
    assert re.match(r"<CheckTable of the objective lean: \d+ passed>", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_and_examples_pass(make, tmp_path, kind):
    folder = make(distribution=f"specalign-lean-{kind}", kind=kind, plugin=f"lean_{kind}")
    install(folder, tmp_path / "site")
    shutil.rmtree(folder / "build", ignore_errors=True)
    assert re.match(r"\d+ passed(, \d+ skipped)? in", own_tests(folder, tmp_path / "site"))


@pytest.mark.slow
def test_a_change_that_breaks_a_promise_is_noticed(make, tmp_path):
    folder = make(distribution="specalign-lean", kind="encoder", plugin="lean")
    module = folder / "specalign_lean.py"
    module.write_text(module.read_text().replace('super().config() | {"width": self.width}', "super().config()"))
    install(folder, tmp_path / "site")
    shutil.rmtree(folder / "build", ignore_errors=True)
    with pytest.raises(AssertionError, match=r"FAILED .*test_contract\[config_rebuilds\]"):
        own_tests(folder, tmp_path / "site")


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path):
    commands = re.findall(r"^    \$ (.*)$", PAGE.read_text(), re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["cookiecutter", "pip", "specalign", "specalign", "pytest"]
    (tmp_path / "templates").symlink_to(TEMPLATE.parent)
    pip = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_TARGET": str(tmp_path / "site")}
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    bin_ = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **pip, "PYTHONPATH": path, "PATH": bin_, "HOME": str(tmp_path)}
    said = ""
    for command in commands:
        run = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
        said += run.stdout
    stated = re.search(r"<CheckTable of the encoder smooth: .*>", PAGE.read_text()).group()
    assert stated in said
    assert "encoder  smooth" in said
