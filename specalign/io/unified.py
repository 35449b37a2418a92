"""``read`` and ``write`` of the package's own objects in astropy's unified I/O.

Formats are registered with `astropy.io.registry`, so that ``read.help()``, ``read.list_formats()`` and ``format=`` work
as they do for astropy's tables.  A file is known by its content, and by its ending where that tells nothing.
"""

import contextlib
import os
from pathlib import Path

from astropy.io import registry

from specalign.display import Displayed
from specalign.exceptions import UnknownProductError
from specalign.io.files import NOT_READABLE, existing_file, open_stream

__all__ = ["ReadMethod", "WriteMethod", "register_format"]

#: First bytes, and endings, of the formats of files.
CONTENT = {"fits": b"SIMPLE  =", "ecsv": b"# %ECSV", "parquet": b"PAR1"}
ENDINGS = {"fits": (".fits", ".fit", ".fits.gz"), "ecsv": (".ecsv",), "parquet": (".parquet",)}


def register_format(name, cls, reader, writer):
    """Make a format known for a class.

    Parameters
    ----------
    name : {"fits", "ecsv", "parquet"}
    cls : type
    reader : callable
        ``reader(path)``; its docstring is what ``cls.read.help(name)`` shows.
    writer : callable
        ``writer(object, path)``, all of the file or nothing.

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> EmbeddingTable.read.list_formats()  # register_format was called for each when the class was made
     Format Read Write Auto-identify
    ------- ---- ----- -------------
       ecsv  Yes   Yes           Yes
       fits  Yes   Yes           Yes
    parquet  Yes   Yes           Yes
    """

    def identify(origin, path, fileobj, *args, **options):
        return path is not None and name == (_by_ending(path) if origin == "write" else _by_content(path))

    registry.register_reader(name, cls, reader)
    registry.register_writer(name, cls, writer)
    registry.register_identifier(name, cls, identify)


def _by_ending(path):
    return next((name for name, endings in ENDINGS.items() if str(path).lower().endswith(endings)), None)


def _by_content(path):
    return _by_first_bytes(path) or _by_ending(path)


def _by_first_bytes(path):
    start = b""
    with contextlib.suppress(*NOT_READABLE), open_stream(path) as stream:
        start = stream.read(16)
    return next((name for name, first in CONTENT.items() if start.startswith(first)), None)


def _at_home(path):
    """The path with the user's folder for a tilde; a tilde that is nobody's belongs to the name."""
    return Path(os.path.expanduser(path))


class _Method(Displayed, registry.UnifiedReadWrite):
    verb = ""

    def __init__(self, instance, cls):
        super().__init__(instance, cls, self.verb)

    @property
    def _formats(self):
        return self.registry.get_formats(self._cls, self.verb.capitalize())["Format"].tolist()

    def _facts(self):
        return {"of": self._cls.__name__, "formats": ", ".join(self._formats)}

    def _format(self, path, chosen):
        """The format that was asked for, or that the file has."""
        formats = self._formats
        if chosen is None:
            found = self.registry.identify_format(self.verb, self._cls, str(path), None, [str(path)], {})
            chosen = found[0] if found else None
        if chosen in formats:
            return chosen
        endings = ", ".join(f"{name} ({' '.join(ENDINGS[name])})" for name in formats)
        got = "one that neither the ending nor the content tells" if chosen is None else repr(chosen)
        raise UnknownProductError(f"{path}: {self._cls.__name__} has the formats {endings}, got {got}; pass format=...")


class ReadMethod(_Method):
    """Read a file that ``write`` made.

    Parameters
    ----------
    path : path-like
    format : str, optional
        By default, what the content and the ending tell; see ``read.list_formats()``.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        It is truncated or damaged, or fails its checksum or digest.
    specalign.exceptions.UnknownProductError
        It is something else, or the format is unknown.
    FileNotFoundError

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign import EmbeddingTable
    >>> type(EmbeddingTable.read).__name__
    'ReadMethod'
    >>> table = EmbeddingTable([[3, 4], [1, 0]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 80], [1, 0.9])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.write(Path(folder) / "table.ecsv")
    ...     EmbeddingTable.read(Path(folder) / "table.ecsv")
    <EmbeddingTable apogee: 2 vectors of 2 objects, 2 dimensions>
    """

    verb = "read"

    def __call__(self, path, *, format=None, **options):
        path = existing_file(_at_home(path))
        chosen, found = self._format(path, format), _by_first_bytes(path)
        if found not in (None, chosen):
            raise UnknownProductError(
                f"{path}: this is a {found} file, and format={chosen!r} was asked for; leave it out"
            )
        return self.registry.read(self._cls, path, format=chosen, **options)


class WriteMethod(_Method):
    """Write a file: all of it, or nothing.

    Parameters
    ----------
    path : path-like
    format : str, optional
        By default, what the ending tells; see ``write.list_formats()``.
    overwrite : bool
        Replace a file that is there, at the very end.

    Raises
    ------
    FileExistsError
        A file is there, and ``overwrite`` is False.
    specalign.exceptions.UnknownProductError
        The format is unknown.
    specalign.exceptions.SpectrumError
        What is to be written does not fit into the format.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign import EmbeddingTable
    >>> table = EmbeddingTable([[3, 4], [1, 0]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 80], [1, 0.9])
    >>> type(table.write).__name__
    'WriteMethod'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.write(Path(folder) / "table.fits")
    ...     table.write(Path(folder) / "table.fits", overwrite=True)
    ...     [path.name for path in Path(folder).iterdir()]
    ['table.fits']
    """

    verb = "write"

    def __call__(self, path, *, format=None, overwrite=False, **options):
        path = _at_home(path)
        format = self._format(path, format)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: this file is there already; pass overwrite=True to replace it")
        return self.registry.write(self._instance, path, format=format, **options)
