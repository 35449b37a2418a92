"""Outliers: the rate of false alarms is kept, order and masked pixels do not matter, and what is unknown stays so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specalign as sa
from specalign.analysis.false_alarms import Tail, p_values, stars_needed
from specalign.analysis.scores import neighbour_distance, reconstruction_residual
from specalign.data.splits import StarSplit
from specalign.exceptions import GridMismatchError, MatchError, SpecalignError, SpectrumError
from specalign.testing.stars import observe

SCORES = ("neighbours", "residual", "disagreement")


def cloud(n, seed=0, instrument="apogee", first=0, noise=0.1, snr=(20, 200), space="s1"):
    """Stars at places of their own, which two instruments see with noise that depends on S/N."""
    names = np.array([f"star {i}" for i in range(first, first + n)])
    places = np.stack([np.random.default_rng([9, i]).normal(size=4) for i in range(first, first + n)])
    rng = np.random.default_rng([seed, first, len(instrument)])
    quality = rng.uniform(*snr, n)
    vectors = np.hstack([np.full((n, 1), 3.0), places]) + noise * 50 / quality[:, None] * rng.normal(size=(n, 5))
    rows = np.char.add(f"{instrument} ", names)
    return sa.EmbeddingTable(vectors, names, rows, instrument, quality, np.ones(n), {"space": space})


def both(n, first=0, seed=0):
    return sa.EmbeddingTable.concatenate([cloud(n, seed, name, first) for name in ("apogee", "nirspec")])


def spectra(table, instrument="apogee", seed=0, n_pixels=30):
    """Spectra of a table's stars, and what they are without noise."""
    stars = table.object_id[table.instrument == instrument]
    noisy = observe(instrument, stars, n_pixels, seed=seed)
    noisy.spectrum_id = table.spectrum_id[table.instrument == instrument]
    clean = observe(instrument, stars, n_pixels, noise=1e-9)
    return noisy, (clean.flux, np.where(clean.mask, 0, np.inf))


def all_scores(table, seed=0):
    """Both inputs of ``residual`` for a table of two instruments."""
    found = {name: spectra(table, name, seed) for name in ("apogee", "nirspec")}
    return {name: one[0] for name, one in found.items()}, {name: one[1] for name, one in found.items()}


@pytest.fixture(scope="module")
def model():
    table = both(800)
    return sa.OutlierModel(SCORES).fit(table, *all_scores(table))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_exchangeable_stars_have_uniform_p_values(seed, n):
    scores = np.random.default_rng(seed).permutation(n + 1).astype(float)
    found = [p_values(scores[[i]], np.delete(scores, i))[0] for i in range(n + 1)]
    np.testing.assert_allclose(np.sort(found), np.arange(1, n + 2) / (n + 1))
    for i in range(n + 1):  # a star among the normal ones is ranked among the others
        np.testing.assert_allclose(p_values(scores[[i]], scores, scores[[i]]), found[i])


@pytest.mark.parametrize("combine", ["minimum", "fisher"])
@pytest.mark.parametrize("snr_bins", [1, 2])
def test_the_rate_of_false_alarms_is_kept(combine, snr_bins):
    table, new = both(1200), both(1500, first=5000, seed=3)
    model = sa.OutlierModel(("neighbours", "disagreement"), combine=combine, snr_bins=snr_bins).fit(table)
    for rate in (0.02, 0.1):
        share = model.predict(new, false_alarm=rate)["outlier"].mean()
        # 3000 spectra of 1500 stars against 600 normal ones
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) * (1 / 600 + 1 / 1500)) + 1 / 300


@pytest.mark.parametrize("snr_bins", [1, 2])
def test_bins_keep_the_rate_at_low_snr_too(snr_bins):
    table, new = (cloud(1200, seed, first=first, noise=2.0, snr=(20, 500)) for seed, first in ((0, 0), (3, 5000)))
    found = sa.OutlierModel("neighbours", snr_bins=snr_bins).fit(table).predict(new, false_alarm=0.1)
    noisy = found["snr"] < np.quantile(found["snr"], 0.5)
    shares = found["outlier"][noisy].mean(), found["outlier"][~noisy].mean()
    assert max(abs(share - 0.1) for share in shares) < 0.05 if snr_bins == 2 else shares[0] - shares[1] > 0.12


def test_every_score_finds_its_outliers(model):
    new = both(60, first=9000)
    prepared, made = all_scores(new)
    new.vectors[0] = np.roll(new.vectors[0], 1)  # far from all, and from its other instrument
    prepared["apogee"].flux[1] += 0.3
    found = model.predict(new, prepared, made, false_alarm=0.01)
    assert found["outlier"][[0, 1]].tolist() == [True, True]
    assert found["neighbours_p"][0] < 0.01 < found["residual_p"][0]
    assert found["disagreement_p"][[0, 60]].tolist() == [found["disagreement_p"][0]] * 2
    assert found["disagreement_p"][60] < 0.01
    assert found["residual_p"][1] < 0.01 < found["neighbours_p"][1]
    assert found["residual"][1] > 50
    assert found["outlier"][2:60].sum() < 10


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    table, new = both(250), both(30, first=9000)
    order, asked = rng.permutation(len(table)), rng.permutation(len(new))
    given_ = all_scores(table), all_scores(new)
    plain = sa.OutlierModel(SCORES).fit(table, *given_[0]).predict(new, *given_[1], false_alarm=0.05)
    mixed = sa.OutlierModel(SCORES).fit(table[order], *given_[0]).predict(new[asked], *given_[1], false_alarm=0.05)
    for name in ("score", "p_value", *(f"{one}_p" for one in SCORES)):
        np.testing.assert_allclose(mixed[name], np.asarray(plain[name])[asked], rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.nan, np.inf, 1e30, -50.0]))
def test_what_lies_under_a_mask_does_not_change_the_residual(seed, rubbish):
    noisy, (flux, ivar) = spectra(cloud(12), seed=seed % 1000)
    expected = reconstruction_residual(noisy, (flux, ivar))
    noisy.flux[noisy.mask] = rubbish
    unknown = np.random.default_rng(seed).random(flux.shape) < 0.2
    np.testing.assert_array_equal(reconstruction_residual(noisy, (np.where(noisy.mask, rubbish, flux), ivar)), expected)
    hidden = reconstruction_residual(noisy, (np.where(unknown, rubbish, flux), np.where(unknown, 0, ivar)))
    good = ~noisy.mask & ~unknown & (ivar > 0)
    direct = [np.mean((noisy.flux[i] - flux[i])[good[i]] ** 2 * noisy.ivar[i][good[i]]) for i in range(12)]
    np.testing.assert_allclose(hidden, direct, rtol=1e-4)


def test_the_residual_is_one_where_the_noise_explains_it_and_takes_both_variances():
    noisy, (flux, ivar) = spectra(cloud(300), n_pixels=60)
    assert abs(reconstruction_residual(noisy, (flux, ivar)).mean() - 1) < 0.02
    both_noisy = reconstruction_residual(noisy, (flux, np.where(ivar > 0, noisy.ivar, 0)))
    assert abs(both_noisy.mean() - 0.5) < 0.02


def test_other_visits_of_a_star_do_not_vouch_for_it():
    gallery = cloud(50)
    odd = sa.EmbeddingTable(
        -np.eye(5)[:1].repeat(4, 0), ["odd"] * 4, list("abcd"), "apogee", [50] * 4, [1] * 4, {"space": "s1"}
    )
    gallery = sa.EmbeddingTable.concatenate([gallery, odd])
    distance = neighbour_distance(gallery, gallery, k=3)
    assert (distance[-4:] > 1).all()
    assert (distance[:-4] < 0.7).all()
    cosine = gallery.vectors @ gallery.vectors.T
    other = np.where(gallery.object_id[:, None] == gallery.object_id, -2, cosine)
    np.testing.assert_allclose(distance, 1 - np.sort(other, axis=1)[:, -3:].mean(axis=1), atol=1e-5)


def test_what_is_not_known_is_masked_and_never_normal(model):
    new = both(40, first=9000)
    alone = new[new.instrument == "apogee"][:20]
    prepared, _ = spectra(alone)
    found = model.predict(alone, prepared[:5], spectra(alone[:5])[1])
    assert found["disagreement"].mask.all()
    assert found["disagreement_p"].mask.all()
    assert found["residual"].mask.tolist() == [False] * 5 + [True] * 15
    assert found["n_scores"].tolist() == [2] * 5 + [1] * 15
    assert not found["outlier"].mask.any()
    lonely = sa.OutlierModel("disagreement").fit(both(300)).predict(alone)
    assert lonely["outlier"].mask.all()
    assert lonely["p_value"].mask.all()
    lonely.sort("p_value")
    stranger = cloud(5, instrument="lamost")
    assert model.predict(stranger)["outlier"].mask.all()


def test_an_unknown_snr_is_unknown():
    new = both(30, first=9000)
    new.snr[0] = np.nan
    found = sa.OutlierModel("neighbours", snr_bins=2).fit(both(500)).predict(new, false_alarm=0.05)
    assert found["outlier"].mask.tolist() == [True] + [False] * 59
    found = sa.OutlierModel("disagreement").fit(both(500)).predict(new, false_alarm=0.05)
    assert np.flatnonzero(found["outlier"].mask).tolist() == [0, 30]


def test_too_few_normal_stars_are_an_error_that_says_how_many():
    assert [stars_needed(rate) for rate in (0.5, 0.1, 0.05, 0.01, 0.001)] == [1, 9, 19, 99, 999]
    table = cloud(160)
    parts = StarSplit(table.object_id, np.where(np.arange(160) < 62, "train", "validation"))
    model = sa.OutlierModel().fit(table, parts=parts)
    message = "needs at least 99 normal stars of apogee with neighbours, got 98; fit with more stars"
    with pytest.raises(MatchError, match=message):
        model.predict(cloud(3, first=999))
    assert not model.predict(cloud(3, first=999), false_alarm=1 / 99)["outlier"].mask.any()
    with pytest.raises(MatchError, match="at least 20 normal stars to learn what is usual, got 1"):
        sa.OutlierModel().fit(cloud(20))
    with pytest.raises(ValueError, match="expected a rate above 0 and below 1, got 0"):
        model.predict(cloud(3, first=999), false_alarm=0)


def test_visits_of_a_star_count_once_among_the_normal_ones():
    table = cloud(300)
    again = sa.EmbeddingTable.concatenate([table, cloud(300, seed=1)[:0]])
    visits = cloud(300, seed=1)
    visits.spectrum_id = np.char.add(visits.spectrum_id, " again")
    model = sa.OutlierModel().fit(sa.EmbeddingTable.concatenate([again, visits]))
    once = sa.OutlierModel().fit(table)
    new = cloud(2, first=999)
    assert model.predict(new).meta["n_normal"] == once.predict(new).meta["n_normal"]


def test_bad_input_is_named():
    table = both(60)
    with pytest.raises(SpecalignError, match=r"has not been fitted; call fit\(table\) first"):
        sa.OutlierModel().predict(table)
    with pytest.raises(ValueError, match="expected some of neighbours, residual, disagreement, once each, got 'flux'"):
        sa.OutlierModel("flux")
    with pytest.raises(ValueError, match="combine: expected one of minimum, fisher, got 'mean'"):
        sa.OutlierModel(combine="mean")
    model = sa.OutlierModel().fit(table)
    with pytest.raises(GridMismatchError, match="'s1' cannot be compared with those of 's2'"):
        model.predict(cloud(3, space="s2"), false_alarm=0.1)
    fluxes = spectra(cloud(60))
    with pytest.raises(GridMismatchError, match="'s1' cannot be compared with those of 's2'"):
        sa.OutlierModel("residual").fit(cloud(60), *fluxes).predict(cloud(60, space="s2"), *fluxes, false_alarm=0.1)
    with pytest.raises(MatchError, match="residual: no row has a spectrum and a reconstruction"):
        sa.OutlierModel("residual").fit(table)
    with pytest.raises(MatchError, match="no reference star was seen by two instruments"):
        sa.OutlierModel("disagreement").fit(cloud(60))


def test_spectra_that_are_not_finite_or_of_another_grid_are_named():
    table = cloud(60)
    noisy, (flux, ivar) = spectra(table)
    model = sa.OutlierModel("residual").fit(table, noisy, (flux, ivar))
    other = observe("apogee", table.object_id, 31)
    other.spectrum_id = table.spectrum_id
    with pytest.raises(GridMismatchError, match="the normal stars' spectra of apogee have grid"):
        model.predict(table, other, (other.flux, other.ivar), false_alarm=0.1)
    with pytest.raises(GridMismatchError):
        model.predict(table, noisy, other, false_alarm=0.1)
    with pytest.raises(SpectrumError, match=r"expected flux of shape \(60, 30\), as the spectra have, got \(59, 30\)"):
        model.predict(table, noisy, (flux[1:], ivar[1:]), false_alarm=0.1)
    spoilt = flux.copy()
    spoilt[4, np.flatnonzero(~noisy.mask[4] & (ivar[4] > 0))[0]] = np.nan
    with pytest.raises(SpectrumError, match="1 good pixels hold NaN or Inf, the first of spectrum_id 'apogee star 4'"):
        reconstruction_residual(noisy, (spoilt, ivar))
    noisy.flux[3] = np.nan
    with pytest.raises(SpectrumError, match="not finite"):
        reconstruction_residual(noisy, (flux, ivar))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_tail_keeps_the_order_of_scores(seed):
    rng = np.random.default_rng(seed)
    tail = Tail(rng.normal(size=rng.integers(20, 300)))
    scores = np.sort(rng.normal(0, 5, 50))
    assert (np.diff(tail(scores)) >= 0).all()
    assert (np.diff(tail(scores[scores > tail.threshold])) > 0).all()
    assert np.isnan(tail(np.array([np.nan]))).all()


def test_disagreement_is_relative_to_pairs_of_that_snr():
    table, new = both(600), both(600, first=5000)
    found = sa.OutlierModel("disagreement").fit(table).predict(new, false_alarm=0.1)
    apart = new[new.instrument == "apogee"].vectors - new[new.instrument == "nirspec"].vectors
    low = np.minimum(new.snr[:600], new.snr[600:])
    assert np.corrcoef(np.log(np.linalg.norm(apart, axis=1)), np.log(low))[0, 1] < -0.4
    assert abs(np.corrcoef(found["disagreement"][:600], np.log(low))[0, 1]) < 0.15
