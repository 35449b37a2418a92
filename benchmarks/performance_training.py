"""The section of ``docs/performance.rst`` on training, from the row ``throughput`` of the accuracy study."""

from accuracy_store import load
from bench_results import FULL_SIZE
from performance_text import circumstances, count, duration, heading, not_measured, paragraph
from results_tables import list_table

COMMAND = "bench_accuracy.py --seed 31 --stars 20000 --rows throughput"
WAITING = 0.1  # the share of a step that data may take
HEADS = ("stars", "spectra", "spectra a second", "one pass", "waiting", "before the first step", "the rest")


def training_section(store):
    """Spectra a second, what a step waits for, and how both grow with the number of stars."""
    text = heading("Training") + paragraph(
        "The row ``throughput`` of ``bench_accuracy.py`` trains an aligner of LAMOST and Gaia XP with labels and the",
        "defaults, for a few epochs each time, on more and more stars. *Waiting* is the share of the steps between",
        "asking for a batch and having it; before the first step come splits, scalers and first weights, and the rest",
        "is validation and what is fitted to the trained space.",
    )
    results = load(store, FULL_SIZE).get("throughput")
    if not results:
        return text + not_measured(COMMAND, options="")
    row = results[max(results)]
    where = paragraph(circumstances(row), f"{row['epochs']} epochs each:")
    return text + where + list_table([HEADS, *map(cells, row["sizes"])]) + "\n\n" + growth(row["sizes"])


def cells(size):
    """One number of stars."""
    rest = size["fit_seconds"] - size["before_seconds"] - size["step_seconds"]
    return (
        count(size["stars"]),
        count(size["spectra"]),
        count(size["spectra_per_second"]),
        duration(size["spectra"] / size["spectra_per_second"]),
        f"{100 * size['waiting_share']:.1f} %",
        duration(size["before_seconds"]),
        duration(rest),
    )


def growth(sizes):
    """In words: how the time of a pass grows, and whether the data are quick enough."""
    first, last = sizes[0], sizes[-1]
    times = [size["spectra"] / size["spectra_per_second"] for size in (first, last)]
    worst = max(size["waiting_share"] for size in sizes)
    kept = "less" if worst < WAITING else "not less"
    return paragraph(
        f"A pass over {last['spectra'] / first['spectra']:.1f} times as many spectra takes {times[1] / times[0]:.1f}",
        f"times as long. The longest waiting is {100 * worst:.1f} % of the steps, which is {kept} than the",
        f"{100 * WAITING:.0f} % that it may be.",
    ).removesuffix("\n")
