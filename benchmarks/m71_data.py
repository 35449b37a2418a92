"""Real NIRSpec spectra of giants of the globular cluster M71, and mock spectra at the APOGEE labels of three of them.

Eight files (JWST programme 2609, G140H) hold eleven traces of sources 3, 7, 12 and 19, in two exposures.  7 and 12 are
saturated or were badly extracted.  7, 12 and 19 have APOGEE labels; source 3 has none.
"""

import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import Table
from survey_data import KNOWN_LABELS

import specalign as sa
from specalign.exceptions import UnreliableVelocityWarning, VelocityWarning
from specalign.instruments.measured import MeasuredVelocity
from specalign.instruments.velocity import radial_velocity

CLUSTER = -22.9  # km/s
KM_S = u.km / u.s
NAMES = KNOWN_LABELS["nirspec"]
CATALOGUE = {"teff": "teff", "logg": "logg", "fe_h": "m_h", "alpha_m": "alpha_m"}  # the grid's third label is [M/H]
BROADENING, EXTINCTION = 4.5, 0.25  # km/s, mag: of a usual giant of the mock survey; NIRSpec's model knows neither
HIGHEST_SNR = 300.0  # of the mock survey
EDGE = 10.0  # Angstrom: what `prepare` drops of mock spectra at an end, and the shift of a star's velocity
SPREAD = np.array([100.0, 0.2, 0.1, 0.05])  # K, dex: what counts as alike


@dataclass
class Traces:
    """Traces at rest, their source and exposure (N,) str, their velocities, and what ``prepare`` rejects of them."""

    prepared: object
    velocity: object
    source: np.ndarray
    exposure: np.ndarray
    rejected: dict

    @property
    def reliable(self):
        """Whether the velocity of each was measured (N,)."""
        return np.asarray(self.velocity["reliable"], bool)

    @property
    def title(self):
        """Source, exposure and a letter where there are several traces (N,) str."""
        return titles(self.source, self.exposure)

    def best(self, source):
        """Row of the trace with the highest S/N in each exposure of a source."""
        rows = [np.flatnonzero((self.source == source) & (self.exposure == one)) for one in np.unique(self.exposure)]
        return [int(r[np.argmax(self.prepared.snr[r])]) for r in rows if len(r)]


def titles(source, exposure):
    """``12, exposure 1, trace b``; the letter only where an exposure has several traces."""
    keys = list(zip(source.tolist(), exposure.tolist(), strict=True))
    out = []
    for i, key in enumerate(keys):
        letter = f", trace {'abc'[keys[:i].count(key)]}" if keys.count(key) > 1 else ""
        out.append(f"{key[0]}, exposure {key[1]}{letter}")
    return np.array(out)


def read_traces(shared, whole=False):
    """All traces, at rest by their own velocity where it is reliable, and by the cluster's where it is not.

    Wavelengths that the synthetic grid lacks are masked before the continuum is fitted, so that it is fitted to the
    same stretches as that of mock spectra, and an encoder of mock spectra gets no pixel that it never saw; ``whole``
    leaves them.
    """
    nirspec = sa.get_instrument("nirspec")
    paths = sorted((shared / "data" / "spectra" / "nirspec").glob("spec1d_jw02609*.fits"))
    rows = [(one, path.stem) for path in paths for one in nirspec.read(path)]
    spectra = [one for one, _ in rows] if whole else [cut(one, shared) for one, _ in rows]
    templates = grid_templates(nirspec, shared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableVelocityWarning)
        table = measured(nirspec, spectra, templates)
        strict = nirspec.prepare(spectra, radial_velocity=MeasuredVelocity(templates))
    used = np.where(table["reliable"], table["velocity"].value, CLUSTER)
    prepared = nirspec.prepare(spectra, radial_velocity=used * KM_S)
    if len(prepared) != len(spectra):  # the columns beside it would be of other rows
        raise ValueError(f"expected {len(spectra)} prepared traces, got {len(prepared)}: {list(prepared.rejected)}")
    source = np.array([stem.rpartition("_")[2] for _, stem in rows])
    exposure = np.array([str(int(stem.split("_")[3]) - 1) for _, stem in rows])
    return Traces(prepared, table, source, exposure, rejections(strict, len(spectra)))


def cut(spectrum, shared):
    """The spectrum with the wavelengths masked that the synthetic grid lacks."""
    with np.load(shared / "data" / "emulators" / "nirspec_grid.npz") as grid:
        known = grid["wave_vac"]
    wavelength = spectrum.spectral_axis.to_value(u.AA)
    spectrum.mask = spectrum.mask | ~covered(wavelength, known)
    return spectrum


def covered(wavelength, known):
    """Whether some equally spaced wavelengths, of which stretches are missing, reach `EDGE` to both sides (N,)."""
    step, inside = np.diff(known).min(), np.ones(len(wavelength), bool)
    for shifted in (wavelength - EDGE, wavelength, wavelength + EDGE):
        place = np.clip(np.searchsorted(known, shifted), 1, len(known) - 1)
        inside &= np.minimum(np.abs(shifted - known[place - 1]), np.abs(known[place] - shifted)) <= step
    return inside


def grid_templates(nirspec, shared):
    """The synthetic grid at rest."""
    with np.load(shared / "data" / "emulators" / "nirspec_grid.npz") as grid:
        axis, flux = grid["wave_vac"] * u.AA, grid["flux"]
    return nirspec.prepare_arrays(flux, spectral_axis=axis, object_id=np.arange(len(flux)).astype(str))


def measured(nirspec, spectra, templates):
    """Velocities of spectra that were prepared as they were observed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VelocityWarning)
        unknown = np.full(len(spectra), np.nan) * KM_S
        moving = nirspec.prepare(spectra, frame="barycentric", radial_velocity=unknown)
    return radial_velocity(moving, templates)


def rejections(prepared, n_in):
    """How many traces came in, out, and were rejected for which reason, where the velocity must be measured."""
    reasons = {str(row["spectrum_id"]): str(row["reason"]) for row in prepared.rejected}
    return {"in": n_in, "out": len(prepared), "rejected": len(reasons), "reasons": reasons}


def apogee_labels(shared):
    """APOGEE's labels (L,) without units, by source, with velocity and S/N."""
    table = Table.read(shared / "data" / "spectra" / "nirspec" / "m71_labels.csv", format="ascii.csv")
    return {
        str(row["source_id"]): {name: float(row[column]) for name, column in CATALOGUE.items()}
        | {"velocity": float(row["vhelio_avg"]), "snr": float(row["snr"])}
        for row in table
    }


def survey_values(known):
    """Labels (N, 6) as the mock survey's script wants them, from dicts of labels."""
    rows = [[one[name] for name in NAMES] + [BROADENING, EXTINCTION] for one in known]
    return np.array(rows, dtype=float)


def outside_emulators(script, values):
    """Labels of each star (N, list of str) that lie outside of what the APOGEE emulator or the NIRSpec grid saw."""
    net, grid = script._load("apogee_payne.npz"), script._load("nirspec_grid.npz")
    low = np.maximum(net["x_min"][:4], grid["labels"][:, :4].min(axis=0))
    high = np.minimum(net["x_max"][:4], grid["labels"][:, :4].max(axis=0))
    beyond = (values[:, :4] < low) | (values[:, :4] > high)
    return [[name for name, out in zip(NAMES, row, strict=True) if out] for row in beyond]


def drawn(survey, name, values, object_id, stream, snr=None):
    """Mock observations of stars of given labels, prepared as the traces are."""
    mock = survey.mock
    rng = np.random.default_rng([mock.seed, 71, stream])
    seen = mock.script.observe(name, values, rng, snr=snr)
    return prepared_rows(mock, name, seen, object_id, stream)


def prepared_rows(mock, name, seen, object_id, stream):
    """Prepared spectra of an observation; the stream is part of their names."""
    plugin, options = mock.settings[name]
    return sa.get_instrument(plugin, **options).prepare_arrays(
        seen["flux"],
        seen["ivar"],
        seen["mask"],
        spectral_axis=seen["wavelength"] * u.AA,
        object_id=np.asarray(object_id, str),
        spectrum_id=[f"{star}/{name}/{stream}" for star in object_id],
    )


def noiseless(survey, name, values, object_id):
    """Model spectra of given labels, without noise and gaps, prepared as the traces are."""
    model = survey.mock.script.model(name)
    flux = survey.mock.script.spectrum(name, values)
    bad = ~np.isfinite(flux)
    seen = {"flux": np.where(bad, 1, flux), "ivar": np.where(bad, 0, 1e8), "mask": bad}
    return prepared_rows(survey.mock, name, seen | {"wavelength": model.wavelength}, object_id, "model")


def twins(survey, traces, known):
    """Emulated APOGEE spectra of the labelled sources: each named as its traces are."""
    sources = [name for name in known if name in traces.source]
    values = survey_values([known[name] for name in sources])
    snr = np.minimum([known[name]["snr"] for name in sources], HIGHEST_SNR)
    names = [str(traces.prepared.object_id[traces.source == name][0]) for name in sources]
    return drawn(survey, "apogee", values, names, 1, snr)


def giants(values):
    """Whether mock stars (N, 6) are giants somewhat like M71's (N,)."""
    teff, logg, metallicity = values[:, :3].T
    return (teff < 5300) & (logg < 3.3) & (metallicity < -0.4)
