"""Stars of the mock survey: labels on a Kiel diagram, and the catalogue that a survey would have measured of them."""

import zlib

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack

__all__ = ["BLOCK", "ELEMENTS", "draw_labels", "measure_labels"]

#: The elements that act on the spectra, as column names begin: ``fe_h``, and ``x_fe`` for the others.
ELEMENTS = ("c", "n", "o", "na", "mg", "al", "si", "s", "k", "ca", "ti", "v", "cr", "mn", "fe", "co", "ni", "ce")

BLOCK = 256  # stars a block; every block has its own random numbers, so that a longer survey begins with a shorter one
_UNITS = {
    "ra": u.deg, "dec": u.deg, "teff": u.K, "logg": u.dex(u.cm / u.s**2), "vsini": u.km / u.s, "a_v": u.mag,
    "radial_velocity": u.km / u.s,
}  # fmt: skip
# element: slopes of [X/Fe] with [alpha/Fe] and with [Fe/H], scatter in dex; roughly what discs show
_TRENDS = {
    "mg": (1.0, 0.0, 0.03), "si": (0.75, 0.0, 0.03), "ca": (0.6, 0.0, 0.03), "ti": (0.7, 0.0, 0.03),
    "c": (0.35, 0.0, 0.03), "n": (0.1, 0.0, 0.03), "ni": (0.12, 0.0, 0.03), "o": (1.1, 0.0, 0.03),
    "na": (0.3, 0.05, 0.05), "al": (0.8, 0.0, 0.05), "s": (0.7, 0.0, 0.04), "k": (0.5, 0.0, 0.04),
    "v": (0.3, 0.05, 0.04), "cr": (0.0, 0.03, 0.03), "mn": (-0.4, 0.12, 0.03), "co": (0.4, 0.03, 0.04),
    "ce": (-0.3, -0.05, 0.1),
}  # fmt: skip
_DECORRELATED = 0.3  # half-width, dex, of the uniform distribution of each [X/Fe] where none tells of another
# precision of a giant of 5000 K and solar metallicity at the S/N of a survey, and what counts as no measurement
_PRECISION = {"teff": 40.0, "logg": 0.07, "fe_h": 0.03, "vsini": 1.0} | {
    f"{name}_fe": 0.04 if name in ("mg", "si", "ni", "ca", "c", "mn") else 0.08 for name in ELEMENTS if name != "fe"
}
_UNMEASURED = 0.3


def draw_labels(n, seed=0, decorrelated=False):
    """True labels of the first ``n`` stars of the mock survey with this seed.

    Thick-disc and a few halo stars are among them; [alpha/Fe] follows two sequences, the other elements go along, and
    giants have passed the first dredge-up ([C/Fe] lower, [N/Fe] higher, the more the heavier the star).

    Parameters
    ----------
    n : int
    seed : int
    decorrelated : bool
        Draw each [X/Fe] on its own, uniform in -0.3 to 0.3 dex, so that no label tells of it: what a model then knows
        of an element, it has from the element's own lines.  Everything else, object_id included, stays the same.

    Returns
    -------
    `~astropy.table.QTable` (n rows)
        object_id (str), ra, dec (deg), teff (K), logg (dex(cm / s2)), fe_h and ``x_fe`` for the other 17 of `ELEMENTS`
        (dex), vsini (km/s), a_v (mag), radial_velocity (km/s), phase (str); ``meta["label_system"]`` is
        "specalign-mock".  `specalign.data.abundances.to_x_h` gives all as [X/H].

    Raises
    ------
    ValueError
        n is not positive.

    Examples
    --------
    >>> from specalign.mock import draw_labels
    >>> labels = draw_labels(3, seed=1)
    >>> labels["object_id"][0]
    np.str_('9000001000000')
    """
    if n < 1:
        raise ValueError(f"expected a positive number of stars, got {n}")
    blocks = [_block(seed, number, decorrelated) for number in range(-(-n // BLOCK))]
    table = vstack(blocks)[:n]
    table.meta = {
        "label_system": "specalign-mock", "seed": seed, "decorrelated": decorrelated,
        "comments": "A mock survey, not observations.",
    }  # fmt: skip
    return table


def measure_labels(labels, seed=0):
    """The catalogue that a survey would have measured: labels with Gaussian errors, which it states.

    Errors grow for hot and for metal-poor stars.  Values whose error would exceed 0.3 dex are missing (NaN), as are
    those of real catalogues.  There is no bias, no outlier and no correlation between the errors: real ones have all.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
        True labels, as `draw_labels` gives them.
    seed : int
        A star's errors follow from it and from its object_id.

    Returns
    -------
    `~astropy.table.QTable`
        object_id, ra, dec, then teff (K), logg (dex(cm / s2)), fe_h, the ``x_fe`` (dex) and vsini (km/s), each with
        ``*_err``.

    Examples
    --------
    >>> from specalign.mock import draw_labels, measure_labels
    >>> catalogue = measure_labels(draw_labels(100, seed=1))
    >>> catalogue["teff_err"].unit
    Unit("K")
    """
    table = labels["object_id", "ra", "dec"]
    table.meta = labels.meta | {"comments": "Measured labels of a mock survey, with errors."}
    ids = [zlib.crc32(str(name).encode()) for name in labels["object_id"]]
    noise = np.array([np.random.default_rng([seed, key, 104729]).standard_normal(len(_PRECISION)) for key in ids])
    hot, poor = labels["teff"].value / 5000, np.clip(-labels["fe_h"].value - 0.3, 0, None)
    for (name, precision), deviate in zip(_PRECISION.items(), noise.T, strict=True):
        unit = u.dex if name == "logg" else labels[name].unit
        error = precision * hot**2 * (1 + 1.5 * poor)
        if name.endswith("_fe"):
            error = np.where(error > _UNMEASURED, np.nan, error)
        measured = labels[name].value + error * deviate
        table[name] = (np.clip(measured, 0, None) if name == "vsini" else measured) * labels[name].unit
        table[f"{name}_err"] = error * unit
    return table


def _block(seed, number, decorrelated):
    rng = np.random.default_rng([seed, number, 7919])
    columns = {"object_id": np.array([f"9{seed % 10**6:06d}{number * BLOCK + i:06d}" for i in range(BLOCK)])}
    columns["ra"] = rng.uniform(0, 360, BLOCK)
    columns["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, BLOCK)))
    fe_h, alpha, hot = _populations(rng)
    phase = rng.choice(["dwarf", "giant", "clump"], BLOCK, p=[0.35, 0.45, 0.2])
    teff, logg = _kiel(rng, phase, fe_h)
    more = np.random.default_rng([seed, number, 7919, 1])  # keeps what was drawn before there were these labels
    columns.update(teff=teff, logg=logg, fe_h=fe_h, **_abundances(rng, more, phase, logg, fe_h, alpha))
    columns["vsini"] = _rotation(more, teff, logg)
    if decorrelated:
        columns |= {name: more.uniform(-_DECORRELATED, _DECORRELATED, BLOCK) for name in columns if name[-3:] == "_fe"}
    columns["a_v"] = np.minimum(rng.exponential(0.25, BLOCK), 2.0)
    columns["radial_velocity"] = rng.normal(0, np.where(hot, 60, 25))
    columns["phase"] = phase
    units = {name: _UNITS.get(name, u.dex if name.endswith(("_fe", "_h")) else None) for name in columns}
    return QTable({name: values if units[name] is None else values * units[name] for name, values in columns.items()})


def _populations(rng):
    """[Fe/H], [alpha/Fe] and whether the star belongs to the kinematically hot part, of thin disc, thick disc, halo."""
    which = rng.choice(3, BLOCK, p=[0.72, 0.23, 0.05])
    fe_h = rng.normal(np.array([-0.05, -0.5, -1.4])[which], np.array([0.2, 0.25, 0.3])[which])
    fe_h = np.clip(fe_h, -2.2, 0.5)
    thin = 0.02 - 0.14 * np.clip(fe_h, -0.7, 0.3)
    thick = 0.25 - 0.28 * np.clip(fe_h + 0.5, 0, 1)
    alpha = np.where(which == 0, thin, thick) + rng.normal(0, 0.025, BLOCK)
    return fe_h, alpha, which > 0


def _kiel(rng, phase, fe_h):
    """Teff (K) and log g of dwarfs to subgiants, of the giant branch and of the red clump."""
    spread = rng.normal(0, 1, (3, BLOCK))
    place = rng.uniform(0, 1, BLOCK)
    dwarf_teff, dwarf_logg = _dwarf(place, fe_h, spread)
    giant_logg = 0.9 + 2.7 * place**0.8
    giant_teff = 4690 + 420 * (giant_logg - 2.5) - 25 * (giant_logg - 2.5) ** 2 - 300 * fe_h + 45 * spread[0]
    clump_logg = 2.45 + 0.08 * spread[1]
    clump_teff = 4800 - 220 * fe_h + 60 * spread[0]
    phases = [phase == "dwarf", phase == "giant", phase == "clump"]
    teff = np.select(phases, [dwarf_teff, giant_teff, clump_teff])
    return np.clip(teff, 3600, 7200), np.select(phases, [dwarf_logg, giant_logg, clump_logg])


def _dwarf(place, fe_h, spread):
    """Main sequence from 4200 K up to the turn-off, then (place > 0.75) the subgiants back to 5000 K."""
    turn_off = 6250 - 350 * fe_h + 120 * spread[1]
    along = place / 0.75
    teff = np.where(
        place < 0.75, 4200 + (turn_off - 4200) * along**0.8, turn_off - (turn_off - 5000) * (place - 0.75) * 4
    )
    sequence = 4.67 - 0.12 * np.clip((teff - 4200) / 1000, 0, 4) - 0.32 * along**4
    subgiant = 4.05 - 0.45 * (place - 0.75) * 4
    return teff + 30 * spread[2], np.where(place < 0.75, sequence, subgiant) + 0.03 * spread[0]


def _abundances(rng, more, phase, logg, fe_h, alpha):
    """[X/Fe] (dex) of each element."""
    scatter = np.concatenate([rng.normal(size=(7, BLOCK)), more.normal(size=(len(_TRENDS) - 7, BLOCK))])
    values = {
        f"{name}_fe": with_alpha * alpha + with_iron * fe_h + sigma * deviate
        for (name, (with_alpha, with_iron, sigma)), deviate in zip(_TRENDS.items(), scatter, strict=True)
    }
    mixed = np.where(phase == "dwarf", 0.0, 1.0) * np.clip((3.6 - logg) / 0.6, 0, 1)
    mass = rng.normal(0, 1, BLOCK)
    values["c_fe"] -= mixed * (0.12 + 0.05 * mass)
    values["n_fe"] += mixed * (0.25 + 0.10 * mass) + 0.1 * fe_h * (mixed == 0)
    return values


def _rotation(rng, teff, logg):
    """v sin i (km/s): slow giants and cool dwarfs, faster beyond the Kraft break (Kraft 1967, ApJ 150, 551)."""
    typical = np.where(logg < 3.5, 2.5, 3 + np.clip((teff - 6000) / 80, 0, None) ** 1.2)
    return np.clip(typical * np.exp(rng.normal(0, 0.4, BLOCK)), 1.0, 60.0)
