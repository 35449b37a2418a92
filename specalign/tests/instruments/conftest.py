"""Spectra drawn for the tests of instruments."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import InverseVariance
from specutils import Spectrum

from specalign.instruments import get_instrument

NAMES = ("apogee", "nirspec", "lamost", "gaia_xp")
MODES = [
    ("apogee", {}),
    ("nirspec", {}),
    ("nirspec", {"disperser": "prism", "filter": "clear"}),
    ("lamost", {}),
    ("lamost", {"mode": "mrs"}),
    ("gaia_xp", {}),
]


def make_rows(instrument, n=4, seed=0, bad=0.05):
    """Positive flux with structure, ivar and mask (n, P) on the instrument's grid."""
    rng = np.random.default_rng(seed)
    shape = (n, instrument.n_pixels)
    x = np.linspace(-1, 1, shape[1])
    flux = 100 * (1 + 0.3 * x) * (1 - 0.2 * rng.random(shape) ** 4) + rng.standard_normal(shape)
    mask = rng.random(shape) < bad
    if instrument.name == "gaia_xp":
        mask[:, 107] = False  # the pivot, without which a row is rejected
    return flux, np.full(shape, 1.0), mask


def make_spectrum(instrument, seed=0, unit=u.AA, reverse=False, **meta):
    """One spectrum of the instrument with the facts that preparing needs."""
    flux, ivar, mask = (a[0] for a in make_rows(instrument, 1, seed))
    axis = instrument.spectral_axis.to(unit)
    step = -1 if reverse else 1
    facts = {"object_id": "star", "spectrum_id": f"row-{seed}", "frame": "rest", "medium": "vacuum"}
    return Spectrum(
        flux=flux[::step] * u.Jy / u.Jy,
        spectral_axis=axis[::step],
        uncertainty=InverseVariance(ivar[::step]),
        mask=mask[::step],
        meta={name: value for name, value in (facts | meta).items() if value is not None},
    )


@pytest.fixture(params=NAMES)
def instrument(request):
    """Each instrument with its default options."""
    return get_instrument(request.param)


@pytest.fixture
def apogee():
    return get_instrument("apogee")
