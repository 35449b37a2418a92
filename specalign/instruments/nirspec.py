"""JWST NIRSpec: one instrument a disperser and filter."""

import astropy.units as u
import numpy as np

from specalign.exceptions import SpectrumError
from specalign.instruments.base import Instrument
from specalign.instruments.continuum import (
    NORMALIZATION_RULES,
    Continuum,
    MedianFlux,
    Unchanged,
    check_rule,
    segments_of,
)

__all__ = ["SETTINGS", "Nirspec"]

# Range in Angstrom and nominal resolving power, from the table "NIRSpec dispersers and filters"
# (https://jwst-docs.stsci.edu/jwst-near-infrared-spectrograph/nirspec-instrumentation/nirspec-dispersers-and-filters);
# G140H/F100LP reaches as far as extracted spectra do.  The prism's nominal 100 is an average: its red end reaches
# 300, and its grid is made for that.
SETTINGS = {
    ("g140h", "f070lp"): (8100.0, 12700.0, 2700.0),
    ("g140h", "f100lp"): (9700.0, 18900.0, 2700.0),
    ("g235h", "f170lp"): (16600.0, 30500.0, 2700.0),
    ("g395h", "f290lp"): (28700.0, 51400.0, 2700.0),
    ("g140m", "f070lp"): (7000.0, 12700.0, 1000.0),
    ("g140m", "f100lp"): (9700.0, 18400.0, 1000.0),
    ("g235m", "f170lp"): (16600.0, 30700.0, 1000.0),
    ("g395m", "f290lp"): (28700.0, 51000.0, 1000.0),
    ("prism", "clear"): (6000.0, 53000.0, 300.0),
}
NOMINAL_PRISM = 100.0


class Nirspec(Instrument):
    """JWST NIRSpec, Jakobsen et al. (2022, A&A 661, A80).

    Parameters
    ----------
    disperser : {"g140h", "g140m", "g235h", "g235m", "g395h", "g395m", "prism"}
    filter : {"f070lp", "f100lp", "f170lp", "f290lp", "clear"}
    grid : {"native", "seeds"}
        ``native``: logarithmic, two pixels a resolution element, over the range of the setting.  ``seeds``: 8192
        pixels, equally spaced from 9000 to 18000 Angstrom, for G140H/F100LP.
    normalization : {"continuum", "median", "none"}
        A polynomial of 5th order each side of the gap between the detectors, wherever the source's shutter puts it.
    """

    name = "nirspec"
    reader = "specalign.io.nirspec"
    bad_names = ("SATURATED", "OUTLIER", "DEAD", "NO_FLAT_FIELD", "OPEN", "OTHER_BAD_PIXEL")
    edge_pixels = 3

    def __init__(self, disperser="g140h", filter="f100lp", grid="native", normalization="continuum"):
        setting = (str(disperser).lower(), str(filter).lower())
        wavelength, resolving_power = _grid(setting, grid)
        nominal = NOMINAL_PRISM if setting[0] == "prism" else resolving_power
        check_rule(normalization, [rule for rule in NORMALIZATION_RULES if rule != "pivot"])
        continuum = Continuum(segments_of(wavelength), degree=5, max_gap=_gap_pixels(wavelength))
        rules = {"continuum": continuum, "median": MedianFlux(), "none": Unchanged()}
        super().__init__(
            wavelength * u.AA,
            # The nominal resolving power of the table, taken as constant along the setting.
            lsf_sigma=wavelength / nominal / 2.3548 * u.AA,
            normalization=rules[normalization],
            options={"disperser": setting[0], "filter": setting[1], "grid": grid, "normalization": normalization},
        )


def _grid(setting, grid):
    if setting not in SETTINGS:
        known = ", ".join("/".join(pair) for pair in SETTINGS)
        raise SpectrumError(f"disperser and filter: expected one of {known}, got {'/'.join(setting)}")
    lower, upper, resolving_power = SETTINGS[setting]
    if grid == "native":
        step = 1 / (2 * resolving_power)
        return lower * np.exp(step * np.arange(int(np.log(upper / lower) / step) + 1)), resolving_power
    if grid != "seeds" or setting != ("g140h", "f100lp"):
        expected = "'native', or 'seeds' for g140h/f100lp"
        raise SpectrumError(f"grid: expected {expected}, got {grid!r} for {'/'.join(setting)}")
    return np.linspace(9000.0, 18000.0, 8192), resolving_power


def _gap_pixels(wavelength):
    """Pixels in 1 % of the middle wavelength: half of the gap between the detectors at its narrowest."""
    middle = len(wavelength) // 2
    return int(0.01 * wavelength[middle] / (wavelength[middle + 1] - wavelength[middle]))
