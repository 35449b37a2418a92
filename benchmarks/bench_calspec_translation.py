"""Spectra of 91 real stars translated between Gaia XP and HST, beside what needs no decoder.

Each row is a command of its own, stored as JSON, so that an interrupted study goes on; the section of
``docs/results.rst`` has what is stored::

    python benchmarks/bench_calspec_translation.py --seeds 0 --rows between:clip+predict
    python benchmarks/bench_calspec_translation.py         # all rows that are not stored yet, then the page

The seed is that of the folds and of the trainings.  A star is translated by an aligner, and a guess is made from
ratios and spectra, of the other four fifths of the stars.
"""

import json
import time

import numpy as np
from accuracy_store import code_digest
from bench_calspec import folds_of, joined, ratio_of, real_part
from bench_results import parser_of
from calspec_data import CLASSES, Population, between, read_pairs
from calspec_guesses import IDENTITY, LOCAL_RATIO, MEAN, NEAREST, RATIO, SIDES, good, guesses
from results_page import write_page
from translation_figures import Guess, residuals

import specalign as sa
from specalign.io.files import atomic_write

WAYS = (("gaia_xp", "stis"), ("stis", "gaia_xp"))
NO_DECODER = "no-decoder"
ROWS = (NO_DECODER, "real:clip+predict", "population:clip+predict", "between:clip+predict", "between:clip+both")
GUESSES = (IDENTITY, RATIO, LOCAL_RATIO, NEAREST, MEAN)
# Their errors are those of measured spectra, whose own noise is in them
FROM_SCATTER = (RATIO, LOCAL_RATIO, MEAN)


def training_pairs(kind, pairs, population, train, rng):
    """dict of PreparedSpectra: the real pairs of the training stars, and pairs that are made of them."""
    real = real_part(pairs, train)
    if kind == "real":
        return real
    if kind == "population":
        return joined(population.simulate(rng, ratio_of(pairs)[train]), real)
    return joined(between(pairs, train, len(population.known), rng), real)


def guessed(pairs, seed):
    """`Guess` of all stars by method and way, each star by the fold that tests it."""
    found = {(name, way): empty(pairs) for name in GUESSES for way in WAYS}
    for test, train in folds_of(len(pairs.name), seed):
        for way in WAYS:
            for name, guess in guesses(pairs, train, test, *way).items():
                put(found[name, way], test, guess)
    return found, {}


def translated(pairs, population, row, seed):
    """The same by the decoders of one aligner a fold, and what training them took."""
    kind, objective = row.split(":")
    rng, facts = np.random.default_rng([seed, 3]), {"fit_seconds": [], "epochs": [], "n_train": []}
    found = {(row, way): empty(pairs) for way in WAYS}
    for test, train in folds_of(len(pairs.name), seed):
        spectra = training_pairs(kind, pairs, population, train, rng)
        start, aligner = time.perf_counter(), sa.Aligner(list(spectra), objective=objective)
        history = aligner.fit(spectra, seed=seed, progress=False)
        facts["fit_seconds"].append(time.perf_counter() - start)
        facts["epochs"].append(len(history.epochs))
        facts["n_train"].append(len(spectra["stis"]))
        for source, target in WAYS:
            told = aligner.translate(pairs.prepared[SIDES[source]][test], to=target)
            put(found[row, (source, target)], test, told)
    return found, facts


def empty(pairs):
    """A `Guess` of every star, masked."""
    shape = pairs.prepared["gaia_xp"].flux.shape
    return Guess(np.zeros(shape), np.ones(shape, bool), np.zeros(shape))


def put(whole, rows, part):
    """Fill some rows."""
    whole.flux[rows], whole.mask[rows], whole.ivar[rows] = part.flux, part.mask, part.ivar


def common_mask(pairs):
    """Samples (N, P) that do not count for any method: not known on both sides, or 1 by the normalisation."""
    xp, hst = (pairs.prepared[key] for key in SIDES.values())
    return ~good(xp) | ~good(hst) | ((xp.flux == 1) & (hst.flux == 1))


def figures(pairs, name, way, found):
    """Residuals over all stars, in bins of wavelength and by class, of the samples that count for every method."""
    truth, noisy = pairs.prepared[SIDES[way[1]]], name not in FROM_SCATTER
    found = Guess(found.flux, found.mask | common_mask(pairs), found.ivar)
    by_class = {key: residuals(found[rows], truth[rows], noisy)["all"] for key, rows in members(pairs).items()}
    return residuals(found, truth, noisy) | {"class": by_class}


def members(pairs):
    """Rows of each class."""
    return {key: np.flatnonzero(pairs.kind == key) for key in CLASSES}


def study(row, pairs, population, seed):
    """One row of the study."""
    found, facts = guessed(pairs, seed) if row == NO_DECODER else translated(pairs, population, row, seed)
    methods = {}
    for (name, way), guess in found.items():
        methods.setdefault(name, {})[" -> ".join(way)] = figures(pairs, name, way, guess)
    return facts | {"methods": methods, "n_class": {key: len(rows) for key, rows in members(pairs).items()}}


def run(options):
    """Run the rows that are not stored, one JSON file each."""
    options.store.mkdir(parents=True, exist_ok=True)
    pairs = population = None
    for seed in options.seeds:
        for row in options.rows:
            path = options.store / f"calspec-translation-{row.replace(':', '-')}-seed{seed}.json"
            if path.exists() and not options.again:
                continue
            pairs = pairs or read_pairs(options.shared)
            population = population or Population(options.shared)
            start, code = time.perf_counter(), code_digest()
            result = study(row, pairs, population, seed) | {"code": code, "row": row, "seed": seed}
            result["seconds"] = time.perf_counter() - start
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(result, indent=1) + "\n")
            print(f"{path.name}: {result['seconds']:.0f} s", flush=True)


def main(arguments=None):
    """Parse the command line, run, write the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    options = parser.parse_args(arguments)
    run(options)
    write_page(options.page, options.store)


if __name__ == "__main__":
    main()
