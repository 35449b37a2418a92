"""Named quality bits of a pixel, as unsigned 32-bit integers.

Bits 0 to 23 belong to the instrument, which maps the flags of its data model to them.
Bits 24 to 31 mean the same everywhere and are defined here.

>>> from specalign.io.quality import COMMON_BITS
>>> sorted(COMMON_BITS, key=COMMON_BITS.get)
['NONFINITE', 'NO_IVAR', 'MASKED', 'UNCOVERED', 'PARTIAL', 'EDGE', 'TELLURIC', 'NORMALIZATION']
"""

import numpy as np

__all__ = ["COMMON_BITS", "bit_value", "decode", "translate"]

COMMON_BITS = {
    "NONFINITE": 24,  # flux is NaN or infinite
    "NO_IVAR": 25,  # inverse variance is zero, negative, NaN or infinite
    "MASKED": 26,  # masked by the file or the user without a more exact reason
    "UNCOVERED": 27,  # no good input pixel reaches this pixel
    "PARTIAL": 28,  # part of this pixel was masked; value and variance are those of the rest (information)
    "EDGE": 29,  # edge of a detector, chip or arm
    "TELLURIC": 30,  # window of strong telluric absorption or sky emission
    "NORMALIZATION": 31,  # the normalisation is not positive here
}


def bit_value(bits, *names):
    """The integer with the named bits set.

    Parameters
    ----------
    bits : mapping of str to int
        Names to bit numbers.
    *names : str

    Examples
    --------
    >>> from specalign.io.quality import COMMON_BITS, bit_value
    >>> int(bit_value(COMMON_BITS, "NONFINITE", "NO_IVAR")) == 2**24 + 2**25
    True
    """
    return np.uint32(sum(1 << bits[name] for name in set(names)))


def decode(value, bits):
    """The names of the bits that are set in one integer, in the order of their numbers.

    Examples
    --------
    >>> from specalign.io.quality import COMMON_BITS, decode
    >>> decode(2**24 + 2**28, COMMON_BITS)
    ['NONFINITE', 'PARTIAL']
    """
    return [name for name, bit in sorted(bits.items(), key=lambda item: item[1]) if int(value) >> bit & 1]


def translate(values, table):
    """Flags of a survey, in its own numbering, as flags in ours.

    Parameters
    ----------
    values : (P,) integers
        The survey's flags; floating-point columns that hold integers are accepted.
    table : mapping of int to int
        Bit number of the survey to bit number of ours.  The key None receives every bit that the table does not
        name, so that an undocumented flag is not lost.

    Returns
    -------
    quality : (P,) uint32

    Examples
    --------
    >>> from specalign.io.quality import translate
    >>> translate([0, 1, 4, 64], {0: 3, 2: 0, None: 23}).tolist()
    [0, 8, 1, 8388608]
    """
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = np.where(np.abs(values) < 2**31, values, 0)  # a NaN or a huge number is no flag
    values = values.astype(np.int64)
    quality = np.zeros(values.shape, dtype=np.uint32)
    known = 0
    for bit, ours in table.items():
        if bit is not None:
            known |= 1 << bit
            quality[(values >> bit) & 1 == 1] |= np.uint32(1 << ours)
    if None in table:
        quality[values & ~known != 0] |= np.uint32(1 << table[None])
    return quality
