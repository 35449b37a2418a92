"""APOGEE: the 8575 pixels of apStar and aspcapStar, three chips."""

import astropy.units as u
import numpy as np

from specalign.instruments.base import Instrument
from specalign.instruments.continuum import (
    NORMALIZATION_RULES,
    Continuum,
    MedianFlux,
    Unchanged,
    check_rule,
)

__all__ = ["Apogee"]

# First and one past the last pixel of each chip that ASPCAP fits, 7514 in all: the flux beyond is not reliable
# (Holtzman et al. 2018, AJ 156, 125, and the headers of aspcapStar files).
CHIPS = ((246, 3274), (3585, 6080), (6344, 8335))


class Apogee(Instrument):
    """SDSS APOGEE, H band, R = 22,500.

    The grid is that of apStar files, log10(wavelength / Angstrom) = 4.179 + 6e-6 i, i = 0 ... 8574
    (https://data.sdss.org/datamodel/files/APOGEE_REDUX/APRED_VERS/stars/TELESCOPE/FIELD/apStar.html).

    Parameters
    ----------
    normalization : {"continuum", "median", "none"}
        A polynomial of 4th order a chip, as ASPCAP does it (García Pérez et al. 2016, AJ 151, 144).

    Examples
    --------
    >>> import specalign as sa
    >>> apogee = sa.get_instrument("apogee")
    >>> type(apogee).__name__, apogee.n_pixels, apogee.spectral_axis[0].round(3)
    ('Apogee', 8575, <Quantity 15100.802 Angstrom>)
    """

    name = "apogee"
    reader = "specalign.io.apogee"
    version = "1"
    citation = "Majewski et al. 2017, AJ 154, 94, doi:10.3847/1538-3881/aa784d"
    # Residuals of bright sky lines are several times the stated errors.
    bad_names = ("SIG_SKYLINE",)
    defects = ("BADPIX", "CRPIX")
    edge_pixels = 5
    zero_is_missing = True  # apStar and aspcapStar files write 0 where they have no flux

    def __init__(self, normalization="continuum"):
        check_rule(normalization, [rule for rule in NORMALIZATION_RULES if rule != "pivot"])
        wavelength = 10 ** (4.179 + 6e-6 * np.arange(8575))
        self.outside = np.ones(wavelength.size, bool)
        for start, stop in CHIPS:
            self.outside[start:stop] = False
        rules = {"continuum": Continuum(np.array(CHIPS)), "median": MedianFlux(), "none": Unchanged()}
        super().__init__(
            wavelength * u.AA,
            # Nominal R of the survey (Wilson et al. 2019, PASP 131, 055001).
            lsf_sigma=wavelength / 22500 / 2.3548 * u.AA,
            normalization=rules[normalization],
            options={"normalization": normalization},
        )

    def write_example(self, path, rng):
        """See `Instrument.write_example`: an aspcapStar file."""
        from specalign.mock.examples import write_survey_file

        return write_survey_file(self, path, rng)
