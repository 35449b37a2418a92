"""The instrument {{ cookiecutter.plugin }}: its files, its grid, its rules."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table
from specalign.instruments.base import Instrument
from specalign.instruments.continuum import MedianFlux
from specalign.io.files import atomic_write
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.spectra import build_spectrum
from specutils import SpectrumList

# CHANGE: the facts of the data model, which the pixels do not tell; never from memory: air or vacuum is 82 km/s.
SPECTRUM = Product(
    "{{ cookiecutter.plugin }}-spectrum",
    instrument="{{ cookiecutter.plugin }}",
    data_model="https://example.org/data-model",
    frame="rest",
    medium="vacuum",
    normalization="continuum",
    resolving_power=5000.0,
)
PRODUCTS = (SPECTRUM,)
QUALITY_BITS = {"COSMIC": 0, "SATURATED": 1}  # CHANGE: bits of the files' flags
BAD_BITS = ("COSMIC", "SATURATED")  # those that mask a pixel
COLUMNS = ("wavelength", "flux", "ivar", "flags")  # CHANGE


def read(path, visits="combined"):
    """The spectra of a file.

    Raises
    ------
    UnknownProductError
        The file is another's.
    CorruptFileError
        It is damaged.
    """
    check_visits(visits)
    with open_fits(path) as hdus:
        header = header_dict(hdus[-1].header)
        # CHANGE: how you know that a file is one of yours
        if header.get("INSTRUME") != "{{ cookiecutter.plugin | upper }}":
            raise unknown_product(path, hdus, "{{ cookiecutter.plugin }}", PRODUCTS)
        require_columns(path, hdus[-1], COLUMNS)
        wavelength, flux, ivar = (native(hdus[-1].data[name], dtype=float) for name in COLUMNS[:3])
        flags = native(hdus[-1].data["flags"])
        checksum = checksum_state(hdus)
    star = header.get("OBJECT")
    spectrum = build_spectrum(
        flux << u.dimensionless_unscaled,
        wavelength << u.AA,
        product=SPECTRUM,
        quality_bits=QUALITY_BITS,
        quality=flags,
        bad_bits=BAD_BITS,
        object_id=star,
        spectrum_id=f"{{ cookiecutter.plugin }}-{star or Path(path).name}",
        ivar=ivar,
        path=path,
        header=header,
        checksum=checksum,
    )
    return SpectrumList([spectrum])


class {{ cookiecutter.__class }}(Instrument):
    """CHANGE: the spectrograph in a line.

    Examples
    --------
    >>> from specalign import get_instrument
    >>> get_instrument("{{ cookiecutter.plugin }}").n_pixels
    2001
    """

    name = "{{ cookiecutter.plugin }}"
    reader = __name__
    version = "0.1"  # of grid, rules and reader: raise it where the same file would give other arrays
    citation = "doi:10.0000/example"  # CHANGE: the paper of the instrument

    def __init__(self):
        wavelength = np.linspace(5000.0, 6000.0, 2001)  # CHANGE: Angstrom, vacuum
        super().__init__(
            wavelength << u.AA,
            lsf_sigma=wavelength / SPECTRUM.resolving_power / 2.3548 << u.AA,
            normalization=MedianFlux(),  # CHANGE: see specalign.instruments.continuum
            options={},
        )

    def write_example(self, path, rng):
        """Write a file of one invented star, as the archive would; ``.fits`` is added to a name without it."""
        path = Path(path if str(path).endswith(".fits") else f"{path}.fits")
        star = self.make_example(rng, 1)[0]
        ivar = np.where(star.mask, 0.0, star.uncertainty.array)
        columns = [star.spectral_axis.value, star.flux.value, ivar, star.mask.astype("i4") << QUALITY_BITS["COSMIC"]]
        table = fits.BinTableHDU(Table(columns, names=COLUMNS))
        table.header["INSTRUME"] = "{{ cookiecutter.plugin | upper }}"
        table.header["OBJECT"] = star.meta["object_id"]
        with atomic_write(path) as temporary:
            fits.HDUList([fits.PrimaryHDU(), table]).writeto(temporary, checksum=True)
        return path
