"""The distributions under docs/examples: installed as any other, found, used beside built-in plugins, and tested."""

import csv
import doctest
import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from specutils import Spectrum

import specalign
from specalign import Aligner, get_instrument, metrics
from specalign.cli import main
from specalign.instruments.prepared import PreparedSpectra
from specalign.plugins import find_plugins

ROOT = Path(specalign.__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/pyproject.toml"))
PROJECTS = {folder.name: tomllib.loads((folder / "pyproject.toml").read_text()) for folder in FOLDERS}
INSTRUMENTS = [
    (name, entry)
    for name, project in PROJECTS.items()
    for entry in project["project"]["entry-points"].get("specalign.instruments", ())
]

pytestmark = pytest.mark.skipif(not FOLDERS, reason="docs/examples is not beside the package")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which all of them are installed."""
    pytest.importorskip("pip")
    site = tmp_path_factory.mktemp("site")
    sources = [copy(folder, tmp_path_factory.mktemp("source") / folder.name) for folder in FOLDERS]
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", site, *sources], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return site


def copy(folder, target):
    """A copy of the files of a distribution: a build leaves files in its folder."""
    target.mkdir(parents=True)
    for path in folder.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.fixture
def installed(site, monkeypatch):
    """The distributions on the path of this process; their modules are gone afterwards."""
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in [name for name, module in sys.modules.items() if str(site) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def run(*words):
    return main([str(word) for word in words])


def test_there_are_instruments_and_an_encoder():
    groups = {group for project in PROJECTS.values() for group in project["project"]["entry-points"]}
    assert groups >= {"specalign.instruments", "specalign.encoders"}


def test_all_of_them_are_listed_and_none_is_imported(installed):
    for project in PROJECTS.values():
        for group, entries in project["project"]["entry-points"].items():
            found = {p.name: f"{p.module}:{p.attribute}" for p in find_plugins(group.removeprefix("specalign."))}
            assert found.items() >= entries.items()
    assert not [name for name in sys.modules if name.startswith("specalign_")]


@pytest.mark.parametrize(("distribution", "name"), INSTRUMENTS)
def test_instruments_are_shown_and_prepare_their_examples(installed, tmp_path, capsys, distribution, name):
    assert run("instruments", name) == 0
    assert f"{name}: " in capsys.readouterr().out
    instrument = get_instrument(name)
    written = instrument.write_example(tmp_path / "star", 1)
    assert run("prepare", written, "--instrument", name, "--output", tmp_path / "out", "--no-progress") == 0
    assert len(PreparedSpectra.read(tmp_path / "out" / f"{name}.fits")) == len(instrument.read(written))


@pytest.mark.filterwarnings("ignore::specalign.exceptions.SpecalignWarning")
def test_files_of_plugins_are_told_apart_when_they_are_named(installed, tmp_path, capsys):
    names, files = ["gaia_xp", "apogee", *(name for _, name in INSTRUMENTS)], tmp_path / "files"
    files.mkdir()
    for name in names:
        get_instrument(name).write_example(files / name, 1)
    assert run("prepare", files, "--instrument", *names, "--output", tmp_path / "out", "--no-progress") == 0
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.fits")) == sorted(names)
    assert ", 0 files or spectra rejected" in capsys.readouterr().out


def test_a_file_of_a_plugin_that_is_not_named_is_rejected_and_the_reason_names_it(installed, tmp_path, capsys):
    _, name = INSTRUMENTS[0]
    written = get_instrument(name).write_example(tmp_path / "star", 1)
    assert run("prepare", written, "--output", tmp_path / "out", "--no-progress") == 1
    assert name in capsys.readouterr().out.rpartition("not tried")[0].rpartition("(")[2]


def test_options_belong_to_one_instrument(tmp_path, capsys):
    (tmp_path / "a.fits").write_bytes(b"")
    words = ("--instrument", "lamost", "apogee", "--option", "normalization=none")
    assert run("prepare", tmp_path / "a.fits", *words) == 2
    assert "--option needs one --instrument" in capsys.readouterr().err


def test_a_run_file_may_state_one_instrument_as_a_word(tmp_path, capsys):
    (tmp_path / "a.fits").write_bytes(b"")
    (tmp_path / "run.yaml").write_text("instrument: weave\n")
    assert run("prepare", tmp_path / "a.fits", "--config", tmp_path / "run.yaml") == 1
    assert "no instrument plugin is called 'weave'" in capsys.readouterr().err


def library(n):
    """Model stars at rest: the same lines, each star with depths of its own."""
    wavelength, rng = np.arange(3570.0, 9870.0, 0.03), np.random.default_rng(2)
    flux = np.ones((n, wavelength.size))
    for place in rng.uniform(3700, 9700, 60).tolist() + rng.uniform(8480, 8680, 12).tolist():
        near = slice(*np.searchsorted(wavelength, (place - 5, place + 5)))
        flux[:, near] *= 1 - rng.uniform(0, 0.7, (n, 1)) * np.exp(-0.5 * (wavelength[near] - place) ** 2)
    meta = {"object_id": [f"star {k}" for k in range(n)], "medium": "vacuum"}
    return Spectrum(flux << u.dimensionless_unscaled, wavelength << u.AA, meta=meta)


def console_commands(page):
    """Commands of a page's console blocks, and what it says that each of them prints."""
    blocks = re.findall(r"\.\. code-block:: console\n\n((?:   .*\n|\n)+)", page.read_text())
    lines = [line[3:] for block in blocks for line in block.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, stop in itertools.pairwise([*starts, len(lines)]):
        yield lines[start][2:], "\n".join(lines[start + 1 : stop]).strip()


@pytest.mark.slow
def test_the_commands_of_the_how_to_print_what_it_says(site, tmp_path):
    commands = list(console_commands(ROOT / "docs" / "how_to" / "add_an_instrument.rst"))
    assert len(commands) > 3
    programs = {"specalign": ["-c", "import specalign.cli as c; raise SystemExit(c.main())"], "python": []}
    for command, expected in commands:
        program, *words = shlex.split(command)
        run = python(site, *programs[program], *words, folder=tmp_path)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(expected, run.stdout.strip(), flags), (
            command + run.stdout + run.stderr
        )


def python(site, *words, folder):
    """Run Python with the distributions on its path."""
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::specalign.exceptions.SpecalignWarning")
def test_an_aligner_trains_on_plugins_alone_and_comes_back_from_its_folder(installed, tmp_path):
    stars = library(60)
    seen = {name: get_instrument(name) for name in ("desi", "gaia_rvs")}
    seen = {name: one.prepare(one.simulate(stars, 50, 3)) for name, one in seen.items()}
    aligner = Aligner(dict.fromkeys(seen, "partialconv"), embed_dim=16)
    history = aligner.fit(seen, max_epochs=15, batch_size=20, validation=0, accelerator="cpu", progress=False)
    gallery, queries = aligner.embed(seen["desi"]), aligner.embed(seen["gaia_rvs"])
    assert metrics.retrieval(queries, gallery)["recall@1"] > 0.5
    assert history is aligner.history
    aligner.save(tmp_path / "aligner")
    again = Aligner.load(tmp_path / "aligner").embed(seen["gaia_rvs"])
    np.testing.assert_array_equal(again.vectors, queries.vectors)


def test_the_table_of_costs_agrees_with_the_files():
    spec = importlib.util.spec_from_file_location("cost", EXAMPLES / "cost.py")
    cost = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cost)
    with (EXAMPLES / "cost.csv").open(newline="") as stream:
        written = list(csv.reader(stream))
    assert written == [[str(cell) for cell in row] for row in cost.table()], "run: python docs/examples/cost.py"
    assert all(int(row[3]) == 1 for row in written[1:])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_is_on_the_pages(folder):
    pages = [path.read_text() for path in (ROOT / "docs" / "how_to").glob("examples_*.rst")]
    assert any(f"../examples/{folder.name}/README.rst" in text for text in pages)


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_its_own_tests_and_examples_pass(site, folder, tmp_path):
    module = PROJECTS[folder.name]["tool"]["setuptools"]["py-modules"][0]
    tests = copy(folder, tmp_path / folder.name)
    (tests / f"{module}.py").unlink()  # the installed one is tested
    run = python(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", module, ".", folder=tests)
    assert run.returncode == 0, run.stdout[-4000:]
