"""Few-shot adaptation: errors of labels in a new domain after 0, 3, 10, 30, 100 and 300 labelled spectra of it.

Each row is a command of its own, stored as JSON, so that an interrupted study goes on::

    python benchmarks/bench_adapt.py --seed 5 --rows nirspec-low_rank
    python benchmarks/bench_adapt.py --seed 5                      # all rows that are not stored yet, then the table

A row is a domain (see ``adapt_domains.py``) and a method of `specalign.Aligner.adapt`, or ``raw-flux``, a perceptron on
pixels that learns from the same few spectra, from all that there are, and of mock NIRSpec from as many as the space was
trained with; ``full`` goes on to moderate sets, too.  No option is set but the objective, the
contrast of vectors alone (``clip``): labels say nothing of normal distributions.  After an
adaptation, labels come from models that were fitted to embeddings of the partner's mock spectra alone: the few labels
reach them through the adapted encoder only.  Smaller sets of spectra are parts of the larger ones of the same draw.
``--stars`` shrinks the mock survey for a quick look.
"""

import dataclasses
import functools
import json
import time

import numpy as np
from accuracy_space import train_space
from accuracy_store import code_digest
from accuracy_survey import Survey
from adapt_domains import DOMAINS
from bench_results import parser_of, plain

import specalign as sa
from specalign.analysis.baselines import FluxLabelModel
from specalign.data.columns import match_rows
from specalign.io.files import atomic_write

SIZES = (0, 3, 10, 30, 100, 300)
DRAWS = 3
METHODS = ("low_rank", "head", "full")
RAW = "raw-flux"
MODERATE, WHOLE = (1000,), ("full", RAW)  # methods that change every weight learn from moderate sets, too
PROBES = ("knn", "mlp")
AVERAGES = {
    "rmse": lambda error: np.sqrt(np.nanmean(error**2, axis=0)),
    "mae": lambda error: np.nanmean(np.abs(error), axis=0),
}


class Study:
    """A domain, the space that never saw it, and models of labels that were fitted to the partner's embeddings."""

    def __init__(self, survey, domain):
        self.survey, self.domain, self.seed = survey, DOMAINS[domain](survey), survey.seed
        self.truth = values_of(self.domain.labels, self.domain.test.object_id, self.domain.names)

    @functools.cached_property
    def space(self):
        """The aligner, embeddings of the partner's training spectra, and models of labels fitted to them."""
        pair = self.domain.pair
        train, known = (
            {self.survey.plugin(name): self.survey.seen(name).train for name in pair},
            self.survey.labels(pair),
        )
        aligner, self.facts = train_space(train, known, self.seed, objective="clip")
        base = aligner.embed(train[self.survey.plugin(pair[1])])
        return aligner, base, {kind: sa.LabelModel(kind).fit(base, known, names=self.domain.names) for kind in PROBES}

    def drawn(self, size, draw):
        """Some of the spectra that are learned from; more of a draw contain fewer of it."""
        order = np.random.default_rng([self.seed, draw]).permutation(len(self.domain.few))
        return self.domain.few[np.sort(order[:size])]

    def errors(self, table):
        """Both averages of the errors of predicted labels, a label each."""
        difference = values_of(table, self.domain.test.object_id, self.domain.names) - self.truth
        return {key: dict(zip(self.domain.names, of(difference).tolist(), strict=True)) for key, of in AVERAGES.items()}

    def adapted(self, method, size, draw):
        """Errors after an adaptation, by each model; before any where the size is 0."""
        aligner, base, models = self.space
        if size:
            options = {"method": method, "seed": self.seed + draw, "progress": False}
            aligner = aligner.adapt(self.drawn(size, draw), self.domain.labels, **options)
        # the partner's vectors are the same in every adapted space, so that the models need not be fitted again
        asked = dataclasses.replace(aligner.embed(self.domain.test), provenance=base.provenance)
        return {kind: self.errors(model.predict(asked)) for kind, model in models.items()}

    def raw_flux(self, size, draw):
        """Errors of the perceptron on pixels."""
        return self.by_pixels(self.drawn(size, draw), self.domain.labels, draw)

    def by_pixels(self, rows, labels, draw=0):
        """Errors of a perceptron that learns from these rows."""
        model = FluxLabelModel(seed=self.seed + draw).fit(rows, labels)
        return {"pixels": self.errors(model.predict(self.domain.test))}


def values_of(table, object_id, names):
    """Labels (N, L) of some stars without units."""
    rows = match_rows(object_id, table["object_id"])
    return np.stack([np.asarray(table[name].value, float)[rows] for name in names], axis=1)


def learning_curve(survey, domain, method):
    """Errors at each number of spectra, every draw for itself; the perceptron has nothing to say after none."""
    study = study_of(survey, domain)
    few = len(study.domain.few)
    sizes = [size for size in SIZES if size <= few and (size or method != RAW)]
    if method in WHOLE:
        sizes = sorted({*sizes, *(size for size in MODERATE if size <= few), few})
    one = study.raw_flux if method == RAW else functools.partial(study.adapted, method)
    curve = {str(n): [one(n, draw) for draw in range(DRAWS if 0 < n < few else 1)] for n in sizes}
    if method == RAW and study.domain.more:
        rows, labels = study.domain.more()
        curve[str(len(rows))] = [study.by_pixels(rows, labels)]
    facts = {"n_few": few, "n_test": len(study.domain.test)} | getattr(study, "facts", {})
    return plain(facts | {"sizes": {n: mean_of(draws) for n, draws in curve.items()}})


@functools.lru_cache(maxsize=1)
def study_of(survey, domain):
    """The study of a domain, kept for the next row."""
    return Study(survey, domain)


def mean_of(draws):
    """Means of every figure over the draws, and the draws themselves."""
    means = {
        kind: {
            key: {label: float(np.mean([d[kind][key][label] for d in draws])) for label in labels}
            for key, labels in averages.items()
        }
        for kind, averages in draws[0].items()
    }
    return {"means": means, "draws": draws}


ROWS = {f"{domain}-{method}": (domain, method) for domain in DOMAINS for method in (*METHODS, RAW)}


def path_of(options, row):
    """Where a row is stored."""
    return options.store / f"adapt-{row}-seed{options.seed}-stars{options.stars}.json"


def run(options, rows):
    """Run the rows that are not stored, one JSON file each."""
    survey = Survey(options.shared, options.stars, options.seed)
    options.store.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if path_of(options, row).exists() and not options.again:
            continue
        start = time.perf_counter()
        result = learning_curve(survey, *ROWS[row]) | {"code": code_digest()}
        result["seconds"] = time.perf_counter() - start
        with atomic_write(path_of(options, row)) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{path_of(options, row).name}: {result['seconds']:.0f} s", flush=True)


def lines_of(row, result, key):
    """The table's lines of one row: a model of labels and a number of spectra each."""
    for size, entry in result["sizes"].items():
        for kind, averages in entry["means"].items():
            figures = "  ".join(f"{label} {value:8.4g}" for label, value in averages[key].items())
            yield f"{row:18} {kind:7} {size:>5}  {figures}"


def main(arguments=None):
    """Parse the command line, run, print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the survey and of the trainings")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=f"by default all: {', '.join(ROWS)}")
    options = parser.parse_args(arguments)
    run(options, options.rows or ROWS)
    for row in options.rows or ROWS:
        result = json.loads(path_of(options, row).read_text())
        print("\n".join(lines_of(row, result, "rmse" if ROWS[row][0] == "nirspec" else "mae")))


if __name__ == "__main__":
    main()
