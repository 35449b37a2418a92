"""One look for all figures, without touching matplotlib's global settings or needing a display."""

import functools
import inspect
import io
import itertools

import numpy as np

from specalign.exceptions import MissingExtraError

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError("figures need matplotlib: pip install 'specalign[plot]'") from error

__all__ = ["given_axes", "ink", "instrument_colours", "new_axes", "new_figure", "styled", "unit_label", "wavelength"]

ACCENT, MUTED, SOFT, INK = "#1f5fa8", "#9aa3ad", "#6b747d", "#22282f"

#: Distinguishable by colour-blind readers, and in grey.
PALETTE = ("#1f5fa8", "#c8502d", "#2a8c6e", "#b98a12", "#7a4fa3", "#4d5963")
INSTRUMENTS = {"apogee": "#c8502d", "nirspec": "#1f5fa8", "lamost": "#2a8c6e", "gaia_xp": "#b98a12"}

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": "#e3e7eb",
    "grid.linewidth": 0.7,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": "#4d5963",
    "ytick.color": "#4d5963",
}


def styled(function):
    """Draw with the style of this package, and leave the user's settings and the colours of given axes as they are."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args, **options):
        ax = signature.bind_partial(*args, **options).arguments.get("ax")
        with mpl.rc_context(STYLE | _colours_of(ax)):
            return function(*args, **options)

    return wrapper


def _colours_of(ax):
    """Settings that fit axes of the user's own: on a dark ground, text and new axes are those of a dark style."""
    axes = [one for one in np.ravel(np.asarray(ax, dtype=object)) if hasattr(one, "get_figure")]
    if not axes:
        return {}
    text, grid = axes[0].xaxis.label.get_color(), axes[0].xaxis.get_gridlines()[:1]
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    lines = {"axes.grid": grid[0].get_visible(), "grid.color": grid[0].get_color()} if grid else {}
    return dict.fromkeys(names, text) | lines | {"axes.facecolor": axes[0].get_facecolor()}


def ink():
    """The colour of text, and of lines that stand out, in the figure that is drawn."""
    return mpl.rcParams["text.color"]


class ShownFigure(Figure):
    """A figure that a notebook shows where it is the last value of a cell, without pyplot."""

    def _repr_png_(self):
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=self.dpi)
        return content.getvalue()


def new_figure(width=7.2, height=3.6, layout="constrained"):
    """A figure that belongs to no window and no pyplot state."""
    return ShownFigure(figsize=(width, height), layout=layout)


def new_axes(ax=None, **size):
    """The given axes, or those of a new figure."""
    return new_figure(**size).subplots() if ax is None else ax


def given_axes(ax, *panels):
    """The axes that a figure of several panels was given.

    Raises
    ------
    ValueError
        There are more or fewer than its panels.
    """
    axes = np.ravel(np.asarray(ax, dtype=object)).tolist()
    if len(axes) != len(panels) or not all(hasattr(one, "get_figure") for one in axes):
        raise ValueError(
            f"ax: expected {len(panels)} axes, for {', '.join(panels)}, got {len(axes)}; "
            f"figure.subplots({len(panels)}) makes them"
        )
    return axes


def instrument_colours(names):
    """A colour for each instrument of a figure: a built-in one has its own, others what is left, each another one."""
    names = dict.fromkeys(names)
    own = {name: INSTRUMENTS[name] for name in names if name in INSTRUMENTS}
    free = [color for color in PALETTE if color not in own.values()]
    others = itertools.cycle(sorted(free, key=lambda color: color in INSTRUMENTS.values()))
    return {name: own.get(name) or next(others) for name in names}


def unit_label(name, unit):
    """Axis label with its unit in brackets; a number without one says so."""
    text = getattr(unit, "to_string", lambda *_: str(unit))("unicode") if unit is not None else ""
    return f"{name} [{text or 'dimensionless'}]"


def wavelength(axis):
    """Values and label of a spectral axis: Angstrom, or the number of a coefficient."""
    import astropy.units as u

    axis = u.Quantity(axis)
    if axis.unit.is_equivalent(u.AA, u.spectral()):
        return axis.to_value(u.AA, u.spectral()), "Wavelength [Å]"
    return axis.value, unit_label("Coefficient number", axis.unit)
