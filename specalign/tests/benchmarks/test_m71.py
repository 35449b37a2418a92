"""The study of real NIRSpec spectra of M71: what is masked, compared, counted and written."""

import dataclasses
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import specalign as sa
from specalign.tests.benchmarks.m71_result import LABELS, tiny_result


def test_traces_of_one_exposure_have_letters(program):
    source, exposure = np.array(["12", "12", "19", "12"]), np.array(["1", "1", "1", "2"])
    assert program("m71_data").titles(source, exposure).tolist() == [
        "12, exposure 1, trace a",
        "12, exposure 1, trace b",
        "19, exposure 1",
        "12, exposure 2",
    ]


def test_the_best_trace_of_each_exposure_has_the_highest_snr(program):
    source, exposure = np.array(["12", "12", "7", "12"]), np.array(["1", "1", "1", "2"])
    prepared = SimpleNamespace(snr=np.array([5.0, 50.0, 90.0, 20.0]))
    traces = program("m71_data").Traces(prepared, None, source, exposure, {})
    assert traces.best("12") == [1, 3]
    assert traces.best("7") == [2]


def test_wavelengths_that_the_grid_lacks_and_its_ends_are_not_covered(program):
    known = np.concatenate([np.arange(9700, 13520, 2.0), np.arange(14930, 18000, 2.0)])
    wavelength = np.array([9600, 9705, 9715, 13505, 13515, 14000, 14935, 14945, 17980, 17995])
    inside = program("m71_data").covered(wavelength, known)
    assert inside.tolist() == [False, False, True, True, False, False, False, True, True, False]


def test_labels_beyond_either_emulator_are_named(program):
    files = {
        "apogee_payne.npz": {
            "x_min": np.array([3900, 1.2, -0.9, -0.2, 0]),
            "x_max": np.array([7000, 4.7, 0.4, 0.4, 9]),
        },
        "nirspec_grid.npz": {"labels": np.array([[4000, 0.3, -1.5, -0.1], [6500, 4.8, 0.4, 0.3]])},
    }
    values = np.array([[4900, 2.9, -0.67, 0.24, 0, 0], [3950, 1.0, -0.67, 0.35, 0, 0]])
    found = program("m71_data").outside_emulators(SimpleNamespace(_load=files.get), values)
    assert found == [[], ["teff", "logg", "alpha_m"]]


def test_the_difference_of_exposures_is_over_the_error_of_the_difference(program):
    first, second = (
        {"labels": {"teff": {"value": value, "err": err}}} for value, err in ((4900.0, 30.0), (4800.0, 40.0))
    )
    assert program("m71_space").pulls(first, second) == {"teff": {"difference": 100.0, "pull": pytest.approx(2.0)}}


def test_the_nearest_star_in_labels_is_another_one(program):
    values = np.array([[4900, 2.9, -0.6, 0.2, 0, 0], [5000, 2.9, -0.6, 0.2, 0, 0], [5400, 2.9, -0.6, 0.2, 0, 0]])
    assert program("m71_space").nearest(values).tolist() == [1, 0, 1]


def test_an_interval_holds_the_label_of_the_catalogue_or_does_not(program):
    columns = {"teff": 5000, "teff_err": 50}
    columns |= {
        f"teff_{end}_{level}": 5000 + sign * level for level in (50, 80, 95) for end, sign in (("lo", -1), ("hi", 1))
    }
    predicted = {name: [value] * u.K for name, value in columns.items()}
    held = program("results_m71").held
    for truth, narrowest in ((4960.0, "50 %"), (4930.0, "80 %"), (5090.0, "95 %"), (5200.0, "none")):
        entry = program("m71_space").label_entry(predicted, 0, "teff", {"teff": truth})
        assert entry["difference"] == pytest.approx(5000 - truth)
        assert held(entry) == narrowest
    assert "difference" not in program("m71_space").label_entry(predicted, 0, "teff", None)


@pytest.fixture
def noisy():
    """A spectrum with stated noise of 1 %, and the same without noise."""
    nirspec, rng = sa.get_instrument("nirspec"), np.random.default_rng(1)
    flux = 1 - 0.2 * (np.sin(nirspec.spectral_axis.value) > 0.9)
    given = {"spectral_axis": nirspec.spectral_axis, "object_id": ["a"], "normalized": True}
    seen = flux + 0.01 * rng.normal(size=len(flux))
    return tuple(nirspec.prepare_arrays(one[None], np.full((1, len(flux)), 1e4), **given) for one in (seen, flux))


def test_residuals_of_nothing_but_noise_are_as_large_as_the_noise(program, noisy):
    seen, truth = noisy
    found = program("m71_spectra").residual_statistics(seen, truth)
    assert found["all"]["over noise"] == pytest.approx(1, abs=0.05)
    assert found["all"]["chi2"] == pytest.approx(1, abs=0.1)
    assert found["all"]["slope"] == pytest.approx(1, abs=0.02)
    assert sum(found[band]["n"] for band in ("9700-11000", "11000-13520", "14930-18000")) < found["all"]["n"]
    assert 10 < found["near H I"]["n"] < 60


def test_deeper_lines_have_a_slope_above_one(program, noisy):
    seen, truth = noisy
    deeper = dataclasses.replace(seen, flux=1 - 2 * (1 - seen.flux))
    assert program("m71_spectra").residual_statistics(deeper, truth)["all"]["slope"] == pytest.approx(2, abs=0.04)


def test_masked_pixels_do_not_count(program, noisy):
    seen, truth = noisy
    flux, mask = seen.flux.copy(), seen.mask.copy()
    flux[0, ::2], mask[0, ::2] = 1e4, True
    found = program("m71_spectra").residual_statistics(dataclasses.replace(seen, flux=flux, mask=mask), truth)["all"]
    assert found["n"] <= 1801
    assert found["chi2"] == pytest.approx(1, abs=0.15)


def test_the_nearest_model_is_that_of_the_smallest_chi_square(program, noisy):
    seen, truth = noisy
    other = dataclasses.replace(truth, flux=truth.flux + 0.02, spectrum_id=np.array(["b"]))
    library = sa.PreparedSpectra.concatenate([truth, other])
    chi2 = program("m71_spectra").mean_chi_square(seen, library)
    assert_allclose(chi2, [1, 5], atol=0.4)


def test_numbers_become_strings_and_back(program):
    spectra = program("m71_spectra")
    values = np.array([1.0, np.nan, -2.12345])
    assert_allclose(spectra.unpacked(spectra.packed(values)), [1, np.nan, -2.1235], atol=1e-4)


def test_what_is_learned_from_has_labels_with_units_once_a_star(program):
    known = {"7": LABELS, "12": LABELS | {"teff": 4360.0}}
    table = program("m71_adapt").label_table(known, np.array(["2609_7", "2609_12", "2609_12"]))
    assert_array_equal(table["object_id"], ["2609_12", "2609_7"])
    assert_allclose(table["teff"].to_value(u.K), [4360, 4900])


def ones(name, objects):
    """Featureless spectra of some objects."""
    instrument = sa.get_instrument(name)
    flux = np.ones((len(objects), instrument.n_pixels))
    names = [f"{star}/{i}" for i, star in enumerate(objects)]
    given = {"spectral_axis": instrument.spectral_axis, "normalized": True, "spectrum_id": names}
    return instrument.prepare_arrays(flux, np.full(flux.shape, 1e4), object_id=objects, **given)


@pytest.mark.parametrize("way", ["labels", "labels and partners"])
def test_the_source_that_is_left_out_is_neither_learned_from_nor_a_partner(program, way):
    aligner = SimpleNamespace(adapt=lambda rows, labels, **options: (rows, labels, options["partners"]))
    space = SimpleNamespace(aligner=aligner, seed=1, short={}, train={"apogee": ones("apogee", ["mock-1", "mock-2"])})
    traces = SimpleNamespace(
        prepared=ones("nirspec", ["2609_7", "2609_19", "2609_7"]), source=np.array(["7", "19", "7"])
    )
    partners, known = ones("apogee", ["2609_7", "2609_19"]), {"7": LABELS, "19": LABELS}
    rows, labels, given = program("m71_adapt").adapted(space, traces, known, partners, ("7",), way)
    assert rows.object_id.tolist() == ["2609_7", "2609_7"]
    assert labels["object_id"].tolist() == ["2609_7"]
    if way == "labels":
        assert given is None
    else:
        assert given["apogee"].object_id.tolist() == ["2609_7", "mock-1", "mock-2"]


def test_no_source_is_tested_that_was_learned_from(program, tiny):
    table = program("results_m71").adapt_tables(tiny)[1]
    rows = [row.replace("     - ", "").splitlines() for row in table.split("   * - ")[2:]]
    found = [(row[0].removeprefix("source ").split(", "), row[2].split(",")[0]) for row in rows]
    assert all(trace not in learned for learned, trace in found)
    assert {trace for learned, trace in found if learned == ["7", "12"]} == {"19"}
    assert {trace for learned, trace in found if learned == ["19"]} == {"7"}


@pytest.fixture
def tiny(program):
    """A result with every part that the page shows."""
    return tiny_result(program("results_m71").METHODS)


def test_the_page_has_every_table_and_no_gap(program, tiny):
    text = program("results_m71").page_text(tiny)
    assert text.startswith(".. This page is written by benchmarks/bench_m71.py")
    assert "{" not in text
    assert "-25.3 ± 2.4" in text
    assert "+490 (95 %)" in text
    assert "+0 (+1.25)" in text or "+0.500 (+1.25)" in text
    assert "residual, snr" in text
    assert "0.988" in text
    assert "14,000" in text


def test_the_page_and_its_figures_are_written(program, tiny, tmp_path):
    program("results_m71").write_m71(tmp_path / "m71.rst", tiny)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m71.rst", "m71_plane.png", "m71_spectra.png"]
    assert (tmp_path / "m71_plane.png").read_bytes()[:4] == b"\x89PNG"
    text = (tmp_path / "m71.rst").read_text(encoding="utf-8")
    assert text.count(":alt:") == 2


@pytest.mark.slow
@pytest.mark.shared
def test_the_study_runs_from_end_to_end(program, shared, tmp_path, capsys):
    bench, page = program("bench_m71"), tmp_path / "m71.rst"
    common = ["--shared", str(shared), "--store", str(tmp_path / "store"), "--page", str(page), "--seed", "8"]
    bench.main([*common, "--stars", "700", "--max-epochs", "1", "--page-anyway"])
    assert "outliers: " in capsys.readouterr().out
    assert not (tmp_path / "store").exists()
    text = page.read_text(encoding="utf-8")
    assert "19, exposure 2" in text
    assert text.count("12, exposure 1, trace b") >= 3


@pytest.mark.slow
@pytest.mark.shared
def test_traces_lack_what_the_grid_lacks_and_none_is_lost(program, shared):
    traces = program("m71_data").read_traces(shared)
    assert len(traces.prepared) == traces.rejected["in"] == 11
    assert traces.rejected["out"] + traces.rejected["rejected"] == 11
    assert traces.rejected["out"] == traces.reliable.sum() == 4
    assert set(traces.source[traces.reliable]) == {"3", "19"}
    wavelength = traces.prepared.spectral_axis.to_value(u.AA)
    gap = (wavelength > 13530) & (wavelength < 14920)
    assert traces.prepared.mask[:, gap].all()
    used = traces.prepared.catalog["velocity_applied"].to_value(u.km / u.s)
    assert_allclose(used[~traces.reliable], -22.9)
