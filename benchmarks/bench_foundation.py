"""Objectives with decoders against the contrast alone: retrieval, labels, and spectra translated between instruments.

Each row is a command of its own, stored as JSON, so that an interrupted study goes on; the section of
``docs/results.rst`` has what is stored::

    python benchmarks/bench_foundation.py --seed 51 --rows lamost-gaia_xp:clip+both
    python benchmarks/bench_foundation.py --seed 51      # all rows that are not stored yet, then the page

The mock survey is drawn with the seed, which is also that of the trainings; the last 2,000 stars are the test.  The
pair ``lamost-real`` has the real LAMOST spectra, and XP spectra that an emulator made of their labels: its truth is
synthetic.
"""

import json
import time

from accuracy_pairs import PAIRS
from accuracy_space import figures_of, train_space
from accuracy_store import code_digest
from accuracy_survey import Survey
from bench_results import FULL_SIZE, label_rows, parser_of, plain
from results_page import write_page
from survey_data import RealLamost
from translation_figures import translation_rows

from specalign.analysis import baselines
from specalign.data.splits import split
from specalign.io.files import atomic_write

OBJECTIVES = ("clip", "clip+likelihood", "clip+reconstruct", "clip+predict", "clip+both", "split")
MOCK = ("lamost-gaia_xp", "apogee-nirspec")
REAL = "lamost-real"
METHODS = (*OBJECTIVES, "raw-flux")
ROWS = tuple(f"{pair}:{method}" for pair in (*MOCK, REAL) for method in METHODS)
REAL_LABELS = ("teff", "logg", "fe_h")


def mock_pair(survey, pair):
    """Training and test spectra of a pair, noise-free ones, labels and which of them each instrument knows."""
    names = PAIRS[pair]
    seen = {survey.plugin(name): survey.seen(name, given=True) for name in names}
    train, test = ({key: getattr(one, part) for key, one in seen.items()} for part in ("train", "test"))
    clean = {survey.plugin(name): survey.mock.prepare_clean(name, normalized=True) for name in names}
    bound = {key: one.bound for key, one in seen.items()}
    return train, test, clean, survey.labels(names), survey.known(names), bound


def real_pair(options):
    """The same of the real LAMOST spectra; a fifth of the stars is the test."""
    real = RealLamost(options.shared, options.seed)
    prepared = real.prepare()
    held = {key: split(rows.object_id, seed=options.seed, validation=0, test=0.2) for key, rows in prepared.items()}
    test = {key: rows[held[key] == "test"] for key, rows in prepared.items()}
    train = {key: rows[held[key] != "test"] for key, rows in prepared.items()}
    return train, test, {}, real.labels, dict.fromkeys(prepared, REAL_LABELS), {}


def study(row, options, survey):
    """One row: an objective, or the baseline that reads labels off the flux, on a pair."""
    pair, method = row.split(":")
    train, test, clean, labels, known, bound = real_pair(options) if pair == REAL else mock_pair(survey, pair)
    result = {"bound": bound, "n_train": len(next(iter(train.values()))), "n_test": len(next(iter(test.values())))}
    if method == "raw-flux":
        return result | {"labels": raw_flux(train, test, labels, known, options.seed)}
    aligner, facts = train_space(train, labels, options.seed, objective=method)
    result |= facts | figures_of(aligner, train, test, labels, known)
    return result | {"translation": translation_rows(aligner, train, test, clean)}


def raw_flux(train, test, labels, known, seed):
    """Labels of the test stars by perceptrons on the raw flux."""
    found = {}
    for name, names in known.items():
        model = baselines.FluxLabelModel(seed=seed).fit(train[name], labels, names=names)
        found[name] = {"raw-flux MLP": label_rows(model.predict(test[name]), labels, names)}
    return found


def path_of(options, row):
    """Where a row is stored."""
    return options.store / f"foundation-{row.replace(':', '-')}-seed{options.seed}-stars{options.stars}.json"


def run(options, rows):
    """Run the rows that are not stored, one JSON file each."""
    survey = Survey(options.shared, options.stars, options.seed)
    options.store.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = path_of(options, row)
        if path.exists() and not options.again:
            continue
        start, code = time.perf_counter(), code_digest()
        result = plain(study(row, options, survey)) | {"code": code, "row": row, "seed": options.seed}
        result["seconds"] = time.perf_counter() - start
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{path.name}: {result['seconds']:.0f} s", flush=True)


def main(arguments=None):
    """Parse the command line, run, write the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the survey and of the trainings")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=f"by default all: {', '.join(ROWS)}")
    options = parser.parse_args(arguments)
    run(options, options.rows or ROWS)
    if options.stars == FULL_SIZE:
        write_page(options.page, options.store)


if __name__ == "__main__":
    main()
