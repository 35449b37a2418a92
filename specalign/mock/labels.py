"""Stars of the mock survey: labels on a Kiel diagram with a main sequence, a giant branch and a clump."""

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack

__all__ = ["BLOCK", "draw_labels"]

BLOCK = 256  # stars a block; every block has its own random numbers, so that a longer survey begins with a shorter one
_UNITS = {
    "ra": u.deg, "dec": u.deg, "teff": u.K, "logg": u.dex(u.cm / u.s**2), "a_v": u.mag, "radial_velocity": u.km / u.s,
}  # fmt: skip


def draw_labels(n, seed=0):
    """Labels of the first ``n`` stars of the mock survey with this seed.

    A tenth thick-disc and a few halo stars are among them; [alpha/Fe] follows two sequences, and giants have passed
    the first dredge-up ([C/Fe] lower, [N/Fe] higher, the more the heavier the star).

    Parameters
    ----------
    n : int
    seed : int

    Returns
    -------
    `~astropy.table.QTable` (n rows)
        object_id (str), ra, dec (deg), teff (K), logg (dex(cm / s2)), fe_h and mg_fe, si_fe, ca_fe, ti_fe, c_fe, n_fe,
        ni_fe (dex), a_v (mag), radial_velocity (km/s), phase (str); ``meta["label_system"]`` is "specalign-mock".

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
    blocks = [_block(seed, number) for number in range(-(-n // BLOCK))]
    table = vstack(blocks)[:n]
    table.meta = {"label_system": "specalign-mock", "seed": seed, "comments": "A mock survey, not observations."}
    return table


def _block(seed, number):
    rng = np.random.default_rng([seed, number, 7919])
    columns = {"object_id": np.array([f"9{seed % 10**6:06d}{number * BLOCK + i:06d}" for i in range(BLOCK)])}
    columns["ra"] = rng.uniform(0, 360, BLOCK)
    columns["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, BLOCK)))
    fe_h, alpha, hot = _populations(rng)
    phase = rng.choice(["dwarf", "giant", "clump"], BLOCK, p=[0.35, 0.45, 0.2])
    teff, logg = _kiel(rng, phase, fe_h)
    columns.update(teff=teff, logg=logg, fe_h=fe_h, **_abundances(rng, phase, logg, fe_h, alpha))
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


def _abundances(rng, phase, logg, fe_h, alpha):
    """[X/Fe] (dex) of each element."""
    scatter = dict(zip(("mg", "si", "ca", "ti", "c", "n", "ni"), rng.normal(0, 0.03, (7, BLOCK)), strict=True))
    slopes = {"mg": 1.0, "si": 0.75, "ca": 0.6, "ti": 0.7, "c": 0.35, "n": 0.1, "ni": 0.12}
    values = {f"{name}_fe": slope * alpha + scatter[name] for name, slope in slopes.items()}
    mixed = np.where(phase == "dwarf", 0.0, 1.0) * np.clip((3.6 - logg) / 0.6, 0, 1)
    mass = rng.normal(0, 1, BLOCK)
    values["c_fe"] -= mixed * (0.12 + 0.05 * mass)
    values["n_fe"] += mixed * (0.25 + 0.10 * mass) + 0.1 * fe_h * (mixed == 0)
    return values
