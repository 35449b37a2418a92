"""Open FITS files strictly.

astropy reads what it can of a damaged file: a truncated one gives a warning, a missing extension nothing at all.
`open_fits` checks the structure of the whole file first, from sizes that each header claims, and the checksums
where the file has them (FITS standard 4.0, sections 3 and 4.4.2.7, https://fits.gsfc.nasa.gov/fits_standard.html).
"""

import contextlib
import gzip
import warnings

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from specalign.exceptions import CorruptFileError, SpectrumError, UnknownProductError
from specalign.io.files import corrupt, existing_file, failing_as_corrupt, open_stream, plausible_size, size_of

__all__ = ["checksum_state", "encoded_text", "header_dict", "native", "open_fits", "require_columns"]

BLOCK = 2880
CHUNK = 400 * BLOCK
ALL_ONES = 0xFFFFFFFF
PADDING = 100 * BLOCK
BITPIX = (8, 16, 32, 64, -32, -64)


@contextlib.contextmanager
def open_fits(path, content=None):
    """Open a FITS file, plain or gzipped, only if all of it is there.

    Parameters
    ----------
    path : str or `~pathlib.Path`
    content : bytes, optional
        The file itself, where it comes out of an archive; ``path`` then only names it.

    Yields
    ------
    hdus : `~astropy.io.fits.HDUList`
        All headers are read, nothing is memory-mapped; the file is closed when the block ends.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    specalign.exceptions.CorruptFileError
        The file is truncated (anywhere but within the padding at its very end), a header claims more bytes than the
        file has, a checksum does not fit, or the content cannot be interpreted.
    specalign.exceptions.UnknownProductError
        The file is not FITS at all.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from specalign.io.fits_files import checksum_state, open_fits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "ones.fits"
    ...     fits.PrimaryHDU(np.ones(3)).writeto(path, checksum=True)
    ...     with open_fits(path) as hdus:
    ...         print(hdus[0].data, checksum_state(hdus))
    [1. 1. 1.] verified
    """
    path = existing_file(path) if content is None else path
    with open_stream(path, content) as stream, failing_as_corrupt(path), warnings.catch_warnings():
        _verify_structure(stream, path)
        stream.seek(0)
        # What astropy warns of (a card that is not standard, a cut within the last padding) was judged above.
        warnings.simplefilter("ignore", AstropyWarning)
        with fits.open(stream, mode="readonly", memmap=False, lazy_load_hdus=False) as hdus:
            yield hdus


def _verify_structure(stream, path):
    headers = []
    while (block := _read_header(stream, path, len(headers))) is not None:
        cards = _cards(block)
        _verify_data(stream, path, block, cards, len(headers))
        headers.append(cards)
    _verify_extensions(path, headers)
    _verify_checksum_keywords(path, headers)


def _read_header(stream, path, index):
    """The bytes of the next header, or None at the end of the file."""
    block = stream.read(BLOCK)
    start = b"XTENSION" if index else b"SIMPLE  ="
    if index and not block.strip(b"\0 "):
        return _end_of_padding(stream, path, index)
    if not block.startswith(start):
        raise _wrong_start(path, block, start, index)
    header = block
    while not _has_end(block):
        if len(block) < BLOCK:
            raise corrupt(path, f"the file ends within the header of extension {index}")
        block = stream.read(BLOCK)
        header += block
    if len(block) < BLOCK:
        raise corrupt(path, f"the file ends within the header of extension {index}")
    return header


def _end_of_padding(stream, path, index):
    rest = stream.read(PADDING)
    if rest.strip(b"\0 ") or stream.read(1):
        raise corrupt(path, f"bytes that belong to no extension follow extension {index - 1}")


def _wrong_start(path, block, start, index):
    if index:
        return corrupt(path, f"extension {index} begins with {block[:9]!r} instead of {start!r}, or is cut")
    if start.startswith(block[: len(start)]):
        return corrupt(path, f"the file has {len(block)} bytes, which is less than one FITS header")
    if path.name.lower().removesuffix(".gz").endswith((".fits", ".fit", ".fts")):
        return corrupt(path, f"a FITS file begins with {start!r}, and this one with {block[:9]!r}")
    return UnknownProductError(f"{path}: not a FITS file: it begins with {block[:9]!r} instead of {start!r}.")


def _has_end(block):
    return any(block[i : i + 80].rstrip() == b"END" for i in range(0, len(block), 80))


def _cards(header):
    """Keyword to text of its value: only what the structure of the file needs, so that no value can fail here."""
    cards = {}
    for i in range(0, len(header), 80):
        card = header[i : i + 80].decode("ascii", "replace")
        if card[8:10] == "= ":
            text = card[10:].strip()
            value = text[1:].split("'")[0] if text.startswith("'") else text.split("/")[0]
            cards.setdefault(card[:8].strip(), value.strip())
    return cards


def _integer(path, cards, key, default=None):
    try:
        return int(cards[key] if default is None else cards.get(key, default))
    except (KeyError, ValueError):
        raise corrupt(path, f"header keyword {key} is {cards.get(key)!r}, and an integer was expected") from None


def _claimed_size(path, cards):
    """Bytes of data that a header claims (FITS standard 4.0, equations 1 and 2)."""
    bitpix, naxis = _integer(path, cards, "BITPIX"), _integer(path, cards, "NAXIS")
    if bitpix not in BITPIX or not 0 <= naxis <= 999:
        raise corrupt(path, f"BITPIX = {bitpix} and NAXIS = {naxis} are not possible")
    shape = [_integer(path, cards, f"NAXIS{i}") for i in range(1, naxis + 1)]
    if cards.get("GROUPS") == "T" and shape and shape[0] == 0:
        shape = shape[1:]
    counts = _integer(path, cards, "PCOUNT", 0), _integer(path, cards, "GCOUNT", 1)
    if min([*shape, *counts], default=0) < 0:
        raise corrupt(path, f"the header claims a negative size: {shape}, PCOUNT and GCOUNT {counts}")
    elements = 1 if shape else 0
    for length in shape:
        elements *= length
    return abs(bitpix) // 8 * counts[1] * (counts[0] + elements)


def _verify_data(stream, path, header, cards, index):
    size = _claimed_size(path, cards)
    _verify_room(stream, path, size, index)
    has_sum = "CHECKSUM" in cards or "DATASUM" in cards
    held, total = _consume(stream, size + -size % BLOCK, has_sum)
    if held < size:
        raise corrupt(path, f"extension {index} claims {size} bytes of data, and the file holds {held} of them")
    if has_sum:
        _verify_sums(path, cards, index, total, _fold(total + _sum(header)))


def _verify_room(stream, path, size, index):
    """Refuse a size that cannot be true before anything is read."""
    if isinstance(stream, gzip.GzipFile):
        held = plausible_size(stream)
        if held < size:
            raise corrupt(
                path, f"extension {index} claims {size} bytes, which is not plausible for a file packed so small"
            )
        return
    held = size_of(stream) - stream.tell()
    if held < size:
        raise corrupt(path, f"extension {index} claims {size} bytes of data, and the file holds {held} of them")


def _consume(stream, size, summed):
    held = total = 0
    while held < size and (chunk := stream.read(min(CHUNK, size - held))):
        held += len(chunk)
        total = _fold(total + _sum(chunk)) if summed else 0
    return held, total


def _sum(chunk):
    words = np.frombuffer(chunk + b"\0" * (-len(chunk) % 4), dtype=">u4")
    return int(words.sum(dtype=np.uint64))


def _fold(total):
    """Ones' complement sum in 32 bits (FITS standard 4.0, appendix J)."""
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def _verify_sums(path, cards, index, data_sum, hdu_sum):
    stated = cards.get("DATASUM", "")
    if stated and (not stated.isdigit() or int(stated) != data_sum):
        raise corrupt(path, f"the data of extension {index} sum to {data_sum}, and DATASUM says {stated}")
    if cards.get("CHECKSUM") and hdu_sum != ALL_ONES:
        raise corrupt(path, f"the checksum of extension {index} does not fit its content")


def _verify_extensions(path, headers):
    expected = _integer(path, headers[0], "NEXTEND", 0)
    if len(headers) - 1 < expected:
        raise corrupt(path, f"the header announces {expected} extensions, and {len(headers) - 1} are there")
    if len(headers) == 1 and _integer(path, headers[0], "NAXIS") == 0:
        raise corrupt(path, "the file holds a header and no data")


def _verify_checksum_keywords(path, headers):
    """One damaged letter can hide the keyword CHECKSUM; the other extensions and DATASUM give it away."""
    if any("CHECKSUM" in cards for cards in headers):
        for index, cards in enumerate(headers):
            if "DATASUM" in cards and "CHECKSUM" not in cards:
                raise corrupt(path, f"extension {index} has lost its CHECKSUM, which the others have")


def checksum_state(hdus):
    """``"verified"`` where every extension of an opened file has a checksum, ``"partly"``, or ``"none"``.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from specalign.io.fits_files import checksum_state
    >>> hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU([1.0])])
    >>> checksum_state(hdus)
    'none'
    >>> hdus[1].add_checksum()
    >>> checksum_state(hdus)
    'partly'
    """
    stated = ["CHECKSUM" in hdu.header or "DATASUM" in hdu.header for hdu in hdus]
    return "verified" if all(stated) else "partly" if any(stated) else "none"


def require_columns(path, table, names):
    """Raise unless an extension is a table that has these columns and a row.

    Parameters
    ----------
    path : path-like
    table : HDU of `astropy.io.fits`
    names : sequence of str
        In any case, as in FITS.

    Raises
    ------
    specalign.exceptions.CorruptFileError
        With the columns that were expected and those that came.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from specalign.io.fits_files import require_columns
    >>> table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "E", array=[1.0])], name="SPEC")
    >>> require_columns("a.fits", table, ["flux"])
    >>> require_columns("a.fits", table, ["flux", "ivar"])
    Traceback (most recent call last):
    ...
    specalign.exceptions.CorruptFileError: a.fits: SPEC lacks the columns ivar: expected flux, ivar, got FLUX. ...
    """
    here = table.columns.names if isinstance(table, fits.BinTableHDU) else []
    missing = [name for name in names if name.lower() not in {one.lower() for one in here}]
    if missing:
        shown = ", ".join(here[:12]) + (", ..." if len(here) > 12 else "")
        raise CorruptFileError(
            f"{path}: {table.name} lacks the columns {', '.join(missing)}: expected {', '.join(names)}, got "
            f"{shown or 'no table'}. Fetch the file again; one that another program wrote can be read with specutils, "
            f"and prepare takes the spectrum with its facts."
        )
    if not len(table.data):
        raise corrupt(path, f"{table.name} has no row; expected one or more")


def encoded_text(name, values):
    """Texts as UTF-8 bytes (N,), since FITS knows ASCII only.

    Raises
    ------
    specalign.exceptions.SpectrumError
        A text ends with a blank, which FITS does not keep, so that it would come back as another one; or it has half
        a character.

    Examples
    --------
    >>> from specalign.io.fits_files import encoded_text
    >>> encoded_text("object_id", ["Vega", "\u03b2 Pic"])
    array([b'Vega', b'\\xce\\xb2 Pic'], dtype='|S6')
    """
    values = np.asarray(values, dtype=str)
    if (cut := np.char.rstrip(values) != values).any():
        raise SpectrumError(f"{name}: {str(values[cut][0])!r} ends with a blank, which FITS does not keep; strip it")
    try:
        return np.char.encode(values, "utf-8")
    except UnicodeEncodeError as error:
        raise SpectrumError(f"{name}: {error.object!r} is no valid text ({error.reason})") from error


def native(array, dtype=None):
    """A contiguous copy in the byte order of this machine, which torch and numba need.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.io.fits_files import native
    >>> native(np.array([1, 2], dtype=">f4")).dtype.isnative
    True
    """
    array = np.asarray(array)
    with np.errstate(invalid="ignore", over="ignore"):  # a signalling NaN is a NaN like the others
        return np.array(array, dtype=dtype or array.dtype.newbyteorder("="), order="C", copy=True)


def header_dict(header):
    """A header as a plain dict, without comments and history; undefined values are None.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from specalign.io.fits_files import header_dict
    >>> header_dict(fits.Header([("OBJECT", "M71"), ("VRAD", None), ("COMMENT", "long")]))
    {'OBJECT': 'M71', 'VRAD': None}
    """
    plain = {}
    for key in header:
        if key and key not in ("COMMENT", "HISTORY"):
            value = _card_value(header, key)
            plain[key] = None if isinstance(value, fits.card.Undefined) else value
    return plain


def _card_value(header, key):
    """A value, also of a card that is not standard, such as the unquoted NAN in APOGEE's files."""
    try:
        return header[key]
    except fits.VerifyError:
        header.cards[key].verify("silentfix")
        return header[key]
