"""The section of ``docs/results.rst`` on every pair of instruments, all four, and stars that are missing."""

import json

from results_tables import UNITS, list_table, spread

TITLE = "Mock survey: every pair, and all four at once"
COLUMNS = {"all": "all four", "all-missing-one": "30 % lack one", "all-missing-each": "each lacks 30 %"}
ABOUT = """One space for all four instruments, against a space for each pair: the same {n} training stars of the mock
survey, the contrast of vectors alone, no label, no option set, and the same {n_test} test stars, which all instruments
have seen. In *30 % lack one* three training stars in ten lack one instrument, drawn at random; in *each lacks 30 %*
every instrument lacks three training stars in ten, independently, so that a quarter of the stars is complete. ::

    python benchmarks/bench_four.py --shared ../shared

recall@1 of a test star of the first instrument among {n_test} of the second, with recall@10 in brackets. Chance is
{chance:.4f}. The raw-flux cosine exists only where two instruments share wavelengths."""
ZERO_SHOT = """Labels of test stars without one label of their own instrument: the mean of the nearest labelled training
stars of another one. RMSE, with the bound and an MLP on the instrument's own labelled raw flux for comparison. [α/M] is
known to APOGEE and NIRSpec only."""
PROBE = """Labels from the instrument's own labelled training stars, on embeddings of each space (small MLP):"""


def four_section(store, n_stars):
    """The section, or nothing where its studies are not stored."""
    studies = read(store, n_stars)
    if not {"all", "references"} <= set(studies):
        return ""
    first = studies["all"][0]
    facts = {"n": max(first["rows"].values()), "n_test": first["n_test"], "chance": 1 / first["n_test"]}
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n", ABOUT.format(**facts), "", retrieval_table(studies), ""]
    parts += [ZERO_SHOT, ""]
    for target in first["rows"]:
        parts += [f"Labels of {target}:", "", zero_shot_table(studies, target), ""]
    parts += [PROBE, "", probe_table(studies), "", f"Seeds: {len(studies['all'])}.\n"]
    return "\n".join(parts)


def read(store, n_stars):
    """The stored results of every study, a list over seeds."""
    found = {}
    for path in sorted(store.glob(f"four-*-stars{n_stars}-seed*.json")):
        study = path.stem.removeprefix("four-").partition("-stars")[0]
        found.setdefault(study, []).append(json.loads(path.read_text()))
    return found


def pair_of(studies, a, b):
    """The results of the space of two instruments alone."""
    return studies.get(f"{a}-{b}") or studies.get(f"{b}-{a}") or []


def retrieval_table(studies):
    """A row a direction: the raw flux, the pair alone, all four, with stars missing, the oracle."""
    references = studies["references"]
    kinds = [name for name in COLUMNS if name in studies]
    rows = [("direction", "raw-flux cosine", "pair alone", *(COLUMNS[name] for name in kinds), "oracle")]
    for direction in studies["all"][0]["retrieval"]:
        cosine = [r["raw-flux cosine"][direction] for r in references if r["raw-flux cosine"][direction]]
        pair = pair_of(studies, *direction.split(" -> "))
        cells = [recall([r["retrieval"][direction] for r in results]) for results in (pair, *map(studies.get, kinds))]
        oracle = spread([r["oracle"][direction] for r in references], 3)
        rows.append((direction, recall(cosine) if cosine else "none", *cells, oracle))
    return list_table(rows)


def recall(figures):
    """recall@1 and, in brackets, recall@10."""
    if not figures:
        return ""
    return f"{spread([f['recall@1'] for f in figures], 3)} ({spread([f['recall@10'] for f in figures], 3)})"


def zero_shot_table(studies, target):
    """A row a source: the pair alone, all four, with stars missing; then what they are compared with."""
    labels = list(studies["references"][0]["bound"][target])
    rows = [("labels from", "space", *(f"{UNITS[x][0]} ({UNITS[x][1]})" for x in labels))]
    for source in (name for name in studies["all"][0]["rows"] if name != target):
        spaces = {"pair alone": pair_of(studies, source, target)}
        spaces |= {title: studies[name] for name, title in COLUMNS.items() if name in studies}
        for title, results in spaces.items():
            rows.append((source, title, *cells([r["zero-shot"][f"{source} -> {target}"] for r in results], labels)))
    own = [r["raw-flux MLP"][target] for r in studies["references"]]
    rows.append((f"{target} itself", "raw-flux MLP", *cells(own, labels)))
    return list_table([*rows, ("bound", "", *bounds(studies, target, labels))])


def probe_table(studies):
    """A row an instrument and space."""
    labels = list(UNITS)
    rows = [("instrument", "space", *(f"{UNITS[x][0]} ({UNITS[x][1]})" for x in labels))]
    for target in studies["all"][0]["rows"]:
        for name, title in COLUMNS.items():
            if name in studies:
                rows.append((target, title, *cells([r["probe"][target]["mlp"] for r in studies[name]], labels)))
        rows.append((target, "bound", *bounds(studies, target, labels)))
    return list_table(rows)


def cells(figures, labels):
    """RMSE of each label, over seeds; nothing where the label is not known."""
    known = [[f[label]["rmse"] for f in figures if label in f] for label in labels]
    return [spread(values, UNITS[label][2]) if values else "" for values, label in zip(known, labels, strict=True)]


def bounds(studies, target, labels):
    """The bound of each label."""
    bound = studies["references"][0]["bound"][target]
    return [f"{bound[label]:.{UNITS[label][2]}f}" if label in bound else "" for label in labels]
