"""What a spectrum is divided by: rules that see good pixels only and treat each row alone.

Each rule fills ``norm`` (N, P) and sets NORMALIZATION where it is not positive.

>>> from specalign.instruments.continuum import NORMALIZATION_RULES
>>> NORMALIZATION_RULES
('continuum', 'median', 'pivot', 'none')
"""

from dataclasses import dataclass

import numpy as np

from specalign.display import Displayed
from specalign.exceptions import SpectrumError

__all__ = ["NORMALIZATION_RULES", "Continuum", "MedianFlux", "Pivot", "Unchanged", "fit_continuum", "segments_of"]

NORMALIZATION_RULES = ("continuum", "median", "pivot", "none")


def segments_of(wavelength, *ranges):
    """Index ranges (S, 2) of the pixels within each range of wavelengths; all pixels where there is no range.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.continuum import segments_of
    >>> segments_of(np.array([4000.0, 5000.0, 6000.0, 7000.0]), (3900, 5500), (5500, 7500)).tolist()
    [[0, 2], [2, 4]]
    """
    ranges = ranges or ((-np.inf, np.inf),)
    return np.array([np.searchsorted(wavelength, limits) for limits in ranges], dtype=np.int64)


def fit_continuum(flux, ivar, good, segments, *, degree=4, max_gap=10**9):
    """Chebyshev polynomials along the good pixels of each segment (a chip, an arm).

    The fit is linear in the flux, with weights 1 / (1 / ivar + (0.3 level)^2), and only pixels far above it (cosmic
    rays, sky residuals) and negative ones are left out.  It is a pseudo-continuum that runs through the lines, not
    over them, and for that reason does not sink or rise with the signal to noise, as upper envelopes do.

    Parameters
    ----------
    flux, ivar : (N, P) float64
    good : (N, P) bool
    segments : (S, 2) int
        First and one past the last pixel of each.
    degree : int
        Reduced where a stretch has fewer than 20 good pixels a coefficient.
    max_gap : int
        A segment is fitted in parts where more bad pixels than this follow each other.

    Returns
    -------
    norm : (N, P) float64
        1 where it could not be determined.
    quality : (N, P) uint32
        The NORMALIZATION bit where it could not be determined or is not positive (less than 1 % of the median).

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.continuum import fit_continuum
    >>> slope = 100 + np.arange(200.0)[None]
    >>> norm, quality = fit_continuum(slope, np.ones((1, 200)), np.ones((1, 200), bool), [[0, 200]])
    >>> np.allclose(norm, slope) and not quality.any()
    True
    """
    flux, ivar = (np.array(a, dtype=np.float64, order="C") for a in (flux, ivar))
    good, quality = np.array(good, dtype=bool, order="C"), np.zeros(flux.shape, np.uint32)
    norm = np.empty_like(flux)
    Continuum(np.array(segments, np.int64), degree, max_gap).fill(flux, ivar, good, norm, quality)
    return norm, quality


@dataclass(frozen=True)
class Continuum(Displayed):
    """`fit_continuum` with fixed segments.

    Examples
    --------
    The rule of an instrument with one detector:

    >>> import numpy as np
    >>> from specalign.instruments.continuum import Continuum, segments_of
    >>> wavelength = np.linspace(4000.0, 7000.0, 3000)
    >>> rule = Continuum(segments_of(wavelength), degree=5)
    >>> norm, quality = np.empty((1, 3000)), np.zeros((1, 3000), np.uint32)
    >>> rule.fill(wavelength[None] / 1000, np.ones((1, 3000)), np.ones((1, 3000), bool), norm, quality)
    >>> bool(np.allclose(norm, wavelength / 1000))
    True
    """

    segments: np.ndarray
    degree: int = 4
    max_gap: int = 10**9
    per_pixel = True
    words = (
        "Flux is divided by Chebyshev polynomials of this degree, fitted to the good pixels of each segment (first "
        "pixel, one past the last) with weights 1 / (1 / ivar + (0.3 level)^2); pixels far above the fit and negative "
        "ones are left out."
    )

    def fill(self, flux, ivar, good, norm, quality):
        from specalign.instruments import _kernels

        _kernels.continuum_norm(flux, ivar, good, self.segments, self.degree, self.max_gap, norm, quality)


@dataclass(frozen=True)
class MedianFlux(Displayed):
    """The median of the good pixels: the shape of the continuum is kept.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.continuum import MedianFlux
    >>> norm, quality = np.empty((1, 1)), np.zeros((1, 3), np.uint32)
    >>> MedianFlux().fill(np.array([[1.0, 2.0, 9.0]]), np.ones((1, 3)), np.ones((1, 3), bool), norm, quality)
    >>> norm.tolist()
    [[2.0]]
    """

    per_pixel = False
    words = "Flux is divided by the median of the good pixels of its spectrum."

    def fill(self, flux, ivar, good, norm, quality):
        from specalign.instruments import _kernels

        _kernels.median_norm(flux, good, norm, quality)


@dataclass(frozen=True)
class Pivot(Displayed):
    """The flux in one pixel, which must be good and positive.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.continuum import Pivot
    >>> norm, quality = np.empty((1, 1)), np.zeros((1, 3), np.uint32)
    >>> Pivot(1).fill(np.array([[1.0, 2.0, 9.0]]), np.ones((1, 3)), np.ones((1, 3), bool), norm, quality)
    >>> norm.tolist()
    [[2.0]]
    """

    pixel: int
    per_pixel = False
    words = "Flux is divided by the flux in this pixel of the grid (from 0), which must be good and positive."

    def fill(self, flux, ivar, good, norm, quality):
        from specalign.instruments import _kernels

        _kernels.pivot_norm(flux, good, self.pixel, norm, quality)


@dataclass(frozen=True)
class Unchanged(Displayed):
    """Nothing is divided out.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.instruments.continuum import Unchanged
    >>> norm = np.empty((1, 1))
    >>> Unchanged().fill(None, None, None, norm, None)
    >>> norm.tolist()
    [[1.0]]
    """

    per_pixel = False
    words = "Flux is left as it is."

    def fill(self, flux, ivar, good, norm, quality):
        norm[:] = 1.0


def check_rule(rule, allowed):
    """Refuse a normalisation that an instrument does not offer."""
    if rule not in allowed:
        raise SpectrumError(f"normalization: expected one of {', '.join(allowed)}, got {rule!r}")
    return rule
