"""Gaia XP spectra from the DataLink service of the ESA archive.

The service is ``/data-server/data``, with the parameters that `astroquery.gaia` sends
(https://www.cosmos.esa.int/web/gaia-users/archive/datalink-products); it answers with a zip archive that has a file a
source, and takes 5000 sources a request (https://github.com/astropy/astroquery/issues/2843).  astroquery itself gives
tables instead of files, of any number of sources at once, and cannot repeat a request.
"""

import contextlib
import hashlib
from urllib.parse import urlencode

from astropy.io import fits

from specalign.exceptions import CorruptFileError, FetchError, UnknownProductError
from specalign.fetch.cache import naming
from specalign.fetch.content import Damage, check_fits, head, is_zip, what_came
from specalign.fetch.download import RemoteFile, outcome_of
from specalign.fetch.identifiers import check_limit, unique_ids
from specalign.fetch.results import FetchTable, Outcome
from specalign.fetch.session import Session
from specalign.fetch.settings import conf
from specalign.fetch.transport import PassingFault, Refusal, Request, chunks, length_of
from specalign.io.archives import read_members
from specalign.io.fits_files import open_fits

__all__ = ["gaia_xp"]

DOMAIN = "esac.esa.int"
TYPES = {"continuous": "XP_CONTINUOUS", "sampled": "XP_SAMPLED"}
BATCH = 500  # sources a request: what an interruption costs; the service takes 5000
RELEASE = "Gaia DR3"
PATIENCE = 300.0  # seconds; the archive packs an answer before it sends it
LARGEST_ANSWER = 2**26  # bytes; 500 continuous spectra have about 7 MB, packed


def gaia_xp(source_ids, *, form="continuous", limit=None, base_url=None, session=None):
    """Fetch Gaia XP spectra of DR3 by source_id.

    Parameters
    ----------
    source_ids : int, str or sequence of them
        Of Gaia DR3.
    form : {"continuous", "sampled"}
        Coefficients with their errors and correlations, or fluxes at 343 wavelengths.
    limit : int, optional
        Sources at most; by default ``specalign.fetch.conf.max_objects``.
    base_url : str, optional
        Of a mirror, instead of ``specalign.fetch.conf.gaia_url``.
    session : `~specalign.fetch.Session`, optional

    Returns
    -------
    `~specalign.fetch.FetchTable`
        A row a source; a source without an XP spectrum (``has_xp_continuous``, ``has_xp_sampled`` of gaia_source) is
        missing.

    Raises
    ------
    specalign.exceptions.FetchError
        An id has not the form of one, or more than ``limit`` sources were asked for.

    Notes
    -----
    The archive packs its answers when they are asked for: they have no checksums and cannot be resumed.  So sources are
    asked for in batches of 500, and those that arrived are kept.  The zip archive's own sums are verified, and every
    file must be of the source that it is named after.

    Examples
    --------
    >>> from specalign import fetch, get_instrument
    >>> found = fetch.gaia_xp(5937083312263887616, form="sampled")  # doctest: +SKIP
    >>> spectra = [get_instrument("gaia_xp").read(path) for path in found.paths]  # doctest: +SKIP
    >>> fetch.gaia_xp(5937083312263887616, form="raw")
    Traceback (most recent call last):
    specalign.exceptions.FetchError: form: expected one of continuous, sampled, got 'raw'
    """
    if form not in TYPES:
        raise FetchError(f"form: expected one of {', '.join(TYPES)}, got {form!r}")
    names = unique_ids("source_id", source_ids)
    check_limit(len(names), limit, conf.max_objects, "sources")
    session = session or Session()
    service = _Service(base_url or conf.gaia_url, "" if base_url else DOMAIN, form, session)
    found = {name: outcome for name in names if (outcome := service.cached(name))}
    rest = [name for name in names if name not in found]
    service.clear()
    batches = [rest[start : start + BATCH] for start in range(0, len(rest), BATCH)]
    for outcomes in session.run(service.fetch, batches, f"Gaia XP {form}"):
        found |= {outcome.id: outcome for outcome in outcomes}
    return FetchTable.of([found[name] for name in names])


class _Service:
    """DataLink, for one form of spectrum."""

    def __init__(self, base_url, domain, form, session):
        self.url, self.domain = f"{base_url.rstrip('/')}/data-server/data", domain
        self.form, self.session = form, session

    def file(self, name):
        """One source's file: its address is that of a request for this source alone."""
        query = urlencode({"RETRIEVAL_TYPE": TYPES[self.form], "ID": name, "RELEASE": RELEASE, "FORMAT": "fits"})
        path = self.session.cache.path("gaia_xp", "dr3", self.form, f"{TYPES[self.form]}-{name}.fits")
        return RemoteFile(name, self.form, f"{self.url}?{query}", path, self.domain)

    def cached(self, name, warn=True):
        """The outcome of a source that is in the cache."""
        file = self.file(name)
        manifest = self.session.cache.find(file.path, file.url, warn)
        return _outcome(file, manifest, "cached") if manifest else None

    def fetch(self, names):
        """Outcomes of a batch of sources."""
        batch = RemoteFile("", self.form, self.url, self._archive_path(names), self.domain)
        with outcome_of(batch) as outcomes:
            outcomes += self._unpacked(batch, names)
        if outcomes and not outcomes[-1].id:  # the batch as a whole was not to be had
            reason = outcomes.pop().reason
            outcomes += [Outcome(name, self.form, "failed", reason=reason, url=self.file(name).url) for name in names]
        return outcomes

    def _archive_path(self, names):
        mark = hashlib.sha256(",".join(names).encode()).hexdigest()[:16]
        return self.session.cache.path("gaia_xp", "dr3", self.form, f"batch-{mark}.zip")

    def clear(self):
        """Remove what a killed process left: answers cannot be resumed."""
        self.session.cache.remove_abandoned(self.session.cache.path("gaia_xp", "dr3", self.form))

    def _request(self, names):
        form = {
            "VALID_DATA": "false", "ID": ",".join(names), "RELEASE": RELEASE, "DATA_STRUCTURE": "INDIVIDUAL",
            "FORMAT": "fits", "RETRIEVAL_TYPE": TYPES[self.form], "USE_ZIP_ALWAYS": "true",
        }  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request(self.url, self.domain, urlencode(form).encode(), headers, PATIENCE)

    def _unpacked(self, batch, names):
        """Ask for a batch, and keep a file a source."""
        with self.session.cache.only_one(batch.path, self.session.pause) as part, _removed(part):
            found = {name: outcome for name in names if (outcome := self.cached(name, warn=False))}
            rest = [name for name in names if name not in found]
            members = self._members(rest, part) if rest else {}
            for name in rest:
                found[name] = self._kept(self.file(name), members)
        return list(found.values())

    def _members(self, names, part):
        """Contents of the archive's files, by source."""
        request = self._request(names)
        self.session.perform(lambda: request, lambda answer, asked: _save(answer, asked, part, self.session))
        if not part.stat().st_size:
            return {}  # nothing to pack
        if not is_zip(part) and not head(part).startswith(b"PK\x05\x06"):  # the latter is an archive without members
            raise Refusal(f"{what_came(head(part))} came instead of a zip archive")
        try:
            members, _ = read_members(part, lambda name: _source_of(name, self.form) is not None)
        except CorruptFileError as error:
            raise Refusal(f"the zip archive is damaged: {str(error).removeprefix(f'{part}: ')}") from None
        found = {_source_of(name, self.form): content for name, content in members}
        if len(found) < len(members):
            raise Refusal("the zip archive has several files of one source")
        return found

    def _kept(self, file, members):
        with outcome_of(file) as outcomes:
            if file.id not in members:
                reason = f"the archive has no {TYPES[self.form]} spectrum of this source in {RELEASE}"
                return Outcome(file.id, self.form, "missing", reason=reason, url=file.url)
            outcomes.append(self._written(file, members[file.id]))
        return outcomes[0]

    def _written(self, file, content):
        alone = self.session.cache.only_one(file.path, self.session.pause)
        with alone as part, _removed_on_error(part), naming(part):
            if found := self.cached(file.id, warn=False):  # another process brought it while we waited
                part.unlink()
                return found
            part.write_bytes(content)
            _check(part, file.id)
            facts = {"id": file.id, "product": self.form, "url": file.url, "archive_checksum": None}
            return _outcome(file, self.session.cache.publish(part, file.path, facts), "downloaded")


def _outcome(file, manifest, status):
    return Outcome(file.id, file.product, status, file.path, "", manifest["size"], manifest["sha256"], file.url)


def _source_of(name, form):
    """The source that ``XP_SAMPLED-Gaia DR3 123.fits`` is of; None for another file."""
    stem = name.rpartition("/")[2].removesuffix(".fits")
    kind, _, source = stem.partition(f"-{RELEASE} ")
    return source if kind == TYPES[form] and source.isdigit() else None


def _save(response, request, part, session):
    """The answer as a file, of the length that is stated."""
    with naming(part), open(part, "wb") as stream:
        for piece in chunks(response, request):
            stream.write(piece)
            session.check()
            if stream.tell() > LARGEST_ANSWER:
                raise Refusal(f"the answer is longer than {LARGEST_ANSWER} bytes")
        size = stream.tell()
    stated = length_of(response)
    if stated not in (None, size):
        raise PassingFault(f"the connection ended after {size} of {stated} bytes")


def _check(part, source):
    """The file is whole, and of the source."""
    try:
        check_fits(part)
    except Damage as damage:
        raise Refusal(f"what came is damaged: {damage}") from None
    except UnknownProductError as error:
        raise Refusal(str(error)) from None
    stated = _stated_source(part)
    if stated != source:
        raise Refusal(f"the file is of source {stated}, and {source} was asked for")


def _stated_source(part):
    """The source in the header of a sampled spectrum, or in the row of a continuous one."""
    with open_fits(part) as hdus:
        table = hdus[1] if len(hdus) > 1 else hdus[0]
        names = {name.lower(): name for name in getattr(table, "columns", fits.ColDefs([])).names}
        if "source_id" in names and len(table.data) == 1:
            return str(table.data[names["source_id"]][0])
        return str(table.header.get("SOURCEID", "unknown")).strip()


@contextlib.contextmanager
def _removed(path):
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _removed_on_error(path):
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
