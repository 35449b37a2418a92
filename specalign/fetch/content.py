"""Whether what came is what was asked for: a page with status 200 may be a login, an error or half of a file."""

import re

from specalign.exceptions import CorruptFileError, UnknownProductError
from specalign.io.fits_files import open_fits

__all__ = ["Damage", "check_fits", "is_gzip", "is_zip", "what_came"]

GZIP, ZIP, FITS = b"\x1f\x8b", b"PK\x03\x04", b"SIMPLE  ="
_SHOWN = 100


class Damage(Exception):
    """What came is cut or damaged."""


def is_gzip(path):
    """Whether a file is gzipped, whatever it is called.

    Examples
    --------
    >>> import gzip, tempfile
    >>> from pathlib import Path
    >>> from specalign.fetch.content import is_gzip
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a"
    ...     _ = path.write_bytes(gzip.compress(b"abc"))
    ...     is_gzip(path)
    True
    """
    return head(path).startswith(GZIP)


def is_zip(path):
    """Whether a file is a zip archive with members.

    Examples
    --------
    >>> import tempfile, zipfile
    >>> from pathlib import Path
    >>> from specalign.fetch.content import is_zip
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with zipfile.ZipFile(Path(folder) / "a", "w") as archive:
    ...         archive.writestr("member", "abc")
    ...     is_zip(Path(folder) / "a")
    True
    """
    return head(path).startswith(ZIP)


def head(path):
    """The first bytes of a file."""
    with open(path, "rb") as stream:
        return stream.read(2048)


def what_came(start):
    """The first bytes of something that is not the file, in words.

    Parameters
    ----------
    start : bytes

    Returns
    -------
    str

    Examples
    --------
    >>> from specalign.fetch.content import what_came
    >>> what_came(b"<!DOCTYPE html><title>Log in</title>")
    "a web page ('Log in')"
    >>> what_came(b'{"error": "no such obsid"}')
    'a message (\\'{"error": "no such obsid"}\\')'
    """
    if not start:
        return "nothing"
    text = start.decode("utf-8", errors="replace").lstrip("\ufeff \r\n\t")
    if re.match(r"<(!doctype|html|head|body)", text, flags=re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, flags=re.IGNORECASE | re.DOTALL)
        return f"a web page ({_short(title[1] if title else 'without a title')!r})"
    if text[:1] in "{[<" or text.isprintable():
        return f"a message ({_short(text)!r})"
    return f"something that begins with {start[:12]!r}"


def _short(text):
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def check_fits(path):
    """All of a FITS file is there, plain or gzipped.

    Parameters
    ----------
    path : `~pathlib.Path`

    Returns
    -------
    headers : list of `~astropy.io.fits.Header`
        Of all extensions.

    Raises
    ------
    Damage
        It is FITS, and cut or damaged.
    specalign.exceptions.UnknownProductError
        It is something else; the message says what.
    """
    start = head(path)
    if not start.startswith((FITS, GZIP)):
        raise UnknownProductError(f"{what_came(start)} came instead of a FITS file")
    try:
        with open_fits(path) as hdus:
            return [hdu.header.copy() for hdu in hdus]
    except CorruptFileError as error:
        text = str(error).removeprefix(f"{path}: ")
        raise Damage(text.partition(". The file is truncated")[0]) from None
