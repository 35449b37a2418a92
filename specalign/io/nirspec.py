"""JWST/NIRSpec: the pipeline's x1d files, PypeIt's spec1d files, and the spec files of msaexp.

specutils reads the x1d files of the pipeline, and drops their data-quality flags; nothing reads spec1d with its mask,
or spec with its unreliable pixels masked.
"""

import astropy.units as u
import numpy as np
from specutils import SpectrumList

from specalign.exceptions import EmptySpectrumError
from specalign.io.files import corrupt, existing_file
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits, require_columns
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import bit_value, translate
from specalign.io.spectra import (
    build_spectrum,
    column_quantity,
    declared_medium,
    inverse_square,
    stated_number,
    stated_position,
)

__all__ = ["BAD_BITS", "PRODUCTS", "QUALITY_BITS", "read"]

PRODUCTS = (
    # The spectral WCS of NIRSpec includes the velocity of the telescope (VELOSYS): wavelengths are barycentric.
    Product(
        name="x1d",
        instrument="nirspec",
        data_model="https://jwst-pipeline.readthedocs.io/en/latest/jwst/data_products/science_products.html#x1d",
        frame="barycentric",
        format="specalign x1d",
    ),
    # PypeIt gives vacuum wavelengths; for jwst_nirspec it corrects no velocity and takes the pipeline's WCS.
    Product(
        name="spec1d",
        instrument="nirspec",
        data_model="https://pypeit.readthedocs.io/en/stable/out_spec1D.html",
        frame="barycentric",
        format="specalign spec1d",
    ),
    # Neither msaexp nor the archive that gives its files away writes the frame or the medium down: msaexp takes the
    # wavelengths of the pipeline's WCS, which are vacuum and barycentric.  The lines of the planetary nebula that
    # the archive offers for checks of the wavelengths lie where vacuum puts them, 80 km/s from where air would.
    Product(
        name="msaexp",
        instrument="nirspec",
        data_model="https://dawn-cph.github.io/dja/blog/2023/07/18/nirspec-data-products/",
        frame="barycentric",
        format="specalign msaexp",
    ),
)

# The pipeline's pixel flags that matter in one dimension, renumbered to fit into 24 bits:
# https://jwst-pipeline.readthedocs.io/en/latest/jwst/references_general/references_general.html#data-quality-flags
QUALITY_BITS = {
    "DO_NOT_USE": 0,
    "SATURATED": 1,
    "JUMP_DET": 2,
    "DROPOUT": 3,
    "OUTLIER": 4,
    "PERSISTENCE": 5,
    "AD_FLOOR": 6,
    "CHARGELOSS": 7,
    "UNRELIABLE_ERROR": 8,
    "NON_SCIENCE": 9,
    "DEAD": 10,
    "HOT": 11,
    "WARM": 12,
    "LOW_QE": 13,
    "TELEGRAPH": 14,
    "NONLINEAR": 15,
    "NO_FLAT_FIELD": 16,
    "UNRELIABLE_FLAT": 17,
    "OPEN": 18,
    "MSA_FAILED_OPEN": 19,
    "OTHER_BAD_PIXEL": 20,
    "EXTRACTION_MASK": 21,  # PypeIt's OPT_MASK is False, or msaexp does not count the pixel as valid
    "MULTIPLE_TRACE": 22,  # the slit of this source holds more than one trace: which one is the star?
    "UNDOCUMENTED": 23,  # another flag of the pipeline
}
BAD_BITS = ("DO_NOT_USE", "NON_SCIENCE", "EXTRACTION_MASK")
_TABLE = {bit: bit for bit in range(14)}
_TABLE |= {15: 14, 16: 15, 18: 16, 25: 17, 26: 18, 27: 18, 29: 19, 30: 20, None: 23}
_ONE_TARGET = ("NRS_FIXEDSLIT", "NRS_BRIGHTOBJ")
MJD_J2000 = 51544.5
_BARYCENTRIC = ("", "BARYCENT", "BARYCENTRIC", "HELIOCEN", "HELIOCENTRIC")


def read(path, visits="combined"):
    """Read an x1d file of the JWST pipeline, a spec1d file of PypeIt, or a spec file of msaexp.

    Parameters
    ----------
    path : path-like
    visits : {"combined", "all"}
        A file holds one exposure, or one combination: both words give all its spectra.

    Returns
    -------
    spectra : `~specutils.SpectrumList`
        One a source (x1d, msaexp) or a trace (spec1d).  Where a slit has several traces, every pixel has the bit
        MULTIPLE_TRACE and ``meta["n_traces"]`` counts them.  Rows of spec1d without a wavelength are left out and
        counted in ``meta["n_dropped"]``.  ``meta["disperser"]`` and ``meta["filter"]`` are those of the header, such
        as ``"g140h"`` and ``"f100lp"``, or None.

    Raises
    ------
    specalign.exceptions.CorruptFileError, specalign.exceptions.UnknownProductError
    specalign.exceptions.SpectrumUnitError
        A column of an x1d or of msaexp has no unit or a wrong one.

    Notes
    -----
    The flux of msaexp is read as it is, in the unit of its column: microjansky.  The header's BUNIT, mJy, contradicts
    the column, and is not used.  The polynomial POLY0, POLY1, ... that some headers hold is not applied, and the 2 %
    that the software of msaexp adds to ``err`` in quadrature are not added.
    """
    check_visits(visits)
    path = existing_file(path)
    with open_fits(path) as hdus:
        header = hdus[0].header
        if header.get("DMODCLS") == "SpecObjs" and str(header.get("PYP_SPEC")).startswith("jwst_nirspec"):
            return SpectrumList(_read_spec1d(path, hdus))
        if header.get("INSTRUME") == "NIRSPEC" and "SpecModel" in str(header.get("DATAMODL", "")):
            return SpectrumList(_read_x1d(path, hdus))
        if len(hdus) > 1 and hdus[1].name == "SPEC1D" and "TOMUJY" in hdus[1].header:
            return SpectrumList([_read_msaexp(path, hdus)])
        raise unknown_product(path, hdus, "nirspec", PRODUCTS)


def _facts(path, hdus):
    """What all spectra of a file share; the exposure is the name of the file that the pipeline gave it."""
    header = header_dict(hdus[0].header)
    name = str(header.get("FILENAME") or path.name).split("/")[-1]
    exposure = name.removesuffix(".gz").removesuffix(".fits")
    exposure = exposure.removesuffix(".spec").removesuffix("_x1d").removesuffix("_rate")
    for detector in ("_nrs1", "_nrs2"):
        exposure = exposure.removesuffix(detector)
    return {"path": path, "header": header, "visit": exposure, "checksum": checksum_state(hdus)}


def _frame(*headers):
    """Barycentric, unless a header says another frame (SPECSYS of FITS, VEL_TYPE of PypeIt)."""
    said = {str(header.get(key) or "").upper() for header in headers for key in ("SPECSYS", "VEL_TYPE")}
    return "barycentric" if said <= set(_BARYCENTRIC) else "observed"


def _setting(header, disperser, filter_):
    """Disperser and filter that a header names under two keys, as the options of the instrument spell them."""
    words = [str(header.get(key) or "").strip().lower() for key in (disperser, filter_)]
    return dict(zip(("disperser", "filter"), (word or None for word in words), strict=True))


def _position(header):
    """The position of the source, 0 and 0 where the mask's file has none; at a fixed slit, that of the target.

    The pipeline moves the target's position to the middle of the exposure, and says nothing on the epoch of others.
    """
    ra, dec = header.get("SRCRA"), header.get("SRCDEC")
    if stated_number(ra) == stated_number(dec) == 0:
        return stated_position(None, None)
    if ra is None and header.get("EXP_TYPE") in _ONE_TARGET:
        epoch = 2000 + (stated_number(header.get("EXPMID")) - MJD_J2000) / 365.25
        return stated_position(header.get("TARG_RA"), header.get("TARG_DEC"), epoch)
    return stated_position(ra, dec)


def _read_x1d(path, hdus):
    tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
    if "COMBINE1D" in [hdu.name for hdu in hdus]:
        raise unknown_product(path, "a c1d, in which the pipeline combined several x1d", "nirspec", PRODUCTS)
    if not tables or "ASDF" not in [hdu.name for hdu in hdus]:
        raise corrupt(path, f"an x1d has EXTRACT1D and ends with ASDF; found {[hdu.name for hdu in hdus]}")
    facts = _facts(path, hdus)
    return [_x1d_spectrum(path, table, i, facts) for i, table in enumerate(tables)]


def _x1d_spectrum(path, table, index, facts):
    where = f"{path}[EXTRACT1D,{index + 1}]"
    if "WAVELENGTH" in table.columns.names and table.data["WAVELENGTH"].ndim != 1:
        raise unknown_product(path, "an x1d with a spectrum a row (a time series)", "nirspec", PRODUCTS)
    require_columns(where, table, ("WAVELENGTH", "FLUX", _error_name(table), "DQ"))
    header = facts["header"] | header_dict(table.header)
    source = str(
        header.get("SRCNAME") or header.get("TARGNAME") or header.get("SOURCEID") or f"source {index + 1}"
    ).strip()
    error = column_quantity(table, _error_name(table), None, where)
    return build_spectrum(
        column_quantity(table, "FLUX", None, where),
        column_quantity(table, "WAVELENGTH", None, where),
        product=PRODUCTS[0],
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=source,
        spectrum_id=f"{facts['visit']}-{source}-{index + 1}",
        ivar=inverse_square(error.value) << error.unit**-2,
        quality=translate(table.data["DQ"], _TABLE),
        medium=declared_medium(header, "vacuum"),
        frame=_frame(header),
        n_traces=1,
        **_setting(header, "GRATING", "FILTER"),
        **_position(header),
        **{**facts, "header": header},
    )


def _error_name(table):
    """FLUX_ERROR, which pipelines before 1.0 called ERROR."""
    return "ERROR" if "ERROR" in table.columns.names else "FLUX_ERROR"


def _read_spec1d(path, hdus):
    traces = [hdu for hdu in hdus[1:] if hdu.header.get("DMODCLS") == "SpecObj"]
    announced = int(hdus[0].header.get("NSPEC", 1))
    detectors = {f"{trace.header.get('DET')}-DETECTOR" for trace in traces}
    missing = detectors - {hdu.name for hdu in hdus}
    if len(traces) < max(announced, 1) or missing:
        raise corrupt(
            path, f"{len(traces)} of {announced} traces are there, and these extensions are not: {missing or '-'}"
        )
    facts = _facts(path, hdus)
    return [_spec1d_spectrum(path, trace, len(traces), facts) for trace in traces]


def _spec1d_spectrum(path, trace, n_traces, facts):
    table, where = trace.data, f"{path}[{trace.name}]"
    require_columns(path, trace, ("OPT_WAVE", "OPT_COUNTS", "OPT_COUNTS_IVAR", "OPT_MASK"))
    wavelength = column_quantity(trace, "OPT_WAVE", u.AA, where)
    kept = wavelength.value != 0  # rows where no pixel of the detector has a wavelength
    if not kept.any():
        raise EmptySpectrumError(f"{where}: expected wavelengths, got 0 in each of {len(kept)} rows of OPT_WAVE")
    quality = _spec1d_quality(native(table["OPT_MASK"])[kept], n_traces)
    header = facts["header"] | {key: trace.header.get(key) for key in ("NAME", "DET", "S2N", "SPAT_FRACPOS", "OBJTYPE")}
    source = str(header.get("TARGET") or trace.name).strip()
    return build_spectrum(
        column_quantity(trace, "OPT_COUNTS", u.electron, where)[kept],
        wavelength[kept],
        product=PRODUCTS[1],
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=source,
        spectrum_id=f"{facts['visit']}-{source}-{trace.name}",
        ivar=native(table["OPT_COUNTS_IVAR"])[kept],
        quality=quality,
        snr=stated_number(trace.header.get("S2N")),
        n_dropped=int((~kept).sum()),
        medium=declared_medium(trace.header, "vacuum"),
        frame=_frame(header, trace.header),
        n_traces=n_traces,
        **_setting(header, "DISPNAME", "FILTER1"),
        # RA and DEC of the first header are where the telescope points: the same for all sources of a mask.
        **stated_position(trace.header.get("RA"), trace.header.get("DEC")),
        **{**facts, "header": header},
    )


def _spec1d_quality(good, n_traces):
    quality = np.zeros(good.shape, dtype=np.uint32)
    quality[~good.astype(bool)] |= bit_value(QUALITY_BITS, "EXTRACTION_MASK")
    if n_traces > 1:
        quality |= bit_value(QUALITY_BITS, "MULTIPLE_TRACE")
    return quality


def _read_msaexp(path, hdus):
    names = [hdu.name for hdu in hdus]
    if "PROF1D" not in names:
        raise corrupt(path, f"a file of msaexp has SPEC1D and, at its end, PROF1D; found {names}")
    table, where = hdus[1], f"{path}[SPEC1D]"
    require_columns(path, table, ("wave", "flux", "err"))
    facts = _facts(path, hdus)
    header = facts["header"] | header_dict(table.header)
    source = str(header.get("SRCNAME") or header.get("SRCID") or facts["visit"]).strip()
    error = column_quantity(table, "err", None, where)
    return build_spectrum(
        column_quantity(table, "flux", None, where),
        column_quantity(table, "wave", None, where),
        product=PRODUCTS[2],
        quality_bits=QUALITY_BITS,
        bad_bits=BAD_BITS,
        object_id=source,
        spectrum_id=f"{facts['visit']}-{source}-1",
        ivar=inverse_square(error.value) << error.unit**-2,
        quality=_msaexp_quality(table, error.value),
        medium=declared_medium(header, "vacuum"),
        frame=_frame(header),
        n_traces=1,
        **_setting(header, "GRATING", "FILTER"),
        **_position(header),
        **{**facts, "header": header},
    )


def _msaexp_quality(table, error):
    """Bits of pixels that msaexp's own software does not count as valid, though they hold a flux and an error.

    It leaves out those whose error is implausibly small: less than half of the 5th percentile.  Newer files may say
    it themselves, in a column ``valid``.
    """
    quality = np.zeros(error.shape, dtype=np.uint32)
    measured = np.isfinite(error) & (error > 0)
    if measured.any():
        small = measured & (error < 0.5 * np.percentile(error[measured], 5))
        quality[small] |= bit_value(QUALITY_BITS, "UNRELIABLE_ERROR", "EXTRACTION_MASK")
    if "valid" in table.columns.names:
        invalid = measured & ~native(table.data["valid"]).astype(bool)
        quality[invalid] |= bit_value(QUALITY_BITS, "EXTRACTION_MASK")
    return quality
