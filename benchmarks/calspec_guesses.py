"""What a spectrum of HST is told from that of Gaia XP, or the other way round, without a decoder."""

import warnings

import numpy as np
from bench_calspec import QUANTILES, chi_square_scores
from calspec_data import SYSTEMATIC
from translation_figures import Guess

SIDES = {"gaia_xp": "gaia_xp", "stis": "matched"}  # HST at the resolution of XP
NEIGHBOURS = 10  # of which the ratio of the two instruments is taken
IDENTITY, RATIO, LOCAL_RATIO = "the spectrum itself", "median ratio", f"median ratio of the {NEIGHBOURS} nearest stars"
NEAREST, MEAN = "nearest training star", "mean spectrum"


def guesses(pairs, train, test, source, target):
    """`Guess` of the target's spectra of the test stars, by method.

    Errors are those of the source's spectrum (itself), of the nearest star's spectrum, or half the 16-84 % range of
    what the training stars' own spectra deviate by (both ratios, and the mean).
    """
    seen, wanted = (pairs.prepared[SIDES[name]] for name in (source, target))
    flux, known = seen.flux.astype(float), good(seen)
    nearest = neighbours(pairs, source, np.concatenate([test, train]), train)
    near_test, near_train = nearest[: len(test)], nearest[len(test) :]
    change = np.where(known & good(wanted), wanted.flux / np.where(known, flux, 1), np.nan)
    one = near_test[:, 0]
    return {
        IDENTITY: Guess(flux[test], ~known[test], seen.ivar[test].astype(float)),
        RATIO: by_ratio(flux[test], known[test], *told(change[train])),
        LOCAL_RATIO: by_ratio(flux[test], known[test], *locally(change, train, near_test, near_train)),
        NEAREST: Guess(wanted.flux[one], ~good(wanted)[one], wanted.ivar[one].astype(float)),
        MEAN: mean_spectrum(wanted[train], len(test)),
    }


def good(prepared):
    """Samples (N, P) that are known and positive."""
    return ~prepared.mask & (prepared.flux > 0)


def neighbours(pairs, source, rows, train):
    """The nearest training stars (len(rows), NEIGHBOURS), itself excluded, by chi-square of the shapes."""
    prepared = pairs.prepared[SIDES[source]]
    known = good(prepared)
    logs = np.where(known, np.log(np.where(known, prepared.flux, 1)), np.nan)
    score = chi_square_scores(logs[rows][:, None] - logs[train][None], np.hypot(pairs.error, SYSTEMATIC))
    score[rows[:, None] == train[None]] = -np.inf
    return train[np.argsort(-score, axis=1)[:, :NEIGHBOURS]]


def told(values):
    """Median (P,) of rows, and half their 16-84 % range, NaN where no row is known."""
    low, middle, high = quantiles(values)
    return middle, (high - low) / 2


def locally(change, train, near_test, near_train):
    """Median change (len(test), P) of the nearest stars, and how much training stars deviate from that of theirs."""
    deviation = change[train] - quantiles(change[near_train], axis=1)[1]
    return quantiles(change[near_test], axis=1)[1], told(deviation)[1]


def quantiles(values, axis=0):
    """16, 50 and 84 % of what is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a sample that no row has is NaN
        return np.nanpercentile(values, QUANTILES, axis=axis)


def by_ratio(flux, known, change, scatter):
    """The flux (N, P) changed, with the scatter (P,) of the change."""
    told_flux = flux * change
    known = known & np.isfinite(told_flux) & (scatter > 0)
    ivar = 1 / np.where(known, scatter * np.abs(flux), 1) ** 2
    return Guess(np.where(known, told_flux, 0), ~known, np.where(known, ivar, 0))


def mean_spectrum(prepared, n):
    """The same spectrum n times."""
    known = good(prepared)
    mean = np.where(known, prepared.flux, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    scatter = told(np.where(known, prepared.flux, np.nan))[1]
    seen = known.any(axis=0) & (scatter > 0)
    ivar = np.where(seen, 1 / np.where(seen, scatter, 1) ** 2, 0)
    return Guess(*(np.tile(one, (n, 1)) for one in (mean, ~seen, ivar)))
