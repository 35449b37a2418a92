"""The section of ``docs/results.rst`` on few-shot adaptation, from the stored rows of ``bench_adapt.py``."""

import collections
import json

from results_tables import UNITS, list_table, spread

TITLE = "Few-shot adaptation"
DOMAINS = {
    "nirspec": ("Mock NIRSpec, seen elsewhere: lower resolution, wider gap, more noise, another line list", "rmse"),
    "lamost": ("Real LAMOST spectra in a space of mock ones", "mae"),
}
METHODS = ("full", "low_rank", "head", "raw-flux")
MODELS = {"knn": "k-NN", "mlp": "MLP", "pixels": "pixels"}
NAMES = {"rmse": "Root mean square errors", "mae": "Mean absolute errors"}
ABOUT = """A space of mock spectra meets another domain, and learns from 0 to 300 labelled spectra of it, ``full`` from
moderate sets, too (`specalign.Aligner.adapt`, no option set; three draws of each number, but of all there are). Labels
of the domain's test stars come from models fitted to the *partner's* embeddings alone: the few labels reach them
through the adapted encoder only. The raw-flux MLP learns from the same few spectra, from all of them, and of mock
NIRSpec from as many as the space was trained with. ::

    python benchmarks/bench_adapt.py --seed {seed} --stars {n_stars}"""


def adapt_section(store, n_stars):
    """The section, or nothing where no row is stored."""
    found = read(store, n_stars)
    if not found:
        return ""
    seed = next(iter(next(iter(found.values())).values()))[0]["seed"]
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n", ABOUT.format(seed=seed, n_stars=n_stars), ""]
    for domain, methods in found.items():
        parts += [text_of(domain, methods), "", curve_table(domain, methods), ""]
    return "\n".join(parts)


def read(store, n_stars):
    """The stored results by domain and method, a list over seeds."""
    found = {}
    for domain in DOMAINS:
        for method in METHODS:
            for path in sorted(store.glob(f"adapt-{domain}-{method}-seed*-stars{n_stars}.json")):
                seed = int(path.stem.rpartition("-seed")[2].partition("-")[0])
                result = json.loads(path.read_text()) | {"seed": seed}
                found.setdefault(domain, {}).setdefault(method, []).append(result)
    return found


def text_of(domain, methods):
    """What the table of a domain shows."""
    title, key = DOMAINS[domain]
    first = next(iter(methods.values()))[0]
    seeds = len({result["seed"] for results in methods.values() for result in results})
    stars = f"{NAMES[key]} of {first['n_test']} test stars; {first['n_few']} spectra to learn from."
    return f"**{title}.** {stars} Seeds: {seeds}{fewer_text(methods)}. {cost_text(methods)}"


def fewer_text(methods):
    """Numbers of spectra that not all seeds of a method have learned from."""
    parts = []
    for name, results in methods.items():
        runs = collections.Counter(size for result in results for size in result["sizes"])
        parts += [f"{n} of ``{name}`` with {size}" for size, n in runs.items() if n < len(results)]
    return f" ({', '.join(parts)})" if parts else ""


def cost_text(methods):
    """Minutes of the space, and of the whole curve of each method."""
    space = spread([r["fit_seconds"] / 60 for results in methods.values() for r in results if "fit_seconds" in r], 1)
    curves = (f"``{name}`` {spread([r['seconds'] / 60 for r in rs], 1)}" for name, rs in methods.items())
    return f"The space took {space} minutes, and the curves (the first one with the space) {', '.join(curves)}."


def curve_table(domain, methods):
    """A row a method, model of labels and label; a column a number of spectra."""
    sizes = sorted({size for rs in methods.values() for r in rs for size in r["sizes"]}, key=int)
    rows = [("label", "method", "labels by", *sizes)]
    for label in labels_of(methods):
        for method, results in methods.items():
            for model in next(iter(results[0]["sizes"].values()))["means"]:
                cells = (cell(results, size, model, DOMAINS[domain][1], label) for size in sizes)
                title = f"{UNITS[label][0]} ({UNITS[label][1]})"
                rows.append((title, method, MODELS[model], *cells))
    return list_table(rows)


def labels_of(methods):
    """Labels of the first row that is stored."""
    entry = next(iter(next(iter(methods.values()))[0]["sizes"].values()))
    return list(next(iter(next(iter(entry["means"].values())).values())))


def cell(results, size, model, key, label):
    """The mean error over draws, over seeds; nothing where it was not asked for."""
    found = [r["sizes"][size]["means"][model][key][label] for r in results if size in r["sizes"]]
    return spread(found, UNITS[label][2]) if found else ""
