"""Figures of the page on masks and inverse variance: a masked pixel in careless hands, and here."""

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance
from matplotlib import pyplot as plt
from matplotlib import rc_context
from specutils import Spectrum
from specutils.manipulation import FluxConservingResampler

from specalign import get_instrument
from specalign.plots.style import INK, PALETTE, STYLE

#: A line, a cosmic ray of twelve pixels, and some noise; wavelengths in Angstrom.
CENTRE, RAY = 16020.0, slice(365, 377)
UNIT = u.Unit("1e-17 erg / (Angstrom s cm2)")


def damaged_spectrum():
    """A spectrum with one line and a cosmic ray that its mask knows."""
    wavelength = np.arange(15990, 16060, 0.1)
    flux = 1 - 0.35 * np.exp(-0.5 * ((wavelength - CENTRE) / 0.6) ** 2)
    flux += np.random.default_rng(4).normal(scale=0.012, size=flux.size)
    mask = np.zeros(flux.size, bool)
    mask[RAY], flux[RAY] = True, 1.9
    uncertainty = InverseVariance(np.full(flux.size, 0.012**-2) / UNIT**2)
    facts = {"object_id": "a star", "frame": "rest", "medium": "vacuum"}
    return Spectrum(flux * UNIT, wavelength * u.AA, uncertainty=uncertainty, mask=mask, meta=facts)


def draw_masked_pixel():
    """The cosmic ray as it is, interpolated, conserved in flux, and resampled with its mask."""
    spectrum = damaged_spectrum()
    wavelength = spectrum.spectral_axis.value
    resampled = get_instrument("apogee").resample(spectrum)
    grid, good = resampled.spectral_axis.value, ~np.asarray(resampled.mask)
    near = (grid > 16005) & (grid < 16050)
    careless = np.interp(grid, wavelength, spectrum.flux.value)
    conserved = FluxConservingResampler()(spectrum, resampled.spectral_axis[near])
    ivar = np.asarray(resampled.uncertainty.array)
    with rc_context(STYLE):
        _, axes = plt.subplots(3, 1, figsize=(7.2, 6.6), sharex=True, layout="constrained")
        axes[0].step(wavelength, spectrum.flux, where="mid", color=INK, linewidth=1)
        axes[0].set_title("The file: a cosmic ray, which the mask knows")
        axes[1].plot(grid[near], careless[near], color=PALETTE[1], label="np.interp")
        axes[1].plot(grid[near], conserved.flux, color=PALETTE[3], label="FluxConservingResampler", linestyle="--")
        axes[1].set_title("Flux alone: the ray is in the spectrum, and no longer marked")
        axes[1].legend(loc="upper right")
        axes[2].plot(grid[near], np.where(good, resampled.flux.value, np.nan)[near], color=PALETTE[0], label="flux")
        axes[2].plot(grid[near], ivar[near] / ivar.max(), color=PALETTE[2], linewidth=1, label="ivar / maximum")
        axes[2].fill_between(grid[near], -0.1, 1.3, where=~good[near], color="#d9dee3", label="masked", step="mid")
        axes[2].set_title("specalign: flux from good pixels; ivar is zero where there are none")
        axes[2].legend(loc="lower right", ncols=3)
        for ax, top in zip(axes, (2.1, 2.1, 1.3), strict=True):
            ax.set(ylabel="Flux [arbitrary]", xlim=(16006, 16049), ylim=(-0.1 if top < 2 else 0.5, top))
        axes[2].set_xlabel("Vacuum wavelength [Å]")


def draw_weights():
    """The mean of repeated measurements, with all alike and with inverse variances."""
    rng = np.random.default_rng(1)
    sigma = np.where(rng.random((4000, 12)) < 0.25, 10.0, 1.0)
    values = sigma * rng.normal(size=sigma.shape)
    means = {"every pixel alike": values.mean(axis=1)}
    means["weighted by ivar"] = np.sum(values / sigma**2, axis=1) / np.sum(sigma**-2, axis=1)
    with rc_context(STYLE):
        _, ax = plt.subplots(figsize=(7.2, 2.8), layout="constrained")
        for (name, mean), colour in zip(means.items(), (PALETTE[1], PALETTE[0]), strict=True):
            label = f"{name}: scatter {mean.std():.2f}"
            ax.hist(mean, np.linspace(-5, 5, 101), histtype="step", color=colour, label=label, linewidth=1.5)
        ax.set(xlabel="Error of the mean [σ of a good pixel]", ylabel="Number")
        ax.set_title("Twelve pixels, a quarter of them ten times as noisy")
        ax.legend()
