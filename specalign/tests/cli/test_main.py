"""Help, exit codes, one-line errors, run files."""

import subprocess
import sys

import pytest

from specalign import __version__
from specalign.cli import main
from specalign.cli.parser import VERBS


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"specalign {__version__}\n"


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"    {verb} " in text for verb in VERBS)
    assert "exit codes:" in text


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example_that_parses(verb, capsys, monkeypatch):
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    example = text.split("example:\n")[1].replace("\\\n", " ").splitlines()[0].split()
    assert example[:2] == ["specalign", verb]
    monkeypatch.setattr(f"specalign.cli.{verb}.run", lambda arguments: None)
    assert main([word.strip('"') for word in example[1:]]) == 0


@pytest.mark.parametrize("argv", [[], ["--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(argv):
    code = (
        f"import sys\nfrom specalign.cli import main\nmain({argv!r})\n"
        "print(sorted({'numpy', 'astropy', 'torch', 'specutils', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "error"),
        (["observe"], "invalid choice"),
        (["train", "a.fits", "--max-epochs", "many"], "max_epochs"),
        (["train", "a.fits", "--max-epochs", "0"], "0 does not conform to restriction v>0"),
        (["train", "a.fits", "--validation", "1.5"], "1.5 does not conform to restriction v>=0 and v<1"),
        (["search", "a.fits", "--gallery", "b.fits", "-k", "0"], "0 does not conform to restriction v>0"),
        (["search", "a.fits"], "arguments are required: search.gallery"),
        (["prepare", "a.fits", "--telescope", "apo"], "unrecognized arguments: --telescope apo"),
    ],
)
def test_wrong_usage_exits_with_2(argv, message, capsys):
    assert main(argv) == 2
    assert message.lower() in capsys.readouterr().err.lower()


def test_options_that_do_not_fit_together_exit_with_2(tmp_path, capsys):
    (tmp_path / "a.fits").write_bytes(b"")
    assert main(["prepare", str(tmp_path), "--option", "mode=lrs"]) == 2
    assert capsys.readouterr().err == ("specalign: error: --option needs --instrument; see specalign prepare --help\n")
    assert main(["prepare", str(tmp_path), "--instrument", "lamost", "--option", "lrs"]) == 2
    assert "--option: expected KEY=VALUE, got 'lrs'" in capsys.readouterr().err


def test_an_error_is_one_line_and_exits_with_1(tmp_path, capsys):
    path = tmp_path / "cut.fits"
    path.write_bytes(b"SIMPLE  =                    T")
    assert main(["inspect", str(path), "--instrument", "apogee"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"specalign: error: {path}: ")


def test_debug_adds_the_traceback(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nothing.fits"), "--debug"]) == 1
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text
    assert text.splitlines()[-1].startswith(
        "specalign: error: expected a file, a folder with .fits, .fit, .csv, .ecsv, .xml"
    )


def test_unknown_instrument(tmp_path, capsys):
    (tmp_path / "a.fits").write_bytes(b"")
    assert main(["prepare", str(tmp_path), "--instrument", "weave"]) == 1
    assert "no instrument plugin is called 'weave'; installed: apogee" in capsys.readouterr().err


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    def broken(arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("specalign.cli.instruments.run", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["instruments"])


def test_interrupt_exits_with_130(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("specalign.cli.instruments.run", interrupted)
    assert main(["instruments"]) == 130
    assert capsys.readouterr().err == "specalign: interrupted\n"


def test_warnings_are_one_line(monkeypatch, capsys):
    import warnings

    monkeypatch.setattr("specalign.cli.instruments.run", lambda arguments: warnings.warn("look\nhere"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["instruments"]) == 0
    assert capsys.readouterr().err == "specalign: warning: look here\n"


def test_run_file_and_override(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("specalign.cli.train.run", seen.append)
    run_file = tmp_path / "run.yaml"
    run_file.write_text("prepared: [a.fits, b.fits]\nmax_epochs: 7\nprogress: false\n")
    assert main(["train", "--config", str(run_file), "--seed", "3"]) == 0
    assert main(["train", "--config", str(run_file), "--max-epochs", "9"]) == 0
    assert [(run.prepared, run.max_epochs, run.seed, run.progress) for run in seen] == [
        (["a.fits", "b.fits"], 7, 3, False),
        (["a.fits", "b.fits"], 9, 0, False),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\n", "does not accept option 'epochs'"),
        ("max_epochs: !!python/object/apply:os.getpid []\n", "could not determine a constructor"),
    ],
)
def test_run_file_is_data_and_is_checked(text, message, tmp_path, capsys):
    run_file = tmp_path / "run.yaml"
    run_file.write_text(text)
    assert main(["train", "a.fits", "--config", str(run_file)]) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_the_error_names_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "specalign.cli.parser", None)
    assert main(["--help"]) == 1
    assert "the command line needs specalign.cli.parser" in capsys.readouterr().err
