"""Rows of the accuracy study as JSON files: one a row, seed and number of stars, written whole or not at all."""

import hashlib
import json
import re
from pathlib import Path

import specalign
from specalign.io.files import atomic_write

NAME = re.compile(r"accuracy-(?P<row>.+)-seed(?P<seed>\d+)-stars(?P<stars>\d+)\.json")


def path_of(folder, row, seed, stars):
    """Where a row is stored."""
    return folder / f"accuracy-{row}-seed{seed}-stars{stars}.json"


def code_digest():
    """Twelve digits of the SHA-256 of the package's modules without its tests: which defaults made a row."""
    root = Path(specalign.__file__).parent
    paths = sorted(path for path in root.rglob("*.py") if "tests" not in path.relative_to(root).parts)
    names = (f"{path.relative_to(root).as_posix()}\0{path.read_text(encoding='utf-8')}" for path in paths)
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:12]


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
