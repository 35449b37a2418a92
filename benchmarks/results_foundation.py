"""The section of ``docs/results.rst`` on objectives with decoders, from the stored rows of ``bench_foundation.py``."""

import json

from results_tables import UNITS, list_table, spread

TITLE = "Objectives with decoders, and translated spectra"
WAVELENGTHS, PREDICTED = "results_foundation_wavelengths.png", "clip+predict"  # a figure, of the rows of an objective
PAIRS = {
    "lamost-gaia_xp": "LAMOST and Gaia XP, mock survey",
    "apogee-nirspec": "APOGEE and NIRSpec, mock survey",
    "lamost-real": "Real LAMOST spectra and emulated Gaia XP",
}
METHODS = ("clip", "clip+likelihood", "clip+reconstruct", "clip+predict", "clip+both", "split", "raw-flux")
ABOUT = """Each objective on one pair, trained with labels and the defaults, on the flux as the survey gives it
(``normalized=True``), beside the contrast alone (``clip``) and perceptrons on the raw flux. A row is a command; those
that are not stored have not run::

    python benchmarks/bench_foundation.py --seed 51 --rows lamost-gaia_xp:clip+both

``clip+likelihood`` has no decoder: its embeddings know how uncertain each spectrum is, and stars are found by
likelihood, where the others find them by cosine. Labels are read off the embeddings by a small MLP. *Minutes* are those
of the training alone, on as many *threads*; where these are not stated, it was one, while other programs had a share
(``clip+both`` on LAMOST and Gaia XP: two, for the first minutes beside another program)."""
TRANSLATED = """Spectra of test stars as the other instrument would see them. *Chi-square* is the reduced one: against
the measured spectra, with their noise and the prediction's own variance, and against the noise-free ones, with the
prediction's variance alone; 1 is right, less is cautious. *Scatter* is half the range of the middle 68 % of the
fractional residuals against the measured spectra, whose own noise is part of it, and against the noise-free ones.
The noise-free spectra lack the errors of velocity and flux calibration. An instrument's own vector knows those, so
that the chi-square of a reconstruction against the noise-free spectra is larger than 1; the vector of another
instrument does not know them, and states them as variance: LAMOST's errors of flux calibration make that chi-square
small from XP to LAMOST, and mock XP spectra have none.
The baselines are the mean of the training spectra, and the spectrum of the nearest training star of the target."""
SYNTHETIC = """The XP spectra of this pair are synthetic: an emulator made them of the pipeline's labels, an extinction
and the noise of real sources. A translation is held against that, not against the sky."""

BY_WAVELENGTH = """
.. figure:: {figure}
   :alt: Reduced chi-square and fractional residuals against wavelength, a row of panels for each pair of instruments.
   :width: 100%

   Spectra of test stars predicted from the other instrument (``clip+predict``, mean of all seeds), in twenty bins of
   wavelength: reduced chi-square (grey: 1), and scatter and bias of the fractional residuals. The truth of the last
   row's XP spectra is synthetic, and the real spectra have no noise-free ones.
"""


def foundation_section(store, n_stars):
    """The section, or nothing where no row is stored."""
    found = read(store, n_stars)
    if not found:
        return ""
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n", ABOUT, ""]
    for pair, title in PAIRS.items():
        methods = {name: found[pair, name] for name in METHODS if (pair, name) in found}
        if methods:
            parts += [
                f"**{title}**" + (f". {SYNTHETIC}" if pair == "lamost-real" else ""),
                "",
                space_table(methods),
                "",
            ]
            parts += translations(methods)
    if any(method == PREDICTED for _, method in found):
        parts.append(BY_WAVELENGTH.format(figure=WAVELENGTHS))
    return "\n".join(parts)


def read(store, n_stars):
    """The stored results of every pair and method, a list over seeds."""
    found = {}
    for path in sorted(store.glob(f"foundation-*-stars{n_stars}.json")):
        result = json.loads(path.read_text())
        found.setdefault(tuple(result["row"].split(":")), []).append(result)
    return found


def space_table(methods):
    """A row a method: retrieval both ways, and the labels of each instrument."""
    trained = [results for results in methods.values() if "retrieval" in results[0]]
    ways = list(trained[0][0]["retrieval"]) if trained else []
    labels = next(iter(methods.values()))[0]["labels"]
    head = ("method", "seeds", "minutes", "threads", *(f"``recall@1`` {way}" for way in ways))
    columns = [(name, label) for name in labels for label in next(iter(labels[name].values()))]
    rows = [(*head, *(f"{UNITS[label][0]} of {name} ({UNITS[label][1]})" for name, label in columns))]
    for method, results in methods.items():
        minutes = spread([r["fit_seconds"] / 60 for r in results], 1) if "fit_seconds" in results[0] else ""
        recall = [spread([r["retrieval"][way]["recall@1"] for r in results], 3) if minutes else "" for way in ways]
        cells = [spread([rmse(r, *column) for r in results], UNITS[column[1]][2]) for column in columns]
        rows.append((method, str(len(results)), minutes, threads(results), *recall, *cells))
    if bound := next(iter(methods.values()))[0]["bound"]:
        cells = (f"{bound[name][label]:.{UNITS[label][2]}f}" for name, label in columns)
        rows.append(("bound", "", "", "", *("" for _ in ways), *cells))
    return list_table(rows)


def threads(results):
    """How many the trainings had, where all rows know it."""
    known = {r.get("threads") for r in results}
    return "" if None in known else ", ".join(map(str, sorted(known)))


def rmse(result, name, label):
    """Of the small MLP on embeddings, or of the only method."""
    kinds = result["labels"][name]
    return kinds["mlp" if "mlp" in kinds else next(iter(kinds))][label]["rmse"]


def translations(methods):
    """A row a method and direction."""
    rows = [("translation", "objective", "chi-square", "of noise-free", "scatter", "of noise-free", "stated")]
    for method, results in methods.items():
        for way in results[0].get("translation", {}):
            rows.append((way, method, *figures([r["translation"][way] for r in results])))
    for way, name in baselines_of(methods):
        found = [r["translation"][way]["baselines"][name] for rs in methods.values() for r in rs
                 if name in r.get("translation", {}).get(way, {}).get("baselines", {})]  # fmt: skip
        rows.append((way, name, "", "", percent(found, "scatter"), "", ""))
    return [TRANSLATED, "", list_table(rows), ""] if len(rows) > 1 else []


def figures(found):
    """Cells of one direction."""
    measured, clean = [f["measured"]["all"] for f in found], [f["noise-free"]["all"] for f in found if f["noise-free"]]
    chi2 = spread([f["chi2"] for f in clean], 2) if clean else ""
    cells = (spread([f["chi2"] for f in measured], 2), chi2, percent(measured, "scatter"))
    return *cells, percent(clean, "scatter") if clean else "", percent(measured, "stated")


def percent(found, key):
    """A share over seeds."""
    return spread([100 * f[key] for f in found], 2) + " %"


def baselines_of(methods):
    """Directions between two instruments, and the baselines that they have, once each."""
    ways = {}
    for results in methods.values():
        for way, found in results[0].get("translation", {}).items():
            ways |= {(way, name): None for name in found["baselines"]}
    return list(ways)
