"""A table of figures beside what they are to reach, from stored rows; where a row is missing, it says "not run"."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NOT_RUN = "not run"
MOST_PARTS = 4  # more figures than these in one cell are given as a range


@dataclass(frozen=True)
class Figure:
    """One line: what it is made from, and what it should reach.

    ``values`` takes the results of one seed, a dict of row to result, and gives named numbers, all of which must reach
    ``reach``; those in brackets (names that begin with a bracket) are shown and decide nothing. ``limit`` is a text, or
    takes the results of one seed, ``limit_rows`` among them, and gives a number, or named ones.
    """

    title: str
    rows: tuple
    values: Callable
    reach: float | None = None
    at_least: bool = True
    limit: Callable | str = ""
    digits: int = 2
    limit_rows: tuple = ()


def assemble(figures, stored):
    """Lines of the table, dicts of text: figure, limit, reached, reach, verdict."""
    return [line_of(figure, stored) for figure in figures]


def line_of(figure, stored):
    """One line, with the figures of every seed that all its rows were run with."""
    found = {seed: figure.values(results) for seed, results in seeds_of(figure.rows, stored).items()}
    line = {"figure": figure.title, "limit": limit_of(figure, stored), "reach": reach_of(figure)}
    if not found:
        return line | {"reached": NOT_RUN, "verdict": NOT_RUN}
    reached = "; ".join(f"seed {seed}: {written(values, figure.digits)}" for seed, values in found.items())
    return line | {"reached": reached, "verdict": verdict(figure, found)}


def seeds_of(rows, stored):
    """Results a row, of each seed that is stored for all of them."""
    seeds = set.intersection(*(set(stored.get(row, {})) for row in rows))
    return {seed: {row: stored[row][seed] for row in rows} for seed in sorted(seeds)}


def limit_of(figure, stored):
    """The limit as text: fixed, or the mean over seeds."""
    if not callable(figure.limit):
        return figure.limit
    results = seeds_of((*figure.rows, *figure.limit_rows), stored).values()
    found = [limit if isinstance(limit, dict) else {"": limit} for limit in map(figure.limit, results)]
    return written({name: np.mean([one[name] for one in found]) for name in found[0]}, figure.digits) if found else ""


def reach_of(figure):
    """What is to be reached, as text."""
    if figure.reach is None:
        return "reported"
    return f"{'≥' if figure.at_least else '≤'} {figure.reach:g}"


def written(values, digits):
    """Named numbers in a few words; many of them as a range that names both ends."""
    if len(values) <= MOST_PARTS:
        return ", ".join(
            f"{name} {value:z.{digits}f}{')' * name.startswith('(')}".strip() for name, value in values.items()
        )
    low, high = min(values, key=values.get), max(values, key=values.get)
    return f"{values[low]:.{digits}f} ({low}) to {values[high]:.{digits}f} ({high})"


def verdict(figure, found):
    """Met by every seed and part, or by how much the worst one misses."""
    if figure.reach is None:
        return "reported"
    deciding = [value for values in found.values() for name, value in values.items() if not name.startswith("(")]
    missing = max((figure.reach - value if figure.at_least else value - figure.reach) for value in deciding)
    if missing <= 0:
        return "met"
    least = 10.0**-figure.digits
    return f"missed by {missing:.{figure.digits}f}" if missing >= least else f"missed by less than {least:g}"


def text_of(lines):
    """The table for a terminal: a block a figure."""
    return "\n".join(
        f"{line['figure']}\n    limit {line['limit'] or '-'} | {line['reach']} | {line['reached']} | {line['verdict']}"
        for line in lines
    )
