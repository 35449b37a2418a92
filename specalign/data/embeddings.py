"""Embeddings with the identity, quality and origin of every row."""

import dataclasses
import json
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits

from specalign.display import html_table
from specalign.exceptions import GridMismatchError, SpectrumError, UnknownProductError
from specalign.io.files import atomic_write
from specalign.io.fits_files import open_fits

__all__ = ["EmbeddingTable"]

#: Written into every file, so that a later layout can be told from this one.
FORMAT = "specalign embeddings 1"

#: Lengths within this of one are left as they are: slicing and reading back then change no bit.
LENGTH_TOLERANCE = 1e-6


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
        Signal to noise a pixel, and the share of good pixels.
    provenance : dict
        JSON-like.  ``space`` names the shared space (the digest of the aligner's weights); ``grids`` and
        ``mask_versions`` give a text an instrument.
    concentration : (N,) float32, optional
        How sure the encoder is of the direction.
    in_domain : (N,) bool, optional
        False where a spectrum is unlike those that the encoder was trained on.
    blocks : dict of str to (start, stop)
        Named ranges of dimensions, such as ``shared`` and ``private``.

    Raises
    ------
    SpectrumError
        A vector is zero or not finite, or the numbers of rows differ.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> table = EmbeddingTable([[3, 4], [1, 0]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 80], [1, 0.9])
    >>> table
    <EmbeddingTable apogee: 2 vectors of 2 objects, 2 dimensions>
    >>> table.vectors[0]
    array([0.6, 0.8], dtype=float32)
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

    _TEXT = ("object_id", "spectrum_id", "instrument")
    _NUMBERS = ("snr", "good_fraction", "concentration")
    _ROWS = ("vectors", *_TEXT, *_NUMBERS, "in_domain")

    def __post_init__(self):
        self.vectors = _unit_length(np.asarray(self.vectors, dtype=np.float32), self.spectrum_id)
        n = len(self.vectors)
        for name in self._TEXT:
            setattr(self, name, _rows(name, np.asarray(getattr(self, name), dtype=str), n))
        for name in self._NUMBERS:
            if getattr(self, name) is not None:
                setattr(self, name, _rows(name, np.asarray(getattr(self, name), dtype=np.float32), n))
        self.blocks = {name: tuple(ends) for name, ends in self.blocks.items()}
        if self.in_domain is not None:
            self.in_domain = _rows("in_domain", np.asarray(self.in_domain, dtype=bool), n)

    def __len__(self):
        return len(self.vectors)

    def __repr__(self):
        names = ", ".join(sorted(set(self.instrument.tolist()))) or "of no instrument"
        return (
            f"<EmbeddingTable {names}: {len(self)} vectors of {len(set(self.object_id.tolist()))} objects, "
            f"{self.vectors.shape[1]} dimensions>"
        )

    def _repr_html_(self):
        title = f"EmbeddingTable, {self.vectors.shape[1]} dimensions, space {self.space[:12] or 'not named'}"
        header = ("instrument", "spectra", "objects", "median S/N", "bad pixels", "outside the domain")
        return html_table(title, map(self._line, sorted(set(self.instrument.tolist()))), header)

    def _line(self, name):
        """What is shown of the rows of an instrument."""
        mine = self.instrument == name
        known = self.snr[mine & np.isfinite(self.snr)]
        snr = f"{np.median(known):.0f}" if known.size else "unknown"
        outside = "not checked" if self.in_domain is None else str(np.count_nonzero(mine & ~self.in_domain))
        bad = f"{100 * (1 - np.mean(self.good_fraction[mine])):.1f} %"
        return name, np.count_nonzero(mine), len(set(self.object_id[mine].tolist())), snr, bad, outside

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
        """Raise `~specalign.exceptions.GridMismatchError` unless both tables come from one aligner."""
        if self.space != other.space:
            raise GridMismatchError(
                f"embeddings of the space {self.space[:12]!r} cannot be compared with those of {other.space[:12]!r}; "
                f"embed both with one aligner"
            )
        if self.vectors.shape[1] != other.vectors.shape[1]:
            raise GridMismatchError(
                f"embeddings of {self.vectors.shape[1]} dimensions cannot be compared with those of "
                f"{other.vectors.shape[1]}; embed both with one aligner"
            )
        _merged_provenance([self.provenance, other.provenance])

    @classmethod
    def concatenate(cls, parts):
        """Join tables of one space, for instance those of two instruments.

        Parameters
        ----------
        parts : iterable of EmbeddingTable

        Raises
        ------
        GridMismatchError
            The parts come from different aligners, grids, mask rules or blocks.
        SpectrumError
            There is no part, a row occurs twice, or an optional column is in some of the parts only.
        """
        parts = list(parts)
        if not parts:
            raise SpectrumError("expected at least one EmbeddingTable to concatenate, got none")
        for part in parts[1:]:
            parts[0].check_same_space(part)
            if part.blocks != parts[0].blocks:
                raise GridMismatchError(f"blocks {parts[0].blocks} cannot be joined with blocks {part.blocks}")
        changes = {name: _joined(name, [getattr(part, name) for part in parts]) for name in cls._ROWS}
        provenance = _merged_provenance([part.provenance for part in parts])
        joined = dataclasses.replace(parts[0], provenance=provenance, **changes)
        _check_unique(joined.instrument, joined.spectrum_id)
        return joined

    def search(self, queries, k=10, method="exact", **options):
        """Nearest rows of this table to each query; see `specalign.analysis.search.search`.

        Parameters
        ----------
        queries : EmbeddingTable
        k : int
        method : {"exact", "pynndescent"}

        Returns
        -------
        neighbours : `~astropy.table.QTable`
        """
        from specalign.analysis.search import search

        return search(self, queries, k=k, method=method, **options)

    def plot(self, **options):
        """Draw the vectors in two dimensions; see `specalign.plots.plot_embedding`."""
        from specalign.plots import plot_embedding

        return plot_embedding(self, **options)

    def write(self, path):
        """Write one FITS file with checksums: all of it, or nothing.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            A file that is there is replaced at the very end.

        Raises
        ------
        SpectrumError
            The provenance cannot be written as JSON.
        """
        hdus = _to_hdus(self)
        with atomic_write(path) as temporary:
            hdus.writeto(temporary, checksum=True)

    @classmethod
    def read(cls, path):
        """Read what `write` wrote.

        Raises
        ------
        CorruptFileError
            The file is truncated, damaged or fails its checksum.
        UnknownProductError
            The file is sound, but does not hold embeddings.
        """
        with open_fits(path) as hdus:
            if hdus[0].header.get("CONTENT") != FORMAT:
                raise UnknownProductError(
                    f"{path}: expected {FORMAT!r}, got {hdus[0].header.get('CONTENT')!r}; "
                    f"embeddings are written by EmbeddingTable.write"
                )
            return cls(**_from_hdus(hdus))


def _rows(name, values, n):
    if values.ndim == 0:
        values = np.broadcast_to(values, (n,))
    if values.shape != (n,):
        raise SpectrumError(f"{name}: expected {n} rows, got {values.shape}")
    return values


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
    length[np.abs(length - 1) < LENGTH_TOLERANCE] = 1
    return (vectors / length[:, None]).astype(np.float32)


def _joined(name, values):
    absent = [value is None for value in values]
    if all(absent):
        return None
    if any(absent):
        raise SpectrumError(f"{name} is given in part {absent.index(False)}, but not in part {absent.index(True)}")
    return np.concatenate(values)


def _merged_provenance(provenances):
    """One provenance; what is known an instrument (grids, mask rules) must agree wherever two tables both know it."""
    merged = {}
    for provenance in provenances:
        for key, value in provenance.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = _merged_facts(key, merged[key], value)
            else:
                merged.setdefault(key, value)
    return merged


def _merged_facts(key, mine, theirs):
    for name in mine.keys() & theirs.keys():
        if key in ("grids", "mask_versions") and mine[name] != theirs[name]:
            raise GridMismatchError(
                f"embeddings of {name} with {key} {str(mine[name])[:12]!r} cannot be joined or compared with "
                f"{str(theirs[name])[:12]!r}; prepare and embed both in the same way"
            )
    return {**theirs, **mine}


def _check_unique(instrument, spectrum_id):
    rows, counts = np.unique(np.stack([instrument, spectrum_id]), axis=1, return_counts=True)
    if (counts > 1).any():
        name, row = rows[:, np.flatnonzero(counts > 1)[0]]
        raise SpectrumError(f"spectrum_id {str(row)!r} of {name} occurs twice; every row must be there once")


def _to_hdus(table):
    text = [_text_column(name, getattr(table, name)) for name in table._TEXT]
    columns = [*text, fits.Column("vectors", f"{table.vectors.shape[1]}E", array=table.vectors)]
    for name in table._NUMBERS:
        if getattr(table, name) is not None:
            columns.append(fits.Column(name, "E", array=getattr(table, name)))
    if table.in_domain is not None:
        columns.append(fits.Column("in_domain", "L", array=table.in_domain))
    rows = fits.BinTableHDU.from_columns(columns, name="EMBEDDINGS")
    rows.header["DIMENSIO"] = table.vectors.shape[1]
    # JSON as bytes in an HDU of its own: header cards would cut digests and take ASCII only
    meta = fits.ImageHDU(np.frombuffer(_facts(table).encode(), np.uint8), name="META")
    hdus = fits.HDUList([fits.PrimaryHDU(), rows, meta])
    hdus[0].header["CONTENT"], hdus[0].header["NEXTEND"] = FORMAT, 2
    return hdus


def _facts(table):
    try:
        return json.dumps({"provenance": table.provenance, "blocks": table.blocks}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpectrumError(f"provenance: expected plain text, numbers, lists and dicts ({error})") from error


def _text_column(name, values):
    encoded = np.char.encode(values, "utf-8")
    return fits.Column(name, f"{max(1, encoded.dtype.itemsize)}A", array=encoded)


def _from_hdus(hdus):
    """The fields of a table; whatever is missing or cannot be decoded here, `open_fits` reports as damage."""
    raw = hdus["EMBEDDINGS"].data.view(np.ndarray)
    values = {name: np.char.decode(raw[name], "utf-8") for name in EmbeddingTable._TEXT}
    values |= {name: raw[name] for name in EmbeddingTable._NUMBERS if name in raw.dtype.names}
    if "in_domain" in raw.dtype.names:
        values["in_domain"] = raw["in_domain"] == ord("T")
    # a vector column of one dimension comes back without its second axis
    vectors = raw["vectors"].reshape(len(raw), hdus["EMBEDDINGS"].header["DIMENSIO"])
    return {**values, **json.loads(hdus["META"].data.tobytes().decode()), "vectors": vectors}
