"""Embeddings with the identity, quality and origin of every row."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from specalign.exceptions import GridMismatchError, SpectrumError

__all__ = ["EmbeddingTable"]


@dataclass
class EmbeddingTable:
    """Unit vectors in a shared space, one a spectrum.

    Parameters
    ----------
    vectors : (N, D) float32
        Of unit length; they are normalised here.  A zero or non-finite vector is an error.
    object_id, spectrum_id, instrument : (N,) str
        The star, the row, and the instrument's name.
    snr, good_fraction : (N,) float32
    provenance : dict
        ``space`` names the shared space (the digest of the aligner's weights); ``grids`` gives a digest an instrument.
    concentration : (N,) float32, optional
        How sure the encoder is of the direction.
    in_domain : (N,) bool, optional
        False where a spectrum is unlike those that the encoder was trained on.
    blocks : dict of str to (start, stop)
        Named ranges of dimensions, such as ``shared`` and ``private``.
    """

    vectors: np.ndarray
    object_id: np.ndarray
    spectrum_id: np.ndarray
    instrument: np.ndarray
    snr: np.ndarray
    good_fraction: np.ndarray
    provenance: dict = field(default_factory=dict)
    concentration: np.ndarray | None = None
    in_domain: np.ndarray | None = None
    blocks: dict = field(default_factory=dict)

    _ROWS = ("vectors", "object_id", "spectrum_id", "instrument", "snr", "good_fraction", "concentration", "in_domain")

    def __post_init__(self):
        self.vectors = _unit_length(np.asarray(self.vectors, dtype=np.float32), self.spectrum_id)
        n = len(self.vectors)
        for name in ("object_id", "spectrum_id", "instrument"):
            setattr(self, name, np.broadcast_to(np.asarray(getattr(self, name), dtype=str), (n,)))
        for name in ("snr", "good_fraction"):
            setattr(self, name, np.asarray(getattr(self, name), dtype=np.float32))
        for name in self._ROWS:
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise SpectrumError(f"{name}: expected {n} rows, got {len(value)}")

    def __len__(self):
        return len(self.vectors)

    def __repr__(self):
        names = ", ".join(np.unique(self.instrument))
        return (
            f"<EmbeddingTable {names}: {len(self)} vectors of {len(np.unique(self.object_id))} objects, "
            f"{self.vectors.shape[1]} dimensions>"
        )

    @property
    def space(self):
        """Name of the shared space: embeddings of two spaces cannot be compared."""
        return self.provenance.get("space", "")

    def __getitem__(self, rows):
        """Some rows, by slice, boolean mask, index array or one integer (which gives one row)."""
        if isinstance(rows, (int, np.integer)):
            rows = [range(len(self))[rows]]
        values = {name: getattr(self, name) for name in self._ROWS}
        return dataclasses.replace(self, **{k: None if v is None else v[rows] for k, v in values.items()})

    def check_same_space(self, other):
        """Raise `GridMismatchError` unless both tables come from one aligner."""
        if self.space != other.space:
            raise GridMismatchError(
                f"embeddings of the space {self.space[:12]!r} cannot be compared with those of {other.space[:12]!r}; "
                f"embed both with one aligner"
            )


def _unit_length(vectors, spectrum_id):
    if vectors.ndim != 2:
        raise SpectrumError(f"vectors: expected shape (N, D), got {vectors.shape}")
    length = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1))
    bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if bad.size:
        raise SpectrumError(
            f"{bad.size} of {len(vectors)} vectors are zero or not finite, the first in row {bad[0]} "
            f"(spectrum_id {np.broadcast_to(np.asarray(spectrum_id, str), (len(vectors),))[bad[0]]!r})"
        )
    return (vectors / length[:, None]).astype(np.float32)
