"""Twenty labels from the line model of ``specalign.mock``: Teff, log g, [Fe/H] and 17 abundances.

In the decorrelated variant no label tells of another element, so that what is known of one comes from its own lines.
"""

import functools

import astropy.units as u
import numpy as np
from accuracy_pairs import TRAININGS
from accuracy_space import study_space
from accuracy_survey import test_size
from bench_results import plain

import specalign as sa
from specalign.mock import ELEMENTS, cramer_rao, draw_labels, spectrum
from specalign.mock.model import SETUPS, noise

ELEMENT_ROWS = {"mock20": False, "mock20-decorrelated": True}
LABELS = ("teff", "logg", "fe_h", *(f"{name}_fe" for name in ELEMENTS if name != "fe"))
UNCERTAIN = (*LABELS, "vsini", "a_v")  # what the bound does not take as known
INSTRUMENTS = ("apogee", "nirspec")
BAD_PIXELS = 0.004
CHUNK = 1000


def element_row(survey, row):
    """A space of APOGEE and NIRSpec, with the bound of every label."""
    survey.forget()  # memory
    truth = draw_labels(survey.n_stars, survey.seed, decorrelated=ELEMENT_ROWS[row])
    n_train = survey.n_stars - test_size(survey.n_stars)
    stars, truth_test = truth[:n_train], truth[n_train:]
    observed = functools.partial(observe, survey.mock.script, survey.seed)
    train = {name: observed(name, stars, 0) for name in INSTRUMENTS}
    test = {name: observed(name, truth_test, 1) for name in INSTRUMENTS}
    result = {"n_train": n_train, "n_test": len(truth_test), "spread": spread_of(truth_test)}
    result["bound"] = {name: bound_of(name, truth_test, test[name], stars) for name in INSTRUMENTS}
    labels, known = truth["object_id", *LABELS], dict.fromkeys(INSTRUMENTS, LABELS)
    kind = "with labels"
    result[kind] = study_space(train, test, labels, known, survey.seed, TRAININGS[kind])
    return plain(result)


def observe(script, seed, name, labels, part):
    """`PreparedSpectra` of some stars, in chunks, with the S/N, velocity errors and bad pixels of the mock survey."""
    rng = np.random.default_rng([seed, INSTRUMENTS.index(name), part])
    chunks = np.array_split(np.arange(len(labels)), max(1, len(labels) // CHUNK))
    return sa.PreparedSpectra.concatenate([_observe(script, name, labels[rows], rng) for rows in chunks])


def _observe(script, name, labels, rng):
    n, (low, high) = len(labels), script.SNR[name]
    velocity = rng.normal(0, script.VELOCITY_ERROR[name], n) * u.km / u.s
    axis, clean = spectrum(name, labels, radial_velocity=velocity)
    sigma = noise(clean.value, np.exp(rng.uniform(np.log(low), np.log(high), n)))
    mask = rng.random(clean.shape, dtype=np.float32) < BAD_PIXELS
    mask |= ~_on_detectors(SETUPS[name])
    flux = clean.value + sigma * rng.standard_normal(clean.shape, dtype=np.float32)
    return sa.get_instrument(name).prepare_arrays(
        flux, np.where(mask, 0, sigma**-2.0), mask, spectral_axis=axis, object_id=labels["object_id"]
    )


def _on_detectors(setup):
    seen = np.zeros(len(setup.axis), bool)
    for start, stop in setup.chips:
        seen[start:stop] = True
    return seen


def spread_of(labels):
    """Standard deviation of each label, as plain numbers."""
    return {name: float(np.std(labels[name].value)) for name in LABELS}


def bound_of(name, labels, prepared, population):
    """Root mean square bound of each label; what is known beforehand is the spread of the training stars."""
    prior = {label: float(np.std(population[label].value)) for label in UNCERTAIN}
    table = cramer_rao(name, labels, prepared, names=UNCERTAIN, prior=prior)
    return {label: float(np.sqrt(np.mean(table[label].value ** 2))) for label in LABELS}
