"""Ranks of single rows of a gallery, without the matrix of similarities."""

import torch
import triton
import triton.language as tl

from specalign.ops import reference
from specalign.ops._triton import products, rows
from specalign.ops._triton.products import TILES_IN_A_ROW, Blocks, place_of_tile, product_tile
from specalign.ops.checks import check_finite

CANDIDATES = {
    torch.float32: (Blocks(64, 64, 32, 4, 3), Blocks(128, 64, 32, 8, 3)),
    torch.float64: (Blocks(32, 32, 16, 4, 2), Blocks(64, 64, 16, 8, 2)),
}


def match_rank(queries, gallery, match):
    """1 + the rows that are more similar + those as similar with a lower index; 0 where there is no match.

    Half-precision rows are compared in float32 and unit length, since equal directions of different length only tie
    when they are normalised first.
    """
    check_finite("gallery", gallery)
    before = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    if not len(queries) or not len(gallery):
        return before
    queries, match = reference.unit_rows(queries), match.to(torch.int64)
    wanted = reference.unit_rows(gallery[match.clamp(min=0)])
    blocks, own = None, None
    for part in rows.chunks(gallery):
        chunk = reference.unit_rows(gallery[part])
        blocks = blocks or _choose(queries, chunk, match)
        if own is None:
            own = _own(queries, wanted, blocks)
        _count(queries, chunk, own, match - part.start, before, blocks)
    return torch.where(match >= 0, 1 + before, 0)


def _choose(queries, gallery, match):
    def launch(blocks):
        own = torch.zeros(len(queries), dtype=queries.dtype, device=queries.device)
        _count(queries, gallery, own, match, torch.zeros_like(match), blocks)

    return products.choose_blocks("ranks", queries, gallery, CANDIDATES[queries.dtype], launch)


def _own(queries, wanted, blocks):
    """Cosine of each query with its match, by the same product as the others, so that copies of the match tie."""
    own = queries.new_empty(len(queries))
    _run(_diagonal, queries, wanted, blocks._replace(cols=blocks.rows), triton.cdiv(len(queries), blocks.rows), own)
    return own


def _count(queries, gallery, own, match, before, blocks):
    programs = triton.cdiv(len(queries), blocks.rows) * triton.cdiv(len(gallery), blocks.cols)
    _run(_ranks, queries, gallery, blocks, programs, own, match, before)


def _run(kernel, x, y, blocks, programs, *args):
    constants = products.product_constants(x, y, blocks)
    del constants["RAGGED"]
    if products.INTERPRETED:
        # the last digit of numpy's products depends on the place in a block, and copies of the match would not tie
        constants |= {"ACC": tl.float64, "UPCAST": True}
    operands = x, y, len(x), len(y), x.shape[1], *x.stride(), *y.stride()
    products.run(kernel, programs, x.device, blocks, *operands, *args, **constants)


@triton.jit
def _diagonal(
    x,
    y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    own,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    place = tl.arange(0, BLOCK_M)
    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + place
    row = tl.minimum(rows, num_x - 1)
    s = product_tile(x, y, row, row, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K)
    tl.store(own + rows, tl.sum(tl.where(place[:, None] == place[None, :], s, 0.0), 1), mask=rows < num_x)


@triton.jit
def _ranks(
    x,
    y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    own,
    match,
    before,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    s = product_tile(x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K)
    s = s.to(own.dtype.element_ty)
    target, value = tl.load(match + row)[:, None], tl.load(own + row)[:, None]
    ahead = (s > value) & (cols[None, :] != target)
    ahead = ahead | ((s == value) & (cols[None, :] < target))
    ahead = ahead & (cols < num_y)[None, :]
    number = tl.sum(ahead.to(tl.int32), 1).to(tl.int64)
    tl.atomic_add(before + rows, number, mask=rows < num_x)
