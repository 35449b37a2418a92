"""Weights in safetensors, everything else in JSON, digests of both; nothing in a file is ever executed.

A folder holds ``aligner.json`` and one weights file that it names together with its size and SHA-256.  The JSON is
written last, by renaming, so that a reader sees the old aligner or the new one, whole.
"""

import hashlib
import json
import re
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from specalign.exceptions import CheckpointError
from specalign.io.files import atomic_write

__all__ = [
    "load_checkpoint",
    "read_description",
    "read_member",
    "save_checkpoint",
    "weights_digest",
    "write_description",
]

FORMAT, VERSION = "specalign aligner", 1
DESCRIPTION = "aligner.json"
WEIGHTS_NAME = re.compile(r"weights-[0-9a-f]{16}\.safetensors")
LARGEST_DESCRIPTION = 16 * 2**20  # bytes
LARGEST_HEADER = 2**20  # bytes; a header takes about 100 a tensor


def weights_digest(tensors):
    """SHA-256 of the tensors as they are stored."""
    return hashlib.sha256(_serialized(tensors)).hexdigest()


def _serialized(tensors):
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())})


def save_checkpoint(folder, description, tensors):
    """Write an aligner's description (JSON-like) and tensors; an older one in the folder is replaced at once."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = _serialized(tensors)
    digest = hashlib.sha256(content).hexdigest()
    weights = folder / f"weights-{digest[:16]}.safetensors"
    entry = {"file": weights.name, "sha256": digest, "bytes": len(content)}
    whole = {"format": FORMAT, "version": VERSION, "weights": entry, **description}
    _write(weights, content)
    write_description(folder / DESCRIPTION, whole)
    for other in folder.iterdir():
        if WEIGHTS_NAME.fullmatch(other.name) and other != weights:
            other.unlink()


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


def load_checkpoint(folder):
    """The description and the tensors of a folder that `save_checkpoint` wrote.

    Raises
    ------
    CheckpointError
        Files are missing, were changed, or are not ours; the message names the file.
    """
    folder = Path(folder)
    description = read_description(folder / DESCRIPTION)
    entry = description["weights"]
    path = folder / _weights_name(entry, folder)
    content = read_member(path, entry["bytes"])
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path}: the weights do not have the digest that {DESCRIPTION} states; {_COPY}")
    _check_header(path, content)
    try:
        return description, safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}); {_COPY}") from error


_COPY = "copy the folder again from where it was saved, or train anew"


def read_member(path, largest, kind="aligner"):
    """Content of a regular file; at most one byte more than the stated size is ever read."""
    try:
        if path.is_symlink() or not path.is_file():
            raise CheckpointError(f"{path}: expected a file of a saved {kind}, found none; {_COPY}")
        with open(path, "rb") as file:
            return file.read(largest + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def read_description(path, kind=FORMAT, version=VERSION):
    """What `write_description` wrote: a dict whose ``format`` and ``version`` are those, and whose digest fits.

    Raises
    ------
    CheckpointError
    """
    content = read_member(path, LARGEST_DESCRIPTION, kind.removeprefix("specalign "))
    if len(content) > LARGEST_DESCRIPTION:
        raise CheckpointError(f"{path}: expected at most {LARGEST_DESCRIPTION} bytes of JSON, found more; not ours")
    try:
        value = json.loads(content.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON ({type(error).__name__}: {error}); {_COPY}") from error
    if not isinstance(value, dict) or value.get("format") != kind:
        raise CheckpointError(f"{path}: expected a description with format {kind!r}; this is another file")
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


def _weights_name(entry, folder):
    expected = {"file": str, "sha256": str, "bytes": int}
    if not isinstance(entry, dict) or {k: type(v) for k, v in entry.items()} != expected:
        raise CheckpointError(f"{folder / DESCRIPTION}: expected weights with file, sha256 and bytes, got {entry!r}")
    if not WEIGHTS_NAME.fullmatch(entry["file"]):
        raise CheckpointError(
            f"{folder / DESCRIPTION}: expected a weights file in this folder called weights-*.safetensors, got "
            f"{entry['file']!r}"
        )
    return entry["file"]


def _check_header(path, content):
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(LARGEST_HEADER, len(content) - 8):
        raise CheckpointError(
            f"{path}: expected a safetensors header of at most {min(LARGEST_HEADER, len(content))} bytes, got {length}"
        )
