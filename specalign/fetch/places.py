"""Where the Science Archive Server keeps an APOGEE star: its telescopes, fields and visits.

A star's files lie in a folder a telescope and field, which its name does not tell.  They come from a catalogue of the
user's (allStar, allStarLite; allVisit for visits), or from the tables apogeeStar and apogeeVisit of the Catalog Archive
Server (https://skyserver.sdss.org/dr17/MoreTools/browser), with the questions of astroquery.  What was found is kept in
the cache: a release does not change.
"""

import csv
import io
import re
from dataclasses import dataclass
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits
from astropy.table import Table

from specalign.exceptions import FetchError, MissingExtraError
from specalign.fetch.cache import read_json, write_json
from specalign.fetch.content import what_came
from specalign.fetch.identifiers import checked
from specalign.fetch.settings import conf
from specalign.fetch.transport import MissingFile, PassingFault, Refusal, Request, read_all

__all__ = ["Place", "find_places"]

DOMAIN = "sdss.org"
PATIENCE = 300.0  # seconds
LARGEST_ANSWER = 2**24  # bytes
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
        except (MissingFile, PassingFault, Refusal) as fault:
            known, odd = {}, dict.fromkeys(batch, f"SkyServer: {fault}")
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
        place = _place_in(columns, row)
        if place not in found[place.apogee_id]:
            found[place.apogee_id].append(place)
    return found


def _place_in(columns, row):
    """The place that a row of a catalogue tells; where it tells no file, that follows from the rest."""
    values = [_cell(columns[name][row]) for name in _CATALOGUE if name in columns]
    try:
        return Place(*values)
    except FetchError as error:
        raise FetchError(f"row {row} of the catalogue, star {values[0]!r}: {error}") from None


def _cell(value):
    return "" if value is np.ma.masked else str(np.asarray(value).astype(str)).strip()


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
    """Places that SkyServer told earlier; a memory that was changed counts as none."""
    found = read_json(_memory(name, kind, release, session)) or {}
    try:
        places = [Place(*values) for values in found.get("places", [])]
    except (FetchError, TypeError):
        return []
    return places if all(place.apogee_id == name for place in places) else []


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
    sql = f"{SQL[kind]} WHERE apogee_id IN ({listed})"
    request = Request(_address(sql, release), DOMAIN, patience=PATIENCE)
    content = session.perform(lambda: request, lambda answer, asked: read_all(answer, asked, LARGEST_ANSWER))
    text = content.decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    names = tuple(lines[0].split(",")) if lines else ()
    if names != _COLUMNS:
        raise Refusal(f"it sent {what_came(content[:500])} instead of a table of places")
    return rows


def _address(sql, release):
    """The address of a question: astroquery knows the page and its form, and the session asks, as politely as ever."""
    try:
        from astroquery.sdss import SDSS
    except ImportError as error:
        raise MissingExtraError(
            f"to look up where APOGEE stars lie, {error.name} is needed, which is not installed; run: pip install "
            "'specalign[fetch]', or pass catalogue= with the columns APOGEE_ID, TELESCOPE, FIELD and FILE"
        ) from error
    number = int(release.removeprefix("dr"))
    form = SDSS.query_sql_async(sql, data_release=number, get_query_payload=True)
    page = SDSS.QUERY_URL_SUFFIX_DR_NEW.format(dr=number)
    return f"{conf.skyserver_url.rstrip('/')}{page}?{urlencode(form)}"
