"""Are the errors of labels right? Coverage, ranks, widths and latency of every method of ``LabelModel``.

    python benchmarks/bench_labels.py --seed 31 --stars 20000

On the mock survey (by default APOGEE with NIRSpec, flux as the survey gives it), an aligner is trained with its
defaults on four fifths of the training stars. The others, which neither it nor a label model sees, calibrate conformal
intervals. Each method learns from the embeddings of one instrument and is asked for those of the test stars. Stored
are, for each instrument and method: coverage of nominal 50, 80 and 95 % intervals on all test stars and in each third
of S/N, of the method's own posterior and of conformal intervals, by bins of S/N and by none; the median width of the
posterior over the Cramer-Rao bound of the same star; how uniform the ranks of the true labels are; root mean square
errors; and milliseconds a spectrum for a hundred new ones, at once and one by one. ``--max-epochs`` is for trying the
program: its results are printed and not stored.

With ``--row lamost-gaia_xp-observed`` the stars move, nobody corrects for it, and labels are, besides those of the
stars, the velocity for LAMOST and the extinction for Gaia XP; beside them stands what cross-correlation makes of the
velocities.
"""

import copy
import json
import re
import statistics
import time

import numpy as np
import torch
from accuracy_pairs import GIVEN, PAIRS
from accuracy_store import code_digest
from accuracy_survey import Survey
from bench_results import FULL_SIZE, label_rows, parser_of, plain
from results_page import write_page
from survey_observed import OBSERVED, MovingSurvey, velocity_figures

import specalign as sa
from specalign.analysis import ConformalLabels, calibration_ranks, interval_coverage, rank_uniformity
from specalign.analysis.calibration import rank_counts
from specalign.data.splits import hash_fraction
from specalign.io.files import atomic_write

METHODS = ("knn", "linear", "mlp", "flow")
LEVELS = (0.5, 0.8, 0.95)
KEPT = 0.2  # of the training stars, for calibration
NEW = 100  # spectra whose latency is measured
SAMPLES = 1000
RANKS, BINS = 160, 20  # a bin of the stored histogram has as many ranks as another


def study(survey, row, options):
    """Everything of one pair of instruments."""
    names = PAIRS[row.removesuffix(GIVEN).removesuffix(OBSERVED)]
    seen, train, kept = divided(survey, names, row.endswith(GIVEN))
    labels, known, start = survey.labels(names), survey.known(names), time.perf_counter()
    aligner = sa.Aligner(list(train))
    short = {"max_epochs": options.max_epochs} if options.max_epochs else {}
    aligner.fit(train, labels=labels, seed=survey.seed, progress=False, **short)
    result = {"fit_seconds": time.perf_counter() - start, "n_kept": len(next(iter(kept.values()))), "instruments": {}}
    result |= {"n_train": len(next(iter(train.values()))), "threads": torch.get_num_threads()}
    for key, one in seen.items():
        tables = [aligner.embed(rows) for rows in (train[key], kept[key], one.test)]
        deviation = np.sqrt(np.diagonal(one.covariance, axis1=1, axis2=2))
        bound = {name: deviation[:, survey.mock.places[name]] for name in known[key]}
        embed = latency(aligner.embed, one.test)
        found = {method: judge(method, *tables, labels, bound, options) for method in options.methods}
        result["instruments"][key] = {"n_test": len(one.test), "embed_ms": embed, "methods": found, "bound": one.bound}
        if "radial_velocity" in bound:
            velocities = survey.mock.correlated_velocities(names[list(seen).index(key)])
            result["cross-correlation"] = velocity_figures(*velocities, bound["radial_velocity"])
    return plain(result)


def divided(survey, names, given=False):
    """What instruments saw, by plugin, and their spectra to train with and to calibrate with."""
    seen, train, kept = {}, {}, {}
    for name in names:
        key = survey.plugin(name)
        seen[key] = survey.seen(name, given)
        train[key], kept[key] = split_training(seen[key].train, survey.seed)
        seen[key].train = None  # spectra of a large survey are not to be in memory twice
    return seen, train, kept


def split_training(rows, seed):
    """Spectra of one instrument to train with and to calibrate with, by star."""
    kept = hash_fraction(rows.object_id, seed, "bench labels") < KEPT
    return rows[~kept], rows[kept]


def judge(method, base, kept, test, labels, bound, options):
    """One method on one instrument's embeddings."""
    start, short = time.perf_counter(), options.max_epochs and method in ("mlp", "flow")
    model = sa.LabelModel(method, **({"max_epochs": options.max_epochs} if short else {}))
    conformal = ConformalLabels(model, LEVELS).fit_model(base, labels, names=list(bound))
    seconds = time.perf_counter() - start
    conformal.calibrate(kept, labels)
    predicted, posterior = conformal.predict(test), model.posterior(test)
    marginal = without_bins(conformal).calibrate(kept, labels).predict(test)
    widths = {name: np.median(predicted[f"{name}_err"].value / one) for name, one in bound.items()}
    return {
        "seconds": seconds,
        "labels": label_rows(predicted, labels, list(bound)),
        "coverage": coverages(posterior.intervals(LEVELS, SAMPLES), labels, test.snr),
        "coverage, conformal": coverages(predicted, labels, test.snr),
        "coverage, marginal": coverages(marginal, labels, test.snr),
        "width over bound": widths,
        "ranks": ranks_of(posterior, labels),
        "label_ms": latency(model.predict, test),
        "posterior_ms": latency(lambda rows: model.posterior(rows).intervals(LEVELS, SAMPLES), test),
    }


def without_bins(conformal):
    """The same fitted model, to be calibrated over all S/N together."""
    marginal = copy.copy(conformal)
    marginal.bins, marginal.n_bins = None, 1
    return marginal


def coverages(table, labels, snr):
    """Coverage a level and label: of all stars, and of each third of S/N."""
    rows, out = interval_coverage(table, labels, by=snr), {}
    for level, name, number, share in rows["level", "label", "bin", "coverage"].iterrows():
        place = out.setdefault(f"{level:g}", {}).setdefault(str(name), {"all": None, "thirds": []})
        if number < 0:
            place["all"] = float(share)
        else:
            place["thirds"].append(float(share))
    return out


def ranks_of(posterior, labels):
    """How uniform the ranks of the true labels are, and their histogram, a label each."""
    ranks = calibration_ranks(posterior, labels, n=RANKS - 1)
    return {
        str(row["label"]): {key: float(row[key]) for key in ("p_value", "mean", "spread")}
        | {"counts": rank_counts(ranks, row["label"], BINS)[0].tolist()}
        for row in rank_uniformity(ranks)
    }


def latency(function, rows, singles=20):
    """Milliseconds a spectrum: a hundred at once, and one by one (the median of some)."""
    new = rows[:NEW]
    function(new)
    start = time.perf_counter()
    function(new)
    batch = (time.perf_counter() - start) / len(new)
    single = []
    for i in range(min(singles, len(new))):
        start = time.perf_counter()
        function(new[i : i + 1])
        single.append(time.perf_counter() - start)
    return {"batch": 1e3 * batch, "single": 1e3 * statistics.median(single)}


def text_of(result):
    """Lines for readers."""
    lines = []
    for key, one in result["instruments"].items():
        lines.append(f"{key}: embedding, ms a spectrum {time_text(one['embed_ms'])}")
        lines += [f"  {method:7s} {line}" for method, found in one["methods"].items() for line in method_lines(found)]
    if velocities := result.get("cross-correlation"):
        lines.append("cross-correlation: " + ", ".join(f"{name} {value:.3g}" for name, value in velocities.items()))
    return "\n".join(lines)


def method_lines(found):
    """Departures from the nominal coverage in points, and the rest in brief."""
    for kind in ("coverage", "coverage, conformal", "coverage, marginal"):
        yield f"{kind}: {'; '.join(departure(level, of) for level, of in found[kind].items())}"
    yield "width/bound " + " ".join(f"{name} {width:.2f}" for name, width in found["width over bound"].items())
    yield "RMSE " + " ".join(f"{name} {one['rmse']:.3g}" for name, one in found["labels"].items())
    ranks = found["ranks"].items()
    yield "ranks " + " ".join(f"{n} p {r['p_value']:.2g} spread {r['spread']:.2f}" for n, r in ranks)
    times = f"labels {time_text(found['label_ms'])}, intervals {time_text(found['posterior_ms'])}"
    yield f"fit {found['seconds']:.0f} s, ms a spectrum: {times}"


def departure(level, of):
    """The label that is worst, over all stars and in a third of S/N."""
    everywhere = max(abs(one["all"] - float(level)) for one in of.values())
    thirds = max(abs(share - float(level)) for one in of.values() for share in one["thirds"])
    return f"{100 * float(level):g} % off by at most {100 * everywhere:.1f}, in a third {100 * thirds:.1f}"


def time_text(times):
    """Milliseconds at once and one by one."""
    return f"{times['batch']:.2f} at once, {times['single']:.1f} alone"


def compact(result):
    """JSON with a list of numbers on one line."""
    text = json.dumps(result, indent=1)
    return re.sub(r"\[[-+.,\deE\s]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def main(arguments=None):
    """Parse the command line, run what is not stored, print, write the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the survey and of the trainings")
    parser.add_argument("--row", default="apogee-nirspec-given", help="a pair, as bench_accuracy.py calls them")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--max-epochs", type=int, help="a short training; nothing is stored")
    options = parser.parse_args(arguments)
    path = options.store / f"labels-{options.row}-seed{options.seed}-stars{options.stars}.json"
    if path.exists() and not options.again and not options.max_epochs:
        print(text_of(json.loads(path.read_text())))
        return
    start, code = time.perf_counter(), code_digest()
    survey = (MovingSurvey if options.row.endswith(OBSERVED) else Survey)(options.shared, options.stars, options.seed)
    result = study(survey, options.row, options)
    result |= {"code": code, "seconds": time.perf_counter() - start}
    if not options.max_epochs and options.methods == list(METHODS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(compact(result))
        if options.stars == FULL_SIZE:
            write_page(options.page, options.store)
    print(text_of(result))


if __name__ == "__main__":
    main()
