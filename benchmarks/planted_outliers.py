"""Unusual spectra in the arrays of the mock survey: five kinds, each at a stated share of the stars.

Every function changes ``seen``, what ``mock_survey.observe`` gives of one instrument, in place. What belongs to the
star follows from the star's generator, and so is the same in all instruments; noise is drawn for each of them.
"""

import numpy as np
from survey_data import SPEED_OF_LIGHT, MockSurvey

KINDS = ("white-dwarf", "binary", "emission", "wrong-pair", "fault")
NORMAL = "normal"
SHARE = 0.01
TEST_SHARE = 0.05  # of the test stars, which are weighted to `SHARE`: so few stars would decide a figure otherwise

RYDBERG = 911.763  # Angstrom, of hydrogen in vacuum
SERIES = {2: 12, 3: 14, 4: 22}  # Balmer, Paschen, Brackett: the highest upper level
RESOLVING_POWER = {"apogee": 22500.0, "nirspec": 2700.0, "lamost_lrs": 1800.0, "gaia_xp": 60.0}
FWHM = 2.3548  # of a Gaussian of unit standard deviation
CONTINUUM = ("lamost_lrs", "gaia_xp")  # whose survey keeps the shape of the continuum


def hydrogen_lines(low, high):
    """Vacuum wavelengths (Angstrom) between two others, and how many levels each line climbs."""
    lines = [(RYDBERG / (n**-2 - m**-2), m - n) for n, last in SERIES.items() for m in range(n + 1, last + 1)]
    return np.array([line for line in lines if low < line[0] < high]).reshape(-1, 2).T


def line_profiles(wavelength, sigma, name):
    """Gaussians (L, P) of a unit height that the instrument lowers and widens, and how many levels they climb (L,)."""
    centre, climbed = hydrogen_lines(wavelength[0], wavelength[-1])
    intrinsic = sigma(centre)
    width = np.hypot(intrinsic, centre / RESOLVING_POWER[name] / FWHM)
    shape = np.exp(-0.5 * ((wavelength - centre[:, None]) / width[:, None]) ** 2)
    return shape * (intrinsic / width)[:, None], climbed


def noisy(script, name, seen, rows, clean, rng):
    """Put noiseless spectra into rows, with the noise that their errors state; bad pixels keep their rubbish."""
    if name == "lamost_lrs":
        factors = script.CALIBRATION_ERROR * rng.normal(size=(len(rows), 3)) @ script._calibration(clean.shape[1])
        clean = clean * (1 + factors)
    if name == "gaia_xp":
        error, basis = seen["coefficient_error"][rows], script._load("gaia_xp_noise.npz")["sampling"]
        noise = (error * rng.normal(size=error.shape)) @ basis + script.XP_FLOOR * rng.normal(size=clean.shape)
    else:
        good = seen["ivar"][rows] > 0
        noise = rng.normal(size=clean.shape) / np.sqrt(np.where(good, seen["ivar"][rows], 1))
    _replace(seen, rows, clean + noise)


def _replace(seen, rows, flux):
    seen["flux"][rows] = np.where(seen["mask"][rows], seen["flux"][rows], flux).astype(np.float32)


def white_dwarf(script, name, seen, values, rows, star, rng):
    """A hot black body with broad hydrogen lines; where the survey's continuum is divided out, the lines alone."""
    wavelength = seen["wavelength"]
    teff, width, depth = (
        star.uniform(1e4, 4e4, len(rows)),
        star.uniform(30, 70, len(rows)),
        star.uniform(0.3, 0.7, len(rows)),
    )
    clean = np.ones((len(rows), len(wavelength)))
    if name in CONTINUUM:
        clean = _planck(wavelength, teff) / _planck(np.array([5500.0]), teff)
        clean = clean / np.median(clean, axis=1, keepdims=True) if name == "lamost_lrs" else clean
    for i in range(len(rows)):
        shapes, climbed = line_profiles(wavelength, lambda centre, w=width[i]: w * (centre / 5000) ** 1.5, name)
        clean[i] *= np.prod(1 - (depth[i] * 0.85 ** (climbed - 1))[:, None] * shapes, axis=0)
    noisy(script, name, seen, rows, clean, rng)


def _planck(wavelength, teff):
    return wavelength**-5.0 / np.expm1(1.4387769e8 / (wavelength * teff[:, None]))


def binary(script, name, seen, values, rows, star, rng):
    """Two summed stars of the survey, each with a velocity of its own."""
    other, ratio = star.integers(len(values), size=len(rows)), star.uniform(0.3, 1, len(rows))[:, None]
    velocity = star.normal(0, 60, (2, len(rows)))
    parts = [np.nan_to_num(script.spectrum(name, values[which]), nan=1.0) for which in (rows, other)]
    first, second = (script._shift(seen["wavelength"], *pair) for pair in zip(parts, velocity, strict=True))
    noisy(script, name, seen, rows, (first + ratio * second) / (1 + ratio), rng)


def emission(script, name, seen, values, rows, star, rng):
    """Hydrogen lines in emission, weaker from line to line of a series, on the spectrum that was seen."""
    strength, speed = 10 ** star.uniform(-0.5, 0.7, len(rows)), star.uniform(50, 250, len(rows))
    for i, row in enumerate(rows):
        shapes, climbed = line_profiles(
            seen["wavelength"], lambda centre, v=speed[i]: centre * v / SPEED_OF_LIGHT, name
        )
        added = (strength[i] * 0.4 ** (climbed - 1)) @ shapes
        _replace(seen, [row], seen["flux"][[row]] * (1 + added))


def wrong_pair(script, name, seen, values, rows, star, rng):
    """The spectra of other planted stars under these names; one instrument alone is given this."""
    others = np.roll(rows, 1)
    for key in seen.keys() - {"wavelength"}:
        seen[key][rows] = seen[key][others].copy()


def fault(script, name, seen, values, rows, star, rng):
    """A stitched step, a dead amplifier, a wrong zero of the wavelengths, or scattered light."""
    for row in rows:
        good = ~seen["mask"][row]
        _replace(seen, [row], FAULTS[rng.integers(len(FAULTS))](seen["flux"][row], seen["ivar"][row], good, rng)[None])


def _step(flux, ivar, good, rng):
    at = int(rng.uniform(0.2, 0.8) * len(flux))
    return flux * np.where(np.arange(len(flux)) >= at, 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.3), 1)


def _dead(flux, ivar, good, rng):
    width = int(len(flux) * rng.uniform(0.08, 0.25))
    start = rng.integers(len(flux) - width)
    dead = flux.copy()
    dead[start : start + width] = rng.normal(size=width) / np.sqrt(np.maximum(ivar[start : start + width], 1e-6))
    return dead


def _wrong_zero(flux, ivar, good, rng):
    """By three to ten pixels; what lay under a mask must not come out of it."""
    pixel = np.arange(len(flux))
    filled = np.interp(pixel, pixel[good], flux[good])
    return np.roll(filled, int(rng.choice([-1, 1]) * rng.integers(3, 11)))


def _scattered(flux, ivar, good, rng):
    slope = np.linspace(-1, 1, len(flux)) * rng.uniform(-0.5, 0.5)
    return flux + rng.uniform(0.1, 0.4) * np.median(flux[good]) * (1 + slope)


FAULTS = (_step, _dead, _wrong_zero, _scattered)
PLANT = dict(zip(KINDS, (white_dwarf, binary, emission, wrong_pair, fault), strict=True))


def draw_kinds(n_train, n_held, n_test, rng):
    """Kind of each star: planted ones among those that are trained on and tested, none among those held out between."""
    kinds = np.full(n_train + n_held + n_test, NORMAL, dtype="<U12")
    for first, n, share in ((0, n_train, SHARE), (n_train + n_held, n_test, TEST_SHARE)):
        each = max(2, round(share * n))
        chosen = first + rng.permutation(n)[: each * len(KINDS)]
        kinds[chosen] = np.resize(np.repeat(KINDS, each), len(chosen))
    return kinds


class PlantedSurvey(MockSurvey):
    """The mock survey with outliers.

    Parameters
    ----------
    shared : pathlib.Path
    n_stars, seed : int
    n_held, n_test : int
        The last stars; those held out before them are normal.
    instruments : tuple of str
        Wrong pairs are planted in the second one, faults of a star in one of them.
    """

    def __init__(self, shared, n_stars, seed, n_held, n_test, instruments):
        super().__init__(shared, n_stars, seed, n_test)
        self.instruments = instruments
        self.kinds = draw_kinds(n_stars - n_held - n_test, n_held, n_test, np.random.default_rng([seed, 77]))
        self.faulty = np.random.default_rng([seed, 78]).integers(len(instruments), size=n_stars)

    def observe(self, name):
        """What one instrument saw, with the outliers."""
        if name not in self._seen:
            seen = super().observe(name)
            for number, kind in enumerate(KINDS):
                if len(rows := self._rows(kind, name)):
                    star = np.random.default_rng([self.seed, 79, number])
                    rng = np.random.default_rng([self.seed, 80, number, self.instruments.index(name)])
                    PLANT[kind](self.script, name, seen, self.values, rows, star, rng)
        return self._seen[name]

    def _rows(self, kind, name):
        here = self.kinds == kind
        if kind == "wrong-pair" and name != self.instruments[1]:
            return np.empty(0, np.int64)
        if kind == "fault":
            here = here & (self.faulty == self.instruments.index(name))
        return np.flatnonzero(here)
