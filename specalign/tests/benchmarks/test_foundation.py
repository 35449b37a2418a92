"""The study of objectives with decoders: its figures of translated spectra, and the section of the page."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from specalign.testing.stars import observe


def measured(noise=0.1, n=400, seed=3):
    rows = observe("target", [f"star-{i}" for i in range(n)], 50, seed=seed, noise=noise)
    truth = observe("target", rows.object_id, 50, seed=seed, noise=1e-6)
    rows.flux[:], rows.mask[:], rows.ivar[:] = truth.flux + noise * noises(rows), False, noise**-2
    truth.mask[:] = False
    return rows, truth


def noises(rows):
    return np.random.default_rng(5).normal(size=rows.flux.shape)


def guess(truth, error):
    flux = truth.flux + error * np.random.default_rng(8).normal(size=truth.flux.shape)
    return SimpleNamespace(flux=flux, mask=np.zeros(flux.shape, bool), ivar=np.full(flux.shape, error**-2))


def test_a_prediction_with_right_errors_has_a_chi_square_of_one(program):
    residuals = program("translation_figures").residuals
    rows, truth = measured()
    truth.flux[truth.flux <= 0.2] = 0.2
    found = guess(truth, 0.05)
    assert residuals(found, rows, True)["all"]["chi2"] == pytest.approx(1, abs=0.05)
    clean = residuals(found, truth, False)
    assert clean["all"]["chi2"] == pytest.approx(1, abs=0.05)
    assert clean["all"]["median_chi2"] == pytest.approx(0.455, abs=0.03)
    assert len(clean["bins"]) == 20
    assert clean["bins"][0]["angstrom"][0] == pytest.approx(10000)
    found.ivar *= 4
    assert residuals(found, truth, False)["all"]["chi2"] == pytest.approx(4, rel=0.05)


def test_masked_pixels_do_not_count(program):
    residuals = program("translation_figures").residuals
    _, truth = measured()
    found = guess(truth, 0.05)
    before = residuals(found, truth, False)
    found.flux[:, :2], found.mask[:, :2] = 1e6, True
    assert residuals(found, truth, False)["bins"][1:] == before["bins"][1:]
    found.mask[:] = True
    assert residuals(found, truth, False)["all"]["chi2"] is None


def row(method, seed, recall=0.4):
    ways = ("lamost -> gaia_xp", "gaia_xp -> lamost")
    kinds = {"mlp": {"teff": {"rmse": 50.0 + seed}}, "knn": {"teff": {"rmse": 1.0}}}
    figure = {"chi2": 1.25, "median_chi2": 0.5, "bias": 0.0, "scatter": 0.021, "stated": 0.02}
    entry = {"all": figure, "bins": [figure | {"angstrom": [4000.0 + 100 * i, 4100.0 + 100 * i]} for i in range(3)]}
    told = {"measured": entry, "noise-free": None, "baselines": {"mean spectrum": figure | {"scatter": 0.3}}}
    return {
        "row": f"lamost-gaia_xp:{method}", "seed": seed, "fit_seconds": 120.0,
        "labels": dict.fromkeys(("lamost", "gaia_xp"), kinds),
        "retrieval": {way: {"recall@1": recall} for way in ways},
        "translation": {ways[0]: told} if "predict" in method else {},
        "bound": {"lamost": {"teff": 26.0}, "gaia_xp": {"teff": 36.0}},
    }  # fmt: skip


def test_the_section_has_what_is_stored(program, tmp_path):
    section = program("results_foundation").foundation_section
    assert section(tmp_path, 20000) == ""
    for method, seed in (("clip", 1), ("clip+predict", 1), ("clip+predict", 2)):
        path = tmp_path / f"foundation-lamost-gaia_xp-{method}-seed{seed}-stars20000.json"
        path.write_text(json.dumps(row(method, seed, recall=0.4 + 0.1 * seed)))
    text = section(tmp_path, 20000)
    assert "0.550 ± 0.050" in text  # recall@1 over two seeds
    assert "52 ± 0" in text
    assert "2.10 ± 0.00 %" in text
    assert "30.00 ± 0.00 %" in text
    assert "clip+both" not in text.partition("list-table")[2]
    assert section(tmp_path, 500) == ""


def test_threads_are_stated_where_every_row_knows_them(program):
    space_table = program("results_foundation").space_table
    first, second = row("clip", 1), row("clip", 2)
    assert "* - clip\n     - 2\n     - 2.0 ± 0.0\n     -\n" in space_table({"clip": [first | {"threads": 2}, second]})
    assert "     - 2.0 ± 0.0\n     - 1, 2\n" in space_table({"clip": [first | {"threads": 2}, second | {"threads": 1}]})


def test_residuals_are_drawn_by_wavelength(program, tmp_path):
    wavelengths, section = program("results_wavelengths"), program("results_foundation")
    path = tmp_path / section.WAVELENGTHS
    wavelengths.write_wavelengths(path, tmp_path, 20000)
    assert not path.exists()
    (tmp_path / "foundation-lamost-gaia_xp-clip-seed1-stars20000.json").write_text(json.dumps(row("clip", 1)))
    assert section.WAVELENGTHS not in section.foundation_section(tmp_path, 20000)
    result = row("clip+predict", 1)
    told = result["translation"]["lamost -> gaia_xp"]
    told["measured"]["bins"][1] |= {"chi2": None, "scatter": None, "bias": None}  # nothing is known of a bin
    result["translation"]["gaia_xp -> lamost"] = told
    (tmp_path / "foundation-lamost-gaia_xp-clip+predict-seed1-stars20000.json").write_text(json.dumps(result))
    wavelengths.write_wavelengths(path, tmp_path, 20000)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f"figure:: {section.WAVELENGTHS}" in section.foundation_section(tmp_path, 20000)
