"""What the package says on its way, to whom, and that it never prints."""

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path

import astropy
import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from astropy.utils.masked import Masked

import specalign as sa
from specalign.alignment.targets import label_values
from specalign.cli.messages import logged, shown
from specalign.data.scheme import LabelScheme
from specalign.instruments.output import count_reasons

PACKAGE = Path(sa.__file__).parent


def prepare(n=3):
    xp = sa.get_instrument("gaia_xp")
    flux = np.ones((n, 343))
    flux[-1] = np.nan
    return xp.prepare_arrays(flux, spectral_axis=xp.spectral_axis, object_id=np.arange(n).astype(str))


def test_preparing_tells_grid_rules_and_rejected(caplog):
    caplog.set_level("INFO", logger="specalign")
    prepare()
    record = next(r for r in caplog.records if r.name == "specalign.instruments.preparation")
    assert record.levelname == "INFO"
    text = record.getMessage()
    for part in ("2 spectra", "normalization Pivot", "1 rejected; 1 times: 0 of 343 pixels are good"):
        assert part in text


def test_reasons_are_counted():
    assert count_reasons(prepare().rejected).startswith("1 rejected; 1 times: 0 of 343")
    assert count_reasons(prepare(3)[:1].rejected) == "0 rejected"


def test_a_label_model_tells_what_it_learned_from(caplog):
    import astropy.units as u
    from astropy.table import QTable

    caplog.set_level("INFO", logger="specalign")
    table = sa.EmbeddingTable(np.eye(3), list("abc"), list("abc"), "apogee", 50, 1)
    sa.LabelModel("knn", k=1).fit(table, QTable({"object_id": ["a", "b"], "teff": [1, 2] * u.K}))
    assert "teff of unstated, from 2 of 3 rows" in caplog.text


def test_a_network_tells_that_it_is_done(caplog):
    import astropy.units as u
    from astropy.table import QTable

    caplog.set_level("INFO", logger="specalign")
    names = [f"star {i}" for i in range(20)]
    table = sa.EmbeddingTable(np.eye(20), names, names, "apogee", 50, 1)
    model = sa.LabelModel("mlp", hidden=4, members=2, max_epochs=3, validation=0.1)
    model.fit(table, QTable({"object_id": names, "teff": np.arange(20) * u.K}))
    told = [r.getMessage() for r in caplog.records if r.name == "specalign.analysis.ensemble"]
    assert [text.split(",")[0] for text in told] == [f"NetworkEnsemble: network {i} of 2" for i in (1, 2)]
    assert "ended after 3 of 3 epochs; best loss of 2 rows" in told[0]


def test_nothing_is_heard_by_default_and_astropy_stays_as_it_is():
    code = """
import logging
import astropy
def state():
    return astropy.log.handlers[:], astropy.log.level, logging.getLogger().handlers[:]
before = state()
import specalign as sa
sa.conf.threads
logging.getLogger("specalign.io").warning("heard by nobody")
assert state() == before
assert [type(h).__name__ for h in logging.getLogger("specalign").handlers] == ["NullHandler"]
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_line_prints_what_is_asked_for(capsys):
    logger = logging.getLogger("specalign")
    before = logger.level, logger.handlers[:], astropy.log.level
    with logged("info"):
        logging.getLogger("specalign.io").info("a decision")
        logging.getLogger("specalign.io").debug("a detail")
        logging.getLogger("elsewhere").info("of others")
    with logged("warning"):
        logging.getLogger("specalign.io").info("another decision")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "specalign: info: a decision\n")
    assert (logger.level, logger.handlers, astropy.log.level) == before


def test_every_verb_has_a_log_level(capsys):
    pytest.importorskip("jsonargparse")
    from specalign.cli import main

    assert main(["instruments", "gaia_xp", "--log-level", "loud"]) == 2
    assert "invalid choice" in capsys.readouterr().err
    assert main(["instruments", "gaia_xp", "--log-level", "info"]) == 0


def test_bars_that_are_switched_off_are_off_everywhere(monkeypatch):
    from specalign.config import conf, wants_progress

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert wants_progress()
    with shown(False):
        assert not wants_progress()
    with conf.set_temp("progress", False), shown(True):
        assert not wants_progress()
    assert wants_progress()


def calls_of_print(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text if "print" in text else "")
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"]


def test_only_the_command_line_prints():
    printing = {p.relative_to(PACKAGE).parts[0] for p in PACKAGE.rglob("*.py") if calls_of_print(p)}
    assert printing <= {"cli", "tests"}
    assert "cli" in printing


@pytest.mark.parametrize("read", [
    lambda labels: LabelScheme.from_table(labels, ["a", "b", "c", "d", "e"]),
    lambda labels: label_values(labels, [["a", "b", "c", "d", "e"]]),
])  # fmt: skip
def test_labels_that_are_not_finite_are_named_unless_they_are_masked(read, caplog):
    values = Masked([5000.0, np.nan, np.nan, np.inf, 4000.0, np.nan], mask=[False, False, True, False, False, False])
    read(QTable({"object_id": ["a", "b", "c", "d", "e", "elsewhere"], "teff": values * u.K}))
    record = next(r for r in caplog.records if r.name == "specalign.data.columns")
    assert record.getMessage() == "teff of 2 of 5 objects is neither finite nor masked, and taken for unknown: b, d"
