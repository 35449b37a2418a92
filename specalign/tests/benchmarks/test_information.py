"""How much information is left after each step."""

import numpy as np
import pytest


def test_noise_is_inverted_as_the_dense_matrix_is(program):
    rng = np.random.default_rng(0)
    own, shared, columns = rng.uniform(1, 2, 30), rng.normal(size=(4, 30)), rng.normal(size=(30, 3))
    own[7] = np.inf
    good = np.isfinite(own)
    covariance = np.diag(own[good]) + shared[:, good].T @ shared[:, good]
    found = program("bench_information").weigh(columns, own, shared)
    np.testing.assert_allclose(found[good], np.linalg.solve(covariance, columns[good]), rtol=1e-9)
    assert not found[7].any()


@pytest.fixture(scope="module")
def fisher(program, shared):
    module, survey = program("bench_information"), program("survey_data").MockSurvey
    tangents = module.Tangents(survey(shared, 400, 5, 60), "gaia_xp", given=True)
    return tangents, module.pixels_fisher(tangents), [module.factors_fisher(tangents, n, 5) for n in (4, 340)]


@pytest.mark.slow
@pytest.mark.shared
def test_spectra_as_they_are_given_keep_their_information(fisher):
    tangents, pixels, _ = fisher
    ratios = tangents.ratios(pixels)
    assert all(0.95 < ratio < 1.1 for name, ratio in ratios.items() if name != "log volume")
    assert abs(ratios["log volume"]) < 0.2


@pytest.mark.slow
@pytest.mark.shared
def test_no_summary_knows_more_than_the_pixels(fisher):
    _, pixels, summaries = fisher
    for summary in summaries:
        lost = np.linalg.eigvalsh(pixels - summary)
        assert lost.min() > -1e-6 * np.abs(pixels).max()


@pytest.mark.slow
@pytest.mark.shared
def test_more_factors_keep_more(fisher):
    tangents, _, (few, many) = fisher
    assert tangents.ratios(few)["log volume"] > tangents.ratios(many)["log volume"] + 0.5
