"""Identifiers that users and servers give: only those that have the form of one become an address or a file name."""

import re

import numpy as np

from specalign.exceptions import FetchError

__all__ = ["check_limit", "checked", "unique_ids"]

_SHOWN = 100
#: Forms of identifiers, each with an example.
FORMS = {
    "APOGEE ID": (r"[0-9A-Za-z][\w.+-]{0,40}", "2M17335483-2753043"),
    "field": (r"[0-9A-Za-z][\w.+-]{0,60}", "000+02"),
    "telescope": (r"apo25m|lco25m|apo1m", "apo25m"),
    "sdss_id": (r"[0-9]{1,12}", "114879184"),
    "obsid": (r"[0-9]{1,15}", "437513049"),
    "source_id": (r"[1-9][0-9]{0,17}|[1-6][0-9]{18}", "5937083312263887616"),
    "obs_id": (r"jw[0-9]{5}[\w-]{1,90}", "jw02736-o007_s06355_nirspec_f290lp-g395m"),
    "proposal_id": (r"[0-9]{1,5}", "2609"),
    "target_name": (r"[^\x00-\x1f]{1,80}", "M-71"),
    "release": (r"dr[0-9]{1,2}", "dr17"),
    "version": (r"v[0-9](\.[0-9]){0,2}", "v2.0"),
    "file name": (r"[0-9A-Za-z][\w.+-]{0,120}\.fits(\.gz)?", "aspcapStar-dr17-2M17335483-2753043.fits"),
}


def checked(kind, value):
    """An identifier as text, if it has the form of its kind.

    Parameters
    ----------
    kind : str
        A key of ``FORMS``.
    value : str or int

    Returns
    -------
    str

    Raises
    ------
    specalign.exceptions.FetchError

    Examples
    --------
    >>> from specalign.fetch.identifiers import checked
    >>> checked("obsid", 437513049)
    '437513049'
    """
    form, example = FORMS[kind]
    text = _text(value)
    if not re.fullmatch(form, text, flags=re.ASCII) or ".." in text or "--" in text:
        raise FetchError(f"{kind}: expected something like {example!r}, got {text[:_SHOWN]!a}")
    return text


def _text(value):
    if value is np.ma.masked:
        return "-- (masked)"
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except ValueError:  # bytes that are no text, or a number of thousands of digits
        return ascii(value[:20]) if isinstance(value, bytes) else "a number of thousands of digits"


def unique_ids(kind, values):
    """Identifiers without repeats, in their order, each checked.

    Parameters
    ----------
    kind : str
    values : str, int or sequence of them
        A column of a table will do.

    Returns
    -------
    list of str

    Raises
    ------
    specalign.exceptions.FetchError
        One has another form, or none is given; nothing is fetched then.

    Examples
    --------
    >>> from specalign.fetch.identifiers import unique_ids
    >>> unique_ids("obsid", [7, "8", 7])
    ['7', '8']
    """
    try:
        values = [values] if isinstance(values, (str, bytes)) else list(values)
    except TypeError:  # one number
        values = [values]
    if not values:
        raise FetchError(f"{kind}: expected at least one, got none")
    return list(dict.fromkeys(checked(kind, value) for value in values))


def check_limit(number, limit, largest, what="objects"):
    """Refuse more than a call fetches without being told to.

    Parameters
    ----------
    number : int
        How many were asked for.
    limit : int or None
        What the call allows.
    largest : int
        What is allowed where it says nothing.
    what : str

    Raises
    ------
    specalign.exceptions.FetchError

    Examples
    --------
    >>> from specalign.fetch.identifiers import check_limit
    >>> check_limit(2000, 5000, 1000)
    """
    allowed = largest if limit is None else limit
    if number > allowed:
        raise FetchError(
            f"{number} {what} were asked for, and not more than {allowed} are fetched; pass limit={number} if you mean "
            f"it, and see the archive's page on bulk downloads first"
        )
