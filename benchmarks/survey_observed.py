"""The mock survey as it is before anybody corrects for velocities, which are labels then, as extinction is.

Each star gets a velocity, drawn from the survey's seed.  Its spectra are shifted before noise is added, in every
instrument, and stay where they are; the survey's small errors of velocities, which correcting leaves, are none then.
"""

import warnings

import astropy.units as u
import numpy as np
from accuracy_survey import Survey
from scipy.interpolate import CubicSpline
from survey_data import UNITS, MockSurvey

import specalign as sa
from specalign.exceptions import UnreliableVelocityWarning, VelocityWarning
from specalign.instruments.resampling import doppler_factor
from specalign.instruments.velocity import radial_velocity

OBSERVED = "-observed"
SPREAD = 100.0  # km/s
STEP = 2.0  # km/s, of the bound's derivatives
N_TEMPLATES = 100
STELLAR = ("teff", "logg", "fe_h")
KNOWN = {"lamost_lrs": (*STELLAR, "radial_velocity"), "gaia_xp": (*STELLAR, "a_v")}
A_V, VELOCITY = 5, 6  # columns of the labels


def moved(wavelength, flux, velocity):
    """Noiseless spectra (N, P) as they are observed: cubic splines, the ends held."""
    rest = np.clip(wavelength / doppler_factor(velocity)[:, None], wavelength[0], wavelength[-1])
    return np.stack([CubicSpline(wavelength, row)(at) for row, at in zip(flux, rest, strict=True)]).astype(np.float32)


class MovingStars(MockSurvey):
    """A `MockSurvey` whose seventh label is the velocity."""

    frame = "barycentric"

    def __init__(self, shared, n_stars, seed, n_test=2000):
        super().__init__(shared, n_stars, seed, n_test)
        velocity = SPREAD * np.random.default_rng([seed, 7]).standard_normal(n_stars)
        self.values = np.column_stack([self.values, velocity])
        self.known_labels = KNOWN
        self.units = {name: UNITS[name] for name in STELLAR} | {"radial_velocity": u.km / u.s, "a_v": u.mag}
        self.places |= {"radial_velocity": VELOCITY, "a_v": A_V}
        self.at_rest = self.script.spectrum
        self._teach(self.script)

    def _teach(self, script):
        """This survey's own copy of the script gets a seventh label, in its spectra and in its bounds."""
        script.LABELS = (*script.LABELS, "radial_velocity")
        script.STEPS, script.PRIOR = np.append(script.STEPS, STEP), np.append(script.PRIOR, SPREAD)
        script.VELOCITY_ERROR = dict.fromkeys(script.VELOCITY_ERROR, 0.0)
        script.spectrum = self._spectrum

    def _spectrum(self, name, labels):
        labels = np.atleast_2d(np.asarray(labels, float))
        return moved(self.script.model(name).wavelength, self.at_rest(name, labels), labels[:, VELOCITY])

    def prepare(self, name, normalized=False):
        """See `MockSurvey.prepare`; spectra stay in the frame of the observation."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VelocityWarning)
            return super().prepare(name, normalized)

    def correlated_velocities(self, name="lamost_lrs"):
        """Table of `radial_velocity` of the test stars, and the true ones in km/s.

        The templates are noise-free spectra of training stars at rest: no real survey has better ones.
        """
        test, seen = slice(-self.n_test, None), self.observe(name)
        chosen = np.linspace(0, len(self.values) - self.n_test - 1, N_TEMPLATES).astype(int)
        instrument = sa.get_instrument(self.settings[name][0], normalization="continuum")
        given = {"spectral_axis": seen["wavelength"] * u.AA}
        clean = self.at_rest(name, self.values[chosen])
        templates = instrument.prepare_arrays(
            clean, np.full(clean.shape, 1e6), object_id=self.object_id[chosen], **given
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VelocityWarning)
            warnings.simplefilter("ignore", UnreliableVelocityWarning)
            rows = (seen[key][test] for key in ("flux", "ivar", "mask"))
            stars = instrument.prepare_arrays(*rows, object_id=self.object_id[test], frame=self.frame, **given)
            return radial_velocity(stars, templates), self.values[test, VELOCITY]


class MovingSurvey(Survey):
    """A `Survey` of `MovingStars`."""

    kind = MovingStars


def velocity_figures(table, true, bound):
    """What cross-correlation makes of the velocities: of all that it measures, and of those that it calls reliable."""
    measured, error = (table[name].to_value(u.km / u.s) for name in ("velocity", "velocity_err"))
    difference, there = measured - true, np.isfinite(measured)
    good = there & np.asarray(table["reliable"])
    return {
        "measured": float(there.mean()),
        "reliable": float(good.mean()),
        "rmse": root_mean_square(difference[there]),
        "rmse, reliable": root_mean_square(difference[good]),
        "scatter": half_range(difference[there]),
        "pull": half_range((difference / error)[good]),
        "error over bound": float(np.median((error / bound)[good])),
        "bound": root_mean_square(bound),
    }


def root_mean_square(values):
    """Of an array."""
    return float(np.sqrt((np.asarray(values) ** 2).mean()))


def half_range(values):
    """Half the range of the middle 68 %."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float((high - low) / 2)
