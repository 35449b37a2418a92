"""Every pair of the four instruments, all four at once, and all four with stars missing, for docs/results.rst.

    python benchmarks/bench_four.py --shared ../shared                  # every study that is not stored, then the page
    python benchmarks/bench_four.py --shared ../shared --studies all    # one of them

Each study is one JSON file in ``benchmarks/results``.  All of them are trained on the same stars of the mock survey by
contrast alone, with the defaults, and tested on the same last stars, which every instrument has seen.  ``references``
holds what they are compared with: the bound, the oracle, the cosine of the raw flux and an MLP on the raw flux.
"""

import itertools
import json
import time

import numpy as np
from bench_results import FULL_SIZE, label_rows, parser_of, plain
from results_page import write_page
from survey_data import KNOWN_LABELS, SETTINGS, MockSurvey

import specalign as sa
from specalign.analysis import baselines
from specalign.exceptions import SpectrumError

NAMES = ("apogee", "nirspec", "lamost_lrs", "gaia_xp")
PLUGIN = {name: SETTINGS[name][0] for name in NAMES}
PLUGINS = tuple(PLUGIN.values())
LABELS = {PLUGIN[name]: KNOWN_LABELS[name] for name in NAMES}
PAIRS = {f"{PLUGIN[a]}-{PLUGIN[b]}": (PLUGIN[a], PLUGIN[b]) for a, b in itertools.combinations(NAMES, 2)}
STUDIES = ("all", "all-missing-one", *PAIRS, "references", "all-missing-each")
MISSING = 0.3


class Survey:
    """The prepared spectra of all four instruments, made once."""

    def __init__(self, shared, n_stars):
        self.mock = MockSurvey(shared, n_stars, seed=1, n_test=min(2000, n_stars // 5))
        self.train, self.test = {}, {}
        for name in NAMES:
            self.train[PLUGIN[name]], self.test[PLUGIN[name]] = self.mock.prepare(name)
        self.mock.forget()

    def labels(self, plugin):
        """The true labels that an instrument's model knows."""
        known = self.mock.labels["object_id", *LABELS[plugin]]
        known.meta["label_system"] = "mock-survey"
        return known

    def thinned(self, study, seed):
        """See `thinned`; the test is always complete."""
        return thinned(self.train, self.mock.object_id, study, seed)


def thinned(train, object_id, study, seed):
    """Training rows without those that the study says are missing, of a survey's stars."""
    rng = np.random.default_rng([seed, 30])
    n = len(object_id)
    if study == "all-missing-one":  # three stars in ten lack one instrument
        lacks = np.where(rng.random(n) < MISSING, rng.integers(len(train), size=n), -1)
        lost = {key: lacks == i for i, key in enumerate(train)}
    else:  # every instrument lacks three stars in ten
        lost = {key: rng.random(n) < MISSING for key in train}
    return {key: rows[~np.isin(rows.object_id, object_id[lost[key]])] for key, rows in train.items()}


def study_space(survey, instruments, train, seed):
    """One aligner: retrieval in every direction, and labels of every instrument."""
    start = time.perf_counter()
    aligner = sa.Aligner(list(instruments), objective="clip")
    history = aligner.fit({key: train[key] for key in instruments}, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    known = {key: aligner.embed(train[key]) for key in instruments}
    asked = {key: aligner.embed(survey.test[key]) for key in instruments}
    directions = list(itertools.permutations(instruments, 2))
    return plain({
        "rows": {key: len(train[key]) for key in instruments},
        "n_test": len(survey.mock.object_id[-survey.mock.n_test :]),
        "epochs": len(history.epochs),
        "fit_seconds": seconds,
        "retrieval": {f"{a} -> {b}": sa.metrics.retrieval(asked[a], asked[b]) for a, b in directions},
        "zero-shot": {f"{b} -> {a}": zero_shot(survey, known[b], asked[a], a, b) for a, b in directions},
        "probe": {key: probes(survey, known[key], asked[key], key) for key in instruments},
    })  # fmt: skip


def zero_shot(survey, known, asked, target, source):
    """Labels of one instrument's test stars from the nearest labelled training stars of another."""
    names = [name for name in LABELS[target] if name in LABELS[source]]
    labels = survey.labels(source)
    return label_rows(sa.LabelModel("knn").fit(known, labels).predict(asked), survey.labels(target), names)


def probes(survey, known, asked, key):
    """Labels from the instrument's own labelled training stars."""
    labels = survey.labels(key)
    return {
        kind: label_rows(sa.LabelModel(kind).fit(known, labels).predict(asked), labels, LABELS[key])
        for kind in ("linear", "mlp")
    }


def references(survey, seed):
    """Bound, oracle, raw-flux cosine and raw-flux MLP."""
    bound, covariance, mlp, cosine, oracle = {}, {}, {}, {}, {}
    for name in NAMES:
        bound[PLUGIN[name]] = {key: float(value.value) for key, value in survey.mock.bound(name).items()}
        covariance[PLUGIN[name]] = survey.mock.covariance(name)
        survey.mock.forget()
    for a, b in itertools.permutations(PLUGINS, 2):
        oracle[f"{a} -> {b}"] = survey.mock.oracle_recall(covariance[a], covariance[b])
        try:
            cosine[f"{a} -> {b}"] = baselines.matched_flux_retrieval(survey.test[a], survey.test[b])
        except SpectrumError as error:  # no common wavelengths
            cosine[f"{a} -> {b}"] = None
            print(error)
    for key, rows in survey.train.items():
        model = baselines.FluxLabelModel(seed=seed).fit(rows, survey.labels(key))
        mlp[key] = label_rows(model.predict(survey.test[key]), survey.labels(key), LABELS[key])
    return plain({"bound": bound, "oracle": oracle, "raw-flux cosine": cosine, "raw-flux MLP": mlp})


def result_of(survey, study, seed):
    """What one study found."""
    if study == "references":
        return references(survey, seed)
    if study in PAIRS:
        return study_space(survey, PAIRS[study], survey.train, seed)
    train = survey.train if study == "all" else survey.thinned(study, seed)
    return study_space(survey, PLUGINS, train, seed)


def run(options):
    """Run the studies that are not stored, one JSON file a study and seed."""
    options.store.mkdir(parents=True, exist_ok=True)
    paths = {
        (study, seed): options.store / f"four-{study}-stars{options.stars}-seed{seed}.json"
        for seed in options.seeds
        for study in options.studies
    }
    todo = {key: path for key, path in paths.items() if options.again or not path.exists()}
    survey = Survey(options.shared, options.stars) if todo else None
    for (study, seed), path in todo.items():
        start = time.perf_counter()
        result = result_of(survey, study, seed)
        path.write_text(json.dumps(result, indent=1))
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)


def main():
    """Parse the command line, run, write the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    run(options)
    if options.stars == FULL_SIZE:
        write_page(options.page, options.store)


if __name__ == "__main__":
    main()
