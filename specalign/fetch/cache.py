"""The folder of fetched files: what is in it, whether it is still what came, and one process a file at a time.

Beside ``name.fits`` lies ``.name.fits.manifest.json``, with address, date, size and SHA-256; a file that is not
complete is ``.name.fits.part``.  Neither is a spectrum to whoever reads the folder.
"""

import contextlib
import glob
import hashlib
import json
import os
import warnings
from pathlib import Path

from specalign import __version__
from specalign.config import get_cache_folder
from specalign.exceptions import FetchError, FetchWarning
from specalign.io.files import atomic_write

try:
    import fcntl
except ImportError:  # a system without POSIX locks: processes do not wait for each other, and share no partial files
    fcntl = None

__all__ = ["Cache", "digest", "naming", "read_json", "write_json"]

_POLL = 0.2  # seconds between two looks at a lock


class Cache:
    """The folder of fetched files.

    Parameters
    ----------
    folder : path-like, optional
        By default ``fetch`` in `specalign.config.get_cache_folder`.
    now : callable
        Gives the date as a `~datetime.datetime`.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from specalign.fetch.cache import Cache
    >>> cache = Cache("/data/spectra", lambda: datetime.now(UTC))
    >>> cache.path("lamost", "dr10", "101001.fits").as_posix()
    '/data/spectra/lamost/dr10/101001.fits'
    """

    def __init__(self, folder, now):
        self.folder = Path(folder).expanduser() if folder is not None else get_cache_folder() / "fetch"
        self._now = now

    def path(self, *parts):
        """A path below the folder.

        Raises
        ------
        specalign.exceptions.FetchError
            A part is empty, begins with a dot, or would lead out of the folder.
        """
        for part in parts:
            if not part or part.startswith(".") or set(part) & set("/\\:\0") or part != part.strip():
                raise FetchError(f"expected a plain name for a file or folder, got {part!r}")
        return self.folder.joinpath(*parts)

    def find(self, path, url, warn=True):
        """The manifest of a file that is there and is still what came from ``url``; None where it is not.

        Warns
        -----
        specalign.exceptions.FetchWarning
            The file is there, and its checksum is another one.
        """
        manifest = read_json(manifest_path(path))
        if manifest is None or manifest.get("url") != url or not path.is_file():
            return None
        if path.stat().st_size == manifest.get("size") and digest(path) == manifest.get("sha256"):
            return manifest
        if warn:
            warnings.warn(f"{path} was changed since it was fetched, and is fetched anew", FetchWarning, stacklevel=2)
        return None

    def publish(self, part, path, facts):
        """Write the manifest of a complete file, and give the file its name.

        Parameters
        ----------
        part, path : `~pathlib.Path`
        facts : dict
            What the manifest says beside size, SHA-256, date and version.

        Returns
        -------
        dict
            The manifest.
        """
        manifest = {**facts, "size": part.stat().st_size, "sha256": digest(part)}
        manifest |= {"fetched": self._now().isoformat(timespec="seconds"), "specalign": __version__}
        _sync(part)
        write_json(manifest_path(path), manifest)
        # Last: with its name the partial file loses its lock, and another process may begin at once.
        os.replace(part, path)
        return manifest

    @contextlib.contextmanager
    def only_one(self, path, pause):
        """The partial file of ``path``, held by this thread alone: others wait.

        Parameters
        ----------
        path : `~pathlib.Path`
        pause : callable
            How to wait.

        Yields
        ------
        part : `~pathlib.Path`
            It exists, and may hold what an earlier call left.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part" if fcntl else f".{path.name}.{os.getpid()}.part")
        stream = _held(part, pause)
        if not fcntl:
            stream.close()  # such systems rename no open file
        try:
            _clear(path)
            yield part
        finally:
            stream.close()

    def remove_abandoned(self, folder):
        """Remove the partial files of a folder that nobody holds.

        Parameters
        ----------
        folder : `~pathlib.Path`
            Of files that cannot be resumed.
        """
        for part in folder.glob(".*.part") if fcntl else ():
            with contextlib.suppress(FileNotFoundError), open(part, "rb") as stream:
                if _locked(stream) and _is_at(stream, part):
                    part.unlink()


def _clear(path):
    """Remove what a killed process was about to write beside a file."""
    for left in path.parent.glob(f".*.tmp-.{glob.escape(path.name)}.*"):
        left.unlink(missing_ok=True)


def _held(part, pause):
    """An open, locked file that still has its name; whoever held it before may have finished and renamed it."""
    while True:
        stream = open(part, "ab")  # noqa: SIM115  (the caller closes it)
        try:
            if _locked(stream) and _is_at(stream, part):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()
        pause(_POLL)


def _locked(stream):
    if fcntl is None:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        advice = f"{error.strerror}: this file system has no locks; name a folder on another one with cache="
        raise OSError(error.errno, advice, stream.name) from error
    return True


def _is_at(stream, path):
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def manifest_path(path):
    """Where the manifest of a file lies."""
    return path.with_name(f".{path.name}.manifest.json")


def digest(path, algorithm="sha256"):
    """The checksum of a file, as hexadecimal text.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign.fetch.cache import digest
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a"
    ...     _ = path.write_bytes(b"abc")
    ...     digest(path, "sha1")
    'a9993e364706816aba3e25717850c26c9cd0d89d'
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


@contextlib.contextmanager
def naming(path):
    """System errors that name no file, such as those of a full disk, name this one.

    Examples
    --------
    >>> from specalign.fetch.cache import naming
    >>> with naming("a.fits"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'a.fits'
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def read_json(path):
    """The object in a JSON file; None where there is no such file, or it is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from specalign.fetch.cache import read_json
    >>> read_json(Path("no such file")) is None
    True
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path, content):
    """Write an object as JSON, all or nothing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign.fetch.cache import read_json, write_json
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"size": 3})
    ...     read_json(Path(folder) / "a.json")
    {'size': 3}
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sync(path):
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
