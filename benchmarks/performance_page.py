"""``docs/performance.rst`` from the rows that the programs in ``benchmarks/`` stored with ``--store``.

    python benchmarks/performance_page.py

Every figure on the page is one of a row, or computed from some.  A section is a function of the folder of the rows, in
`SECTIONS`; one that finds no row says so, with the command that measures it.
"""

import argparse
from pathlib import Path

from performance_ops import cuda_section, ops_section
from performance_rows import STORE, read_row
from performance_text import MISSING, circumstances, count, duration, factor, heading, not_measured, paragraph
from performance_training import training_section
from results_tables import list_table

PAGE = STORE.parents[1] / "docs" / "performance.rst"
HEAD = """.. This page is written by benchmarks/performance_page.py; do not edit it by hand.

.. _performance:

Performance
===========

Speed is measured, not claimed: the programs in ``benchmarks/`` run the package and its peers in one process on the same
input, in turns, since absolute times depend on the machine. With ``--store`` they keep what they measured as JSON
(``benchmarks/results``), and this page is made of that alone::

    python benchmarks/performance_page.py
"""
QUICK = """
What makes it quick
-------------------

* Velocity and grid are one operation, a compiled loop over the overlaps of old and new pixels, in blocks of rows
  that fit into the cache. It never builds a matrix and never interpolates twice.
* Inside the package, spectra are rows of float32 arrays. A `specutils.Spectrum` is made where spectra enter and
  leave{cost}.
* Search is exact and in tiles; nothing of the size queries times gallery is stored. Of a tile, only groups of rows
  whose best is better than the k-th best so far are looked at.
* Losses compute a tile of similarities, use it for rows and columns alike while it is in the cache, and compute it
  again for the gradient. One exponential a pair serves both directions, where the range of float32 allows it.
"""
KINDS = ("", "processor_")  # of seconds
PREPARED = {
    "specutils": "specutils ``FluxConservingResampler``",
    "spectres": "spectres",
    "resample_rows, one velocity": "``resample_rows``, one velocity",
    "resample_rows, a velocity each": "``resample_rows``, a velocity each",
    "prepare_arrays, one velocity": "``prepare_arrays``, one velocity",
    "prepare_arrays, a velocity each": "``prepare_arrays``, a velocity each",
}
STARTED = {
    "import specalign": "``import specalign``, which imports little",
    "import torch": "``import torch``, by the first call that needs it",
    "resample_rows": "the first call of ``resample_rows``",
    "import pynndescent": '``import pynndescent``, by ``search(method="pynndescent")``',
}


def prepare_section(store):
    """Resampling and preparing against the peers."""
    text = heading("Preparing spectra") + paragraph(
        "``bench_prepare.py`` compares preparing with specutils' ``FluxConservingResampler`` and spectres: resampling",
        "alone, for one common velocity and for a velocity each, and the whole of ``prepare_arrays``.",
    )
    row = read_row(store, "prepare")
    if row is None:
        return text + not_measured("bench_prepare.py")
    text += paragraph(
        circumstances(row),
        f"{count(row['spectra'])} spectra of {count(row['pixels'])} pixels with inverse variance and mask onto",
        f"{count(row['grid'])} pixels, the best of {row['repeats']} rounds. The peers get flux and uncertainty of one",
        "spectrum at a time, and no mask, which they do not know; they are timed on",
        f"{row['peer_spectra']} of the spectra. The processor time is that of all threads together.",
    )
    cost, cpu = ({name: min(times) for name, times in row[f"{kind}seconds_a_spectrum"].items()} for kind in KINDS)
    rows = [("", "a spectrum", "processor time", "times as fast as specutils", "times as fast as spectres")]
    for name, title in PREPARED.items():
        ratios = [factor(cost[peer] / cost[name]) for peer in ("specutils", "spectres")]
        rows.append((title, duration(cost[name]), duration(cpu[name]), *ratios))
    return text + list_table(rows) + "\n"


def velocity_section(store):
    """Velocities against templates."""
    text = heading("Velocities") + paragraph("``bench_velocity.py`` measures spectra against templates at rest.")
    row = read_row(store, "velocity")
    if row is None:
        return text + not_measured("bench_velocity.py")
    seconds = min(row["seconds"])
    pairs = count(row["spectra"] * row["templates"] / seconds)
    return text + paragraph(
        circumstances(row),
        f"{count(row['spectra'])} spectra of {count(row['pixels'])} pixels with inverse variance and mask, against",
        f"{count(row['templates'])} templates within {count(row['max_velocity'])} km/s, in steps of",
        f"{row['step']:.1f} km/s: {duration(seconds)}, the best of {row['repeats']} rounds, or",
        f"{pairs} pairs of spectrum and template a second{goal_text(row)}. At a signal-to-noise ratio of",
        f"{row['snr']:.0f}, {100 * row['reliable']:.1f} % of the velocities are reliable;",
        f"their deviations over their errors have a mean of {row['pull_mean']:+.2f} and a width of",
        f"{row['pull_std']:.2f} (right are zero and one).",
    ).removesuffix("\n")


def goal_text(row):
    """Whether the seconds that were to be reached at full size were."""
    if row["goal_seconds"] is None:
        return ""
    reached = "is reached" if min(row["seconds"]) <= row["goal_seconds"] else "is not reached"
    return f" (the goal of {duration(row['goal_seconds'])} {reached})"


def quick_section(store):
    """Why, in words; what a Spectrum costs is a figure."""
    row = read_row(store, "prepare")
    cost = ""
    if row is not None:
        seconds, size = min(row["seconds_a_spectrum"]["Spectrum"]), row["bytes_of_a_spectrum"]
        cost = f"; one of {count(row['grid'])} pixels takes {duration(seconds)} and {count(size / 1e3)} kB"
    return QUICK.format(cost=cost)


def start_section(store):
    """What a process waits for once."""
    text = heading("What costs") + paragraph(
        "``bench_start.py`` times what a process waits for once, in fresh processes. Loops are compiled after an",
        "installation, and kept for the next process.",
    )
    row = read_row(store, "start")
    if row is None:
        return text + not_measured("bench_start.py")
    rows = [("", "after an installation", "in the next process")]
    for name, title in STARTED.items():
        times = row["seconds"].get(name)
        rows.append((title, *(duration(min(times[turn])) if times else MISSING for turn in ("first", "next"))))
    return text + paragraph(circumstances(row), f"The best of {row['repeats']} times:") + list_table(rows) + "\n"


SECTIONS = (
    prepare_section,
    velocity_section,
    training_section,
    ops_section,
    cuda_section,
    quick_section,
    start_section,
)


def write_page(path, store):
    """Write the page from the stored rows."""
    path.write_text(HEAD + "".join(section(store) for section in SECTIONS), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=STORE, help="the folder of the rows")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    write_page(options.page, options.store)


if __name__ == "__main__":
    main()
