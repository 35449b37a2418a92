"""Batched similarity on torch tensors; knows nothing of spectra and imports with torch alone.

Every function checks shapes, types and devices, and raises `TypeError` or `ValueError` with what was expected and
what came.  Half-precision inputs are accumulated in float32.  All but two are ops of `torch.library`: autograd,
`torch.compile` and fake tensors know them, and none stores more than tiles of the matrix of similarities (but
`masked_similarity`, whose result is that matrix).  `mutual_likelihood` and `mutual_likelihood_nce` have few dimensions,
are plain torch, and store the matrix.

``backend`` says what computes: "triton" (kernels on a CUDA device), "tiled" (plain torch in tiles, on any device),
"reference" (the formula, written out), or "auto" (Triton where it can, else tiles).  One that is named and cannot
compute is a `ValueError`.

>>> from specalign.ops import BACKENDS
>>> BACKENDS
(...)
"""

import warnings

import torch

from specalign.ops import checks, library, likelihood, reference
from specalign.ops.backends import BACKENDS, check_backend

__all__ = [
    "BACKENDS",
    "info_nce",
    "masked_similarity",
    "match_rank",
    "mutual_likelihood",
    "mutual_likelihood_nce",
    "sigmoid_loss",
    "topk_similarity",
]


def info_nce(x, y, logit_scale, groups_x=None, groups_y=None, *, backend="auto"):
    r"""Symmetric InfoNCE, in which rows of one group are all positives and never negatives of each other.

    With :math:`s_{ij} = \mathrm{logit\_scale}\; x_i \cdot y_j`, one direction is the mean over the rows i that have
    positives P of

    .. math::

       -\frac{1}{|P|} \sum_{p \in P} \left[ s_{ip} - \log\left(e^{s_{ip}} + \sum_{n \notin P} e^{s_{in}}\right) \right]

    and the loss is the mean of both directions.  Without groups, row i of ``x`` and row i of ``y`` are the pair, and
    the loss equals the mean of the two cross-entropies of CLIP (Radford et al. 2021, arXiv 2103.00020).

    Parameters
    ----------
    x : `~torch.Tensor` (N, D)
        Rows as they are: normalise them where a cosine is meant.
    y : `~torch.Tensor` (M, D)
    logit_scale : float or 0-d `~torch.Tensor`
        The multiplier of the products (the inverse of a temperature).
    groups_x : integer `~torch.Tensor` (N,), optional
        Equal for rows of one object.  Both groups or none.
    groups_y : integer `~torch.Tensor` (M,), optional
    backend : {"auto", "reference", "tiled", "triton"}
        What computes; see `specalign.ops`.

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 where no row has a positive.  Its gradient goes to x, y and logit_scale.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import info_nce
    >>> round(float(info_nce(torch.eye(2), torch.eye(2), 1.0)), 4)
    0.3133
    >>> groups = torch.tensor([7, 7])
    >>> float(info_nce(torch.eye(2), torch.eye(2), 1.0, groups, groups))
    0.0
    """
    check_backend(backend)
    checks.check_rows(x=x, y=y)
    checks.check_scalar("logit_scale", logit_scale)
    checks.check_groups(x, y, groups_x, groups_y)
    arguments = x, y, _scalar(logit_scale, x), *_long(groups_x, groups_y)
    if backend == "reference":
        return reference.info_nce(*arguments)
    return library.info_nce(*arguments, backend)[0]


def sigmoid_loss(x, y, logit_scale, logit_bias, groups_x=None, groups_y=None, *, backend="auto"):
    r"""Sigmoid loss over all pairs of rows, each judged alone (Zhai et al. 2023, arXiv 2303.15343).

    With :math:`s_{ij} = \mathrm{logit\_scale}\; x_i \cdot y_j + \mathrm{logit\_bias}`,

    .. math:: \frac{1}{N} \sum_{ij} \log\left(1 + e^{-z_{ij} s_{ij}}\right)

    and z = 1 for pairs of one group, -1 for all others, and N the rows of ``x``.

    Parameters
    ----------
    x : `~torch.Tensor` (N, D)
        Rows as they are: normalise them where a cosine is meant.
    y : `~torch.Tensor` (M, D)
    logit_scale, logit_bias : float or 0-d `~torch.Tensor`
        The multiplier of the products, and what is added to them; the paper starts at 10 and -10.
    groups_x : integer `~torch.Tensor` (N,), optional
        Equal for rows of one object.  Both groups or none; without them, row i of x and row i of y are the pair.
    groups_y : integer `~torch.Tensor` (M,), optional
    backend : {"auto", "reference", "tiled", "triton"}
        What computes; see `specalign.ops`.

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 without rows.  Its gradient goes to x, y, logit_scale and logit_bias.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import sigmoid_loss
    >>> round(float(sigmoid_loss(torch.eye(2), torch.eye(2), 1.0, 0.0)), 4)
    1.0064
    """
    check_backend(backend)
    checks.check_rows(x=x, y=y)
    checks.check_scalar("logit_scale", logit_scale)
    checks.check_scalar("logit_bias", logit_bias)
    checks.check_groups(x, y, groups_x, groups_y)
    arguments = x, y, _scalar(logit_scale, x), _scalar(logit_bias, x), *_long(groups_x, groups_y)
    if backend == "reference":
        return reference.sigmoid_loss(*arguments)
    return library.sigmoid_loss(*arguments, backend)


def topk_similarity(queries, gallery, k, *, backend="auto"):
    """The k rows of the gallery with the largest cosine to each query, exactly; ties go to the lowest index.

    Parameters
    ----------
    queries : `~torch.Tensor` or `~numpy.ndarray` (Q, D)
        Of any length; a row of zeros has similarity 0 to everything.
    gallery : `~torch.Tensor` or `~numpy.ndarray` (M, D)
        Read once, block after block: a memory map may be larger than memory.
    k : int
        From 1 to M.
    backend : {"auto", "reference", "tiled", "triton"}
        What computes; see `specalign.ops`.

    Returns
    -------
    values : `~torch.Tensor` (Q, k)
        Cosines, largest first; their gradient goes to queries and gallery.
    indices : int64 `~torch.Tensor` (Q, k)

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other, or values that are not finite.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import topk_similarity
    >>> gallery = torch.tensor([[0.0, 2.0], [3.0, 0.0], [1.0, 0.0]])
    >>> topk_similarity(torch.tensor([[1.0, 0.0]]), gallery, k=2).indices
    tensor([[1, 2]])
    """
    check_backend(backend)
    queries, gallery = _tensor(queries), _tensor(gallery)
    checks.check_rows(queries=queries, gallery=gallery)
    checks.check_k(k, gallery)
    return torch.return_types.topk(library.topk_similarity(queries, gallery, k, backend))


def match_rank(queries, gallery, match, *, backend="auto"):
    """Rank of one gallery row a query by cosine: 1 is the most similar; ties count in the order of the gallery.

    The rank is 1 + the number of more similar rows + that of equally similar rows with a lower index, so that it
    agrees with `topk_similarity`; no Q x M matrix is stored.

    Parameters
    ----------
    queries : `~torch.Tensor` or `~numpy.ndarray` (Q, D)
    gallery : `~torch.Tensor` or `~numpy.ndarray` (M, D)
    match : integer `~torch.Tensor` or `~numpy.ndarray` (Q,)
        Row of the gallery that is wanted; -1 = none.
    backend : {"auto", "reference", "tiled", "triton"}
        What computes; see `specalign.ops`.

    Returns
    -------
    int64 `~torch.Tensor` (Q,)
        From 1 to M; 0 where there is no match.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other, or values that are not finite.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import match_rank
    >>> gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> match_rank(torch.tensor([[1.0, 0.1], [1.0, 0.1]]), gallery, torch.tensor([1, -1]))
    tensor([2, 0])
    """
    check_backend(backend)
    queries, gallery, match = _tensor(queries), _tensor(gallery), _tensor(match)
    checks.check_rows(queries=queries, gallery=gallery)
    checks.check_integers("match", match, queries)
    return library.match_rank(queries, gallery, match, backend)


def masked_similarity(flux_x, weight_x, flux_y, weight_y, *, backend="auto"):
    r"""Weighted cosine of every row of x with every row of y, over the pixels that both have.

    .. math:: \frac{\sum w w' f f'}{\sqrt{\sum w w' f^2 \; \sum w w' f'^2}}

    and 0 where nothing overlaps.  Whatever the flux holds under weight 0 does not matter.

    Parameters
    ----------
    flux_x, weight_x : `~torch.Tensor` (N, P)
        Weights are not negative; 0 = no information.
    flux_y, weight_y : `~torch.Tensor` (M, P)
    backend : {"auto", "reference", "tiled", "triton"}
        What computes; see `specalign.ops`.

    Returns
    -------
    `~torch.Tensor` (N, M)

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other, negative weights, or flux that is not finite where it has weight.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import masked_similarity
    >>> flux, weight = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    >>> masked_similarity(flux, weight, 2 * flux, torch.ones(1, 3)).round(decimals=4)
    tensor([[1.]])
    """
    check_backend(backend)
    checks.check_rows(flux_x=flux_x, flux_y=flux_y)
    checks.check_weight_rows("x", flux_x, weight_x)
    checks.check_weight_rows("y", flux_y, weight_y)
    return library.masked_similarity(flux_x, weight_x, flux_y, weight_y, backend)


def mutual_likelihood(mean_x, variance_x, mean_y, variance_y):
    r"""Logarithm of how likely rows with normal distributions are of one point.

    .. math::

       \log \int N(z; m, v)\, N(z; m', v')\, dz
       = -\frac{1}{2} \sum_k \left[\frac{(m_k - m'_k)^2}{v_k + v'_k} + \log 2\pi (v_k + v'_k)\right]

    the mutual likelihood score of Shi & Jain (2019, arXiv 1904.09658).  A precise row is near few others, an uncertain
    one is a little near to many, which a cosine of few dimensions cannot be.

    Parameters
    ----------
    mean_x, variance_x : `~torch.Tensor` (N, K)
        Of independent dimensions; variances are positive.
    mean_y, variance_y : `~torch.Tensor` (M, K) or (N, C, K)
        All rows, or candidates of each row of x.

    Returns
    -------
    `~torch.Tensor` (N, M) or (N, C)
        Its gradient goes to all arguments.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other, or variances that are not positive.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import mutual_likelihood
    >>> mean, precise, vague = torch.tensor([[0.0], [3.0]]), torch.full((2, 1), 0.01), torch.full((2, 1), 9.0)
    >>> mutual_likelihood(mean, precise, mean, precise).argmax(dim=1)
    tensor([0, 1])
    >>> mutual_likelihood(mean[:1], precise[:1], mean, vague).diff().round(decimals=2)  # half of 3^2 / 9.01
    tensor([[-0.5000]])
    """
    checks.check_normals(mean_x, variance_x, mean_y, variance_y)
    checks.check_positive(variance_x=variance_x, variance_y=variance_y)
    return likelihood.mutual_likelihood(mean_x, variance_x, mean_y, variance_y)


def mutual_likelihood_nce(mean_x, variance_x, mean_y, variance_y, groups_x=None, groups_y=None, *, logits=None):
    """The loss of `info_nce` with `mutual_likelihood` in the place of scaled products.

    Parameters
    ----------
    mean_x, variance_x : `~torch.Tensor` (N, K)
        Variances are positive, which is not checked: a training step would wait for it.  The loss is not finite, or
        means nothing, where they are not.
    mean_y, variance_y : `~torch.Tensor` (M, K)
    groups_x : integer `~torch.Tensor` (N,), optional
        Equal for rows of one object.  Both groups or none; without them, row i of x and row i of y are the pair.
    groups_y : integer `~torch.Tensor` (M,), optional
    logits : `~torch.Tensor` (N, M), optional
        What else tells the pairs, such as scaled cosines; added to the logarithm of the likelihood.

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 where no row has a positive.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other.

    Examples
    --------
    >>> import torch
    >>> from specalign.ops import mutual_likelihood_nce
    >>> mean, variance = torch.tensor([[0.0], [3.0]]), torch.full((2, 1), 0.01)
    >>> float(mutual_likelihood_nce(mean, variance, mean, variance)) < 1e-6
    True
    """
    checks.check_normals(mean_x, variance_x, mean_y, variance_y)
    checks.check_groups(mean_x, mean_y, groups_x, groups_y)
    checks.check_logits(logits, mean_x, mean_y)
    return likelihood.mutual_likelihood_nce(mean_x, variance_x, mean_y, variance_y, groups_x, groups_y, logits)


def _scalar(value, rows):
    dtype = reference.accumulation_dtype(rows.dtype)
    return torch.as_tensor(value, dtype=dtype, device=rows.device)


def _long(*groups):
    return (None if value is None else value.long() for value in groups)


def _tensor(values):
    """A tensor over the memory of an array, or what came; nothing is written to it, so that it may be read-only."""
    if isinstance(values, torch.Tensor) or not hasattr(values, "__array_interface__"):
        return values
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
        return torch.from_numpy(values)
