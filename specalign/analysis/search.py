"""Nearest neighbours in a shared space, exact or approximate.

>>> from specalign.analysis.search import METHODS
>>> METHODS
('exact', 'pynndescent')
"""

import logging

import numpy as np
import torch
from astropy.table import QTable

from specalign import ops
from specalign.analysis.likelihood import CANDIDATES, log_likelihood, uses_likelihood
from specalign.config import limited_threads
from specalign.exceptions import SpectrumError

__all__ = ["METHODS", "NeighbourTable", "search"]

#: Exact search is the better choice below about a million rows.
METHODS = ("exact", "pynndescent")

#: Queries on which the recall of an approximate search is measured.
RECALL_SAMPLE = 200

log = logging.getLogger(__name__)


class NeighbourTable(QTable):
    """What `search` found: a row a neighbour, those of a query together, best first.

    It is a `~astropy.table.QTable` that can draw itself.

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> gallery = EmbeddingTable([[1, 0], [0, 1]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 50], [1, 1])
    >>> found = gallery.search(EmbeddingTable([[0.6, 0.8]], ["b"], ["b-2"], "nirspec", [50], [1]), k=2)
    >>> type(found).__name__, len(found[found["rank"] == 1])
    ('NeighbourTable', 1)
    """

    def plot(self, queries=None, gallery=None, *, labels=None, ax=None, **options):
        """Draw the neighbours: by similarity, by spectra, in the shared space, or by labels.

        Parameters
        ----------
        queries, gallery : `~specalign.PreparedSpectra` or `~specalign.EmbeddingTable`, optional
            Spectra: a query above those that were found for it (`specalign.plots.plot_neighbours`).  Embeddings: where
            they lie in the space (`specalign.plots.plot_neighbour_map`).
        labels : `~astropy.table.QTable`, optional
            Instead: where they lie by labels (`specalign.plots.plot_neighbour_labels`).  Without any of these,
            similarity against rank (`specalign.plots.plot_similarity`).
        ax : `~matplotlib.axes.Axes`, optional
            Where to draw; for spectra, a sequence of them, for the query and for each neighbour.
        **options
            Of the function that draws.

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
        >>> from specalign import EmbeddingTable
        >>> gallery = EmbeddingTable([[1, 0], [0, 1]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 50], [1, 1])
        >>> query = EmbeddingTable([[0.6, 0.8]], ["b"], ["b-2"], "nirspec", [50], [1])
        >>> found = gallery.search(query, k=2)
        >>> found.plot().axes[0].get_xlabel(), found.plot(query, gallery).axes[0].get_title(loc="left")
        ('Rank [number]', 'Neighbours among 2 spectra')
        """
        from specalign import plots

        if (queries is None) != (gallery is None):
            raise ValueError("queries, gallery: expected both or none, got one")
        if labels is not None:
            figure = plots.plot_neighbour_labels(self, labels, ax=ax, **options)
        elif queries is None:
            figure = plots.plot_similarity(self, ax=ax, **options)
        else:
            draw = plots.plot_neighbour_map if hasattr(queries, "vectors") else plots.plot_neighbours
            figure = draw(self, queries, gallery, ax=ax, **options)
        return figure if ax is None else ax


def search(gallery, queries, k=10, method="exact", *, similarity="auto", seed=0):
    """Find the rows of a gallery that are nearest to each query, by cosine, or by likelihood among those.

    A row that is in both tables is its own nearest neighbour by cosine; nothing is left out.

    Parameters
    ----------
    gallery, queries : `~specalign.EmbeddingTable`
        Of one space, with N and Q rows.
    k : int
        Neighbours a query; where the gallery has fewer rows, all of them, and ``meta["k"]`` says how many.
    method : {"exact", "pynndescent"}
        pynndescent is approximate and compiles itself for some ten seconds when it is first used.  Its recall depends
        on the data (it is bad where vectors fill many dimensions evenly), so it is measured against exact search
        on up to 200 queries and reported in ``meta["recall"]``.
    similarity : {"auto", "cosine", "likelihood"}
        What orders the neighbours. ``likelihood``: how likely two rows are of one star, given how uncertain both are,
        among the rows that cosines find (k of them, and at least `~specalign.analysis.likelihood.CANDIDATES`), of which
        the k most likely ones are given. ``auto``: likelihood where both tables have distributions
        (``objective="clip+likelihood"``), else cosine.
    seed : int
        For pynndescent and the sample of its recall.

    Returns
    -------
    neighbours : NeighbourTable
        Q * k rows, those of a query together, best first: object_id and spectrum_id of the query,
        neighbour_object_id, neighbour_spectrum_id, neighbour_instrument, neighbour_row (in the gallery),
        rank (from 1) and similarity (the cosine, -1 to 1); where likelihood orders them, log_likelihood, of which
        differences within one query count.  Ties go to the lowest row of the gallery, those of likelihoods to the more
        similar row.

    Raises
    ------
    GridMismatchError
        The tables come from two aligners.
    SpectrumError
        The gallery is empty, or likelihood is asked for where a table has no distributions.
    ValueError
        k is not positive, or the method or similarity is unknown.

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> gallery = EmbeddingTable([[1, 0], [0, 1]], ["a", "b"], ["a-1", "b-1"], "apogee", [50, 50], [1, 1])
    >>> query = EmbeddingTable([[0.6, 0.8]], ["b"], ["b-2"], "nirspec", [50], [1])
    >>> print(gallery.search(query, k=2)["neighbour_spectrum_id", "rank", "similarity"])
    neighbour_spectrum_id rank similarity
    --------------------- ---- ----------
                      b-1    1        0.8
                      a-1    2        0.6
    """
    gallery.check_same_space(queries)
    _check(gallery, k, method)
    likely = uses_likelihood(similarity, queries, gallery)
    k, wanted = min(k, len(gallery)), min(max(k, CANDIDATES if likely else k), len(gallery))
    meta = {"k": k, "method": method, "space": gallery.space, "n_gallery": len(gallery)}
    meta["similarity"] = "likelihood" if likely else "cosine"
    if method == "exact":
        cosine, rows = _exact(queries.vectors, gallery.vectors, wanted)
    else:
        cosine, rows = _approximate(queries.vectors, gallery.vectors, wanted, seed)
        meta |= {"seed": seed, "recall": _recall(queries.vectors, gallery.vectors, rows, seed)}
    if not likely:
        return _table(gallery, queries, cosine, rows, meta=meta)
    return _table(gallery, queries, *_most_likely(gallery, queries, cosine, rows, k), meta=meta)


def _most_likely(gallery, queries, cosine, rows, k):
    """Cosines, rows and logarithms of likelihoods (Q, k) of the most likely candidates."""
    found = log_likelihood(queries, gallery, rows, cosine)
    order = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return (np.take_along_axis(values, order, axis=1) for values in (cosine, rows, found))


def _check(gallery, k, method):
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if k < 1:
        raise ValueError(f"k: expected at least one neighbour, got {k}")
    if not len(gallery):
        raise SpectrumError("the gallery is empty; there is nothing to search in")


def _exact(queries, gallery, k):
    with limited_threads(torch):
        values, rows = ops.topk_similarity(queries, gallery, k)
    return values.numpy(), rows.numpy()


def _approximate(queries, gallery, k, seed):
    rows = _index(gallery, k, seed).query(queries, k=k)[0].astype(np.int64)
    # the similarity is computed anew: the index keeps a transformed distance
    similarity = np.einsum("qkd,qd->qk", gallery[rows], queries)
    order = np.lexsort((rows, -similarity), axis=1)
    return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _index(gallery, k, seed):
    log.info("pynndescent compiles itself on its first use, which takes some ten seconds")
    from pynndescent import NNDescent

    n_neighbors = min(max(30, k), len(gallery) - 1)
    return NNDescent(gallery, metric="cosine", n_neighbors=n_neighbors, random_state=seed)


def _recall(queries, gallery, rows, seed):
    sample = np.random.default_rng(seed).permutation(len(queries))[:RECALL_SAMPLE]
    if not sample.size:
        return float("nan")
    exact = _exact(queries[sample], gallery, rows.shape[1])[1]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, rows[sample], strict=True)]))


def _table(gallery, queries, similarity, rows, likelihood=None, *, meta):
    k, flat = rows.shape[1], rows.ravel()
    table = NeighbourTable(
        {
            "object_id": np.repeat(queries.object_id, k),
            "spectrum_id": np.repeat(queries.spectrum_id, k),
            "neighbour_object_id": gallery.object_id[flat],
            "neighbour_spectrum_id": gallery.spectrum_id[flat],
            "neighbour_instrument": gallery.instrument[flat],
            "neighbour_row": flat,
            "rank": np.tile(np.arange(1, k + 1), len(queries)),
            "similarity": similarity.ravel().astype(np.float32),
        },
        meta=meta,
    )
    if likelihood is not None:
        table["log_likelihood"] = likelihood.ravel()
    return table
