"""The plain definition of every op: the formula, written out, against which faster forms are tested."""

import torch
from torch.nn import functional

from specalign.ops.checks import check_finite

SAFE_LENGTH = 1e-15  # squares of smaller numbers, and of the inverse of it, come near the ends of float32
BLOCK_BYTES = 64 * 2**20  # of one block of similarities, so that memory stays bounded for any number of queries


def accumulation_dtype(dtype):
    """Half-precision inputs are accumulated in float32."""
    return torch.promote_types(dtype, torch.float32)


def info_nce(x, y, logit_scale, groups_x=None, groups_y=None):
    """Mean of both directions; groups are integers that are equal for rows of one object."""
    dtype = accumulation_dtype(x.dtype)
    logits = logit_scale * (x.to(dtype) @ y.to(dtype).T)
    return contrast(logits, positives(x, y, groups_x, groups_y))


def contrast(logits, positive):
    """Mean of both directions of the contrast of logits (N, M), of which some pairs are of one object."""
    return (_one_direction(logits, positive) + _one_direction(logits.T, positive.T)) / 2


def _one_direction(logits, positive):
    negatives = torch.logsumexp(logits.masked_fill(positive, -torch.inf), dim=1, keepdim=True)
    # -[s - log(e^s + e^n)] = -logsigmoid(s - n), which stays exact where e^s overflows
    terms = torch.where(positive, -functional.logsigmoid(logits - negatives), 0)
    count = positive.sum(dim=1)
    rows = terms.sum(dim=1) / count.clamp(min=1)
    return rows.sum() / (count > 0).sum().clamp(min=1)


def sigmoid_loss(x, y, logit_scale, logit_bias, groups_x=None, groups_y=None):
    """Mean over the rows of x of the loss of all their pairs."""
    dtype = accumulation_dtype(x.dtype)
    logits = logit_scale * (x.to(dtype) @ y.to(dtype).T) + logit_bias
    signed = torch.where(positives(x, y, groups_x, groups_y), logits, -logits)
    return -functional.logsigmoid(signed).sum() / max(1, x.shape[0])


def positives(x, y, groups_x, groups_y):
    """Which pairs of rows are of one object (N, M)."""
    if groups_x is None:
        return torch.eye(x.shape[0], dtype=torch.bool, device=x.device)
    return groups_x[:, None] == groups_y[None, :]


def unit_rows(x):
    """Rows of unit length; a row of zeros stays zero, so that its similarity to everything is 0."""
    x = x.to(accumulation_dtype(x.dtype))
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if bool(((length < SAFE_LENGTH) | (length > 1 / SAFE_LENGTH)).any()):
        x = torch.ldexp(x, -_exponent(x))
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(length > 0, length, torch.ones_like(length))


def _exponent(x):
    """Of the largest element of each row (N, 1): a power of two changes no digit, and the squares stay in range."""
    if x.shape[1] == 0:
        return x.new_zeros(len(x), 1)
    return torch.frexp(x.detach().abs().amax(dim=1, keepdim=True)).exponent


def _similarity_blocks(queries, gallery):
    check_finite("gallery", gallery)
    queries, gallery = unit_rows(queries), unit_rows(gallery)
    step = max(1, BLOCK_BYTES // max(1, gallery.shape[0] * gallery.element_size()))
    for start in range(0, queries.shape[0], step):
        rows = slice(start, min(start + step, queries.shape[0]))
        yield rows, queries[rows] @ gallery.T


def topk(queries, gallery, k):
    """Cosines and indices (Q, k), best first; a stable sort leaves ties in the order of the gallery."""
    values = torch.empty((queries.shape[0], k), dtype=accumulation_dtype(queries.dtype), device=queries.device)
    indices = torch.empty((queries.shape[0], k), dtype=torch.int64, device=queries.device)
    for rows, similarity in _similarity_blocks(queries, gallery):
        ordered = torch.sort(similarity, dim=1, descending=True, stable=True)
        values[rows], indices[rows] = ordered.values[:, :k], ordered.indices[:, :k]
    return values, indices


def match_rank(queries, gallery, match):
    """1 + the gallery rows that are more similar + those as similar with a lower index; 0 where there is no match."""
    rank = torch.zeros(queries.shape[0], dtype=torch.int64, device=queries.device)
    if gallery.shape[0] == 0:
        return rank
    index = torch.arange(gallery.shape[0], device=queries.device)
    for rows, similarity in _similarity_blocks(queries, gallery):
        target = match[rows].clamp(min=0)[:, None]
        own = similarity.gather(1, target)
        before = (similarity > own) | ((similarity == own) & (index < target))
        rank[rows] = torch.where(match[rows] >= 0, 1 + before.sum(dim=1), 0)
    return rank


def masked_similarity(flux_x, weight_x, flux_y, weight_y):
    """Weighted cosine (N, M) over the pixels that both rows have."""
    x, w, *_ = weighted_rows(flux_x, weight_x)
    y, v, *_ = weighted_rows(flux_y, weight_y)
    product = (w * x) @ (v * y).T
    power_x, power_y = (w * x**2) @ v.T, w @ (v * y**2).T
    overlap = (power_x > 0) & (power_y > 0)
    one = torch.ones_like(product)
    # two roots, since the product of the powers leaves the range of float32 long before they do
    length = torch.sqrt(torch.where(overlap, power_x, one)) * torch.sqrt(torch.where(overlap, power_y, one))
    return torch.where(overlap, product / length, torch.zeros_like(product))


def weighted_rows(flux, weight):
    """Flux without what hides under weight 0, weight, and the scales by which both were divided (N, 1).

    The cosine does not depend on the scale of a row, and float32 is too short for squares of any flux in any unit.
    """
    dtype = accumulation_dtype(flux.dtype)
    flux, weight = torch.where(weight > 0, flux, 0).to(dtype), weight.to(dtype)
    scales = _largest(flux), _largest(weight)
    return flux / scales[0], weight / scales[1], *scales


def _largest(rows):
    if rows.shape[1] == 0:
        return rows.new_ones(len(rows), 1)
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    return torch.where(largest > 0, largest, 1)
