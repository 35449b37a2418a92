"""APOGEE spectra from the Science Archive Server of SDSS.

Layouts: https://www.sdss4.org/dr17/data_access/bulk/ and, as templates, the files ``data/dr16.cfg`` to ``dr19.cfg`` of
https://github.com/sdss/tree (aspcapStar, apStar, apVisit, mwmStar).  Many folders hold a list of SHA-1 sums that is
named after its path below the reduction, such as ``dr17_stars_apo25m_M67.sha1sum``.
"""

import re
import threading
from dataclasses import dataclass
from urllib.parse import quote

from specalign.exceptions import FetchError
from specalign.fetch.download import RemoteFile, fetch_file
from specalign.fetch.identifiers import check_limit, checked, unique_ids
from specalign.fetch.places import find_places
from specalign.fetch.results import FetchTable, Outcome
from specalign.fetch.session import Session
from specalign.fetch.settings import conf
from specalign.fetch.transport import MissingFile, PassingFault, Refusal, Request, read_all

__all__ = ["apogee"]

DOMAIN = "sdss.org"
PRODUCTS = ("aspcapStar", "apStar", "apVisit", "mwmStar")
LARGEST_LIST = 2**24  # bytes of a list of checksums


@dataclass(frozen=True)
class _Release:
    """Versions of a release: of the reduction, of the pipeline for parameters, and of Astra."""

    apred: str = ""
    aspcap: str = ""
    astra: str = ""


_RELEASES = {
    "dr16": _Release(apred="r12", aspcap="l33"),
    "dr17": _Release(apred="dr17", aspcap="synspec_rev1"),
    "dr19": _Release(astra="0.6.0"),
}


def apogee(ids, *, release="dr17", product="aspcapStar", catalogue=None, limit=None, base_url=None, session=None):
    """Fetch APOGEE spectra by the names of the stars.

    Parameters
    ----------
    ids : str, int or sequence of them
        APOGEE IDs (``"2M17335483-2753043"``), or TARGET_IDs of the allStar catalogue, which tell telescope and field
        (``"apo25m.000+02.2M17335483-2753043"``); for mwmStar the numbers ``sdss_id``.
    release : {"dr16", "dr17", "dr19"}
    product : {"aspcapStar", "apStar", "apVisit", "mwmStar"}
        mwmStar is of DR19, and the others are of DR16 and DR17 (apVisit of DR17).
    catalogue : `~astropy.table.Table` or path-like, optional
        The release's allStar or allStarLite catalogue (allVisit for apVisit), or a part of it: it tells where the files
        lie.  Without it SkyServer is asked, through astroquery, for ids that do not tell it themselves.
    limit : int, optional
        Files at most; by default ``specalign.fetch.conf.max_objects``.
    base_url : str, optional
        Of a mirror, instead of ``specalign.fetch.conf.sas_url``; the layout below it is that of the archive.
    session : `~specalign.fetch.Session`, optional

    Returns
    -------
    `~specalign.fetch.FetchTable`
        A row a file.  A star that was observed in several fields, or visited several times, has several.

    Raises
    ------
    specalign.exceptions.FetchError
        An id has not the form of one, the release has no such product, more than ``limit`` files were asked for, or the
        catalogue lacks a column; nothing was fetched then.
    specalign.exceptions.MissingExtraError
        astroquery is needed to look a star up.

    Notes
    -----
    SHA-1 sums are verified where the archive lists them (aspcapStar, apStar).  An apVisit of DR17 states no velocity:
    see ``specalign.io.apogee``.

    Examples
    --------
    >>> from specalign import fetch, get_instrument
    >>> found = fetch.apogee("apo25m.000+02.2M17335483-2753043")  # doctest: +SKIP
    >>> spectra = [get_instrument("apogee").read(path) for path in found.paths]  # doctest: +SKIP
    >>> fetch.apogee("../../etc")
    Traceback (most recent call last):
    specalign.exceptions.FetchError: APOGEE ID: expected something like '2M17335483-2753043', got '../../etc'
    """
    versions = _versions(release, product)
    ids = unique_ids("sdss_id" if product == "mwmStar" else "APOGEE ID", ids)
    check_limit(len(ids), limit, conf.max_objects, "stars")
    session = session or Session()
    sas = _Sas(base_url or conf.sas_url, release, product, versions, session)
    files, outcomes = sas.stars(ids) if product == "mwmStar" else sas.places(ids, catalogue)
    check_limit(len(files), limit, conf.max_objects, "files")
    for fetched in session.run(lambda file: fetch_file(file, session), files, product):
        outcomes[fetched.id].append(fetched)
    return FetchTable.of([outcome for name in ids for outcome in outcomes[name]])


def _versions(release, product):
    release = checked("release", release)
    versions = _RELEASES.get(release)
    if versions is None or product not in PRODUCTS:
        raise FetchError(
            f"expected a release of {', '.join(_RELEASES)} and a product of {', '.join(PRODUCTS)}, got {release!r} and "
            f"{product!r}"
        )
    if bool(versions.astra) != (product == "mwmStar") or (release == "dr16" and product == "apVisit"):
        raise FetchError(
            f"{release} has no {product} that can be fetched: mwmStar is of dr19, apVisit of dr17, and the others are "
            "of dr16 and dr17"
        )
    return versions


class _Sas:
    """Addresses of one product of one release."""

    def __init__(self, base_url, release, product, versions, session):
        self.base = f"{base_url.rstrip('/')}/{release}"
        self.domain = DOMAIN if base_url == conf.sas_url else ""
        self.release, self.product, self.versions, self.session = release, product, versions, session
        self.checksums = _Checksums(session, self.domain)

    def stars(self, ids):
        """Files of mwmStar: the last four digits of a star's number are its folders."""
        files = []
        for name in ids:
            number, astra = int(name), self.versions.astra
            folders = (f"{number // 100 % 100:02d}", f"{number % 100:02d}")
            parts = ("spectro", "astra", astra, "spectra", "star", *folders)
            files.append(self._file(name, parts, f"mwmStar-{astra}-{number}.fits", ()))
        return files, {name: [] for name in ids}

    def places(self, ids, catalogue):
        """Files of stars or visits, and the outcomes of those that have no place."""
        kind = "visit" if self.product == "apVisit" else "star"
        places, faults = find_places(ids, kind, self.release, self.session, catalogue)
        files, outcomes = [], {name: [] for name in ids}
        for name in ids:
            if name in faults:
                outcomes[name].append(Outcome(name, self.product, "failed", reason=faults[name]))
            elif not places[name]:
                source = "the catalogue" if catalogue is not None else f"SkyServer's table of {self.release}"
                outcomes[name].append(Outcome(name, self.product, "missing", reason=f"{source} has no such {kind}"))
            files += [self._place(name, place) for place in places[name]] if name in places else []
        return files, outcomes

    def _place(self, name, place):
        apred, aspcap = self.versions.apred, self.versions.aspcap
        if self.product == "apVisit":
            return self._visit(name, place)
        # The archive names a file of the southern telescope asStar, and its aspcapStar like all others.
        prefix = "asStar" if place.telescope == "lco25m" else "apStar"
        file = place.file or f"{prefix}-{apred}-{place.apogee_id}.fits"
        if not re.match(r"a[ps]Star-", file):
            raise FetchError(f"{name}: expected a file like apStar-dr17-2M17335483-2753043.fits, got {file!r}")
        if self.product == "apStar":
            parts = ("redux", apred, "stars", place.telescope, place.field)
            lists = [f"{apred}_stars_{place.telescope}_{place.field}.sha1sum"]
        else:
            file = f"aspcap{file[2:]}"
            parts = ("aspcap", apred, aspcap, place.telescope, place.field)
            # synspec_rev1 holds links to files of synspec, where those were not made anew: all but the southern ones.
            trees = dict.fromkeys((aspcap, aspcap.partition("_")[0]))
            trees = trees if place.telescope == "lco25m" else reversed(trees)
            lists = [f"{apred}_{tree}_{place.telescope}_{place.field}.sha1sum" for tree in trees]
        return self._file(name, ("apogee", "spectro", *parts), file, lists)

    def _visit(self, name, place):
        """The folder of a visit is that of its plate and date, which its name tells: apVisit-dr17-PLATE-MJD-FIBER."""
        found = re.fullmatch(r"a[ps]Visit-[^-]+-([0-9]+)-([^-]+)[^/]*\.fits", place.file)
        if not found:
            raise FetchError(f"{name}: expected a file like apVisit-dr17-5095-55844-128.fits, got {place.file!r}")
        plate, mjd = found.groups()
        parts = ("redux", self.versions.apred, "visit", place.telescope, place.field)
        # The telescope of one metre has no plates: apVisit-dr17-MJD-NAME.
        parts += (plate,) if place.telescope == "apo1m" else (plate, mjd)
        return self._file(name, ("apogee", "spectro", *parts), place.file, ())

    def _file(self, name, parts, file, lists):
        folder = "/".join([self.base, *(quote(part) for part in parts)])
        path = self.session.cache.path("apogee", self.release, self.product, *parts[-2:], file)
        return RemoteFile(
            name, self.product, f"{folder}/{quote(file)}", path, self.domain,
            checksum=(lambda: self.checksums.find(folder, lists, file)) if lists else None,
        )  # fmt: skip


class _Checksums:
    """Lists of SHA-1 sums, each asked for once; a folder without one has nothing to verify with."""

    def __init__(self, session, domain):
        self._session, self._domain = session, domain
        self._lists, self._lock = {}, threading.Lock()

    def find(self, folder, names, file):
        """``("sha1", value)`` of a file, or None where no list has it."""
        for name in names:
            address = f"{folder}/{quote(name)}"
            with self._lock:
                if address not in self._lists:
                    self._lists[address] = self._read(Request(address, self._domain))
            if value := self._lists[address].get(file):
                return "sha1", value
        return None

    def _read(self, request):
        try:
            text = self._session.perform(lambda: request, lambda answer, asked: read_all(answer, asked, LARGEST_LIST))
        except (MissingFile, Refusal):
            return {}
        except PassingFault as fault:
            raise PassingFault(f"the list of checksums could not be read: {fault}") from None
        lines = [line.split(maxsplit=1) for line in text.decode("utf-8", errors="replace").splitlines()]
        pairs = [line for line in lines if len(line) == 2 and len(line[0]) == 40]
        return {name.strip().lstrip("*").rpartition("/")[2]: value for value, name in pairs}
