"""The similarity ops in ``docs/performance.rst``: on the CPU, with its BLAS alone, and on a GPU."""

from performance_rows import read_row
from performance_text import MISSING, circumstances, count, duration, factor, heading, not_measured, paragraph
from results_tables import list_table

ALONE = "the product alone"
FLOORS = {
    "operations, ``torch.mm``": "operations, at the product's rate",
    "operations, tiles' products": "operations, at the rate of the tiles' own products",
    "bytes": "bytes, at the copy's bandwidth",
}
PEAK, MATRIX = "peak above inputs and results", "a float32 matrix of all pairs"
ABOUT = paragraph(
    "``bench_ops.py`` compares every op with what people use: the numbers first, then the times in turns, and medians.",
    "All rows are float32, and of unit length but for those of ``masked_similarity``; the time of ``topk_similarity``",
    "holds the normalisation, that of faiss does not.",
)
FLOOR_TEXT = paragraph(
    "How far from the floors: the operations over the rate of matrix products in float32, by ``torch.mm`` and as the",
    "tiles make them, and the bytes (inputs read once, results written once) over the bandwidth of a copy; each with",
    "its part of the time. ``info_nce`` and ``sigmoid_loss`` need 8 N² D operations for N rows of D columns, since",
    "they compute the similarities twice rather than store them; a search 2 Q M D, ``masked_similarity`` 6 N M P.",
)
GPU = paragraph(
    "**Not measured on a GPU.** The Triton kernels are tested in Triton's interpreter, and compiled for Hopper GPUs,",
    "but they have never run on a device, and nothing is known of their speed. One call measures them, and checks",
    "their numbers first; it needs torch and triton alone, from a checkout::",
)


class Case:
    """One stored case: what it is called, its lines by what they say, and how long the project took."""

    def __init__(self, record):
        self.name, self.title = record["name"], record["title"].split(" (")[0]
        self.lines = {line["what"]: line for line in record["lines"]}
        self.rates = record["rates"]
        own = [line["seconds"] for what, line in self.lines.items() if what.startswith("specalign")]
        self.seconds = own[0] if own else None

    @property
    def time(self):
        return MISSING if self.seconds is None else duration(self.seconds)

    def peers(self):
        """Names of the peers, and how many times as fast as each the project is; None where the peer was missing."""
        out = {}
        for what, line in self.lines.items():
            if what.startswith(("specalign", "check", *FLOORS.values(), ALONE, PEAK)):
                continue
            if line["note"].startswith(MISSING):
                out[what] = None
            elif line["seconds"] is not None and self.seconds is not None:
                extrapolated = f" ({line['note'].split(',')[0].lower()})" if "EXTRAPOLATED" in line["note"] else ""
                out[what + extrapolated] = line["seconds"] / self.seconds
        return out

    def share(self, floor):
        """Seconds of a floor and the part of the project's time that it is."""
        line = self.lines.get(floor, {"seconds": None})
        return None if line["seconds"] is None else (line["seconds"], line["figure"])


def cases_of(row, memory=False):
    """The stored cases of times, or those of memory."""
    records = row["cases"].values()
    return [Case(record) for record in records if record["name"].startswith("memory-") == memory]


def ops_section(store):
    """All ops on the CPU."""
    text = heading("Similarity") + ABOUT
    row = read_row(store, "ops")
    if row is None:
        return text + not_measured("bench_ops.py")
    times = cases_of(row)
    text += paragraph(circumstances(row), f"Each contender ran {row['repeats']} times:")
    text += peer_table(times) + neighbour_text(times)
    text += FLOOR_TEXT + floor_table(times) + rate_text(times) + blas_text(times, store)
    text += paragraph(
        "Memory at its peak, above inputs, gradients and results, in a fresh process each; and of a float32 matrix",
        "of all pairs, which is computed (for ``masked_similarity`` it is the result):",
    )
    return text + memory_table(cases_of(row, memory=True)) + help_text(times)


def peer_table(cases):
    """A row a case and peer."""
    rows = [("what", "time", "against", "times as fast")]
    for case in cases:
        first = (case.title, case.time)
        for peer, ratio in case.peers().items() or {MISSING: None}.items():
            rows.append((*first, peer, MISSING if ratio is None else factor(ratio)))
            first = ("", "")
    return list_table(rows) + "\n\n"


def neighbour_text(cases):
    """How many lists of neighbours are those of faiss."""
    cases = [case for case in cases if "identical lists of neighbours" in case.lines]
    if not cases:
        return ""
    share = {case.title: case.lines["identical lists of neighbours"]["figure"] for case in cases}
    other = "; ".join(f"{figure:.1f} % ({title})" for title, figure in share.items() if figure < 100)
    worst = max(case.lines["check: cosines where the neighbours differ"]["figure"] for case in cases)
    same = sum(figure == 100 for figure in share.values())
    return paragraph(
        f"In {same} of {len(cases)} searches all lists of neighbours were those of faiss.",
        other and f"Identical in the others: {other}; where they differ, the cosines agree to {worst:.1g}.",
    )


def floor_table(cases):
    rows = [("", "measured", *FLOORS)]
    for case in cases:
        shares = [case.share(floor) for floor in FLOORS.values()]
        cells = [MISSING if share is None else f"{duration(share[0])} ({share[1]:.2g} %)" for share in shares]
        rows.append((case.title, case.time, *cells))
    return list_table(rows) + "\n\n"


def rate_text(cases):
    """Whether a floor lies above the time, and the rates that say why."""
    shares = [case.share(FLOORS["operations, ``torch.mm``"]) for case in cases]
    over = sum(share is not None and share[1] > 100 for share in shares)
    rates = {name: [case.rates[name] for case in cases if case.rates.get(name)] for name in ("product", "own products")}
    whole, tiles = map(spread, rates.values())
    said = f"``torch.mm`` reached {whole} GFLOP/s in this run, and the products of the tiles {tiles}."
    if not over:
        return paragraph(said)
    return paragraph(
        f"More than a hundred per cent ({over} of {len(cases)} cases) is no mistake. {said} ``torch.mm``, and all",
        "peers that use torch with it, call the BLAS of torch's builds; the tiles call oneDNN, where it serves. On a",
        "processor for which that BLAS is as quick as oneDNN, the ratios above will be smaller.",
    )


def spread(rates):
    """From the lowest to the highest, in units of a billion."""
    return " to ".join(dict.fromkeys(count(rate / 1e9) for rate in (min(rates), max(rates)))) if rates else MISSING


def blas_text(cases, store):
    """The same with the BLAS for the tiles as well."""
    row = read_row(store, "ops-blas")
    if row is None:
        return not_measured("bench_ops.py --blas", " with the BLAS of torch for the tiles as well") + "\n"
    other = {case.name: case for case in cases_of(row)}
    rows = [("what", "as above", "BLAS alone", "against", "times as fast as above", "with BLAS alone")]
    for case in cases:
        if case.name not in other:
            continue
        peers, again = case.peers(), other[case.name].peers()
        peer = next((name for name in peers if peers[name] and again.get(name)), None)
        ratios = [MISSING, MISSING] if peer is None else [factor(found[peer]) for found in (peers, again)]
        rows.append((case.title, case.time, other[case.name].time, peer or "", *ratios))
    about = paragraph(
        "With the BLAS of torch for the tiles as well (``--blas``), in a run of its own.", circumstances(row)
    )
    return about + list_table(rows) + "\n\n"


def memory_table(cases):
    rows = [("op", "measured", "a matrix of all pairs")]
    for case in cases:
        found = [case.lines.get(what) for what in (PEAK, MATRIX)]
        cells = [f"{count(line['figure'])} MB" if line and line["figure"] is not None else MISSING for line in found]
        rows.append((case.title.removeprefix("memory of "), *cells))
    return list_table(rows) + "\n\n"


def help_text(cases):
    """Every peer that was quicker, and what is known of why."""
    rows = [("what", "time", "against", "its time", "times as fast")]
    for case in cases:
        slower = {peer: ratio for peer, ratio in case.peers().items() if ratio is not None and ratio < 1}
        rows += [(case.title, case.time, peer, duration(case.seconds * r), factor(r)) for peer, r in slower.items()]
    text = heading("Where it does not help", "^").lstrip("\n")
    if len(rows) == 1:
        text += paragraph("In this run, no peer was quicker.")
    else:
        text += paragraph("Where a peer was quicker in this run:") + list_table(rows) + "\n\n"
        text += paragraph(
            "A call costs something whatever its size, so that the usual formula can win for small batches."
        )
    return text + paragraph(rising_text(cases), "The losses have no second derivative.").removesuffix("\n")


def rising_text(cases):
    """A gallery in the worst order."""
    cases = {case.name: case for case in cases if case.seconds is not None}
    if not {"topk-128-rising", "topk-128-random"} <= set(cases):
        return ""
    rising, random = cases["topk-128-rising"], cases["topk-128-random"]
    return (
        "A gallery whose rows come in the order of their similarity to all the queries, most similar last, makes the "
        f"search look at every row of it: {rising.time}, {factor(rising.seconds / random.seconds)} times as long as "
        f"for random rows ({random.time})."
    )


def cuda_section(store):
    """The kernels for GPUs, of which there may be no row."""
    text, row = heading("On a GPU"), read_row(store, "ops-cuda")
    if row is None:
        return text + GPU + "    python benchmarks/bench_ops_cuda.py --store\n"
    text += paragraph(f"``bench_ops_cuda.py`` on one {row['facts']['device']}.", circumstances(row))
    return text + "\n".join(map(case_table, row["cases"].values()))


def case_table(record):
    """Every line of a case."""
    rows = [("", "time", "figure", "remark")]
    for line in record["lines"]:
        figure = "" if line["figure"] is None else f"{line['figure']:.3g} {line['unit']}"
        rows.append((line["what"], duration(line["seconds"]) if line["seconds"] else "", figure, line["note"]))
    return heading(record["title"], "^").lstrip("\n") + list_table(rows) + "\n"
