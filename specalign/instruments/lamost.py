"""LAMOST: low resolution (lrs) and medium resolution (mrs)."""

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
from specalign.instruments.examples import simulated_example
from specalign.instruments.masking import Window

__all__ = ["Lamost"]

# Bands of O2 and H2O that a low-resolution spectrum keeps visibly after the pipeline's correction; heads and tails
# from the atlas of Hinkle, Wallace & Livingston (2003, BAAS 35, 1260).  Vacuum, observed frame.
TELLURIC = (
    Window(6869.0, 6955.0, "O2 B band"),
    Window(7165.0, 7340.0, "H2O"),
    Window(7594.0, 7700.0, "O2 A band"),
    Window(8130.0, 8345.0, "H2O"),
    Window(8950.0, 9100.0, "H2O"),
)

# log10 range, first and last wavelength: low resolution is one stretch, medium resolution two arms with the step of
# their own files (http://www.lamost.org/dr10/v1.0/doc/lr-data-production-description and mr-...).
MODES = {
    "lrs": {"step": 1e-4, "arms": ((3700.0, 9100.0),), "resolving_power": 1800.0},
    "mrs": {"step": 1e-5, "arms": ((4950.0, 5350.0), (6300.0, 6800.0)), "resolving_power": 7500.0},
}
PRODUCT_MODES = {"lrs-coadd": "lrs", "lrs-image": "lrs", "mrs": "mrs"}
# Low resolution joins its two arms between 5700 and 6000 Angstrom.
SEGMENTS = {"lrs": ((3700.0, 5800.0), (5800.0, 9200.0)), "mrs": ((4900.0, 5500.0), (6200.0, 6900.0))}


class Lamost(Instrument):
    """LAMOST spectra, vacuum and heliocentric.

    Parameters
    ----------
    mode : {"lrs", "mrs"}
    normalization : {"median", "continuum", "none"}, optional
        Default: ``median`` for lrs, since the shape of the continuum tells the temperature, and ``continuum`` (5th
        order an arm) for mrs.

    Examples
    --------
    >>> import specalign as sa
    >>> lamost = sa.get_instrument("lamost", mode="mrs")
    >>> type(lamost).__name__, [product.name for product in lamost.products]
    ('Lamost', [...'mrs'])
    """

    name = "lamost"
    reader = "specalign.io.lamost"
    version = "1"
    citation = (
        "Cui et al. 2012, RAA 12, 1197, doi:10.1088/1674-4527/12/9/003; "
        "Zhao et al. 2012, RAA 12, 723, doi:10.1088/1674-4527/12/7/002"
    )
    defects = ("AND_BADCCD",)
    edge_pixels = 5

    def __init__(self, mode="lrs", normalization=None):
        if mode not in MODES:
            raise SpectrumError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
        rule = {"lrs": "median", "mrs": "continuum"}[mode] if normalization is None else normalization
        check_rule(rule, [rule for rule in NORMALIZATION_RULES if rule != "pivot"])
        wavelength = np.concatenate([_arm(MODES[mode]["step"], *limits) for limits in MODES[mode]["arms"]])
        continuum = Continuum(segments_of(wavelength, *SEGMENTS[mode]), degree=5)
        self.windows = TELLURIC if mode == "lrs" else ()
        super().__init__(
            wavelength * u.AA,
            # Nominal resolving powers of the survey (Cui et al. 2012, RAA 12, 1197; Liu et al. 2020, arXiv:2005.07210).
            lsf_sigma=wavelength / MODES[mode]["resolving_power"] / 2.3548 * u.AA,
            normalization={"continuum": continuum, "median": MedianFlux(), "none": Unchanged()}[rule],
            options={"mode": mode, "normalization": rule},
        )

    def convert(self, rows):
        """Refuse spectra of the other resolution, which this mode's grid would degrade or leave almost empty.

        Raises
        ------
        SpectrumError
            The product belongs to the other mode.
        """
        products = set(rows.facts.product.tolist())
        needed = {PRODUCT_MODES[product] for product in products if product in PRODUCT_MODES}
        if needed - {self.options["mode"]}:
            raise SpectrumError(
                f"product {', '.join(sorted(products))}: a spectrum of the other resolution, and "
                f"mode={self.options['mode']!r} was expected; prepare it with "
                f"get_instrument('lamost', mode={min(needed)!r})"
            )
        return super().convert(rows)

    def make_example(self, rng, n=4):
        """See `Instrument.make_example`: stars as a file of this mode has them."""
        mine = [product for product in self.products if PRODUCT_MODES[product.name] == self.options["mode"]]
        return simulated_example(self, rng, n, product=mine[0])

    def write_example(self, path, rng):
        """See `Instrument.write_example`: a file of low resolution, or both arms of one of medium resolution."""
        from specalign.mock.examples import write_lamost_mrs, write_survey_file

        return (write_survey_file if self.options["mode"] == "lrs" else write_lamost_mrs)(self, path, rng)


def _arm(step, lower, upper):
    first, last = np.ceil(np.log10(lower) / step - 1e-6), np.floor(np.log10(upper) / step + 1e-6)
    return 10 ** (step * np.arange(first, last + 1))
