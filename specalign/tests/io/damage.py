"""Damaged copies of a file, and what of a spectrum must stay the same."""

import numpy as np
from astropy.io import fits


def structure_cuts(size, random, seed):
    """Sizes to cut a file to: every block boundary and its neighbours, and some at random."""
    blocks = {edge + step for edge in range(0, size + 1, 2880) for step in (-1, 0, 1)}
    scattered = np.random.default_rng(seed).integers(0, size, random).tolist()
    return sorted(cut for cut in blocks | set(scattered) if 0 <= cut < size)


def harmless_cuts(path):
    """Whether a cut may be accepted: within the padding after the last data of a FITS file, or after a row of a table.

    A text table that ends with a whole row cannot know of the rows after it; XML ends with its last mark; a packed file
    has no harmless cut.
    """
    raw = path.read_bytes()
    if path.suffix in (".csv", ".ecsv"):
        lines = raw.split(b"\n")
        first = next(i for i, line in enumerate(lines) if not line.startswith(b"#"))
        return lambda size: raw[:size].endswith(b"\n") and raw[:size].count(b"\n") > first + 1
    if path.suffix == ".xml":
        return lambda size: size >= len(raw.rstrip())
    if path.suffix != ".fits":
        return lambda size: False
    with fits.open(path) as hdus:
        end = hdus[-1].fileinfo()["datLoc"] + hdus[-1].size
    return lambda size: size >= end


def flips(raw, number, seed):
    """Copies with one flipped bit each."""
    rng = np.random.default_rng(seed)
    for place, bit in zip(rng.integers(0, len(raw), number), rng.integers(0, 8, number), strict=True):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(bit)
        yield bytes(damaged)


def contents(spectra):
    """Everything that a reader gives of each spectrum, but its path, in bytes."""
    return [
        (
            spectrum.flux.value.tobytes(),
            spectrum.spectral_axis.value.tobytes(),
            spectrum.uncertainty.array.tobytes(),
            spectrum.mask.tobytes(),
            spectrum.meta["quality"].tobytes(),
            spectrum.meta["object_id"],
            spectrum.meta["spectrum_id"],
        )
        for spectrum in spectra
    ]
