"""Files that names, folders and patterns stand for."""

import glob
from pathlib import Path

__all__ = ["ENDINGS", "WRITTEN", "expand"]

_PLAIN = (".fits", ".fit", ".csv", ".ecsv", ".xml", ".vot", ".votable")
#: Endings of the files that a folder stands for: of every format that some reader takes.
ENDINGS = (*_PLAIN, *(f"{ending}.gz" for ending in _PLAIN), ".zip", ".parquet")
WRITTEN = (".fits", ".fits.gz")  #: those of prepared spectra and of embeddings
# Tables that the package itself puts beside spectra: of rejected rows, and of the labels of a mock survey.
OWN_TABLES = ("rejected.ecsv", "labels.ecsv", "catalogue.ecsv")


def expand(patterns, endings=ENDINGS):
    """The files that names, folders and patterns stand for, without repeats, sorted within each.

    A folder stands for all files below it with one of the endings, but for the package's own tables (``rejected.ecsv``,
    and ``labels.ecsv`` and ``catalogue.ecsv`` of a mock survey).  A file that is named, or that a pattern fits, is
    taken whatever it is called, so that it is read or rejected with a reason.

    Parameters
    ----------
    patterns : sequence of path-like
    endings : tuple of str
        Of the files that a folder stands for.

    Returns
    -------
    list of `~pathlib.Path`

    Raises
    ------
    FileNotFoundError
        A name or pattern stands for no file.
    """
    return list(dict.fromkeys(path for pattern in patterns for path in _expand(str(pattern), endings)))


def _expand(pattern, endings):
    path = Path(pattern)
    if path.is_dir():
        found = [inner for inner in path.rglob("*") if inner.is_file() and _is_wanted(inner.name, endings)]
    else:
        found = [path] if path.is_file() else [Path(name) for name in glob.glob(pattern, recursive=True)]
    if not found:
        shown = ", ".join(ending for ending in endings if not ending.endswith(".gz"))
        raise FileNotFoundError(f"expected a file, a folder with {shown} files or a pattern: {pattern!r}")
    return sorted(found)


def _is_wanted(name, endings):
    return name.lower().endswith(endings) and name not in OWN_TABLES
