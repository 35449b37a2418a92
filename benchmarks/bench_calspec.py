"""91 stars that HST and Gaia XP both saw: the flux ratio a wavelength, and retrieval both ways.

The instrument plugin is that of ``docs/examples/specalign-stis``.  Each part is stored as JSON, so that an interrupted
study goes on; the page and its figure come from what is stored::

    python benchmarks/bench_calspec.py --shared ../shared                # what is not stored yet, then the page
    python benchmarks/bench_calspec.py --shared ../shared --seeds 0 --again
"""

import itertools
import json
import time
from dataclasses import replace

import numpy as np
import torch
from bench_results import parser_of
from calspec_data import CLASSES, SYSTEMATIC, TYPES, WAVELENGTH, Population, between, prepare, read_pairs
from results_calspec import write_figure
from results_page import write_page

import specalign as sa
from specalign import ops
from specalign.analysis import baselines
from specalign.analysis.metrics import rank_summary
from specalign.exceptions import SpectrumError

BINS = (336, 360, 380, 400, 420, 450, 500, 550, 600, 640, 680, 750, 800, 850, 900, 950, 1000, 1021)  # nm
FOLDS = 5
ENOUGH = 10  # stars that a sample must have, to be used
QUANTILES = (16, 50, 84)
WAYS = ("gaia_xp -> stis", "stis -> gaia_xp")


def ratio_study(pairs):
    """The ratio XP / HST: quantiles over the stars a wavelength and a bin, and chi-square of those with errors."""
    xp = pairs.flux["gaia_xp"]
    return {
        "wavelength_nm": WAVELENGTH.tolist(),
        "quantiles": {key: sample_rows(xp / pairs.flux[key]) for key in ("stis", "matched")},
        "bins": [{"from_nm": a, "to_nm": b - 1} | bin_row(pairs, a, b) for a, b in itertools.pairwise(BINS)],
        "n_stars": len(pairs.name),
        "n_class": {key: int((pairs.kind == key).sum()) for key in CLASSES},
        "n_type": {key: int((pairs.type == key).sum()) for key in TYPES},
        "n_stated": len(pairs.stated),
        "missing": float((~np.isfinite(xp)).mean()),
    }


def sample_rows(ratio):
    """Quantiles over the stars of each sample; None where fewer than `ENOUGH` stars have it."""
    columns = (column[np.isfinite(column)] for column in ratio.T)
    return [np.percentile(one, QUANTILES).round(5).tolist() if len(one) >= ENOUGH else 3 * [None] for one in columns]


def bin_row(pairs, low, high):
    """One bin in nm: a star's ratio is that of the sums over the samples that both have, HST at XP's resolution."""
    inside = slice(*np.searchsorted(WAVELENGTH, (low, high)))
    xp, hst = (pairs.flux[key][:, inside] for key in ("gaia_xp", "matched"))
    both = np.isfinite(xp) & np.isfinite(hst)
    known, rows = both.any(axis=1), list(pairs.stated)
    sums = [np.where(both, flux, 0)[known].sum(axis=1) for flux in (xp, hst)]
    ratio = sums[0] / sums[1]
    error = np.array([pairs.stated[i][inside] for i in rows])
    difference = np.where(both[rows], xp[rows] - hst[rows], np.nan)
    total = np.hypot(error, SYSTEMATIC * hst[rows])
    return {
        "n": int(known.sum()),
        "quantiles": np.percentile(ratio, QUANTILES).tolist(),
        "class": {key: float(np.median(ratio[pairs.kind[known] == key])) for key in CLASSES},
        "stated_error": float(np.nanmedian(error / np.abs(xp[rows]))),
        "chi2": float(np.nanmean((difference / error) ** 2)),
        "chi2_with_hst": float(np.nanmean((difference / total) ** 2)),
    }


def log_ratio(pairs, key):
    """ln of XP of star i over HST of star j (N, N, P), NaN where one has no good or positive sample."""
    logs = []
    for prepared in (pairs.prepared["gaia_xp"], pairs.prepared[key]):
        good = ~prepared.mask & (prepared.flux > 0)
        logs.append(np.where(good, np.log(np.where(good, prepared.flux, 1.0)), np.nan))
    return logs[0][:, None] - logs[1][None]


def centred(difference, error):
    """Differences (..., P) in units of the error, 0 where unknown, each less its weighted mean: shape without level."""
    good = np.isfinite(difference)
    weight = good / error**2
    level = np.sum(np.where(good, difference, 0) * weight, axis=-1) / weight.sum(axis=-1)
    return np.where(good, difference - level[..., None], 0) / error


def chi_square_scores(difference, error):
    """Minus chi-square a sample (N, N) of the shapes."""
    return -np.sum(centred(difference, error) ** 2, axis=-1) / np.isfinite(difference).sum(axis=-1)


def absolute_scores(pairs):
    """Minus chi-square a sample (N, N) with the level, which the other methods do not see."""
    logs = [np.log(np.where(pairs.flux[key] > 0, pairs.flux[key], np.nan)) for key in ("gaia_xp", "matched")]
    difference = logs[0][:, None] - logs[1][None]
    return -np.nanmean((difference / np.hypot(pairs.error, SYSTEMATIC)) ** 2, axis=-1)


def learned(difference, train):
    """Median ln ratio (P,) and its scatter, half of the 16-84 % range, of the training stars, each less its level.

    The level of a star is its median over the samples: the fluxes were divided by that of one sample, where the
    scatter would otherwise be 0.
    """
    own = difference[train, train]
    own = own - np.nanmedian(own, axis=1, keepdims=True)
    known = np.isfinite(own).sum(axis=0) >= ENOUGH
    low, middle, high = np.nanpercentile(np.where(known, own, 0), QUANTILES, axis=0)
    return middle, np.where(known, (high - low) / 2, np.inf)


def folds_of(n, seed):
    """Test rows and training rows of each fold: every star is tested once."""
    order = np.random.default_rng(seed).permutation(n)
    return [(np.sort(order[k::FOLDS]), np.sort(np.delete(order, np.s_[k::FOLDS]))) for k in range(FOLDS)]


def ranks(scores, rows):
    """Rank of the own star of some rows among all, both ways, in scores (XP, HST)."""
    if not np.isfinite(scores).all():  # a comparison with NaN is False, and would count as found
        raise SpectrumError(f"scores: expected finite numbers, got {np.sum(~np.isfinite(scores))} that are not")
    own = np.diag(scores)
    tables = zip(WAYS, (scores, scores.T), strict=True)
    return {way: 1 + np.sum(table > own[:, None], axis=1)[rows] for way, table in tables}


def in_turns(pairs, seed, scores_of):
    """Ranks of every star, by the scores (XP, HST) that ``scores_of(train)`` gives for the fold that tests it."""
    found = {way: np.zeros(len(pairs.name), int) for way in WAYS}
    for test, train in folds_of(len(pairs.name), seed):
        for way, rank in ranks(scores_of(train), test).items():
            found[way][test] = rank
    return found


def summary(found, pairs):
    """Figures of the ranks (N,) of all stars, and ``recall@1`` by type."""
    n = len(pairs.name)
    by_type = {way: {key: float((rank[pairs.type == key] == 1).mean()) for key in TYPES} for way, rank in found.items()}
    return {
        way: rank_summary(rank, n, np.ones(n, int), (1, 5, 10)) | {"by_type": by_type[way]}
        for way, rank in found.items()
    }


def tensor(values):
    """float64: cosines of stars that look alike differ by less than float32 can tell."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def fixed_methods(pairs):
    """Retrieval without anything trained, HST as it is and at the resolution of XP."""
    xp, error = pairs.prepared["gaia_xp"], np.hypot(pairs.error, SYSTEMATIC)
    found, every = {}, np.arange(len(pairs.name))
    for key, words in (("stis", "HST as it is"), ("matched", "HST at XP's resolution")):
        hst = pairs.prepared[key]
        cosine = ops.masked_similarity(*map(tensor, (xp.flux, xp.ivar, hst.flux, hst.ivar))).numpy()
        found[f"cosine of fluxes, {words}"] = summary(ranks(cosine, every), pairs)
        found[f"cosine less mean spectra, {words}"] = {
            WAYS[0]: baselines.matched_flux_retrieval(xp, hst),
            WAYS[1]: baselines.matched_flux_retrieval(hst, xp),
        }
        scores = chi_square_scores(log_ratio(pairs, key), error)
        found[f"chi-square, stated errors, {words}"] = summary(ranks(scores, every), pairs)
    found["chi-square with the absolute flux, HST at XP's resolution"] = summary(
        ranks(absolute_scores(pairs), every), pairs
    )
    return found


def learned_chi_square(pairs, seed):
    """Chi-square with the ratio and the scatter of the training stars of each fold."""
    difference = log_ratio(pairs, "matched")

    def scores_of(train):
        middle, scatter = learned(difference, train)
        return chi_square_scores(difference - middle, scatter)

    return summary(in_turns(pairs, seed, scores_of), pairs)


def limit(pairs):
    """How far apart the stars are in units of the scatter of the ratio along the line between two of them.

    Half the distance of two HST spectra, over half the 16-84 % range of the residuals of all stars in that direction:
    correlations between samples count, and a few stars far off do not.
    """
    difference, n = log_ratio(pairs, "matched"), len(pairs.name)
    middle, scatter = learned(difference, np.arange(n))
    residual = centred(difference[np.arange(n), np.arange(n)] - middle, scatter)
    first, second = np.triu_indices(n, 1)
    logs = np.log(np.where(pairs.flux["matched"] > 0, pairs.flux["matched"], np.nan))
    apart = centred(logs[second] - logs[first], scatter)
    length = np.linalg.norm(apart, axis=1)
    low, high = np.percentile(apart @ residual.T / length[:, None], (16, 84), axis=1)
    noise = (high - low) / 2
    nearest = np.full((n, n), np.inf)
    nearest[first, second] = nearest[second, first] = length / 2 / noise
    closest = nearest.min(axis=1)
    return {
        "sigma": np.percentile(closest, (0, 16, 50, 84)).tolist(),
        "below_3_sigma": int((closest < 3).sum()),
        "closest": [str(pairs.name[i]) for i in (closest.argmin(), nearest[closest.argmin()].argmin())],
    }


def aligned(pairs, train, seed, **options):
    """Scores (XP, HST) of a space trained on dict of PreparedSpectra."""
    aligner = sa.Aligner(["stis", "gaia_xp"], objective="clip")
    aligner.fit(train, seed=seed, progress=False, **options)
    xp, hst = (aligner.embed(pairs.prepared[key]).vectors for key in ("gaia_xp", "matched"))
    return np.asarray(xp) @ np.asarray(hst).T


def real_part(pairs, rows):
    """Both instruments' spectra of some stars."""
    return {"stis": pairs.prepared["matched"][rows], "gaia_xp": pairs.prepared["gaia_xp"][rows]}


def aligner_study(pairs, population, seed):
    """Three trainings: real pairs of each fold; simulated pairs; both, the simulated ones with the folds' ratios."""
    rng, ratio = np.random.default_rng([seed, 1]), ratio_of(pairs)
    real = in_turns(pairs, seed, lambda train: aligned(pairs, real_part(pairs, train), seed))
    both = in_turns(
        pairs,
        seed,
        lambda train: aligned(pairs, joined(population.simulate(rng, ratio[train]), real_part(pairs, train)), seed),
    )
    simulated = ranks(aligned(pairs, population.simulate(rng), seed), np.arange(len(pairs.name)))
    return {
        "aligner, real pairs": summary(real, pairs),
        "aligner, simulated pairs": summary(simulated, pairs),
        "aligner, real and simulated pairs": summary(both, pairs),
    }


def ratio_of(pairs):
    """XP over HST (N, 343), 1 where it is not known."""
    ratio = pairs.flux["gaia_xp"] / pairs.flux["matched"]
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0)


def joined(*parts):
    """The spectra of several dict of PreparedSpectra, by instrument."""
    return {key: sa.PreparedSpectra.concatenate([part[key] for part in parts]) for key in parts[0]}


def calibrated(pairs, train):
    """`Pairs` with the median ratio of the training stars divided out of XP."""
    middle, _ = learned(log_ratio(pairs, "matched"), train)
    flux = pairs.flux["gaia_xp"] / np.exp(middle)
    xp = prepare(sa.get_instrument("gaia_xp"), flux, pairs.error, pairs.name)
    return replace(pairs, flux=pairs.flux | {"gaia_xp": flux}, prepared=pairs.prepared | {"gaia_xp": xp})


def tries(pairs, population, seed):
    """Three other ways to train on few pairs: longer; with XP calibrated first; with stars between the real ones."""
    rng = np.random.default_rng([seed, 2])

    def longer(train):
        return aligned(pairs, real_part(pairs, train), seed, max_epochs=300, batch_size=32)

    def calibrated_first(train):
        known = calibrated(pairs, train)
        made = population.simulate(rng, ratio_of(known)[train])
        return aligned(known, joined(made, real_part(known, train)), seed)

    def with_neighbours(train):
        made = between(pairs, train, len(population.known), rng)
        return aligned(pairs, joined(made, real_part(pairs, train)), seed)

    ways = {"real pairs, 300 epochs in batches of 32": longer}
    ways |= {"real and simulated pairs, XP calibrated first": calibrated_first}
    ways |= {"real pairs and stars between them": with_neighbours}
    return {f"aligner, {key}": summary(in_turns(pairs, seed, way), pairs) for key, way in ways.items()}


def seed_part(pairs, population, seed):
    """What is trained: one split into folds and one seed of the training."""
    found = {"chi-square, ratio of the training stars": learned_chi_square(pairs, seed)}
    found |= aligner_study(pairs, population, seed)
    return {"retrieval": found, "n_simulated": len(population.known)}


def run(options):
    """Run the parts that are not stored."""
    options.store.mkdir(parents=True, exist_ok=True)
    paths = {None: options.store / "calspec-xp.json", "tries": options.store / "calspec-xp-tries.json"}
    paths |= {seed: options.store / f"calspec-xp-seed{seed}.json" for seed in options.seeds}
    todo = {seed: path for seed, path in paths.items() if options.again or not path.exists()}
    pairs = read_pairs(options.shared) if todo else None
    population = Population(options.shared) if set(todo) - {None} else None
    for seed, path in todo.items():
        start = time.perf_counter()
        if seed is None:
            result = {"ratio": ratio_study(pairs), "retrieval": fixed_methods(pairs), "limit": limit(pairs)}
        elif seed == "tries":
            result = {"retrieval": tries(pairs, population, 0)}
        else:
            result = seed_part(pairs, population, seed)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)


def main():
    """Parse the command line, run, write the figure and the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    run(options)
    write_figure(options.page.with_name("results_calspec.png"), options.store)
    write_page(options.page, options.store)


if __name__ == "__main__":
    main()
