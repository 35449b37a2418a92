"""Model spectra as an instrument would see them: line-spread function, pixels, gaps, bad pixels, noise."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from specutils import Spectrum, SpectrumList

from specalign.exceptions import MissingFactError, SpectrumError
from specalign.instruments.resampling import doppler_factor, in_blocks, pixel_edges, resample_rows
from specalign.instruments.rows import as_velocity, facts_of_arrays, rows_at, rows_from_arrays
from specalign.instruments.spectra import as_list, inverse_variance, rows_from_spectra
from specalign.io.products import NORMALIZATIONS, Product
from specalign.io.quality import bit_value, decode
from specalign.io.spectra import build_spectrum

__all__ = ["simulate"]

FWHM = 2.3548  # full width at half maximum of a Gaussian over its standard deviation
NOISELESS = 1e6  # signal to noise that a spectrum without noise states, since an inverse variance must be finite
FLOOR = 0.01  # of the median flux: no pixel is more exact than one of this flux
COVERED = 0.99  # share of the line-spread function that must lie on good pixels of the model
UNDERSAMPLED = 0.1  # of a pixel: the least Gaussian beside the pixel itself
AT_ONCE = 512  # rows whose noiseless fluxes are in memory together
_DATA_MODEL = "https://specalign.readthedocs.io/en/latest/user_guide/simulation.html"


def simulate(
    instrument,
    spectra,
    snr,
    rng,
    *,
    resolving_power=None,
    convolve=True,
    medium=None,
    radial_velocity=None,
    bad_fraction=0.005,
    object_id=None,
    spectrum_id=None,
):
    """Model spectra as an instrument would see them, ready for `Instrument.prepare`.

    In this order: the radial velocity; line-spread function and pixels in one integral, so that a constant stays a
    constant and the flux of a line is kept; gaps and bad pixels; Gaussian noise, independent between pixels.

    Parameters
    ----------
    instrument : Instrument
    spectra : `specutils.Spectrum`, list of them, `specutils.SpectrumList` or `specutils.SpectrumCollection`
        A synthetic library, at rest and finely sampled: each step at most the standard deviation of the
        line-spread function that is left to apply.
    snr : float, (N,), (P,), (N, P) or callable
        Signal to noise a pixel.  One number a row is that of a pixel of median flux, and the error goes with the
        root of the flux, as photon noise does; numbers a pixel, or those that a function of the wavelengths
        `~astropy.units.Quantity` (P,) gives, hold as they are.  A pixel is never more exact than one of 1 % of
        the median flux.  ``numpy.inf``: no noise; the inverse variance states a signal to noise of 1e6.
    rng : int or `numpy.random.Generator`
        All that is drawn follows from it.
    resolving_power : float, optional
        That of the library, wavelength over full width at half maximum, taken off in quadrature.  Default: lines
        as narrow as physics makes them.
    convolve : bool
        False: the models have the line-spread function already; they are only brought into the pixels.
    medium : {"vacuum", "air"}, optional
        Taken from ``meta`` where it is not given.
    radial_velocity : `~astropy.units.Quantity`, scalar or (N,), optional
        Receding positive.  The spectra are then barycentric, and state it.
    bad_fraction : float
        Share of pixels that are bad; each gets one of the bits ``defects``.
    object_id, spectrum_id : str or sequence of str, optional
        Taken from ``meta`` where they are not given.

    Returns
    -------
    `specutils.Spectrum` or `specutils.SpectrumList`
        On the instrument's grid, with mask, inverse variance and facts; product ``simulated``; as many as given.

    Raises
    ------
    MissingFactError
        A model does not say whose it is or in which medium.
    SpectrumUnitError
    SpectrumError
        A model is coarser than the instrument, in resolution or in sampling; is not at rest; does not reach the
        instrument's wavelengths; or an argument is out of range.

    Notes
    -----
    ``lsf_sigma`` is the width of an unresolved line as the pixels show it, which is how resolving powers are
    measured: the pixel's own variance, its width squared over 12, is part of it.  The line-spread function is a
    Gaussian.  Telluric lines and sky are not simulated, and Gaia XP's correlated noise is not.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specutils import Spectrum
    >>> from specalign.instruments import get_instrument
    >>> wavelength = np.linspace(15000, 17100, 40000) * u.AA
    >>> flux = 1 - 0.5 * np.exp(-0.5 * ((wavelength.value - 16000) / 0.1) ** 2)
    >>> model = Spectrum(flux * u.Jy, wavelength, meta={"object_id": "model", "medium": "vacuum"})
    >>> apogee = get_instrument("apogee")
    >>> prepared = apogee.prepare(apogee.simulate(model, snr=100, rng=1))
    >>> float(prepared.snr[0]).__round__()
    100
    """
    if rng is None:
        raise SpectrumError("rng: expected a seed or a numpy Generator, got None: nothing is drawn without a seed")
    if not 0 <= bad_fraction < 1:
        raise SpectrumError(f"bad_fraction: expected a share from 0 to below 1, got {bad_fraction}")
    rng = np.random.default_rng(rng)
    given = {"object_id": object_id, "spectrum_id": spectrum_id, "medium": medium}
    groups = _models(instrument, spectra, given)
    n = sum(len(rows) for rows in groups)
    velocity, snr = as_velocity(radial_velocity, n), _positive(snr(instrument.spectral_axis) if callable(snr) else snr)
    seen = [_seen(instrument, rows, velocity, (snr, n), resolving_power, convolve) for rows in groups]
    group, draw = np.empty(n, int), _Draw(instrument, rng, bad_fraction)
    for number, rows in enumerate(groups):
        group[rows.index] = number
    result = [draw.spectrum(*next(seen[number])) for number in group]  # in the order given, whatever the axes
    return result[0] if isinstance(spectra, Spectrum) and spectra.flux.ndim == 1 else SpectrumList(result)


def _seen(instrument, rows, velocity, snr, power, convolve):
    """What `_Draw.spectrum` needs of each row, in order; few rows at a time are in memory."""
    for start in range(0, len(rows), AT_ONCE):
        part = rows_at(rows, slice(start, start + AT_ONCE))
        factor = doppler_factor(np.nan_to_num(velocity[part.index]))
        flux, covered = _see(instrument, part, factor, power, convolve)
        error = _errors(flux, covered, _snr_of(*snr, part.index, instrument), part.facts.object_id)
        for k, i in enumerate(part.index):
            yield flux[k], error[k], covered[k], part.unit, _facts(instrument, part, k, velocity[i])


def _models(instrument, spectra, given):
    """Groups of models of one axis; the first that cannot be used is an error."""
    if instrument.axis_kind != "wavelength":
        raise SpectrumError(f"{instrument.name} with options {instrument.options} has no wavelengths to simulate")
    if isinstance(spectra, Spectrum) and spectra.flux.ndim == 2 and spectra.spectral_axis.ndim == 1:
        return [instrument.convert(_rows_of_table(spectra, given))]
    listed = as_list(spectra)
    if not listed:
        raise SpectrumError("spectra: expected at least one model spectrum, got none")
    frame = [_at_rest(one.meta) for one in listed]
    given = given | {"frame": frame, "radial_velocity": None, "normalized": False}
    groups, refused = rows_from_spectra(listed, instrument, given)
    if refused:
        raise refused[0][2]
    for rows in groups:
        rows.extra["normalization"] = {i: listed[i].meta.get("normalization") for i in rows.index}
    return groups


def _at_rest(meta):
    frame = str(meta.get("frame") or "rest")
    if frame != "rest":
        raise SpectrumError(f"frame: expected models at rest, got {frame!r}; pass radial_velocity=... to move them")
    return frame


def _rows_of_table(spectra, given):
    """Rows of one two-dimensional Spectrum, not taken apart: a library may have thousands of them."""
    meta, n = spectra.meta, len(spectra.flux)
    given = {name: meta.get(name) if value is None else value for name, value in given.items()}
    if given["medium"] is None:
        raise MissingFactError("the models do not say their medium: pass medium=..., or set spectrum.meta['medium']")
    facts = facts_of_arrays(n, given["object_id"], given["spectrum_id"], _at_rest(meta), None)
    mask, axis = spectra.mask, spectra.spectral_axis
    ivar = inverse_variance(spectra)
    rows = rows_from_arrays(spectra.flux, ivar, mask, None, axis, given["medium"], facts, False, None)
    rows.index, rows.extra = np.arange(n), {"normalization": dict.fromkeys(range(n), meta.get("normalization"))}
    return rows


def _see(instrument, rows, factor, power, convolve):
    """Noiseless flux (N, P) in the instrument's pixels, and where (N, P) the models tell it."""
    good = _good(rows)
    if convolve:
        sigma = response_sigma(instrument, rows.axis * factor.max(), power)
        flux, bits = _observe(rows, good, factor, instrument.edges, sigma)
    else:
        bits = np.zeros(rows.flux.shape, np.uint32)
        ones = np.ones(rows.flux.shape)
        flux, _, bits = resample_rows(rows.flux, ones, good, bits, rows.edges, instrument.edges, 1 / factor)
    covered = bits == 0
    _check_reach(instrument, rows, factor, covered)
    return flux, covered


def _good(rows):
    good = np.isfinite(rows.flux)
    if rows.mask is not None:
        good &= ~np.asarray(rows.mask, bool)
    if rows.ivar is not None:
        good &= np.asarray(rows.ivar) > 0
    return good


def _observe(rows, good, factor, edges, sigma):
    from specalign.instruments import _smoothing_kernels

    out = np.empty((len(rows), sigma.size)), np.empty((len(rows), sigma.size), np.uint32)
    step = rows.edges.upper - rows.edges.lower

    def work(block):
        flux = np.array(rows.flux[block], dtype=np.float64, order="C")
        arrays = rows.axis, step, *edges, sigma, factor[block], COVERED, out[0][block], out[1][block]
        _smoothing_kernels.observe(flux, np.ascontiguousarray(good[block]), *arrays)

    in_blocks(work, len(rows))
    return out


def response_sigma(instrument, axis, power=None):
    """Standard deviation (P,) of the Gaussian that, with the pixels, makes a model's lines as wide as the instrument's.

    ``lsf_sigma`` is the width of an unresolved line as the pixels show it.  The variance of a pixel, width^2 / 12, and
    that of the model are taken off.

    Parameters
    ----------
    instrument : Instrument
    axis : (Q,) float
        Wavelengths of the model as observed, Angstrom.
    power : float, optional
        Resolving power of the model.  Default: infinite.

    Raises
    ------
    SpectrumError
        The instrument declares no line-spread function, or the model is coarser than it, in resolution or sampling.
    """
    if instrument.lsf_sigma is None:
        raise SpectrumError(f"{instrument.name} declares no lsf_sigma; pass convolve=False to leave the model as it is")
    if power is not None and not power > 0:
        raise SpectrumError(f"resolving_power: expected a positive number, got {power}")
    centre, wanted = instrument.spectral_axis.value, instrument.lsf_sigma.to_value(u.AA)
    pixel = instrument.edges.upper - instrument.edges.lower
    gaussian = np.maximum(wanted**2 - pixel**2 / 12, (UNDERSAMPLED * pixel) ** 2)
    variance = gaussian - (0.0 if power is None else (centre / power / FWHM) ** 2)
    inside = (centre >= axis[0]) & (centre <= axis[-1])
    _check_resolution(instrument, centre, gaussian, variance, inside, power)
    samples = pixel_edges(axis)
    step = np.interp(centre, axis, samples.upper - samples.lower)
    sigma = np.sqrt(np.maximum(variance, (UNDERSAMPLED * pixel) ** 2))
    _check_sampling(instrument, centre, sigma, step, inside)
    return sigma


def _check_resolution(instrument, centre, gaussian, variance, inside, power):
    coarse = inside & (variance <= 0)
    if coarse.any():
        j = int(np.argmax(coarse))
        needed = centre[j] / FWHM / np.sqrt(gaussian[j])
        raise SpectrumError(
            f"resolving_power: expected more than {needed:.0f} at {centre[j]:.0f} Angstrom, which {instrument.name} "
            f"has but for its pixels, got {power:g}: a model cannot be sharpened; pass convolve=False if it has the "
            f"instrument's line-spread function already"
        )


def _check_sampling(instrument, centre, sigma, step, inside):
    coarse = inside & (step > sigma)
    if coarse.any():
        j = int(np.argmax(coarse))
        raise SpectrumError(
            f"spectral_axis: expected steps of {sigma[j]:.3g} Angstrom or less at {centre[j]:.0f} Angstrom, to be "
            f"convolved for {instrument.name}, got steps of {step[j]:.3g}; sample the library more finely"
        )


def _check_reach(instrument, rows, factor, covered):
    empty = np.flatnonzero(~covered.any(axis=1))
    if empty.size:
        k, axis = empty[0], instrument.spectral_axis.value
        raise SpectrumError(
            f"object {str(rows.facts.object_id[k])!r}: expected a model with good pixels between {axis[0]:.0f} and "
            f"{axis[-1]:.0f} Angstrom, where {instrument.name} looks, got one from {rows.axis[0] * factor[k]:.0f} to "
            f"{rows.axis[-1] * factor[k]:.0f}"
        )


def _positive(snr):
    snr = np.asarray(snr, dtype=float)
    if not (snr > 0).all():
        raise SpectrumError(f"snr: expected positive numbers, got {snr[~(snr > 0)].flat[0]}")
    return snr


def _snr_of(snr, n, index, instrument):
    """Signal to noise of some of n rows: (M, 1) for a number a row, (P,) or (M, P) for one a pixel."""
    p = instrument.n_pixels
    if snr.ndim == 0:
        return np.full((len(index), 1), float(snr))
    if snr.shape == (n,) and n == p and n > 1:
        raise SpectrumError(f"snr: {n} numbers for {n} rows of {p} pixels; pass shape ({n}, 1) or (1, {p})")
    if snr.shape in ((n,), (n, 1), (n, p)):
        return snr.reshape(n, -1)[index]
    if snr.shape in ((p,), (1, p)):
        return np.broadcast_to(snr, (len(index), p))
    raise SpectrumError(f"snr: expected a number or shape ({n},), ({p},) or ({n}, {p}), got shape {snr.shape}")


def _errors(flux, covered, snr, object_id):
    """Standard deviation (N, P) of the noise."""
    level = np.nanmedian(np.where(covered, flux, np.nan), axis=1)
    if not (level > 0).all():
        k = int(np.flatnonzero(~(level > 0))[0])
        raise SpectrumError(f"object {str(object_id[k])!r}: expected a positive median flux, got {level[k]:g}")
    level = level[:, None]
    signal = np.maximum(flux, FLOOR * level)
    return (np.sqrt(signal * level) if snr.shape[1] == 1 else signal) / snr


def _facts(instrument, rows, k, velocity):
    """Keywords of `build_spectrum` for a row, but for its pixels."""
    known, own = ~np.isnan(velocity), rows.extra["normalization"][rows.index[k]]
    product = Product(
        "simulated",
        instrument.name,
        _DATA_MODEL,
        frame="barycentric" if known else "rest",
        normalization=own if own in NORMALIZATIONS else "none",
    )
    object_id, row = str(rows.facts.object_id[k]), str(rows.facts.spectrum_id[k])
    setting = {name: instrument.options[name] for name in ("disperser", "filter") if name in instrument.options}
    return {
        "product": product,
        "object_id": object_id,
        "spectrum_id": f"{instrument.name}-simulated-{row}",
        "radial_velocity": velocity * u.km / u.s if known else None,
        "velocity_source": "simulated",
        **setting,
    }


@dataclass
class _Draw:
    """All that is drawn for a spectrum: where its gaps lie, which pixels are bad, the noise."""

    instrument: object
    rng: np.random.Generator
    bad_fraction: float

    def spectrum(self, flux, error, covered, unit, facts):
        """One spectrum as the instrument's reader would give it."""
        bits, instrument = self.instrument.quality_bits, self.instrument
        quality = np.where(covered, 0, bit_value(bits, "UNCOVERED")).astype(np.uint32)
        if instrument.outside is not None:
            quality[instrument.outside] |= bit_value(bits, "EDGE")
        self._gaps(quality, bits)
        self._defects(quality, bits)
        noise = self.rng.standard_normal(flux.size)
        good = quality == 0
        least = NOISELESS**-1 * np.median(flux[covered])
        return build_spectrum(
            np.where(good, flux + error * noise, 0.0) << unit,
            instrument.spectral_axis,
            quality_bits=instrument._module.QUALITY_BITS,
            ivar=np.where(good, np.maximum(error, least) ** -2.0, 0.0),
            quality=quality,
            bad_bits=decode(instrument.bad_bits, bits),
            snr=np.median((flux / np.maximum(error, least))[good]) if good.any() else 0.0,
            **facts,
        )

    def _gaps(self, quality, bits):
        axis = self.instrument.spectral_axis.value
        for gap in self.instrument.gaps:
            start = self.rng.uniform(gap.first, gap.last)
            quality[(axis > start) & (axis < start + gap.width)] |= bit_value(bits, *gap.bits)

    def _defects(self, quality, bits):
        """Single bad pixels; a pixel that is bad already gets no further bit."""
        names = self.instrument.defects
        struck = self.rng.random(quality.size) < self.bad_fraction
        which = self.rng.integers(max(len(names), 1), size=quality.size)
        for k, name in enumerate(names):
            quality[struck & (which == k) & (quality == 0)] |= bit_value(bits, name)
