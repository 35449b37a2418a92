"""LAMOST spectra through the survey's programming interface.

Its description is https://www.lamost.org/openapi/docs, and its official client is
https://github.com/fandongwei/pylamost: ``<release>/<version>/<lrs|mrs>/spectrum/fits?obsid=<obsid>``.  Public releases
need no token; which ones are public is listed at https://www.lamost.org/openapi/dr_versions.
"""

from urllib.parse import urlencode

from specalign.exceptions import FetchError
from specalign.fetch.download import RemoteFile, fetch_file
from specalign.fetch.identifiers import check_limit, checked, unique_ids
from specalign.fetch.results import FetchTable
from specalign.fetch.session import Session
from specalign.fetch.settings import conf
from specalign.fetch.transport import find_token

__all__ = ["lamost"]

DOMAIN = "lamost.org"
RESOLUTIONS = ("lrs", "mrs")
TOKEN_VARIABLE = "LAMOST_TOKEN"


def lamost(
    obsids, *, release="dr10", version="v2.0", resolution="lrs", token=None, limit=None, base_url=None, session=None
):
    """Fetch LAMOST spectra by the numbers of the observations.

    Parameters
    ----------
    obsids : int, str or sequence of them
        The column ``obsid`` of the survey's catalogues.
    release, version : str
        Such as ``"dr10"`` and ``"v2.0"``.
    resolution : {"lrs", "mrs"}
        Low or medium; an obsid belongs to one of them.
    token : str, optional
        For releases that are not public; by default the environment variable ``LAMOST_TOKEN``, where it is set, which
        mirrors do not get.  It is sent over https only, and written nowhere.
    limit : int, optional
        Files at most; by default ``specalign.fetch.conf.max_objects``.
    base_url : str, optional
        Of a mirror, instead of ``specalign.fetch.conf.lamost_url``.
    session : `~specalign.fetch.Session`, optional

    Returns
    -------
    `~specalign.fetch.FetchTable`
        A row an obsid.

    Raises
    ------
    specalign.exceptions.FetchError
        An argument has not the form that it should have, or more than ``limit`` files were asked for.

    Notes
    -----
    The archive gives no checksums of single files.  A file whose header names another OBSID is not kept; a few files of
    the survey name none.

    Examples
    --------
    >>> from specalign import fetch, get_instrument
    >>> found = fetch.lamost([437513049, 870813030])  # doctest: +SKIP
    >>> spectra = [get_instrument("lamost").read(path) for path in found.paths]  # doctest: +SKIP
    >>> fetch.lamost("spec-55859-F5902_sp01-001")
    Traceback (most recent call last):
    specalign.exceptions.FetchError: obsid: expected something like '437513049', got 'spec-55859-F5902_sp01-001'
    """
    obsids = unique_ids("obsid", obsids)
    release, version = checked("release", release), checked("version", version)
    if resolution not in RESOLUTIONS:
        raise FetchError(f"resolution: expected one of {RESOLUTIONS}, got {resolution!r}")
    check_limit(len(obsids), limit, conf.max_objects, "spectra")
    session = session or Session()
    base = (base_url or conf.lamost_url).rstrip("/")
    token = find_token(token, TOKEN_VARIABLE, base, DOMAIN)
    service = f"{base}/{release}/{version}/{resolution}/spectrum/fits"
    files = [
        RemoteFile(
            obsid, resolution, f"{service}?{urlencode({'obsid': obsid})}",
            session.cache.path("lamost", f"{release}-{version}", resolution, f"{obsid}.fits"),
            domain="" if base_url else DOMAIN, check=_check_of(obsid), secret_query={"token": token} if token else {},
        )
        for obsid in obsids
    ]  # fmt: skip
    return FetchTable.of(session.run(lambda file: fetch_file(file, session), files, f"LAMOST {resolution}"))


def _check_of(obsid):
    def check(headers):
        stated = str(headers[0].get("OBSID", "")).strip()
        if stated.isdigit() and int(stated) > 0 and int(stated) != int(obsid):
            return f"the file is of obsid {stated}, and {obsid} was asked for"
        return None

    return check
