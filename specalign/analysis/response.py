"""What an instrument's flux calibration gets wrong, star by star, told by spectra that are expected of the stars."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander

from specalign.data.loading import check_good_pixels
from specalign.display import Displayed
from specalign.exceptions import MatchError, SpectrumError
from specalign.instruments.prepared import empty_rejected

__all__ = ["FluxCalibration", "flux_calibration"]

ROUNDS = 3  # the weights depend on the ratio that is sought, weakly


@dataclass(frozen=True, repr=False)
class FluxCalibration(Displayed):
    """A smooth ratio observed / expected for each spectrum.

    Attributes
    ----------
    ratio, error : (N, P) float32
        The calibration vector, and its standard error; errors go together from pixel to pixel.
    chi2 : (N,) float32
        Reduced chi-square of what is left; far above 1 where a polynomial does not describe the error, or where the
        expected spectrum is not that of the star.
    degree : int
    spectrum_id : (N,) str
        Of the observed spectra.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis import FluxCalibration
    >>> calibration = FluxCalibration(np.ones((1, 3)), np.zeros((1, 3)), np.ones(1), 2, np.array(["a"]))
    >>> calibration
    <FluxCalibration: spectra 1; degree 2; median error 0; median chi2 1>
    """

    ratio: np.ndarray
    error: np.ndarray
    chi2: np.ndarray
    degree: int
    spectrum_id: np.ndarray

    def _facts(self):
        return {
            "spectra": f"{len(self.ratio)}",
            "degree": f"{self.degree}",
            "median error": f"{np.median(self.error):.3g}",
            "median chi2": f"{np.median(self.chi2):.3g}",
        }

    def apply(self, observed):
        """The observed spectra divided by the ratio.

        Parameters
        ----------
        observed : `~specalign.PreparedSpectra`
            The rows that the ratio was found for, in their order.

        Returns
        -------
        `~specalign.PreparedSpectra`
            ``ivar`` is multiplied by the square of the ratio.  The error of the ratio is not in it, since all pixels
            share that; nor is there a ``covariance_factor``, whose terms are the same for all rows.

        Raises
        ------
        MatchError
            These are other rows.
        SpectrumError
            A ratio is not positive where there is a good pixel.

        Examples
        --------
        >>> import numpy as np
        >>> from specalign.analysis import flux_calibration
        >>> from specalign.testing.stars import observe
        >>> stars = observe("mine", ["a", "b"], n_pixels=40)
        >>> wrong = observe("mine", ["a", "b"], n_pixels=40)
        >>> wrong.flux *= np.linspace(0.8, 1.2, 40)
        >>> better = flux_calibration(wrong, stars, degree=1).apply(wrong)
        >>> bool(np.abs(better.flux - stars.flux).max() < 1e-5)
        True
        """
        if not np.array_equal(self.spectrum_id, observed.spectrum_id):
            raise MatchError("expected the spectra that the ratio was found for, in their order, got others")
        bad = ((self.ratio <= 0) & ~observed.mask).any(axis=1)
        if bad.any():
            raise SpectrumError(
                f"{observed.spectrum_id[bad.argmax()]} (and {bad.sum() - 1} more): the ratio is not positive "
                f"everywhere; expect that of a polynomial of degree {self.degree} outside of the good pixels, and use "
                "a lower one"
            )
        ratio = np.where(self.ratio > 0, self.ratio, 1)
        changes = {"flux": observed.flux / ratio, "ivar": observed.ivar * ratio**2, "covariance_factor": None}
        return dataclasses.replace(observed, rejected=empty_rejected(), **changes)


def flux_calibration(observed, expected, degree=3):
    """A polynomial of the wavelength by which each observed spectrum deviates from the one that is expected.

    The polynomial times the expected spectrum is fitted to the observed one by least squares, each pixel weighted with
    one over the sum of both variances.  What is smooth in a star and is not told by the expected spectrum goes into the
    ratio, too: its error has the variance of the expected spectrum, and with ``covariance_factor``, which
    `specalign.Aligner.translate` gives, the part that pixels share; without it, the error is far too small.

    Parameters
    ----------
    observed : `~specalign.PreparedSpectra`
        Divided by one number a spectrum (``normalization="median"``, ``"pivot"`` or ``"none"``): a continuum that is
        found for each spectrum takes the calibration with it.
    expected : `~specalign.PreparedSpectra`
        Of the same stars, row by row, on the same grid and prepared in the same way.
    degree : int
        Of the polynomial; 0 is one factor a spectrum.

    Returns
    -------
    FluxCalibration

    Raises
    ------
    GridMismatchError
        The spectra are of different instruments, grids, options or mask rules.
    MatchError
        The rows are not those of the same stars.
    SpectrumError
        The observed spectra are divided by a continuum of many pixels, their axis is no wavelength, or a star has
        fewer pixels that are good in both than there are coefficients, and one more, or a good pixel is not finite.
    ValueError
        The degree is not a whole number of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis import flux_calibration
    >>> from specalign.testing.stars import observe
    >>> expected = observe("mine", ["a", "b"], n_pixels=200, noise=0.001)
    >>> observed = observe("mine", ["a", "b"], n_pixels=200, noise=0.02, seed=1)
    >>> truth = np.linspace(0.9, 1.2, 200)
    >>> observed.flux *= truth
    >>> found = flux_calibration(observed, expected, degree=1)
    >>> bool((np.abs(found.ratio - truth) < 4 * found.error).all()), round(float(found.error.max()), 3)
    (True, 0.003)
    """
    _check(observed, expected, degree)
    x = np.asarray(observed.spectral_axis.value, dtype=float)
    basis = legvander(2 * (x - x.min()) / max(np.ptp(x), 1e-300) - 1, degree)
    good = _good(observed, expected, degree)
    fits = [_fit(_row(observed, i), _row(expected, i), good[i], basis) for i in range(len(observed))]
    ratio, error, chi2 = (np.array([fit[k] for fit in fits], np.float32) for k in range(3))
    shape = observed.flux.shape
    return FluxCalibration(ratio.reshape(shape), error.reshape(shape), chi2, degree, observed.spectrum_id)


def _check(observed, expected, degree):
    if isinstance(degree, bool) or not isinstance(degree, (int, np.integer)) or degree < 0:
        raise ValueError(f"degree: expected a whole number of at least 0, got {degree!r}")
    observed.check_same_grid(expected)
    if not np.array_equal(observed.object_id, expected.object_id):
        raise MatchError(
            f"expected the spectra of the same stars, row by row, got {len(observed)} observed and {len(expected)} "
            "expected ones whose object_id differ; bring them into one order"
        )
    if observed.axis_kind != "wavelength":
        raise SpectrumError(f"observed: expected pixels in wavelength, got an axis of kind {observed.axis_kind!r}")
    if observed.norm.shape[1] > 1:
        raise SpectrumError(
            f"observed: {observed.instrument.name} spectra are divided by a continuum of their own, which takes the "
            "calibration with it; prepare and align them with normalization='median' or 'none'"
        )
    check_good_pixels(observed)
    check_good_pixels(expected)


def _good(observed, expected, degree):
    """Pixels (N, P) that are known in both."""
    good = ~observed.mask & ~expected.mask & (observed.ivar > 0) & (expected.ivar > 0)
    few = good.sum(axis=1) < degree + 2
    if few.any():
        raise SpectrumError(
            f"{observed.spectrum_id[few.argmax()]} (and {few.sum() - 1} more): expected at least {degree + 2} pixels "
            f"that are good in both spectra for degree {degree}, got {good[few.argmax()].sum()}; leave it out, or use "
            "a lower degree"
        )
    return good


def _row(prepared, i):
    """Flux (P,), variance (P,) and the errors (K, P) that pixels share, of one row; bad pixels have no variance."""
    ivar = prepared.ivar[i].astype(float)
    variance = np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)
    if prepared.covariance_factor is None:
        return prepared.flux[i].astype(float), variance, np.zeros((0, len(ivar)))
    scale, basis = (part.astype(float) for part in prepared.covariance_factor)
    return prepared.flux[i].astype(float), variance, scale[i][:, None] * basis


def _fit(observed, expected, good, basis):
    """Ratio (P,), its error (P,) and the reduced chi-square of one spectrum."""
    (flux, noise, shared), (told, doubt, told_shared) = ([v[..., good] for v in row] for row in (observed, expected))
    terms = told[:, None] * basis[good]
    ratio = np.full(len(flux), np.sum(flux * told / noise) / np.sum(told**2 / noise))
    for _ in range(ROUNDS):
        weight = 1 / (noise + ratio**2 * doubt)
        solver = np.linalg.pinv(terms * np.sqrt(weight)[:, None]) * np.sqrt(weight)
        coefficients = solver @ flux
        ratio = basis[good] @ coefficients
    together = np.concatenate([shared, ratio * told_shared])
    alone = np.maximum(1 / weight - (together**2).sum(axis=0), 0)
    covariance = (solver * alone) @ solver.T + (solver @ together.T) @ (solver @ together.T).T
    error = np.sqrt(np.maximum(np.einsum("pk,kl,pl->p", basis, covariance, basis), 0))
    chi2 = np.sum(weight * (flux - ratio * told) ** 2) / (len(flux) - basis.shape[1])
    return basis @ coefficients, error, chi2
