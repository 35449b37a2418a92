"""Spectra, embeddings and labels of one small survey."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import EmbeddingTable, PreparedSpectra
from specalign.instruments.prepared import InstrumentRecord, grid_digest


def make_prepared(axis, name, n=12, seed=0):
    rng = np.random.default_rng(seed)
    lines = np.linspace(axis[0], axis[-1], 30)[1:-1]
    depth = rng.uniform(0.1, 0.6, (n, len(lines)))
    width = (axis[-1] - axis[0]) / 800
    flux = 1 - depth @ np.exp(-0.5 * ((axis - lines[:, None]) / width) ** 2) + rng.normal(0, 0.01, (n, len(axis)))
    mask = np.zeros(flux.shape, dtype=bool)
    mask[:, len(axis) // 3 : len(axis) // 3 + len(axis) // 30] = True
    flux[mask] = -50
    names = np.array([f"star {i}" for i in range(n)])
    catalog = QTable({"snr": np.full(n, 100.0), "frame": np.full(n, "rest")})
    return PreparedSpectra(
        flux, np.where(mask, 0, 1e4), mask, mask.astype(np.uint32), np.ones((n, 1)), names,
        np.char.add(f"{name} ", names), axis * u.AA, InstrumentRecord(name, {}, grid_digest(axis * u.AA), "1"),
        catalog, {"BAD": 0},
    )  # fmt: skip


@pytest.fixture(scope="session")
def apogee():
    return make_prepared(10 ** (4.179 + 6e-5 * np.arange(850)), "apogee")


@pytest.fixture(scope="session")
def nirspec():
    return make_prepared(np.linspace(9700, 18900, 900), "nirspec")


def make_labels(n):
    rng = np.random.default_rng(5)
    teff, logg = rng.uniform(4000, 6500, n), rng.uniform(0.5, 4.8, n)
    columns = {
        "object_id": [f"star {i}" for i in range(n)],
        "teff": teff * u.K,
        "logg": u.Dex(logg, u.dex(u.cm / u.s**2)),
    }
    return QTable(columns | {"fe_h": rng.normal(-0.2, 0.3, n) * u.dex}, meta={"label_system": "mock"})


@pytest.fixture(scope="session")
def labels():
    return make_labels(300)


@pytest.fixture(scope="session")
def predicted(labels):
    rng = np.random.default_rng(6)
    table = labels.copy()
    for name, sigma in (("teff", 60), ("logg", 0.12), ("fe_h", 0.06)):
        unit = table[name].unit if name != "logg" else u.dex
        noise = rng.normal(0, sigma, len(table)) * unit
        table[name] = table[name] + noise
        table[f"{name}_err"] = np.full(len(table), sigma) * unit
    return table


@pytest.fixture(scope="session")
def embeddings(labels):
    rng = np.random.default_rng(7)
    x = np.stack([labels["teff"].value / 1000 - 5, labels["logg"].value - 2.5, labels["fe_h"].value * 3], axis=1)
    vectors = np.concatenate([x, 0.3 * np.ones((len(x), 1))], axis=1) @ rng.normal(size=(4, 8))
    vectors = np.concatenate([vectors, vectors + rng.normal(0, 0.1, vectors.shape)])
    names = np.tile(np.asarray(labels["object_id"]), 2)
    instrument = np.repeat(["apogee", "nirspec"], len(labels))
    return EmbeddingTable(vectors, names, np.char.add(np.char.add(instrument, " "), names), instrument, 100, 1)
