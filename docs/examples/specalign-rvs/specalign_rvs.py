"""Gaia RVS: the mean spectra of Gaia DR3 around the calcium triplet, one star a file."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table
from specutils import SpectrumList

from specalign.instruments.base import Instrument
from specalign.instruments.continuum import MedianFlux
from specalign.io.files import atomic_write
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.spectra import build_spectrum, inverse_square

# --- facts of the data model
MEAN = Product(
    "rvs-mean-spectrum",
    instrument="gaia_rvs",
    data_model="https://gea.esac.esa.int/archive/documentation/GDR3/Gaia_archive/chap_datamodel/"
    "sec_dm_spectroscopic_tables/ssec_dm_rvs_mean_spectrum.html",
    frame="rest",
    medium="vacuum",  # https://www.cosmos.esa.int/web/gaia/iow_20210709
    normalization="continuum",
    resolving_power=11500.0,  # Cropper et al. 2018, A&A 616, A5
)
PRODUCTS = (MEAN,)
QUALITY_BITS = {}  # the archive gives no flags: what is missing is NaN
BAD_BITS = ()
GRID = np.linspace(846.0, 870.0, 2401)  # nm
COLUMNS = ("wavelength", "flux", "flux_error")


# --- reader
def read(path, visits="combined"):
    """The one spectrum of a FITS file of the archive (DataLink, data structure INDIVIDUAL)."""
    check_visits(visits)
    with open_fits(path) as hdus:
        header = header_dict(hdus[-1].header)
        if "Gaia" not in str(header.get("PUBLISHE")) or header.get("NAXIS2") != GRID.size:
            raise unknown_product(path, hdus, "gaia_rvs", PRODUCTS)
        require_columns(path, hdus[-1], COLUMNS)
        wavelength, flux, error = (native(hdus[-1].data[name], dtype=float) for name in COLUMNS)
        checksum = checksum_state(hdus)
    star = header.get("SOURCEID")
    spectrum = build_spectrum(
        flux << u.dimensionless_unscaled,
        wavelength << u.nm,
        product=MEAN,
        quality_bits=QUALITY_BITS,
        object_id=star,
        spectrum_id=f"gaia-rvs-{star or Path(path).name}",
        ivar=inverse_square(error),
        path=path,
        header=header,
        checksum=checksum,
    )
    return SpectrumList([spectrum])


# --- instrument
class GaiaRVS(Instrument):
    """Gaia RVS on the grid of its mean spectra: 2401 pixels of 0.1 Angstrom, vacuum, at rest."""

    name = "gaia_rvs"
    reader = __name__
    version = "1.0"
    citation = "doi:10.1051/0004-6361/201832763 (instrument), doi:10.1051/0004-6361/202244220 (data)"
    edge_pixels = 5  # spikes at the edges: section 14.2.7 of the documentation of Gaia DR3

    def __init__(self):
        wavelength = 10 * GRID
        super().__init__(
            wavelength << u.AA,
            lsf_sigma=wavelength / MEAN.resolving_power / 2.3548 << u.AA,
            normalization=MedianFlux(),  # the archive has three kinds of continuum level
            options={},
        )

    # --- example
    def write_example(self, path, rng):
        """Write a file of one invented star; ``.fits`` is added to a name without it."""
        path = Path(path if str(path).endswith(".fits") else f"{path}.fits")
        star = self.make_example(rng, 1)[0]
        flux = np.where(star.mask, np.nan, star.flux.value).astype("f4")
        error = np.where(star.mask, np.nan, star.uncertainty.array.clip(1e-9) ** -0.5).astype("f4")
        table = fits.BinTableHDU(Table([GRID, flux, error], names=COLUMNS))
        table.header["SOURCEID"] = str(np.random.default_rng(rng).integers(2**60))
        table.header["PUBLISHE"] = "ESA/Gaia/DPAC"
        with atomic_write(path) as temporary:
            fits.HDUList([fits.PrimaryHDU(), table]).writeto(temporary, checksum=True)
        return path
