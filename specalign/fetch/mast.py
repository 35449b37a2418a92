"""JWST/NIRSpec spectra from the Mikulski Archive for Space Telescopes.

The programming interface is https://mast.stsci.edu/api/v0/: ``Mast.Caom.Filtered`` finds observations (fields:
https://mast.stsci.edu/api/v0/_c_a_o_mfields.html), ``Mast.Caom.Products`` their files (fields:
https://mast.stsci.edu/api/v0/_productsfields.html), and ``/api/v0.1/Download/file?uri=`` gives a file.  The requests
are those of `astroquery.mast`, whose addresses are fixed when it is imported, so that no mirror could be named to it.
"""

import json
import re
from urllib.parse import quote, urlencode

from specalign.exceptions import FetchError
from specalign.fetch.content import what_came
from specalign.fetch.download import RemoteFile, fetch_file
from specalign.fetch.identifiers import check_limit, checked, unique_ids
from specalign.fetch.results import FetchTable, Outcome
from specalign.fetch.session import Session
from specalign.fetch.settings import conf
from specalign.fetch.transport import MissingFile, PassingFault, Refusal, Request, find_token, read_all

__all__ = ["nirspec"]

DOMAIN = "stsci.edu"
PRODUCTS = ("x1d", "s2d")
MODES = ("NIRSPEC/MSA", "NIRSPEC/SLIT", "NIRSPEC")
DISPERSERS = ("g140m", "g140h", "g235m", "g235h", "g395m", "g395h", "prism")
TOKEN_VARIABLE = "MAST_API_TOKEN"  # the name that MAST's own tools use
PAGE = 5000  # rows
MOST_PAGES = 200
OBSERVATIONS_A_QUERY = 50
PATIENCE = 300.0  # seconds; some questions take the archive minutes
LARGEST_ANSWER = 2**27  # bytes of a page of rows


def nirspec(
    obs_ids=None, *, proposal_id=None, target_name=None, product="x1d", disperser=None, calib_level=3, token=None,
    limit=None, base_url=None, session=None,
):  # fmt: skip
    """Fetch JWST/NIRSpec spectra of the pipeline by observation, programme or target.

    Parameters
    ----------
    obs_ids : str or sequence of str, optional
        Such as ``"jw02736-o007_s06355_nirspec_f290lp-g395m"``.
    proposal_id : int, str or sequence of them, optional
        Programmes, such as 2609.
    target_name : str or sequence of str, optional
        As the observers named the target.
    product : {"x1d", "s2d"}
        Extracted spectra, which the instrument reads, or rectified images of the slit, which it does not.
    disperser : str, optional
        Only this one: ``"g140m"``, ``"g140h"``, ``"g235m"``, ``"g235h"``, ``"g395m"``, ``"g395h"`` or ``"prism"``.
    calib_level : int
        3: all exposures of a source together; 2: each exposure.
    token : str, optional
        For data that are not public yet; by default the environment variable ``MAST_API_TOKEN``, where it is set,
        which mirrors do not get.  It is sent over https only, and written nowhere.
    limit : int, optional
        Files at most; by default ``specalign.fetch.conf.max_objects``.
    base_url : str, optional
        Of a mirror, instead of ``specalign.fetch.conf.mast_url``.
    session : `~specalign.fetch.Session`, optional

    Returns
    -------
    `~specalign.fetch.FetchTable`
        A row a file; ``id`` is what was asked for.  Where several of obs_ids, target_name and proposal_id are given,
        the first of them is it, and the others restrict.

    Raises
    ------
    specalign.exceptions.FetchError
        Nothing was asked for, an argument has not the form that it should have, or there are more than ``limit`` files.

    Notes
    -----
    The list of files is asked for in every call, since JWST goes on observing and its pipeline improves; files that are
    in the cache are not fetched again.  The archive states no checksums here.  Spectra of the integral-field unit are
    not asked for.

    Examples
    --------
    >>> from specalign import fetch, get_instrument
    >>> found = fetch.nirspec(proposal_id=2609, disperser="g140h")  # doctest: +SKIP
    >>> nirspec = get_instrument("nirspec", disperser="g140h", filter="f100lp")
    >>> spectra = [nirspec.read(path) for path in found.paths]  # doctest: +SKIP
    >>> fetch.nirspec(product="x1d")
    Traceback (most recent call last):
    specalign.exceptions.FetchError: expected obs_ids, proposal_id or target_name, got none of them
    """
    wanted = _wanted(obs_ids, target_name, proposal_id)
    _check(product, disperser, calib_level)
    session = session or Session()
    token = find_token(token, TOKEN_VARIABLE, base_url or conf.mast_url, DOMAIN)
    archive = _Archive(base_url or conf.mast_url, "" if base_url else DOMAIN, token, session)
    key, names = next(iter(wanted.items()))
    outcomes = {name: [] for name in names}
    files = []
    try:
        found = archive.find(wanted, product, disperser, calib_level)
        check_limit(len(found), limit, conf.max_objects, "files")
        for name, row in found:
            file = archive.file(name, product, row)
            (files if isinstance(file, RemoteFile) else outcomes[name]).append(file)
    except (MissingFile, Refusal, PassingFault) as fault:
        reason = f"the observations could not be looked up: {archive.clean(str(fault))}"
        return FetchTable.of([Outcome(name, product, "failed", reason=reason) for name in names])
    for fetched in session.run(lambda file: fetch_file(file, session), files, f"NIRSpec {product}"):
        outcomes[fetched.id].append(fetched)
    for name in names:
        if not outcomes[name]:
            reason = f"the archive lists no such {product} file of {key} {name}"
            outcomes[name].append(Outcome(name, product, "missing", reason=reason))
    return FetchTable.of([outcome for name in names for outcome in outcomes[name]])


def _wanted(obs_ids, target_name, proposal_id):
    """Fields of the archive and the values that are wanted."""
    given = {"obs_id": obs_ids, "target_name": target_name, "proposal_id": proposal_id}
    wanted = {kind: unique_ids(kind, values) for kind, values in given.items() if values is not None}
    if not wanted:
        raise FetchError("expected obs_ids, proposal_id or target_name, got none of them")
    if "proposal_id" in wanted:
        wanted["proposal_id"] = list(dict.fromkeys(str(int(value)) for value in wanted["proposal_id"]))
    return wanted


def _check(product, disperser, calib_level):
    if product not in PRODUCTS:
        raise FetchError(f"product: expected one of {', '.join(PRODUCTS)}, got {product!r}")
    if disperser is not None and disperser.lower() not in DISPERSERS:
        raise FetchError(f"disperser: expected one of {', '.join(DISPERSERS)}, got {disperser!r}")
    if calib_level not in (2, 3):
        raise FetchError(f"calib_level: expected 2 or 3, got {calib_level!r}")


class _Archive:
    """Questions to MAST and addresses of its files."""

    def __init__(self, base_url, domain, token, session):
        self.base, self.domain, self.session = base_url.rstrip("/"), domain, session
        self.secret = {"Authorization": f"token {token}"} if token else {}
        self._token = token

    def clean(self, text):
        """A text without the token."""
        return text.replace(self._token, "***") if self._token else text

    def find(self, wanted, product, disperser, calib_level):
        """Pairs of what was asked for and a row of a file, each file once."""
        key, found = next(iter(wanted)), {}
        observations = {_text(row, "obsid"): row for row in self._observations(wanted) if _uses(row, disperser)}
        numbers = list(observations)
        for start in range(0, len(numbers), OBSERVATIONS_A_QUERY):
            batch = numbers[start : start + OBSERVATIONS_A_QUERY]
            for row in self._ask("Mast.Caom.Products", {"obsid": ",".join(batch)}):
                parents = [number for k in ("parent_obsid", "obsID") if (number := _text(row, k)) in observations]
                name = _asked_name(observations[parents[0]], key, wanted[key]) if parents else None
                if name and _is_wanted(row, product, calib_level):
                    found.setdefault(_text(row, "dataURI"), (name, row))
        return list(found.values())

    def _observations(self, wanted):
        filters = [_filter("obs_collection", ["JWST"]), _filter("instrument_name", MODES)]
        for name, values in wanted.items():
            # The archive writes the number of a programme with or without leading zeros.
            both = [text for value in values for text in (value, value.zfill(5))] if name == "proposal_id" else values
            filters.append(_filter(name, list(dict.fromkeys(both))))
        return self._ask("Mast.Caom.Filtered", {"columns": "*", "filters": filters})

    def _ask(self, service, params):
        """All rows of the answer, page by page."""
        page, pages, rows = 1, 1, []
        while page <= pages:
            question = {"service": service, "params": params, "format": "json", "pagesize": PAGE, "page": page}
            answer = self._answer(question)
            rows += answer.get("data") or []
            pages = (answer.get("paging") or {}).get("pagesFiltered") or 1
            page += 1
            if not 1 <= pages <= MOST_PAGES:
                raise Refusal(f"MAST lists {pages} pages of rows, and not more than {MOST_PAGES} are read")
        return rows

    def _answer(self, question):
        data = urlencode({"request": json.dumps(question)}, quote_via=quote).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/plain"}
        address = f"{self.base}/api/v0/invoke"
        request = Request(address, self.domain, data, headers, PATIENCE, secret_headers=self.secret)
        return self.session.perform(lambda: request, _read_answer)

    def file(self, name, product, row):
        """The file of a row; an `Outcome` where it cannot be had."""
        uri = _text(row, "dataURI")
        found = re.fullmatch(r"mast:JWST/product/(jw[\w.-]{1,110}\.fits)", uri, flags=re.ASCII)
        if not found:
            reason = f"the archive lists a file with the odd address {uri[:200]!r}"
            return Outcome(name, product, "failed", reason=reason)
        url = f"{self.base}/api/v0.1/Download/file?uri={quote(uri, safe=':/')}"
        if row.get("dataRights") == "EXCLUSIVE_ACCESS" and not self.secret:
            reason = "the file is not public yet; pass token= if you may have it"
            return Outcome(name, product, "failed", reason=reason, url=url)
        file = checked("file name", found[1])
        path = self.session.cache.path("nirspec", file[:7], product, file)
        return RemoteFile(name, product, url, path, self.domain, secret_headers=self.secret)


def _filter(name, values):
    return {"paramName": name, "values": list(values)}


def _read_answer(response, request):
    """The object of an answer; one that is still being made is asked for again."""
    content = read_all(response, request, LARGEST_ANSWER)
    try:
        answer = json.loads(content)
        status = answer["status"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refusal(f"MAST sent {what_came(content[:500])} instead of rows") from None
    if status == "EXECUTING":
        raise PassingFault("MAST is still at work on the question")
    if status != "COMPLETE":
        raise Refusal(f"MAST says {status}: {' '.join(str(answer.get('msg', '')).split())[:200]}")
    rows, paging = answer.get("data") or [], answer.get("paging") or {}
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows) and isinstance(paging, dict)):
        raise Refusal("MAST sent something else than rows")
    if not isinstance(paging.get("pagesFiltered", 1), (int, type(None))):
        raise Refusal("MAST does not say how many pages there are")
    return answer


def _uses(observation, disperser):
    """Whether an observation was made with the disperser: ``filters`` is F100LP;G140H, and obs_id ends alike."""
    if disperser is None:
        return True
    words = f"{observation.get('filters') or ''};{observation.get('obs_id') or ''}".lower()
    return disperser.lower() in re.split(r"[;_-]", words)


def _text(row, name):
    """A value of a row as text; empty where there is none."""
    value = row.get(name)
    return "" if value is None else str(value)


def _is_wanted(row, product, calib_level):
    """A science file of the kind; the level is not stated everywhere, and then nothing is left out for it."""
    levels = ("", str(calib_level))
    return _text(row, "productFilename").endswith(f"_{product}.fits") and _text(row, "calib_level") in levels


def _asked_name(observation, key, names):
    """The name by which an observation was asked for; the archive does not mind capital letters, or leading zeros."""
    value = _text(observation, key)
    value = value.lstrip("0") if key == "proposal_id" else value.casefold()
    return next((name for name in names if name.casefold() == value), None)
