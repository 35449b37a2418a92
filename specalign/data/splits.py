"""Train, validation and test as a pure function of the object's identifier.

A star's part follows from its identifier and a seed alone: not from the order of rows, from the other stars, or from
the machine.  So all visits of a star are in one part, in every instrument, and new stars never move old ones.
"""

import hashlib

import numpy as np

__all__ = ["hash_fraction", "split"]


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


def split(object_id, *, validation=0.1, test=0.1, seed=0, purpose="split"):
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

    Returns
    -------
    (N,) str

    Raises
    ------
    ValueError
        The shares are negative, or exceed 1 together.

    Examples
    --------
    >>> from specalign.data.splits import split
    >>> split(["star-1", "star-2", "star-1"], validation=0.0, test=1.0)
    array(['test', 'test', 'test'], dtype='<U10')
    """
    if not (validation >= 0 and test >= 0 and validation + test <= 1):
        raise ValueError(f"expected shares of at least 0 and at most 1 together, got {validation} and {test}")
    fraction = hash_fraction(object_id, seed, purpose)
    part = np.full(len(fraction), "train", dtype="<U10")
    part[fraction < test + validation] = "validation"
    part[fraction < test] = "test"
    return part
