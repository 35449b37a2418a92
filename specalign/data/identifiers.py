"""Identifiers of rows as text, whatever type a file gave them."""

import re

import numpy as np

__all__ = ["read_identifiers"]

_INEXACT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
_NOTHING = ("None", "nan", "NaT", "<NA>", "--")  # what None, NaN, pandas.NA and masked print as


def read_identifiers(column, where, error, needed=True):
    """Identifiers as text without spaces around them.

    Parameters
    ----------
    column : (N,) array or column
        Text, bytes or integers; among objects None and NaN are missing ones.
    where : str
        File and column, for messages.
    error : type
        Class of the errors.
    needed : bool
        If False, a missing one becomes "".

    Returns
    -------
    (N,) str

    Raises
    ------
    ``error``
        They are floating-point numbers, also where those are written as text, or one is missing.

    Examples
    --------
    >>> from specalign.data.identifiers import read_identifiers
    >>> read_identifiers([b"2M00 ", b"2M01"], "column 'id'", ValueError)
    array(['2M00', '2M01'], dtype='<U5')
    """
    mask = np.asarray(getattr(column, "mask", False)) & np.ones(len(column), bool)
    values = np.asarray(np.ma.getdata(getattr(column, "unmasked", column)))
    if values.dtype.kind == "O":
        values, missing = _from_objects(values)
        mask |= missing
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    ids = np.char.strip(values.astype(str)) if len(values) else np.zeros(0, "U1")
    texts = ids.tolist() if values.dtype.kind not in "iu" else []
    inexact = [row for row, text in enumerate(texts) if _INEXACT.fullmatch(text) and not mask[row]]
    if inexact or (values.dtype.kind == "f" and len(values)):
        row = inexact[0] if inexact else 0
        raise error(
            f"{where}: identifiers are floating-point numbers, which are not exact (row {row}: {ids[row]}); "
            f"give text or integers"
        )
    ids = np.where(mask, "", ids)
    empty = np.flatnonzero(ids == "")
    if empty.size and needed:
        raise error(
            f"{where}: {empty.size} rows have no identifier, the first is row {empty[0]}; give each row one, "
            f"or remove it"
        )
    return ids


def _from_objects(values):
    """Text of objects, as data frames hold them, and which of them stand for nothing: None, NaN and the like (N,)."""
    named = [isinstance(value, str | bytes | int | np.integer) for value in values]
    missing = [not good and str(value) in _NOTHING for good, value in zip(named, values, strict=True)]
    text = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    return np.array(text, dtype=str), np.array(missing, dtype=bool)
