"""The section of ``docs/results.rst`` on outliers, from the stored rows of ``bench_outliers.py``."""

import json

from results_tables import list_table, spread

TITLE = "Outliers: planted ones, and real ones"
FORESTS = ("isolation forest, raw flux", "isolation forest, embeddings")
KINDS = {
    "white-dwarf": "white dwarf",
    "binary": "binary, two spectra summed",
    "emission": "emission lines",
    "wrong-pair": "wrong pair",
    "fault": "instrument's fault",
}
ABOUT = """Five kinds of outliers, each 1 % of the stars of the mock survey ({instruments}), unknown to the training.
The scores of :class:`~specalign.OutlierModel` are calibrated on normal stars that were held out. Figures are average
precisions on test stars, with each kind weighted to 1 % of the normal stars ({n_normal} of these, {n_planted} of a
kind): 0.01 is chance, 1 is perfect. The isolation forest sees what both instruments saw of a star, and learned from
the same held-out stars. The space took {minutes:.0f} minutes. ::

    python benchmarks/bench_outliers.py --seed {seed} --stars {n_stars}"""
ALARMS = """Of the normal stars' spectra, {alarms} % raise an alarm at a stated rate of 1 % (the lowest and the
highest of the scores above)."""
REAL = """**Real spectra.** LAMOST files scored against {n_stars} labelled real stars, which trained or calibrated, and
NIRSpec traces of giants in M71 scored against mock stars, at a false-alarm rate of 1 %, by ``neighbours`` and
``residual``, without a partner. Every M dwarf is a file of the older format and no normal star is: format and type are
confounded, but for the few other stars of the older format. What mock and real NIRSpec spectra differ by counts as
unusual, so that the clean sources may raise alarms there, too. {skipped}The study took {minutes:.0f} minutes."""


def outliers_section(store, n_stars):
    """The section, or nothing where no row is stored."""
    kinds, real = read(store, n_stars), real_rows(store)
    if not kinds and not real:
        return ""
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n"]
    if kinds:
        parts += [about(kinds, n_stars), "", kinds_table(kinds), "", alarms_text(kinds), ""]
    if real:
        parts += [real_text(real), "", real_table(real), ""]
    return "\n".join(parts)


def read(store, n_stars):
    """The stored results of every kind, a list over seeds, and the seeds."""
    found = {}
    for kind in KINDS:
        for path in sorted(store.glob(f"outliers-{kind}-*-stars{n_stars}.json")):
            seed = int(path.stem.rpartition("-seed")[2].partition("-")[0])
            found.setdefault(kind, []).append(json.loads(path.read_text()) | {"seed": seed})
    return found


def real_rows(store):
    """The study of real spectra that learned from the most mock stars, or None."""
    paths = sorted(store.glob("outliers-real-seed*-stars*.json"), key=lambda one: int(one.stem.rpartition("stars")[2]))
    results = [result for result in (json.loads(path.read_text()) for path in paths) if "groups" in result["lamost"]]
    return results[-1] if results else None


def about(kinds, n_stars):
    """What was done, with the numbers of stars."""
    first = next(iter(kinds.values()))[0]
    facts = {"instruments": " and ".join(first["instruments"]), "minutes": first["train_seconds"] / 60}
    return ABOUT.format(**first | facts | {"n_stars": n_stars})


def kinds_table(kinds):
    """A row a method, a column a kind; the share found at 1 % alarms in brackets."""
    first = next(iter(kinds.values()))[0]["methods"]
    rows = [("method", *(KINDS[kind] for kind in kinds))]
    for method in first:
        rows.append((method, *(cell([r["methods"][method] for r in results]) for results in kinds.values())))
    return list_table(rows) + "\n\nIn brackets: the share of the kind that is found at a false-alarm rate of 1 %."


def cell(figures):
    """Average precision, and the share that is found where an alarm is defined."""
    text = spread([f["average_precision"] for f in figures], 2)
    found = [f["found_at_1_percent"] for f in figures if "found_at_1_percent" in f]
    return text + (f" ({spread(found, 2)})" if found else "")


def alarms_text(kinds):
    """The range of the false alarms that were counted."""
    rates = [
        100 * figures["false_alarms_spectra"]
        for results in kinds.values()
        for result in results
        for figures in result["methods"].values()
        if "false_alarms_spectra" in figures
    ]
    return ALARMS.format(alarms=f"{min(rates):.1f} to {max(rates):.1f}")


def real_text(real):
    """What was done, with the files that were not scored, and why."""
    files = [f"``{name}`` ({why})" for name, why in real["lamost"]["skipped_files"].items()]
    skipped = f"Files of M dwarfs that were not scored: {', '.join(files)}. " if files else ""
    return REAL.format(n_stars=real["lamost"]["n_stars"], skipped=skipped, minutes=real["seconds"] / 60)


def real_table(real):
    """A row a group of real spectra."""
    rows = [("spectra", "group", "objects", "outliers", "median p")]
    for name in ("lamost", "nirspec"):
        for group, one in real[name].get("groups", {}).items():
            rows.append((name, group, str(one["n"]), str(one["outliers"]), f"{one['median_p']:.2g}"))
    return list_table(rows)
