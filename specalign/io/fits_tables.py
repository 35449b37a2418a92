"""Tables as extensions of a FITS file, with all that they hold: masks, times, places on the sky, text of any language.

astropy keeps what FITS has no place for in comments of the header, from which it makes the columns again.  Other
programs see the columns themselves.
"""

import io
import warnings

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, QTable
from astropy.table.meta import YamlParseError
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked

from specalign.exceptions import SpectrumError
from specalign.io.fits_files import encoded_text

__all__ = ["read_table_hdu", "table_hdu", "unit_text"]

#: FITS has no column of these kinds: objects, dates and durations of numpy, structures.
NO_PLACE = "OMmV"
LONGEST_NAME = 60  # characters of a name that fit into a header card


def table_hdu(name, table):
    """A table as an extension; its ``meta`` is left to the caller.

    Parameters
    ----------
    name : str
        Of the extension.
    table : `~astropy.table.QTable`

    Returns
    -------
    `~astropy.io.fits.BinTableHDU`

    Raises
    ------
    specalign.exceptions.SpectrumError
        A column would come back as another one, or not at all.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import MaskedColumn, QTable
    >>> from specalign.io.fits_tables import read_table_hdu, table_hdu
    >>> table = QTable({"teff": [4800.0, 5700.0] * u.K, "visits": MaskedColumn([3, 0], mask=[False, True])})
    >>> hdu = table_hdu("ROWS", table)
    >>> hdu.columns.names, read_table_hdu(hdu)["visits"].tolist()
    (['teff', 'visits', 'visits.mask'], [3, None])
    """
    content, kept = io.BytesIO(), _kept(name, table)
    try:
        with warnings.catch_warnings():
            # the unit stands in the comments, from which it is read again
            warnings.filterwarnings("ignore", "The unit .* could not be saved in native FITS", AstropyUserWarning)
            kept.write(content, format="fits")
    except (AssertionError, AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise SpectrumError(f"{name}: a FITS file does not keep this table ({error})") from error
    content.seek(0)
    with fits.open(content, memmap=False) as hdus:
        hdu = hdus[1]
        hdu.name, _ = name, hdu.data  # read before the buffer is closed
    return hdu


def _kept(where, table):
    """A copy whose columns come back as they are: text as UTF-8, and masks beside the values."""
    columns = {name: _column(f"{where}: {name}", table[name]) for name in table.colnames}
    for name, column in columns.items():
        _check_name(where, name)
        if isinstance(column, (MaskedColumn, Masked)) and hasattr(column, "dtype"):  # a Time keeps its mask itself
            column.info.serialize_method["fits"] = "data_mask"
    return QTable(columns, copy=False)


def _column(where, column):
    dtype = getattr(column, "dtype", None)
    if dtype is None:  # a time, a place on the sky: astropy's own
        return column.copy()
    if dtype.kind in NO_PLACE or (dtype.kind in "fc" and dtype.itemsize > 16):
        raise SpectrumError(f"{where}: FITS has no column of {dtype}; make it numbers, text or an astropy Time")
    if getattr(column, "unit", None) is not None:
        unit_text(where, column.unit)
    if dtype.kind == "U":
        return _with_mask(column, encoded_text(where, np.ma.getdata(column)))
    if dtype == np.int8:  # which astropy takes for a bool
        return column.astype(np.int16)
    return column.copy()


def _with_mask(column, values):
    return MaskedColumn(values, mask=column.mask) if isinstance(column, MaskedColumn) else values


def _check_name(where, name):
    if not (name.isascii() and name.isprintable() and 0 < len(name) <= LONGEST_NAME):
        raise SpectrumError(
            f"{where}: FITS does not keep the column name {name[:LONGEST_NAME]!r}; rename it, to at most "
            f"{LONGEST_NAME} ASCII letters, digits and underscores"
        )


def unit_text(where, unit):
    """A unit as text that astropy understands again.

    Raises
    ------
    specalign.exceptions.SpectrumError
        It is a unit of the user's own.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.io.fits_tables import unit_text
    >>> unit_text("flux_unit", u.Unit("1e-17 erg / (s cm2 AA)"))
    '1e-17 erg / (Angstrom s cm2)'
    >>> unit_text("flux_unit", u.def_unit("count_of_mine"))
    Traceback (most recent call last):
    specalign.exceptions.SpectrumError: flux_unit: a file does not keep the unit count_of_mine, which astropy ...
    """
    text = u.Unit(unit).to_string("generic")
    try:
        known = u.Unit(text) == unit
    except (TypeError, ValueError):
        known = False
    if not known:
        raise SpectrumError(f"{where}: a file does not keep the unit {text}, which astropy does not know; convert it")
    return text


def read_table_hdu(hdu):
    """The table of an extension that `table_hdu` made, in the byte order of this machine.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from specalign.io.fits_tables import read_table_hdu, table_hdu
    >>> read_table_hdu(table_hdu("ROWS", QTable({"name": ["\u03b2 Pic"]})))["name"].tolist()
    ['β Pic']
    """
    try:
        table = QTable.read(hdu, mask_invalid=False, astropy_native=True)
    except YamlParseError as error:
        raise ValueError(f"the comments of {hdu.name} are damaged") from error
    for name in table.colnames:
        column = table[name]
        dtype = getattr(column, "dtype", np.dtype(float))
        if dtype.kind == "S":
            table[name] = _with_mask(column, np.char.decode(np.ma.getdata(column), "utf-8"))
        elif not dtype.isnative:
            table[name] = column.astype(dtype.newbyteorder("="))
    table.meta.clear()
    return table
