"""Ranks of true labels and coverage of intervals tell right uncertainties from wrong ones."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign.analysis import calibration_ranks, interval_coverage, rank_uniformity
from specalign.analysis.posterior import Gaussian, LabelPosterior
from specalign.data.scheme import LabelScheme
from specalign.exceptions import LabelError


def truth_and_posterior(n=2000, width=1.0, shift=0.0, seed=0):
    """Labels drawn from a normal posterior, and one of another width or centre."""
    rng, names = np.random.default_rng(seed), np.arange(n).astype(str)
    centre = rng.uniform(4000, 6000, (n, 1))
    true = QTable({"object_id": names, "teff": (centre + 100 * rng.normal(size=(n, 1)))[:, 0] * u.K})
    source = Gaussian(centre + 100 * shift, np.full((n, 1), 100 * width))
    scheme = LabelScheme(("teff",), (u.K,), "toy", n, 0)
    return true, LabelPosterior(scheme, names, names, "toy", source.sample, source.log_prob)


def uniformity(bins=16, **options):
    true, posterior = truth_and_posterior(**options)
    return rank_uniformity(calibration_ranks(posterior, true), bins)[0]


def test_right_posteriors_have_uniform_ranks():
    p_values = [uniformity(n=400, seed=seed)["p_value"] for seed in range(12)]
    assert min(p_values) > 1e-3
    assert 0.2 < np.mean(p_values) < 0.8


def test_bins_expect_as_many_stars_as_they_have_ranks():
    """Four ranks in three bins: two, one and one."""
    names = np.arange(100).astype(str)
    ranks = QTable({"object_id": names, "spectrum_id": names, "teff": np.arange(100) % 4}, meta={"n_samples": 3})
    assert rank_uniformity(ranks, bins=3)["chi2"][0] == 0


@pytest.mark.parametrize(("options", "sign"), [({"width": 0.8}, 1), ({"width": 1.25}, -1)])
def test_wrong_widths_show(options, sign):
    found = uniformity(**options)
    assert found["p_value"] < 1e-4
    assert sign * (found["spread"] - 1) > 0.05


def test_a_bias_shows_on_its_side():
    assert uniformity(shift=0.3)["mean"] < 0.45
    assert uniformity(shift=-0.3)["mean"] > 0.55


def test_ranks_are_whole_numbers_from_0_to_n_and_unknown_labels_have_none():
    true, posterior = truth_and_posterior(50)
    true["teff"][:10] = np.nan
    true["teff"] = true["teff"].to(u.kK)
    ranks = calibration_ranks(posterior, true[:40], n=7)
    assert (ranks["teff"][:10] == -1).all()
    assert (ranks["teff"][40:] == -1).all()
    assert set(ranks["teff"][10:40]) <= set(range(8))
    assert rank_uniformity(ranks, 8)["n"][0] == 30
    assert np.array_equal(ranks["teff"], calibration_ranks(posterior, true[:40], n=7)["teff"])


def test_equal_samples_share_their_ranks():
    """Neighbours are labels of the table themselves: a label among them would otherwise always be the lowest."""
    names = np.arange(3000).astype(str)
    scheme = LabelScheme(("teff",), (u.K,), "toy", 2, 0)
    posterior = LabelPosterior(scheme, names, names, "toy", lambda n, seed: np.zeros((3000, n, 1)))
    ranks = calibration_ranks(posterior, QTable({"object_id": names, "teff": np.zeros(3000) * u.K}), n=15)
    assert rank_uniformity(ranks)["p_value"][0] > 1e-3


def test_what_cannot_be_counted_is_an_error():
    true, posterior = truth_and_posterior(5)
    true["teff"][:] = np.nan
    ranks = calibration_ranks(posterior, true)
    with pytest.raises(LabelError, match="teff: no rank is known"):
        rank_uniformity(ranks)
    with pytest.raises(ValueError, match="bins: expected from 2 to 128, one a rank, got 200"):
        rank_uniformity(ranks, bins=200)
    with pytest.raises(LabelError, match="expected columns such as teff_lo_80 and teff_hi_80, got object_id, teff"):
        interval_coverage(true, true)


def test_coverage_of_the_posterior_and_in_bins():
    true, posterior = truth_and_posterior(2000, width=0.5)
    rows = interval_coverage(posterior.intervals([0.6827]), true, by=np.arange(2000), n_bins=2)
    assert list(rows["bin"]) == [-1, 0, 1]
    assert list(rows["n"]) == [2000, 1000, 1000]
    np.testing.assert_allclose(rows["coverage"], 0.383, atol=0.05)  # half a sigma
    np.testing.assert_allclose(rows["width"], 100, rtol=0.02)
    assert set(rows["unit"]) == {"K"}


def test_rows_of_unknown_snr_are_in_no_bin():
    true, posterior = truth_and_posterior(300)
    by = np.arange(300.0)
    by[::3] = np.nan
    rows = interval_coverage(posterior.intervals([0.8]), true, by=by, n_bins=2)
    assert list(rows["n"]) == [300, 100, 100]
    none = interval_coverage(posterior.intervals([0.8]), true, by=np.full(300, np.nan), n_bins=2)
    assert list(none["n"]) == [300, 0, 0]
