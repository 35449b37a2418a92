"""What can be known of spectra whose normalisation nobody gives: bounds of labels, and an oracle's recall@1.

The survey's own limits take the flux for known beside its noise. Here each spectrum is multiplied by an unknown factor
as well, of the shape that ``prepare`` divides by: a polynomial along each of APOGEE's chips and along NIRSpec's
spectrum (one, where ``prepare`` fits one on either side of the gap), and a number for LAMOST and Gaia XP.
"""

import contextlib
import itertools
from unittest.mock import patch

import numpy as np
from bench_results import plain

import specalign as sa
from specalign.instruments.continuum import Continuum

SPREAD = 10.0  # of the coefficients of the factor: a weak prior, since the true factor is about one


def limits_row(survey):
    """Of the test stars: the root mean square bound of each label, and recall@1 of an oracle in every pair."""
    survey.forget()  # memory
    mock, bound, covariance = survey.mock, {}, {}
    for name, (plugin, options) in mock.settings.items():
        with unknown_normalization(mock.script, sa.get_instrument(plugin, **options)):
            bound[plugin] = {label: float(value.value) for label, value in mock.bound(name).items()}
            covariance[plugin] = mock.covariance(name)
        mock.forget()
    ways = itertools.permutations(covariance, 2)
    return plain({"bound": bound, "oracle": {f"{a} -> {b}": recall(mock, covariance, a, b) for a, b in ways}})


def recall(mock, covariance, a, b):
    """recall@1 of the oracle in one direction."""
    return mock.oracle_recall(covariance[a], covariance[b])


@contextlib.contextmanager
def unknown_normalization(script, instrument):
    """The survey's limits meanwhile know nothing of a factor that the instrument's normalisation divides by."""
    gradients = script._gradients

    def widened(name, labels, label_prior):
        slopes, prior = gradients(name, labels, label_prior)
        clean = np.nan_to_num(script.spectrum(name, labels)).astype(float)
        shapes = factors_of(instrument, script.model(name).wavelength)
        unknown = clean[:, None] * shapes
        return np.concatenate([slopes, unknown], axis=1), np.append(prior, np.full(len(shapes), SPREAD))

    with patch.object(script, "_gradients", widened):
        yield


def factors_of(instrument, wavelength):
    """Shapes (K, P) whose sums a normalisation can divide by: polynomials a segment, or a constant."""
    rule, grid = instrument.normalization, instrument.spectral_axis.to_value("Angstrom")
    if not isinstance(rule, Continuum):
        return np.ones((1, len(wavelength)))
    ends = [(grid[first], grid[last - 1]) for first, last in rule.segments]
    return np.concatenate([polynomials(wavelength, *pair, rule.degree) for pair in ends])


def polynomials(wavelength, low, high, degree):
    """Legendre polynomials (degree + 1, P) between two wavelengths, and zero elsewhere."""
    x = 2 * (wavelength - low) / (high - low) - 1
    inside = np.abs(x) <= 1 + 1e-9
    return np.polynomial.legendre.legvander(np.where(inside, x, 0), degree).T * inside
