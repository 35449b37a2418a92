"""Exact neighbours by cosine.

A matrix product over the gallery keeps the largest value of every group of rows only.  Groups that may hold one of the
k best, by a margin above the rounding of the product, are listed, and their rows are compared one by one, which gives
every value that is returned.  Chunks of the gallery grow as they go, so that the best so far leave few groups to list.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from specalign.ops._triton import products, rows
from specalign.ops._triton.products import Blocks, place_of_tile, product_tile
from specalign.ops._triton.ranks import match_rank
from specalign.ops.checks import check_finite

__all__ = ["match_rank", "topk"]

HALF = (Blocks(128, 64, 64, 4, 3), Blocks(128, 64, 64, 8, 3), Blocks(256, 64, 64, 8, 3), Blocks(128, 128, 64, 8, 3))
CANDIDATES = {
    torch.float16: HALF,
    torch.bfloat16: HALF,
    torch.float32: (Blocks(64, 64, 32, 4, 3), Blocks(128, 64, 32, 8, 3)),
    torch.float64: (Blocks(32, 32, 16, 4, 2),),
}
QUERIES_SIDE_BY_SIDE = tl.constexpr(64)
WIDEST_WHOLE = 256  # columns of a block of queries that stay on the chip while the gallery streams past

FIRST_ROWS = 2**14
QUERY_ROWS = 2**14  # of one pass over the gallery
LISTED = 64  # groups a query and chunk
KEPT = 512  # rows of these groups that may be among the best
MAXIMA = 2**26  # group maxima that are stored at a time
LAST = torch.iinfo(torch.int64).max


class Best(NamedTuple):
    """The k best so far."""

    values: torch.Tensor
    places: torch.Tensor


class Queries(NamedTuple):
    """Queries with what their comparison needs."""

    rows: torch.Tensor
    lengths: torch.Tensor | None
    empty: torch.Tensor

    def part(self, part):
        """Some of the queries."""
        return Queries(*(None if value is None else value[part] for value in self))


class Chunk(NamedTuple):
    """Rows of the gallery, the first of which is row `start` of the whole."""

    rows: torch.Tensor
    lengths: torch.Tensor | None
    start: int
    group: int

    @property
    def groups(self):
        """Number of groups of rows."""
        return triton.cdiv(len(self.rows), self.group)


def topk(queries, gallery, k):
    """Cosines and indices (Q, k), best first; ties go to the lowest index."""
    check_finite("gallery", gallery)
    queries, gallery = rows.comparable(queries, gallery)
    values = queries.new_empty((len(queries), k), dtype=products.accumulation_dtype(queries.dtype))
    indices = torch.empty_like(values, dtype=torch.int64)
    step = max(1, min(QUERY_ROWS, MAXIMA // max(LISTED, 4 * k)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        values[part], indices[part] = _pass_over(gallery, queries[part], k)
    return values, indices


def _pass_over(gallery, queries, k):
    queries = Queries(*rows.prepare(queries), rows.is_empty(queries))
    dtype = products.accumulation_dtype(gallery.dtype)
    best = Best(
        torch.full((len(queries.rows), k), -torch.inf, dtype=dtype, device=gallery.device),
        torch.full((len(queries.rows), k), LAST, device=gallery.device),
    )
    blocks = None
    for part in rows.chunks(gallery, max(FIRST_ROWS, 4 * k)):
        prepared = rows.prepare(gallery[part])
        blocks = blocks or _choose(queries, *prepared)
        best = _search(queries, Chunk(*prepared, part.start, blocks.cols), best, blocks, dense=part.start < k)
    # everything is as similar to a row of zeros, and would be listed
    places = torch.arange(k, device=gallery.device).expand_as(best.places)
    empty = queries.empty[:, None]
    return best.values.masked_fill(empty, 0), torch.where(empty, places, best.places)


def _choose(queries, gallery, lengths):
    def launch(blocks):
        return _maxima(queries, Chunk(gallery, lengths, 0, blocks.cols), blocks)

    queries = queries.part(slice(0, max(1, MAXIMA // max(1, len(gallery)))))
    return products.choose_blocks("search", queries.rows, gallery, CANDIDATES[gallery.dtype], launch)


def _slack(queries, dtype):
    """More than what rounding can do to a cosine, in the product and in the comparison of single rows.

    Tensor cores cut the sums of products rather than round them, which loses twice as much.
    """
    return 4 * (queries.rows.shape[1] + 8) * torch.finfo(dtype).eps


def _search(queries, chunk, best, blocks, dense):
    """The best among those so far and a chunk."""
    if not dense:
        found, count = _list(queries, chunk, best, blocks)
        most = int(count.max())
        if most <= found.shape[1]:
            return _compare(queries, chunk, best, found[:, :most], _worst(best))
    step = max(1, MAXIMA // chunk.groups)
    parts = [slice(start, start + step) for start in range(0, len(queries.rows), step)]
    done = [_search_dense(queries.part(part), chunk, Best(*(v[part] for v in best)), blocks) for part in parts]
    return Best(*map(torch.cat, zip(*done, strict=True)))


def _worst(best):
    """What a row must exceed to be among the k best: the value of the last of them, or its place at equal values."""
    return Best(best.values[:, -1], best.places[:, -1])


def _search_dense(queries, chunk, best, blocks):
    """As `_search`, from the maxima of all groups, which bound the k-th best value from below."""
    k, slack = best.values.shape[1], _slack(queries, best.values.dtype)
    maxima = _maxima(queries, chunk, blocks)
    if queries.lengths is not None:
        maxima /= queries.lengths[:, None]
    bound = best.values[:, -1]
    if chunk.groups >= k:
        bound = torch.maximum(bound, maxima.topk(k, dim=1).values[:, -1] - slack)
    listed = (maxima >= (bound - slack)[:, None]) & ~queries.empty[:, None]
    most = int(listed.sum(dim=1).max())
    group = torch.arange(chunk.groups, dtype=torch.int32, device=maxima.device)
    found = torch.where(listed, group, chunk.groups).sort(dim=1).values[:, :most]
    found = torch.where(found < chunk.groups, found, -1)
    for start in range(0, most, LISTED):
        last = _worst(best)
        places = torch.where(bound > last.values, LAST, last.places)
        needed = Best(torch.maximum(bound, last.values), places)
        best = _compare(queries, chunk, best, found[:, start : start + LISTED], needed)
    return best


def _compare(queries, chunk, best, found, needed):
    """The best among those so far and the rows of the groups found."""
    if not found.shape[1]:
        return best
    values, places, count = _rescore(queries, chunk, found, needed, max(KEPT, 4 * best.values.shape[1], chunk.group))
    most = int(count.max())
    if most <= values.shape[1]:
        return _merge(best, values[:, :most], places[:, :most])
    # a group has no more rows than can be kept
    for column in found.split(1, dim=1):
        last = _worst(best)
        better = (last.values > needed.values) | ((last.values == needed.values) & (last.places < needed.places))
        needed = Best(*(torch.where(better, new, old) for new, old in zip(last, needed, strict=True)))
        best = _merge(best, *_rescore(queries, chunk, column, needed, values.shape[1])[:2])
    return best


def _merge(best, values, places):
    """The k best of both by value, then by place, so that the order in which rows were found does not matter."""
    k = best.values.shape[1]
    places, order = torch.cat([best.places, places], dim=1).sort(dim=1)
    values, order = torch.cat([best.values, values], dim=1).gather(1, order).sort(dim=1, descending=True, stable=True)
    return Best(values[:, :k], places.gather(1, order[:, :k]))


def _maxima(queries, chunk, blocks):
    """The largest product of every query with every group of rows, without the length of the query."""
    dtype = products.accumulation_dtype(chunk.rows.dtype)
    maxima = chunk.rows.new_empty((len(queries.rows), chunk.groups), dtype=dtype)
    _stream(queries, chunk, blocks, None, None, None, maxima)
    return maxima


def _list(queries, chunk, best, blocks):
    """Groups that may hold one of the best, in any order, with their number; more than there is room for are lost."""
    room = min(chunk.groups, max(LISTED, 4 * best.values.shape[1]))
    found = torch.full((len(queries.rows), room), -1, dtype=torch.int32, device=queries.rows.device)
    count = torch.zeros(len(queries.rows), dtype=torch.int32, device=queries.rows.device)
    limit = best.values[:, -1] - _slack(queries, best.values.dtype)
    if queries.lengths is not None:
        limit = limit * queries.lengths
    limit = limit.masked_fill(queries.empty, torch.inf)
    _stream(queries, chunk, blocks, limit, count, found, None)
    return found, count


def _stream(queries, chunk, blocks, limit, count, found, maxima):
    x, y = queries.rows, chunk.rows
    whole = rows.is_half(x) and 0 < x.shape[1] <= WIDEST_WHOLE
    if whole:
        blocks = blocks._replace(width=max(16, triton.next_power_of_2(x.shape[1])))
    strip = 8 if len(y) >= 2**14 else 2
    programs = triton.cdiv(len(x), blocks.rows) * triton.cdiv(chunk.groups, strip)
    constants = products.product_constants(x, y, blocks)
    del constants["RAGGED"]
    inverse = None if chunk.lengths is None else 1 / chunk.lengths
    operands = x, y, inverse, limit, count, found, maxima, len(x), len(y), x.shape[1], *x.stride(), *y.stride()
    room = 0 if found is None else found.shape[1]
    flags = {"SCALED": chunk.lengths is not None, "DENSE": found is None, "WHOLE": whole}
    products.run(_group_maxima, programs, x.device, blocks, *operands, room, strip, **flags, **constants)


def _rescore(queries, chunk, found, needed, room):
    """Cosines of single rows that exceed what is needed, with their places, in any order, and their number."""
    x, y = queries.rows, chunk.rows
    values = needed.values.new_full((len(x), room), -torch.inf)
    places = torch.full((len(x), room), LAST, device=x.device)
    count = torch.zeros(len(x), dtype=torch.int32, device=x.device)
    operands = x, y, queries.lengths, chunk.lengths, found.contiguous(), *(value.contiguous() for value in needed)
    sizes = len(x), len(y), chunk.start, x.shape[1], *x.stride(), *y.stride(), found.shape[1], room
    width = max(16, min(128, triton.next_power_of_2(max(1, x.shape[1]))))
    # one program of the interpreter takes as long whatever its size
    together = max(1, min(64, 2**18 // (chunk.group * width))) if products.INTERPRETED else 1
    constants = {"SCALED": chunk.lengths is not None, "ACC": products.DTYPES[values.dtype]}
    constants |= {"TOGETHER": together, "GROUP": chunk.group, "BLOCK_K": width}
    blocks = Blocks(together, chunk.group, width)
    programs = triton.cdiv(len(x), together) * found.shape[1]
    products.run(_cosines, programs, x.device, blocks, *operands, count, values, places, *sizes, **constants)
    return values, places, count


@triton.jit
def _group_maxima(
    x,
    y,
    inverse,
    limit,
    count,
    found,
    maxima,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    room,
    strip,
    SCALED: tl.constexpr,
    DENSE: tl.constexpr,
    WHOLE: tl.constexpr,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    groups = tl.cdiv(num_y, BLOCK_N)
    tile_row, first = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(groups, strip), QUERIES_SIDE_BY_SIDE)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.minimum(rows, num_x - 1)
    if not DENSE:
        least = tl.load(limit + row)
    inner = tl.arange(0, BLOCK_K).to(tl.int64)
    if WHOLE:
        a = tl.load(x + row[:, None] * x_row + inner[None, :] * x_col, mask=(inner < width)[None, :], other=0.0)
        if UPCAST:
            a = a.to(tl.float32)
    for tile in range(0, strip):
        group = first * strip + tile
        # rows past the end repeat the last one, which changes no maximum
        col = tl.minimum(group * BLOCK_N + tl.arange(0, BLOCK_N), num_y - 1)
        if WHOLE:
            b_at = y + col[None, :] * y_row + inner[:, None] * y_col
            b = tl.load(b_at) if EVEN else tl.load(b_at, mask=(inner < width)[:, None], other=0.0)
            if UPCAST:
                b = b.to(tl.float32)
            s = tl.dot(a, b, input_precision="ieee", out_dtype=ACC)
        else:
            s = product_tile(
                x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K
            )
        if SCALED:
            s *= tl.load(inverse + col)[None, :]
        top = tl.max(s, 1)
        inside = rows < tl.where(group < groups, num_x, 0)
        if DENSE:
            tl.store(maxima + rows * groups + group, top, mask=inside)
        else:
            listed = inside & (top >= least)
            slot = tl.atomic_add(count + rows, 1, mask=listed)
            tl.store(found + rows * room + slot, group.to(tl.int32), mask=listed & (slot < room))


@triton.jit
def _cosines(
    x,
    y,
    x_length,
    y_length,
    found,
    needed_value,
    needed_place,
    count,
    values,
    places,
    num_x,
    num_y,
    start,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    slots,
    room,
    SCALED: tl.constexpr,
    ACC: tl.constexpr,
    TOGETHER: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    rows = program // slots * TOGETHER + tl.arange(0, TOGETHER)
    row = tl.minimum(rows, num_x - 1)
    group = tl.load(found + row * slots + program % slots).to(tl.int64)
    if tl.max(group, 0) >= 0:
        cols = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
        col = tl.minimum(tl.maximum(cols, 0), num_y - 1)
        inner = tl.arange(0, BLOCK_K).to(tl.int64)
        cosine = tl.zeros((TOGETHER, GROUP), dtype=ACC)
        for begin in range(0, width, BLOCK_K):
            at = begin + inner
            inside = (at < width)[None, None, :]
            a = tl.load(x + row[:, None, None] * x_row + at[None, None, :] * x_col, mask=inside, other=0.0).to(ACC)
            b = tl.load(y + col[:, :, None] * y_row + at[None, None, :] * y_col, mask=inside, other=0.0).to(ACC)
            if SCALED:
                # unit length before the product, as in the definition, so that equal directions tie as they do there
                a = tl.div_rn(a, tl.load(x_length + row)[:, None, None] + tl.zeros_like(a))
                b = tl.div_rn(b, tl.load(y_length + col)[:, :, None] + tl.zeros_like(b))
            cosine += tl.sum(a * b, 2)
        place = start + col
        value, last = tl.load(needed_value + row)[:, None], tl.load(needed_place + row)[:, None]
        kept = (rows < num_x)[:, None] & (cols >= 0) & (cols < num_y)
        kept = kept & ((cosine > value) | ((cosine == value) & (place < last)))
        slot = tl.atomic_add(count + row[:, None] + tl.zeros((TOGETHER, GROUP), dtype=tl.int32), 1, mask=kept)
        kept = kept & (slot < room)
        tl.store(values + row[:, None] * room + slot, cosine, mask=kept)
        tl.store(places + row[:, None] * room + slot, place, mask=kept)
