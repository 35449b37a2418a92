"""Shared spaces in two dimensions, for looking only: PCA, t-SNE and UMAP.

>>> from specalign.plots.projection import METHODS
>>> METHODS
('pca', 'tsne', 'umap')
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from specalign.display import Displayed
from specalign.exceptions import MissingExtraError, SpectrumError

__all__ = ["METHODS", "Projection", "project"]

METHODS = ("pca", "tsne", "umap")

#: t-SNE and UMAP of more rows take minutes.
MOST_ROWS = 4000
FEWEST_ROWS = 3

# What the packages recommend where nothing is known of the data.
PERPLEXITY, N_NEIGHBORS, MIN_DIST = 30, 15, 0.1


@dataclass(repr=False)
class Projection(Displayed):
    """Where the rows of an embedding table lie in two dimensions.

    Parameters
    ----------
    table : `~specalign.EmbeddingTable`
        The N rows that are shown.
    points : (N, 2) float64
        Their places.
    axis_labels : tuple of str
        With units: those of t-SNE and UMAP are arbitrary, and so are their directions.
    method : {"pca", "tsne", "umap"}
    n_left_out : int
        Rows that were not projected because there were too many.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.plots.projection import Projection
    >>> names = ["a", "b"]
    >>> table = EmbeddingTable(np.eye(2), names, names, "apogee", [50, 50], [1, 1])
    >>> own = Projection(table, np.array([[0.0, 1.0], [2.0, 3.0]]), ("one", "two"), "pca")
    >>> own.rows("apogee", ["b"])
    array([1])
    """

    table: object
    points: np.ndarray
    axis_labels: tuple
    method: str
    n_left_out: int = 0

    def _facts(self):
        return {
            "method": self.method,
            "rows": f"{len(self.points)}, {self.n_left_out} left out",
            "axes": ", ".join(self.axis_labels),
            "table": repr(self.table)[1:-1],
        }

    def rows(self, instrument, spectrum_id):
        """Row of each spectrum: (M,) int64, -1 where it is not shown.

        Parameters
        ----------
        instrument, spectrum_id : (M,) str
        """
        place = {key: row for row, key in enumerate(_keys(self.table.instrument, self.table.spectrum_id))}
        keys = _keys(*np.broadcast_arrays(instrument, spectrum_id))
        return np.array([place.get(key, -1) for key in keys], dtype=np.int64)


def _keys(instrument, spectrum_id):
    return list(zip(np.asarray(instrument, str).tolist(), np.asarray(spectrum_id, str).tolist(), strict=True))


def project(table, method="pca", seed=0, max_rows=MOST_ROWS):
    """Put the vectors of a table on a plane, the same one for the same seed.

    PCA keeps distances as well as a plane can.  t-SNE [1]_ and UMAP [2]_ keep neighbours: in their pictures, distances
    between groups, sizes of groups and empty space mean nothing.  Both use cosine distances, as search does.

    Parameters
    ----------
    table : `~specalign.EmbeddingTable`
        At least three rows.
    method : {"pca", "tsne", "umap"}
        ``umap`` needs the extra ``plot`` and compiles itself for some ten seconds when it is first used.
    seed : int
    max_rows : int
        t-SNE and UMAP show at most this many rows: those of stars chosen by the seed, with all spectra of each.

    Returns
    -------
    Projection

    Raises
    ------
    ValueError
        The method is unknown.
    SpectrumError
        There are fewer than three rows.
    MissingExtraError
        umap-learn is not installed.

    References
    ----------
    .. [1] van der Maaten & Hinton 2008, Journal of Machine Learning Research 9, 2579.
    .. [2] McInnes, Healy & Melville 2018, arXiv 1802.03426.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.plots import project
    >>> names = [f"star {i}" for i in range(5)]
    >>> vectors = np.random.default_rng(0).normal(size=(5, 8))
    >>> projection = project(EmbeddingTable(vectors, names, names, "apogee", np.full(5, 50), np.ones(5)))
    >>> projection.points.shape
    (5, 2)
    >>> projection.rows("apogee", ["star 3", "star 9"])
    array([ 3, -1])
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if len(table) < FEWEST_ROWS:
        raise SpectrumError(f"expected at least {FEWEST_ROWS} embeddings to draw on a plane, got {len(table)}")
    kept = np.arange(len(table)) if method == "pca" else _whole_stars(table.object_id, max_rows, seed)
    if len(kept) < FEWEST_ROWS:
        raise ValueError(f"max_rows: expected room for the spectra of a few stars, got {max_rows}")
    shown = table if len(kept) == len(table) else table[kept]
    points, axis_labels = _PROJECT[method](shown.vectors, seed)
    return Projection(shown, np.asarray(points, dtype=np.float64), axis_labels, method, len(table) - len(kept))


def _whole_stars(object_id, max_rows, seed):
    """Rows of as many whole stars as there is room for: a star without its partners would look lost."""
    if len(object_id) <= max_rows:
        return np.arange(len(object_id))
    _, star, counts = np.unique(object_id, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = order[np.cumsum(counts[order]) <= max_rows]
    return np.flatnonzero(np.isin(star, chosen))


def _pca(vectors, seed):
    from sklearn.decomposition import PCA

    model = PCA(2, random_state=seed)
    points = model.fit_transform(vectors)
    shares = model.explained_variance_ratio_
    return points, tuple(f"PC {i} [dimensionless], {100 * s:.0f} % of variance" for i, s in enumerate(shares, 1))


def _tsne(vectors, seed):
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, max(1, (len(vectors) - 1) / 3))
    model = TSNE(2, init="pca", random_state=seed, perplexity=perplexity, metric="cosine")
    return model.fit_transform(vectors), ("t-SNE 1 [arbitrary]", "t-SNE 2 [arbitrary]")


def _umap(vectors, seed):
    neighbours = min(N_NEIGHBORS, len(vectors) - 1)
    # The spectral start needs more rows than eigenvectors; one thread, since several would not repeat themselves.
    start = "spectral" if len(vectors) > 2 * N_NEIGHBORS else "random"
    options = {"n_neighbors": neighbours, "min_dist": MIN_DIST, "metric": "cosine", "init": start}
    with _threads_kept():
        model = _umap_class()(n_components=2, random_state=seed, n_jobs=1, **options)
        points = model.fit_transform(vectors)
    return points, ("UMAP 1 [arbitrary]", "UMAP 2 [arbitrary]")


@contextmanager
def _threads_kept():
    """Numba sets the threads of OpenMP for all: training would round in another way after a picture than before it."""
    from threadpoolctl import ThreadpoolController

    with ThreadpoolController().limit(limits=None):
        yield


def _umap_class():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtraError("UMAP needs umap-learn: pip install 'specalign[plot]'") from error
    return UMAP


_PROJECT = {"pca": _pca, "tsne": _tsne, "umap": _umap}
