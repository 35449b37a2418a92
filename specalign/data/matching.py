"""Join the rows of two tables by identifier or by position on the sky, never by their place in a file."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time

from specalign.data.columns import plain_values
from specalign.data.identifiers import read_identifiers
from specalign.exceptions import MatchError

__all__ = ["match", "match_report"]

_SHOWN = 5
_YEARS = (1800, 2200)  # anything else is no Julian year, but a date or a Julian day


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
    epoch : `~astropy.time.Time`, float (Julian year) or str such as "J2016.0", optional
        Epoch at which the positions are compared; without it they are compared as they are.  Each table then needs
        pmra and pmdec (pmra includes cos(dec)) and the epoch of its positions: a column ``epoch`` (Julian years), or
        ``meta["epoch"]``.

    Returns
    -------
    `~astropy.table.QTable`
        ``index_a``, ``index_b`` (rows), ``id_a``, ``id_b`` (their identifiers, "" where there are none), and
        ``separation`` (arcsec) for the sky; sorted by ``id_a``, ``id_b``, then the indices.  ``meta`` has, for
        ``unmatched_a``, ``unmatched_b``, ``ambiguous_a`` and ``ambiguous_b``, the sorted indices of rows: ambiguous are
        those that have more than one star of the other table within the radius (sky), or whose identifier is repeated.
        Rows without a finite position are unmatched, and again in ``without_position_a`` and ``without_position_b``;
        with an epoch so are those without a finite proper motion or epoch of their own (``without_motion_a``,
        ``without_motion_b``).  `match_report` makes a table of all this.

    Raises
    ------
    MatchError
        A column, its unit, the radius or the epoch is missing or not possible, or not one row is in common.

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
    table.meta["rows"], table.meta["first_ids"] = {}, {}
    for side, rows, length, names in zip("ab", (rows_a, rows_b), lengths, ids, strict=True):
        table.meta["rows"][side] = {"all": length, "matched": len(np.unique(rows))}
        for reason in _REASONS:
            listed = table.meta.get(f"{reason}_{side}", [])
            table.meta["first_ids"][f"{reason}_{side}"] = [names[row] or f"row {row}" for row in listed[:_SHOWN]]
    return table


_REASONS = ("unmatched", "ambiguous", "without_position", "without_motion")


def match_report(pairs):
    """How many rows of each table were matched, and how many were not or only with doubt, with the first of them.

    Parameters
    ----------
    pairs : `~astropy.table.QTable`
        From `match`.

    Returns
    -------
    `~astropy.table.Table`
        table ("a" or "b"), what ("all", "matched", "unmatched", "ambiguous", "without_position", "without_motion"),
        n (rows), first_ids.  all = matched + unmatched; the last two are among the unmatched.

    Examples
    --------
    >>> from astropy.table import Table
    >>> import specalign as sa
    >>> from specalign.data.matching import match_report
    >>> pairs = sa.match(Table({"object_id": ["a", "b"]}), Table({"object_id": ["b", "c", "b"]}))
    >>> for row in match_report(pairs):
    ...     print(*row.values())
    a all 2
    a matched 1
    a unmatched 1 a
    b all 3
    b matched 2
    b unmatched 1 c
    b ambiguous 2 b, b
    """
    rows = []
    for side, counts in pairs.meta["rows"].items():
        rows += [(side, what, n, "") for what, n in counts.items()]
        for reason in _REASONS:
            listed = pairs.meta.get(f"{reason}_{side}", [])
            if listed:
                rows.append(
                    (side, reason, len(listed), _first(pairs.meta["first_ids"][f"{reason}_{side}"], len(listed)))
                )
    return Table(rows=rows, names=("table", "what", "n", "first_ids"))


def _first(names, n):
    return ", ".join(map(str, names)) + (", ..." if n > len(names) else "")


def _identifiers(table, name, needed=True):
    values = _column(table, name)
    if values is None and not needed:
        return np.full(len(table), "")
    if values is None:
        raise MatchError(f"expected a column {name!r}, got {_names(table)}")
    return read_identifiers(values, f"column {name!r}", MatchError, needed)


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
    radius = _checked_radius(radius)
    (sky_a, star_a, report_a), (sky_b, star_b, report_b) = (
        _stars(table, epoch, which) for table, which in ((table_a, "the first table"), (table_b, "the second table"))
    )
    if not (len(sky_a) and len(sky_b)):
        raise MatchError("one of the tables has not one row with a finite position" + (" and motion" if epoch else ""))
    nearest_b, separation, _ = sky_a.match_to_catalog_sky(sky_b)
    nearest_a = sky_b.match_to_catalog_sky(sky_a)[0]
    joined = (nearest_a[nearest_b] == np.arange(len(sky_a))) & (separation <= radius)
    partner = np.append(np.where(joined, nearest_b, -2), -2)  # the last one is for rows without a star, -1
    rows_a, rows_b = _equal(partner[star_a], star_b)
    close_b, close_a, _, _ = sky_a.search_around_sky(sky_b, radius)
    report = {}
    for side, star, close, missing in (("a", star_a, close_a, report_a), ("b", star_b, close_b, report_b)):
        report[f"ambiguous_{side}"] = np.flatnonzero(np.isin(star, np.flatnonzero(np.bincount(close) > 1)))
        report |= {f"{reason}_{side}": rows for reason, rows in missing.items()}
    return rows_a, rows_b, {"separation": separation[star_a[rows_a]].to(u.arcsec)}, report


def _checked_radius(radius):
    if radius is None:
        raise MatchError("by='sky' needs a radius, such as 1 * u.arcsec")
    angle = _as_quantity(radius, "radius", u.deg)
    if not (angle.isscalar and 0 < angle.value < 180):
        raise MatchError(f"radius: expected one positive angle, such as 1 * u.arcsec, got {radius!r}")
    return angle


def _stars(table, epoch, which):
    """One position a star (S,), the number of the star of each row (N,), -1 for those without, and which those are."""
    ra, dec, report = _positions(table, epoch, which)
    ids = _identifiers(table, "object_id", needed=False)
    ids = np.where(ids == "", np.arange(len(table)).astype(str), ids) if (ids == "").any() else ids
    good = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    good = good[np.lexsort((dec[good], ra[good], ids[good]))]  # so that the order of rows does not choose a position
    _, first, number = np.unique(ids[good], return_index=True, return_inverse=True)
    star = np.full(len(table), -1)
    star[good] = number
    return SkyCoord(ra[good[first]], dec[good[first]], unit="deg"), star, report


def _as_quantity(value, name, unit):
    try:
        return u.Quantity(value).to(unit)
    except (u.UnitConversionError, TypeError) as error:
        raise MatchError(f"{name}: expected a quantity in units such as {unit}, got {value!r}") from error


def _positions(table, epoch, which):
    """Right ascension and declination (N,) in degrees, moved to the epoch where one is given, and the rows without."""
    ra, dec = (_degrees(table, name, u.deg, which) for name in ("ra", "dec"))
    off = np.flatnonzero(np.abs(dec) > 90)
    if off.size:
        raise MatchError(
            f"{which}: row {off[0]}: expected a declination of -90 to 90 deg, got {dec[off[0]]:g} ({off.size} such "
            f"rows); read the catalogue with specalign.read_labels, which masks -9999, or mask them"
        )
    report = {"without_position": np.flatnonzero(~np.isfinite(ra + dec))}
    if epoch is None:
        return ra, dec, report
    years = _years(epoch, "epoch") - _epoch_of(table, which)
    shift_ra, shift_dec = (years * _degrees(table, name, u.deg / u.yr, which) for name in ("pmra", "pmdec"))
    good = np.isfinite(ra + dec + shift_ra + shift_dec)
    report["without_motion"] = np.flatnonzero(np.isfinite(ra + dec) & ~good)
    moved = np.full((2, len(table)), np.nan)
    # Along a great circle: without parallax and radial velocity there is no perspective acceleration.
    start = SkyCoord(ra[good], dec[good], unit="deg")
    angle, length = np.arctan2(shift_ra, shift_dec)[good] * u.rad, np.hypot(shift_ra, shift_dec)[good] * u.deg
    there = start.directional_offset_by(angle, length)
    moved[:, good] = there.ra.deg, there.dec.deg
    return *moved, report


def _years(epoch, name):
    """Julian years, of whatever says an epoch."""
    try:
        years = Time(epoch).jyear if isinstance(epoch, str | Time) else u.Quantity(epoch, u.yr).value
    except (ValueError, TypeError, u.UnitConversionError) as error:
        raise MatchError(f"{name}: expected a Julian year, such as 2016.0 or 'J2016.0', got {epoch!r}") from error
    wrong = np.atleast_1d(years)[~((np.atleast_1d(years) > _YEARS[0]) & (np.atleast_1d(years) < _YEARS[1]))]
    if np.isfinite(wrong).any() or (np.ndim(years) == 0 and len(wrong)):
        raise MatchError(
            f"{name}: expected a Julian year, such as 2016.0, got {wrong[0]:g}; give an astropy Time for dates"
        )
    return years


def _epoch_of(table, which):
    column = _column(table, "epoch")
    if column is not None:
        return _years(column if isinstance(column, Time) else plain_values(column), f"{which}: column 'epoch'")
    meta = getattr(table, "meta", None) or {}
    if "epoch" not in meta:
        raise MatchError(
            f"{which} does not say of which epoch its positions are; add a column or meta value 'epoch' (Julian years, "
            f"such as 2016.0 for Gaia DR3)"
        )
    return _years(meta["epoch"], f"{which}: meta['epoch']")


def _degrees(table, name, unit, which):
    """A column (N,) in degrees (a year), NaN where it is masked."""
    values = _column(table, name)
    if values is None:
        raise MatchError(f"{which}: expected a column {name!r}, got {_names(table)}")
    if getattr(values, "unit", None) is None:
        raise MatchError(f"{which}: column {name!r} has no unit; expected one such as {unit}")
    return _as_quantity(plain_values(values) * values.unit, f"{which}: column {name!r}", unit).value
