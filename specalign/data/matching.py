"""Join the rows of two tables by identifier or by position on the sky, never by their place in a file."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time

from specalign.exceptions import MatchError

__all__ = ["match"]

_SHOWN = 5


def match(table_a, table_b, by="object_id", radius=None, epoch=None):
    """Pairs of rows of two tables that are the same star.

    Parameters
    ----------
    table_a, table_b : PreparedSpectra, EmbeddingTable or `~astropy.table.Table`
        Rows that have ``by``; for the sky ra and dec (columns, or in the ``catalog`` of prepared spectra).
    by : {"object_id", "spectrum_id", "sky"}
        An identifier may occur in several rows (visits): then all pairs of rows are given.
    radius : `~astropy.units.Quantity`, optional
        Largest separation; needed for the sky, where stars that are each other's nearest neighbours are joined, with
        all rows of their object_id (where the tables have it).
    epoch : `~astropy.time.Time` or float (Julian year), optional
        Epoch at which the positions are compared.  Each table then needs pmra and pmdec (pmra includes cos(dec)) and
        the epoch of its positions: a column ``epoch`` (Julian years), or ``meta["epoch"]``.

    Returns
    -------
    `~astropy.table.QTable`
        ``index_a``, ``index_b`` (rows), ``id_a``, ``id_b`` (their identifiers, "" where there are none), and
        ``separation`` (arcsec) for the sky; sorted by ``id_a``, ``id_b``, then the indices.  ``meta`` has, for
        ``unmatched_a``, ``unmatched_b``, ``ambiguous_a`` and ``ambiguous_b``, the sorted indices of rows: ambiguous are
        those that have more than one star of the other table within the radius (sky), or whose identifier is repeated.
        Rows without a finite position are unmatched, and again in ``without_position_a`` and ``without_position_b``.

    Raises
    ------
    MatchError
        A column, its unit, the radius or the epoch is missing, or not one row is in common.

    Examples
    --------
    >>> from astropy.table import Table
    >>> import specalign as sa
    >>> pairs = sa.match(Table({"object_id": ["a", "b"]}), Table({"object_id": ["b", "c", "b"]}))
    >>> pairs["id_a", "index_a", "index_b"].as_array().tolist()
    [('b', 1, 0), ('b', 1, 2)]
    >>> pairs.meta["unmatched_a"], pairs.meta["ambiguous_b"]
    ([0], [0, 2])
    """
    if by not in ("object_id", "spectrum_id", "sky"):
        raise MatchError(f"by: expected 'object_id', 'spectrum_id' or 'sky', got {by!r}")
    if by == "sky":
        rows_a, rows_b, columns, report = _by_sky(table_a, table_b, radius, epoch)
    else:
        if radius is not None or epoch is not None:
            raise MatchError(f"radius and epoch belong to by='sky', and by is {by!r}")
        rows_a, rows_b, columns, report = _by_identifier(table_a, table_b, by)
    ids = [_identifiers(t, "object_id" if by == "sky" else by, needed=by != "sky") for t in (table_a, table_b)]
    if not len(rows_a):
        raise MatchError(f"no row of the tables is in common: {_say(ids[0], ids[1])}")
    return _pairs(rows_a, rows_b, ids, columns, report, (len(table_a), len(table_b)))


def _say(ids_a, ids_b):
    first, second = (", ".join(map(str, ids[:_SHOWN])) for ids in (ids_a, ids_b))
    return (
        f"one has {len(ids_a)} rows ({first} ...), the other {len(ids_b)} ({second} ...); check identifiers and radius"
    )


def _pairs(rows_a, rows_b, ids, columns, report, lengths):
    order = np.lexsort((rows_b, rows_a, ids[1][rows_b], ids[0][rows_a]))
    rows_a, rows_b = rows_a[order], rows_b[order]
    table = QTable({"index_a": rows_a, "index_b": rows_b, "id_a": ids[0][rows_a], "id_b": ids[1][rows_b]})
    for name, values in columns.items():
        table[name] = values[order]
    for side, rows, length in zip("ab", (rows_a, rows_b), lengths, strict=True):
        table.meta[f"unmatched_{side}"] = np.setdiff1d(np.arange(length), rows).tolist()
    table.meta.update({name: np.unique(rows).tolist() for name, rows in report.items()})
    return table


def _identifiers(table, name, needed=True):
    values = _column(table, name)
    if values is None and not needed:
        return np.full(len(table), "")
    if values is None:
        raise MatchError(f"expected a column {name!r}, got {_names(table)}")
    mask = np.asarray(getattr(values, "mask", False)) & np.ones(len(table), bool)
    values = np.asarray(np.ma.getdata(values))
    values = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    if values.dtype.kind == "f":
        raise MatchError(f"column {name!r}: identifiers are floating-point numbers, which are not exact; give text")
    ids = np.char.strip(values.astype(str))
    empty = np.flatnonzero(mask | (ids == ""))
    if empty.size and needed:
        raise MatchError(f"column {name!r}: {empty.size} rows have no identifier, the first is row {empty[0]}")
    return ids


def _column(table, name):
    if isinstance(table, Table):
        return table[name] if name in table.colnames else None
    if hasattr(table, name):
        return getattr(table, name)
    catalog = getattr(table, "catalog", None)
    return catalog[name] if catalog is not None and name in catalog.colnames else None


def _names(table):
    return table.colnames if isinstance(table, Table) else f"a {type(table).__name__} without it"


def _by_identifier(table_a, table_b, name):
    ids_a, ids_b = _identifiers(table_a, name), _identifiers(table_b, name)
    report = {"ambiguous_a": _repeated(ids_a), "ambiguous_b": _repeated(ids_b)}
    return *_equal(ids_a, ids_b), {}, report


def _equal(values_a, values_b):
    """All pairs of indices with equal values."""
    order = np.argsort(values_b, kind="stable")
    start = np.searchsorted(values_b[order], values_a, side="left")
    count = np.searchsorted(values_b[order], values_a, side="right") - start
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(np.arange(len(values_a)), count), order[np.repeat(start, count) + within]


def _repeated(ids):
    _, inverse, count = np.unique(ids, return_inverse=True, return_counts=True)
    return np.flatnonzero(count[inverse] > 1)


def _by_sky(table_a, table_b, radius, epoch):
    if radius is None:
        raise MatchError("by='sky' needs a radius, such as 1 * u.arcsec")
    radius = _as_quantity(radius, "radius", u.deg)
    (sky_a, star_a), (sky_b, star_b) = _stars(table_a, epoch, "the first table"), _stars(table_b, epoch, "the second")
    if not (len(sky_a) and len(sky_b)):
        raise MatchError("one of the tables has not one row with a finite position")
    nearest_b, separation, _ = sky_a.match_to_catalog_sky(sky_b)
    nearest_a = sky_b.match_to_catalog_sky(sky_a)[0]
    joined = (nearest_a[nearest_b] == np.arange(len(sky_a))) & (separation <= radius)
    partner = np.append(np.where(joined, nearest_b, -2), -2)  # the last one is for rows without a star, -1
    rows_a, rows_b = _equal(partner[star_a], star_b)
    close_b, close_a, _, _ = sky_a.search_around_sky(sky_b, radius)
    report = {}
    for side, star, close in (("a", star_a, close_a), ("b", star_b, close_b)):
        report[f"ambiguous_{side}"] = np.flatnonzero(np.isin(star, np.flatnonzero(np.bincount(close) > 1)))
        report[f"without_position_{side}"] = np.flatnonzero(star < 0)
    return rows_a, rows_b, {"separation": separation[star_a[rows_a]].to(u.arcsec)}, report


def _stars(table, epoch, which):
    """One position a star (S,), and the number of the star of each row (N,), -1 for rows without a position."""
    ra, dec = _positions(table, epoch, which)
    ids = _identifiers(table, "object_id", needed=False)
    ids = np.where(ids == "", np.arange(len(table)).astype(str), ids) if (ids == "").any() else ids
    good = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    good = good[np.lexsort((dec[good], ra[good], ids[good]))]  # so that the order of rows does not choose a position
    _, first, number = np.unique(ids[good], return_index=True, return_inverse=True)
    star = np.full(len(table), -1)
    star[good] = number
    return SkyCoord(ra[good[first]], dec[good[first]], unit="deg"), star


def _as_quantity(value, name, unit):
    try:
        return u.Quantity(value).to(unit)
    except u.UnitConversionError as error:
        raise MatchError(f"{name}: expected a quantity in units such as {unit}, got {value!r}") from error


def _positions(table, epoch, which):
    """Right ascension and declination (N,) in degrees, moved to the epoch where one is given."""
    ra, dec = (_degrees(table, name, u.deg, which) for name in ("ra", "dec"))
    if epoch is None:
        return ra, dec
    years = _years(epoch) - _epoch_of(table, which)
    shift_ra, shift_dec = (years * _degrees(table, name, u.deg / u.yr, which) for name in ("pmra", "pmdec"))
    good = np.isfinite(ra + dec + shift_ra + shift_dec)
    moved = np.full((2, len(table)), np.nan)
    # Along a great circle: without parallax and radial velocity there is no perspective acceleration.
    start = SkyCoord(ra[good], dec[good], unit="deg")
    angle, length = np.arctan2(shift_ra, shift_dec)[good] * u.rad, np.hypot(shift_ra, shift_dec)[good] * u.deg
    there = start.directional_offset_by(angle, length)
    moved[:, good] = there.ra.deg, there.dec.deg
    return moved


def _years(epoch):
    return epoch.jyear if isinstance(epoch, Time) else float(epoch)


def _epoch_of(table, which):
    column = _column(table, "epoch")
    if column is not None:
        return _years(column) if isinstance(column, Time) else np.asarray(getattr(column, "value", column), float)
    meta = getattr(table, "meta", None) or {}
    if "epoch" not in meta:
        raise MatchError(f"{which} does not say of which epoch its positions are; add a column or meta value 'epoch'")
    return _years(meta["epoch"])


def _degrees(table, name, unit, which):
    """A column (N,) in degrees (a year), NaN where it is masked."""
    values = _column(table, name)
    if values is None:
        raise MatchError(f"{which}: expected a column {name!r}, got {_names(table)}")
    if getattr(values, "unit", None) is None:
        raise MatchError(f"{which}: column {name!r} has no unit; expected one such as {unit}")
    mask = np.asarray(getattr(values, "mask", False)) & np.ones(len(table), bool)
    plain = np.asarray(np.ma.getdata(getattr(values, "unmasked", values)), dtype=float)
    return np.where(mask, np.nan, _as_quantity(plain * values.unit, f"{which}: column {name!r}", unit).value)
