"""The figure of the page on the mock survey: two stars in four instruments, and what abundances change."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context

from specalign.mock import draw_labels, gradients, spectrum
from specalign.plots.style import PALETTE, STYLE

SHOWN = {"gaia_xp": "Gaia XP", "lamost": "LAMOST", "nirspec": "NIRSpec", "apogee": "APOGEE, a part"}
ELEMENTS = {"mg_fe": "[Mg/Fe]", "si_fe": "[Si/Fe]", "c_fe": "[C/Fe]"}
PART = (15740, 15980)


def choose_stars():
    """A giant and a dwarf of the mock survey."""
    stars = draw_labels(100, seed=1)
    logg = stars["logg"].value
    return stars[[int(np.argmin(np.abs(logg - other))) for other in (2.2, 4.4)]]


def draw_spectra(ax, name, stars):
    """Both stars without noise, as one instrument sees them."""
    axis, flux = spectrum(name, stars)
    wavelength = axis.to_value("Angstrom")
    near = np.ones(wavelength.size, bool) if name != "apogee" else (wavelength > PART[0]) & (wavelength < PART[1])
    for row, kind, colour in zip(flux.value, ("giant", "dwarf"), PALETTE[1::-1], strict=True):
        scale = 1 if name == "apogee" else np.median(row)
        ax.plot(wavelength[near], row[near] / scale, color=colour, linewidth=0.8, label=kind)
    ax.set_title(SHOWN[name])


def draw_gradients(ax, giant):
    """What a dex of each element changes in a part of the giant's APOGEE spectrum."""
    wavelength = spectrum("apogee", giant)[0].to_value("Angstrom")
    near = (wavelength > PART[0]) & (wavelength < PART[1])
    changes = gradients("apogee", giant, [*ELEMENTS])[0]
    for row, label, colour in zip(changes, ELEMENTS.values(), PALETTE, strict=False):
        ax.plot(wavelength[near], row[near], color=colour, linewidth=0.9, label=label)
    ax.set(title="The giant in APOGEE: change of the flux", xlabel="Vacuum wavelength [Å]", ylabel="[1 / dex]")
    ax.legend(ncols=3, loc="lower right")


def draw():
    """All panels."""
    stars = choose_stars()
    with rc_context(STYLE):
        _, axes = plt.subplots(5, 1, figsize=(7.6, 9), layout="constrained")
        for ax, name in zip(axes, SHOWN, strict=False):
            draw_spectra(ax, name, stars)
        axes[0].legend(loc="lower right")
        axes[1].set_ylabel("Flux / its median")
        axes[3].set_ylabel("Flux / continuum")
        draw_gradients(axes[4], stars[:1])
