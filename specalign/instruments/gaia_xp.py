"""Gaia BP/RP spectra: 343 samples from 336 to 1020 nm, or the 110 coefficients themselves.

The default normalisation divides by the sample at `PIVOT`, in Angstrom:

>>> from specalign.instruments.gaia_xp import PIVOT
>>> PIVOT
5500.0
"""

import contextlib
import functools
import io
import sys
import warnings

import astropy.units as u
import numpy as np

from specalign.exceptions import MissingExtraError, SpectrumError
from specalign.instruments.axes import FLUX_DENSITY
from specalign.instruments.base import Instrument
from specalign.instruments.continuum import Pivot, Unchanged, check_rule
from specalign.instruments.rows import InputRows
from specalign.io.quality import bit_value

__all__ = ["PIVOT", "GaiaXP", "sampling_matrix"]

PIVOT = 5500.0  # Angstrom
N_BAND = 55
SAMPLING = 3360.0 + 20.0 * np.arange(343)  # Angstrom
SAMPLED_UNIT = u.W / u.m**2 / u.nm

# Resolving power along BP and RP, Carrasco et al. (2021, A&A 652, A86): 100 to 30 and 100 to 70.  BP holds below
# 640 nm, RP above 680 nm.
_LSF = ((3300.0, 6400.0, 6800.0, 10500.0), (100.0, 38.0, 97.0, 70.0))


class GaiaXP(Instrument):
    """Gaia DR3 mean BP/RP spectra, De Angeli et al. (2023, A&A 674, A2), Montegriffo et al. (2023, A&A 674, A3).

    Coefficients become samples through the matrix of GaiaXPy (extra ``xp``), and their covariance the variance of
    the samples; its part that all sources share is kept in ``covariance_factor``: scale = the errors of the
    coefficients, basis = the matrix (the correlations between coefficients enter ``ivar`` only).  The resolution
    hides radial velocities, so that none is applied.

    Parameters
    ----------
    form : {"sampled", "coefficients"}
    normalization : {"pivot", "none"}
        The flux at 550 nm, since the continuum is the information; it must be positive.

    Examples
    --------
    >>> import specalign as sa
    >>> xp = sa.get_instrument("gaia_xp")
    >>> type(xp).__name__, xp.n_pixels, sa.get_instrument("gaia_xp", form="coefficients").n_pixels
    ('GaiaXP', 343, 110)
    """

    name = "gaia_xp"
    reader = "specalign.io.gaia_xp"
    version = "1"
    citation = (
        "De Angeli et al. 2023, A&A 674, A2, doi:10.1051/0004-6361/202243680; "
        "Montegriffo et al. 2023, A&A 674, A3, doi:10.1051/0004-6361/202243880"
    )
    velocity_resolved = False
    defects = ()  # a mean spectrum is a sum of functions: no pixel of it is bad alone

    def __init__(self, form="sampled", normalization="pivot"):
        check_rule(normalization, ("pivot", "none"))
        if form not in ("sampled", "coefficients"):
            raise SpectrumError(f"form: expected 'sampled' or 'coefficients', got {form!r}")
        coefficients = form == "coefficients"
        self.axis_kind = "coefficient" if coefficients else "wavelength"
        pivot = CoefficientPivot() if coefficients else Pivot(int(np.searchsorted(SAMPLING, PIVOT)))
        super().__init__(
            np.arange(2.0 * N_BAND) * u.dimensionless_unscaled if coefficients else SAMPLING * u.AA,
            lsf_sigma=None if coefficients else SAMPLING / np.interp(SAMPLING, *_LSF) / 2.3548 * u.AA,
            normalization=pivot if normalization == "pivot" else Unchanged(),
            options={"form": form, "normalization": normalization},
        )

    def convert(self, rows):
        """Coefficients to samples, where samples are wanted."""
        if rows.axis_kind == "coefficient":
            rows = _checked_coefficients(rows, self.bad_bits)
            return rows if self.axis_kind == "coefficient" else _samples(rows, self.bad_bits)
        return super().convert(rows)

    def regrid(self, rows, block, factor, scale=1.0):
        """Coefficients have no grid to change."""
        if self.axis_kind == "coefficient":
            return self.detector(rows, block, scale)
        return super().regrid(rows, block, factor, scale)

    def make_example(self, rng, n=4):
        """See `Instrument.make_example`; coefficients are those that give the samples of an example.

        Raises
        ------
        MissingExtraError
            Coefficients need GaiaXPy.
        """
        if self.axis_kind == "wavelength":
            return super().make_example(rng, n)
        from specalign.mock.examples import xp_coefficients

        return xp_coefficients(self, rng, n)

    def write_example(self, path, rng):
        """See `Instrument.write_example`: a table of XP_SAMPLED or of XP_CONTINUOUS."""
        from specalign.mock.examples import write_survey_file, write_xp_continuous

        return (write_survey_file if self.axis_kind == "wavelength" else write_xp_continuous)(self, path, rng)


class CoefficientPivot:
    """The flux at 550 nm, in 1e-17 erg / (s cm2 Angstrom), that a row of good coefficients gives."""

    per_pixel = False

    def fill(self, flux, ivar, good, norm, quality):
        column = sampling_matrix()[:, np.searchsorted(SAMPLING, PIVOT)] * SAMPLED_UNIT.to(FLUX_DENSITY)
        for r in range(len(flux)):
            level = np.dot(flux[r], column) if good[r].all() else 0.0
            norm[r] = level if level > 0 else 1.0
            if not level > 0:
                quality[r] |= bit_value({"NORMALIZATION": 31}, "NORMALIZATION")


@functools.cache
def sampling_matrix():
    """Matrix (110, 343), read-only: coefficients (BP, then RP) to samples in W / (m2 nm).

    It is what GaiaXPy's ``calibrate`` makes of unit coefficient vectors, since it is linear.

    Raises
    ------
    MissingExtraError
        GaiaXPy is not installed.

    Examples
    --------
    >>> from specalign.instruments.gaia_xp import sampling_matrix
    >>> sampling_matrix().shape
    (110, 343)
    """
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        np.printoptions(),
        _figure_settings_kept(),
    ):
        # GaiaXPy warns on import, prints progress, and changes how numpy prints and how matplotlib sets text
        warnings.simplefilter("ignore")
        try:
            import pandas
            from gaiaxpy import calibrate
        except ImportError as error:
            raise MissingExtraError(
                "samples from XP coefficients need GaiaXPy: pip install 'specalign[xp]', or use form='coefficients'"
                " with normalization='none'"
            ) from error
        table, positions = calibrate(pandas.DataFrame(_unit_vectors()), save_file=False)
    if not np.allclose(np.asarray(positions) * 10, SAMPLING):
        raise SpectrumError("GaiaXPy samples another grid than 336 to 1020 nm in steps of 2 nm; expected version 2.1")
    matrix = np.stack(table["flux"].to_numpy())
    matrix.setflags(write=False)
    return matrix


@contextlib.contextmanager
def _figure_settings_kept():
    """GaiaXPy switches LaTeX on for every later figure of the process, which fails where there is none."""
    before = getattr(sys.modules.get("matplotlib"), "rcParams", {}).copy()
    try:
        yield
    finally:
        loaded = sys.modules.get("matplotlib")
        if loaded is not None:
            kept = before or loaded.rcParamsOrig  # as the user's matplotlibrc has it
            loaded.rcParams.update({name: value for name, value in kept.items() if name != "backend"})


def _unit_vectors():
    rows = []
    for i in range(2 * N_BAND):
        row = {"source_id": i}
        for band, start in (("bp", 0), ("rp", N_BAND)):
            coefficients = np.zeros(N_BAND)
            if start <= i < start + N_BAND:
                coefficients[i - start] = 1.0
            row[f"{band}_coefficients"] = coefficients
            row[f"{band}_coefficient_errors"] = np.ones(N_BAND)
            row[f"{band}_coefficient_correlations"] = np.eye(N_BAND)
            row[f"{band}_standard_deviation"] = 1.0
            row[f"{band}_n_relevant_bases"] = row[f"{band}_n_parameters"] = N_BAND
        rows.append(row)
    return rows


def _checked_coefficients(rows, bad_bits):
    """A row with a bad coefficient is bad as a whole: each of them reaches every sample of its band."""
    n = rows.flux.shape[1]
    if n != 2 * N_BAND:
        raise SpectrumError(f"flux: expected 110 coefficients, 55 of BP and 55 of RP, got {n}")
    quality = np.zeros(rows.flux.shape, np.uint32) if rows.quality is None else np.array(rows.quality, np.uint32)
    known_bad = (quality & np.uint32(bad_bits)) != 0
    if rows.mask is not None:
        quality[np.asarray(rows.mask, bool) & ~known_bad] |= np.uint32(1 << 26)
    known_bad = (quality & np.uint32(bad_bits)) != 0
    quality[~known_bad & ~np.isfinite(np.asarray(rows.flux, float))] |= np.uint32(1 << 24)
    if rows.ivar is not None:
        with np.errstate(invalid="ignore"):
            informed = np.isfinite(rows.ivar) & (np.asarray(rows.ivar) > 0)
        quality[~known_bad & ~informed] |= np.uint32(1 << 25)
    bad = (quality & np.uint32(bad_bits)) != 0
    reasons = np.bitwise_or.reduce(np.where(bad, quality, 0), axis=1).astype(np.uint32)
    rows.quality, rows.mask = quality | reasons[:, None], None
    return rows


def _samples(rows, bad_bits):
    """Flux and inverse variance of the samples; rows that have a bad coefficient are bad everywhere."""
    n, matrix = len(rows), sampling_matrix()
    bad = (rows.quality & np.uint32(bad_bits)).any(axis=1)
    flux, ivar = np.zeros((n, SAMPLING.size)), np.zeros((n, SAMPLING.size))
    error = _errors(rows, bad)
    for i in np.flatnonzero(~bad):  # one by one, so that a row's rounding does not depend on its batch
        flux[i] = np.asarray(rows.flux[i], float) @ matrix
        if error is not None:
            ivar[i] = 1 / sample_variance(error[i], matrix, rows.extra.get("coefficient_correlation"))
    quality = np.repeat(np.bitwise_or.reduce(rows.quality, axis=1)[:, None], SAMPLING.size, axis=1)
    covariance = None if error is None else (error, matrix)
    return InputRows(
        SAMPLING,
        flux,
        None if error is None else ivar,
        None,
        quality,
        SAMPLED_UNIT,
        rows.facts,
        rows.normalized,
        covariance,
        index=rows.index,
    )


def _errors(rows, bad):
    if rows.ivar is None:
        return None
    error = np.zeros(rows.flux.shape)
    error[~bad] = 1 / np.sqrt(np.asarray(rows.ivar, float)[~bad])
    return error


def sample_variance(error, matrix, correlation=None):
    """Variance (343,) of the samples of one source.

    Parameters
    ----------
    error : (110,) float
        Of the coefficients.
    matrix : (110, 343) float
        See `sampling_matrix`.
    correlation : tuple of two (55, 55) float, optional
        Of the coefficients of BP and of RP, which are independent of each other.  Default: none.
    """
    scaled = error[:, None] * matrix
    if correlation is None:
        return np.sum(scaled**2, axis=0)
    halves = zip(correlation, (scaled[:N_BAND], scaled[N_BAND:]), strict=True)
    return sum(np.sum(half * (np.asarray(one, float) @ half), axis=0) for one, half in halves)
