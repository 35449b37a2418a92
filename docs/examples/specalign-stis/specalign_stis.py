"""CALSPEC: flux standards of the Hubble Space Telescope, seen by STIS at low resolution, as a specalign instrument.

A file holds one star, pieced together from several instruments (Bohlin, Gordon & Tremblay 2014, PASP 126, 711).  Its
layout is what STScI's own program writes (``make_stis_calspec.pro``, https://github.com/spacetelescope/ABSCAL).
"""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from specutils import SpectrumList

from specalign.exceptions import SpectrumError, SpectrumUnitError
from specalign.instruments.base import Instrument
from specalign.instruments.continuum import MedianFlux, Pivot, Unchanged, check_rule
from specalign.io.files import atomic_write, existing_file
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import bit_value
from specalign.io.spectra import build_spectrum, inverse_square

__all__ = ["Stis", "read"]

CALSPEC = Product(
    name="calspec",
    instrument="stis",
    data_model="https://www.stsci.edu/hst/instrumentation/reference-data-for-calibration-and-tools/astronomical-catalogs/calspec",
    # "All wavelengths are in vacuum" stands in every file.  The frame does not: models are moved by the star's velocity
    # before they are joined to the observation, so that the velocity is still in it; heliocentric is assumed.
    frame="barycentric",
)
PRODUCTS = (CALSPEC,)
QUALITY_BITS = {"MOTE": 0, "NOT_STIS": 1}
BAD_BITS = ("MOTE",)
COLUMNS = ("WAVELENGTH", "FLUX", "STATERROR", "SYSERROR", "FWHM", "DATAQUAL", "TOTEXP")
UNITS = {"ANGSTROMS": u.AA, "NANOMETERS": u.nm, "FLAM": u.erg / u.s / u.cm**2 / u.AA}
NULL = 1e30  # files of before 2006 write 1.6e38 where they know nothing
# Angstrom a pixel; an unresolved line is two pixels wide (STIS Instrument Handbook, table 4.1).  CALSPEC goes over from
# G430L (2900-5700) to G750L (5240-10270) in the overlap; the middle of it is taken here.
PIXEL = {"G430L": 2.73, "G750L": 4.92}
_BLUE = np.arange(2900.0, 5450.0, PIXEL["G430L"])
NATIVE = np.concatenate([_BLUE, np.arange(_BLUE[-1] + 3.825, 10200.0, PIXEL["G750L"])])
GRIDS = {"native": NATIVE, "xp": 3360.0 + 20.0 * np.arange(343)}
PIVOT = 5500.0


def read(path, visits="combined"):
    """Read a CALSPEC file, observed (``*_stis_*``, ``*_stisnic_*``, ...) or model (``*_mod_*``).

    Parameters
    ----------
    path : path-like
    visits : {"combined", "all"}
        A file holds one spectrum: both words give it.

    Returns
    -------
    `~specutils.SpectrumList`
        One spectrum.  Its error is the statistical one; ``meta["systematic_error"]`` (P,) holds the other, which all
        pixels share (1 % of the flux for STIS), and ``meta["fwhm"]`` (P,) the file's own resolution.  A pixel that the
        file flags (dust on the detector) is masked as MOTE.  Pixels wider than STIS's come from NICMOS or WFC3 and
        have the bit NOT_STIS; where a model extends the observation, the error is 0 and the pixel is masked.  Files
        of models alone state no error: the inverse variance is 1 everywhere.

    Raises
    ------
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError
    specalign.exceptions.SpectrumUnitError
        Wavelength or flux has another unit than CALSPEC's.
    """
    check_visits(visits)
    path = existing_file(path)
    with open_fits(path) as hdus:
        if str(hdus[0].header.get("DBTABLE", "")).strip() != "CRSPECTRUM":
            raise unknown_product(path, hdus, "stis", PRODUCTS)
        return SpectrumList([_spectrum(path, hdus)])


def _spectrum(path, hdus):
    table, header = hdus[1], header_dict(hdus[0].header)
    star = str(header.get("TARGETID") or "").strip().removesuffix("_MOD") or None
    model = str(header.get("PEDIGREE", "")).strip() == "MODEL"
    require_columns(path, table, COLUMNS[:2] if model else COLUMNS)
    column = {name: native(table.data[name]) for name in COLUMNS if name in table.columns.names}
    column = {name: np.where(np.abs(values) < NULL, values, np.nan) for name, values in column.items()}
    known = np.isfinite(column["WAVELENGTH"])
    column = {name: values[known] for name, values in column.items()}
    return build_spectrum(
        column["FLUX"] * _unit(path, table, "FLUX"),
        column["WAVELENGTH"] * _unit(path, table, "WAVELENGTH"),
        product=CALSPEC,
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=star,
        spectrum_id=str(header.get("FILENAME") or path.name).strip().removesuffix(".fits"),
        ivar=None if model else inverse_square(column["STATERROR"]),
        quality=None if model else _quality(column),
        n_dropped=int((~known).sum()),
        systematic_error=column.get("SYSERROR"),
        fwhm=column.get("FWHM"),
        path=path,
        header=header,
        checksum=checksum_state(hdus),
    )


def _unit(path, table, name):
    text = str(table.columns[name].unit or "").strip().upper()
    if text not in UNITS:
        raise SpectrumUnitError(f"{path}: {name} has the unit {text!r}; expected one of {', '.join(UNITS)}")
    return UNITS[text]


def _quality(column):
    """DATAQUAL is 1 where a pixel is good; the pixels of WFC3 and NICMOS are 5 times wider than STIS's, and more."""
    coarse = np.gradient(column["WAVELENGTH"]) > 1.5 * PIXEL["G750L"]
    quality = np.where(coarse, bit_value(QUALITY_BITS, "NOT_STIS"), 0).astype(np.uint32)
    quality[column["DATAQUAL"] != 1] |= bit_value(QUALITY_BITS, "MOTE")
    return quality


class Stis(Instrument):
    """HST/STIS, gratings G430L and G750L, as CALSPEC publishes them.

    The files state no radial velocity: pass ``radial_velocity``, or the spectra stay in the barycentric frame (a pixel
    is 145 to 280 km/s wide).

    Parameters
    ----------
    grid : {"native", "xp"}
        The pixels of the two gratings from 2900 to 10200 Angstrom, or the 343 samples of Gaia XP, 336 to 1020 nm.
    normalization : {"pivot", "median", "none"}
        The flux at 550 nm as for Gaia XP, since the continuum is the information; or the median.
    """

    name = "stis"
    reader = __name__
    citation = "2014PASP..126..711B"
    version = "1.0"
    defects = ("MOTE",)

    def __init__(self, grid="native", normalization="pivot"):
        check_rule(normalization, ("pivot", "median", "none"))
        if grid not in GRIDS:
            raise SpectrumError(f"grid: expected one of {', '.join(GRIDS)}, got {grid!r}")
        axis, pivot = GRIDS[grid], int(np.abs(GRIDS[grid] - PIVOT).argmin())
        line = 2 / 2.3548 * np.where(axis <= _BLUE[-1], *PIXEL.values())
        super().__init__(
            axis * u.AA,
            # a sample of 20 Angstrom adds its own variance, its width squared over 12
            lsf_sigma=(np.hypot(line, 20.0 / np.sqrt(12)) if grid == "xp" else line) * u.AA,
            normalization={"pivot": Pivot(pivot), "median": MedianFlux(), "none": Unchanged()}[normalization],
            options={"grid": grid, "normalization": normalization},
        )

    def write_example(self, path, rng):
        """A made-up hot star in CALSPEC's layout, with a line at 4862.7 Angstrom and a mote; returns the path."""
        path, rng = Path(f"{str(path).removesuffix('.fits')}.fits"), np.random.default_rng(rng)
        flux = 1e-13 * np.exp((3000 - NATIVE) / 4000) * (1 - 0.4 * np.exp(-(((NATIVE - 4862.7) / 15) ** 2)))
        column = {"WAVELENGTH": NATIVE, "FLUX": rng.normal(flux, 0.005 * flux), "STATERROR": 0.005 * flux}
        column |= {"SYSERROR": 0.01 * flux, "FWHM": 2 * np.gradient(NATIVE), "DATAQUAL": np.ones(NATIVE.size, np.int16)}
        column["DATAQUAL"][rng.integers(NATIVE.size)], column["TOTEXP"] = 0, np.full(NATIVE.size, 600.0)
        units = dict(zip(COLUMNS, ("ANGSTROMS", "FLAM", "FLAM", "FLAM", "ANGSTROMS", "NONE", "SEC"), strict=True))
        kinds = dict(zip(COLUMNS, "DEEEEIE", strict=True))
        columns = [fits.Column(name, kinds[name], units[name], array=column[name]) for name in COLUMNS]
        cards = {"TARGETID": "EXAMPLE", "DBTABLE": "CRSPECTRUM", "FILENAME": path.name, "PEDIGREE": "DUMMY"}
        primary = fits.PrimaryHDU(header=fits.Header(cards))
        with atomic_write(path) as temporary:
            fits.HDUList([primary, fits.BinTableHDU.from_columns(columns, name="SCI")]).writeto(
                temporary, checksum=True
            )
        return path
