"""What the programs store for ``docs/performance.rst``: a JSON file a program, and on what machine it ran.

This needs the standard library alone, since the program for GPUs runs where little else is installed.
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

STORE = pathlib.Path(__file__).resolve().parent / "results"


def add_store_option(parser):
    """``--store``, which takes the usual folder if it is given none."""
    parser.add_argument(
        "--store",
        type=pathlib.Path,
        nargs="?",
        const=STORE,
        metavar="FOLDER",
        help="keep the figures for docs/performance.rst (then run benchmarks/performance_page.py)",
    )


def facts(*packages):
    """Date, processor, load and versions; to be asked for before the work begins, which is itself a load."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def processor():
    """The family of the processor, as the system names it."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def version(package):
    """The version of an installed package, as pip says it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def path_of(folder, name):
    return folder / f"performance-{name}.json"


def store_row(folder, name, row):
    """Write what one program measured."""
    folder.mkdir(parents=True, exist_ok=True)
    path_of(folder, name).write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def read_row(folder, name):
    """What was stored last, or None."""
    path = path_of(folder, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
