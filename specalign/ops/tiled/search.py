"""Exact neighbours and ranks by cosine: the gallery is read once, block after block, and no Q x M matrix is stored."""

import torch

from specalign.ops.checks import check_finite
from specalign.ops.reference import accumulation_dtype, unit_rows
from specalign.ops.tiled.products import choose_product

__all__ = ["match_rank", "topk", "topk_backward"]

QUERY_BLOCK = 1024
TILE_ELEMENTS = 2**21  # of a tile of similarities, and of a block of gallery rows: 8 MB in float32
GROUP = 32  # gallery rows of which the best is looked at first
# A product with fewer rows than this takes other routes through the library, and rounds in another way: rows that
# are equal would no longer tie.
LEAST_ROWS = 64


def topk(queries, gallery, k):
    """Values (Q, k) and indices (Q, k) of the largest cosines, best first; ties to the lowest index."""
    dtype = accumulation_dtype(queries.dtype)
    values = torch.full((len(queries), k), -torch.inf, dtype=dtype, device=queries.device)
    indices = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
    for start, rows, similarity in _tiles(queries, gallery):
        _update(values[rows], indices[rows], similarity, start)
    return values, indices


def _tiles(queries, gallery):
    """Yield the start of a gallery block, a block of queries and their similarities (C, q); C is padded with -inf."""
    product = choose_product(gallery, queries)
    queries = unit_rows(queries)
    height = _block_rows(len(queries), gallery.shape[1])
    for start in range(0, len(gallery), height):
        block = gallery[start : start + height]
        check_finite("gallery", block, start)
        block, count = unit_rows(block), len(block)
        block = _padded(block, max(LEAST_ROWS, GROUP * -(-count // GROUP)))
        for rows, operand in _query_blocks(queries):
            similarity = product(block, operand)
            similarity[count:] = -torch.inf
            yield start, rows, similarity[:, : rows.stop - rows.start]


def _query_blocks(queries):
    """Slices of queries, and the blocks, padded to ``LEAST_ROWS``."""
    for first in range(0, len(queries), QUERY_BLOCK):
        rows = slice(first, min(first + QUERY_BLOCK, len(queries)))
        yield rows, _padded(queries[rows], LEAST_ROWS)


def _block_rows(n_queries, n_columns):
    rows = TILE_ELEMENTS // max(1, min(n_queries, QUERY_BLOCK), n_columns)
    return max(LEAST_ROWS, GROUP * (rows // GROUP))


def _padded(rows, count):
    if len(rows) >= count:
        return rows
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])


def _update(values, indices, similarity, start):
    """Bring what a tile holds into the best so far, in place.

    Only groups of rows whose maximum is above the k-th best so far can hold anything new: rows come in ascending order,
    so that what equals it comes too late.
    """
    least = values[:, -1]
    best = similarity.view(-1, GROUP, similarity.shape[1]).amax(dim=1)
    query, group = (best > least).T.nonzero(as_tuple=True)
    if len(query) * GROUP > similarity.numel() // 4:
        _merge_all(values, indices, similarity.T, start)
    elif len(query):
        found = similarity.view(-1, GROUP, similarity.shape[1])[group, :, query]
        pair, place = (found > least[query][:, None]).nonzero(as_tuple=True)
        _merge_some(values, indices, query[pair], found[pair, place], start + group[pair] * GROUP + place)


def _merge_all(values, indices, similarity, start):
    """Look at every element, some queries at a time: that needs several times the memory of what is looked at."""
    index = torch.arange(start, start + similarity.shape[1], device=indices.device)
    for first in range(0, len(values), LEAST_ROWS):
        rows = slice(first, first + LEAST_ROWS)
        part = similarity[rows]
        everything = torch.cat([values[rows], part], dim=1), torch.cat([indices[rows], index.expand(part.shape)], dim=1)
        _keep_best(values[rows], indices[rows], *everything)


def _merge_some(values, indices, query, found, index):
    """Candidates come in ascending order of query and index."""
    k = values.shape[1]
    rows, inverse, count = torch.unique_consecutive(query, return_inverse=True, return_counts=True)
    place = k + torch.arange(len(query), device=query.device) - (torch.cumsum(count, 0) - count)[inverse]
    shape = len(rows), k + int(count.max())
    all_values = values.new_full(shape, -torch.inf).index_put_((inverse, place), found)
    all_indices = indices.new_full(shape, -1).index_put_((inverse, place), index)
    all_values[:, :k], all_indices[:, :k] = values[rows], indices[rows]
    kept = values[rows], indices[rows]
    _keep_best(*kept, all_values, all_indices)
    values[rows], indices[rows] = kept


def _keep_best(values, indices, all_values, all_indices):
    """The k best of each row; among equals the first column, which has the lowest index."""
    place = _best_columns(all_values, values.shape[1])
    torch.gather(all_values, 1, place, out=values)
    torch.gather(all_indices, 1, place, out=indices)


def _best_columns(values, k):
    if values.dtype != torch.float32:
        return torch.sort(values, dim=1, descending=True, stable=True).indices[:, :k]
    # one integer a value, in the same order, with the column below it: no two are equal, so that any top-k will do
    bits = (values + 0.0).view(torch.int32).long()  # + 0.0 makes a negative zero positive
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    keys = (ordered << 32) - torch.arange(values.shape[1], device=values.device)
    return -(torch.topk(keys, k, dim=1).values << 32 >> 32)


def topk_backward(grad, queries, gallery, indices):
    """Gradients of the cosines to queries and gallery, neighbour by neighbour, so that no (Q, k, D) is stored."""
    result = [torch.zeros(rows.shape, dtype=grad.dtype, device=rows.device) for rows in (queries, gallery)]
    for part, index in zip(grad.T, indices.T, strict=True):
        near = gallery[index]
        for total, own, other, where in ((result[0], queries, near, None), (result[1], near, queries, index)):
            piece = part[:, None] * _cosine_gradient(own, other)
            total.add_(piece) if where is None else total.index_add_(0, where, piece)
    return result[0].to(queries.dtype), result[1].to(gallery.dtype)


def _cosine_gradient(own, other):
    """Of the cosine of rows with rows, to the first; 0 for a row of zeros, which has no direction."""
    unit, other = unit_rows(own), unit_rows(other)
    length = torch.linalg.vector_norm(own.to(unit.dtype), dim=1, keepdim=True)
    return torch.where(length > 0, (other - (unit * other).sum(dim=1, keepdim=True) * unit) / length, 0)


def match_rank(queries, gallery, match):
    """1 + the rows that are more similar + those as similar with a lower index (Q,); 0 without a match."""
    rank = torch.ones(len(queries), dtype=torch.int64, device=queries.device)
    own = _own_similarity(queries, gallery, match)
    for start, rows, similarity in _tiles(queries, gallery):
        rank[rows] += _before(similarity, own[rows], match[rows] - start)
    return torch.where(match >= 0, rank, 0)


def _own_similarity(queries, gallery, match):
    """Similarity to the match, as an element of a product like every other, so that it ties with its duplicates."""
    own = queries.new_zeros(len(queries), dtype=accumulation_dtype(queries.dtype))
    if not len(gallery):
        return own
    product = choose_product(gallery, queries)
    for start in range(0, len(queries), LEAST_ROWS):
        rows = slice(start, start + LEAST_ROWS)
        x, y = unit_rows(queries[rows]), unit_rows(gallery[match[rows].clamp(min=0)])
        own[rows] = product(_padded(y, LEAST_ROWS), _padded(x, LEAST_ROWS)).diagonal()[: len(x)]
    return own


def _before(similarity, own, target):
    """Rows of a tile (C, q) that come before each query's match, which is row ``target`` of the tile or outside it."""
    height = len(similarity)
    inside = ((target >= 0) & (target < height)).nonzero()[:, 0]
    similarity[target[inside], inside] = own[inside]
    equal = similarity[:, inside] == own[inside]
    equal &= torch.arange(height, device=target.device)[:, None] < target[inside]
    # where the whole tile has lower indices than the match, those as similar come before it too
    least = torch.where(target >= height, torch.nextafter(own, torch.full_like(own, -torch.inf)), own)
    count = similarity.gt_(least).sum(dim=0).long()
    return count.index_add_(0, inside, equal.sum(dim=0))
