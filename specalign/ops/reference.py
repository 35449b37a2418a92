"""The plain definition of every op: the formula, written out, against which faster forms are tested."""

import torch
from torch.nn import functional

BLOCK_BYTES = 64 * 2**20  # of one block of similarities, so that memory stays bounded for any number of queries


def accumulation_dtype(dtype):
    """Half-precision inputs are accumulated in float32."""
    return torch.promote_types(dtype, torch.float32)


def info_nce(x, y, logit_scale, groups_x, groups_y):
    """Mean of both directions; groups are integers that are equal for rows of one object."""
    dtype = accumulation_dtype(x.dtype)
    logits = logit_scale * (x.to(dtype) @ y.to(dtype).T)
    positive = groups_x[:, None] == groups_y[None, :]
    return (_one_direction(logits, positive) + _one_direction(logits.T, positive.T)) / 2


def _one_direction(logits, positive):
    negatives = torch.logsumexp(logits.masked_fill(positive, -torch.inf), dim=1, keepdim=True)
    # -[s - log(e^s + e^n)] = -logsigmoid(s - n), which stays exact where e^s overflows
    terms = torch.where(positive, -functional.logsigmoid(logits - negatives), 0)
    count = positive.sum(dim=1)
    rows = terms.sum(dim=1) / count.clamp(min=1)
    return rows.sum() / (count > 0).sum().clamp(min=1)


def unit_rows(x):
    """Rows of unit length; a row of zeros stays zero, so that its similarity to everything is 0."""
    x = x.to(accumulation_dtype(x.dtype))
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(length > 0, length, torch.ones_like(length))


def _similarity_blocks(queries, gallery):
    queries, gallery = unit_rows(queries), unit_rows(gallery)
    step = max(1, BLOCK_BYTES // max(1, gallery.shape[0] * gallery.element_size()))
    for start in range(0, queries.shape[0], step):
        rows = slice(start, min(start + step, queries.shape[0]))
        yield rows, queries[rows] @ gallery.T


def topk_similarity(queries, gallery, k):
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
    dtype = accumulation_dtype(flux_x.dtype)
    x, w = _weighted(flux_x.to(dtype), weight_x.to(dtype))
    y, v = _weighted(flux_y.to(dtype), weight_y.to(dtype))
    product = (w * x) @ (v * y).T
    power_x, power_y = (w * x**2) @ v.T, w @ (v * y**2).T
    overlap = (power_x > 0) & (power_y > 0)
    one = torch.ones_like(product)
    # two roots, since the product of the powers leaves the range of float32 long before they do
    length = torch.sqrt(torch.where(overlap, power_x, one)) * torch.sqrt(torch.where(overlap, power_y, one))
    return torch.where(overlap, product / length, torch.zeros_like(product))


def _weighted(flux, weight):
    """Flux without what hides under weight 0; the cosine does not depend on the scale of a row's weights or flux."""
    flux = torch.where(weight > 0, flux, torch.zeros_like(flux))
    return _by_largest(flux), _by_largest(weight)


def _by_largest(rows):
    if rows.shape[1] == 0:
        return rows
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    return rows / torch.where(largest > 0, largest, torch.ones_like(largest))
