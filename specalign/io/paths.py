"""Files that names, folders and patterns stand for."""

import glob
from pathlib import Path

__all__ = ["ENDINGS", "expand"]

ENDINGS = (".fits", ".fits.gz", ".fit", ".fit.gz", ".csv", ".csv.gz")


def expand(patterns):
    """The files that names, folders and patterns stand for, without repeats, sorted within each.

    Parameters
    ----------
    patterns : sequence of path-like

    Returns
    -------
    list of `~pathlib.Path`

    Raises
    ------
    FileNotFoundError
        A name or pattern stands for no file.
    """
    return list(dict.fromkeys(path for pattern in patterns for path in _expand(str(pattern))))


def _expand(pattern):
    path = Path(pattern)
    if path.is_dir():
        found = [inner for inner in path.rglob("*") if inner.is_file() and inner.name.lower().endswith(ENDINGS)]
    else:
        found = [path] if path.is_file() else [Path(name) for name in glob.glob(pattern, recursive=True)]
    if not found:
        raise FileNotFoundError(
            f"expected a file, a folder with {', '.join(ENDINGS[::2])} files or a pattern: {pattern!r}"
        )
    return sorted(found)
