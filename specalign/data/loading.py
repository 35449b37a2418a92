"""Stars seen by several instruments, in batches.

Rows are joined by identifier, never by position.  A batch is a set of stars: all visits of a star, in all instruments,
are in the same batch, so that they are positives of each other and never negatives.  Every row comes once an epoch,
and the order is a pure function of the identifiers, the seed and the epoch.
"""

from dataclasses import dataclass

import numpy as np
import torch

from specalign.data.splits import hash_fraction
from specalign.display import Displayed
from specalign.exceptions import EmptySpectrumError, MatchError, SpectrumError

__all__ = ["StarIndex", "StarLoader", "check_good_pixels", "join_stars", "read_rows"]

CHECK_ROWS = 1024


@dataclass(frozen=True, repr=False)
class StarIndex(Displayed):
    """Which rows of which instrument are of which star.

    Attributes
    ----------
    star_id : (S,) str
        Sorted, unique.
    star : dict of str to (N,) int64
        Index into ``star_id`` of each row of an instrument.
    order : dict of str to (N,) int64
        The rows sorted by star, and by spectrum_id within a star, so that the position of a row never matters.

    Examples
    --------
    >>> from specalign.data.loading import StarIndex, join_stars
    >>> index = join_stars({"apogee": ["s1", "s2", "s1"], "nirspec": ["s2", "s3"]})
    >>> isinstance(index, StarIndex), len(index), index.count("apogee")
    (True, 3, array([2, 1, 0]))
    >>> {name: alone.tolist() for name, alone in index.unmatched().items()}
    {'apogee': ['s1'], 'nirspec': ['s3']}
    """

    star_id: np.ndarray
    star: dict
    order: dict

    def __len__(self):
        return len(self.star_id)

    def _facts(self):
        rows = {name: f"{len(star)} rows" for name, star in self.star.items()}
        return {"stars": f"{len(self)}, {int(self.shared().sum())} of them seen by two instruments or more", **rows}

    def count(self, name):
        """Number of rows (S,) that an instrument has of each star."""
        return np.bincount(self.star[name], minlength=len(self))

    def shared(self):
        """Stars (S,) that at least two instruments saw."""
        return sum((self.count(name) > 0).astype(int) for name in self.star) > 1

    def rows(self, name, stars):
        """Rows of one instrument that belong to some stars, in the order of the stars, and the star of each."""
        start = np.searchsorted(self.star[name][self.order[name]], np.stack([stars, np.add(stars, 1)]))
        pieces = [self.order[name][first:last] for first, last in start.T]
        rows = np.concatenate(pieces) if pieces else np.empty(0, np.int64)
        return rows, self.star[name][rows]

    def unmatched(self):
        """Identifiers that only one instrument has: dict of instrument to (n,) str."""
        alone = ~self.shared()
        return {name: self.star_id[alone & (self.count(name) > 0)] for name in self.star}


def join_stars(object_id, pairs=None, *, spectrum_id=None):
    """Join the rows of several instruments by identifier.

    Parameters
    ----------
    object_id : dict of str to (N,) str
        The identifiers of each instrument's rows; repeated ones are visits of a star.
    pairs : `~astropy.table.Table` or dict of columns, optional
        Translates identifiers of different catalogues: one column for each instrument, by its name, or
        ``object_id_a`` and ``object_id_b`` for two instruments in the order of ``object_id``.  Then only listed pairs
        are joined.  An empty string says that the star is not in a catalogue.
    spectrum_id : dict of str to (N,) str, optional
        Orders the visits of a star; without it, they stay as they come.

    Returns
    -------
    StarIndex

    Raises
    ------
    MatchError
        No columns for the instruments, or an identifier that is paired with two different ones.

    Examples
    --------
    >>> from specalign.data.loading import join_stars
    >>> index = join_stars({"apogee": ["s1", "s2", "s1"], "nirspec": ["s2", "s3"]})
    >>> index.shared().tolist(), index.star["apogee"].tolist()
    ([False, True, False], [0, 1, 0])
    >>> index = join_stars({"apogee": ["s1"], "nirspec": ["x9"]}, {"object_id_a": ["s1"], "object_id_b": ["x9"]})
    >>> index.shared().tolist()
    [True]
    """
    keys = {name: np.asarray(ids, dtype=str) for name, ids in object_id.items()}
    if pairs is not None:
        keys = _translated(keys, pairs)
    star_id, inverse = np.unique(np.concatenate(list(keys.values())), return_inverse=True)
    ends = np.cumsum([len(ids) for ids in keys.values()])[:-1]
    star = dict(zip(keys, np.split(inverse.astype(np.int64), ends), strict=True))
    visits = spectrum_id or {}
    order = {name: np.lexsort((visits.get(name, np.arange(len(rows))), rows)) for name, rows in star.items()}
    return StarIndex(star_id, star, order)


def _translated(keys, pairs):
    """One name a star: that of its first catalogue, with the instrument's name where it stands in no pair."""
    columns = _pair_columns(list(keys), pairs)
    _check_one_to_one(columns)
    table = list(zip(*columns.values(), strict=True))
    first = {row: next((f"{n}:{v}" for n, v in zip(columns, row, strict=True) if v), "") for row in table}
    out = {}
    for name, ids in keys.items():
        known = dict(zip(columns[name].tolist(), [first[row] for row in table], strict=True)) if name in columns else {}
        out[name] = np.array([known.get(v, f"{name}:{v}") for v in ids.tolist()], dtype=str)
    return out


def _pair_columns(names, pairs):
    have = list(getattr(pairs, "colnames", pairs))
    chosen = {name: name for name in names if name in have}
    if len(chosen) < 2 and len(names) == 2 and {"object_id_a", "object_id_b"} <= set(have):
        chosen = dict(zip(names, ("object_id_a", "object_id_b"), strict=True))
    if len(chosen) < 2:
        raise MatchError(
            f"pairs: expected a column for each of {', '.join(names)} (or object_id_a and object_id_b for two "
            f"instruments), got {', '.join(have)}"
        )
    columns = {name: np.asarray(pairs[column], dtype=str) for name, column in chosen.items()}
    rows = sorted(set(zip(*[c.tolist() for c in columns.values()], strict=True)))
    return {name: np.array([row[i] for row in rows], dtype=str) for i, name in enumerate(columns)}


def _check_one_to_one(columns):
    for name, ids in columns.items():
        values, counts = np.unique(ids[ids != ""], return_counts=True)
        if (counts > 1).any():
            first, number = str(values[counts > 1][0]), counts[counts > 1][0]
            raise MatchError(
                f"pairs: {name} {first!r} is paired with {number} different objects; keep one row for each star"
            )


def read_rows(source, rows):
    """Copies of some rows as tensors: flux, ivar, mask, and noise_scale where the noise is correlated.

    Of a dict of tensors (what an encoder made of all rows), the same rows.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from specalign.data.loading import read_rows
    >>> read_rows({"summary": torch.arange(3.0)}, np.array([2, 0]))
    {'summary': tensor([2., 0.])}
    """
    if isinstance(source, dict):
        return {name: value[torch.from_numpy(rows)] for name, value in source.items()}
    batch = {name: torch.from_numpy(getattr(source, name)[rows]) for name in ("flux", "ivar", "mask")}
    if source.covariance_factor is not None:
        batch["noise_scale"] = torch.from_numpy(np.asarray(source.covariance_factor[0][rows], np.float32))
    return batch


def check_good_pixels(prepared, least=1):
    """Check that every row has something to go by, and nothing that would spoil a training.

    Parameters
    ----------
    prepared : PreparedSpectra
    least : int
        Good pixels that a row must have.

    Raises
    ------
    SpectrumError
        An unmasked pixel is not finite, or has a negative inverse variance.
    EmptySpectrumError
        A row has fewer unmasked pixels with an inverse variance above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.data.loading import check_good_pixels
    >>> apogee = sa.get_instrument("apogee")
    >>> axis = apogee.spectral_axis
    >>> prepared = apogee.prepare_arrays(np.ones((1, len(axis))), spectral_axis=axis, object_id=["a"])
    >>> check_good_pixels(prepared)
    >>> prepared.ivar[:] = 0
    >>> check_good_pixels(prepared)
    Traceback (most recent call last):
    ...
    specalign.exceptions.EmptySpectrumError: apogee 'a' (row 0) has no good pixel; ...
    """
    for start in range(0, len(prepared), CHECK_ROWS):
        rows = slice(start, start + CHECK_ROWS)
        mask, ivar = prepared.mask[rows], prepared.ivar[rows]
        sound = np.isfinite(prepared.flux[rows]) & np.isfinite(ivar) & (ivar >= 0)
        _report(prepared, start, (~(sound | mask)).any(axis=1), SpectrumError, "flux or ivar that is not finite")
        n_good = (~mask & (ivar > 0)).sum(axis=1)
        _report(prepared, start, n_good == 0, EmptySpectrumError, "no good pixel")
        few = f"fewer than {least} good pixels, which the encoder needs"
        _report(prepared, start, n_good < least, EmptySpectrumError, few)


def _report(prepared, start, bad, error, what):
    if bad.any():
        row = start + int(np.flatnonzero(bad)[0])
        raise error(
            f"{prepared.instrument.name} {str(prepared.spectrum_id[row])!r} (row {row}) has {what}; "
            f"prepare the spectra with the instrument's plugin, which masks and rejects such"
        )


class StarLoader(Displayed):
    """Batches of stars; iterate over it once an epoch.

    Parameters
    ----------
    sources : dict of str to PreparedSpectra, or to dict of tensors
        Held as they are; only the rows of a batch are copied.
    index : StarIndex
    stars : (S,) int
        The stars to read, as positions in the index.
    batch_size : int
        Stars a batch, at most; the batches of an epoch differ by at most one star.
    seed, epoch : int
        Of the order.
    shuffle : bool
        If False, the same order in every epoch.

    Yields
    ------
    dict of str to dict
        For each instrument with rows in the batch: what its source gives (flux, ivar, mask (n, P)), rows (n,) and star
        (n,) int64.

    Examples
    --------
    >>> import torch
    >>> from specalign.data.loading import StarLoader, join_stars
    >>> index = join_stars({"apogee": ["s1", "s2", "s1"], "nirspec": ["s2", "s3"]})
    >>> sources = {"apogee": {"summary": torch.zeros(3, 4)}, "nirspec": {"summary": torch.zeros(2, 4)}}
    >>> loader = StarLoader(sources, index, [0, 1, 2], batch_size=2, seed=1)
    >>> len(loader), sum(len(batch["apogee"]["rows"]) for batch in loader if "apogee" in batch)
    (2, 3)
    """

    def __init__(self, sources, index, stars, batch_size, *, seed=0, epoch=0, shuffle=True):
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1 star, got {batch_size}")
        self.sources, self.index, self.batch_size = sources, index, batch_size
        purpose = f"order of epoch {epoch}" if shuffle else "fixed order"
        self.stars = np.asarray(stars)[np.argsort(hash_fraction(index.star_id[stars], seed, purpose), kind="stable")]

    def __len__(self):
        return -(-len(self.stars) // self.batch_size)

    def _facts(self):
        return {
            "stars": f"{len(self.stars)} of {len(self.index)}",
            "batches": f"{len(self)} of at most {self.batch_size} stars",
            "instruments": ", ".join(self.sources),
        }

    def __iter__(self):
        for stars in np.array_split(self.stars, len(self)) if len(self) else ():
            yield {name: batch for name in self.sources if (batch := self._batch(name, stars))}

    def _batch(self, name, stars):
        rows, star = self.index.rows(name, stars)
        if not len(rows):
            return None
        return read_rows(self.sources[name], rows) | {"rows": torch.from_numpy(rows), "star": torch.from_numpy(star)}
