"""One small file of a built-in instrument, from an example of its spectra.

The layouts are those of the mock survey, and two more.
"""

import dataclasses
import os
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from specutils import SpectrumList

from specalign.instruments.gaia_xp import GaiaXP, sampling_matrix
from specalign.io.files import atomic_write
from specalign.io.spectra import build_spectrum
from specalign.mock.files import LEVEL, write_stars
from specalign.mock.labels import draw_labels
from specalign.mock.model import SETUPS

__all__ = ["write_lamost_mrs", "write_survey_file", "write_xp_continuous", "xp_coefficients"]

_NOTE = ("MOCK", True, "mock by specalign, not an observation")
_NOISE = 0.001  # of the largest coefficient: at 1 %, the sum of 110 that is the flux at 550 nm may be negative


def write_survey_file(instrument, path, rng):
    """Write a file of one star in the layout that `specalign.mock.write_survey` gives the instrument.

    Parameters
    ----------
    instrument : Instrument
        One of the four; lamost and gaia_xp in the setting that the mock survey has.
    path : path-like
    rng : int or `numpy.random.Generator`

    Returns
    -------
    pathlib.Path
    """
    rng, setup = np.random.default_rng(rng), SETUPS[instrument.name]
    example = instrument.make_example(rng, 1)[0]
    if instrument.name == "nirspec":
        setup = dataclasses.replace(setup, axis=instrument.spectral_axis.to_value(u.AA))
    stars = _on_axis(example, setup, rng)
    if instrument.name == "nirspec":
        stars |= {"axis": setup.axis, "bad": example.mask[None], "setting": _setting(instrument)}
    path = _fits_path(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = write_stars(Path(folder), instrument.name, stars)
        os.replace(written[0], path)
    return path


def _setting(instrument):
    return tuple(instrument.options[key].upper() for key in ("disperser", "filter"))


def _on_axis(example, setup, rng):
    """An example as the writers of the mock survey want a star: on the product's own axis, at its flux level."""
    axis, good = example.spectral_axis.to_value(u.AA), ~example.mask
    columns = (example.flux.value, np.maximum(example.uncertainty.array, 1e-12) ** -0.5)
    flux, error = (np.interp(setup.axis, axis[good], column[good])[None] for column in columns)
    bad = rng.random(flux.shape) < (0.0 if setup.name == "gaia_xp" else 0.01)
    flux[bad] *= 10  # rubbish, which the flags tell
    velocity = example.meta["radial_velocity"]
    return {
        "labels": draw_labels(1, seed=int(rng.integers(2**31))),
        "flux": (LEVEL[setup.name] * flux).astype(np.float32),
        "error": (LEVEL[setup.name] * error).astype(np.float32),
        "bad": bad,
        "snr": np.median(flux / error, axis=1),
        "velocity": np.array([0.0 if velocity is None else velocity.to_value(u.km / u.s)]),
        "velocity_error": np.zeros(1),
        "offset": np.zeros(1),
    }


def write_lamost_mrs(instrument, path, rng):
    """Write a file of LAMOST's medium resolution with the sums of both arms.

    Parameters
    ----------
    instrument : Lamost
    path : path-like
    rng : int or `numpy.random.Generator`

    Returns
    -------
    pathlib.Path
    """
    example = instrument.make_example(rng, 1)[0]
    axis = example.spectral_axis.to_value(u.AA)
    tables = [_arm(example, name, at) for name, at in (("COADD_B", axis < 6000), ("COADD_R", axis > 6000))]
    primary = fits.PrimaryHDU(header=fits.Header([_NOTE, ("EXTNAME", "Information"), ("N_EXTEN", 3)]))
    star = example.meta["object_id"]
    primary.header.update(TELESCOP="LAMOST", OBSID=90001, DESIG=star, VACUUM=True, HELIO=True)
    return _written(path, fits.HDUList([primary, *tables]))


def _arm(example, name, at):
    mask = np.where(example.mask[at], 1, 0)  # bit 0: a bad pixel of the CCD
    values = {
        "FLUX": ("E", example.flux.value[at]),
        "IVAR": ("E", example.uncertainty.array[at]),
        "LOGLAM": ("D", np.log10(example.spectral_axis.to_value(u.AA)[at])),
        "ANDMASK": ("J", mask),
        "ORMASK": ("J", mask),
    }
    columns = [fits.Column(key, kind, array=array) for key, (kind, array) in values.items()]
    return fits.BinTableHDU.from_columns(columns, name=name, header=fits.Header([("SNR", example.meta["snr"])]))


def xp_coefficients(instrument, rng, n):
    """Coefficients of BP and RP that give, in the least-squares sense, the samples of an example.

    Parameters
    ----------
    instrument : GaiaXP
        With ``form="coefficients"``.
    rng : int or `numpy.random.Generator`
    n : int

    Returns
    -------
    `specutils.SpectrumList` (n)

    Raises
    ------
    MissingExtraError
        GaiaXPy is not installed.
    """
    rng = np.random.default_rng(rng)
    product = next(product for product in instrument.products if product.axis_kind == "coefficient")
    samples = np.stack([one.flux.value for one in GaiaXP().make_example(rng, n)]) * LEVEL["gaia_xp"]
    # as few degrees of freedom as the example has: the least singular values would only fit its noise
    flux = samples @ np.linalg.pinv(sampling_matrix(), rcond=1e-3)
    error = _NOISE * np.abs(flux).max(axis=1, keepdims=True) * rng.uniform(0.5, 1.5, flux.shape)
    flux = flux + error * rng.standard_normal(flux.shape)
    return SpectrumList(
        [_coefficients(instrument, product, *row, k) for k, row in enumerate(zip(flux, error, strict=True))]
    )


def _coefficients(instrument, product, flux, error, number):
    star = str(9000002000000 + number)
    return build_spectrum(
        flux * u.dimensionless_unscaled,
        np.arange(flux.size) * u.pix,
        product=product,
        quality_bits=instrument._module.QUALITY_BITS,
        bad_bits=instrument._module.BAD_BITS,
        object_id=star,
        spectrum_id=f"{product.name}-{star}",
        ivar=error**-2.0,
        coefficient_error=error,
        coefficient_correlation=None,
    )


def write_xp_continuous(instrument, path, rng):
    """Write a table of Gaia's XP_CONTINUOUS product with two sources.

    Parameters
    ----------
    instrument : GaiaXP
        With ``form="coefficients"``.
    path : path-like
    rng : int or `numpy.random.Generator`

    Returns
    -------
    pathlib.Path
    """
    sources = instrument.make_example(rng, 2)
    columns = [fits.Column("source_id", "K", array=np.array([int(one.meta["object_id"]) for one in sources]))]
    for i, band in enumerate(("bp", "rp")):
        half = slice(55 * i, 55 * (i + 1))
        columns.append(fits.Column(f"{band}_n_parameters", "I", array=np.full(len(sources), 55)))
        values = {"coefficients": [one.flux.value for one in sources]}
        values["coefficient_errors"] = [one.meta["coefficient_error"] for one in sources]
        columns += [fits.Column(f"{band}_{key}", "55D", array=np.stack(rows)[:, half]) for key, rows in values.items()]
    primary = fits.PrimaryHDU(header=fits.Header([_NOTE]))
    return _written(path, fits.HDUList([primary, fits.BinTableHDU.from_columns(columns)]))


def _fits_path(path):
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.fits')}.fits")


def _written(path, hdus):
    path = _fits_path(path)
    with atomic_write(path) as temporary:
        hdus.writeto(temporary)
    return path
