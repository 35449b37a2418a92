"""DESI: coadd and spectra files of the Dark Energy Spectroscopic Instrument, one spectrum a target.

specutils reads three arms, each with all targets of a file. This module joins the arms, takes the targets apart, names
the bits of the masks, and states whose each spectrum is, in which frame and medium.
"""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table
from specutils import SpectrumList

from specalign.exceptions import EmptySpectrumError
from specalign.instruments.base import Instrument
from specalign.instruments.continuum import Continuum, MedianFlux, Unchanged, check_rule, segments_of
from specalign.instruments.masking import Window
from specalign.io.files import atomic_write, corrupt
from specalign.io.fits_files import checksum_state, header_dict, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import COMMON_BITS, translate
from specalign.io.spectra import build_spectrum, stated_position

MODEL = "https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/healpix/SURVEY/PROGRAM/PIXGROUP/"
# Vacuum: AIRORVAC = vac in the frame files that these are made of. Barycentric: desispec.scripts.extract, HELIOCOR.
COADD, SPECTRA = PRODUCTS = tuple(
    Product(name, "desi", f"{MODEL}PIXNUM/{name}-SURVEY-PROGRAM-PIXNUM.html", "barycentric", format=f"DESI {name}")
    for name in ("coadd", "spectra")
)

# SPECMASK of https://desidatamodel.readthedocs.io/en/latest/bitmasks.html, where each of them means a bad pixel.
BAD_BITS = ("SOMEBADPIX", "ALLBADPIX", "COSMIC", "LOWFLAT", "BADFIBERFLAT", "BRIGHTSKY", "BADSKY", "BAD2DFIT", "NODATA")
BAD_BITS += ("BADFIBER", "BADCOLUMN", "UNDOCUMENTED")
QUALITY_BITS = {name: bit for bit, name in enumerate(BAD_BITS)}
_TO_OURS = {bit: bit for bit in range(11)} | {None: QUALITY_BITS["UNDOCUMENTED"]}

GRID = 3600 + 0.8 * np.arange(7781)  # Angstrom
ARMS = {"b": slice(0, 2751), "r": slice(2700, 5026), "z": slice(4900, 7781)}  # they share pixels where they overlap
FLUX = u.Unit("1e-17 erg / (s cm2 AA)")
FIBER_COLUMNS = ("TARGETID", "OBJTYPE", "TARGET_RA", "TARGET_DEC", "REF_EPOCH")
_KINDS = ("WAVELENGTH", "FLUX", "IVAR", "MASK")
_UNITS = {"WAVELENGTH": "Angstrom", "FLUX": "10**-17 erg/(s cm2 Angstrom)"}
_UNITS |= {"IVAR": "10**+34 (s2 cm4 Angstrom2) / erg2"}


def read(path, visits="combined"):
    """A spectrum a target of a coadd file; one a target and exposure of a spectra file, whatever ``visits`` says."""
    check_visits(visits)
    with open_fits(path) as hdus:
        names = {hdu.name for hdu in hdus}
        wanted = {f"{arm}_{kind}" for arm in "BRZ" for kind in _KINDS if names & {f"{arm}_{other}" for other in _KINDS}}
        if not {"FIBERMAP", "SCORES"} <= names or not wanted:
            raise unknown_product(path, hdus, "desi", PRODUCTS)
        if missing := sorted(wanted - names):
            raise corrupt(path, f"expected four extensions an arm, and {', '.join(missing)} are not there")
        require_columns(path, hdus["FIBERMAP"], FIBER_COLUMNS)
        product = COADD if "EXP_FIBERMAP" in names else SPECTRA
        arms = SpectrumList.read(hdus, format=product.format)
        fibers, header, checksum = arms[0].meta["fibermap"], header_dict(hdus[0].header), checksum_state(hdus)
        flux, ivar, quality = join_arms(path, arms, len(fibers))
    targets = [i for i, kind in enumerate(fibers["OBJTYPE"]) if str(kind).strip() == "TGT"]
    if not targets:
        raise EmptySpectrumError(f"{path}: expected fibres on a target (OBJTYPE TGT), got none among {len(fibers)}")
    facts = {"product": product, "quality_bits": QUALITY_BITS, "bad_bits": BAD_BITS, "path": path, "header": header}
    facts |= {"checksum": checksum, "n_dropped": len(fibers) - len(targets)}
    spectra = SpectrumList()
    for i in targets:
        pixels = {"ivar": ivar[i], "quality": quality[i], **identity(fibers[i], header)}
        spectra.append(build_spectrum(flux[i] << FLUX, GRID << u.AA, **pixels, **facts))
    return spectra


def join_arms(path, arms, n):
    """Flux, ivar and bits (n, 7781): the mean of the good pixels by inverse variance, where two arms overlap."""
    flux, ivar = np.zeros((2, n, GRID.size))
    quality, lost = np.zeros(flux.shape, np.uint32), np.zeros(flux.shape, bool)
    for arm in arms:
        band, axis = arm.meta["band"], arm.spectral_axis.to_value(u.AA)
        pixels = ARMS[band]
        if len(arm.flux) != n:  # one row would be taken for that of every target
            raise corrupt(path, f"arm {band}: expected {n} rows, as the fibre map has, got {len(arm.flux)}")
        if axis.shape != GRID[pixels].shape or np.abs(axis - GRID[pixels]).max() > 1e-3:
            raise corrupt(path, f"arm {band}: expected {GRID[pixels].size} pixels from {GRID[pixels][0]} Angstrom")
        values, weight = arm.flux.to_value(FLUX), arm.uncertainty.quantity.to_value(FLUX**-2)
        good = ~arm.mask & np.isfinite(values) & np.isfinite(weight) & (weight > 0)
        flux[:, pixels] += np.where(good, weight * values, 0)
        ivar[:, pixels] += np.where(good, weight, 0)
        quality[:, pixels] |= translate(arm.meta["int_mask"], _TO_OURS)
        lost[:, pixels] |= ~good
    seen = ivar > 0
    quality[seen] = np.where(lost[seen], 1 << COMMON_BITS["PARTIAL"], 0)
    return np.divide(flux, ivar, out=flux, where=seen), ivar, quality


def identity(fiber, header):
    """Whose spectrum a row of the fibermap is, and where the star was."""
    star, visit = str(fiber["TARGETID"]), str(fiber["EXPID"]) if "EXPID" in fiber.colnames else None
    group = [str(header[key]) for key in ("SURVEY", "PROGRAM", "TILEID", "PETAL", "SPGRPVAL") if key in header]
    name = "-".join(["desi", *group, star, *([visit] if visit else [])])
    place = stated_position(fiber["TARGET_RA"], fiber["TARGET_DEC"], fiber["REF_EPOCH"])
    return {"object_id": star, "spectrum_id": name, "visit": visit, **place}


class Desi(Instrument):
    """DESI, three arms joined on the pixels that they share: 7781 of 0.8 Angstrom.

    Parameters
    ----------
    normalization : {"median", "continuum", "none"}
        ``continuum``: a polynomial of 5th order an arm.
    """

    name = "desi"
    reader = __name__
    version = "1.0"
    citation = "2023AJ....165..144G (pipeline), 2024AJ....168...58D (data)"
    # O2, which a correction at this resolution leaves traces of (Hinkle, Wallace & Livingston 2003, BAAS 35, 1260).
    windows = (Window(6869.0, 6955.0, "O2 B band"), Window(7594.0, 7700.0, "O2 A band"))
    defects = ("COSMIC",)

    def __init__(self, normalization="median"):
        check_rule(normalization, ("median", "continuum", "none"))
        continuum = Continuum(segments_of(GRID, (3599, 5780), (5780, 7570), (7570, 9825)), degree=5)
        super().__init__(
            GRID << u.AA,
            # Full width at half maximum 1.55 Angstrom, 1.8 in arm z, as rvspecfit takes it for DESI.
            lsf_sigma=np.where(GRID < 7570, 1.55, 1.8) / 2.3548 << u.AA,
            normalization={"median": MedianFlux(), "continuum": continuum, "none": Unchanged()}[normalization],
            options={"normalization": normalization},
        )

    def write_example(self, path, rng):
        """Write a coadd file of two invented stars; ``.fits`` is added to a name without it."""
        path = Path(f"{path}" if str(path).endswith(".fits") else f"{path}.fits")
        rng = np.random.default_rng(rng)
        stars = self.make_example(rng, 2)
        ids = rng.choice(10**6, 2, replace=False) + 39627866878000000
        columns = {"TARGETID": ids, "OBJTYPE": ["TGT"] * 2, "TARGET_RA": rng.uniform(0, 360, 2)}
        columns |= {"TARGET_DEC": rng.uniform(-20, 80, 2), "REF_EPOCH": np.full(2, 2015.5, "f4")}
        cards = {"SURVEY": "main", "PROGRAM": "bright", "SPGRPVAL": 26065, "INFIL000": "spectra.fits"}
        hdus = [fits.PrimaryHDU(header=fits.Header(cards))]
        hdus += [fits.BinTableHDU(Table(columns), name=name) for name in ("FIBERMAP", "EXP_FIBERMAP", "SCORES")]
        kernel = np.exp(-0.5 * (np.arange(5, -6, -1) * 0.8 / 0.66) ** 2)
        for arm, pixels in ARMS.items():
            images = {"WAVELENGTH": GRID[pixels], "FLUX": np.float32([star.flux.value[pixels] for star in stars])}
            images["IVAR"] = np.float32([star.uncertainty.array[pixels] for star in stars])
            images["MASK"] = np.uint32([star.meta["quality"][pixels] & 2047 for star in stars])
            images["RESOLUTION"] = np.ones((2, 1, len(GRID[pixels]))) * np.float32(kernel / kernel.sum())[:, None]
            for kind, image in images.items():
                unit = fits.Header({"BUNIT": _UNITS[kind]} if kind in _UNITS else {})
                hdus.append(fits.ImageHDU(image, unit, name=f"{arm}_{kind}"))
        with atomic_write(path) as temporary:
            fits.HDUList(hdus).writeto(temporary, checksum=True)
        return path
