"""Grids in log wavelength, templates on them, and the search for the highest peak by Fourier transforms."""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.interpolate import make_interp_spline
from scipy.ndimage import binary_erosion, spline_filter1d
from scipy.sparse import csr_array

from specalign.exceptions import SpectrumError
from specalign.instruments.resampling import pixel_edges

__all__ = ["LogGrid", "Search", "TemplateRows"]

_LEAST_COVERED = 0.3  # of the weight of a spectrum, for a shift to be looked at
_DEGREE = 7  # of the spline that brings templates to finer steps: a cubic one is off by more than the noise at S/N 200
_FINER = 3  # steps a pixel of the template, between which a cubic spline is exact enough
_MARGIN = 2  # pixels beside a hole of the templates, where the spline is not good
_UNEVEN = 0.01  # of a pixel, by which an axis may leave equal steps


@dataclass(frozen=True)
class LogGrid:
    """Equal steps in log wavelength: the first value, the step, and the number of pixels."""

    first: float
    step: float
    size: int

    @classmethod
    def of(cls, wavelength, step=None):
        """The grid of an axis: the axis itself where its steps are equal, else one with the step given or the median.

        Parameters
        ----------
        wavelength : (P,) float64
            Increasing.
        step : float, optional
        """
        position = np.log(wavelength)
        even = (position[-1] - position[0]) / (len(position) - 1)
        if np.abs(position - position[0] - even * np.arange(len(position))).max() < _UNEVEN * even:
            return cls(position[0], even, len(position))
        step = float(np.median(np.diff(position))) if step is None else step
        return cls(position[0], step, int(np.ceil((position[-1] - position[0]) / step)) + 1)

    def position(self, wavelength):
        """Wavelengths in pixels of the grid, from 0."""
        return (np.log(wavelength) - self.first) / self.step

    def extended(self, pixels):
        """The grid with more pixels on both sides."""
        return LogGrid(self.first - pixels * self.step, self.step, self.size + 2 * pixels)

    @property
    def wavelength(self):
        """Wavelengths (size,) of the grid."""
        return np.exp(self.first + self.step * np.arange(self.size))


class TemplateRows:
    """Templates of one axis, with zero mean and unit variance where they are covered.

    Parameters
    ----------
    flux : (T, Q) float64
    covered : (Q,) bool
        False where they have no values.
    wavelength : (Q,) float64
    """

    def __init__(self, flux, covered, wavelength):
        self._place = np.log(wavelength)
        self._edges = pixel_edges(self._place)
        self._covered = self._inner(covered)
        self._spline = make_interp_spline(np.arange(len(covered)), _standard(flux, covered), k=_DEGREE, axis=1)
        own = LogGrid.of(wavelength, step=float(np.diff(self._place).min()))
        self.grid = LogGrid(own.first, own.step / _FINER, _FINER * (own.size - 1) + 1)
        rows, on_grid = self.on(self.grid)
        self.coefficients = spline_filter1d(np.ascontiguousarray(rows), order=3, axis=1, mode="mirror")
        self.count = np.append(0, np.cumsum(on_grid))

    def _inner(self, covered):
        """Covered pixels but those beside a hole."""
        joined = covered.copy()
        for start in np.flatnonzero(self._edges.breaks)[1:-1]:
            joined[start - _MARGIN : start + _MARGIN] = False
        inner = binary_erosion(covered, iterations=_MARGIN, border_value=True)
        return inner & joined

    def __len__(self):
        return len(self.coefficients)

    def on(self, grid):
        """Values (T, P) on a grid, and where they are values (P,): not beyond the ends, nor in holes."""
        place = grid.first + grid.step * np.arange(grid.size)
        pixel = np.interp(place, self._place, np.arange(len(self._place)))
        return self._spline(pixel), self.covers(np.exp(place))

    def covers(self, wavelength):
        """Whether the templates have values at wavelengths (P,)."""
        place = np.log(wavelength)
        pixel = np.minimum(np.searchsorted(self._edges.upper, place), len(self._covered) - 1)
        inside = (place >= self._edges.lower[pixel]) & (place <= self._edges.upper[pixel])
        return inside & self._covered[pixel]


def _standard(flux, covered):
    """Rows with zero mean and unit variance; uncovered pixels are bridged by straight lines, whatever they hold."""
    pixel = np.arange(len(covered))
    rows = np.array([np.interp(pixel, pixel[covered], row[covered]) for row in flux])
    good = rows[:, covered]
    spread = good.std(axis=1)
    if not (spread > 1e-9 * np.abs(good).max(axis=1)).all():
        flat = int(np.flatnonzero(~(spread > 1e-9 * np.abs(good).max(axis=1)))[0])
        raise SpectrumError(f"templates: expected lines in every row, but row {flat} is constant; leave it out")
    return (rows - good.mean(axis=1, keepdims=True)) / spread[:, None]


class Search:
    """Weighted correlation of rows with all templates at whole pixels within a range of shifts.

    Parameters
    ----------
    templates : TemplateRows
    wavelength : (P,) float64
        Of the spectra.
    widest : float
        The largest shift in log wavelength that is searched.
    """

    def __init__(self, templates, wavelength, widest):
        self.grid = LogGrid.of(wavelength)
        self.reach = int(np.ceil(widest / self.grid.step))
        rows, covered = templates.on(self.grid.extended(self.reach))
        self._length = fft.next_fast_len(len(covered), real=True)
        rows = np.where(covered, rows, 0).astype(np.float32)
        self._template, self._square, self._covered = (
            self._transform(a) for a in (rows, rows**2, covered.astype(np.float32))
        )
        self._binning = self._bins(wavelength)

    def _bins(self, wavelength):
        """Matrix (P, grid) that adds pixels up in their nearest pixel of the grid; None where they are the same."""
        position = np.rint(self.grid.position(wavelength)).astype(int)
        if len(position) == self.grid.size and (position == np.arange(len(position))).all():
            return None
        ones = np.ones(len(position))
        return csr_array((ones, (np.arange(len(position)), position)), shape=(len(position), self.grid.size))

    def _transform(self, rows):
        return fft.rfft(rows, n=self._length)

    def _sums(self, spectrum, template):
        """Sums of products of one transformed spectrum with templates, by shift from -reach to reach."""
        products = fft.irfft(np.conj(spectrum) * template, n=self._length, overwrite_x=True)
        return products[..., 2 * self.reach :: -1]

    def peaks(self, flux, ivar):
        """Index of the template, shift in pixels, height, and height of the next peak, of each row.

        Parameters
        ----------
        flux, ivar : (N, P) float64
            Standardised; ivar 0 = bad.

        Returns
        -------
        (N, 4) float64
            NaN where there is nothing to correlate.
        """
        out = np.full((len(flux), 4), np.nan)
        moments = (ivar, ivar * flux, ivar * flux**2)
        for row in np.flatnonzero(ivar.any(axis=1)):
            sums = np.array([m[row] for m in moments])
            sums = sums if self._binning is None else sums @ self._binning
            out[row] = self._peak(sums / sums[0].max())
        return out

    def _peak(self, sums):
        from specalign.instruments import _velocity_kernels

        weight, data, moment = self._transform(sums.astype(np.float32))
        total, covered = float(sums[0].sum()), self._covered
        correlation = self._sums(data, self._template)
        _velocity_kernels.correlation_of_sums(
            self._sums(data, covered),
            correlation,
            self._sums(weight, self._template),
            self._sums(weight, self._square),
            self._sums(weight, covered),
            np.float32(_LEAST_COVERED * total),
            self._sums(moment, covered),
        )
        template, shift, height, second = _velocity_kernels.find_peak(correlation)
        return (np.nan,) * 4 if height <= 0 else (template, shift - self.reach, height, second)
