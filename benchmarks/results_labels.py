"""The section of ``docs/results.rst`` on errors of labels, and its figure, from the rows of ``bench_labels.py``."""

import json
import re
import textwrap

import numpy as np
from coverage_by_chance import by_chance
from matplotlib.figure import Figure
from results_tables import OBSERVED_UNITS as UNITS
from results_tables import list_table, spread
from scipy.stats import binom

from specalign.io.files import atomic_write

TITLE = "Labels with posteriors"
FIGURE = "results_labels_ranks.png"
NAME = re.compile(r"labels-(?P<row>.+)-seed(?P<seed>\d+)-stars(?P<stars>\d+)\.json")
TITLES = {
    "apogee-nirspec-given": "APOGEE and NIRSpec, with the true continuum",
    "lamost-gaia_xp-observed": "LAMOST and Gaia XP in the observed frame, with velocity and extinction",
}
KINDS = {
    "coverage": "own posterior",
    "coverage, conformal": "conformal by S/N",
    "coverage, marginal": "conformal without bins",
}
TARGETS = {"all": 2, "third": 5}  # points
BAND = 0.99
ABOUT = """Labels of mock test stars from embeddings of their own instrument, by every method of
:class:`~specalign.LabelModel`. The aligner and the label model train on four fifths of the training stars; the others
calibrate the conformal intervals. A row is a command; those that are not stored have not run::

    python benchmarks/bench_labels.py --seed 31 --row {first}

*Coverage* is how far the share of true labels in nominal 50, 80 and 95 % intervals is from these numbers, in points:
the largest departure over levels and labels of the mean of all seeds, on all test stars and in the worst third of S/N,
for the method's own posterior and for conformal intervals, by thirds of S/N and without bins. Exact intervals depart,
too, of so few stars: *by chance* is the median of what they do, so that every second exact method is farther off.
*Ranks* of true labels among samples of the posterior are uniform if it is right: the smallest p over labels, and the
spread over that of uniform ranks (above 1, posteriors are too narrow). *Time* is that of a spectrum from its prepared
arrays to labels, and to intervals, in ms: a hundred at once, and one alone (SpecCLIP: 1 to 5 ms). *Width* is the median
error that is predicted over the Cramér-Rao bound of the same star, which knows nothing of the population: a posterior
may be narrower."""
OBSERVED = """The stars have velocities of 100 km/s (standard deviation), no spectrum is shifted, and each instrument
is asked for what it can know: LAMOST for the velocity, Gaia XP for the extinction."""
CORRELATED = """Cross-correlation of the same LAMOST spectra with 100 noise-free spectra of training stars, which no
real survey has, calls {reliable:.1f} % of the velocities reliable. Of these, the root mean square error is {rmse} km/s
and half the range of the middle 68 % of (measured - true) / error is {pull}; over all that were measured, the error is
{rmse_all} and half the range {scatter} km/s. The bound is {bound} km/s. From the embedding, the best method reaches
{best} km/s ({method}), {times:.1f} times the error of cross-correlation."""
WORSE = " An encoder is not made to measure shifts: **measure velocities first** where there are templates."
CAPTION = """
.. figure:: {figure}
   :alt: Histograms of ranks of true labels in 20 bins, a panel for each instrument and label, a line for each method,
      with the band in which uniform ranks would lie.
   :width: 100%

   Ranks of the true labels among samples of the posteriors, over what uniform ranks would have; grey: {band:g} % of
   uniform ranks. High at both ends, posteriors are too narrow; high in the middle, too wide."""


def labels_section(store, n_stars):
    """The section, or nothing where no row is stored."""
    found = read(store, n_stars)
    if not found:
        return ""
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n", ABOUT.format(first=next(iter(found))), ""]
    for row, results in found.items():
        parts += [filled(f"**{TITLES.get(row, row)}**. {size_text(results)}"), ""]
        parts += [OBSERVED, ""] if "cross-correlation" in results[0] else []
        parts += [calibration_table(results), "", verdict(results), "", label_table(results), ""]
        parts += [filled(correlated_text(results)), ""] if "cross-correlation" in results[0] else []
    if panels_of(found):
        parts += [CAPTION.format(figure=FIGURE, band=100 * BAND), ""]
    return "\n".join(parts)


def read(store, n_stars):
    """The stored results of every row of one size, a list over seeds; rows that have a title come first."""
    found = {}
    for path in sorted(store.glob("labels-*.json")):
        name = NAME.fullmatch(path.name)
        if name and int(name["stars"]) == n_stars:
            found.setdefault(name["row"], []).append(json.loads(path.read_text()))
    order = [*TITLES, *(row for row in found if row not in TITLES)]
    return {row: found[row] for row in order if row in found}


def size_text(results):
    """How many stars calibrate and test, and what it cost."""
    n, fewest = sizes_of(results)
    most = max(one["n_kept"] for one in results)
    kept = str(fewest) if most == fewest else f"{fewest} to {most}"
    return f"Seeds: {len(results)}; {kept} stars calibrate, {n} test. {cost_text(results)}"


def sizes_of(results):
    """How many stars test, and calibrate, in the seed that has fewest."""
    tested = (one["n_test"] for result in results for one in result["instruments"].values())
    return min(tested), min(one["n_kept"] for one in results)


def exact_cells(results, kinds):
    """Departures of exact intervals by chance, in the order of the table's columns."""
    n, kept = sizes_of(results)
    found = next(methods_of(results))[2][0]
    levels, n_labels = [float(level) for level in found["coverage"]], len(found["labels"])
    for kind in kinds:
        given = {"n_calibration": 0 if kind == "coverage" else kept, "n_bins": 1 if "marginal" in kind else 3}
        chance = by_chance(n, n_labels=n_labels, levels=levels, n_seeds=len(results), **given)
        yield from (f"{chance[part]:.1f}" for part in TARGETS)


def cost_text(results):
    """Minutes of the trainings, and the threads that they had."""
    aligner = spread([one["fit_seconds"] / 60 for one in results], 1)
    seconds, slowest = max((one["seconds"], method) for _, method, found, _ in methods_of(results) for one in found)
    threads = ", ".join(sorted({str(one.get("threads", "?")) for one in results}))
    return (
        f"The aligner took {aligner} minutes, and the slowest label model, ``{slowest}``, {seconds:.0f} "
        f"seconds (threads: {threads})."
    )


def filled(text, indent=""):
    """A paragraph in lines of 120."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def methods_of(results):
    """(instrument, method, what was found over seeds, results of the instrument) one after the other."""
    for key, one in results[0]["instruments"].items():
        for method in one["methods"]:
            parts = [result["instruments"][key] for result in results]
            yield key, method, [part["methods"][method] for part in parts], parts


def kinds_of(results):
    """Kinds of intervals that were measured in all rows, with their titles."""
    return {
        kind: title
        for kind, title in KINDS.items()
        if all(kind in one for _, _, f, _ in methods_of(results) for one in f)
    }


def calibration_table(results):
    """A row an instrument and method: departures of the coverage, ranks, times."""
    kinds = kinds_of(results)
    head = [f"{title}, {part}" for title in kinds.values() for part in ("all", "worst third")]
    rows = [("instrument", "method", *head, "ranks, p", "spread", "labels (ms)", "intervals (ms)")]
    for key, method, found, parts in methods_of(results):
        coverage = [f"{departure(found, kind, part):.1f}" for kind in kinds for part in TARGETS]
        ranks = [one for result in found for one in result["ranks"].values()]
        spreads = [one["spread"] for one in ranks]
        p = f"{min(one['p_value'] for one in ranks):.1g}"
        times = [time_text(found, parts, name) for name in ("label_ms", "posterior_ms")]
        rows.append((key, method, *coverage, p, f"{min(spreads):.2f}-{max(spreads):.2f}", *times))
    rows.append(("", "exact, by chance", *exact_cells(results, kinds), "", "1", "", ""))
    return list_table(rows)


def departure(found, kind, part):
    """Points by which the mean coverage of all seeds is off at most, over levels and labels (and thirds of S/N)."""
    off = [0.0]
    for level, labels in found[0][kind].items():
        for name in labels:
            places = [result[kind][level][name] for result in found]
            shares = [[one["all"]] if part == "all" else one["thirds"] for one in places]
            off += np.abs(np.mean(shares, axis=0) - float(level)).tolist()
    return 100 * max(off)


def time_text(found, parts, name):
    """Milliseconds at once and alone, the embedding included; the median over seeds."""
    pairs = zip(found, parts, strict=True)
    times = [[one[name][key] + part["embed_ms"][key] for key in ("batch", "single")] for one, part in pairs]
    return "{:.2f}; {:.1f}".format(*np.median(times, axis=0))


def verdict(results):
    """Which intervals meet the targets, and which do not."""
    lines = []
    for kind, title in kinds_of(results).items():
        met, missed = [], []
        for key, method, found, _ in methods_of(results):
            off = {part: departure(found, kind, part) for part in TARGETS}
            good = all(off[part] <= TARGETS[part] for part in TARGETS)
            (met if good else missed).append(f"{method} on {key}")
        text = f"* {title}: met by {', '.join(met) or 'none'}; missed by {', '.join(missed) or 'none'}."
        lines.append(filled(text, "  "))
    return "\n".join(
        [f"Targets: within {TARGETS['all']} points on all, within {TARGETS['third']} in every third.", "", *lines]
    )


def label_table(results):
    """A row an instrument and method: errors of the labels, and in brackets the width over the bound."""
    labels = list(dict.fromkeys(name for *_, found, _ in methods_of(results) for name in found[0]["labels"]))
    rows = [("RMSE (width / bound)", "method", *(f"{UNITS[name][0]} ({UNITS[name][1]})" for name in labels))]
    bounds = {}
    for key, method, found, parts in methods_of(results):
        rows.append((key, method, *(error_text(found, name) for name in labels)))
        bounds[key] = parts[0].get("bound")
    for key, bound in bounds.items():
        if bound:
            cells = (f"{bound[name]:.{UNITS[name][2]}f}" if name in bound else "" for name in labels)
            rows.append((key, "bound", *cells))
    return list_table(rows)


def error_text(found, name):
    """The error over seeds and the mean width; nothing where the instrument does not know the label."""
    if name not in found[0]["labels"]:
        return ""
    widths = [one["width over bound"].get(name) for one in found]
    error = spread([one["labels"][name]["rmse"] for one in found], UNITS[name][2])
    return error if None in widths else f"{error} ({np.mean(widths):.2f})"


def correlated_text(results):
    """Velocities by cross-correlation beside those from the embedding."""
    found = [result["cross-correlation"] for result in results]
    errors = {}
    for _, method, parts, _ in methods_of(results):
        if "radial_velocity" in parts[0]["labels"]:
            errors[method] = float(np.mean([one["labels"]["radial_velocity"]["rmse"] for one in parts]))
    method = min(errors, key=errors.get)
    facts = {"rmse": "rmse, reliable", "rmse_all": "rmse", "scatter": "scatter", "pull": "pull", "bound": "bound"}
    facts = {key: spread([one[name] for one in found], 2) for key, name in facts.items()}
    facts |= {"reliable": 100 * np.mean([one["reliable"] for one in found]), "best": f"{errors[method]:.1f}"}
    times = errors[method] / np.mean([one["rmse, reliable"] for one in found])
    return CORRELATED.format(method=method, times=times, **facts) + (WORSE if times > 1 else "")


def panels_of(found):
    """(instrument, label, method to counts) of the first seed of each row that stores histograms."""
    panels = []
    for results in found.values():
        for key, one in results[0]["instruments"].items():
            for label in next(iter(one["methods"].values()))["ranks"]:
                counts = {method: part["ranks"][label].get("counts") for method, part in one["methods"].items()}
                if all(counts.values()):
                    panels.append((key, label, counts))
    return panels


def write_figure(path, store, n_stars):
    """The histograms of ranks, where they are stored."""
    panels = panels_of(read(store, n_stars))
    if not panels:
        return
    figure = Figure(figsize=(9, 2.1 * -(-len(panels) // 4)), layout="constrained")
    axes = figure.subplots(-(-len(panels) // 4), 4, squeeze=False, sharex=True).ravel()
    for ax, panel in zip(axes, panels, strict=False):
        draw(ax, *panel)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel("rank of the true label (0 to 1)")
    figure.supylabel("stars, over the uniform number")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


def draw(ax, key, label, counts):
    """One label of one instrument."""
    n, bins = sum(next(iter(counts.values()))), len(next(iter(counts.values())))
    low, high = binom.ppf([(1 - BAND) / 2, (1 + BAND) / 2], n, 1 / bins) * bins / n
    ax.axhspan(low, high, color="0.9")
    for number, (method, values) in enumerate(counts.items()):
        edges, style = np.linspace(0, 1, bins + 1), {"baseline": None, "color": f"C{number}", "lw": 1}
        ax.stairs(np.array(values) * bins / n, edges, label=method, **style)
    ax.set_title(f"{key}, {UNITS[label][0]}", fontsize=9)
    ax.set_ylim(0, max(2.0, 1.05 * max(max(values) for values in counts.values()) * bins / n))
