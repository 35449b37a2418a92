"""The verb that lists plugins and holds one to its contract."""

import os
import subprocess
import sys

import pytest

from specalign.cli import main
from specalign.testing import CheckTable, encoders
from specalign.testing.objectives import OBJECTIVE
from specalign.tests.testing.distributions import install

CODE = """
import sys
from specalign.cli import main
assert main(["plugins"]) == 0
print({"torch", "astropy", "numpy", "specalign.encoders"} & set(sys.modules) or "nothing was imported")
"""


def test_the_list_has_every_kind_and_imports_nothing():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=os.environ)
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["kind", "name", "distribution", "place"]
    assert ["encoder", "mlp", "specalign", "specalign.encoders.mlp:ResidualMLP"] in [line.split() for line in lines]
    assert {line.split()[0] for line in lines[2:-1]} == {"instrument", "encoder", "objective"}
    assert lines[-1] == "nothing was imported", run.stderr


def test_plugins_of_others_are_listed_without_being_imported(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, "objectives", weave="must_not_be_imported:Loss")
    assert main(["plugins", "--kind", "objective"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert ["objective", "weave", "theirs", "must_not_be_imported:Loss"] in lines
    assert {line[0] for line in lines} == {"objective"}


def test_a_sound_plugin_passes(capsys):
    assert main(["plugins", "check", "info_nce", "--seed", "2"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"<CheckTable of the objective info_nce: {len(OBJECTIVE.checks)} passed>")
    assert "order_of_rows_does_not_matter" in text


def test_a_broken_plugin_ends_with_1_and_its_name(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, "encoders", weave="specalign.tests.testing.broken_encoders:RefusesNothing")
    rows = [("empty_batch_is_empty", "failed", "expected at least one spectrum"), ("is_deterministic", "passed", "")]

    def record(name, *, seed, on_fail, callback):
        assert (name, seed, on_fail) == ("weave", 7, "record")
        for row in rows:
            callback(*row)
        return CheckTable.from_rows(rows, kind="encoder", target=name, seed=seed)

    monkeypatch.setattr(encoders, "check_encoder", record)
    assert main(["plugins", "check", "weave", "--seed", "7"]) == 1
    out, err = capsys.readouterr()
    assert "failed expected at least one spectrum" in out
    assert "the encoder weave breaks 1 of" in err
    assert err.endswith("promises: empty_batch_is_empty\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["check"], 2, "check: expected the NAME of a plugin"),
        (["list", "mlp"], 2, "list: expected no NAME, got 'mlp'"),
        (["check", "wave"], 1, "no plugin is called 'wave'; installed are instruments: apogee"),
        (["check", "mlp", "--kind", "objective"], 1, "installed are objectives: clip, "),
    ],
)
def test_wrong_names_are_refused(words, code, message, capsys):
    assert main(["plugins", *words]) == code
    assert message in capsys.readouterr().err


def test_a_name_of_two_kinds_needs_the_kind(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, "encoders", sigmoid="must_not_be_imported:Net")
    assert main(["plugins", "check", "sigmoid"]) == 2
    assert "'sigmoid' is the name of an encoder and of an objective; choose with --kind" in capsys.readouterr().err
