"""Weights in safetensors, everything else in JSON, digests of both; nothing in a file is ever executed.

A folder holds ``aligner.json`` (or the description of another `Kind`) and one weights file that it names together with
its size and SHA-256.  The JSON is written last, by renaming, so that a reader sees the old one or the new one, whole.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from specalign.exceptions import CheckpointError
from specalign.io.files import atomic_write

__all__ = [
    "ALIGNER",
    "ENCODER",
    "REGRESSOR",
    "Kind",
    "add_member",
    "checked_content",
    "load_checkpoint",
    "read_description",
    "read_member",
    "read_tensors",
    "save_checkpoint",
    "serialized",
    "stated_member",
    "weights_digest",
    "write_description",
]

VERSION = 1
LARGEST_DESCRIPTION = 16 * 2**20  # bytes
LARGEST_HEADER = 2**20  # bytes; a header takes about 100 a tensor


@dataclass(frozen=True)
class Kind:
    """What is saved: its name, that of its description, and how the names of its weights begin.

    Two kinds can lie in one folder.
    """

    name: str
    description: str
    prefix: str

    @property
    def format(self):
        """What the description says of itself."""
        return f"specalign {self.name}"


ALIGNER = Kind("aligner", "aligner.json", "weights")
REGRESSOR = Kind("label regressor", "regressor.json", "regressor")
ENCODER = Kind("encoder", "encoder.json", "encoder")


def weights_digest(tensors):
    """SHA-256 of the tensors as they are stored."""
    return hashlib.sha256(serialized(tensors)).hexdigest()


def serialized(tensors):
    """Named tensors as the bytes of a safetensors file.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.checkpoint import serialized
    >>> serialized({"b": torch.zeros(2), "a": torch.ones(1)})[8:53]
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets'
    """
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())})


def save_checkpoint(folder, description, tensors, kind=ALIGNER):
    """Write a description (JSON-like) and tensors; an older one of its kind in the folder is replaced at once."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entry = add_member(folder, kind.prefix, ".safetensors", serialized(tensors))
    whole = {"format": kind.format, "version": VERSION, "weights": entry, **description}
    write_description(folder / kind.description, whole)
    for other in folder.iterdir():
        if _is_member(other.name, kind.prefix, ".safetensors") and other.name != entry["file"]:
            other.unlink()


def add_member(folder, stem, suffix, content):
    """Write a file whose name contains its digest; returns what a description says of it."""
    digest = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{digest[:16]}{suffix}"
    _write(folder / name, content)
    return {"file": name, "sha256": digest, "bytes": len(content)}


def _is_member(name, stem, suffix):
    return re.fullmatch(rf"{stem}-[0-9a-f]{{16}}{re.escape(suffix)}", name) is not None


def write_description(path, value):
    """Write JSON-like facts with their own digest: all of them, or nothing."""
    _write(path, _canonical(value | {"sha256": _digest(value)}))


def _write(path, content):
    with atomic_write(path) as temporary:
        Path(temporary).write_bytes(content)


def _canonical(value):
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _digest(value):
    return hashlib.sha256(_canonical(value)).hexdigest()


def load_checkpoint(folder, kind=ALIGNER):
    """The description and the tensors of a folder that `save_checkpoint` wrote.

    Raises
    ------
    CheckpointError
        Files are missing, were changed, or are not ours; the message names the file.
    """
    folder = Path(folder)
    description = read_description(folder / kind.description, kind)
    path, content = stated_member(folder, description.get("weights"), kind, "weights", kind.prefix, ".safetensors")
    return description, read_tensors(path, content)


def read_tensors(path, content):
    """Named tensors from the bytes of a safetensors file; ``path`` is for messages.

    Raises
    ------
    CheckpointError
        The bytes are something else.
    """
    _check_header(path, content)
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}); {_COPY}") from error


_COPY = "copy the folder again from where it was saved, or train anew"


def read_member(path, largest, kind=ALIGNER):
    """Content of a regular file; at most one byte more than the stated size is ever read."""
    try:
        if path.is_symlink() or not path.is_file():
            raise CheckpointError(f"{path}: expected a file of a saved {kind.name}, found none; {_COPY}")
        with open(path, "rb") as file:
            # a stated size must not be allocated before there are so many bytes
            return file.read(max(0, min(largest, path.stat().st_size)) + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def read_description(path, kind=ALIGNER, version=VERSION):
    """What `write_description` wrote: a dict whose ``format`` and ``version`` are those, and whose digest fits.

    Raises
    ------
    CheckpointError
    """
    content = read_member(path, LARGEST_DESCRIPTION, kind)
    if len(content) > LARGEST_DESCRIPTION:
        raise CheckpointError(f"{path}: expected at most {LARGEST_DESCRIPTION} bytes of JSON, found more; not ours")
    try:
        value = json.loads(content.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON ({type(error).__name__}: {error}); {_COPY}") from error
    if not isinstance(value, dict) or value.get("format") != kind.format:
        raise CheckpointError(
            f"{path}: expected a description with format {kind.format!r}; this is not a saved {kind.name}"
        )
    if value.get("version") != version:
        raise CheckpointError(
            f"{path}: expected version {version} of the format, got {value.get('version')!r}; update specalign"
        )
    stated = value.pop("sha256", None)
    if stated != _digest_or_none(value) or content != _canonical(value | {"sha256": stated}):
        raise CheckpointError(f"{path}: the content does not have the digest that it states; {_COPY}")
    return value


def _digest_or_none(value):
    try:
        return _digest(value)
    except ValueError:  # NaN, which we never write
        return None


def stated_member(folder, entry, kind, what, stem, suffix):
    """Path and content of a file that `add_member` wrote, if they are as the description's ``entry`` says.

    Raises
    ------
    CheckpointError
    """
    description, expected = folder / kind.description, {"file": str, "sha256": str, "bytes": int}
    if not isinstance(entry, dict) or {k: type(v) for k, v in entry.items()} != expected:
        raise CheckpointError(f"{description}: expected {what} with file, sha256 and bytes, got {entry!r}")
    if not _is_member(entry["file"], stem, suffix):
        raise CheckpointError(
            f"{description}: expected a {what} file in this folder called {stem}-*{suffix}, got {entry['file']!r}"
        )
    path = folder / entry["file"]
    return path, checked_content(path, entry, kind)


def checked_content(path, entry, kind):
    """Content of a file, if it has the ``bytes`` and the ``sha256`` of the entry.

    Raises
    ------
    CheckpointError
    """
    content = read_member(path, entry["bytes"], kind)
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path}: the content does not have the digest that {kind.description} states; {_COPY}")
    return content


def _check_header(path, content):
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(LARGEST_HEADER, len(content) - 8):
        raise CheckpointError(
            f"{path}: expected a safetensors header of at most {min(LARGEST_HEADER, len(content))} bytes, got {length}"
        )
