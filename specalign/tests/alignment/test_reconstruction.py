"""What an encoder gives back, with an uncertainty: no pixel is copied, and masked ones do not matter."""

import numpy as np
import pytest

import specalign as sa
from specalign.alignment.reconstruction import _left_over
from specalign.exceptions import GridMismatchError
from specalign.testing.stars import observe

STARS = [f"star {i}" for i in range(150)]
SMALL = {
    "autoencoder": {"hidden": 32, "bottleneck": 4},
    "specformer": {"width": 16, "depth": 1, "heads": 2, "window": 10, "stride": 10},
}


@pytest.fixture(scope="module", params=SMALL)
def encoder(request):
    return sa.pretrain(
        request.param, observe("mine", STARS, 60), max_epochs=2, seed=1, progress=False, **SMALL[request.param]
    )


def test_rows_stay_what_they_are_and_masked_pixels_do_not_matter(encoder):
    stars = observe("mine", STARS, 60, seed=2, correlated=True)
    found = sa.reconstruct(encoder, stars)
    assert found.spectrum_id.tolist() == stars.spectrum_id.tolist()
    assert found.covariance_factor is None
    assert (found.mask == (found.ivar == 0)).all()
    assert found.mask.mean() < 0.2
    stars.flux[stars.mask] = np.nan
    again = sa.reconstruct(encoder, stars)
    np.testing.assert_array_equal(again.flux, found.flux)
    np.testing.assert_array_equal(again.ivar, found.ivar)
    assert sa.reconstruct(encoder, stars[:1], reference=stars).flux.shape == (1, 60)


def test_a_row_is_the_same_alone_and_among_others_in_any_order(encoder):
    stars = observe("mine", STARS, 60, seed=2)
    found, order = sa.reconstruct(encoder, stars, reference=stars), np.random.default_rng(0).permutation(len(stars))
    again = sa.reconstruct(encoder, stars[order], reference=stars)
    np.testing.assert_allclose(again.flux, found.flux[order], atol=1e-6)
    np.testing.assert_array_equal(again.mask, found.mask[order])
    np.testing.assert_allclose(sa.reconstruct(encoder, stars[7:8], reference=stars).flux, found.flux[7:8], atol=1e-6)


def test_no_rows_and_few_rows_that_say_how_well_it_reconstructs(encoder, caplog):
    stars = observe("mine", STARS, 60, seed=2)
    assert sa.reconstruct(encoder, stars[:0]).flux.shape == (0, 60)
    with caplog.at_level("WARNING"):
        sa.reconstruct(encoder, stars)
        assert not caplog.text
        sa.reconstruct(encoder, stars[:1])
    assert "uncertainty of the reconstruction rests on 1 spectra" in caplog.text


def test_quality_says_why_a_pixel_is_masked_and_nothing_of_the_measured_spectrum(encoder):
    stars = observe("mine", STARS[:20], 60, seed=2)
    stars.quality[stars.mask] = 1
    found = sa.reconstruct(encoder, stars)
    assert (stars.mask & ~found.mask).any()
    uncovered = np.uint32(1 << found.quality_bits["UNCOVERED"])
    np.testing.assert_array_equal(found.quality, np.where(found.mask, uncovered, 0))
    assert stars.quality.any()


def test_the_uncertainty_is_what_the_noise_leaves_whatever_outliers_do():
    rng = np.random.default_rng(0)
    stars = observe("mine", [f"star {i}" for i in range(2000)], 8, noise=0.02)
    truth = np.ones(stars.flux.shape)
    stars.flux[:] = truth + 0.05 * rng.normal(size=truth.shape) + 0.02 * rng.normal(size=truth.shape)
    stars.flux[:40] = 100
    found = _left_over(stars, truth.astype(np.float32), np.ones(truth.shape, bool))
    np.testing.assert_allclose(np.sqrt(found), 0.05, rtol=0.12)


def test_other_encoders_and_grids_are_refused(encoder):
    stars = observe("mine", STARS[:3], 60)
    with pytest.raises(ValueError, match="does not reconstruct spectra; 'specformer' and 'autoencoder' do"):
        sa.reconstruct(sa.get_encoder("mlp", n_pixels=60), stars)
    with pytest.raises(GridMismatchError, match="takes 60 pixels, the spectra have 61"):
        sa.reconstruct(encoder, observe("mine", STARS[:3], 61))
    with pytest.raises(GridMismatchError):
        sa.reconstruct(encoder, stars, reference=observe("other", STARS[:3], 60))
