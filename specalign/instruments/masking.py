"""Every rule that makes a pixel bad, on the detector's own grid, and one version number for all of them.

A rule sets a named bit; the mask is True where a bit of ``bad_bits`` is set.  A pixel that is already bad is not
looked at again, so that what it holds cannot influence anything.

>>> from specalign.instruments.masking import ALWAYS_BAD, MASK_VERSION
>>> "NONFINITE" in ALWAYS_BAD, "PARTIAL" in ALWAYS_BAD, MASK_VERSION
(True, False, '1')
"""

from dataclasses import dataclass

import numpy as np

from specalign.display import Displayed
from specalign.io.quality import COMMON_BITS, bit_value

__all__ = ["ALWAYS_BAD", "MASK_VERSION", "DetectorGap", "MaskRules", "Window", "flag_pixels"]

# Raise it whenever a rule changes which pixels are bad: it travels with arrays, weights and embeddings.
MASK_VERSION = "1"

ALWAYS_BAD = ("NONFINITE", "NO_IVAR", "MASKED", "UNCOVERED", "EDGE", "TELLURIC", "NORMALIZATION")


@dataclass(frozen=True)
class Window(Displayed):
    """A range of observed vacuum wavelengths, in Angstrom, that the Earth's air spoils.

    Examples
    --------
    >>> from specalign.instruments.masking import Window
    >>> Window(7594.0, 7700.0, "O2 A band")
    Window(lower=7594.0, upper=7700.0, reason='O2 A band')
    """

    lower: float
    upper: float
    reason: str


@dataclass(frozen=True)
class DetectorGap(Displayed):
    """A hole between detectors, which begins between two wavelengths, wherever the light of a source falls.

    Parameters
    ----------
    first, last : float
        Least and greatest wavelength at which it begins, observed vacuum Angstrom; equal where it does not move.
    width : float
        Angstrom.
    bits : tuple of str
        The flags that the survey gives such pixels.

    Examples
    --------
    >>> from specalign.instruments.masking import DetectorGap
    >>> DetectorGap(first=13000.0, last=13200.0, width=150.0, bits=("NO_IVAR",)).width
    150.0
    """

    first: float
    last: float
    width: float
    bits: tuple


@dataclass(frozen=True)
class MaskRules(Displayed):
    """The rules of one instrument.

    Parameters
    ----------
    bad_bits : int
        A pixel with one of them is masked.
    edge_pixels : int
        Pixels flagged at each end of a covered stretch.
    edge_run : int
        Number of bad pixels in a row that ends a stretch.
    windows : tuple of Window
    zero_is_missing : bool
        A flux of exactly 0 is how the survey writes that there is none.

    Examples
    --------
    >>> from specalign.instruments.masking import MaskRules
    >>> rules = MaskRules.from_names({"COSMIC": 0, "WARM": 1}, ["COSMIC"], edge_pixels=3)
    >>> bool(rules.bad_bits & 1), bool(rules.bad_bits & 2)
    (True, False)
    """

    bad_bits: int
    edge_pixels: int = 0
    edge_run: int = 50
    windows: tuple = ()
    zero_is_missing: bool = False

    @classmethod
    def from_names(cls, quality_bits, bad_names, **rules):
        """Rules whose bad bits are the common ones and those of the instrument's names that exist."""
        names = [*ALWAYS_BAD, *(name for name in bad_names if name in quality_bits)]
        return cls(int(bit_value({**COMMON_BITS, **quality_bits}, *names)), **rules)


def flag_pixels(flux, ivar, mask, quality, *, rules, axis, breaks, factor):
    """Set the bits of bad pixels in place.

    Parameters
    ----------
    flux, ivar : (N, P) float64
    mask : (N, P) bool
    quality : (N, P) uint32
        Changed in place.
    rules : MaskRules
    axis : (P,) float64
        Wavelengths as they are in the file.
    breaks : (P + 1,) bool
        See `specalign.instruments.resampling.PixelEdges`.
    factor : (N,) float64
        Observed over file wavelength; moves the windows into the frame of the file.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.masking import MaskRules, Window, flag_pixels
    >>> from specalign.instruments.resampling import pixel_edges
    >>> from specalign.io.quality import COMMON_BITS, decode
    >>> axis, flux, ivar = np.array([7000.0, 7100.0, 7200.0]), np.array([[np.nan, 1.0, 1.0]]), np.ones((1, 3))
    >>> quality, rules = np.zeros((1, 3), np.uint32), MaskRules.from_names({}, [], windows=(Window(7165, 7340, "H2O"),))
    >>> facts = {"rules": rules, "axis": axis, "breaks": pixel_edges(axis).breaks, "factor": np.ones(1)}
    >>> flag_pixels(flux, ivar, np.zeros((1, 3), bool), quality, **facts)
    >>> [decode(value, COMMON_BITS) for value in quality[0]]
    [['NONFINITE'], [], ['TELLURIC']]
    """
    from specalign.instruments import _kernels

    bad_bits = np.uint32(rules.bad_bits)
    _kernels.flag(flux, ivar, mask, quality, bad_bits, rules.zero_is_missing)
    if rules.edge_pixels:
        _kernels.flag_edges(quality, bad_bits, breaks, rules.edge_pixels, rules.edge_run)
    _flag_windows(quality, rules.windows, axis, factor)


def _flag_windows(quality, windows, axis, factor):
    bit = bit_value(COMMON_BITS, "TELLURIC")
    for window in windows:
        starts = np.searchsorted(axis, window.lower / factor)
        stops = np.searchsorted(axis, window.upper / factor, side="right")
        for row, start, stop in zip(quality, starts, stops, strict=True):
            row[start:stop] |= bit
