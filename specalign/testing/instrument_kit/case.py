"""What the checks of an instrument look at, and how they compare."""

import functools
import shutil
import tempfile
import weakref
from pathlib import Path

import astropy.units as u
import numpy as np

from specalign.exceptions import PluginError
from specalign.instruments import get_instrument
from specalign.instruments.axes import spectrum_axis
from specalign.instruments.contract import check_contract
from specalign.testing.contract import fail, skip

__all__ = ["ARRAYS", "InstrumentCase", "compare"]

ARRAYS = ("flux", "ivar", "mask", "quality", "norm")
N_EXAMPLES = 4
LEVEL, ERROR = 100.0, 1.0  # of rows that are drawn


class InstrumentCase:
    """One instrument with examples of its spectra and of a file, each made once.

    Parameters
    ----------
    target : str, class or Instrument
        A plugin's name, a class that needs no argument, or an instance.
    seed : int
    """

    def __init__(self, target, seed):
        self.seed = seed
        self.instrument = _instance(target)

    @functools.cached_property
    def folder(self):
        """A folder that is there as long as the checks run."""
        path = Path(tempfile.mkdtemp(prefix="specalign-check-"))
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return path

    @functools.cached_property
    def _state(self):
        """Why arrays cannot be checked, or nothing."""
        try:
            check_contract(self.instrument)
        except PluginError as error:
            return f"{error}; the checks of its facts say more"
        return ""

    @property
    def sound(self):
        """The instrument, if it offers what every check below needs; otherwise the check is skipped."""
        if self._state:
            skip(self._state)
        return self.instrument

    @property
    def has_wavelengths(self):
        """Whether the axis of the grid is one of wavelengths."""
        return self.sound.axis_kind == "wavelength"

    def need_wavelengths(self, what):
        """Skip the check where the grid has none."""
        if not self.has_wavelengths:
            skip(f"an axis of kind {self.instrument.axis_kind} has no {what}")

    @functools.cached_property
    def _examples(self):
        try:
            spectra = list(self.sound.make_example(np.random.default_rng([self.seed, 1]), N_EXAMPLES))
            return spectra, self.instrument.prepare(spectra)
        except Exception as error:
            return None, error

    @property
    def examples(self):
        """A few spectra of ``make_example``; the check is skipped where that does not work."""
        spectra, found = self._examples
        if spectra is None:
            skip(f"make_example gives nothing that can be prepared ({type(found).__name__}); see makes_examples")
        return spectra

    @property
    def prepared(self):
        """The examples, prepared."""
        self.examples  # noqa: B018  (skips)
        return self._examples[1]

    @functools.cached_property
    def _file(self):
        try:
            path = Path(self.sound.write_example(self.folder / "example", np.random.default_rng([self.seed, 2])))
            return path, list(self.instrument.read(path))
        except Exception as error:
            return None, error

    @property
    def file(self):
        """The path of a file of ``write_example``, which is read; the check is skipped where that does not work."""
        path, found = self._file
        if path is None:
            skip(f"write_example gives nothing that can be read ({type(found).__name__}); see reads_its_own_file")
        return path

    @property
    def read(self):
        """The spectra of that file."""
        self.file  # noqa: B018  (skips)
        return self._file[1]

    @functools.cached_property
    def clear(self):
        """First and one past the last pixel of the longest stretch that is good where nothing is wrong."""
        good = ~self.prepare(*self.draw(np.random.default_rng(self.seed), 1)).mask[0]
        ends = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
        starts, stops = ends[::2], ends[1::2]
        longest = int(np.argmax(stops - starts))
        return int(starts[longest]), int(stops[longest])

    @property
    def input_axis(self):
        """The axis of spectra on the instrument's own grid."""
        return spectrum_axis(self.sound.spectral_axis)

    def draw(self, rng, n):
        """Flux and inverse variance (n, P) of rows on the instrument's own grid, without a bad pixel."""
        if not self.has_wavelengths:
            example = self.examples[0]
            flux, ivar = np.asarray(example.flux.value, float), np.asarray(example.uncertainty.array, float)
            return flux * rng.uniform(1, 2, (n, 1)), np.repeat(ivar[None], n, axis=0)
        x = np.linspace(-1, 1, self.sound.n_pixels)
        flux = LEVEL * (1 + 0.3 * x) * (1 - 0.2 * rng.random((n, x.size)) ** 4)
        return flux + ERROR * rng.standard_normal(flux.shape), np.full(flux.shape, ERROR**-2.0)

    def prepare(self, flux, ivar=None, mask=None, **facts):
        """Rows through ``prepare_arrays``, on the instrument's own grid and at rest unless something else is said."""
        facts = {"spectral_axis": self.sound.spectral_axis, "object_id": names(len(flux))} | facts
        return self.instrument.prepare_arrays(flux, ivar, mask, **facts)

    def other_axis(self, step, margin=0.0):
        """Wavelengths (Q,) Angstrom over the whole grid, ``step`` of its pixels apart and not in step with them."""
        axis = self.sound.spectral_axis.value
        position = np.arange(-0.31 - margin, axis.size - 1 + margin + step, step)
        index = np.arange(axis.size, dtype=float)
        inside = np.interp(position, index, axis)
        below, above = axis[1] - axis[0], axis[-1] - axis[-2]
        inside += np.minimum(position, 0) * below + np.maximum(position - index[-1], 0) * above
        return inside


def _instance(target):
    if isinstance(target, str):
        return get_instrument(target)
    return target() if isinstance(target, type) else target


def names(n):
    """Names of n stars."""
    return [f"star-{i}" for i in range(n)]


def compare(one, two, what, arrays=ARRAYS):
    """Fail unless two `PreparedSpectra` are the same, bitwise, in arrays and identity."""
    if one.spectrum_id.tolist() != two.spectrum_id.tolist():
        fail(f"{what}: expected the rows {one.spectrum_id.tolist()}, got {two.spectrum_id.tolist()}")
    for name in arrays:
        mine, other = getattr(one, name), getattr(two, name)
        if mine.shape != other.shape or mine.dtype != other.dtype:
            fail(f"{what}: {name} is {mine.dtype} {mine.shape} once and {other.dtype} {other.shape} then")
        differs = np.argwhere(mine.view(_WORDS[mine.dtype.itemsize]) != other.view(_WORDS[other.dtype.itemsize]))
        if len(differs):
            row, pixel = differs[0]
            fail(
                f"{what}: {name} of {one.object_id[row]!r} differs in {np.count_nonzero(differs[:, 0] == row)} pixels, "
                f"first at {pixel}: {mine[row, pixel]!r} and {other[row, pixel]!r}"
            )


_WORDS = {1: np.uint8, 4: np.uint32, 8: np.uint64}


def close(one, two, what, arrays, rtol=1e-5):
    """Fail unless arrays of two `PreparedSpectra` agree to a relative precision (of the level of the row)."""
    for name in arrays:
        mine, other = (np.asarray(getattr(p, name), float) for p in (one, two))
        if mine.shape != other.shape:
            fail(f"{what}: expected {name} of shape {mine.shape}, got {other.shape}")
        level = np.abs(mine).max(initial=0)
        far = np.argwhere(~(np.abs(mine - other) <= rtol * np.maximum(np.abs(mine), 1e-3 * level)))
        if len(far):
            row, pixel = far[0]
            fail(f"{what}: {name} of row {row} is {mine[row, pixel]:.7g} and {other[row, pixel]:.7g} at pixel {pixel}")


def as_spectrum(axis, flux, ivar=None, mask=None, **meta):
    """A `specutils.Spectrum` with the facts that preparing needs."""
    from astropy.nddata import InverseVariance
    from specutils import Spectrum

    facts = {"object_id": "star", "frame": "rest", "medium": "vacuum"} | meta
    uncertainty = None if ivar is None else InverseVariance(ivar)
    return Spectrum(flux * u.dimensionless_unscaled, axis, uncertainty=uncertainty, mask=mask, meta=facts)
