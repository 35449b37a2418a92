"""``docs/m71.rst`` from the stored result of ``bench_m71.py``: tables and numbers; the prose is in ``text_m71.py``."""

from figures_m71 import PLANE, SPECTRA, write_figures
from results_tables import UNITS, list_table
from text_m71 import SECTIONS

from specalign.io.files import atomic_write

METHODS = {
    "flow": "flow on NIRSpec embeddings",
    "mlp": "MLP on NIRSpec embeddings",
    "zero-shot": "k-NN from APOGEE embeddings",
    "raw flux": "raw-flux MLP",
}
CLOSENESS = """Cosine of the two embeddings; and the difference of the two fluxes, half its 16-84 % range, and over the
stated noise:"""
NEAREST = (
    """The nearest noiseless mock spectra by χ², without any encoder, and in brackets their labels minus APOGEE's:"""
)
LEVELS = ("50", "80", "95")
DIFFERENCES = """Predicted minus APOGEE, for sources that have its labels, by the best trace of each exposure. In
brackets: the narrowest of the 50, 80 and 95 % intervals that holds APOGEE's label:"""


def write_m71(page, result):
    """Write the page and its two figures."""
    write_figures(page.parent, result)
    with atomic_write(page) as temporary:
        temporary.write_text(page_text(result), encoding="utf-8")


def page_text(result):
    """The page; a text with ``{table}`` in it gets the table of its section."""
    tables = {name: "\n\n".join(build(result)) for name, build in TABLES.items()}
    facts = page_facts(result)
    parts = [text.format(**facts, table=tables.get(name, "")) for name, text in SECTIONS.items()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def page_facts(result):
    """Numbers that stand in the prose."""
    counts, facts = result["rejections"], result["facts"]
    outliers = result["outliers"]
    positions = result["positions"]["mock"]
    out = {"seed": result["seed"], "stars": f"{result['stars']:,}", "code": result["code"]}
    out |= {"n_train": f"{facts['n_train']:,}", "n_kept": f"{facts['n_kept']:,}", "n_test": f"{facts['n_test']:,}"}
    out |= {"minutes": f"{result['seconds'] / 60:.0f}", "fit_minutes": f"{facts['fit_seconds'] / 60:.0f}"}
    out |= {"n_in": counts["in"], "n_out": counts["out"], "n_rejected": counts["rejected"]}
    out |= {"n_giants": result["labels"]["n_giants"], "n_alarms": sum(one["outlier"] for one in outliers["traces"])}
    out |= {"n_inside": sum(not one["domain"] for one in outliers["traces"]), "n_traces": len(outliers["traces"])}
    out |= {"false_alarm": f"{100 * outliers['false_alarm']:.2g} %", "n_normal": outliers["n_normal"]["nirspec"]}
    out |= {"gallery": f"{positions['gallery']:,}", "spectra_figure": SPECTRA, "plane_figure": PLANE}
    out["share"] = " and ".join(f"{100 * one:.0f} %" for one in result["positions"]["figure"]["share"])
    return out


def velocity_table(result):
    """A row a trace."""
    rows = [("trace", "velocity (km/s)", "reliable", "APOGEE (km/s)", "S/N", "good pixels")]
    for one in result["traces"]:
        apogee = result["apogee"].get(one["source"])
        velocity = f"{one['velocity']:.1f} ± {one['velocity_err']:.1f}"
        verdict = "yes" if one["reliable"] else f"no: {one['reason']}"
        known = f"{apogee['velocity']:.1f}" if apogee else "none"
        rows.append((one["trace"], velocity, verdict, known, f"{one['snr']:.0f}", f"{one['good']} of {one['pixels']}"))
    return [list_table(rows)]


def headed(first):
    """Header of a table with a column a label."""
    return (*first, *(f"{title} ({unit})" for title, unit, _ in UNITS.values()))


def number(name, value, sign=""):
    """A value with the digits of its label."""
    return f"{value:{sign}.{UNITS[name][2]}f}"


def label_tables(result):
    """Every trace by the flow; sources with APOGEE labels by every method; errors of mock stars."""
    labels = result["labels"]
    return [
        "Every trace, by the flow, with its error and 80 % interval:",
        flow_table(labels["traces"]["flow"]),
        DIFFERENCES,
        difference_table(result),
        "Root mean square errors of mock test stars, all / giants like M71's:",
        mock_table(labels["mock"]),
    ]


def flow_table(traces):
    """Value, error and interval of each label."""
    rows = [headed(("trace",))]
    for one in traces:
        cells = [
            f"{number(name, x['value'])} ± {number(name, x['err'])} ({number(name, x['lo_80'])} to "
            f"{number(name, x['hi_80'])})"
            for name, x in one["labels"].items()
        ]
        rows.append((one["trace"], *cells))
    return list_table(rows)


def shown_traces(result):
    """Traces of labelled sources, the best of each exposure."""
    best = {}
    for one in result["traces"]:
        key = (one["source"], one["trace"].split(",")[1])
        if one["source"] in result["apogee"] and one["snr"] > best.get(key, (0,))[0]:
            best[key] = one["snr"], one["trace"]
    return [name for _, name in best.values()]


def difference_table(result):
    """A row a trace and method."""
    rows, shown = [headed(("trace", "method"))], shown_traces(result)
    for trace in sorted(shown, key=lambda name: (int(name.split(",")[0]) != 19, name)):
        for method, title in METHODS.items():
            (one,) = (entry for entry in result["labels"]["traces"][method] if entry["trace"] == trace)
            cells = [f"{number(name, x['difference'], '+')} ({held(x)})" for name, x in one["labels"].items()]
            rows.append((trace, title, *cells))
    return list_table(rows)


def held(entry):
    """The narrowest interval that holds the label of the catalogue."""
    return next((f"{level} %" for level in LEVELS if level in entry["held by"]), "none")


def mock_table(mock):
    """A row a method."""
    rows = [headed(("method",))]
    for method, title in METHODS.items():
        every, similar = mock[method]["all"], mock[method]["giants"] or {}
        cells = [f"{number(x, every[x])} / {number(x, similar[x]) if x in similar else '-'}" for x in UNITS]
        rows.append((title, *cells))
    return list_table(rows)


def repeat_tables(result):
    """Pulls between exposures by the method, and cosines, beside mock stars."""
    found = result["repeatability"]
    rows = [headed(("source", "method"))]
    for source in sorted(found["sources"], key=int):
        for method, title in METHODS.items():
            cells = [
                f"{number(name, x['difference'], '+')} ({x['pull']:+.2f})"
                for name, x in found["sources"][source]["labels"][method].items()
            ]
            rows.append((source, title, *cells))
    if found["mock"]:
        for method, title in METHODS.items():
            cells = [f"({found['mock']['pull_68'][method][name]:.2f})" for name in UNITS]
            rows.append(("mock giants, 68 % below", title, *cells))
    head = "Exposure 1 minus exposure 2, and in brackets the same over the predicted error of the difference:"
    return [head, list_table(rows), CLOSENESS, cosine_table(found, result["exposures"])]


def cosine_table(found, exposures):
    """A row a source, and mock stars."""
    rows = [("pair", "cosine", "flux", "flux / stated noise")]
    for source in sorted(found["sources"], key=int):
        flux = exposures[source]
        cells = f"{found['sources'][source]['cosine']:.3f}", f"{flux['scatter']:.4f}", f"{flux['over noise']:.1f}"
        rows.append((f"source {source}, two exposures", *cells))
    for name, title in {"same star": "mock giant, two noise draws", "alike in labels": "two mock giants alike"}.items():
        if found["mock"]:
            low, middle, high = found["mock"]["cosine"][name]
            rows.append((title, f"{middle:.3f} ({low:.3f} to {high:.3f}, 5-95 %)", "", ""))
    return list_table(rows)


def outlier_table(result):
    """A row a trace: p-values, the verdict, and the reasons of the domain."""
    scores = ("neighbours", "residual", "disagreement")
    rows = [("trace", *scores, "all", "outlier", "out of the domain because of")]
    for one in result["outliers"]["traces"]:
        cells = ["-" if one[name] is None else score_cell(one[name]) for name in scores]
        reasons = ", ".join(part.split()[0].replace("_", " ") for part in one["domain"].split("; ") if part)
        rows.append((one["trace"], *cells, f"{one['p']:.3f}", "yes" if one["outlier"] else "no", reasons or "inside"))
    return [list_table(rows)]


def score_cell(score):
    """P-value, and the score itself."""
    return f"{score['p']:.3f} ({score['value']:.2g})"


def gap_table(result):
    """Residuals of source 19 and of mock giants, a row a band."""
    found = result["spectra"]
    rows = [("spectrum", "against", "Å", "scatter", "stated noise", "residual / noise", "slope", "correlation")]
    for title, against in [*found["traces"].items(), ("mock giants, median", found["mock"] or {})]:
        for name, bands in against.items():
            words = {"model": "the mock model", "reconstruction": "the reconstruction"}[name]
            rows += [(title, words, band, *gap_cells(one)) for band, one in bands.items() if one]
    return [list_table(rows), NEAREST, nearest_table(result["nearest"])]


def nearest_table(nearest):
    """Labels of the nearest noiseless mock spectra, and what they differ by from APOGEE."""
    rows = [headed(("trace", "χ² a pixel"))]
    for one in nearest:
        cells = []
        for name, value in one["labels"].items():
            difference = f" ({number(name, one['difference'][name], '+')})" if "difference" in one else ""
            cells.append(number(name, value) + difference)
        rows.append((one["trace"], f"{one['chi2']:.1f}", *cells))
    return list_table(rows)


def gap_cells(one):
    """Figures of one band."""
    return tuple(f"{one[key]:.{digits}f}" for key, digits in GAP_DIGITS.items())


GAP_DIGITS = {"scatter": 4, "noise": 4, "over noise": 1, "slope": 2, "correlation": 2}


def position_table(result):
    """A row a trace with a partner, and mock stars."""
    found = result["positions"]
    rows = [("spectrum", "cosine to the APOGEE spectrum", "rank of it", "cosine to mock NIRSpec of its labels")]
    for one in [*found["traces"], *found["mock twins"]]:
        if one["cosine"] is not None:
            own = one.get("cosine to mock NIRSpec")
            rows.append((one["trace"], f"{one['cosine']:.3f}", f"{one['rank']}", "-" if own is None else f"{own:.3f}"))
    for name, title in {"all": "mock test stars", "giants": "mock giants like M71's"}.items():
        if name in found["mock"]:
            cosine, rank = (found["mock"][name][key] for key in ("cosine", "rank"))
            text = f"{cosine[1]:.3f} ({cosine[0]:.3f} to {cosine[2]:.3f})"
            rows.append((title, text, f"{rank[1]:.0f} ({rank[0]:.0f} to {rank[2]:.0f})", "-"))
    return [list_table(rows)]


def adapt_tables(result):
    """Labels and cosines of each labelled trace before and after, and what mock stars lose."""
    found, shown = result["adaptation"], shown_traces(result)
    states = [("nothing", "", found["before"])]
    states += [(f"source {p}", way, one) for p, ways in found["after"].items() for way, one in ways.items()]
    rows = [headed(("learned from", "by", "trace", "cosine, rank"))]
    for trace in shown:
        for learned, way, state in states:
            if trace.split(",")[0] not in learned.removeprefix("source ").split(", "):
                rows.append((learned, way, trace, *adapt_cells(state, trace)))
    mock = [headed(("learned from", "by"))]
    mock += [(learned, way, *(number(x, s["mock"]["mlp"][x]) for x in UNITS)) for learned, way, s in states]
    head = "Predicted minus APOGEE by an MLP on APOGEE's mock embeddings, of traces that were not learned from:"
    return [
        head,
        list_table(rows),
        "Root mean square errors of mock NIRSpec test stars, by the same MLP:",
        list_table(mock),
    ]


def adapt_cells(state, trace):
    """Cosine and rank of the emulated partner, and the differences of the labels."""
    (one,) = (row for row in state["traces"] if row["trace"] == trace)
    return f"{one['cosine']:.3f}, {one['rank']}", *(number(x, one["mlp"][x]["difference"], "+") for x in UNITS)


def whole_table(result):
    """Labels of source 19 with and without the wavelengths that the mock survey lacks."""
    rows = [headed(("trace", "method", "wavelengths"))]
    for kind, labels in {"cut": result["labels"]["traces"], "whole": result["whole"]["labels"]}.items():
        for method, title in METHODS.items():
            for one in labels[method]:
                if one["trace"].startswith("19,"):
                    cells = [number(name, x["difference"], "+") for name, x in one["labels"].items()]
                    rows.append((one["trace"], title, kind, *cells))
    return [list_table(sorted(rows[:1]) + sorted(rows[1:]))]


TABLES = {
    "velocity": velocity_table,
    "labels": label_tables,
    "repeatability": repeat_tables,
    "outliers": outlier_table,
    "spectra": gap_table,
    "whole": whole_table,
    "positions": position_table,
    "adaptation": adapt_tables,
}


def summary_text(result):
    """Lines for readers of the terminal."""
    lines = [f"{one['trace']}: {one['velocity']:.1f} ± {one['velocity_err']:.1f} km/s" for one in result["traces"]]
    for trace in shown_traces(result):
        for method in METHODS:
            (one,) = (entry for entry in result["labels"]["traces"][method] if entry["trace"] == trace)
            cells = "  ".join(f"{n} {number(n, x['difference'], '+')} ({held(x)})" for n, x in one["labels"].items())
            lines.append(f"{trace:24} {method:10} {cells}")
    alarms = [one["trace"] for one in result["outliers"]["traces"] if one["outlier"]]
    return "\n".join([*lines, f"outliers: {'; '.join(alarms)}"])
