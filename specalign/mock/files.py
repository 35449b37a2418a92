"""The mock survey as files: aspcapStar, x1d, LAMOST COADD tables and Gaia XP sampled spectra.

Layouts, units and flags follow the surveys' data models, so that the readers of real files read them.  Bad pixels hold
rubbish, and the flags or errors that say so.
"""

import zlib
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits

from specalign.io.files import atomic_write
from specalign.mock.labels import BLOCK, draw_labels, measure_labels
from specalign.mock.model import SETUPS, noise, spectrum

__all__ = ["LEVEL", "write_stars", "write_survey"]

_SNR = {"apogee": (60, 300), "nirspec": (40, 250), "lamost": (20, 150), "gaia_xp": (60, 600)}  # log-uniform ranges
LEVEL = {"apogee": 1.0, "nirspec": 2e-3, "lamost": 400.0, "gaia_xp": 3e-16}  # typical flux in the product's unit
_BAD = {"apogee": 0.004, "nirspec": 0.006, "lamost": 0.003, "gaia_xp": 0.0}  # chance that a run of bad pixels starts
_COMBINED = ("apogee", "gaia_xp")
# km/s (1 sigma): how far a later visit's wavelengths are off from the first's, a fifth of a NIRSpec pixel (a star is
# never centred in its shutter twice alike) and about the scatter of repeated LAMOST velocities
_VISIT_VELOCITY = {"nirspec": 10.0, "lamost": 4.0}
_README = """This folder holds a MOCK survey, made by specalign.mock from random labels and a small line model.
Nothing in it was observed: use it to try the software, never for science.
Every star has the same object_id in all instruments.  Measured labels with errors are in catalogue.ecsv; the true ones
are in labels.ecsv, which is written last.
"""
_ASDF = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n---\n{mock: true}\n...\n"
_NOTE = "mock by specalign, not an observation"


def write_survey(
    folder, n_stars, instruments=("apogee", "nirspec"), seed=0, snr=None, visits=1, missing=0.0, decorrelated=False,
    overwrite=False,
):  # fmt: skip
    """Write mock spectra of the same stars with several instruments, as the surveys' own file formats.

    Parameters
    ----------
    folder : path-like
        Created if need be; gets ``<instrument>/*mock*.fits``, ``labels.ecsv`` (true), ``catalogue.ecsv`` (as a survey
        would have measured them, `measure_labels`) and ``README.txt``.
    n_stars : int
    instruments : sequence of {"apogee", "nirspec", "lamost", "gaia_xp"}
    seed : int
        Everything follows from it.  A star's spectrum depends on neither the number of stars nor the other instruments.
    snr : float or dict of instrument to float, optional
        Median signal-to-noise ratio of a pixel; drawn a star (log-uniform, an instrument's usual range) unless given.
    visits : int
        Exposures a star with nirspec and lamost; the products of apogee and gaia_xp are combined ones, one a star.  The
        wavelengths of later visits are off from those of the first by residual velocities, Gaussian with 10 km/s
        (nirspec) and 4 km/s (lamost); LAMOST's header measures what its spectrum shows.
    missing : float
        Chance that an instrument lacks a star.
    decorrelated : bool
        Draw each [X/Fe] on its own (`draw_labels`).
    overwrite : bool
        Replace an earlier mock survey in the folder; otherwise that is an error.

    Returns
    -------
    dict
        Instrument name to the list of its `~pathlib.Path`, ``"labels"`` and ``"catalogue"`` to those of the tables.

    Raises
    ------
    ValueError
        An instrument is unknown, or a number is out of range.
    FileExistsError
        The folder holds a survey already, and ``overwrite`` is False.

    Examples
    --------
    >>> import tempfile
    >>> from specalign.mock import write_survey
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = write_survey(folder, 2, instruments=("lamost", "gaia_xp"))
    ...     [len(paths[name]) for name in ("lamost", "gaia_xp")]
    [2, 1]
    """
    _check(instruments, snr, visits, missing)
    labels = draw_labels(
        -(-n_stars // BLOCK) * BLOCK, seed, decorrelated
    )  # whole blocks, so that all sums have the same order
    folder = _prepare_folder(Path(folder), instruments, overwrite)
    paths = {name: [] for name in instruments}
    for name in instruments:
        for start in range(0, n_stars, BLOCK):
            for visit in range(1 if name in _COMBINED else visits):
                stars = _observe(name, labels[start : start + BLOCK], (seed, start // BLOCK, visit), snr)
                stars = _present(stars, n_stars - start, (seed, start // BLOCK), name, missing)
                paths[name] += write_stars(folder / name, name, stars, visit) if len(stars["labels"]) else []
    catalogue = _write_table(folder / "catalogue.ecsv", measure_labels(labels[:n_stars], seed))
    return {**paths, "catalogue": catalogue, "labels": _write_table(folder / "labels.ecsv", labels[:n_stars])}


def _write_table(path, table):
    with atomic_write(path) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
    return path


def _check(instruments, snr, visits, missing):
    unknown = [name for name in instruments if name not in SETUPS]
    if unknown or not instruments:
        raise ValueError(f"expected instruments among {', '.join(SETUPS)}, got {', '.join(unknown) or 'none'}")
    if visits < 1 or not 0 <= missing < 1:
        raise ValueError(f"expected visits >= 1 and 0 <= missing < 1, got visits={visits}, missing={missing}")
    given = snr.values() if isinstance(snr, dict) else [] if snr is None else [snr]
    if not all(0 < value < np.inf for value in given):
        raise ValueError(f"expected a positive signal-to-noise ratio, got snr={snr}")


def _prepare_folder(folder, instruments, overwrite):
    if (folder / "labels.ecsv").exists():
        if not overwrite:
            raise FileExistsError(
                f"{folder} holds a mock survey already; choose another folder, or pass overwrite=True"
            )
        for name in ("labels.ecsv", "catalogue.ecsv"):
            (folder / name).unlink(missing_ok=True)
        for name in SETUPS:
            for old in (folder / name).glob("*mock*"):
                old.unlink()
    for name in instruments:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_README)
    return folder


def _observe(name, labels, key, snr):
    """Noisy spectra of one block: labels, and flux, error, bad (N, P) in the product's unit, with rubbish where bad."""
    rng = np.random.default_rng([*key, zlib.crc32(name.encode())])
    stars = {"labels": labels, "snr": rng.uniform(size=BLOCK), "level": rng.normal(0, 0.5, BLOCK)}
    stars["tilt"], stars["velocity_error"], stars["offset"] = rng.normal(size=(3, BLOCK))
    low, high = _SNR[name]
    given = snr.get(name) if isinstance(snr, dict) else snr
    stars["snr"] = low * (high / low) ** stars["snr"] if given is None else np.full(BLOCK, float(given))
    stars["velocity"] = labels["radial_velocity"].to_value(u.km / u.s) + _residual_velocity(name, key)
    flux = _flux(name, stars)
    deviate = rng.standard_normal(flux.shape, dtype=np.float32)
    starts = rng.random(flux.shape, dtype=np.float32) < _BAD[name]
    stars["bad"] = starts | np.roll(starts, 1, axis=1)
    stars["error"] = noise(flux, stars["snr"])
    stars["flux"] = flux + stars["error"] * deviate
    stars["flux"][stars["bad"]] *= 10 * deviate[stars["bad"]]
    return stars


def _residual_velocity(name, key):
    """What the wavelength calibration of a visit leaves (BLOCK,), km/s; the first one's is the reference."""
    if key[-1] == 0:
        return np.zeros(BLOCK)
    rng = np.random.default_rng([*key, 2, zlib.crc32(name.encode())])
    return rng.normal(0, _VISIT_VELOCITY[name], BLOCK)


def _present(stars, n, key, name, missing):
    """The first n stars of a block, without those that the instrument lacks; the same ones in every visit."""
    chance = np.random.default_rng([*key, 1, 0, zlib.crc32(name.encode())]).uniform(size=BLOCK)
    rows = np.flatnonzero((chance >= missing) & (np.arange(BLOCK) < n))
    return {quantity: values[rows] for quantity, values in stars.items()}


def _flux(name, stars):
    flux = spectrum(name, stars["labels"], stars["velocity"] * u.km / u.s)[1].value
    if SETUPS[name].normalized:
        return flux
    level = (LEVEL[name] * 10 ** stars["level"] / np.median(flux, axis=1))[:, None]
    if name == "lamost":  # its flux calibration is relative
        level = level * (1 + 0.03 * stars["tilt"][:, None] * np.linspace(-1, 1, flux.shape[1]))
    return flux * level


def write_stars(folder, instrument, stars, visit=0):
    """Write files of stars that are drawn already.

    Parameters
    ----------
    folder : `~pathlib.Path`
    instrument : {"apogee", "nirspec", "lamost", "gaia_xp"}
    stars : dict
        ``labels`` (N rows) as `draw_labels` gives them; ``flux``, ``error`` and ``bad`` (N, P) on the axis of the
        instrument's setup; ``snr``, ``velocity`` (km/s), ``velocity_error`` and ``offset`` (N,).  For nirspec also
        ``axis`` (P,) in Angstrom and ``setting``, its disperser and filter, where they are not those of the survey.
    visit : int

    Returns
    -------
    list of `~pathlib.Path`
    """
    return _WRITERS[instrument](folder, stars, visit)


def _write_apogee(folder, stars, visit):
    """The aspcapStar files of DR17: spectrum, error, (best fit), a table; continuum 1, at rest, no mask plane."""
    flux, error = stars["flux"], np.where(stars["bad"], 1e10, stars["error"])
    hole = np.ones(flux.shape[1], bool)
    for start, stop in SETUPS["apogee"].chips:
        hole[start:stop] = False
    flux[:, hole] = error[:, hole] = 0
    grid = [("CRVAL1", 4.179), ("CDELT1", 6e-6), ("CRPIX1", 1), ("CTYPE1", "LOG-LINEAR"), ("DC-FLAG", 1)]
    image = _header("IMAGE", -32, [flux.shape[1]], grid)
    paths = []
    for i, star in enumerate(stars["labels"]):
        cards = [
            ("OBJ", star["object_id"]), *_position(star), ("FIELD", f"mock-{visit}"), ("SNR", stars["snr"][i]),
            ("VRAD", 0.0), ("VHELIO", round(star["radial_velocity"].value, 4)), ("NVISITS", 1),
        ]  # fmt: skip
        row = np.array(
            [(star["object_id"], stars["snr"][i], -9999, -9999)],  # nothing was fitted
            dtype=[("APOGEE_ID", "S18"), ("SNR", ">f4"), ("FPARAM", ">f4", 9), ("PARAM", ">f4", 9)],
        )
        planes = [(image, plane[i].astype(">f4")) for plane in (flux, error, 0 * flux)]
        path = folder / f"aspcapStar-dr17-mock{visit}-{star['object_id']}.fits"
        paths.append(_write(path, cards, [*planes, (_table(row), row)]))
    return paths


def _write_nirspec(folder, stars, visit):
    """Pipeline x1d files of G140H/F100LP: barycentric, no velocity known, the detector gap is NaN and flagged."""
    units = {"WAVELENGTH": "um", "FLUX": "Jy", "FLUX_ERROR": "Jy"}
    asdf = np.array([(_ASDF,)], dtype=[("ASDF_METADATA", f"S{len(_ASDF)}")])
    grating, blocking = stars.get("setting", ("G140H", "F100LP"))
    paths = []
    for i, star in enumerate(stars["labels"]):
        row, number = _x1d_rows(stars, i), int(star["object_id"][-6:])
        cards = [
            ("TELESCOP", "JWST"), ("INSTRUME", "NIRSPEC"), ("EXP_TYPE", "NRS_MSASPEC"), ("GRATING", grating),
            ("FILTER", blocking), ("DATAMODL", "MultiSpecModel"), ("TARGNAME", "MOCK"), ("PROGRAM", "00000"),
            ("OBSERVTN", f"{visit + 1:03d}"), ("TARG_RA", star["ra"].value), ("TARG_DEC", star["dec"].value),
        ]  # fmt: skip
        source = [("SOURCEID", number), ("SRCNAME", star["object_id"]), ("SRCALIAS", star["object_id"]),
                  ("SRCTYPE", "POINT"), ("SRCRA", star["ra"].value), ("SRCDEC", star["dec"].value)]  # fmt: skip
        header = _table(row, [("EXTNAME", "EXTRACT1D"), ("EXTVER", 1), ("TZERO4", 2**31), *source], units)
        path = folder / f"jw00000-o{visit + 1:03d}_mock_s{number:06d}_nirspec_f100lp-g140h_x1d.fits"
        paths.append(_write(path, cards, [(header, row), (_table(asdf, [("EXTNAME", "ASDF")]), asdf)]))
    return paths


def _x1d_rows(stars, i):
    names = ["WAVELENGTH", "FLUX", "FLUX_ERROR", "DQ", "NPIXELS"]
    axis = stars.get("axis", SETUPS["nirspec"].axis)
    rows = np.zeros(len(axis), dtype=[(name, ">i4" if name == "DQ" else ">f8") for name in names])
    gap = (np.abs(axis - 14470 - 60 * stars["offset"][i]) < 390) & ("axis" not in stars)
    quality = np.where(gap, 1 + 512, np.where(stars["bad"][i], 1 + 4, 0))  # DO_NOT_USE with NON_SCIENCE or JUMP_DET
    rows["WAVELENGTH"], rows["NPIXELS"], rows["DQ"] = axis / 1e4, 6, quality - 2**31
    rows["FLUX"], rows["FLUX_ERROR"] = np.where(gap, np.nan, (stars["flux"][i], stars["error"][i]))
    return rows


def _write_lamost(folder, stars, visit):
    """DR10 low-resolution files: heliocentric vacuum wavelengths, redshift in the header, inverse variance, masks."""
    velocity = stars["velocity"] + 4 * stars["velocity_error"]
    paths = []
    for i, star in enumerate(stars["labels"]):
        row = _coadd_row(stars["flux"][i], stars["error"][i], stars["bad"][i])
        snr = [(f"SNR{band.upper()}", round(stars["snr"][i], 2)) for band in "ugriz"]
        name = star["object_id"]
        cards = [
            ("FILENAME", f"spec-59999-MOCK_sp{visit:02d}-{name}.fits"), ("OBSID", 10 * int(name) + visit),
            ("DATA_V", "LAMOST DR10"), ("TELESCOP", "LAMOST"), ("DESIG", name), ("OBJNAME", name), ("OBJTYPE", "Star"),
            *_position(star), ("HELIO", True), ("VACUUM", True), ("COEFF0", 3.5682), ("COEFF1", 1e-4),
            ("CLASS", "STAR"), ("Z", round(velocity[i] / 299792.458, 8)), ("Z_ERR", 1.3e-5), *snr,
        ]  # fmt: skip
        path = folder / f"spec-59999-mock{visit}-{name}.fits"
        paths.append(_write(path, cards, [(_table(row, [("EXTNAME", "COADD")]), row)]))
    return paths


def _coadd_row(flux, error, bad):
    names = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK", "NORMALIZATION")
    row = np.zeros(1, dtype=[(name, ">f4", len(flux)) for name in names])
    values = (flux, np.where(bad, 0, error**-2), SETUPS["lamost"].axis, 2 * bad, 2 * bad, 1)  # bit 1: bad CCD pixel
    for name, value in zip(names, values, strict=True):
        row[name] = value
    return row


def _write_xp(folder, stars, visit):
    """One archive table (XP_SAMPLED) of a block of sources; the noise is uncorrelated, which real XP noise is not."""
    labels, (flux, error) = stars["labels"], (stars[name].astype(np.float32) for name in ("flux", "error"))
    columns = [
        fits.Column("source_id", "K", array=labels["object_id"].astype(np.int64)),
        fits.Column("solution_id", "K", array=np.full(len(labels), 0)),
        fits.Column("ra", "D", unit="deg", array=labels["ra"].value),
        fits.Column("dec", "D", unit="deg", array=labels["dec"].value),
        fits.Column("flux", "PE(343)", unit="W.m**-2.nm**-1", array=_ragged(flux)),
        fits.Column("flux_error", "PE(343)", unit="W.m**-2.nm**-1", array=_ragged(error)),
    ]
    primary = fits.PrimaryHDU(header=fits.Header([("MOCK", True, _NOTE)]))
    path = folder / f"XP_SAMPLED-mock-{labels['object_id'][0]}.fits"
    fits.HDUList([primary, fits.BinTableHDU.from_columns(columns)]).writeto(path, overwrite=True)
    return [path]


_WRITERS = {"apogee": _write_apogee, "nirspec": _write_nirspec, "lamost": _write_lamost, "gaia_xp": _write_xp}


def _ragged(array):
    rows = np.empty(len(array), dtype=object)
    rows[:] = list(array)
    return rows


def _position(star):
    return ("RA", star["ra"].value), ("DEC", star["dec"].value)


def _header(kind, bitpix, shape, cards):
    """Header bytes of an extension."""
    size = [(f"NAXIS{i + 1}", length) for i, length in enumerate(shape)]
    first = [("XTENSION", kind), ("BITPIX", bitpix), ("NAXIS", len(shape)), *size, ("PCOUNT", 0), ("GCOUNT", 1)]
    return fits.Header([*first, *cards]).tostring().encode()


def _table(row, cards=(), units=()):
    """Header bytes of a binary table that holds a structured array."""
    columns = []
    for i, name in enumerate(row.dtype.names):
        kind, shape = row.dtype[name].base, row.dtype[name].shape
        code = {"f4": "E", "f8": "D", "i4": "J"}.get(kind.str[1:], "A")
        count = kind.itemsize if code == "A" else int(np.prod(shape, initial=1))
        columns += [(f"TTYPE{i + 1}", name), (f"TFORM{i + 1}", f"{count}{code}")]
        columns += [(f"TUNIT{i + 1}", units[name])] if name in units else []
    fields = [("TFIELDS", len(row.dtype.names)), *columns, *cards]
    return _header("BINTABLE", 8, [row.dtype.itemsize, len(row)], fields)


def _write(path, cards, extensions):
    """Write the bytes at once: a file costs about a millisecond this way."""
    first = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True), ("MOCK", True, _NOTE), *cards]
    blocks = [fits.Header(first).tostring().encode()]
    for header, data in extensions:
        content = data.tobytes()
        blocks += [header, content, bytes(-len(content) % 2880)]
    path.write_bytes(b"".join(blocks))
    return path
