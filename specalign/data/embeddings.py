"""Embeddings with the identity, quality and origin of every row."""

import dataclasses
import warnings
from dataclasses import dataclass, field

import numpy as np
from astropy.io.registry import UnifiedReadWriteMethod

from specalign.display import html_table
from specalign.exceptions import GridMismatchError, SpecalignWarning, SpectrumError
from specalign.io.unified import ReadMethod, WriteMethod, register_format

__all__ = ["EmbeddingTable"]

#: Formats of files.
FORMATS = {
    "fits": "A FITS file with checksums: the table EMBEDDINGS, and META with the provenance as JSON.",
    "ecsv": "An ECSV table, which is text; its header has the provenance and a SHA-256 of the content.",
    "parquet": "A parquet table, for which pyarrow is needed, with the provenance and a SHA-256 of the content.",
}

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
        JSON-like.  ``space`` names the shared space (the digest of the aligner's weights), ``logit_scale`` is the
        multiplier of its cosines, ``likelihood_scale`` that beside distributions; ``grids`` and ``mask_versions`` give
        a text an instrument.
    concentration : (N,) float32, optional
        How sure the encoder is of the direction.
    in_domain : (N,) bool, optional
        False where a spectrum is unlike those that the encoder was trained on.
    blocks : dict of str to (start, stop)
        Named ranges of dimensions, such as ``shared`` and ``private``.
    latent_mean, latent_variance : (N, K) float32, optional
        Of a normal distribution that each row has beside its vector, which knows how uncertain the row is: see
        `specalign.alignment.likelihood`.  Both or none; variances are positive.

    Raises
    ------
    SpectrumError
        A vector is zero or not finite, a mean is not finite, a variance not positive, or the numbers of rows differ.

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
    latent_mean: np.ndarray | None = None
    latent_variance: np.ndarray | None = None

    _TEXT = ("object_id", "spectrum_id", "instrument")
    _NUMBERS = ("snr", "good_fraction", "concentration")
    _LATENT = ("latent_mean", "latent_variance")
    _ROWS = ("vectors", *_TEXT, *_NUMBERS, "in_domain", *_LATENT)

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
        if self.latent_mean is not None or self.latent_variance is not None:
            self.latent_mean, self.latent_variance = _distributions(self.latent_mean, self.latent_variance, n)

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

    @property
    def logit_scale(self):
        """What the training multiplied cosines by (float), or None where that is not known.

        exp(logit_scale * cosine) is then in proportion to the probability that two rows are of one star.
        """
        scale = self.provenance.get("logit_scale")
        return None if scale is None else float(scale)

    @property
    def likelihood_scale(self):
        """What multiplies (cosine - 1) in the logarithm of the likelihood that two rows are of one star (float).

        The rest is that of their distributions, `specalign.ops.mutual_likelihood`; 0 where it is not known.
        """
        return float(self.provenance.get("likelihood_scale", 0.0))

    @property
    def is_probabilistic(self):
        """Whether each row has a normal distribution beside its vector."""
        return self.latent_mean is not None

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

        Warns
        -----
        SpecalignWarning
            Some of the parts have normal distributions beside their vectors, and some have not: the whole has none.
        """
        parts = list(parts)
        if not parts:
            raise SpectrumError("expected at least one EmbeddingTable to concatenate, got none")
        for part in parts[1:]:
            parts[0].check_same_space(part)
            if part.blocks != parts[0].blocks:
                raise GridMismatchError(f"blocks {parts[0].blocks} cannot be joined with blocks {part.blocks}")
        parts = _alike(parts)
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
        neighbours : `~specalign.analysis.search.NeighbourTable`
        """
        from specalign.analysis.search import search

        return search(self, queries, k=k, method=method, **options)

    def plot(self, ax=None, **options):
        """Draw the vectors in two dimensions, coloured by instrument or by labels.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to draw; by default in a new figure.
        **options
            Of `specalign.plots.plot_embedding`: ``method``, ``labels``, ``colour``, ``seed``.

        Returns
        -------
        `~matplotlib.figure.Figure` or `~matplotlib.axes.Axes`
            The new figure, or the ``ax`` that was given.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from specalign import EmbeddingTable
        >>> names = [f"star {i}" for i in range(9)]
        >>> vectors = np.random.default_rng(0).normal(size=(9, 4))
        >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(9, 50), np.ones(9))
        >>> table.plot().axes[0].get_title(loc="left")
        '9 spectra, apogee'
        """
        from specalign.plots import plot_embedding

        figure = plot_embedding(self, ax=ax, **options)
        return figure if ax is None else ax

    def to_table(self):
        """The rows as a table, with everything else in ``meta``; `from_table` is the way back.

        Returns
        -------
        `~astropy.table.QTable`
            object_id, spectrum_id, instrument, vectors (N, D) and the columns that are known.

        Examples
        --------
        >>> from specalign import EmbeddingTable
        >>> table = EmbeddingTable([[3, 4], [1, 0]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 80], [1, 0.9])
        >>> table.to_table().colnames
        ['object_id', 'spectrum_id', 'instrument', 'vectors', 'snr', 'good_fraction']
        >>> EmbeddingTable.from_table(table.to_table()).vectors[0]
        array([0.6, 0.8], dtype=float32)
        """
        from specalign.data.embedding_files import to_table

        return to_table(self)

    @classmethod
    def from_table(cls, table):
        """Embeddings from a table such as `to_table` makes.

        Raises
        ------
        SpectrumError
            A column is missing.

        Examples
        --------
        >>> from astropy.table import QTable
        >>> from specalign import EmbeddingTable
        >>> rows = QTable({"object_id": ["a"], "spectrum_id": ["a-1"], "instrument": ["desi"], "vectors": [[3.0, 4.0]]})
        >>> rows["snr"], rows["good_fraction"] = [50.0], [0.9]
        >>> EmbeddingTable.from_table(rows)
        <EmbeddingTable desi: 1 vectors of 1 objects, 2 dimensions>
        """
        from specalign.data.embedding_files import from_table

        return from_table(table)

    read = UnifiedReadWriteMethod(ReadMethod)
    write = UnifiedReadWriteMethod(WriteMethod)


def _rows(name, values, n):
    if values.ndim == 0:
        values = np.broadcast_to(values, (n,))
    if values.shape != (n,):
        raise SpectrumError(f"{name}: expected {n} rows, got {values.shape}")
    return values


def _distributions(mean, variance, n):
    if mean is None or variance is None:
        raise SpectrumError("latent_mean, latent_variance: expected both or none, got one")
    mean, variance = (np.asarray(values, dtype=np.float32) for values in (mean, variance))
    if mean.ndim != 2 or len(mean) != n or variance.shape != mean.shape:
        raise SpectrumError(
            f"latent_mean, latent_variance: expected shape ({n}, K), got {mean.shape}, {variance.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(variance) & (variance > 0)).all(axis=1))
    if bad.size:
        raise SpectrumError(
            f"latent_mean, latent_variance: expected finite means and positive variances; {bad.size} of {n} rows have "
            f"others, the first is row {bad[0]}"
        )
    return mean, variance


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


def _alike(parts):
    """Parts of which all have distributions, or none."""
    without = [part for part in parts if not part.is_probabilistic]
    if len(without) in (0, len(parts)):
        return parts
    names = sorted({name for part in without for name in part.instrument.tolist()})
    warnings.warn(
        f"spectra of {', '.join(names) or 'no instrument'} have no normal distributions beside their vectors, so that "
        f"the joined table has none, and is compared by cosine",
        SpecalignWarning,
        stacklevel=3,
    )
    return [dataclasses.replace(part, latent_mean=None, latent_variance=None) for part in parts]


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


def _register(name):
    """The formats of files; what reads and writes them is imported when it is needed."""

    def read(path):
        from specalign.data import embedding_files

        return embedding_files.READ[name](path)

    def write(table, path):
        from specalign.data import embedding_files

        embedding_files.WRITE[name](table, path)

    read.__doc__ = write.__doc__ = f"{FORMATS[name]}\n\nParameters\n----------\npath : path-like"
    register_format(name, EmbeddingTable, read, write)


for _name in FORMATS:
    _register(_name)
