"""How far from nominal the coverage of exact intervals is by chance: what no method can be held to beat."""

import numpy as np

from specalign.analysis.conformal import conformal_quantile

__all__ = ["by_chance"]

DRAWS = 200


def by_chance(n_test, n_calibration, n_labels, levels, n_bins=3, n_seeds=1, seed=0):
    """Median of the largest departure, in points, over levels and labels (and over thirds of the stars).

    Parameters
    ----------
    n_test, n_calibration : int
        Stars; 0 calibrate a method's own posterior, which is exact then.
    n_labels : int
        Whose errors are independent.
    levels : tuple of float
    n_bins : int
        Of S/N, that are calibrated each for itself; 1 calibrates all together.
    n_seeds : int
        Over which coverage is averaged.

    Returns
    -------
    dict
        ``"all"`` and ``"third"``.
    """
    rng = np.random.default_rng(seed)
    found = {"all": [], "third": []}
    for _ in range(DRAWS):
        seeds = [thirds(rng, n_test, n_calibration, n_labels, levels, n_bins) for _ in range(n_seeds)]
        covered = np.mean(seeds, axis=0)
        nominal = np.array(levels)[:, None, None]
        found["third"].append(100 * np.abs(covered - nominal).max())
        found["all"].append(100 * np.abs(covered.mean(axis=2, keepdims=True) - nominal).max())
    return {part: float(np.median(values)) for part, values in found.items()}


def thirds(rng, n_test, n_calibration, n_labels, levels, n_bins):
    """Coverage (levels, labels, 3) of exact intervals in each third of the test stars."""
    scores = rng.random((n_labels, 3, n_test // 3))
    if not n_calibration:
        limits = np.broadcast_to(np.array(levels)[:, None, None], (len(levels), n_labels, 3))
    else:
        kept = rng.random((n_labels, n_bins, n_calibration // n_bins))
        found = [np.apply_along_axis(conformal_quantile, 2, kept, level) for level in levels]
        limits = np.broadcast_to(found, (len(levels), n_labels, 3))
    return (scores <= limits[..., None]).mean(axis=3)
