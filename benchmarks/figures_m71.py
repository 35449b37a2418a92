"""The two figures of ``docs/m71.rst``: real and mock spectra over each other, and where they lie in the space."""

import numpy as np
from m71_spectra import HYDROGEN, unpacked
from matplotlib import rc_context
from matplotlib.figure import Figure

from specalign.io.files import atomic_write

SPECTRA, PLANE = "m71_spectra.png", "m71_plane.png"
STRETCHES = ((9700, 10290), (10840, 11430), (11640, 12230), (12700, 13290))  # Angstrom
LIMITS = (0.82, 1.12)
STATES = {"before": "before", "7, 12": "after sources 7 and 12", "19": "after source 19"}
CLEAN = ("3", "19")
COLOURS = {"3": "C2", "7": "C4", "12": "C1", "19": "C3"}


def write_figures(folder, result):
    """Both figures, each under a temporary name first."""
    for name, draw in {SPECTRA: draw_spectra, PLANE: draw_plane}.items():
        with rc_context({"text.usetex": False}):
            figure = draw(result)
        with atomic_write(folder / name) as temporary:
            figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})


def draw_spectra(result):
    """Source 19, the mock model at its APOGEE labels and the reconstruction, in four stretches."""
    spectra = {name: unpacked(text) for name, text in result["spectra"]["spectra"].items()}
    figure = Figure(figsize=(9, 9), layout="constrained")
    panels = figure.subplots(len(STRETCHES), 1)
    for axes, (low, high) in zip(panels, STRETCHES, strict=True):
        draw_stretch(axes, spectra, low, high)
    panels[-1].set_xlabel("wavelength at rest (Å, vacuum)")
    figure.supylabel("flux / continuum")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, ncols=3, loc="outside upper center", frameon=False)
    return figure


def draw_stretch(axes, spectra, low, high):
    """One stretch of wavelengths; lines of H I are marked."""
    wavelength = spectra["wavelength"]
    inside = (wavelength >= low) & (wavelength <= high)
    for name, style, title in (
        ("real", {"color": "k", "lw": 1.2}, "source 19, exposure 1"),
        ("model", {"color": "C0", "lw": 1.2}, "mock model at its APOGEE labels"),
        ("reconstruction", {"color": "C1", "lw": 1.0, "ls": "--"}, "reconstruction by the autoencoder"),
    ):
        axes.plot(wavelength[inside], spectra[name][inside], label=title, **style)
    for line in HYDROGEN:
        if low < line < high:
            axes.axvline(line, color="0.6", lw=0.8, ls=":")
            axes.text(line, LIMITS[1] - 0.005, " H I", color="0.4", va="top", size=9)
    noise = np.nanmedian(spectra["noise"][inside & np.isfinite(spectra["real"])])
    axes.text(0.99, 0.05, f"stated noise {noise:.4f}", transform=axes.transAxes, ha="right", size=9)
    axes.set(xlim=(low, high), ylim=LIMITS)


def draw_plane(result):
    """Mock stars, emulated partners and real traces on the two principal components, before and after adaptations."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, len(STATES), sharex=True, sharey=True)
    for axes, (state, title) in zip(panels, STATES.items(), strict=True):
        draw_state(axes, result, points_of(result, state))
        axes.set_title(title, size=11)
    share = result["positions"]["figure"]["share"]
    figure.supxlabel(f"first principal component ({100 * share[0]:.0f} % of the variance)", size=10)
    panels[0].set_ylabel(f"second ({100 * share[1]:.0f} %)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, ncols=5, loc="outside upper center", frameon=False, fontsize=9)
    return figure


def points_of(result, state):
    """Places of the traces (N, 2)."""
    if state == "before":
        return unpacked(result["adaptation"]["before"]["points"]).reshape(-1, 2)
    return unpacked(result["adaptation"]["after"][state]["labels and partners"]["points"]).reshape(-1, 2)


def draw_state(axes, result, points):
    """One panel."""
    figure = result["positions"]["figure"]
    for name, colour, title in (("apogee", "C9", "mock APOGEE"), ("nirspec", "0.65", "mock NIRSpec")):
        axes.plot(*unpacked(figure[name]).reshape(-1, 2).T, ".", ms=3, color=colour, label=title, zorder=1)
    source = np.array([one["source"] for one in result["traces"]])
    for name in sorted(COLOURS, key=int):
        marker = {"marker": "o", "ms": 7} if name in CLEAN else {"marker": "x", "ms": 7, "mew": 1.8}
        title = f"source {name}" + ("" if name in CLEAN else " (artefacts)")
        axes.plot(*points[source == name].T, ls="", color=COLOURS[name], label=title, zorder=3, **marker)
    partners = unpacked(figure["twins"]).reshape(-1, 2)
    for name, place in zip(figure["twin names"], partners, strict=True):
        axes.plot(*place, "*", ms=13, mec="k", mew=0.7, color=COLOURS[name], zorder=2)
    axes.plot([], [], "*", ms=12, color="w", mec="k", label="emulated APOGEE at the labels")
