"""Batched similarity on torch tensors; knows nothing of spectra and imports with torch alone.

Every function checks shapes, types and devices, and raises `TypeError` or `ValueError` with what was expected and
what came.  Half-precision inputs are accumulated in float32.
"""

import torch

from specalign.ops import reference

__all__ = ["info_nce", "masked_similarity", "match_rank", "topk_similarity"]


def info_nce(x, y, logit_scale, groups_x=None, groups_y=None):
    r"""Symmetric InfoNCE, in which rows of one group are all positives and never negatives of each other.

    With :math:`s_{ij} = \mathrm{logit\_scale}\; x_i \cdot y_j`, one direction is the mean over the rows i that have
    positives P of

    .. math:: -\frac{1}{|P|} \sum_{p \in P} \Big[ s_{ip} - \log\Big(e^{s_{ip}} + \sum_{n \notin P} e^{s_{in}}\Big) \Big]

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
    >>> from specalign.ops import info_nce
    >>> round(float(info_nce(torch.eye(2), torch.eye(2), 1.0)), 4)
    0.3133
    >>> groups = torch.tensor([7, 7])
    >>> float(info_nce(torch.eye(2), torch.eye(2), 1.0, groups, groups))
    0.0
    """
    _check_rows(x=x, y=y)
    _check_scale(logit_scale)
    groups_x, groups_y = _check_groups(x, y, groups_x, groups_y)
    return reference.info_nce(x, y, logit_scale, groups_x, groups_y)


def topk_similarity(queries, gallery, k):
    """The k rows of the gallery with the largest cosine to each query, exactly; ties go to the lowest index.

    Parameters
    ----------
    queries : `~torch.Tensor` (Q, D)
        Of any length; a row of zeros has similarity 0 to everything.
    gallery : `~torch.Tensor` (M, D)
    k : int
        From 1 to M.

    Returns
    -------
    values : `~torch.Tensor` (Q, k)
        Cosines, largest first.
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
    _check_rows(queries=queries, gallery=gallery)
    _check_finite(queries=queries, gallery=gallery)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= len(gallery):
        raise ValueError(f"k: expected an integer from 1 to the {len(gallery)} rows of the gallery, got {k!r}")
    values, indices = reference.topk_similarity(queries, gallery, k)
    return torch.return_types.topk((values, indices))


def match_rank(queries, gallery, match):
    """Rank of one gallery row a query by cosine: 1 is the most similar; ties count in the order of the gallery.

    The rank is 1 + the number of more similar rows + that of equally similar rows with a lower index, so that it
    agrees with `topk_similarity`; no Q x M matrix is stored.

    Parameters
    ----------
    queries : `~torch.Tensor` (Q, D)
    gallery : `~torch.Tensor` (M, D)
    match : int64 `~torch.Tensor` (Q,)
        Row of the gallery that is wanted; -1 = none.

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
    _check_rows(queries=queries, gallery=gallery)
    _check_finite(queries=queries, gallery=gallery)
    _check_match(queries, gallery, match)
    return reference.match_rank(queries, gallery, match)


def masked_similarity(flux_x, weight_x, flux_y, weight_y):
    r"""Weighted cosine of every row of x with every row of y, over the pixels that both have.

    .. math:: \frac{\sum w w' f f'}{\sqrt{\sum w w' f^2 \; \sum w w' f'^2}}

    and 0 where nothing overlaps.  Whatever the flux holds under weight 0 does not matter.

    Parameters
    ----------
    flux_x, weight_x : `~torch.Tensor` (N, P)
        Weights are not negative; 0 = no information.
    flux_y, weight_y : `~torch.Tensor` (M, P)

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
    _check_rows(flux_x=flux_x, flux_y=flux_y)
    _check_weights(flux_x, weight_x, "x")
    _check_weights(flux_y, weight_y, "y")
    return reference.masked_similarity(flux_x, weight_x, flux_y, weight_y)


def _check_rows(**pair):
    for name, value in pair.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"{name}: expected a floating-point torch.Tensor, got {kind}")
        if value.ndim != 2:
            raise ValueError(f"{name}: expected two dimensions (rows, columns), got shape {tuple(value.shape)}")
    (a, x), (b, y) = pair.items()
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"expected as many columns in {a} as in {b}, got {x.shape[1]} and {y.shape[1]}")
    if x.dtype != y.dtype or x.device != y.device:
        raise ValueError(f"expected {a} and {b} alike, got {x.dtype} on {x.device} and {y.dtype} on {y.device}")


def _check_finite(**pair):
    for name, value in pair.items():
        bad = ~torch.isfinite(value).all(dim=1)
        if bad.any():
            raise ValueError(
                f"{name}: expected finite values, got {int(bad.sum())} rows with NaN or Inf, "
                f"the first is row {int(bad.int().argmax())}"
            )


def _check_scale(logit_scale):
    if isinstance(logit_scale, torch.Tensor) and logit_scale.ndim != 0:
        raise ValueError(f"logit_scale: expected a float or a 0-d tensor, got shape {tuple(logit_scale.shape)}")
    if not isinstance(logit_scale, (int, float, torch.Tensor)):
        raise TypeError(f"logit_scale: expected a float or a 0-d tensor, got {type(logit_scale).__name__}")


def _check_groups(x, y, groups_x, groups_y):
    if (groups_x is None) != (groups_y is None):
        raise ValueError("expected both groups_x and groups_y, or neither")
    if groups_x is None:
        if len(x) != len(y):
            raise ValueError(f"without groups, expected as many rows in x as in y, got {len(x)} and {len(y)}")
        groups_x = groups_y = torch.arange(len(x), device=x.device)
    _check_integers(groups_x, len(x), x.device, "groups_x")
    _check_integers(groups_y, len(y), y.device, "groups_y")
    return groups_x, groups_y


def _check_integers(value, length, device, name):
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if not isinstance(value, torch.Tensor) or value.dtype not in integers:
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise TypeError(f"{name}: expected a torch.Tensor of integers, got {kind}")
    if value.shape != (length,) or value.device != device:
        raise ValueError(f"{name}: expected shape ({length},) on {device}, got {tuple(value.shape)} on {value.device}")


def _check_match(queries, gallery, match):
    _check_integers(match, len(queries), queries.device, "match")
    bad = (match < -1) | (match >= len(gallery))
    if bad.any():
        row = int(bad.int().argmax())
        raise ValueError(
            f"match: expected -1 or a row of the gallery below {len(gallery)}, got {int(match[row])} in row {row}"
        )


def _check_weights(flux, weight, name):
    if not isinstance(weight, torch.Tensor) or weight.dtype != flux.dtype or weight.device != flux.device:
        kind = f"{weight.dtype} on {weight.device}" if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise TypeError(f"weight_{name}: expected a torch.Tensor of {flux.dtype} on {flux.device}, got {kind}")
    if weight.shape != flux.shape:
        raise ValueError(f"weight_{name}: expected shape {tuple(flux.shape)}, got {tuple(weight.shape)}")
    if not bool(((weight >= 0) & torch.isfinite(weight)).all()):
        raise ValueError(f"weight_{name}: expected finite weights that are not negative")
    bad = ((weight > 0) & ~torch.isfinite(flux)).any(dim=1)
    if bad.any():
        row = int(bad.int().argmax())
        raise ValueError(f"flux_{name}: expected finite values where the weight is not 0; row {row} has others")
