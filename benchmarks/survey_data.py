"""Prepared spectra, labels, bounds and oracles for the studies in ``bench_results.py``.

The four-instrument mock survey is drawn by ``scripts/mock_survey.py`` of the shared folder; the real LAMOST spectra and
the emulators lie in its ``data`` folder.  Nothing of it is part of the package.
"""

import importlib.util

import astropy.units as u
import numpy as np
from astropy.table import QTable

import specalign as sa

SPEED_OF_LIGHT = 299792.458  # km/s
UNITS = {"teff": u.K, "logg": u.dex(u.cm / u.s**2), "fe_h": u.dex, "alpha_m": u.dex}
KNOWN_LABELS = {
    "apogee": ("teff", "logg", "fe_h", "alpha_m"),
    "nirspec": ("teff", "logg", "fe_h", "alpha_m"),
    "lamost_lrs": ("teff", "logg", "fe_h"),
    "gaia_xp": ("teff", "logg", "fe_h"),
}
SETTINGS = {
    "apogee": ("apogee", {}),
    "nirspec": ("nirspec", {}),
    "lamost_lrs": ("lamost", {}),
    "gaia_xp": ("gaia_xp", {}),
}
CHUNK = 2000


def load_script(shared):
    """The module ``mock_survey`` of the shared folder."""
    path = shared / "scripts" / "mock_survey.py"
    spec = importlib.util.spec_from_file_location("mock_survey", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MockSurvey:
    """The same stars seen by four instruments; rows are drawn once and prepared on demand.

    Parameters
    ----------
    shared : pathlib.Path
    n_stars, seed : int
    n_test : int
        The last stars, which nothing is trained on.

    Attributes
    ----------
    settings, known_labels : dict
        Of each of the script's instruments: plugin and options, and the labels that its model knows.
    units, places : dict
        Of each label: its unit, and its column among those of the script.
    """

    frame = "rest"

    def __init__(self, shared, n_stars, seed, n_test=2000):
        self.script = load_script(shared)
        self.settings, self.known_labels = dict(SETTINGS), dict(KNOWN_LABELS)
        self.units, self.places = dict(UNITS), {name: place for place, name in enumerate(UNITS)}
        self.seed, self.n_test = seed, n_test
        self.values = self.script.draw_labels(n_stars, np.random.default_rng(seed))
        self.object_id = np.array([f"mock-{seed}-{i:07d}" for i in range(n_stars)])
        self._seen = {}

    def observe(self, name):
        """What one instrument saw, as ``mock_survey.observe`` returns it."""
        if name not in self._seen:
            stream = np.random.default_rng([self.seed, self.script.INSTRUMENTS.index(name)])
            self._seen = {name: self.script.observe(name, self.values, stream)}
        return self._seen[name]

    def forget(self):
        """Drop the raw observations, which are larger than what was prepared from them."""
        self._seen = {}

    def prepare(self, name, normalized=False):
        """`PreparedSpectra` of training and of test stars; ``normalized`` leaves the flux as the survey gives it."""
        seen = self.observe(name)
        plugin, options = self.settings[name]
        instrument = sa.get_instrument(plugin, **options)
        parts = [self._prepare_rows(instrument, name, seen, rows, normalized) for rows in self._chunks()]
        return sa.PreparedSpectra.concatenate(parts[:-1]), parts[-1]

    def prepare_clean(self, name, normalized=False):
        """The spectra of the test stars without noise, bad pixels, and errors of velocity and calibration."""
        rows, plugin = slice(len(self.object_id) - self.n_test, None), self.settings[name]
        flux = self.script.spectrum(name, self.values[rows])
        bad = ~np.isfinite(flux)
        return sa.get_instrument(plugin[0], **plugin[1]).prepare_arrays(
            np.where(bad, 1, flux),
            np.where(bad, 0, 1e8),
            bad,
            spectral_axis=self.script.model(name).wavelength * u.AA,
            object_id=self.object_id[rows],
            normalized=normalized,
        )

    def _chunks(self):
        train = np.arange(len(self.object_id) - self.n_test)
        return [*np.array_split(train, max(1, len(train) // CHUNK)), np.arange(len(self.object_id))[-self.n_test :]]

    def _prepare_rows(self, instrument, name, seen, rows, normalized):
        factor = None
        if name == "gaia_xp":  # the survey's own basis of correlated noise
            factor = (seen["coefficient_error"][rows], self.script._load("gaia_xp_noise.npz")["sampling"])
        return instrument.prepare_arrays(
            seen["flux"][rows],
            seen["ivar"][rows],
            seen["mask"][rows],
            spectral_axis=seen["wavelength"] * u.AA,
            object_id=self.object_id[rows],
            spectrum_id=np.char.add(self.object_id[rows], f"/{name}"),
            frame=self.frame,
            normalized=normalized,
            covariance_factor=factor,
        )

    @property
    def labels(self):
        """`~astropy.table.QTable` with the true labels of every star."""
        table = QTable({"object_id": self.object_id})
        for name, unit in self.units.items():
            table[name] = self.values[:, self.places[name]] * unit
        table.meta["label_system"] = "mock-survey"
        return table

    def _test_observation(self, name):
        seen = self.observe(name)
        return {key: value if key == "wavelength" else value[-self.n_test :] for key, value in seen.items()}

    def bound(self, name):
        """Root mean square Cramer-Rao bound a label over the test stars, as a dict of Quantity."""
        seen, prior = self._test_observation(name), self.script.PRIOR
        deviation = self.script.covariance(name, self.values[-self.n_test :], seen, prior).diagonal(axis1=1, axis2=2)
        rms = np.sqrt(deviation.mean(axis=0))
        return {label: rms[self.places[label]] * self.units[label] for label in self.known_labels[name]}

    def covariance(self, name):
        """Inverse Fisher matrices (n_test, 6, 6) without knowledge of the population."""
        prior = 1e3 * self.script.PRIOR
        return self.script.covariance(name, self.values[-self.n_test :], self._test_observation(name), prior)

    def oracle_recall(self, covariance_a, covariance_b):
        """recall@1 of an oracle that knows every star's labels to the bound of both instruments."""
        rng = np.random.default_rng(self.seed)
        rank = self.script.oracle_rank(self.values[-self.n_test :], covariance_a, covariance_b, rng)
        return float((rank == 1).mean())


class RealLamost:
    """The labelled real LAMOST spectra, and Gaia XP spectra that the XP emulator makes of their labels.

    Such an XP spectrum carries Teff, logg, [Fe/H] and an extinction, and nothing else of the star.
    Stars outside the emulator's range are counted in ``n_rejected``.
    """

    def __init__(self, shared, seed):
        self.script = load_script(shared)
        with np.load(shared / "data" / "spectra" / "lamost_lrs_labelled.npz") as file:
            data = {key: file[key] for key in file}
        values = np.column_stack([data["teff"], data["logg"], data["feh"]]).astype(float)
        net = self.script._load("gaia_xp_payne.npz")
        inside = ((values >= net["x_min"]) & (values <= net["x_max"])).all(axis=1)
        self.n_rejected = int((~inside).sum())
        self.rows = np.flatnonzero(inside)
        self.data, self.values, self.seed = data, values[inside], seed
        self.object_id = np.array([f"lamost-{i}" for i in data["obsid"][inside]])

    def prepare(self):
        """`PreparedSpectra` of the real LAMOST and of the emulated XP spectra, all stars."""
        return {"lamost": self._prepare_lamost(), "gaia_xp": self._prepare_xp()}

    def _prepare_lamost(self):
        data, rows = self.data, self.rows
        return sa.get_instrument("lamost").prepare_arrays(
            data["flux"][rows],
            data["ivar"][rows],
            spectral_axis=data["wavelength"] * u.AA,
            object_id=self.object_id,
            frame="barycentric",
            radial_velocity=data["redshift"][rows] * SPEED_OF_LIGHT * u.km / u.s,
        )

    def _prepare_xp(self):
        rng = np.random.default_rng([self.seed, 4])
        full = np.zeros((len(self.values), 6))
        full[:, :3] = self.values
        full[:, 5] = np.minimum(rng.exponential(0.25, len(full)), 1.5)
        seen = self.script.observe("gaia_xp", full, rng)
        return sa.get_instrument("gaia_xp").prepare_arrays(
            seen["flux"],
            seen["ivar"],
            seen["mask"],
            spectral_axis=seen["wavelength"] * u.AA,
            object_id=self.object_id,
            covariance_factor=(seen["coefficient_error"], self.script._load("gaia_xp_noise.npz")["sampling"]),
        )

    @property
    def labels(self):
        """`~astropy.table.QTable` with the LAMOST pipeline's labels."""
        table = QTable({"object_id": self.object_id})
        for i, name in enumerate(("teff", "logg", "fe_h")):
            table[name] = self.values[:, i] * UNITS[name]
        table.meta["label_system"] = "lamost-lasp"
        return table
