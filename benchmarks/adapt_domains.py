"""Another domain of an instrument that a space was trained on: what few-shot adaptation is to bridge.

``nirspec``: the mock survey's NIRSpec at a lower resolution, with a gap that is wider and lies elsewhere, and with a
third to a half of the signal to noise; and with another line list, whose lines are deeper or shallower by thirty per
cent, and which has some that the first one lacks.  Its stars are others, and their labels are known.

``lamost``: the real spectra, in a space that was trained on mock ones, see ``accuracy_transfer.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from accuracy_real import HOTTEST, real_stars
from accuracy_survey import test_size
from accuracy_transfer import LONGEST
from scipy.ndimage import gaussian_filter1d
from survey_data import MockSurvey

KEY = "nirspec-elsewhere"  # the survey's name of the other spectrograph
SNR = (15, 100)
VELOCITY_ERROR = 15.0  # km/s
BLUR = 1.5  # pixels: standard deviation of what is added to the line spread
LINE_WIDTH = 4  # pixels over which the depths of lines vary together
DEPTH_ERROR = 0.3
LACKING = 0.01  # depth scale of lines that the first model lacks
GAP = (11500, 14500), 600  # Angstrom: where the middle of the gap is, and half its width
BAD_PIXELS = 0.02
MOST_LABELS = 300


@dataclass
class Domain:
    """Spectra of a domain: some to learn from, in a random order, others to be tested on, and perhaps many more.

    ``more()`` gives spectra and their labels, as many as a space has that knows its domain.
    """

    pair: tuple
    key: str
    names: tuple
    few: object
    test: object
    labels: object
    more: Callable | None = None


class Elsewhere:
    """A model of noiseless spectra with other line depths, more lines, and a lower resolution."""

    def __init__(self, model, seed):
        self.model, self.wavelength = model, model.wavelength
        rng = np.random.default_rng([seed, 9])
        waves = [gaussian_filter1d(rng.normal(size=len(self.wavelength)), LINE_WIDTH) for _ in range(2)]
        depth, lines = (wave / wave.std() for wave in waves)
        self.depth, self.lines = 1 + DEPTH_ERROR * depth, LACKING * np.clip(lines - 1.5, 0, None)

    def __call__(self, labels):
        smooth = gaussian_filter1d(self.model(labels), BLUR, axis=1, mode="nearest")
        return (1 - (1 - smooth) * self.depth - self.lines).astype(np.float32)


def nirspec_domain(survey):
    """Other stars than the survey's, seen elsewhere."""
    n_test = test_size(survey.n_stars)
    mock, few, test = seen_elsewhere(survey, MOST_LABELS + n_test, n_test, 1000)
    names = mock.known_labels[KEY]
    return Domain(("nirspec", "apogee"), "nirspec", names, few, test, mock.labels, lambda: many(survey, n_test))


def many(survey, n_test):
    """As many spectra as the survey trains with, of yet other stars, and their labels."""
    mock, rows, _ = seen_elsewhere(survey, survey.n_stars, n_test, 2000)
    return rows, mock.labels


def seen_elsewhere(survey, n_stars, n_test, shift):
    """A survey of other stars, and its prepared spectra: to learn from, and to be tested on."""
    mock = MockSurvey(survey.shared, n_stars, survey.seed + shift, n_test)
    script = mock.script
    script.INSTRUMENTS = (*script.INSTRUMENTS, KEY)
    script._MODELS[KEY] = lambda: Elsewhere(script.model("nirspec"), survey.seed)
    script.SNR[KEY], script.VELOCITY_ERROR[KEY] = SNR, VELOCITY_ERROR
    mock.settings[KEY], mock.known_labels[KEY] = mock.settings["nirspec"], mock.known_labels["nirspec"]
    hide_gaps(mock.observe(KEY), np.random.default_rng([survey.seed, shift // 100]))
    return mock, *mock.prepare(KEY)


def hide_gaps(seen, rng):
    """Mask a wide gap, the blue end and scattered pixels, in place."""
    wavelength, n = seen["wavelength"], len(seen["flux"])
    (first, last), half = GAP
    bad = np.abs(wavelength - rng.uniform(first, last, n)[:, None]) < half
    bad |= wavelength < rng.uniform(9700, 10500, n)[:, None]
    bad |= rng.random(seen["flux"].shape, dtype=np.float32) < BAD_PIXELS
    seen["mask"] |= bad
    seen["ivar"][bad] = 0


def lamost_domain(survey):
    """A fifth of the real stars is the test; hot ones are learned from, but not tested on."""
    prepared, labels = real_stars(survey, LONGEST)
    order = np.random.default_rng([survey.seed, 11]).permutation(len(prepared))
    n_test = len(prepared) // 5
    test = order[:n_test][labels["teff"].value[order[:n_test]] < HOTTEST]
    few = prepared[order[n_test:]]
    return Domain(("lamost_lrs", "gaia_xp"), "lamost", ("teff", "logg", "fe_h"), few, prepared[test], labels)


DOMAINS = {"nirspec": nirspec_domain, "lamost": lamost_domain}
