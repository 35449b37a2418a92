"""Labels to noiseless spectra: a small line model.

The optical depth of a spectrum is a sum of fixed profiles times strengths that depend on the labels, so that a block
of stars is one matrix product.  For a line of excitation chi, at the temperature T = 0.9 Teff with theta = 5040 K / T,

    log eta = const + log abundance + log gf - theta chi + log(lambda / 5000) + log(ion fraction) - log(opacity),

with the ion fraction by Saha, the opacity that of H-, and an electron pressure that follows Teff, log g and [Fe/H]
(Gray, The Observation and Analysis of Stellar Photospheres, chapters 8, 13 and 16: neutral lines hardly react to
log g, ionised ones do).  The equivalent width follows a curve of growth with a linear, a flat and a damping part; the
core is a Gaussian of the instrument's width, strong lines and hydrogen add Lorentzian wings whose width grows with
eta and pressure.  Molecules are OH, CN and CO lines and shaded band heads; each goes with the abundances of its atoms,
CO with that of the scarcer one.  Rotation convolves with the profile of a limb-darkened disc.  The continuum, where a
product keeps it, is a Planck function with a Balmer jump, line blanketing, and extinction that goes as lambda to the
power -1.35.

It is a mock: it has the right lines, directions and degeneracies, and no claim to be a synthesis.
"""

import functools
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.special import erfcx, j1, voigt_profile

from specalign.mock.lines import BANDS, LINES, SPECIES, co_lines, hydrogen_lines

__all__ = ["SETUPS", "Setup", "noise", "spectrum"]

_WIDTHS = 0.1 * 2.0 ** np.arange(11)  # half-widths of wings that the basis holds, Angstrom
_CO_TEMPERATURES = np.array([3600.0, 4400.0, 5200.0])
_DEEPEST = 0.9  # central depth of a completely saturated line
_LIMB_DARKENING = 0.6
_SPEED_OF_LIGHT = 299792.458  # km/s


@dataclass(frozen=True)
class Setup:
    """How one instrument sees: native axis (P,) in vacuum Angstrom, FWHM (P,) in Angstrom, and the flux of its product.

    ``normalized`` products have no continuum and stand at rest on the model's own pixels.  ``log_step`` is the model's
    pixel in ln(wavelength); without one, the resolution is too low for velocities to matter.  ``chips`` are the pixels
    (start, stop) that each detector sees.
    """

    name: str
    axis: np.ndarray
    fwhm: np.ndarray
    unit: u.UnitBase
    normalized: bool = False
    log_step: float | None = None
    chips: tuple = ((0, None),)


def _setups():
    apogee, lamost = 10 ** (4.179 + 6e-6 * np.arange(8575)), 10 ** (3.5682 + 1e-4 * np.arange(3909))
    nirspec, xp = 9700 + 2.35 * np.arange(3915), 3360 + 20.0 * np.arange(343)
    return (
        Setup("apogee", apogee, apogee / 22500, u.dimensionless_unscaled, normalized=True, log_step=6e-6 * np.log(10),
              chips=((246, 3274), (3585, 6080), (6344, 8335))),
        Setup("nirspec", nirspec, np.full(3915, 4.7), u.Jy, log_step=5e-5,  # two pixels: R = 2700 at 1.27 micron
              chips=((0, 1864), (2196, None))),
        Setup("lamost", lamost, lamost / 1800, u.dimensionless_unscaled, log_step=7.5e-5),
        Setup("gaia_xp", xp, xp / 60, u.W / u.m**2 / u.nm),
    )  # fmt: skip


SETUPS = {setup.name: setup for setup in _setups()}


def spectrum(instrument, labels, radial_velocity=None):
    """Noiseless mock spectra on the instrument's native axis.

    Parameters
    ----------
    instrument : {"apogee", "nirspec", "lamost", "gaia_xp"}
    labels : `~astropy.table.QTable` (N rows)
        As `draw_labels` gives it.  Columns teff, logg and fe_h must be there; an ``x_fe`` that is not is 0 (the solar
        ratio), and so are vsini and a_v.  vsini has no effect at the low resolution of Gaia XP.
    radial_velocity : `~astropy.units.Quantity` (N,), optional
        Receding is positive; at rest unless given.  It has no effect on products at rest (APOGEE) or of low
        resolution (Gaia XP).

    Returns
    -------
    spectral_axis : `~astropy.units.Quantity` (P,)
        Vacuum wavelength, Angstrom.
    flux : `~astropy.units.Quantity` (N, P)
        Continuum 1 for APOGEE; relative (1 at 5500 Angstrom without extinction) in the product's unit otherwise.

    Raises
    ------
    KeyError
        The instrument is unknown, or teff, logg or fe_h is not there.

    Examples
    --------
    >>> from specalign.mock import draw_labels, spectrum
    >>> axis, flux = spectrum("gaia_xp", draw_labels(2, seed=0))
    >>> flux.shape
    (2, 343)
    """
    setup = SETUPS[instrument]
    velocity = None if radial_velocity is None else u.Quantity(radial_velocity).to_value(u.km / u.s)
    return setup.axis * u.AA, _flux(setup, _Star(labels), velocity) * setup.unit


def noise(flux, snr):
    """Standard deviation (N, P) of flux (N, P): photon noise and a floor; snr (N,) refers to the median pixel."""
    middle = np.median(flux, axis=1, keepdims=True)
    return np.sqrt(0.9 * flux * middle + 0.1 * middle**2) / snr[:, None]


class _Star:
    """Physical quantities of N stars, as plain (N,) arrays."""

    def __init__(self, labels):
        self.labels = {name: np.asarray(getattr(labels[name], "value", labels[name])) for name in _numeric(labels)}
        self.teff, self.logg, self.fe_h = (self.labels[name] for name in ("teff", "logg", "fe_h"))
        self.theta = 5040 / (0.9 * self.teff)
        cool = 0.6 * (self.teff - 5777) / 1000
        self.pressure = 1.0 + cool + 0.35 * (self.logg - 4.44) + 0.3 * self.fe_h  # log electron pressure
        self.opacity = self.pressure + 2.5 * np.log10(self.theta) + 0.754 * self.theta  # log, H- bound-free
        self.doppler = (2.4 - 0.2 * self.logg) / _SPEED_OF_LIGHT  # turbulence, as a fraction of the wavelength

    def abundance(self, element):
        """Logarithmic abundance relative to the Sun; that of "ti+o" adds titanium and oxygen."""
        if "+" in element:
            return sum(self.abundance(atom) for atom in element.split("+"))
        return self.fe_h + self.labels.get(f"{element}_fe", 0.0)

    def carbon_monoxide(self):
        """Logarithmic abundance of CO relative to the Sun: it is bound by the scarcer of its atoms."""
        carbon, oxygen = (10 ** (solar + self.abundance(x)) for solar, x in ((8.43, "c"), (8.69, "o")))
        return np.log10(carbon * oxygen / (carbon + oxygen)) + np.log10(10**-8.43 + 10**-8.69)

    def ionised(self, energy, partition):
        """Log of the ratio of ionised to neutral atoms, by Saha; partition = log 2 U1 / U0."""
        return -self.pressure + 2.5 * np.log10(5040 / self.theta) - self.theta * energy - 0.48 + partition


def _numeric(labels):
    names = labels.colnames if hasattr(labels, "colnames") else list(labels)
    return [name for name in names if name in ("teff", "logg", "fe_h", "vsini", "a_v") or name.endswith("_fe")]


def _flux(setup, star, velocity=None):
    basis = _basis(setup.name)
    strength = np.concatenate(list(_strengths(star, basis)), axis=1)
    flux = np.exp(-strength.astype(np.float32) @ basis.profiles)
    if setup.log_step and "vsini" in star.labels:
        flux = _rotated(flux, star.labels["vsini"], setup.log_step)
    if not setup.normalized:
        flux *= _continuum(basis.axis, star, in_frequency=setup.unit == u.Jy)
    if setup.normalized or not setup.log_step:
        return flux
    beta = np.zeros(len(flux)) if velocity is None else np.broadcast_to(velocity, (len(flux),)) / _SPEED_OF_LIGHT
    factor = np.sqrt((1 + beta) / (1 - beta))
    rows = [np.interp(setup.axis / f, basis.axis, row) for f, row in zip(factor, flux, strict=True)]
    return np.array(rows, dtype=np.float32)


def _rotated(transmission, vsini, log_step):
    """Transmission (N, Q) on pixels even in ln(wavelength), broadened by v sin i (N,) in km/s.

    The profile of a rigid, linearly limb-darkened disc (Gray, chapter 18), applied as its Fourier transform.
    """
    n = transmission.shape[1]
    size = next_fast_len(n + 100, real=True)  # what leaves one end must not come in at the other
    pixels = vsini[:, None] / (_SPEED_OF_LIGHT * log_step)
    x = np.maximum(2 * np.pi * pixels * rfftfreq(size), 1e-3)
    dark = _LIMB_DARKENING
    kernel = (2 * (1 - dark) * j1(x) / x + 2 * dark * (np.sin(x) / x - np.cos(x)) / x**2) / (1 - dark / 3)
    depth = rfft(1 - transmission, size) * kernel.astype(np.float32)
    return 1 - irfft(depth, size)[:, :n]


@dataclass(frozen=True)
class _Basis:
    axis: np.ndarray  # (Q,) model pixels
    profiles: np.ndarray  # (B, Q): cores, wings, hydrogen, CO, bands
    lines: np.ndarray  # rows of LINES that are in range
    strong: np.ndarray  # those of them that have wings
    hydrogen: np.ndarray  # rows of hydrogen_lines that are in range


@functools.lru_cache
def _basis(name):
    setup = SETUPS[name]
    axis = _model_axis(setup)
    sigma = np.interp(axis, setup.axis, setup.fwhm) / 2.3548
    lines = _inside(axis, LINES["wavelength"], 5 * sigma.max())
    strong = lines[LINES["strong"][lines]]
    hydrogen = _inside(axis, hydrogen_lines()[0], 150.0)
    cores = _gaussian(axis, LINES["wavelength"][lines], sigma)
    wings = [_wing(axis, w, sigma) for w in (*LINES["wavelength"][strong], *hydrogen_lines()[0][hydrogen])]
    co = [strength @ _gaussian(axis, lines_, sigma) for lines_, strength in map(co_lines, _CO_TEMPERATURES)]
    bands = [sum(_band(axis, head, length, sigma) for head in heads) for *_, heads, length in BANDS.values()]
    profiles = np.concatenate([cores, *wings, co, bands]).astype(np.float32)
    return _Basis(axis, profiles, lines, strong, hydrogen)


def _inside(axis, wavelength, margin):
    return np.flatnonzero((wavelength > axis[0] - margin) & (wavelength < axis[-1] + margin))


def _model_axis(setup):
    """The native axis, or one even in ln(wavelength) and a little longer, so that a velocity shift stays inside."""
    if setup.normalized or not setup.log_step:
        return setup.axis
    low, high = np.log(setup.axis[[0, -1]]) + np.array([-0.004, 0.004])
    return np.exp(np.arange(low, high, setup.log_step))


def _gaussian(axis, centre, sigma):
    """Profiles (L, Q) of unit area in Angstrom."""
    local = np.interp(centre, axis, sigma)[:, None]
    return np.exp(-0.5 * ((axis - np.asarray(centre)[:, None]) / local) ** 2) / (local * np.sqrt(2 * np.pi))


def _wing(axis, centre, sigma):
    """Optical depths (W, Q) of saturated Lorentzian lines of each half-width, seen with the instrument's Gaussian."""
    local = np.interp(centre, axis, sigma)
    depth = [np.pi * width * voigt_profile(axis - centre, local, width) for width in _WIDTHS]
    return -np.log1p(-_DEEPEST * np.array(depth))


def _band(axis, head, length, sigma):
    """A band head that decays exponentially to one side, convolved with the instrument's Gaussian."""
    x, local, tail = (axis - head) * np.sign(length), np.interp(head, axis, sigma), abs(length)
    z = (local / tail - x / local) / np.sqrt(2)
    near = 0.5 * np.exp(-0.5 * (x / local) ** 2) * erfcx(np.maximum(z, -5))
    far = np.exp(np.minimum(0.5 * (local / tail) ** 2 - x / tail, 0))
    return np.where(z > -5, near, far)


def _strengths(star, basis):
    """Weights of the basis, in its order: (N, B) altogether."""
    eta = _line_eta(star, basis.lines)
    core, _ = _widths(star, LINES["wavelength"][basis.lines], eta)
    yield core
    is_strong = np.isin(basis.lines, basis.strong)
    _, wing = _widths(star, LINES["wavelength"][basis.strong], eta[:, is_strong])
    yield _on_nodes(wing, eta[:, is_strong] / (10 + eta[:, is_strong]))
    yield _on_nodes(*_hydrogen(star, basis.hydrogen))
    yield _co(star)
    yield _molecules(star)


def _line_eta(star, lines):
    """Ratio of line to continuous opacity (N, L)."""
    eta = np.empty((len(star.teff), len(lines)))
    for species, (element, abundance, energy, stage, partition) in SPECIES.items():
        chosen = LINES["species"][lines] == species
        rows = lines[chosen]
        strength = LINES["log_gf"][rows] + np.log10(LINES["wavelength"][rows] / 5000)
        common = abundance + star.abundance(element) + _population(star, energy, stage, partition)
        eta[:, chosen] = common[:, None] + strength - star.theta[:, None] * LINES["excitation"][rows]
    return 10 ** np.clip(eta, -8, 8)


def _population(star, energy, stage, partition):
    """Log of the fraction of atoms in a stage, over the continuous opacity."""
    if stage < 0:  # molecules: dissociation, and the pressure of their partners
        return energy * (star.theta - 1.3) - 0.15 * (star.logg - 2.5)
    ratio = star.ionised(energy, partition)
    return -1.0 - np.log10(1 + 10 ** (ratio if stage == 0 else -ratio)) - (star.opacity - 1.8)


def _widths(star, wavelength, eta):
    """Equivalent width of the core (N, L), and half-width of the damping wings (N, L), in Angstrom."""
    doppler = star.doppler[:, None] * wavelength
    core = doppler / np.sqrt(1 / (np.pi * eta**2) + 1 / (4 * np.log(np.e + eta)))
    damping = 0.5 * 10 ** (0.6 * (star.logg - 4.44))[:, None]
    return core, doppler * np.sqrt(damping * eta / np.sqrt(np.pi))


def _on_nodes(width, depth):
    """Weights (N, L * W) that interpolate each wing between the half-widths of the basis."""
    place = np.log2(np.clip(width / _WIDTHS[0], 1, 2.0 ** (len(_WIDTHS) - 1)))
    hat = np.clip(1 - np.abs(place[..., None] - np.arange(len(_WIDTHS))), 0, None)
    return (depth[..., None] * hat).reshape(len(width), -1)


def _hydrogen(star, rows):
    """Half-width (Angstrom) and relative depth (N, L) of hydrogen lines: Boltzmann populations, Stark widths."""
    wavelength, lower, step = (values[rows] for values in hydrogen_lines())
    excitation = 13.598 * (1 - 1 / lower**2)
    zero = np.array([np.nan, np.nan, 1.0, 0.45, -0.1])[lower]  # solar log strength of the first line of a series
    log_eta = zero - 1.6 * np.log10(step) + 0.55 * excitation * (5040 / 5200 - star.theta)[:, None]
    eta = 10 ** np.clip(log_eta, -6, 3)
    width = 0.55 * np.sqrt(eta) * (wavelength / 6563) ** 2 * 10 ** (0.12 * (star.logg - 4.44))[:, None] * step**0.7
    return width, 0.85 * eta / (1 + eta)


def _co(star):
    """Total optical depth (Angstrom) of CO (N, 3), shared between the two nearest temperatures."""
    log_eta = star.carbon_monoxide() + 6 * (5040 / star.teff - 1.2) - 0.2 * (star.logg - 2.5)
    eta = 10 ** np.clip(log_eta, -6, 2)
    place = np.interp(star.teff, _CO_TEMPERATURES, [0, 1, 2])
    return 90 * (eta / np.sqrt(1 + eta))[:, None] * np.clip(1 - np.abs(place[:, None] - np.arange(3)), 0, None)


def _molecules(star):
    """Peak optical depth of each band system (N, M)."""
    columns = []
    for element, zero, slope, gravity, *_ in BANDS.values():
        log_eta = zero + star.abundance(element) + slope * (5040 / star.teff - 1.2) + gravity * (star.logg - 2.5)
        eta = 10 ** np.clip(log_eta, -6, 3)
        columns.append(1.2 * eta / (1 + eta))
    return np.stack(columns, axis=1)


def _continuum(axis, star, in_frequency):
    """Flux per wavelength (or per frequency) (N, Q), 1 at 5500 Angstrom where there is no extinction."""
    teff, logg = star.teff[:, None], star.logg[:, None]
    planck = (axis / 5500) ** -5.0 * np.expm1(1.43878e8 / (5500 * teff)) / np.expm1(1.43878e8 / (axis * teff))
    jump = 0.5 * np.clip((teff - 4800) / 2000, 0, 1.5) * (1 - 0.08 * (logg - 4)) / (1 + np.exp((axis - 3680) / 25))
    haze = 0.9 * 10 ** (0.35 * star.fe_h[:, None] + 2.2 * (5040 / teff - 0.9)) * np.exp(-(axis - 3300) / 800)
    reddening = star.labels.get("a_v", np.zeros(len(teff)))[:, None] * (axis / 5500) ** -1.35
    flux = planck * np.exp(-jump - haze) * 10 ** (-0.4 * reddening)
    return (flux * (axis / 5500) ** 2 if in_frequency else flux).astype(np.float32)
