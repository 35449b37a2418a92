"""JWST NIRSpec: one instrument a disperser and filter.

>>> from specalign.instruments.nirspec import DISPERSION, SETTINGS
>>> SETTINGS["g140h", "f100lp"]  # first and last Angstrom, nominal resolving power
(9700.0, 18900.0, 2700.0)
>>> sorted(DISPERSION)
['g140h', 'g140m', 'g235h', 'g235m', 'g395h', 'g395m', 'prism']
"""

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
from specalign.instruments.masking import DetectorGap

__all__ = ["DISPERSION", "SETTINGS", "Nirspec", "resolving_power"]

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
DEFAULT = ("g140h", "f100lp")

# Wavelength (Angstrom) and dispersion (Angstrom a pixel), rounded, at a few points of the pre-launch curves that the
# same page offers as tables (jwst_nirspec_*_disp.fits, column DLDS); linear interpolation gives the tables back to
# 0.5 % (prism) and 0.15 % (gratings).  Their column R is everywhere wavelength over 2.2 pixels of dispersion.
DISPERSION = {
    "g140h": ((8000, 11000, 14000, 16500, 18900), (2.409, 2.388, 2.355, 2.316, 2.259)),
    "g140m": ((7000, 11000, 15000, 19000), (6.384, 6.377, 6.362, 6.339)),
    "g235h": ((16600, 20000, 24000, 27500, 31000), (4.024, 3.994, 3.946, 3.890, 3.813)),
    "g235m": ((16600, 22000, 27000, 32000), (10.701, 10.684, 10.661, 10.631)),
    "g395h": ((28000, 34000, 40000, 46000, 52000), (6.764, 6.710, 6.639, 6.545, 6.417)),
    "g395m": ((28000, 36000, 44000, 52000), (17.994, 17.969, 17.933, 17.887)),
    "prism": tuple(
        zip(
            (5500, 33.16),
            (6000, 42.63),
            (6500, 53.31),
            (7000, 65.05),
            (7500, 77.64),
            (8000, 90.79),
            (8500, 104.21),
            (9000, 117.57),
            (9500, 130.54),
            (10000, 142.84),
            (10500, 154.21),
            (11000, 164.48),
            (12000, 181.25),
            (13000, 192.88),
            (14000, 199.79),
            (15000, 202.78),
            (16000, 202.75),
            (18000, 196.80),
            (20000, 186.79),
            (22500, 172.60),
            (25000, 158.73),
            (27500, 146.04),
            (30000, 134.72),
            (35000, 115.86),
            (40000, 101.04),
            (45000, 89.19),
            (50000, 79.52),
            (55000, 71.48),
            strict=True,
        )
    ),
}
PIXELS_PER_ELEMENT = 2.2
# The gap between the two detectors: pixels, and where it begins in spectra of G140H, Angstrom, which goes with the
# place of the shutter.  Seen in eight files of four giants of M71, two exposures each, through shutters (10265, 10276,
# 11612 and 13214), and in one file through slit S200A1 (13017).  Shutters farther to a side, and the integral field,
# have it elsewhere.  The other high-resolution gratings are taken to have it at the same pixels; no file confirms that.
GAP_PIXELS = 157
GAP_BEGINS = (10260.0, 13220.0)


class Nirspec(Instrument):
    """JWST NIRSpec, Jakobsen et al. (2022, A&A 661, A80).

    Parameters
    ----------
    disperser : {"g140h", "g140m", "g235h", "g235m", "g395h", "g395m", "prism"}
    filter : {"f070lp", "f100lp", "f170lp", "f290lp", "clear"}
        Of the spectra; those whose header names another disperser or filter are refused.
    grid : {"native", "detector", "seeds"}
        ``native``: logarithmic, two pixels a resolution element, over the range of the setting.  ``detector``: as wide
        as the pixels of the detector are at each wavelength, which for the prism is three times fewer pixels than
        ``native``.  ``seeds``: 8192 pixels, equally spaced from 9000 to 18000 Angstrom, for G140H/F100LP.
    normalization : {"continuum", "median", "none"}
        A polynomial of 5th order each side of the gap between the detectors, wherever the source's shutter puts it.
    resolution : {"prelaunch", "nominal"}, optional
        What ``lsf_sigma`` says.  ``prelaunch``: `resolving_power` at each wavelength.  ``nominal``: one number a
        setting, 2700, 1000 or 100.  Default: ``nominal`` for G140H/F100LP, as aligners that were trained on it know
        it, and ``prelaunch`` for the others.

    Raises
    ------
    specalign.exceptions.SpectrumError
        An option has a value that NIRSpec does not know, or disperser and filter do not belong together.

    Examples
    --------
    >>> from specalign.instruments import get_instrument
    >>> prism = get_instrument("nirspec", disperser="prism", filter="clear", grid="detector")
    >>> prism.n_pixels
    403

    >>> import specalign as sa
    >>> nirspec = sa.get_instrument("nirspec", disperser="g395m", filter="f290lp")
    >>> type(nirspec).__name__, nirspec.spectral_axis[0]
    ('Nirspec', <Quantity 28700. Angstrom>)
    """

    name = "nirspec"
    reader = "specalign.io.nirspec"
    version = "1"
    citation = (
        "Jakobsen et al. 2022, A&A 661, A80, arXiv:2202.03305; Böker et al. 2023, PASP 135, 038001, arXiv:2301.13766"
    )
    bad_names = ("SATURATED", "OUTLIER", "DEAD", "NO_FLAT_FIELD", "OPEN", "OTHER_BAD_PIXEL")
    defects = ("OUTLIER", "DEAD")
    edge_pixels = 3

    def __init__(self, disperser="g140h", filter="f100lp", grid="native", normalization="continuum", resolution=None):
        setting = (str(disperser).lower(), str(filter).lower())
        wavelength = _grid(setting, grid)
        usual = "nominal" if setting == DEFAULT else "prelaunch"
        resolution = usual if resolution is None else resolution
        check_rule(normalization, [rule for rule in NORMALIZATION_RULES if rule != "pivot"])
        continuum = Continuum(segments_of(wavelength), degree=5, max_gap=_gap_pixels(wavelength))
        rules = {"continuum": continuum, "median": MedianFlux(), "none": Unchanged()}
        self.gaps = _gaps(setting[0])
        options = {"disperser": setting[0], "filter": setting[1], "grid": grid, "normalization": normalization}
        super().__init__(
            wavelength * u.AA,
            lsf_sigma=wavelength / _power(setting, resolution, wavelength) / 2.3548 * u.AA,
            normalization=rules[normalization],
            # The usual resolution is left out, so that records written before the option existed stay equal.
            options=options if resolution == usual else {**options, "resolution": resolution},
        )

    def read(self, path, visits="combined"):
        """See `Instrument.read`.

        Raises
        ------
        UnknownProductError, CorruptFileError
        SpectrumError
            The header names another disperser or filter than the instrument has.
        """
        spectra = super().read(path, visits=visits)
        for spectrum in spectra:
            self._check_setting(spectrum.meta, str(path))
        return spectra

    def convert(self, rows):
        """Hook: refuse rows of another disperser or filter."""
        if len(rows):
            self._check_setting(rows.extra, f"object {str(rows.facts.object_id[0])!r}")
        return super().convert(rows)

    def write_example(self, path, rng):
        """See `Instrument.write_example`: an x1d file."""
        from specalign.mock.examples import write_survey_file

        return write_survey_file(self, path, rng)

    def _check_setting(self, stated, where):
        keys = ("disperser", "filter")
        came = {key: str(stated[key]).lower() for key in keys if stated.get(key)}
        if any(came[key] != self.options[key] for key in came):
            options = ", ".join(f"{key}={value!r}" for key, value in came.items())
            raise SpectrumError(
                f"{where}: expected {'/'.join(self.options[key] for key in keys)}, which this instrument is set to, "
                f"got {'/'.join(came.values())}; use get_instrument('nirspec', {options}){_known(came)}"
            )


def _gaps(disperser):
    """The gap cuts every high-resolution spectrum; the shorter ones of the others fit on one detector."""
    if not disperser.endswith("h"):
        return ()
    dispersion = {name: float(np.median(DISPERSION[name][1])) for name in ("g140h", disperser)}
    ratio = dispersion[disperser] / dispersion["g140h"]
    first, last = (ratio * begin for begin in GAP_BEGINS)
    return (DetectorGap(first, last, GAP_PIXELS * dispersion[disperser], ("DO_NOT_USE", "NON_SCIENCE")),)


def _known(came):
    if tuple(came.values()) in SETTINGS or len(came) < 2:
        return ""
    return f", which is not one of the settings that are there: {', '.join('/'.join(pair) for pair in SETTINGS)}"


def resolving_power(disperser, wavelength):
    """Pre-launch resolving power of a source that fills its shutter evenly.

    In flight it is higher.  Shajib et al. (2025, A&A 702, L12) measured 11 to 53 % more in the fixed slits, whose width
    is that of a shutter, and 1 to 24 % more in the integral field; a point source, such as a star, underfills its
    shutter and reaches up to about 1.5 to 2 times these values, by curves modelled after de Graaff et al. (2024, A&A
    684, A87) of which a few points were compared.

    Parameters
    ----------
    disperser : {"g140h", "g140m", "g235h", "g235m", "g395h", "g395m", "prism"}
    wavelength : `~astropy.units.Quantity`
        Beyond the ends of the disperser's curve the dispersion is that of the end.

    Returns
    -------
    numpy.ndarray
        Wavelength over full width at half maximum.

    Raises
    ------
    specalign.exceptions.SpectrumError
        There is no such disperser.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.instruments.nirspec import resolving_power
    >>> resolving_power("prism", [1, 3, 5] * u.um).round()
    array([ 32., 101., 286.])
    """
    if disperser not in DISPERSION:
        raise SpectrumError(f"disperser: expected one of {', '.join(DISPERSION)}, got {disperser!r}")
    wavelength = u.Quantity(wavelength).to_value(u.AA)
    return wavelength / (PIXELS_PER_ELEMENT * np.interp(wavelength, *DISPERSION[disperser]))


def _power(setting, resolution, wavelength):
    if resolution == "nominal":
        return NOMINAL_PRISM if setting[0] == "prism" else SETTINGS[setting][2]
    if resolution != "prelaunch":
        raise SpectrumError(f"resolution: expected 'prelaunch' or 'nominal', got {resolution!r}")
    return resolving_power(setting[0], wavelength * u.AA)


def _grid(setting, grid):
    if setting not in SETTINGS:
        known = ", ".join("/".join(pair) for pair in SETTINGS)
        raise SpectrumError(f"disperser and filter: expected one of {known}, got {'/'.join(setting)}")
    lower, upper, power = SETTINGS[setting]
    if grid == "native":
        step = 1 / (2 * power)
        return lower * np.exp(step * np.arange(int(np.log(upper / lower) / step) + 1))
    if grid == "detector":
        return _detector_grid(setting[0], lower, upper)
    if grid != "seeds" or setting != DEFAULT:
        expected = "'native', 'detector', or 'seeds' for g140h/f100lp"
        raise SpectrumError(f"grid: expected {expected}, got {grid!r} for {'/'.join(setting)}")
    return np.linspace(9000.0, 18000.0, 8192)


def _detector_grid(disperser, lower, upper):
    """Wavelengths one detector pixel apart: the dispersion integrated from the lower end of the range."""
    fine = np.linspace(lower, upper, 100_001)
    density = 1 / np.interp(fine, *DISPERSION[disperser])
    pixel = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)]) * (fine[1] - fine[0])
    return np.interp(np.arange(int(pixel[-1]) + 1), pixel, fine)


def _gap_pixels(wavelength):
    """Pixels in 1 % of the middle wavelength, half of the gap between the detectors at its narrowest; at least 5."""
    middle = len(wavelength) // 2
    return max(5, int(0.01 * wavelength[middle] / (wavelength[middle + 1] - wavelength[middle])))
