"""A small survey of points on a curve, seen by two instruments."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import EmbeddingTable


def make_table(n=200, visits=1, noise=0.02, seed=0, instrument="apogee", space="s1", first=0):
    """Stars on a curve in six dimensions; the position along it is their label."""
    rng = np.random.default_rng([seed, first])
    position = np.random.default_rng(first).uniform(-1, 1, (n, 2))
    t, g = np.repeat(position, visits, axis=0).T
    curve = np.stack([np.cos(t), np.sin(t), np.cos(2 * g), np.sin(2 * g), t * g, g], axis=1)
    names = np.repeat([f"star {i:04d}" for i in range(first, first + n)], visits)
    rows = [f"{instrument} {i}" for i in range(first, first + n * visits)]
    vectors = curve + noise * rng.normal(size=curve.shape)
    table = EmbeddingTable(vectors, names, rows, instrument, np.full(len(t), 50), np.ones(len(t)), {"space": space})
    return table, make_labels(names[::visits], position)


def make_labels(names, position):
    teff, logg = 5000 + 800 * position[:, 0], 2.5 + 1.5 * position[:, 1]
    columns = {"object_id": names, "teff": teff * u.K, "logg": u.Dex(logg, u.dex(u.cm / u.s**2))}
    columns["fe_h"] = 0.3 * position.prod(axis=1) * u.dex
    return QTable(columns, meta={"label_system": "toy"})


@pytest.fixture
def survey():
    """(apogee table, nirspec table, labels) of the same 200 stars."""
    apogee, labels = make_table()
    nirspec, _ = make_table(seed=1, instrument="nirspec")
    return apogee, nirspec, labels
