"""The learning curves of few-shot adaptation: what is drawn, hidden and averaged."""

from types import SimpleNamespace

import numpy as np
import pytest


def test_more_spectra_of_a_draw_contain_the_fewer(program):
    bench = program("bench_adapt")
    study = SimpleNamespace(seed=3, domain=SimpleNamespace(few=np.arange(300)))
    three, ten, other = (set(bench.Study.drawn(study, n, draw)) for n, draw in ((3, 0), (10, 0), (10, 1)))
    assert len(three) == 3
    assert three < ten != other


def test_the_other_line_list_is_that_of_the_seed_and_lower_resolved(program):
    elsewhere = program("adapt_domains").Elsewhere

    def model(labels):
        flux = np.ones((len(labels), 200), np.float32)
        flux[:, 100] = 0.5
        return flux

    model.wavelength = np.arange(200.0)
    first, again, other = (elsewhere(model, seed)(np.zeros((2, 4))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert 0.05 < (1 - first[0, 100]) < 0.4
    assert first[0, 97] < 0.99


def test_gaps_have_no_weight(program):
    wavelength, rng = np.linspace(9600, 18800, 500), np.random.default_rng(0)
    seen = {"wavelength": wavelength, "flux": np.ones((50, 500)), "ivar": np.ones((50, 500))}
    seen["mask"] = np.zeros((50, 500), bool)
    program("adapt_domains").hide_gaps(seen, rng)
    assert 0.1 < seen["mask"].mean() < 0.3
    assert (seen["ivar"][seen["mask"]] == 0).all()
    assert (seen["ivar"][~seen["mask"]] == 1).all()


def test_draws_are_averaged_by_model_and_label(program):
    draws = [{"knn": {"rmse": {"teff": value}}} for value in (1.0, 3.0)]
    found = program("bench_adapt").mean_of(draws)
    assert found["means"] == {"knn": {"rmse": {"teff": pytest.approx(2.0)}}}
    assert found["draws"] == draws


def test_a_curve_ends_with_all_that_there_are(program, monkeypatch):
    """Methods that change every weight go on to moderate sets; the perceptron to as many as the space had."""
    bench = program("bench_adapt")

    def learned(*of):
        return {"any": {"rmse": {"teff": 1.0}}}

    many = SimpleNamespace(few=np.arange(1600), test=[0], more=lambda: (np.arange(18000), None))
    study = SimpleNamespace(domain=many, raw_flux=learned, adapted=learned, by_pixels=learned)
    monkeypatch.setattr(bench, "study_of", lambda survey, domain: study)
    whole = ["1000", "1600"]
    sizes = {name: list(bench.learning_curve(None, "lamost", name)["sizes"]) for name in ("head", "full", bench.RAW)}
    assert sizes["head"] == ["0", "3", "10", "30", "100", "300"]
    assert sizes["full"] == [*sizes["head"], *whole]
    assert sizes[bench.RAW] == [*sizes["head"][1:], *whole, "18000"]
    many.few = np.arange(300)
    assert list(bench.learning_curve(None, "nirspec", "full")["sizes"]) == sizes["head"]
