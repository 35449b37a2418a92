"""One file: from the cache, or whole and verified from the archive, resumed where an earlier call was cut."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from specalign.exceptions import UnknownProductError
from specalign.fetch.cache import digest, naming, read_json, write_json
from specalign.fetch.content import Damage, check_fits, is_gzip
from specalign.fetch.results import Outcome
from specalign.fetch.transport import MissingFile, PassingFault, RangeRefused, Refusal, Request, chunks, length_of

__all__ = ["RemoteFile", "fetch_file", "outcome_of"]

LARGEST = 2**31  # bytes; the largest products that are fetched have some tens of megabytes
DAMAGED_TRIES = 2
VALIDATORS = (("etag", "ETag"), ("last_modified", "Last-Modified"))


@dataclass(frozen=True)
class RemoteFile:
    """A FITS file of an archive, and what is known of it before it comes.

    Parameters
    ----------
    id, product : str
        Of the row in the result.
    url : str
        Without credentials.
    path : `~pathlib.Path`
        In the cache; a gzipped file gets ``.gz`` at its end.
    domain : str
        Where redirects may lead.
    check : callable, optional
        ``check(headers)`` gives a reason why the file is not the object that was asked for, or None.
    checksum : callable, optional
        Gives ``(algorithm, value)`` that the archive states, or None.
    secret_query, secret_headers : dict
        See `~specalign.fetch.transport.Request`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from specalign.fetch.download import RemoteFile
    >>> RemoteFile("1", "lrs", "https://example.org/1", Path("1.fits")).path.name
    '1.fits'
    """

    id: str
    product: str
    url: str
    path: Path
    domain: str = ""
    check: Callable | None = None
    checksum: Callable | None = None
    secret_query: dict = field(default_factory=dict, repr=False)
    secret_headers: dict = field(default_factory=dict, repr=False)

    def request(self, headers):
        """The request for it, with further headers."""
        secrets = {"secret_query": self.secret_query, "secret_headers": self.secret_headers}
        return Request(self.url, self.domain, headers=headers, **secrets)


def fetch_file(file, session):
    """Get a file.

    Parameters
    ----------
    file : RemoteFile
    session : `~specalign.fetch.Session`

    Returns
    -------
    `~specalign.fetch.results.Outcome`

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written: no other file would fare better.
    """
    with outcome_of(file) as outcomes:
        outcomes.append(_found(file, session) or _fetched(file, session))
    return outcomes[0]


@contextlib.contextmanager
def outcome_of(file):
    """A list for outcomes, to which the block's fault is appended as missing or failed."""
    outcomes = []
    try:
        yield outcomes
    except MissingFile as error:
        outcomes.append(Outcome(file.id, file.product, "missing", reason=str(error), url=file.url))
    except (Refusal, PassingFault) as error:
        reason = file.request({}).clean(str(error))
        outcomes.append(Outcome(file.id, file.product, "failed", reason=reason, url=file.url))


def _found(file, session, warn=True):
    for path in (file.path, _packed(file.path)):
        manifest = session.cache.find(path, file.url, warn)
        if manifest:
            return _outcome(file, path, manifest, "cached")
    return None


def _packed(path):
    return path if path.name.endswith(".gz") else path.with_name(f"{path.name}.gz")


def _outcome(file, path, manifest, status):
    return Outcome(file.id, file.product, status, path, "", manifest["size"], manifest["sha256"], file.url)


def _fetched(file, session):
    with session.cache.only_one(file.path, session.pause) as part:
        if found := _found(file, session, warn=False):  # another process fetched it while we waited
            _discard(part)
            return found
        try:
            return _whole(file, part, session)
        except BaseException:
            if part.exists() and not part.stat().st_size:
                _discard(part)
            raise


def _whole(file, part, session):
    """Receive, verify and publish; what is damaged is fetched once more, from its beginning."""
    for attempt in range(DAMAGED_TRIES):
        try:
            _receive(file, part, session)
            stated = _verify(file, part)
            break
        except Damage as damage:
            _empty(part)
            if attempt + 1 == DAMAGED_TRIES:
                raise Refusal(f"what came is damaged, {DAMAGED_TRIES} times: {damage}") from None
        except Refusal:
            _empty(part)
            raise
    path = _packed(file.path) if is_gzip(part) else file.path
    state = read_json(_state_path(part)) or {}
    facts = {"id": file.id, "product": file.product, "url": file.url, "archive_checksum": stated}
    facts |= {name: state.get(name) for name in ("etag", "last_modified")}
    _state_path(part).unlink(missing_ok=True)
    manifest = session.cache.publish(part, path, facts)  # from here on, the partial file is that of whoever comes next
    return _outcome(file, path, manifest, "downloaded")


def _verify(file, part):
    """What the archive states as checksum; raises where the content is not what was asked for."""
    try:
        headers = check_fits(part)
    except UnknownProductError as error:
        raise Refusal(str(error)) from None
    if file.check and (reason := file.check(headers)):
        raise Refusal(reason)
    stated = file.checksum() if file.checksum else None
    if stated and digest(part, stated[0]) != stated[1].lower():
        raise Damage(f"its {stated[0]} is not the one that the archive states")
    return dict(zip(("algorithm", "value"), stated, strict=True)) if stated else None


def _receive(file, part, session):
    """Bring the partial file to its full length."""
    state = read_json(_state_path(part)) or {}
    if state.get("url") == file.url and state.get("total") == part.stat().st_size:
        return  # an earlier call was interrupted between the last byte and the verification
    for _ in range(DAMAGED_TRIES):
        try:
            return session.perform(
                lambda: file.request(_range(file, part)),
                lambda response, request: _append(response, request, part, session),
            )
        except RangeRefused:
            _empty(part)
    raise PassingFault("the archive refuses to send the file from its beginning")


def _state_path(part):
    return part.with_name(f"{part.name}.json")


def _range(file, part):
    """Headers that ask for the rest, if it is still the same file (RFC 9110, section 13.1.5)."""
    state, size = read_json(_state_path(part)) or {}, part.stat().st_size
    validator = _validator(state)
    if not size or state.get("url") != file.url or not validator:
        return {}
    return {"Range": f"bytes={size}-", "If-Range": validator}


def _validator(state):
    """What tells one version of the file from another; only what may stand in a header."""
    for name in ("etag", "last_modified"):
        text = state.get(name)
        if isinstance(text, str) and text and text.isascii() and text.isprintable() and not text.startswith("W/"):
            return text
    return None


def _append(response, request, part, session):
    """Write the answer to the partial file: behind what is there, or from the beginning."""
    before = read_json(_state_path(part)) or {}
    total = _total(response, part, before)
    state = {"url": request.url, "total": total}
    for name, header in VALIDATORS:
        state[name] = response.headers.get(header) or (before.get(name) if response.status == 206 else None)
    write_json(_state_path(part), state)
    with naming(part), open(part, "ab") as stream:
        for piece in chunks(response, request):
            stream.write(piece)
            session.check()
            _check_size(stream.tell())
        stream.flush()
        os.fsync(stream.fileno())
        size = stream.tell()
    if total is None:
        write_json(_state_path(part), state | {"total": size})
    elif size != total:
        if size > total:
            _empty(part)
        raise PassingFault(f"the connection ended after {size} of {total} bytes")


def _check_size(size):
    if size > LARGEST:
        raise Refusal(f"the file is larger than {LARGEST} bytes")


def _total(response, part, before):
    """Length of the whole file, where stated; the partial file is emptied unless the answer is its continuation."""
    if response.status == 206:
        total = _continued(response, part.stat().st_size, before)
        if total is None:
            _empty(part)
            raise PassingFault("the archive sent another part of the file than was asked for", wait=0.0)
    else:
        _empty(part)
        total = length_of(response)
    _check_size(total or 0)
    return total


def _continued(response, size, before):
    """Length of the whole file, if the answer goes on after ``size`` bytes of the same file; otherwise None."""
    found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != size:
        return None
    # A server may overlook If-Range: one that sends a part states again of which version it is (RFC 9110, 15.3.7).
    for name, header in VALIDATORS:
        stated = response.headers.get(header)
        if size and stated and before.get(name) and stated != before[name]:
            return None
    return int(found[2]) if not size or before.get("total") in (None, int(found[2])) else None


def _empty(part):
    os.truncate(part, 0)
    _state_path(part).unlink(missing_ok=True)


def _discard(part):
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)
