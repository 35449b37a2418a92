"""Open files of any kind, and write files so that nobody ever sees half of one."""

import contextlib
import gzip
import io
import os
import secrets
import zlib
from pathlib import Path

from astropy.io import fits

from specalign.exceptions import CorruptFileError, SpecalignError, SpectrumError

__all__ = [
    "atomic_write",
    "corrupt",
    "existing_file",
    "failing_as_corrupt",
    "misfits_as_corrupt",
    "open_stream",
    "plausible_size",
    "read_bytes",
    "read_text",
    "room",
    "size_of",
]

SMALL = 64 * 2**20  # bytes
EXPANSION = 50
GZIP_MAGIC = b"\x1f\x8b"
NOT_READABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
    fits.VerifyError,
    zlib.error,
)


def corrupt(path, what):
    """A `~specalign.exceptions.CorruptFileError` that names the file and says what to do.

    Examples
    --------
    >>> from specalign.io.files import corrupt
    >>> print(corrupt("a.fits", "ends in row 3"))
    a.fits: ends in row 3. The file is truncated or damaged: fetch or copy it again, and compare its size with ...
    """
    advice = "The file is truncated or damaged: fetch or copy it again, and compare its size with the archive's."
    return CorruptFileError(f"{path}: {what}. {advice}")


def existing_file(path):
    """The path of a file that exists.

    Raises
    ------
    FileNotFoundError
        With the path, and the files beside it when only the ending differs.

    Examples
    --------
    >>> from specalign.io.files import existing_file
    >>> existing_file("nowhere.fits")
    Traceback (most recent call last):
    ...
    FileNotFoundError: nowhere.fits: no such file. Check the path (the current folder is ...).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Check the path (the current folder is {Path.cwd()}).")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: this is a folder, and one file was expected.")
    return path


@contextlib.contextmanager
def open_stream(path, content=None):
    """The bytes of a file, unpacked when they are gzipped, whatever the file is called.

    Examples
    --------
    >>> import gzip
    >>> from specalign.io.files import open_stream
    >>> with open_stream("packed.fits", content=gzip.compress(b"flux")) as stream:
    ...     stream.read()
    b'flux'
    """
    with open(path, "rb") if content is None else io.BytesIO(content) as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream


def read_bytes(path, content=None):
    """All of a file, plain or gzipped, or of ``content``; a packed one gives no more than is plausible.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The compression is damaged, or the file unpacks to more than real files do.

    Examples
    --------
    >>> import gzip
    >>> from specalign.io.files import read_bytes
    >>> read_bytes("a.csv.gz", content=gzip.compress(b"1,2"))
    b'1,2'
    """
    path = existing_file(path) if content is None else path
    with open_stream(path, content) as stream, failing_as_corrupt(path):
        found = stream.read(plausible_size(stream) if isinstance(stream, gzip.GzipFile) else -1)
        if stream.read(1):
            raise corrupt(path, f"the text unpacks to more than {len(found)} bytes, which is not plausible")
    return found


def read_text(path, content=None):
    """The text of a file, plain or gzipped, which must end with a line break: a cut file seldom does.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The file is empty, ends within a line, is not UTF-8, or its compression is damaged.

    Examples
    --------
    >>> from specalign.io.files import read_text
    >>> read_text("a.csv", content=b"flux\\n1.5\\n")
    'flux\\n1.5\\n'
    >>> read_text("a.csv", content=b"flux\\n1.")
    Traceback (most recent call last):
    ...
    specalign.exceptions.CorruptFileError: a.csv: the text ends in the middle of a line. ...
    """
    with failing_as_corrupt(path):
        text = read_bytes(path, content).decode("utf-8")
    if not text.endswith("\n"):
        raise corrupt(path, "the text ends in the middle of a line" if text else "the file is empty")
    return text


@contextlib.contextmanager
def failing_as_corrupt(path):
    """Whatever a reader stumbles over in a file that claims to be a product is a damaged file.

    Examples
    --------
    >>> from specalign.io.files import failing_as_corrupt
    >>> with failing_as_corrupt("a.csv"):
    ...     float("1.5.2")
    Traceback (most recent call last):
    ...
    specalign.exceptions.CorruptFileError: a.csv: the content cannot be interpreted (ValueError: ...). ...
    """
    try:
        yield
    except SpecalignError:
        raise
    except NOT_READABLE as error:
        raise corrupt(path, f"the content cannot be interpreted ({type(error).__name__}: {error})") from error


@contextlib.contextmanager
def misfits_as_corrupt(path):
    """As `failing_as_corrupt`, also where the content can be read, and its parts do not fit together.

    Examples
    --------
    >>> from specalign.exceptions import SpectrumError
    >>> from specalign.io.files import misfits_as_corrupt
    >>> with misfits_as_corrupt("a.fits"):
    ...     raise SpectrumError("mask: expected shape (2, 9), got (1, 9)")
    Traceback (most recent call last):
    ...
    specalign.exceptions.CorruptFileError: a.fits: mask: expected shape (2, 9), got (1, 9). The file is truncated ...
    """
    with failing_as_corrupt(path):
        try:
            yield
        except SpectrumError as error:
            raise corrupt(path, str(error).rstrip(".")) from error


def room(size):
    """Bytes that ``size`` packed bytes may unpack to: real files shrink 2 to 10 times, and bombs 1000 times.

    Examples
    --------
    >>> from specalign.io.files import room
    >>> room(1) // 2**20, room(2**30) // 2**30
    (64, 50)
    """
    return max(SMALL, EXPANSION * size)


def plausible_size(stream):
    """Bytes that an open gzip stream may unpack to.

    Examples
    --------
    >>> import gzip, io
    >>> from specalign.io.files import plausible_size
    >>> plausible_size(gzip.GzipFile(fileobj=io.BytesIO(b""))) // 2**20
    64
    """
    return room(size_of(stream.fileobj))


def size_of(stream):
    """Bytes of an open file or buffer, which stays where it is.

    Examples
    --------
    >>> import io
    >>> from specalign.io.files import size_of
    >>> size_of(io.BytesIO(b"1234"))
    4
    """
    place = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    return size


@contextlib.contextmanager
def atomic_write(path):
    """Write a file under a temporary name in its folder, and give it its own name when all of it is on disk.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        A file that is there is replaced at the very end; after an error it is as it was.

    Yields
    ------
    temporary : `~pathlib.Path`
        Write here.  It ends like ``path``, so that writers that go by the ending do the right thing.

    Raises
    ------
    OSError
        Of the class that the system gave (no space, no permission, ...), with the path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign.io.files import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp-{path.name}")
    try:
        with _naming(path):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _naming(path):
    """System errors that name no file, or the temporary one, name the file that the user asked for."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SpecalignError):
            raise
        if error.errno is None:  # as numpy's, where a disk is full in the middle of an array
            raise OSError(f"{path}: {error} (while writing; nothing was changed)") from error
        raise type(error)(error.errno, f"{error.strerror} (while writing; nothing was changed)", str(path)) from error
