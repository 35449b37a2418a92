"""Spectra of HST and Gaia XP translated into each other: guesses without a decoder, what counts, and the section."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from specalign.instruments.prepared import PreparedSpectra
from specalign.testing.stars import observe

N, P = 60, 50
RATIO = np.linspace(0.8, 1.25, P)
WAYS = ("gaia_xp -> stis", "stis -> gaia_xp")


def known(name, flux, error, seed):
    """Prepared spectra of the given fluxes with relative errors."""
    rows = observe(name, [f"star {i}" for i in range(N)], P)
    flux = flux * (1 + error * np.random.default_rng(seed).normal(size=flux.shape))
    flux = flux / flux[:, [20]]
    rows.flux, rows.ivar = flux.astype(np.float32), (1 / (error * flux) ** 2).astype(np.float32)
    rows.mask = np.zeros((N, P), bool)
    return rows


@pytest.fixture
def pairs():
    """Stars of four classes on a line of slopes; XP has a ratio to HST, and a few per mille of noise."""
    slope = np.linspace(-1, 1, N)[np.random.default_rng(2).permutation(N)]
    flux = np.exp(slope[:, None] * np.linspace(-1, 1, P))
    kind = np.resize(["O, B, WD", "A", "F, G", "K, M"], N)
    prepared = {"gaia_xp": known("gaia_xp", flux * RATIO, 0.003, 3), "matched": known("stis", flux, 0.003, 4)}
    return SimpleNamespace(name=np.arange(N).astype(str), kind=kind, prepared=prepared, error=np.full(P, 0.003))


def no_decoder(program, pairs):
    return program("bench_calspec_translation").study("no-decoder", pairs, None, seed=0)["methods"]


def test_a_known_ratio_is_divided_out_and_its_errors_are_right(program, pairs):
    found = no_decoder(program, pairs)
    for way, sign in zip(WAYS, (1, -1), strict=True):
        itself, ratio = (found[name][way] for name in ("the spectrum itself", "median ratio"))
        assert np.sign(itself["bins"][-1]["bias"]) == sign
        assert abs(itself["bins"][-1]["bias"]) > 0.15
        assert max(abs(one["bias"]) for one in ratio["bins"]) < 0.004
        assert ratio["all"]["scatter"] < 0.008
        assert ratio["all"]["median_chi2"] == pytest.approx(0.455, abs=0.08)
        assert found["median ratio of the 10 nearest stars"][way]["all"]["scatter"] < 0.009
        assert ratio["all"]["scatter"] < found["nearest training star"][way]["all"]["scatter"] < 0.05
        assert found["mean spectrum"][way]["all"]["scatter"] > 0.3


def test_no_star_is_its_own_neighbour_nor_that_of_the_test(program, pairs):
    guesses, folds = program("calspec_guesses"), program("bench_calspec").folds_of
    for test, train in folds(N, 0):
        near = guesses.neighbours(pairs, "gaia_xp", np.concatenate([test, train]), train)
        assert near.shape == (N, 10)
        assert not np.isin(near, test).any()
        assert not (near[len(test) :] == train[:, None]).any()


def test_test_stars_tell_no_guess_anything(program, pairs):
    guesses, folds = program("calspec_guesses"), program("bench_calspec").folds_of
    test, train = folds(N, 0)[0]
    before = guesses.guesses(pairs, train, test, "gaia_xp", "stis")
    pairs.prepared["matched"].flux[test] = 9.0
    after = guesses.guesses(pairs, train, test, "gaia_xp", "stis")
    for name, guess in before.items():
        np.testing.assert_array_equal(guess.flux, after[name].flux, err_msg=name)


def test_samples_count_for_all_methods_or_none(program, pairs):
    bench = program("bench_calspec_translation")
    pairs.prepared["gaia_xp"].mask[3, 7], pairs.prepared["matched"].flux[4, 8] = True, -1.0
    mask = bench.common_mask(pairs)
    assert mask[3, 7]
    assert mask[4, 8]
    assert mask[:, 20].all()  # 1 by the normalisation
    assert mask.sum() == N + 2
    perfect = SimpleNamespace(flux=pairs.prepared["matched"].flux, mask=np.zeros((N, P), bool), ivar=np.ones((N, P)))
    figures = bench.figures(pairs, "x:clip", ("gaia_xp", "stis"), perfect)
    assert figures["all"]["scatter"] == 0
    assert set(figures["class"]) == {"O, B, WD", "A", "F, G", "K, M"}


def test_training_pairs_are_of_training_stars(program, monkeypatch, pairs):
    bench = program("bench_calspec_translation")
    train, asked = np.arange(40), []
    monkeypatch.setattr(bench, "ratio_of", lambda _: np.arange(N)[:, None])
    monkeypatch.setattr(bench, "between", lambda p, rows, n, rng: asked.append((rows, n)) or bench.real_part(p, [0]))
    monkeypatch.setattr(bench, "joined", lambda made, real: {"made": made, "real": real})

    class Others:
        known = range(7)

        def simulate(self, rng, ratio):
            asked.append((ratio[:, 0], len(ratio)))

    for kind in ("between", "population"):
        found = bench.training_pairs(kind, pairs, Others(), train, None)
        assert found["real"]["stis"].object_id.tolist() == pairs.prepared["matched"].object_id[train].tolist()
    np.testing.assert_array_equal(asked[0][0], train)
    np.testing.assert_array_equal(asked[1][0], train)
    assert asked[0][1] == 7
    assert isinstance(bench.training_pairs("real", pairs, None, train, None)["stis"], PreparedSpectra)


def stored(row, seed, scatter):
    figure = {"chi2": 1.2, "median_chi2": 0.5, "bias": 0.01, "scatter": scatter, "stated": 0.02}
    classes = dict.fromkeys(("O, B, WD", "A", "F, G", "K, M"), figure)
    told = {"all": figure, "bins": [figure | {"angstrom": [3360.0, 3700.0]}], "class": classes}
    names = ("the spectrum itself", "median ratio") if row == "no-decoder" else (row,)
    methods = {name: dict.fromkeys(WAYS, told) for name in names}
    facts = {"n_class": dict.fromkeys(classes, 5), "n_train": [73], "fit_seconds": [60.0, 30.0]}
    return {"row": row, "seed": seed, "methods": methods} | facts


def test_the_section_has_what_is_stored(program, tmp_path):
    section = program("results_calspec_translation").translation_section
    assert section(tmp_path) == ""
    for row, seed, scatter in (("between:clip+predict", 0, 0.04), ("no-decoder", 0, 0.02), ("no-decoder", 1, 0.03)):
        path = tmp_path / f"calspec-translation-{row.replace(':', '-')}-seed{seed}.json"
        path.write_text(json.dumps(stored(row, seed, scatter)))
    text = section(tmp_path)
    assert "2.5 ± 0.5 %" in text
    assert "4.0, 4.0 %" in text
    assert "336-370" in text
    assert text.index("median ratio") < text.index("``clip+predict``, and stars between them")
    assert "20 stars" in text
    assert "Minutes of the five trainings, one a fold: ``clip+predict``, and stars between them 1.5." in text


@pytest.mark.slow
def test_decoders_translate_every_star_once(program, pairs, monkeypatch):
    bench = program("bench_calspec_translation")
    real = bench.sa.Aligner
    few = {"max_epochs": 2, "batch_size": 16}
    monkeypatch.setattr(
        real, "fit", lambda self, spectra, _fit=real.fit, **options: _fit(self, spectra, **options | few)
    )
    result = bench.study("real:clip+predict", pairs, None, seed=0)
    assert result["n_train"] == [48] * 5
    assert result["epochs"] == [2] * 5
    for way in WAYS:
        figures = result["methods"]["real:clip+predict"][way]
        assert all(np.isfinite(one["chi2"]) for one in (figures["all"], *figures["bins"], *figures["class"].values())
                   if one["chi2"] is not None)  # fmt: skip
        assert figures["all"]["scatter"] < 1
