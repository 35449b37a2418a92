"""The tutorials in ``docs/gallery`` run as plain programs, without a warning, and what their text claims is so."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from specalign.tests.conftest import find_shared

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "docs" / "gallery"
TUTORIALS = sorted(GALLERY.glob("*.py"))
REAL_AND_EMULATED = "real LAMOST spectra and emulated Gaia XP spectra"
RUN = """
import runpy, sys, warnings
for message in ("numpy.ndarray size changed", "numpy.ufunc size changed"):
    warnings.filterwarnings("ignore", message)
from specalign.tests.test_gallery import CHECKS
from pathlib import Path
CHECKS[Path(sys.argv[1]).stem](runpy.run_path(sys.argv[1]))
"""

pytestmark = pytest.mark.skipif(not GALLERY.is_dir(), reason="needs the checkout's folder 'docs'")


def r2(figures, label):
    return float(figures["r2"][figures["label"] == label][0])


def check_catalogue_study(names):
    assert (len(names["catalogue"]), len(names["unique"])) == (242, 240)
    assert names["apogee"].n_pixels == 8575
    assert names["apogee"].gaps["place"].tolist() == ["edge", "gap", "gap", "edge"]
    assert names["nirspec"].gaps["place"].tolist() == ["gap"]
    assert {"DO_NOT_USE", "JUMP_DET"} <= set(names["nirspec"].reasons["bit"])
    assert names["both"].only_a["object_id"].tolist() == [names["labels"]["object_id"][7]]
    assert (names["sets"].n_common, len(names["sets"].only_b)) == (239, 1)
    assert names["labels"]["object_id"][names["nearest"][0]] == names["star"]


def check_jwst_and_apogee(names):
    results = names["results"]
    assert results["aligned"]["recall@1"] > 1.5 * results["raw-flux cosine"]["recall@1"]
    assert results["raw-flux cosine"]["recall@1"] > 5 * results["chance"]["recall@1"]
    shared, raw = (names["figures"][method] for method in ("zero-shot", "raw flux"))
    for label in ("teff", "logg", "fe_h"):
        assert r2(shared, label) > r2(raw, label) > 0.5
    assert not set(names["train"]["apogee"].object_id) & set(names["test"]["nirspec"].object_id)


def check_x1d_and_apogee(names):
    assert len(names["pairs"]) == 70
    assert names["table"].meta["rejected"] == []
    assert names["table"]["in_domain"].sum() >= 5
    assert not names["flagged"]["in_domain"].any()


def check_hundred_new_spectra(names):
    predicted, rejected = names["predicted"], names["rejected"]
    assert (len(predicted), len(rejected)) == (98, 3)
    assert [word in " ".join(row["reason"] for row in rejected) for word in ("truncated", "NONFINITE", "reads x1d")]
    flagged = predicted["object_id"][~predicted["in_domain"]].tolist()
    assert "9000004000007" in flagged
    assert len(flagged) < 12
    known = {row["label"]: row["r2"] for row in predicted.meta["label_quality"]}
    assert min(r2(names["figures"], "teff"), r2(names["figures"], "logg")) > 0.7 > r2(names["figures"], "fe_h") > 0.3
    assert r2(names["figures"], "mg_fe") < min(0.4, known["mg_fe"])


def check_starnet(names):
    assert names["again"].digest == names["parts"].digest
    assert np.allclose(names["scaled"].mean(axis=0), 0, atol=1e-9)
    losses = names["model"].history.epochs["train_loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert r2(names["figures"], "teff") > 0.5


def check_theory_to_jwst(names):
    assert (names["theory"].flux.shape, names["survey"].flux.shape) == ((150, 8192), (150, 8575))
    assert np.ptp(names["begins"].value) > 0.1
    assert names["figures"]["recall@5"] > 0.6  # chance: 5 / 30
    assert np.allclose(names["power"].value, 2700, rtol=0.01)


def check_lamost_and_xp(names):
    real = find_shared() is not None and os.environ["SPECALIGN_SHARED"] == str(find_shared())
    assert names["made_with"] == (REAL_AND_EMULATED if real else "mock spectra")
    assert names["labels"].meta["label_system"] == ("lamost-lasp" if real else "specalign-mock")
    results = names["results"]
    for way in ("LAMOST to XP", "XP to LAMOST"):
        assert results[way]["recall@10"] > 3 * results["raw-flux cosine"]["recall@10"]
    figures = names["sa"].metrics.labels(names["predicted"]["zero-shot, from XP"], names["labels"])
    assert min(r2(figures, label) for label in ("teff", "logg", "fe_h")) > 0.5


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


def run(path, folder, shared):
    """Run a tutorial and its check in a process of its own, from an empty folder, which it leaves empty."""
    setting = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "SPECALIGN_SHARED": str(shared)}
    setting["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "error", "-c", RUN, str(path)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **setting}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    assert "it/s" not in done.stderr + done.stdout  # a progress bar
    assert list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_is_true(path, tmp_path):
    run(path, tmp_path, tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.shared
def test_the_tutorial_of_lamost_says_that_its_spectra_are_real(shared, tmp_path):
    assert f"made with {REAL_AND_EMULATED.upper()}." in run(GALLERY / "lamost_and_xp.py", tmp_path, shared)


def reading_order():
    """``ORDER`` of ``docs/gallery_setup.py``, which needs sphinx-gallery to be imported."""
    tree = ast.parse((ROOT / "docs" / "gallery_setup.py").read_text(encoding="utf-8"))
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(values["ORDER"])


def test_every_tutorial_has_a_place_a_check_and_a_line_in_the_index():
    assert sorted(reading_order()) == [path.name for path in TUTORIALS]
    assert sorted(CHECKS) == [path.stem for path in TUTORIALS]
    index = (GALLERY / "GALLERY_HEADER.rst").read_text(encoding="utf-8")
    assert [path.stem for path in TUTORIALS if f":doc:`{path.stem}`" not in index] == []


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_says_what_its_spectra_are(path):
    text = path.read_text(encoding="utf-8")
    assert "**Made with" in text or "This page was made with" in text
    assert "progress=False" in text or ".fit(" not in text
    assert ">>>" not in text  # its cells are run, and are no doctests


@pytest.fixture
def setup(monkeypatch):
    pytest.importorskip("sphinx_gallery")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import gallery_setup

    return gallery_setup


def show(setup, value, block_vars, folder):
    block_vars["example_globals"]["___"] = value
    return setup.show_last_figure(None, block_vars, {"src_dir": str(folder)})


def test_a_figure_is_shown_once_and_other_values_are_not(setup, tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().set_title("Loss", loc="left")
    paths = [str(tmp_path / f"sphx_glr_it_00{number}.png") for number in (1, 2)]
    block_vars = {"example_globals": {}, "image_path_iterator": iter(paths)}
    assert show(setup, 3, block_vars, tmp_path) == ""
    assert ":alt: Loss" in show(setup, figure, block_vars, tmp_path)
    assert Path(paths[0]).stat().st_size > 1000
    assert show(setup, figure, block_vars, tmp_path) == ""
    assert show(setup, Figure(), block_vars, tmp_path) != ""


def test_figures_are_shown_as_pictures_alone(setup):
    from specalign.plots.style import new_figure

    assert re.search(setup.NO_TEXT, str(type(new_figure())))
    assert not re.search(setup.NO_TEXT, str(type([])))


def test_a_warning_stops_a_tutorial_and_nothing_after_it(setup):
    import warnings

    before = list(warnings.filters)
    setup.same_conditions({}, "it.py", when="before")
    with pytest.raises(UserWarning, match="of a tutorial"):
        warnings.warn("of a tutorial", UserWarning)
    setup.same_conditions({}, "it.py", when="after")
    assert warnings.filters == before


def test_a_tutorial_without_a_place_is_an_error(setup):
    assert setup.reading_order("folder/catalogue_study.py") == 0
    with pytest.raises(ValueError, match=r"new.py has no place.*ORDER"):
        setup.reading_order("new.py")
