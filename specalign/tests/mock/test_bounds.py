"""Gradients, the Cramér-Rao bound against a fit of many noisy spectra, and the oracle."""

import astropy.units as u
import numpy as np
import pytest

from specalign.analysis import metrics
from specalign.exceptions import LabelError
from specalign.instruments import get_instrument
from specalign.mock import cramer_rao, draw_labels, gradients, label_covariance, oracle_rank, spectrum, write_survey
from specalign.mock.model import SETUPS, noise

NAMES = ("apogee", "nirspec", "lamost", "gaia_xp")


def moved(labels, name, step):
    changed = labels.copy()
    changed[name] = (labels[name].value + step) * labels[name].unit
    return changed


def slope(name, labels, label, step, velocity=None):
    up, down = (spectrum(name, moved(labels, label, s), velocity)[1].value.astype(float) for s in (step, -step))
    return (up - down) / (2 * step)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_those_of_a_finer_step(name):
    labels = draw_labels(2, seed=2)
    steps = {"teff": 5.0, "logg": 0.01, "fe_h": 0.01, "mg_fe": 0.01, "c_fe": 0.01, "a_v": 0.01}
    steps |= {"vsini": 0.1} if name == "apogee" else {}  # elsewhere a star's rotation hardly shows
    got = gradients(name, labels, names=tuple(steps))
    assert got.shape == (2, len(steps), len(spectrum(name, labels)[0]))
    for i, (label, step) in enumerate(steps.items()):
        fine = slope(name, labels, label, step)
        assert np.sqrt(np.mean((got[:, i] - fine) ** 2)) <= 0.1 * np.sqrt(np.mean(fine**2)), label
    assert np.all(gradients("gaia_xp", labels, names=("vsini",)) == 0)


def fit(name, star, names, steps, snr, draws, rng):
    """Estimates (draws, L) of the labels of one star from noisy spectra: maximum likelihood, nuisances fitted along.

    Newton steps with derivatives at the truth; the factor on the continuum and the velocity are drawn, then fitted.
    """
    velocity = [0.0] * u.km / u.s
    flux = spectrum(name, star, velocity)[1].value.astype(float)[0]
    sigma = noise(flux[None], np.array([float(snr)]))[0]
    x = np.linspace(-1, 1, len(flux))
    terms, spread = [flux], [10.0]
    if name == "lamost":
        up, down = (spectrum(name, star, [v] * u.km / u.s)[1].value.astype(float)[0] for v in (1.0, -1.0))
        terms, spread = [flux, flux * x, (up - down) / 2], [10.0, 0.03, 4.0]
    jacobian = np.array([*(slope(name, star, label, steps[label], velocity)[0] for label in names), *terms])
    weighted = jacobian / sigma
    inverse = np.linalg.inv(weighted @ weighted.T + np.diag([0.0] * len(names) + [s**-2.0 for s in spread]))
    true = rng.normal(size=(draws, len(spread))) * [0.05, *spread[1:]]
    data = model(name, star, names, np.zeros((draws, len(names))), true, x) + sigma * rng.normal(size=(draws, len(x)))
    theta = np.zeros((draws, len(jacobian)))
    for _ in range(3):
        residual = (data - model(name, star, names, theta[:, : len(names)], theta[:, len(names) :], x)) / sigma
        prior = np.concatenate([np.zeros((draws, len(names))), theta[:, len(names) :] / np.square(spread)], axis=1)
        theta += (residual @ weighted.T - prior) @ inverse
    return theta[:, : len(names)]


def model(name, star, names, offsets, nuisance, x):
    labels = star[np.zeros(len(offsets), int)]
    for i, label in enumerate(names):
        labels = moved(labels, label, offsets[:, i])
    velocity = nuisance[:, 2] if name == "lamost" else np.zeros(len(offsets))
    flux = spectrum(name, labels, velocity * u.km / u.s)[1].value.astype(float)
    tilt = nuisance[:, 1:2] * x if name == "lamost" else 0.0
    return flux * (1 + nuisance[:, :1] + tilt)


@pytest.mark.parametrize(
    ("name", "names", "snr", "draws", "tolerance"),
    [
        ("gaia_xp", ("teff", "fe_h", "a_v"), 300, 3000, 0.05),
        ("lamost", ("teff", "logg", "fe_h", "mg_fe"), 100, 200, 0.15),
    ],
)
def test_a_maximum_likelihood_fit_of_many_noisy_spectra_reaches_the_bound(name, names, snr, draws, tolerance):
    """The scatter of a standard deviation from n draws is 1 / sqrt(2 n): 1.3 % and 5 %."""
    steps = {"teff": 5.0, "logg": 0.01, "fe_h": 0.005, "mg_fe": 0.005, "a_v": 0.005}
    star = draw_labels(8, seed=1)[6:7]
    estimates = fit(name, star, names, steps, snr, draws, np.random.default_rng(3))
    bound = cramer_rao(name, star, snr, names=names, prior="flat", radial_velocity=[0.0] * u.km / u.s)
    for i, label in enumerate(names):
        assert np.std(estimates[:, i]) == pytest.approx(bound[label].value[0], rel=tolerance), label


def test_less_light_and_more_that_is_unknown_never_help():
    labels = draw_labels(6, seed=3)
    rng = np.random.default_rng(0)
    snr = rng.uniform(20, 100, (6, 8575))
    fewer = np.where(rng.random(snr.shape) < 0.5, 0, snr)
    full, half, stiff, some = (
        np.diagonal(label_covariance("apogee", labels, ratio, **options), axis1=1, axis2=2)
        for ratio, options in ((snr, {}), (fewer, {}), (snr, {"degree": 0}), (snr, {"names": ("teff", "mg_fe")}))
    )
    assert np.all(half >= full * (1 - 1e-6))
    assert np.all(full >= stiff * (1 - 1e-6))
    names = [name for name in cramer_rao("apogee", labels, snr).colnames if not name.endswith("_h") or name == "fe_h"]
    assert np.all(full[:, [names.index(name) - 1 for name in ("teff", "mg_fe")]] >= some * (1 - 1e-6))


def test_the_bound_goes_as_the_noise_and_without_light_it_is_the_prior():
    labels = draw_labels(4, seed=3)
    names = ("teff", "logg", "fe_h")
    bright, faint = (label_covariance("lamost", labels, snr, names=names, prior="flat", degree=0) for snr in (200, 20))
    assert np.allclose(faint / bright, 100, rtol=0.02)  # the velocity is known beforehand, whatever the noise
    nothing = cramer_rao("gaia_xp", labels, np.zeros((4, 343)), prior={"teff": 300 * u.K})
    assert np.allclose(nothing["teff"], 300 * u.K)
    assert np.allclose(nothing["mg_fe"], 0.3 * u.dex)
    assert np.allclose(nothing["mg_h"].value, np.hypot(0.3, 0.5))


def test_each_element_is_bounded_by_its_own_lines_and_extinction_by_colour():
    bound = cramer_rao("apogee", draw_labels(30, seed=4), 150)
    good = {name: np.median(bound[name].value) for name in bound.colnames if name != "object_id"}
    assert all(good[name] < 0.06 for name in ("fe_h", "mg_h", "si_h", "o_h", "ni_h", "mn_h"))
    assert good["a_v"] == pytest.approx(0.5)
    colour = cramer_rao("gaia_xp", draw_labels(30, seed=4), 150)
    assert np.median(colour["a_v"].value) < 0.1
    assert np.median(colour["ce_fe"].value) > 0.25
    assert good["ce_fe"] < 0.25


def test_prepared_spectra_have_the_bound_of_their_noise_and_masks(tmp_path):
    labels = draw_labels(8, seed=6)
    paths = write_survey(tmp_path, 8, ("apogee", "gaia_xp"), seed=6, snr=100.0)
    names = ("teff", "logg", "fe_h", "mg_fe")
    for name in ("apogee", "gaia_xp"):
        instrument = get_instrument(name)
        prepared = instrument.prepare([s for path in paths[name] for s in instrument.read(path)])
        known, scalar = (cramer_rao(name, labels, snr, names=names) for snr in (prepared, 100))
        for label in names:
            assert np.allclose(known[label].value, scalar[label].value, rtol=0.1), (name, label)
        with pytest.raises(ValueError, match="same stars as the labels, in the same order"):
            cramer_rao(name, labels[::-1], prepared)
    figures = metrics.labels(labels["object_id", "teff", "logg", "fe_h"], labels, bound=known)
    assert np.all(np.isfinite(figures["bound"][:3]))


def test_pixels_beside_a_gap_that_moved_tell_no_more_than_those_of_the_detector():
    """NIRSpec's gap lies elsewhere in each spectrum; no pixel's level is known without a fitted factor."""
    labels, axis = draw_labels(3, seed=3), SETUPS["nirspec"].axis
    narrow = np.where((axis > 14086) & (axis < 14140), 100.0, 0.0)  # good pixels in the middle position of the gap
    bound = cramer_rao("nirspec", labels, np.tile(narrow, (3, 1)), names=("a_v",), degree=0)
    assert np.all(bound["a_v"] > 0.49 * u.mag)  # a smooth factor hides extinction over so few pixels


def test_the_noise_of_the_flux_itself_does_not_make_the_bound_smaller():
    labels = draw_labels(20, seed=6)
    instrument, names = get_instrument("gaia_xp", normalization="none"), ("teff", "fe_h")
    axis, flux = spectrum("gaia_xp", labels)
    sigma = flux / 2.0
    noisy = flux + sigma * np.random.default_rng(1).standard_normal(flux.shape)
    prepared = instrument.prepare_arrays(noisy, sigma**-2, spectral_axis=axis, object_id=labels["object_id"])
    found, true = (cramer_rao("gaia_xp", labels, snr, names=names) for snr in (prepared, np.full(flux.shape, 2.0)))
    for name in names:
        assert np.median((found[name] / true[name]).value) == pytest.approx(1, rel=0.05)


def test_the_oracle_finds_all_stars_without_noise_and_none_but_by_chance_without_light():
    labels = draw_labels(60, seed=5)
    names = ("teff", "logg", "fe_h", "mg_fe")
    shares = []
    for snr in (1e5, 15, 2):
        a, b = (label_covariance(name, labels, snr, names=names, prior="flat") for name in ("apogee", "gaia_xp"))
        shares.append(np.mean(oracle_rank(labels, a, b, np.random.default_rng(1), names) == 1))
    assert shares[0] > 0.98
    assert shares[0] > shares[1] + 0.1
    assert shares[1] > shares[2] + 0.1
    dark = np.tile(np.diag([1e6, 1e3, 1e3, 1e3]) ** 2, (60, 1, 1))
    ranks = oracle_rank(labels, dark, dark, np.random.default_rng(1), names)
    assert np.mean(ranks == 1) < 0.08
    assert 19 < np.mean(ranks) < 42


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda labels: gradients("apogee", labels, ("teff", "zn_fe")), LabelError, "got zn_fe"),
        (lambda labels: gradients("apogee", labels, ()), LabelError, "got none"),
        (lambda labels: cramer_rao("apogee", labels, np.ones((3, 7))), ValueError, r"shape \(3, 8575\), got \(3, 7\)"),
        (lambda labels: cramer_rao("apogee", labels, np.ones((4, 8575))), ValueError, "got 4 rows for 3 stars"),
        (lambda labels: cramer_rao("apogee", labels, 9, prior="wide"), ValueError, "expected 'flat'"),
        (
            lambda labels: oracle_rank(labels, np.ones((3, 2, 2)), np.ones((3, 2, 2)), np.random.default_rng()),
            ValueError,
            r"expected covariances of shape \(3, 22, 22\)",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(draw_labels(3))
