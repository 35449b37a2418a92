"""The likelihood that two rows are of one star, where embeddings know how uncertain they are.

>>> from specalign.analysis.likelihood import CANDIDATES, SIMILARITIES
>>> SIMILARITIES, CANDIDATES
(('auto', 'cosine', 'likelihood'), 100)
"""

import numpy as np
import torch

from specalign import ops
from specalign.config import limited_threads
from specalign.exceptions import SpectrumError
from specalign.ops.likelihood import CANDIDATES

__all__ = ["CANDIDATES", "SIMILARITIES", "log_likelihood", "uses_likelihood"]

SIMILARITIES = ("auto", "cosine", "likelihood")

BLOCK = 2**22  # numbers of candidates' means that are gathered at a time


def uses_likelihood(similarity, queries, gallery):
    """Whether neighbours are to be ordered by likelihood; "auto" does it where both tables have distributions.

    Parameters
    ----------
    similarity : {"auto", "cosine", "likelihood"}
    queries, gallery : `~specalign.EmbeddingTable`

    Raises
    ------
    ValueError
        The name is unknown.
    SpectrumError
        The likelihood is asked for, and a table has no distributions.

    Examples
    --------
    >>> from specalign import EmbeddingTable
    >>> from specalign.analysis.likelihood import uses_likelihood
    >>> table = EmbeddingTable([[1, 0]], ["a"], ["a-1"], "apogee", [50], [1])
    >>> uses_likelihood("auto", table, table)
    False
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity: expected one of {', '.join(SIMILARITIES)}, got {similarity!r}")
    both = queries.is_probabilistic and gallery.is_probabilistic
    if similarity == "likelihood" and not both:
        raise SpectrumError(
            "similarity='likelihood': expected embeddings with latent_mean and latent_variance; train the aligner with "
            "objective='clip+likelihood', or use similarity='cosine'"
        )
    return both and similarity != "cosine"


def log_likelihood(queries, gallery, rows, cosine):
    """Logarithm of the likelihood that each query is of the star of some rows of a gallery.

    That of the distributions (`specalign.ops.mutual_likelihood`) and that of the vectors, ``likelihood_scale``
    (cosine - 1); see ``likelihood_scale`` of `~specalign.EmbeddingTable`.

    Parameters
    ----------
    queries, gallery : `~specalign.EmbeddingTable`
        Of one space, with distributions.
    rows : (Q, C) int
        Of the gallery, for each query.
    cosine : (Q, C) float32
        Of the vectors of those pairs.

    Returns
    -------
    (Q, C) float32

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.analysis.likelihood import log_likelihood
    >>> given = {"latent_mean": [[0.0], [1.0]], "latent_variance": [[0.5], [0.5]]}
    >>> table = EmbeddingTable(np.eye(2), ["a", "b"], ["a-1", "b-1"], "apogee", [50] * 2, [1] * 2, **given)
    >>> log_likelihood(table, table, np.array([[0, 1], [0, 1]]), np.eye(2)).round(2)
    array([[-0.92, -1.42],
           [-1.42, -0.92]], dtype=float32)
    """
    found = (gallery.likelihood_scale * (cosine - 1)).astype(np.float32)
    step = max(1, BLOCK // max(1, rows.shape[1] * gallery.latent_mean.shape[1]))
    with limited_threads(torch):
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            own = queries.latent_mean[block], queries.latent_variance[block]
            theirs = gallery.latent_mean[rows[block]], gallery.latent_variance[rows[block]]
            found[block] += ops.mutual_likelihood(*map(torch.from_numpy, (*own, *theirs))).numpy()
    return found
