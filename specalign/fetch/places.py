"""Where the Science Archive Server keeps an APOGEE star: its telescopes, fields and visits.

A star's files lie in a folder a telescope and field, which its name does not tell.  They come from a catalogue of the
user's (allStar, allStarLite; allVisit for visits), or from the tables apogeeStar and apogeeVisit of the Catalog Archive
Server, asked through astroquery (https://skyserver.sdss.org/dr17/MoreTools/browser).  What was found is kept in the
cache: a release does not change.
"""

import csv
import io
import re
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table

from specalign.exceptions import FetchError, MissingExtraError
from specalign.fetch.cache import read_json, write_json
from specalign.fetch.content import what_came
from specalign.fetch.identifiers import checked
from specalign.fetch.settings import conf
from specalign.fetch.transport import PASSING, PassingFault, Refusal

__all__ = ["Place", "find_places"]

IDS_A_QUERY = 100  # about 3000 characters of SQL, in an address
SQL = {
    # The field's name begins with a letter in the answer, so that nobody reads 000+08 or 4507 as a number.
    "star": "SELECT apogee_id, telescope, CONCAT('F', field) AS field, [file] FROM apogeeStar",
    "visit": "SELECT apogee_id, telescope, CONCAT('F', field) AS field, [file] FROM apogeeVisit",
}
_COLUMNS = ("apogee_id", "telescope", "field", "file")
_CATALOGUE = ("APOGEE_ID", "TELESCOPE", "FIELD", "FILE")


@dataclass(frozen=True)
class Place:
    """A star, or a visit to it, in the archive.

    Parameters
    ----------
    apogee_id, telescope, field : str
    file : str
        Name of its apStar (asStar) or apVisit (asVisit) file; ``""`` where it follows from the others.

    Examples
    --------
    >>> from specalign.fetch.places import Place
    >>> Place.of("apo25m.000+02.2M17335483-2753043").field
    '000+02'
    """

    apogee_id: str
    telescope: str
    field: str
    file: str = ""

    def __post_init__(self):
        for kind, value in (("APOGEE ID", self.apogee_id), ("telescope", self.telescope), ("field", self.field)):
            checked(kind, value)
        if self.file:
            checked("file name", self.file)

    @classmethod
    def of(cls, text):
        """The place that a TARGET_ID (``telescope.field.APOGEE_ID``) names; None where it is a plain APOGEE ID.

        Examples
        --------
        >>> from specalign.fetch.places import Place
        >>> Place.of("2M17335483-2753043") is None
        True
        """
        found = re.fullmatch(r"(apo25m|lco25m|apo1m)\.([^.]+)\.(.+)", text)
        return cls(found[3], found[1], found[2]) if found else None


def find_places(ids, kind, release, session, catalogue=None):
    """The places of stars.

    Parameters
    ----------
    ids : list of str
        APOGEE IDs, or TARGET_IDs, which say it themselves.
    kind : {"star", "visit"}
    release : str
    session : `~specalign.fetch.Session`
    catalogue : `~astropy.table.Table` or path-like, optional
        With the columns APOGEE_ID, TELESCOPE, FIELD and, best, FILE (for visits it is needed).

    Returns
    -------
    places : dict
        Each id to a list of `Place`; an empty one where the catalogue, or the server, does not know it.
    faults : dict
        Ids that could not be looked up, each to the reason.

    Raises
    ------
    specalign.exceptions.FetchError
        The catalogue lacks a column.
    specalign.exceptions.MissingExtraError
        astroquery is needed, and is not installed.
    """
    named = {name: place for name in ids if (place := Place.of(name)) and kind == "star"}
    found = {name: [place] for name, place in named.items()}
    rest = [name for name in ids if name not in found]
    if catalogue is not None:
        return found | _in_catalogue(rest, catalogue, kind), {}
    found |= {name: places for name in rest if (places := _remembered(name, kind, release, session))}
    rest = [name for name in rest if name not in found]
    faults = {}
    for start in range(0, len(rest), IDS_A_QUERY):
        batch = rest[start : start + IDS_A_QUERY]
        try:
            known, odd = _asked(batch, kind, release, session)
        except (PassingFault, Refusal) as fault:
            known, odd = {}, dict.fromkeys(batch, str(fault))
        found |= known
        faults |= {name: f"its field could not be looked up: {reason}" for name, reason in odd.items()}
    return found, faults


def _in_catalogue(ids, catalogue, kind):
    columns = _columns_of(catalogue)
    missing = [name for name in _CATALOGUE if name not in columns and (name != "FILE" or kind == "visit")]
    if missing:
        raise FetchError(f"the catalogue has no column {', '.join(missing)}; expected {', '.join(_CATALOGUE)}")
    wanted, found = set(ids), {name: [] for name in ids}
    names = np.char.strip(np.asarray(columns["APOGEE_ID"]).astype(str))
    for row in np.flatnonzero(np.isin(names, list(wanted))):
        values = [str(np.asarray(columns[name][row]).astype(str)).strip() for name in _CATALOGUE if name in columns]
        place = Place(*values)
        if place not in found[place.apogee_id]:
            found[place.apogee_id].append(place)
    return found


def _columns_of(catalogue):
    """Columns by upper-case name; of a FITS file only those that are needed are read."""
    if isinstance(catalogue, Table):
        return {name.upper(): catalogue[name] for name in catalogue.colnames}
    with fits.open(catalogue, mode="readonly", memmap=True) as hdus:
        table = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
        if table is None:
            raise FetchError(f"{catalogue}: expected a FITS table such as allStarLite, and there is no table in it")
        names = {name.upper(): name for name in table.columns.names}
        return {name: np.array(table.data[names[name]]) for name in _CATALOGUE if name in names}


def _memory(name, kind, release, session):
    return session.cache.path("apogee", release, "places", f"{kind}-{name}.json")


def _remembered(name, kind, release, session):
    found = read_json(_memory(name, kind, release, session)) or {}
    return [Place(*values) for values in found.get("places", [])]


def _asked(ids, kind, release, session):
    """What the Catalog Archive Server says, and stars of which it says odd things.

    An id that it does not know is asked for again the next time.
    """
    found, odd = {name: [] for name in ids}, {}
    for row in _query(ids, kind, release, session):
        name = row["apogee_id"]
        try:
            place = Place(name, row["telescope"], row["field"][1:], row["file"])
        except FetchError as error:
            odd[name] = str(error)
            continue
        if name in found and place not in found[name]:
            found[name].append(place)
    found = {name: places for name, places in found.items() if name not in odd}
    for name, places in found.items():
        if places:
            rows = [[place.apogee_id, place.telescope, place.field, place.file] for place in places]
            write_json(_memory(name, kind, release, session), {"places": rows})
    return found, odd


def _query(ids, kind, release, session):
    listed = ", ".join(f"'{checked('APOGEE ID', name)}'" for name in ids)
    text = session.repeat(
        conf.skyserver_url, lambda: _answer(f"{SQL[kind]} WHERE apogee_id IN ({listed})", release, session)
    )
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    names = tuple(lines[0].split(",")) if lines else ()
    if names != _COLUMNS:
        raise Refusal(f"SkyServer sent {what_came(text.encode()[:500])} instead of a table of places")
    return rows


def _answer(sql, release, session):
    """The text of SkyServer's answer, through astroquery, whose own cache of responses is not used."""
    try:
        import requests
        from astroquery.sdss import SDSS
        from astroquery.sdss import conf as sdss_conf
    except ImportError as error:
        raise MissingExtraError(
            f"to look up where APOGEE stars lie, {error.name} is needed, which is not installed; run: pip install "
            "'specalign[fetch]', or pass catalogue= with the columns APOGEE_ID, TELESCOPE, FIELD and FILE"
        ) from error
    try:
        with sdss_conf.set_temp("skyserver_baseurl", conf.skyserver_url.rstrip("/")):
            number = int(release.removeprefix("dr"))
            answer = SDSS.query_sql_async(sql, data_release=number, timeout=session.timeout, cache=False)
    except requests.RequestException as error:
        raise PassingFault(f"SkyServer does not answer ({type(error).__name__})", answered=False) from None
    if answer.status_code in PASSING:
        wait = answer.headers.get("Retry-After", "")
        raise PassingFault(f"SkyServer answered {answer.status_code}", wait=float(wait) if wait.isdigit() else None)
    if answer.status_code != 200:
        raise Refusal(f"SkyServer answered {answer.status_code} with {what_came(answer.content[:500])}")
    return answer.text
