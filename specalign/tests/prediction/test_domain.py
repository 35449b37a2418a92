"""What is like the training, and what is not: shares of held-out mock stars and of foreign spectra that are flagged."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specalign.exceptions import MatchError, SpectrumError
from specalign.prediction.domain import FIGURES, TrainingDomain, _thresholds
from specalign.tests.prediction.foreign import changed, samples, shifted, sigma


@pytest.fixture(scope="module")
def foreign(survey):
    return samples(survey.test["nirspec"])


def flagged(model, prepared):
    return 1 - model.predict(prepared)["in_domain"].mean()


def test_few_held_out_stars_are_flagged(model, survey):
    assert flagged(model, survey.test["nirspec"]) <= 0.06
    facts = model.domains["nirspec"].facts
    assert facts["flagged_in_training"] <= facts["false_alarm"] + 1 / facts["n_stars"]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([0.01, 0.03, 0.1]))
def test_the_false_alarm_is_that_of_all_figures_together(seed, common, false_alarm):
    """Whether the figures agree on the strange rows or each names its own."""
    rng, n = np.random.default_rng(seed), 1000
    shared = rng.normal(size=n)
    figures = {name: rng.normal(size=n) * (1 - common) + shared * common for name in FIGURES}
    figures = {
        name: values if side == "high" else -values
        for (name, side), values in zip(FIGURES.items(), figures.values(), strict=True)
    }
    limits = _thresholds(figures, false_alarm)
    beyond = [v > limits[n] if FIGURES[n] == "high" else v < limits[n] for n, v in figures.items()]
    share = np.any(beyond, axis=0).mean()
    assert false_alarm - len(FIGURES) / n <= share <= false_alarm + 1 / n


@pytest.mark.parametrize("name", [
    "noise alone, as large as the flux", "noise alone on a continuum", "a black body", "upside down",
    "wavelengths reversed", "+500 km/s", "-500 km/s",
])  # fmt: skip
def test_foreign_spectra_are_flagged(model, foreign, name):
    assert flagged(model, foreign[name]) >= 0.95


def test_the_embedding_alone_would_not_see_them(model, foreign):
    """Why the flux is looked at: if this fails, the encoder has become better, and the documentation is out of date."""
    limit = model.domains["nirspec"].facts["thresholds"]["similarity"]
    upside_down = model.predict(foreign["upside down"])
    assert (upside_down["domain_similarity"] < limit).mean() < 0.2


def test_a_lower_resolution_is_not_always_seen(model, foreign):
    """A documented weakness: the setting in the header decides, not the figures."""
    assert flagged(model, foreign["2.7 times coarser"]) < 0.6


def test_low_snr_and_holes_are_named(model, survey):
    few = survey.test["nirspec"][:4]
    noise = 60 * sigma(few) * np.random.default_rng(1).normal(size=few.flux.shape)
    reasons = model.predict(changed(few, few.flux + noise, few.ivar / 3600))["domain_reasons"]
    assert all("snr" in reason for reason in reasons)
    mask = few.mask | (np.arange(few.flux.shape[1]) > 1500)
    holes = dataclasses.replace(few, mask=mask, ivar=np.where(mask, 0, few.ivar), flux=np.where(mask, 0, few.flux))
    assert all("good_fraction" in reason for reason in model.predict(holes)["domain_reasons"])


def test_another_frame_is_named(model, survey):
    few = survey.test["nirspec"][:3]
    catalog = few.catalog.copy()
    catalog["frame"] = "rest"
    reasons = model.predict(dataclasses.replace(few, catalog=catalog))["domain_reasons"]
    assert all("frame rest, trained on barycentric" in reason for reason in reasons)


def test_the_order_of_rows_changes_nothing(model, survey):
    rows, test = survey.training["nirspec"][:40], survey.test["nirspec"]
    shuffled = rows[np.random.default_rng(0).permutation(len(rows))]
    first, again = (TrainingDomain.fit(one, survey.aligner.embed(one).vectors).facts for one in (rows, shuffled))
    for name, limit in first["thresholds"].items():
        assert np.isclose(again["thresholds"][name], limit, rtol=1e-4)
    order = np.random.default_rng(1).permutation(len(test))
    figures = model.predict(test)
    for name in FIGURES:
        other = model.predict(test[order])[f"domain_{name}"]
        assert np.allclose(other, figures[f"domain_{name}"][order], rtol=1e-4)


def test_what_is_masked_changes_nothing(model, survey):
    test = survey.test["nirspec"][:5]
    dirty = dataclasses.replace(test, flux=np.where(test.mask, np.nan, test.flux))
    for name in FIGURES:
        assert np.array_equal(model.predict(dirty)[f"domain_{name}"], model.predict(test)[f"domain_{name}"])


def test_visits_of_a_star_do_not_vouch_for_each_other(survey):
    """Held-out figures compare with other stars only: stars far apart, with many visits each, stay far apart."""
    rows, visits = survey.training["nirspec"][:24], 12
    vectors = np.random.default_rng(0).normal(size=(len(rows), 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.sort(vectors @ vectors.T, axis=1)[:, -2].max()  # of another star
    named = [
        dataclasses.replace(rows, spectrum_id=np.char.add(rows.spectrum_id, f"-visit-{visit}"))
        for visit in range(visits)
    ]
    domain = TrainingDomain.fit(type(rows).concatenate(named), np.concatenate([vectors] * visits))
    assert domain.facts["thresholds"]["similarity"] <= nearest + 1e-6 < 0.9  # 1, if a visit vouched for the others


def test_few_stars_and_wrong_shares_are_refused(survey):
    rows = survey.training["nirspec"][:19]
    vectors = survey.aligner.embed(rows).vectors
    with pytest.raises(MatchError, match="at least 20 stars to tell what is like them, got 19 of nirspec"):
        TrainingDomain.fit(rows, vectors)
    with pytest.raises(ValueError, match="false_alarm"):
        TrainingDomain.fit(rows, vectors, false_alarm=0.0)


def test_another_number_of_pixels_is_refused(model, survey):
    xp = survey.test["gaia_xp"][:2]
    with pytest.raises(SpectrumError, match="expected spectra of 3602 pixels, got 343"):
        model.domains["nirspec"].figures(xp, np.zeros((2, 32), np.float32))


def test_a_small_velocity_is_not_seen(model, survey):
    shares = [flagged(model, shifted(survey.test["nirspec"], velocity)) for velocity in (0, 50)]
    assert shares[0] <= 0.06
    assert shares[1] <= 0.4  # the training's own velocities scatter by 25 km/s and more
