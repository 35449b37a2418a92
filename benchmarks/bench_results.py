"""Retrieval and labels against baselines, the information limit and an oracle: the page ``docs/results.rst``.

Each row of the study is a command of its own, stored as JSON, so that an interrupted study goes on::

    python benchmarks/bench_results.py --shared ../shared --rows nirspec-apogee --seeds 0
    python benchmarks/bench_results.py --shared ../shared            # all rows that are not stored yet, then the page

``--stars`` shrinks the mock survey for a quick look; the page is only written from full-size rows.
"""

import argparse
import json
import time
from pathlib import Path

from results_page import write_page
from survey_data import KNOWN_LABELS, SETTINGS, MockSurvey, RealLamost

import specalign as sa
from specalign.analysis import baselines
from specalign.data.splits import split
from specalign.exceptions import SpectrumError

MOCK_PAIRS = {
    "nirspec-apogee": ("nirspec", "apogee"),
    "nirspec-apogee-given": ("nirspec", "apogee"),  # the true continuum is left as it is given
    "lamost-xp": ("lamost_lrs", "gaia_xp"),
}
ROWS = ("lamost-xp-real", *MOCK_PAIRS)
FULL_SIZE = 20000


def plain(value):
    """JSON-like copy of numbers, Quantities and tables of metrics."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    value = getattr(value, "value", value)
    return value.item() if hasattr(value, "item") else value


def label_rows(predicted, truth, names):
    """RMSE, bias and R2 of each label, as plain numbers."""
    table = sa.metrics.labels(predicted, truth)
    return {
        str(row["label"]): {key: float(getattr(row[key], "value", row[key])) for key in ("rmse", "bias", "r2")}
        for row in table
        if row["label"] in names
    }


def embedding_labels(train, test, names, labels, a, b):
    """Labels of each instrument's test stars: zero-shot from the other's training stars, and probes on its own."""
    out = {}
    for target, other in ((a, b), (b, a)):
        sources = (("k-NN zero-shot", "knn", other), ("linear probe", "linear", target), ("small MLP", "mlp", target))
        for title, kind, source in sources:
            model = sa.LabelModel(kind).fit(train[source], labels)
            out.setdefault(title, {})[target] = label_rows(model.predict(test[target]), labels, names)
    return out


def study_pair(train, test, labels, names, seed, use_labels, with_baselines):
    """Everything that one row says about a pair: ``train`` and ``test`` are dicts of PreparedSpectra."""
    a, b = train
    start = time.perf_counter()
    known = labels["object_id", *names]
    known.meta.update(labels.meta)
    aligner = sa.Aligner([a, b], objective="clip")
    history = aligner.fit(train, labels=known if use_labels else None, seed=seed, progress=False)
    fitted = time.perf_counter() - start
    tables = [{key: aligner.embed(value) for key, value in part.items()} for part in (train, test)]
    result = {
        "fit_seconds": fitted,
        "epochs": len(history.epochs),
        "retrieval": {
            f"{a} -> {b}": sa.metrics.retrieval(tables[1][a], tables[1][b]),
            f"{b} -> {a}": sa.metrics.retrieval(tables[1][b], tables[1][a]),
        },
        "labels": embedding_labels(*tables, names, known, a, b),
    }
    if with_baselines:
        result["baselines"] = baseline_rows(train, test, known, names, seed)
    return plain(result)


def baseline_rows(train, test, labels, names, seed):
    """The raw-flux MLP's labels and the raw-flux cosine's retrieval."""
    a, b = train
    rows = {"raw-flux MLP": {}, "raw-flux cosine": None}
    for name in (a, b):
        model = baselines.FluxLabelModel(seed=seed).fit(train[name], labels)
        rows["raw-flux MLP"][name] = label_rows(model.predict(test[name]), labels, names)
    try:
        rows["raw-flux cosine"] = baselines.matched_flux_retrieval(test[a], test[b])
    except SpectrumError as error:  # no common wavelengths
        print(error)
    return rows


def mock_row(options, row, seed):
    """One pair of the mock survey; the last stars are the test."""
    survey = MockSurvey(options.shared, options.stars, seed=1, n_test=min(2000, options.stars // 5))
    names = KNOWN_LABELS[MOCK_PAIRS[row][0]]
    train, test, bound, covariance = {}, {}, {}, []
    for name in MOCK_PAIRS[row]:
        plugin = SETTINGS[name][0]
        train[plugin], test[plugin] = survey.prepare(name, normalized=row.endswith("-given"))
        if seed == 0:
            bound[plugin] = {key: float(value.value) for key, value in survey.bound(name).items()}
            covariance.append(survey.covariance(name))
    result = {"n_train": len(train[plugin]), "n_test": len(test[plugin]), "bound": bound}
    if covariance:
        result["oracle"] = survey.oracle_recall(*covariance)
    survey.forget()
    result["contrast"] = study_pair(train, test, survey.labels, names, seed, False, seed == 0)
    result["with labels"] = study_pair(train, test, survey.labels, names, seed, True, False)
    return result


def real_row(options, row, seed):
    """Real LAMOST spectra with emulated XP spectra; a fifth of the stars is the test."""
    study = RealLamost(options.shared, seed)
    prepared = study.prepare()
    is_test = {
        key: split(value.object_id, seed=seed, validation=0, test=0.2) == "test" for key, value in prepared.items()
    }
    train = {key: value[~is_test[key]] for key, value in prepared.items()}
    test = {key: value[is_test[key]] for key, value in prepared.items()}
    names = ("teff", "logg", "fe_h")
    result = {"n_train": len(train["lamost"]), "n_test": len(test["lamost"]), "n_out_of_range": study.n_rejected}
    result["rejected"] = {key: len(value.rejected) for key, value in prepared.items()}
    result["contrast"] = study_pair(train, test, study.labels, names, seed, False, True)
    result["with labels"] = study_pair(train, test, study.labels, names, seed, True, False)
    return result


def run(options):
    """Run the rows that are not stored, one JSON file a row and seed."""
    options.store.mkdir(parents=True, exist_ok=True)
    for row in options.rows:
        for seed in options.seeds:
            path = options.store / f"{row}-stars{options.stars}-seed{seed}.json"
            if path.exists() and not options.again:
                continue
            start = time.perf_counter()
            result = (mock_row if row in MOCK_PAIRS else real_row)(options, row, seed)
            result["seconds"] = time.perf_counter() - start
            path.write_text(json.dumps(result, indent=1))
            print(f"{path.name}: {result['seconds']:.0f} s", flush=True)


def parser_of(description):
    """The options of every program whose figures stand in ``docs/results.rst``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--shared", type=Path, default=root.parent / "shared")
    parser.add_argument("--store", type=Path, default=root / "benchmarks" / "results")
    parser.add_argument("--page", type=Path, default=root / "docs" / "results.rst")
    parser.add_argument("--stars", type=int, default=FULL_SIZE)
    parser.add_argument("--again", action="store_true", help="run what is stored, too")
    return parser


def main():
    """Parse the command line, run, write the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    run(options)
    if options.stars == FULL_SIZE:
        write_page(options.page, options.store)


if __name__ == "__main__":
    main()
