"""Train, validation and test as a pure function of the object's identifier.

A star's part follows from its identifier and a seed alone: not from the order of rows, from the other stars, or from
the machine.  So all visits of a star are in one part, in every instrument, and new stars never move old ones.

>>> from specalign.data.splits import PARTS
>>> PARTS
('train', 'validation', 'test')
"""

import hashlib
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from specalign.display import Displayed
from specalign.exceptions import MatchError, SpecalignWarning, UnknownProductError
from specalign.io.files import atomic_write, existing_file

__all__ = ["PARTS", "StarSplit", "hash_fraction", "split"]

PARTS = ("train", "validation", "test")
FORMAT = "specalign split 1"


def hash_fraction(object_id, seed=0, purpose="split"):
    """A number in [0, 1) that belongs to each identifier.

    Parameters
    ----------
    object_id : (N,) str
    seed : int
    purpose : str
        Two purposes give independent numbers, so that a validation part is not carved out of the same stars as a test
        part that was removed before.

    Returns
    -------
    (N,) float64

    Examples
    --------
    >>> from specalign.data.splits import hash_fraction
    >>> hash_fraction(["2M17334253"]).round(4)
    array([0.5277])
    """
    names, inverse = np.unique(np.asarray(object_id, dtype=str), return_inverse=True)
    return np.array([_fraction(name, seed, purpose) for name in names], dtype=np.float64)[inverse]


def _fraction(name, seed, purpose):
    digest = hashlib.blake2b(f"{purpose}\0{int(seed)}\0{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split(object_id, *, validation=0.1, test=0.1, seed=0, purpose="split", ratio=None):
    """Part of each row: ``"train"``, ``"validation"`` or ``"test"``.

    The test part does not depend on the size of the validation part.

    Parameters
    ----------
    object_id : (N,) str
        Rows of one object fall into one part.
    validation, test : float
        Expected shares of the objects, from 0 to 1 together.
    seed : int
    purpose : str
        See `hash_fraction`.
    ratio : (3,) numbers, optional
        Train to validation to test, such as ``(5, 1, 2)``, in place of the two shares.

    Returns
    -------
    (N,) str

    Raises
    ------
    ValueError
        The shares are negative, or exceed 1 together; the ratio is not of three numbers of at least 0.

    Examples
    --------
    >>> from specalign.data.splits import split
    >>> split(["star-1", "star-2", "star-1"], validation=0.0, test=1.0)
    array(['test', 'test', 'test'], dtype='<U10')
    >>> split(["star-1", "star-2", "star-3"], ratio=(5, 1, 2), seed=42)
    array(['test', 'validation', 'train'], dtype='<U10')
    """
    if ratio is not None:
        validation, test = _shares(ratio)
    if not (validation >= 0 and test >= 0 and validation + test <= 1):
        raise ValueError(f"expected shares of at least 0 and at most 1 together, got {validation} and {test}")
    fraction = hash_fraction(object_id, seed, purpose)
    part = np.full(len(fraction), "train", dtype="<U10")
    part[fraction < test + validation] = "validation"
    part[fraction < test] = "test"
    return part


def _shares(ratio):
    """Shares (validation, test) of a ratio train : validation : test."""
    try:
        train, validation, test = map(float, ratio)
    except (TypeError, ValueError):
        train = validation = test = np.nan
    total = train + validation + test
    if not (min(train, validation, test) >= 0 and 0 < total < np.inf):
        raise ValueError(f"ratio: expected three numbers of at least 0 (train, validation, test), got {ratio!r}")
    return validation / total, test / total


@dataclass(frozen=True)
class StarSplit(Displayed):
    """Which star is in which part, to be kept beside a result.

    Attributes
    ----------
    object_id : (S,) str
        Sorted, unique.
    part : (S,) str
        ``"train"``, ``"validation"`` or ``"test"``.
    ratio : tuple of 3 numbers, or None
        Train : validation : test, as it was asked for; None where the parts do not come from `draw`.
    seed : int or None

    Examples
    --------
    >>> from specalign.data.splits import StarSplit
    >>> stars = [f"star-{i}" for i in range(800)]
    >>> parts = StarSplit.draw(stars, ratio=(5, 1, 2), seed=42)
    >>> parts
    <StarSplit of 800 stars: 498 train, 86 validation, 216 test; ratio 5:1:2, seed 42>
    >>> parts.of(["star-7", "star-7"])
    array(['train', 'train'], dtype='<U10')
    """

    object_id: np.ndarray
    part: np.ndarray
    ratio: tuple | None = None
    seed: int | None = None

    def __post_init__(self):
        names, part = np.asarray(self.object_id, dtype=str), np.asarray(self.part, dtype="<U10")
        object_id, first, counts = np.unique(names, return_index=True, return_counts=True)
        if blank := [name for name in object_id.tolist() if name != name.strip() or not (name and name.isprintable())]:
            raise MatchError(
                f"object_id {blank[0]!r}: expected printable names without blanks at their ends; clean them"
            )
        if names.shape != part.shape or (counts > 1).any():
            raise MatchError(f"expected one part for each of {len(object_id)} different stars, got {part.shape}")
        if bad := sorted(set(part.tolist()) - set(PARTS)):
            raise ValueError(f"part: expected {', '.join(PARTS)}, got {bad[0]!r}")
        object.__setattr__(self, "object_id", object_id)
        object.__setattr__(self, "part", part[first])

    @classmethod
    def draw(cls, object_id, ratio=(5, 1, 2), seed=42):
        """Parts of some stars: those of `split` with this ratio and seed.

        Parameters
        ----------
        object_id : (N,) str
            Repeated ones are visits of a star.
        ratio : (3,) numbers
            Train : validation : test; the shares that come out scatter around it as coin tosses do.
        seed : int
        """
        stars = np.unique(np.asarray(object_id, dtype=str))
        return cls(stars, split(stars, ratio=ratio, seed=seed), tuple(ratio), int(seed))

    def __len__(self):
        return len(self.object_id)

    def __repr__(self):
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        made = f"ratio {':'.join(f'{x:g}' for x in self.ratio)}, seed {self.seed}" if self.ratio else "of its own"
        return f"<StarSplit of {len(self)} stars: {counts}; {made}>"

    def _facts(self):
        made = f"{':'.join(f'{x:g}' for x in self.ratio)}, seed {self.seed}" if self.ratio else "of its own"
        counts = {name: f"{number} stars" for name, number in self.counts.items()}
        return {**counts, "ratio": made, "digest": self.digest[:12]}

    @property
    def counts(self):
        """Stars a part, as a dict."""
        return {name: int((self.part == name).sum()) for name in PARTS}

    @property
    def digest(self):
        """SHA-256 of the stars and their parts."""
        rows = "\n".join(f"{part} {name}" for part, name in zip(self.part, self.object_id, strict=True))
        return hashlib.sha256(rows.encode()).hexdigest()

    def of(self, object_id):
        """Part of each row (N,) str.

        Raises
        ------
        MatchError
            Stars have no part; the message names the first of them.
        """
        names = np.asarray(object_id, dtype=str)
        place = np.searchsorted(self.object_id, names)
        known = place < len(self)
        known[known] = self.object_id[place[known]] == names[known]
        if not known.all():
            raise MatchError(f"{_some(np.unique(names[~known]))} in no part of the split; draw it anew with them")
        return self.part[place]

    def rows(self, object_id, part):
        """Numbers of the rows that are in one part, as an index array."""
        if part not in PARTS:
            raise ValueError(f"part: expected {', '.join(PARTS)}, got {part!r}")
        return np.flatnonzero(self.of(object_id) == part)

    def save(self, path):
        """Write an ECSV table with object_id and part, and seed and ratio in its header; whole or not at all.

        Parameters
        ----------
        path : path-like
            A file that is there is replaced.
        """
        # a line that began with the name of a star could be taken for a comment
        table = Table({"part": self.part, "object_id": self.object_id})
        table.meta = {"content": FORMAT, "seed": self.seed, "ratio": list(self.ratio) if self.ratio else None}
        with atomic_write(path) as temporary:
            table.write(temporary, format="ascii.ecsv")

    @classmethod
    def load(cls, path, object_id=None):
        """Read what `save` wrote.

        Parameters
        ----------
        path : path-like
        object_id : (N,) str, optional
            The stars at hand, which must all have a part; stars of the file that are not among them are a warning.

        Raises
        ------
        UnknownProductError
            The file is not a saved split.
        MatchError
            Stars at hand are not in the file, or a part in it is not the one that its seed and ratio give: the
            message names the first of them.
        """
        parts = cls._read(existing_file(path))
        if parts.ratio:
            moved = parts.object_id[split(parts.object_id, ratio=parts.ratio, seed=parts.seed) != parts.part]
            if len(moved):
                raise MatchError(f"{path}: {_some(moved)} in another part than seed and ratio of the file say")
        if object_id is not None:
            parts._check_stars(path, np.unique(np.asarray(object_id, dtype=str)))
        return parts

    @classmethod
    def _read(cls, path):
        try:
            table = Table.read(path, format="ascii.ecsv")
            seed, ratio = table.meta["seed"], table.meta["ratio"]
            names, part = (np.asarray(table[name].tolist(), dtype=str) for name in ("object_id", "part"))
            good = table.meta["content"] == FORMAT and table["object_id"].dtype.kind == "U"
            parts = cls(names, part, tuple(ratio) if ratio else None, seed)
        except Exception as error:  # the readers of ECSV and YAML raise what they like
            raise UnknownProductError(f"{path}: expected a split that StarSplit.save wrote ({error})") from error
        if not good:
            raise UnknownProductError(f"{path}: expected {FORMAT!r}, got {table.meta['content']!r}")
        return parts

    def _check_stars(self, path, stars):
        missing, left = np.setdiff1d(stars, self.object_id), np.setdiff1d(self.object_id, stars)
        if len(missing):
            also = f"; {_some(left)} in the file but not at hand" if len(left) else ""
            raise MatchError(f"{path}: {_some(missing)} at hand but not in the file{also}")
        if len(left):
            warnings.warn(f"{path}: {_some(left)} in the file but not at hand", SpecalignWarning, stacklevel=3)


def _some(stars):
    names = ", ".join(map(str, stars[:5])) + (", ..." if len(stars) > 5 else "")
    return f"{len(stars)} star{'s' if len(stars) != 1 else ''} ({names}) {'are' if len(stars) != 1 else 'is'}"
