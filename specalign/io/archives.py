"""Members of a zip archive, in memory: nothing is ever written to disk, and no size is believed unchecked."""

import contextlib
import stat
import zipfile
from pathlib import PurePosixPath

from specalign.exceptions import UnknownProductError
from specalign.io.files import corrupt, existing_file, failing_as_corrupt, room

__all__ = ["read_members"]

MAGIC = b"PK\x03\x04"
EMPTY_MAGIC = b"PK\x05\x06"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1


def read_members(path, wanted):
    """The wanted members of a zip archive, and the names of the others.

    Parameters
    ----------
    path : path-like
    wanted : callable
        ``wanted(name)`` says whether the member is read; others are not even unpacked.

    Returns
    -------
    members : list of (str, bytes)
        Names and contents, whose sums were checked.
    others : list of str
        Names of the members that were left.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        The archive is cut, a sum does not fit, a name points outside the archive, a member is a link or encrypted,
        or the sizes that the archive states (in bytes) are not plausible for a file so small.
    specalign.exceptions.UnknownProductError
        It is no zip archive.

    Examples
    --------
    >>> import tempfile, zipfile
    >>> from pathlib import Path
    >>> from specalign.io.archives import read_members
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with zipfile.ZipFile(Path(folder) / "a.zip", "w") as archive:
    ...         archive.writestr("XP.csv", "1")
    ...         archive.writestr("RVS.csv", "2")
    ...     read_members(Path(folder) / "a.zip", lambda name: name.startswith("XP"))
    ([('XP.csv', b'1')], ['RVS.csv'])
    """
    path = existing_file(path)
    _check_magic(path)
    with failing_as_corrupt(path), _failing_as_bad(path), zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        chosen = [info for info in infos if wanted(info.filename)]
        for info in infos:
            _check_name(path, info)
        _check_sizes(path, chosen)
        members = [(info.filename, _content(path, archive, info)) for info in chosen]
    return members, [info.filename for info in infos if info not in chosen]


@contextlib.contextmanager
def _failing_as_bad(path):
    """The errors of zipfile are neither `OSError` nor `ValueError`."""
    try:
        yield
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError) as error:
        raise corrupt(path, f"the zip archive cannot be read ({error})") from error


def _check_magic(path):
    with open(path, "rb") as stream:
        start = stream.read(len(MAGIC))
    if not any(magic.startswith(start) for magic in (MAGIC, EMPTY_MAGIC)):
        raise UnknownProductError(f"{path}: not a zip archive: it begins with {start!r} instead of {MAGIC!r}.")


def _check_name(path, info):
    """A name is only a label here; one that points elsewhere shows that the archive was made to harm."""
    # ``filename`` ends at a NUL and has the system's separators; ``orig_filename`` is what the archive says.
    name = PurePosixPath(info.orig_filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or "\0" in info.orig_filename:
        raise corrupt(path, f"the member {info.orig_filename!r} points outside the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise corrupt(path, f"the member {info.orig_filename!r} is a link, and a file was expected")


def _check_sizes(path, infos):
    size, limit = sum(info.file_size for info in infos), room(path.stat().st_size)
    if size > limit:
        raise corrupt(path, f"its members state {size} bytes, and not more than {limit} are plausible")
    for info in infos:
        if info.flag_bits & ENCRYPTED or info.compress_type not in METHODS:
            raise corrupt(path, f"the member {info.filename!r} is encrypted or packed otherwise than by deflate")


def _content(path, archive, info):
    """The bytes of one member: never more than it states, and zipfile checks its sum at the end."""
    with archive.open(info) as stream:
        content = stream.read(info.file_size)
        if stream.read(1) or len(content) != info.file_size:
            raise corrupt(path, f"the member {info.filename!r} has not the {info.file_size} bytes that it states")
    return content
