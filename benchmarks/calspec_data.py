"""The 91 stars that HST (CALSPEC) and Gaia XP both saw, and pairs simulated from other XP spectra.

The table of the shared folder holds both spectra of a star at the XP samples, in erg / (s cm2 Angstrom), without
errors: those of XP come with the coefficients of 11 of the stars, and CALSPEC states a systematic error of 1 %.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas

import specalign as sa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "examples" / "specalign-stis"))

from specalign_stis import Stis  # noqa: E402, the plugin of the documentation's example

FLAM = u.erg / u.s / u.cm**2 / u.AA
WAVELENGTH = 336 + 2 * np.arange(343)  # nm
SYSTEMATIC = 0.01  # of the flux: SYSERROR of CALSPEC
MIN_SNR = 15  # of the XP spectra that pairs are simulated from
CLASSES = {"O, B, WD": ("O", "B", "D"), "A": ("A",), "F, G": ("F", "G"), "K, M": ("K", "M")}
TYPES = {"WD": ("D",), "O, B": ("O", "B"), "A": ("A",), "F, G": ("F", "G"), "K, M": ("K", "M")}
NEIGHBOURS = 6  # of a training star, in the shape of its spectrum


@dataclass
class Pairs:
    """Both spectra of each star: absolute fluxes (N, 343) in FLAM, NaN where one is missing, and prepared ones.

    ``matched`` is HST at the resolution of XP; ``error`` (343,) the median of XP's stated errors over the flux, which
    stands for the stars without stated errors; ``stated`` maps the rows that have errors to them (343,), in FLAM.
    ``kind`` is one of `CLASSES`, ``type`` one of `TYPES`.
    """

    name: np.ndarray
    kind: np.ndarray
    type: np.ndarray
    flux: dict
    prepared: dict
    error: np.ndarray
    stated: dict


def read_pairs(shared):
    """`Pairs` of the shared folder."""
    folder = shared / "data" / "spectra" / "gaia_xp"
    table = pandas.read_parquet(folder / "calspec_91_pairs.parquet")
    name = table["star_name"].to_numpy(str)
    flux = {"gaia_xp": _on_samples(table, "gaia_spectrum"), "stis": _on_samples(table, "calspec_spectrum")}
    source = pandas.read_csv(folder / "calspec_gaia_matching.csv", dtype=str).drop_duplicates("Star_name")
    source = source.set_index("Star_name").loc[name, "GAIA_DR3_Name"].to_numpy(str)
    stated = _stated_errors(folder, source)
    error = np.nanmedian([stated[i] / np.abs(flux["gaia_xp"][i]) for i in stated], axis=0)
    prepared = {
        "gaia_xp": prepare(sa.get_instrument("gaia_xp"), flux["gaia_xp"], error, name),
        "stis": prepare(Stis(grid="xp"), flux["stis"], SYSTEMATIC, name),
    }
    flux["matched"] = _matched(flux["stis"], name)
    prepared["matched"] = prepare(Stis(grid="xp"), flux["matched"], SYSTEMATIC, name)
    kind, own_type = (np.array([class_of(one, known) for one in table["star_type"]]) for known in (CLASSES, TYPES))
    return Pairs(name, kind, own_type, flux, prepared, error, stated)


def class_of(spectral_type, classes=CLASSES):
    """The class that a spectral type such as ``"sdF6"`` or ``"DA2.4"`` belongs to."""
    letter = spectral_type.strip().removeprefix("sd")[0]
    return next(title for title, letters in classes.items() if letter in letters)


def _on_samples(table, column):
    """Rows of different lengths on the 343 samples; what is missing is NaN."""
    out = np.full((len(table), WAVELENGTH.size), np.nan)
    for row, (wavelength, flux) in enumerate(zip(table["wavelength"], table[column], strict=True)):
        out[row, (np.round(wavelength).astype(int) - 336) // 2] = flux
    return out


def _stated_errors(folder, source):
    """XP errors (343,) in FLAM of the stars whose coefficients are there, by row."""
    xp = sa.get_instrument("gaia_xp", normalization="none")
    files = ("calspec_10_continuous.csv", "continuous_30_with_correlations.parquet")
    known = sa.PreparedSpectra.concatenate([xp.prepare(xp.read(folder / file)) for file in files])
    scale = known.flux_unit.to(FLAM)
    found = {str(key): scale / np.sqrt(known.ivar[i].astype(float)) for i, key in enumerate(known.object_id)}
    return {int(i): found[key] for i, key in enumerate(source) if key in found}


def prepare(instrument, flux, error, name):
    """`PreparedSpectra` of fluxes (N, 343), with an error relative to the flux, one or (343,)."""
    return instrument.prepare_arrays(
        flux * FLAM,
        1 / (error * np.abs(flux)) ** 2,
        ~np.isfinite(flux),
        spectral_axis=WAVELENGTH * u.nm,
        object_id=name,
    )


def _matched(flux, name):
    """Absolute HST fluxes at the resolution of XP, NaN where they are masked."""
    stis = Stis(grid="xp", normalization="none")
    matched = prepare(stis, flux, SYSTEMATIC, name).match_resolution(sa.get_instrument("gaia_xp"))
    return np.where(matched.mask, np.nan, matched.flux * matched.flux_unit.to(FLAM))


def log_flux(flux):
    """ln of fluxes (N, 343), interpolated where one is missing or not positive."""
    sample, known = np.arange(flux.shape[1]), flux > 0
    return np.array([np.interp(sample, sample[k], np.log(row[k])) for row, k in zip(flux, known, strict=True)])


def between(pairs, train, n, rng):
    """dict of PreparedSpectra: n stars, each between a training star and a neighbour, with a ratio of neighbours."""
    hst, xp = (log_flux(pairs.flux[key][train]) for key in ("matched", "gaia_xp"))
    shape, ratio = hst - np.median(hst, axis=1, keepdims=True), xp - hst
    near = np.argsort(((shape[:, None] - shape[None]) ** 2).sum(axis=-1), axis=1)[:, : 1 + NEIGHBOURS]
    first = rng.integers(len(train), size=n)
    second, one, other = (near[first, rng.integers(1 + NEIGHBOURS, size=n)] for _ in range(3))
    place, share = rng.uniform(size=(2, n, 1))
    made = place * shape[first] + (1 - place) * shape[second] + np.log(1e-13)
    seen = made + share * ratio[one] + (1 - share) * ratio[other]
    name = [f"between {number}" for number in range(n)]
    return {
        "gaia_xp": prepare(sa.get_instrument("gaia_xp"), np.exp(seen), pairs.error, name),
        "stis": prepare(Stis(grid="xp"), np.exp(made), SYSTEMATIC, name),
    }


class Population:
    """Real XP spectra of other stars, of which pairs are simulated.

    An XP spectrum of the archive is taken for the truth.  What XP would see of it once more has the noise of its stated
    errors again; what HST would see is the truth divided by the ratio XP / HST of a star drawn from those given (or
    not divided), with 1 % of independent noise.
    """

    def __init__(self, shared):
        xp = sa.get_instrument("gaia_xp")
        known = xp.prepare(xp.read(shared / "data" / "spectra" / "gaia_xp" / "xp_continuous_combined_chunk0.fits"))
        self.known = known[known.snr > MIN_SNR]

    def simulate(self, rng, ratio=None):
        """dict of PreparedSpectra; ``ratio`` (M, 343)."""
        flux, name = self.known.flux.astype(float), self.known.object_id
        noisy = flux + rng.normal(size=flux.shape) / np.sqrt(self.known.ivar)
        seen = flux if ratio is None else flux / ratio[rng.integers(len(ratio), size=len(flux))]
        seen = seen * rng.normal(1, SYSTEMATIC, size=seen.shape)
        error = np.sqrt(1 / self.known.ivar)
        xp = sa.get_instrument("gaia_xp")
        return {
            "gaia_xp": prepare(xp, noisy, error / np.abs(noisy), name),
            "stis": prepare(Stis(grid="xp"), seen, SYSTEMATIC, name),
        }
