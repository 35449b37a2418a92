"""An instrument that the package has never met, as somebody else's plugin, and what the defaults reach with it.

It is what APOGEE's emulator gives at a quarter of the resolving power, on linear pixels of its own. The plugin is
offered by a distribution in a temporary folder, as any other one, and is asked for by name.
"""

import contextlib
import importlib
import sys
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
from accuracy_pairs import TRAININGS, limits
from accuracy_space import study_space
from bench_results import plain
from scipy.sparse import csr_matrix

from specalign.instruments.base import Instrument
from specalign.instruments.continuum import Continuum, segments_of

NAME = "outsider"
PARTNER = "lamost_lrs"
AXIS = np.arange(15220.0, 16900.0, 0.85)  # Angstrom
RESOLVING_POWER = 5600.0
MODEL_RESOLVING_POWER = 22500.0
FWHM = 2.3548  # of a Gaussian of unit standard deviation
SNR = (20, 200)
VELOCITY_ERROR = 3.0  # km/s


class Outsider(Instrument):
    """A spectrograph of the H band; its arrays come from the survey, and it has no files."""

    name = NAME
    reader = "specalign.io.apogee"
    version = "1"
    citation = "Majewski et al. 2017, AJ 154, 94, doi:10.3847/1538-3881/aa784d"
    edge_pixels = 3

    def __init__(self):
        super().__init__(
            AXIS * u.AA,
            lsf_sigma=AXIS / RESOLVING_POWER / FWHM * u.AA,
            normalization=Continuum(segments_of(AXIS), degree=4),
            options={},
        )


class Emulator:
    """The script's APOGEE emulator, at the plugin's resolution and pixels; NaN where that knows nothing."""

    def __init__(self, apogee):
        self.apogee, self.wavelength = apogee, AXIS
        self.weights = smoothing(apogee.wavelength, AXIS)

    def __call__(self, labels):
        fine = self.apogee(labels)
        known = np.isfinite(fine[0]).astype(np.float32)
        covered = self.weights @ known
        smooth = (self.weights @ np.nan_to_num(fine).T).T / np.maximum(covered, 1e-3)
        return np.where(covered > 0.95, smooth, np.nan).astype(np.float32)


def smoothing(fine, coarse):
    """Weights (Q, P) that take the emulator's pixels to the plugin's."""
    sigma = coarse / FWHM * np.sqrt(RESOLVING_POWER**-2 - MODEL_RESOLVING_POWER**-2)
    first, last = np.searchsorted(fine, coarse - 4 * sigma), np.searchsorted(fine, coarse + 4 * sigma)
    row = np.repeat(np.arange(len(coarse)), last - first)
    column = np.concatenate([np.arange(*ends) for ends in zip(first, last, strict=True)])
    value = np.exp(-0.5 * ((fine[column] - coarse[row]) / sigma[row]) ** 2)
    weights = csr_matrix((value, (row, column)), shape=(len(coarse), len(fine)))
    return csr_matrix(weights / weights.sum(axis=1)).astype(np.float32)


@contextlib.contextmanager
def offered():
    """Have a distribution in a temporary folder offer the plugin."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / f"{NAME}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "entry_points.txt").write_text(f"[specalign.instruments]\n{NAME} = {__name__}:Outsider\n")
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(folder)


def add_to(mock):
    """Let the mock survey observe with the instrument, whose model knows the labels of APOGEE's."""
    script = mock.script
    if NAME not in script.INSTRUMENTS:
        script.INSTRUMENTS = (*script.INSTRUMENTS, NAME)
    script._MODELS[NAME] = lambda: Emulator(script.model("apogee"))
    script.SNR[NAME], script.VELOCITY_ERROR[NAME] = SNR, VELOCITY_ERROR
    mock.settings[NAME] = NAME, {}
    mock.known_labels[NAME] = mock.known_labels["apogee"]


def instrument_row(survey):
    """The pair with LAMOST, beside its bound and oracle; the flux comes divided by the true continuum."""
    add_to(survey.mock)
    names = (NAME, PARTNER)
    with offered():
        seen = {survey.plugin(name): survey.seen(name, given=name == NAME) for name in names}
    train, test = ({key: getattr(one, part) for key, one in seen.items()} for part in ("train", "test"))
    result = limits(survey, seen, test) | {"n_train": len(train[NAME]), "n_test": len(test[NAME])}
    for kind, use_labels in TRAININGS.items():
        result[kind] = study_space(train, test, survey.labels(names), survey.known(names), survey.seed, use_labels)
    return plain(result)
