"""``docs/user_guide/products.rst`` from the tables that the readers declare: ``python docs/products_page.py``.

What the code knows is taken from it; the columns that it cannot know stand in `NOTES`.
"""

from dataclasses import dataclass
from pathlib import Path

from specalign import get_instrument
from specalign.io.quality import COMMON_BITS
from specalign.plugins import find_plugins

PAGE = Path(__file__).parent / "user_guide" / "products.rst"
HEAD = """.. This page is written by docs/products_page.py; do not edit it by hand.

.. _products:

Products
========

Every kind of file that a built-in instrument reads. Frame, medium, normalisation, resolving power, bits and data model
are those that the code declares (``get_instrument(name).products``). *Real files* counts those that the reader was
tested with; where it says synthetic, no real file was at hand, and the reader follows the data model alone.

The frame is that of the wavelengths in the file: at rest, barycentric, or as observed, where the Earth moves too. The
normalisation is what the file's flux was divided by; ``prepare`` renews it. Where a header says another frame (SPECSYS,
VEL_TYPE, HELIO) or medium (CTYPE1, VACUUM) than the table, the header counts.

``read(path, visits=...)`` takes ``"combined"`` or ``"all"``, and any other word is an error. Where a file holds nothing
but what ``"combined"`` gives, ``"all"`` gives the same.
"""
NOT_READ = """\
Not read, and refused by name: mwmVisit and the BOSS spectra of SDSS-V; the pipeline's c1d (several x1d in one) and
x1d of time series; PypeIt's spectra of other spectrographs; Gaia RVS; light curves of Kepler and TESS. Arrays in files
of one's own (npz, csv) go to ``prepare_arrays`` with their facts.
"""
COMMON = """Bits of every instrument
------------------------

Bits 24 to 31 mean the same everywhere.

"""
SPECUTILS = """What specutils gives
--------------------

As seen with specutils 2.4 and the real files (the mwmStar: with a synthetic one). No loader of specutils says in which
frame, in which medium, or how normalised a spectrum is, or keeps the names of the flags; every reader here does. *No
loader* means that no format of specutils reads the file; "not identified", that it must be named with ``format=``.

"""


@dataclass(frozen=True)
class Note:
    """What no code knows of a product.

    Parameters
    ----------
    loaders : tuple of str
        Formats of specutils that read it.
    gives : str
        What they give.
    adds : str
        What this package's reader adds.
    real_files : int
        How many the reader was tested with.
    visits : str
        What ``visits="all"`` gives; "the same" where it gives what ``"combined"`` does.
    position : str
        Where the position of the star comes from, and its epoch.
    """

    loaders: tuple
    gives: str
    adds: str
    real_files: int
    visits: str
    position: str


NOTES = {
    "aspcapStar": Note(
        ("APOGEE aspcapStar",),
        "flux and errors in an arbitrary unit that is another one at every read; no mask",
        "no unit (the flux is normalised); zeros, and errors of 1e10, masked",
        20,
        "the same",
        "RA, DEC; epoch not stated",
    ),
    "apStar": Note(
        ("APOGEE apStar", "SDSS-V apStar"),
        "the sum of the visits, without a mask, or with every flag as a bad pixel; the list of ``SDSS-V apStar`` "
        "counts the two sums as visits; a star with one visit fails",
        "16-bit flags by name; every visit with its velocity; stars with one visit",
        6,
        "every visit, at rest",
        "RA, DEC; epoch not stated",
    ),
    "apVisit": Note(
        ("APOGEE apVisit", "SDSS-V apVisit"),
        "all three detectors, without a mask, or with every flag as a bad pixel; one real file of four is identified",
        "flags by name; VRAD and BC as facts, with a warning where the file itself makes them doubtful",
        4,
        "the same",
        "RA, DEC; epoch not stated",
    ),
    "mwmStar": Note(
        ("SDSS-V mwm",),
        "flux, errors, and every flag as a bad pixel; needs checksums in the file",
        "flags by name; a spectrum a telescope; the BOSS tables left alone",
        0,
        "the same",
        "RA, DEC; epoch not stated",
    ),
    "x1d": Note(
        ("JWST x1d", "tabular-fits"),
        "flux and errors of a point source, surface brightness of an extended one; DQ is dropped, and there is no mask",
        "DQ as named bits; every source of the file; disperser and filter; always the flux",
        1,
        "the same",
        "SRCRA, SRCDEC, epoch not stated; at a fixed slit TARG_RA, TARG_DEC at EXPMID",
    ),
    "spec1d": Note(
        (),
        "no loader: ``tabular-fits`` claims the file and fails",
        "all: OPT_MASK, every trace, rows without a wavelength dropped and counted, several traces flagged",
        8,
        "the same",
        "RA, DEC of a trace, where PypeIt knows them; those of the first header are the telescope's pointing",
    ),
    "msaexp": Note(
        ("tabular-fits",),
        "flux and errors, as of any table; pixels without information are not masked",
        "zeros and implausibly small errors masked; disperser and filter",
        2,
        "the same",
        "SRCRA, SRCDEC; epoch not stated",
    ),
    "lrs-coadd": Note(
        (),
        "no loader: ``tabular-fits`` claims the file and fails",
        "all: both masks as named bits, Z as a velocity, plan, spectrograph and fibre where OBSID is missing",
        41,
        "the same",
        "RA, DEC of the input catalogue; epoch not stated",
    ),
    "lrs-image": Note(
        (),
        "no loader: not identified; ``SDSS-I/II spSpec`` can be forced on it, and takes the wavelengths for errors",
        "all, as for lrs-coadd",
        15,
        "the same",
        "RA, DEC of the input catalogue; epoch not stated",
    ),
    "mrs": Note(
        (),
        "no loader: ``tabular-fits`` claims the file and fails",
        "all: both arms, in increasing wavelength, and every exposure",
        3,
        "every exposure of both arms, instead of their sums",
        "RA, DEC of the input catalogue; epoch not stated",
    ),
    "xp-continuous": Note(
        (),
        "no loader: ``tabular-fits``, ``ASCII`` or ``ECSV`` claim some of the formats and fail",
        "all: coefficients with errors and correlations, from csv, ecsv, FITS, VOTable, DataLink zip and parquet; a "
        "missing BP or RP named",
        10,
        "the same",
        "none: the table has no position",
    ),
    "xp-sampled": Note(
        (),
        "no loader: ``tabular-fits``, ``ASCII`` or ``ECSV`` claim some of the formats and fail",
        "all, from csv, ecsv, FITS, VOTable and DataLink zip; units checked",
        6,
        "the same",
        "ra, dec; epoch as the file states it, else 2016.0 where ``solution_id`` is one of DR3",
    ),
}


def instruments():
    """Every built-in instrument, by the name of its plugin."""
    return [get_instrument(p.name) for p in find_plugins("instruments") if p.distribution == "specalign"]


def render(found=None):
    """The page.

    Parameters
    ----------
    found : list of Instrument, optional
        Default: those that are built in.

    Raises
    ------
    KeyError
        `NOTES` does not know a product.
    """
    found = instruments() if found is None else found
    products = [product for instrument in found for product in instrument.products]
    parts = [HEAD, _overview(products), NOT_READ, *(_section(instrument) for instrument in found)]
    parts += [COMMON + _bit_table(COMMON_BITS, found[0].bad_bits), SPECUTILS + _specutils(products)]
    return "\n".join(parts)


def _overview(products):
    head = ("product", "instrument", "frame", "medium", "normalised by", "R", "axis", "real files")
    rows = [
        (
            f"`{p.name} <{p.data_model}>`__",
            p.instrument,
            p.frame,
            p.medium,
            p.normalization,
            "varies" if p.resolving_power is None else f"{p.resolving_power:g}",
            p.axis_kind,
            str(NOTES[p.name].real_files or "synthetic"),
        )
        for p in products
    ]
    return _table(head, rows, "15 12 13 9 13 8 12 10")


def _section(instrument):
    title = f"{instrument.name}: visits, positions and bits"
    rows = [(p.name, NOTES[p.name].visits, NOTES[p.name].position, f"``{p.format}``") for p in instrument.products]
    own = {name: bit for name, bit in instrument.quality_bits.items() if name not in COMMON_BITS}
    head = ("product", 'visits="all"', "position", "format for specutils")
    text = f"{title}\n{'-' * len(title)}\n\n{_table(head, rows, '14 24 36 26')}\n"
    return text + _bit_table(own, instrument.bad_bits)


def _bit_table(bits, bad_bits):
    named = sorted((bit, name) for name, bit in bits.items())
    rows = [(str(bit), name, "yes" if bad_bits >> bit & 1 else "no") for bit, name in named]
    return _table(("bit", "name", "masks a pixel"), rows, "10 40 20")


def _specutils(products):
    rows = []
    for product in products:
        note = NOTES[product.name]
        loaders = ", ".join(f"``{name}``" for name in note.loaders) or "no loader"
        rows.append((product.name, loaders, note.gives, note.adds))
    return _table(("product", "loader of specutils", "gives", "added here"), rows, "12 18 35 35")


def _table(head, rows, widths):
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
