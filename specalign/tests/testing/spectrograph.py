"""A small instrument of somebody else: 1,200 pixels, spectra in air, barycentric, one file format of its own.

It is also its own reader module, as a plugin of one module may be.
"""

import astropy.units as u
import numpy as np
from astropy.io import fits
from specutils import SpectrumList

from specalign.exceptions import UnknownProductError
from specalign.instruments.base import Instrument
from specalign.instruments.continuum import Continuum, segments_of
from specalign.io.files import atomic_write
from specalign.io.fits_files import native, open_fits, require_columns
from specalign.io.products import Product, check_visits
from specalign.io.spectra import build_spectrum, stated_velocity

SINGLE = Product(
    "single", "small", "https://example.org/small", frame="barycentric", medium="air", resolving_power=7000.0
)
PRODUCTS = (SINGLE,)
QUALITY_BITS = {"COSMIC": 0, "SKY": 1}
BAD_BITS = ("COSMIC",)
COLUMNS = ("WAVE", "FLUX", "IVAR", "FLAG")


def read(path, visits="combined"):
    """Read one file of the spectrograph."""
    check_visits(visits)
    with open_fits(path) as hdus:
        header = hdus[0].header
        if header.get("INSTRUME") != "SMALL" or len(hdus) < 2 or hdus[1].name != "SPECTRUM":
            raise UnknownProductError(f"{path}: expected INSTRUME = SMALL and a table SPECTRUM")
        require_columns(path, hdus[1], COLUMNS)
        wave, flux, ivar, flag = (native(hdus[1].data[name]) for name in COLUMNS)
        spectrum = build_spectrum(
            flux * u.Jy,
            wave * u.AA,
            product=SINGLE,
            quality_bits=QUALITY_BITS,
            bad_bits=BAD_BITS,
            object_id=str(header["OBJECT"]),
            spectrum_id=f"small-{header['OBJECT']}",
            ivar=ivar,
            quality=flag,
            radial_velocity=stated_velocity(header.get("RV")),
            velocity_source="header RV",
            path=path,
        )
    return SpectrumList([spectrum])


class Small(Instrument):
    """A small spectrograph."""

    name = "small"
    reader = __name__
    version = "1"
    citation = "Nobody et al. 2026, arXiv:2601.00001"
    defects = ("COSMIC",)
    edge_pixels = 2

    def __init__(self, step=5e-5):
        wavelength = 10 ** (3.7 + step * np.arange(1200))
        super().__init__(
            wavelength * u.AA,
            lsf_sigma=1.3 * np.gradient(wavelength) * u.AA,
            normalization=Continuum(segments_of(wavelength), degree=3),
            options={"step": step},
        )

    def write_example(self, path, rng):
        """A table of four columns."""
        spectrum = self.make_example(rng, 1)[0]
        meta, path = spectrum.meta, path.with_name(f"{path.name}.fits")
        values = spectrum.spectral_axis.value, spectrum.flux.value, spectrum.uncertainty.array, meta["quality"] & 3
        kinds = ("D", "E", "E", "J")
        columns = [fits.Column(*pair, array=value) for *pair, value in zip(COLUMNS, kinds, values, strict=True)]
        primary = fits.PrimaryHDU()
        primary.header.update(INSTRUME="SMALL", OBJECT=meta["object_id"], RV=meta["radial_velocity"].value)
        with atomic_write(path) as temporary:
            fits.HDUList([primary, fits.BinTableHDU.from_columns(columns, name="SPECTRUM")]).writeto(temporary)
        return path
