"""Rows of the accuracy study as JSON files: one a row, seed and number of stars, written whole or not at all."""

import json
import re

from specalign.io.files import atomic_write

NAME = re.compile(r"accuracy-(?P<row>.+)-seed(?P<seed>\d+)-stars(?P<stars>\d+)\.json")


def path_of(folder, row, seed, stars):
    """Where a row is stored."""
    return folder / f"accuracy-{row}-seed{seed}-stars{stars}.json"


def save(folder, row, seed, stars, result):
    """Store a row; a file that is there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, row, seed, stars)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    return path


def load(folder, stars):
    """All stored rows of one size: dict of row to dict of seed to result, seeds in order."""
    found = {}
    for path in folder.glob("accuracy-*.json"):
        name = NAME.fullmatch(path.name)
        if name and int(name["stars"]) == stars:
            found.setdefault(name["row"], {})[int(name["seed"])] = json.loads(path.read_text())
    return {row: dict(sorted(results.items())) for row, results in sorted(found.items())}
