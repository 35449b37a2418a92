"""Radial velocities by weighted cross-correlation with templates, for spectra of any instrument.

A spectrum d with inverse variance w is compared with every template t at every shift s.  With scale and offset
fitted, chi^2(s) = S (1 - r(s)^2), where S is that of a constant and r the weighted correlation coefficient (Zucker
2003, MNRAS 342, 1291, with pixel weights), so that the highest peak of r over all shifts and templates is the best
fit.  Peaks are found by Fourier transforms on a grid of equal steps in log wavelength, and chi^2 of the best template
is then minimised on the spectrum's own pixels, which are never interpolated.
"""

import functools
import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.exceptions import SpectrumError, SpectrumUnitError, UnreliableVelocityWarning
from specalign.instruments.axes import vacuum_angstrom
from specalign.instruments.prepared import PreparedSpectra
from specalign.instruments.resampling import SPEED_OF_LIGHT, in_blocks
from specalign.instruments.rows import default_ids
from specalign.instruments.velocity_search import Search, TemplateRows

__all__ = ["radial_velocity"]

MIN_DETECTION = 50.0  # chi^2 of a constant minus chi^2 of the template, in units of the reduced chi^2
MIN_DISTANCE = 25.0  # the same, of the next peak of the same template
MAX_SECOND = 0.9  # of the highest peak
MIN_EXPLAINED = 0.1  # of the variance that is not noise
MIN_PIXELS = 0.25  # of those that the templates cover
OUTLIER = 6.0  # usual distances from the fit, beyond which a pixel is left out
ROUNDS = 3
MIN_TEMPLATES = 0.75  # of which a pixel needs values, to be used
SEARCHED = 1.5  # of the range, so that a peak beyond it is found where it is
_NAMED = 10


@dataclass
class _Spectra:
    """What is measured: float64 flux, inverse variance (0 = bad), vacuum Angstrom, names, frames."""

    flux: np.ndarray
    ivar: np.ndarray
    wavelength: np.ndarray
    object_id: np.ndarray
    spectrum_id: np.ndarray
    frame: np.ndarray

    def __len__(self):
        return len(self.flux)


def radial_velocity(
    spectra,
    templates,
    *,
    ivar=None,
    mask=None,
    spectral_axis=None,
    template_axis=None,
    object_id=None,
    spectrum_id=None,
    max_velocity=1000 * u.km / u.s,
    within=None,
):
    """Measure radial velocities against templates at rest.

    Nothing is applied: pass the velocities to ``prepare(..., radial_velocity=...)`` if you want them to be.

    Parameters
    ----------
    spectra : PreparedSpectra or (N, P) array
        Continuum-normalised, as the templates are.  The velocity is that of the arrays as they stand: what is left,
        where `specalign.instruments.base.Instrument.prepare` brought them to rest (see ``frame`` in the result).
    templates : PreparedSpectra or (T, Q) array
        At rest, of about the resolution of the spectra, and best in finer steps.  Pixels that are NaN (or masked) in
        more than a quarter of the rows are not used; elsewhere the median of the other rows fills them.
    ivar : (N, P) array, optional
        Inverse variance; 0 = no information.  Needed for an array, since the errors come from it.
    mask : (N, P) bool, optional
        True = bad.
    spectral_axis : `~astropy.units.Quantity` (P,), optional
        Vacuum wavelengths of an array, increasing or decreasing.
    template_axis : `~astropy.units.Quantity` (Q,), optional
        Vacuum wavelengths of a template array; those of the spectra if not given.
    object_id, spectrum_id : sequence of str (N,), optional
        Names of the rows of an array.
    max_velocity : `~astropy.units.Quantity`
        Largest absolute velocity that is reliable; half as much again is searched, so that one beyond it is seen.
    within : `~astropy.units.Quantity` (2,), optional
        Vacuum wavelengths between which pixels are used, where others are calibrated less well.

    Returns
    -------
    `~astropy.table.QTable`
        A row a spectrum, in their order:

        ``object_id``, ``spectrum_id``, ``frame``
            Of the arrays.
        ``velocity``, ``velocity_err``
            km/s, receding positive, relativistic; NaN where nothing could be measured.  The error is where chi^2
            rises by 1, or by its reduced value where that is above 1.  Errors of the wavelengths are not in it.
        ``peak_height``
            Weighted correlation coefficient at the best fit, 0 to 1.
        ``reduced_chi2``
            Of the best fit.  Far above 1, template and spectrum differ by more than the noise.
        ``template``
            Index of the best template; -1 where there is none.
        ``n_rejected``
            Pixels left out, since they are farther from the best fit than 6 times the usual distance.
        ``reliable``, ``reason``
            False, and why.

    Raises
    ------
    SpectrumError
        Shapes differ, an axis is not of wavelengths, templates are not at rest or have nothing in common with the
        spectra.
    SpectrumUnitError
        An axis or ``max_velocity`` has no unit, or another one.

    Warns
    -----
    UnreliableVelocityWarning
        Names the rows that are not reliable.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specalign.instruments.velocity import radial_velocity
    >>> from specalign.instruments.resampling import doppler_factor
    >>> axis = 15000 * np.exp(np.arange(2000) / 50000)
    >>> def lines(wavelength):
    ...     distance = wavelength[:, None] - np.array([15040, 15095, 15230, 15290, 15305, 15480])
    ...     return 1 - 0.4 * np.exp(-0.5 * (distance / 0.6) ** 2).sum(axis=1)
    >>> moving = lines(axis / doppler_factor(42.0))[None]
    >>> table = radial_velocity(moving, lines(axis)[None], ivar=np.full((1, 2000), 1e4), spectral_axis=axis * u.AA)
    >>> table["velocity"].round(1), bool(table["reliable"][0])
    (<Quantity [42.] km / s>, True)
    """
    limit = _limit(max_velocity)
    rows = _as_rows(spectra, ivar, mask, spectral_axis, object_id, spectrum_id)
    library = _as_templates(templates, template_axis, rows.wavelength)
    used = _used(within, rows.wavelength)
    rows.ivar[:, ~used] = 0
    search = Search(library, rows.wavelength, np.arctanh(SEARCHED * limit / SPEED_OF_LIGHT))
    peaks, fits = np.empty((len(rows), 4)), np.empty((len(rows), 6))
    rejected = np.zeros(len(rows), int)
    in_blocks(functools.partial(_measure, rows, library, search, peaks, fits, rejected), len(rows))
    few = MIN_PIXELS * (library.covers(rows.wavelength) & used).sum()
    table = _table(rows, peaks, fits, rejected, library.grid.step, limit, few)
    _warn(table)
    return table


def _limit(max_velocity):
    unit = getattr(max_velocity, "unit", None)
    if unit is None or not unit.is_equivalent(u.km / u.s):
        raise SpectrumUnitError(f"max_velocity: expected a Quantity in a unit like km/s, got {max_velocity!r}")
    limit = float(max_velocity.to_value(u.km / u.s))
    if not 0 < limit < SPEED_OF_LIGHT / 10:
        raise SpectrumError(f"max_velocity: expected more than 0 and less than a tenth of light, got {limit:g} km/s")
    return limit


def _used(within, wavelength):
    if within is None:
        return np.ones(len(wavelength), bool)
    (first, last), _ = vacuum_angstrom(within)
    used = (wavelength >= first) & (wavelength <= last)
    if not used.any():
        raise SpectrumError(
            f"within: expected wavelengths between {wavelength[0]:g} and {wavelength[-1]:g} Angstrom, as the spectra "
            f"have, got {first:g} to {last:g}"
        )
    return used


def _as_rows(spectra, ivar, mask, spectral_axis, object_id, spectrum_id):
    if isinstance(spectra, PreparedSpectra):
        given = (ivar, mask, spectral_axis, object_id, spectrum_id)
        if any(one is not None for one in given):
            raise SpectrumError(
                "spectra: PreparedSpectra bring ivar, mask, spectral_axis and names along; leave them out"
            )
        return _rows_of_prepared(spectra)
    if ivar is None or spectral_axis is None:
        raise SpectrumError("spectra: an array needs ivar=... (for the errors) and spectral_axis=..., got none")
    flux = np.array(spectra, dtype=float, ndmin=2)
    mask = np.zeros(flux.shape, bool) if mask is None else np.array(mask, dtype=bool, ndmin=2)
    ivar = np.array(ivar, dtype=float, ndmin=2)
    for name, array in (("ivar", ivar), ("mask", mask)):
        if array.shape != flux.shape:
            raise SpectrumError(f"{name}: expected shape {flux.shape}, as of the flux, got {array.shape}")
    wavelength, flipped = _axis(spectral_axis, flux.shape[1], "spectral_axis")
    order = slice(None, None, -1 if flipped else 1)
    arrays = (a[:, order] for a in (flux, ivar, mask))
    return _standardised(*arrays, wavelength, *_names(object_id, spectrum_id, len(flux)), np.full(len(flux), "unknown"))


def _names(object_id, spectrum_id, n):
    object_id = np.array([str(i) for i in range(n)] if object_id is None else object_id, dtype=str, ndmin=1)
    spectrum_id = default_ids(object_id) if spectrum_id is None else np.array(spectrum_id, dtype=str, ndmin=1)
    for name, array in (("object_id", object_id), ("spectrum_id", spectrum_id)):
        if array.shape != (n,):
            raise SpectrumError(f"{name}: expected {n} names, one a row, got shape {array.shape}")
    return object_id, spectrum_id


def _rows_of_prepared(prepared):
    frame = prepared.catalog["frame"] if "frame" in prepared.catalog.colnames else ["unknown"] * len(prepared)
    wavelength, _ = _axis(_wavelengths(prepared, "spectra"), prepared.flux.shape[1], "spectral_axis")
    names = (prepared.object_id, prepared.spectrum_id, np.array(frame, dtype=str))
    return _standardised(prepared.flux, prepared.ivar, prepared.mask, wavelength, *names)


def _wavelengths(prepared, name):
    if prepared.axis_kind != "wavelength":
        raise SpectrumError(
            f"{name}: expected an axis of wavelengths, got one of kind {prepared.axis_kind}; "
            f"prepare them on a grid of wavelengths"
        )
    return prepared.spectral_axis


def _axis(axis, n_pixels, name):
    wavelength, flipped = vacuum_angstrom(axis)
    if len(wavelength) != n_pixels:
        raise SpectrumError(f"{name}: expected {n_pixels} wavelengths, as the flux has pixels, got {len(wavelength)}")
    return wavelength, flipped


def _standardised(flux, ivar, mask, wavelength, *names):
    """Rows of zero mean and unit variance, which changes no chi^2 and keeps its sums exact for any unit of flux."""
    with np.errstate(invalid="ignore"):
        bad = mask | ~(ivar > 0) | ~np.isfinite(ivar) | ~np.isfinite(flux)
    flux, ivar = (np.where(bad, 0.0, a).astype(np.float64) for a in (flux, ivar))
    total = np.maximum(ivar.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    flux = np.where(bad, 0.0, flux - (ivar * flux).sum(axis=1, keepdims=True) / total)
    spread = np.sqrt((ivar * flux**2).sum(axis=1, keepdims=True) / total)
    spread[spread == 0] = 1.0
    return _Spectra(flux / spread, ivar * spread**2, wavelength, *names)


def _as_templates(templates, template_axis, wavelength):
    if isinstance(templates, PreparedSpectra):
        if template_axis is not None:
            raise SpectrumError("template_axis: PreparedSpectra bring their own; leave it out")
        return _library(*_rest_templates(templates))
    flux, flipped = np.array(templates, dtype=float, ndmin=2), False
    if template_axis is not None:
        wavelength, flipped = _axis(template_axis, flux.shape[1], "template_axis")
    elif flux.shape[1] != len(wavelength):
        raise SpectrumError(
            f"templates: expected {len(wavelength)} pixels, as the spectra have, got {flux.shape[1]}; "
            f"pass template_axis=..."
        )
    return _library(flux[:, ::-1] if flipped else flux, wavelength)


def _rest_templates(prepared):
    frames = set(map(str, prepared.catalog["frame"])) if "frame" in prepared.catalog.colnames else {"unknown"}
    if frames - {"rest"}:
        raise SpectrumError(
            f"templates: expected spectra at rest, got the frame {', '.join(sorted(frames - {'rest'}))}; "
            f"prepare them with radial_velocity=..."
        )
    wavelength = _axis(_wavelengths(prepared, "templates"), prepared.flux.shape[1], "spectral_axis")[0]
    return np.where(prepared.mask, np.nan, prepared.flux).astype(np.float64), wavelength


def _library(flux, wavelength):
    if not len(flux):
        raise SpectrumError("templates: expected at least one, got none")
    finite = np.isfinite(flux)
    covered = finite.mean(axis=0) >= MIN_TEMPLATES
    if covered.sum() < 20:
        raise SpectrumError(
            f"templates: expected 20 pixels or more that are finite in {100 * MIN_TEMPLATES:g} % of the rows, "
            f"got {covered.sum()}; leave out the templates with holes"
        )
    middle = np.nanmedian(flux[:, covered], axis=0)
    flux = np.where(finite, flux, 0.0)
    flux[:, covered] = np.where(finite[:, covered], flux[:, covered], middle)
    return TemplateRows(flux, covered, wavelength)


def _measure(rows, library, search, peaks, fits, rejected, block):
    """Fill a block of rows; those with outliers are measured again without them."""
    flux, ivar = rows.flux[block], rows.ivar[block].copy()
    place = library.grid.position(rows.wavelength)
    todo = np.arange(len(flux))
    for _ in range(ROUNDS):
        found = search.peaks(flux[todo], ivar[todo])
        fit = _refine(flux[todo], ivar[todo], place, library, found, search.grid.step / library.grid.step)
        peaks[block][todo], fits[block][todo] = found, fit
        dropped = _drop_outliers(flux, ivar, place, library, found, fit, todo)
        rejected[block][todo] += dropped
        todo = todo[dropped > 0]
        if not len(todo):
            return


def _refine(flux, ivar, place, library, found, pixel):
    from specalign.instruments import _velocity_kernels

    fit = np.empty((len(flux), 6))
    template = np.nan_to_num(found[:, 0], nan=0).astype(np.int64)
    args = (library.coefficients, library.count, template, found[:, 1] * pixel, pixel, fit)
    _velocity_kernels.refine(flux, ivar, place, *args)
    return fit


def _drop_outliers(flux, ivar, place, library, found, fit, todo):
    from specalign.instruments import _velocity_kernels

    dropped = np.zeros(len(todo), int)
    for i in np.flatnonzero(np.isfinite(fit[:, 0])):
        row, coefficient = todo[i], library.coefficients[int(found[i, 0])]
        dropped[i] = _velocity_kernels.drop_outliers(flux[row], ivar[row], place, coefficient, fit[i, 0], OUTLIER)
    return dropped


def _table(rows, peaks, fits, rejected, step, limit, few):
    shift, error, height, chi2, _, pixels = fits.T
    beta = np.tanh(shift * step)
    reason = _reasons(peaks, fits, SPEED_OF_LIGHT * beta, limit, few)
    measured = np.isfinite(shift)
    with np.errstate(invalid="ignore", divide="ignore"):
        reduced = np.where(measured, chi2 / (pixels - 3), np.nan)
    return QTable(
        {
            "object_id": rows.object_id,
            "spectrum_id": rows.spectrum_id,
            "velocity": SPEED_OF_LIGHT * beta * u.km / u.s,
            "velocity_err": SPEED_OF_LIGHT * (1 - beta**2) * error * step * np.sqrt(np.fmax(reduced, 1)) * u.km / u.s,
            "peak_height": height,
            "reduced_chi2": reduced,
            "template": np.where(measured, np.nan_to_num(peaks[:, 0], nan=-1), -1).astype(int),
            "n_rejected": rejected,
            "frame": rows.frame,
            "reliable": reason == "",
            "reason": reason,
        }
    )


def _reasons(peaks, fits, velocity, limit, few):
    """Why each row is not to be trusted, '' where nothing speaks against it; the first of the list wins."""
    _, _, peak, second = peaks.T
    _, _, _, chi2, constant, pixels = fits.T
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.maximum(chi2 / (pixels - 3), 1)
        explained = (constant - chi2) / (constant - np.minimum(chi2, pixels))
        close = (constant * (peak**2 - second**2) / noise < MIN_DISTANCE) | (second > MAX_SECOND * peak)
        cases = [
            (np.isnan(peak) & (pixels == 0), "nothing to correlate: no good pixel that a template covers, or no line"),
            (np.isnan(velocity), "no minimum of chi^2 beside the highest peak"),
            (np.abs(velocity) > limit, f"at the edge of the range: beyond {limit:g} km/s"),
            ((constant - chi2) / noise < MIN_DETECTION, "no line stands out of the noise"),
            (pixels < few, f"less than {100 * MIN_PIXELS:g} % of the covered pixels are good"),
            (explained < MIN_EXPLAINED, f"the template explains less than {100 * MIN_EXPLAINED:g} % of the variance"),
            (close, "ambiguous: another peak is nearly as high"),
        ]
    return np.select([case for case, _ in cases], [text for _, text in cases], default="").astype("U80")


def _warn(table):
    failed = table[~table["reliable"]]
    if not len(failed):
        return
    named = "; ".join(f"{row['spectrum_id']} ({row['reason']})" for row in failed[:_NAMED])
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    warnings.warn(
        f"{len(failed)} of {len(table)} velocities are not reliable: {named}{more}; see the column 'reason'",
        UnreliableVelocityWarning,
        stacklevel=3,
    )
