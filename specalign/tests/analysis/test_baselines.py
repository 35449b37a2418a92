import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import PreparedSpectra, metrics
from specalign.analysis import FluxLabelModel, baselines
from specalign.exceptions import GridMismatchError, MatchError, SpecalignError, SpectrumError
from specalign.instruments.prepared import InstrumentRecord, grid_digest

LINES = np.array([5003.0, 5010, 5021, 5033, 5047, 5062, 5071, 5088])


def make_spectra(axis, n=60, seed=0, snr=100.0, name="fine", first=0):
    """Stars whose lines have depths of their own, and a temperature that is the mean depth."""
    depth = np.random.default_rng(first).uniform(0.1, 0.6, (n, len(LINES)))
    rng = np.random.default_rng([seed, first])
    flux = 1 - depth @ np.exp(-0.5 * ((axis - LINES[:, None]) / 1.5) ** 2)
    flux += rng.normal(size=flux.shape) / snr
    mask = rng.random(flux.shape) < 0.03
    flux[mask] = 1e4
    names = np.array([f"star {i}" for i in range(first, first + n)])
    labels = QTable({"object_id": names, "teff": (5000 + 2000 * depth.mean(axis=1)) * u.K})
    prepared = PreparedSpectra(
        flux, np.where(mask, 0, snr**2), mask, mask.astype(np.uint32), np.ones((n, 1)), names, names, axis * u.AA,
        InstrumentRecord(name, {}, grid_digest(axis * u.AA), "1"), QTable({"snr": np.full(n, snr)}), {"BAD": 0},
    )  # fmt: skip
    return prepared, labels


FINE, COARSE = np.arange(4990.0, 5100, 0.25), np.arange(5000.0, 5200, 1.1)


def test_labels_from_flux():
    train, labels = make_spectra(FINE, n=300)
    test, truth = make_spectra(FINE, n=50, first=1000)
    model = FluxLabelModel(hidden=64, max_epochs=40).fit(train, labels, system="toy")
    predicted = model.predict(test)
    assert metrics.labels(predicted, truth)["r2"][0] > 0.9
    assert predicted.meta["label_system"] == "toy"
    assert predicted.colnames == ["object_id", "spectrum_id", "teff", "teff_err"]


def test_what_hides_under_the_mask_changes_nothing():
    train, labels = make_spectra(FINE, n=40)
    other = train[:]
    other.flux = np.where(train.mask, np.float32(-7e3), train.flux)
    options = {"hidden": 8, "max_epochs": 2}
    first = FluxLabelModel(**options).fit(train, labels).predict(train)["teff"]
    second = FluxLabelModel(**options).fit(other, labels).predict(other)["teff"]
    assert np.array_equal(first.value, second.value)


def test_pixel_statistics_are_those_of_good_training_pixels():
    prepared, _ = make_spectra(FINE, n=30)
    rows = np.arange(3, 27)
    mean, scale = baselines._pixel_statistics(prepared.flux, prepared.mask, rows, block=7)
    good = np.where(prepared.mask[rows], np.nan, prepared.flux[rows].astype(float))
    assert np.allclose(mean, np.nanmean(good, axis=0), rtol=1e-5)
    assert np.allclose(scale, np.nanstd(good, axis=0), rtol=1e-3)


def test_labels_for_another_grid_are_refused():
    train, labels = make_spectra(FINE)
    model = FluxLabelModel(hidden=8, max_epochs=1).fit(train, labels)
    with pytest.raises(GridMismatchError, match="cannot be joined"):
        model.predict(make_spectra(COARSE, name="coarse")[0])


def test_predicting_before_fitting_is_an_error():
    with pytest.raises(SpecalignError, match="has not been fitted"):
        FluxLabelModel().predict(make_spectra(FINE)[0])


def test_stars_are_found_by_wavelength_not_by_pixel_number():
    queries, gallery = make_spectra(FINE)[0], make_spectra(COARSE, seed=1, name="coarse")[0]
    order = np.random.default_rng(1).permutation(60)
    figures = baselines.matched_flux_retrieval(queries, gallery[order], block=7)
    assert figures["recall@1"] > 0.95
    assert figures == baselines.matched_flux_retrieval(queries, gallery[order], block=1000)
    assert set(figures) == set(baselines.chance(queries, gallery))


def test_one_wavelength_axis_shifted_by_a_line_finds_nothing():
    queries, gallery = make_spectra(FINE)[0], make_spectra(COARSE, seed=1, name="coarse")[0]
    gallery.spectral_axis = gallery.spectral_axis + 7 * u.AA
    assert baselines.matched_flux_retrieval(queries, gallery)["recall@1"] < 0.3


def test_what_an_instrument_does_to_every_star_is_subtracted():
    queries, gallery = make_spectra(FINE)[0], make_spectra(COARSE, seed=1, name="coarse")[0]
    plain = baselines.matched_flux_retrieval(queries, gallery)["mrr"]
    gallery.flux += 0.5 * np.sin(COARSE / 3).astype(np.float32)
    assert baselines.matched_flux_retrieval(queries, gallery)["mrr"] == pytest.approx(plain, abs=0.05)


def test_one_query_is_enough():
    queries, gallery = make_spectra(FINE)[0], make_spectra(COARSE, seed=1, name="coarse")[0]
    assert baselines.matched_flux_retrieval(queries[7], gallery[:15])["recall@1"] == 1


def test_bad_pixels_take_no_part_in_the_cosine():
    queries, gallery = make_spectra(FINE)[0], make_spectra(COARSE, seed=1, name="coarse")[0]
    figures = baselines.matched_flux_retrieval(queries, gallery)
    queries.flux[queries.mask] = -1e6
    assert baselines.matched_flux_retrieval(queries, gallery) == figures


def test_all_masked_rows_do_not_fail():
    queries, gallery = make_spectra(FINE)[0], make_spectra(COARSE, seed=1, name="coarse")[0]
    queries.mask[3], queries.ivar[3] = True, 0
    assert baselines.matched_flux_retrieval(queries, gallery)["n_queries"] == 60


def test_no_common_wavelength_is_an_error():
    with pytest.raises(SpectrumError, match="fine 4990-5100 AA and far 8000-8100 AA have no wavelengths in common"):
        baselines.matched_flux_retrieval(make_spectra(FINE)[0], make_spectra(np.arange(8000.0, 8101), name="far")[0])


def test_an_axis_of_coefficients_is_an_error():
    queries = make_spectra(FINE)[0]
    queries.axis_kind = "coefficient"
    with pytest.raises(SpectrumError, match="expected wavelengths, got an axis of the kind 'coefficient'"):
        baselines.matched_flux_retrieval(queries, make_spectra(FINE)[0])


def test_no_common_star_is_an_error():
    with pytest.raises(MatchError, match="none of the 60 queries"):
        baselines.matched_flux_retrieval(make_spectra(FINE)[0], make_spectra(FINE, first=100)[0])


@pytest.mark.parametrize("visits", [1, 3])
def test_chance_is_what_a_random_order_gives(visits):
    rng = np.random.default_rng(0)
    gallery = make_spectra(FINE, n=12 * visits)[0]
    gallery.object_id = np.repeat([f"star {i}" for i in range(12)], visits)
    queries = make_spectra(FINE, n=13)[0]
    figures = baselines.chance(queries, gallery)
    best = np.sort(np.argsort(rng.random((40000, 12 * visits)), axis=1)[:, :visits], axis=1)[:, 0] + 1
    for k in (1, 5, 10):
        assert figures[f"recall@{k}"] == pytest.approx((best <= k).mean(), abs=0.01)
    assert figures["mrr"] == pytest.approx((1 / best).mean(), rel=0.02)
    assert figures["median_rank"] == pytest.approx(np.median(best), abs=1)
    assert (figures["n_queries"], figures["n_unmatched"]) == (13, 1)
