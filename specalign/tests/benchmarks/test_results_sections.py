"""The sections of the page on outliers, adaptation and pre-training: what is stored, and nothing that is not."""

import json
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.usefixtures("program")


def store(folder, name, result):
    (folder / f"{name}.json").write_text(json.dumps(result))


def outliers(precision):
    scored = {"average_precision": precision, "found_at_1_percent": 0.9, "false_alarms_spectra": 0.012}
    methods = {"neighbours": scored, "isolation forest, raw flux": {"average_precision": 0.02}}
    facts = {"n_normal": 1600, "n_planted": 100, "train_seconds": 840.0}
    return {"instruments": ["lamost_lrs", "gaia_xp"], "methods": methods} | facts


def test_outliers_over_seeds(program, tmp_path):
    section = program("results_outliers").outliers_section
    assert section(tmp_path, 20000) == ""
    for seed, precision in ((1, 0.5), (2, 0.7)):
        store(tmp_path, f"outliers-binary-lamost_lrs-gaia_xp-seed{seed}-stars20000", outliers(precision))
    text = section(tmp_path, 20000)
    assert "0.60 ± 0.10 (0.90 ± 0.00)" in text
    assert "0.02 ± 0.00\n" in text  # no alarm is defined of a forest
    assert "1.2 to 1.2 %" in text
    assert "The space took 14 minutes." in text
    assert "white dwarf" not in text
    assert section(tmp_path, 500) == ""


def test_real_outliers_of_the_largest_run(program, tmp_path):
    section = program("results_outliers").outliers_section
    group = {"n": 7, "outliers": 7, "score": {}, "median_p": 0.0028}
    for n_stars, found in ((500, 3), (3000, 7)):
        lamost = {"n_stars": 1399, "groups": {"M dwarf, older format": group | {"outliers": found}}}
        lamost["skipped_files"] = {"spec-1": "no velocity is known"}
        result = {"lamost": lamost, "nirspec": {"skipped": "no NIRSpec files are there"}, "seconds": 1020.0}
        store(tmp_path, f"outliers-real-seed5-stars{n_stars}", result)
    text = section(tmp_path, 20000)
    assert "     - 7\n     - 7\n     - 0.0028" in text
    assert "not scored: ``spec-1`` (no velocity is known). The study took 17 minutes." in text
    store(tmp_path, "outliers-real-seed5-stars9000", {"lamost": {"skipped": "absent"}, "nirspec": {}})
    assert section(tmp_path, 20000) == text


def curve(error, sizes, model):
    entry = {"means": {model: {key: {"teff": error} for key in ("rmse", "mae")}}, "draws": []}
    sizes = dict.fromkeys(sizes, entry)
    return {"n_few": 300, "n_test": 2000, "sizes": sizes, "fit_seconds": 300.0, "seconds": 90.0}


def test_learning_curves_leave_out_what_was_not_asked(program, tmp_path):
    section = program("results_adapt").adapt_section
    assert section(tmp_path, 20000) == ""
    store(tmp_path, "adapt-nirspec-full-seed51-stars20000", curve(276.2, ("0", "10", "100"), "knn"))
    store(tmp_path, "adapt-nirspec-raw-flux-seed51-stars20000", curve(400.1, ("10", "100"), "pixels"))
    text = section(tmp_path, 20000)
    assert "--seed 51 --stars 20000" in text
    assert "The space took 5.0 ± 0.0 minutes, and the curves (the first one with the space) ``full`` 1.5," in text
    assert "     - full\n     - k-NN\n     - 276\n     - 276\n     - 276" in text
    assert "     - raw-flux\n     - pixels\n     -\n     - 400\n     - 400" in text
    assert text.index("     - 10\n") < text.index("     - 100\n")  # by number and not by letter


def test_pretrained_encoders_and_their_spaces(program, tmp_path):
    section = program("results_pretrain").pretrain_section
    assert section(tmp_path, 20000) == ""
    losses = {"encoder": 0.0236, "64 principal axes": 0.0097, "mean spectrum": 0.2, "noise alone": 0.005}
    facts = {"n_train": 20000, "n_test": 2000, "parameters": 1234567, "epochs": 10, "cpu_seconds": 600.0}
    store(tmp_path, "pretrain-autoencoder-stars20000-seed31", facts | {"test loss": losses})
    text = section(tmp_path, 20000)
    assert "1.2 million" in text
    assert "0.0236" in text
    assert "Labels are read off" not in text
    labels = {"lamost": {"mlp": {"teff": {"rmse": 51.0}}}}
    space = {
        "retrieval": {"lamost -> gaia_xp": {"recall@1": 0.4}},
        "labels": labels,
        "fit_seconds": 300.0,
        "threads": 2,
    }
    store(tmp_path, "pretrain-space-frozen-stars20000-seed31", space)
    assert "     - 5.0\n     - 2\n     - 0.400\n     - 51\n" in section(tmp_path, 20000) + "\n"


def test_encoders_that_were_never_pretrained_are_those_that_others_were_made_of(program):
    bench, survey = program("bench_pretrain"), SimpleNamespace(plugin=lambda name: name.removesuffix("_lrs"))
    assert bench.encoders_of(None, survey, bench.UNTRAINED) == {"lamost": "specformer", "gaia_xp": "autoencoder"}
    assert bench.encoders_of(None, survey, bench.PLAIN) is None
