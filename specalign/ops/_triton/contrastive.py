"""The tile functions of the contrastive losses: one matrix product each, with the loss's terms in its epilogue.

A tile is x (B, D) against y (C, D), with s the scaled products.  No function synchronises, but for the first call with
large operands of a kind, which measures block sizes.
"""

import torch
import triton
import triton.language as tl

from specalign.ops._triton import products
from specalign.ops._triton.products import TILES_IN_A_ROW, Blocks, place_of_tile, product_tile

HALF = (Blocks(128, 128, 64, 8, 3), Blocks(128, 256, 64, 8, 3), Blocks(128, 128, 64, 4, 3), Blocks(256, 128, 64, 8, 3))
CANDIDATES = {
    torch.float16: HALF,
    torch.bfloat16: HALF,
    torch.float32: (Blocks(64, 64, 32, 4, 3), Blocks(128, 64, 32, 8, 3), Blocks(128, 128, 16, 8, 3)),
    torch.float64: (Blocks(32, 32, 16, 4, 2), Blocks(64, 64, 16, 8, 2)),
}


def operand(rows):
    """Rows in the type in which the products are made: their own, and accumulated in float32."""
    return rows


def negatives(x, y, scale, groups_x, groups_y):
    """Logsumexp of s over the pairs of different groups, for every row and every column."""
    acc = products.accumulation_dtype(x.dtype)
    if not len(x) or not len(y):
        return x.new_full((len(x),), -torch.inf, dtype=acc), x.new_full((len(y),), -torch.inf, dtype=acc)

    def launch(blocks):
        rows = x.new_empty((2, triton.cdiv(len(y), blocks.cols), len(x)), dtype=acc)
        cols = x.new_empty((2, triton.cdiv(len(x), blocks.rows), len(y)), dtype=acc)
        _run(_negatives, x, y, groups_x, groups_y, blocks, scale, *rows, *cols)
        return rows, cols

    rows, cols = launch(_blocks("negatives", x, y, launch))
    return _join(*rows), _join(*cols)


def weights(x, y, scale, groups_x, groups_y, row_lse, row_weight, row_share, col_lse, col_weight, col_share, gain=1.0):
    """Derivative of the loss by s, times `gain`, in the type of x."""
    dtype = products.accumulation_dtype(x.dtype)
    row_lse, row_weight, row_share = _terms(row_lse, row_weight, row_share, gain, dtype)
    col_lse, col_weight, col_share = _terms(col_lse, col_weight, col_share, gain, dtype)
    result = x.new_empty((len(x), len(y)), dtype=products.output_dtype(x.dtype))
    _fill("weights", _weights, x, y, None, None, scale, row_lse, row_weight, col_lse, col_weight, result)
    if groups_x is not None:
        _fill("shares", _shares, x, y, groups_x, groups_y, scale, row_lse, row_share, col_lse, col_share, result)
    return result.to(x.dtype)


def sigmoid_sum(x, y, scale, bias, groups_x, groups_y):
    """Sum of softplus(-z (s + bias)), with z = 1 for equal groups and -1 for others."""
    if not len(x) or not len(y):
        return x.new_zeros((), dtype=torch.float64)

    def launch(blocks):
        tiles = triton.cdiv(len(x), blocks.rows) * triton.cdiv(len(y), blocks.cols)
        sums = x.new_empty(tiles, dtype=torch.float64)
        _run(_sigmoid_sum, x, y, groups_x, groups_y, blocks, scale, bias, sums)
        return sums

    return launch(_blocks("sigmoid_sum", x, y, launch)).sum()


def sigmoid_weights(x, y, scale, bias, groups_x, groups_y, gain=1.0):
    """Derivative of `sigmoid_sum` by s, times `gain`, in the type of x."""
    result = x.new_empty((len(x), len(y)), dtype=products.output_dtype(x.dtype))
    gain = torch.full_like(scale, gain)
    _fill("sigmoid_weights", _sigmoid_weights, x, y, groups_x, groups_y, scale, bias, gain, result)
    return result.to(x.dtype)


def _fill(name, kernel, x, y, groups_x, groups_y, *args):
    def launch(blocks):
        _run(kernel, x, y, groups_x, groups_y, blocks, *args)

    if len(x) and len(y):
        launch(_blocks(name, x, y, launch))


def _blocks(name, x, y, launch):
    return products.choose_blocks(name, x, y, CANDIDATES[x.dtype], launch)


def _run(kernel, x, y, groups_x, groups_y, blocks, *args):
    programs = triton.cdiv(len(x), blocks.rows) * triton.cdiv(len(y), blocks.cols)
    constants = products.product_constants(x, y, blocks)
    grouped = groups_x is not None
    if grouped:
        groups_x, groups_y = groups_x.contiguous(), groups_y.contiguous()
    operands = x, y, groups_x, groups_y, len(x), len(y), x.shape[1], *x.stride(), *y.stride()
    products.run(kernel, programs, x.device, blocks, *operands, *args, GROUPED=grouped, **constants)


def _join(top, total):
    """Logsumexp from the maxima of parts and the sums of exponentials below them."""
    peak = top.amax(dim=0)
    shift = torch.where(peak.isinf(), 0.0, peak)  # as all of the parts may be empty
    return shift + (total * torch.exp(top - shift)).sum(dim=0).log()


def _terms(lse, weight, share, gain, dtype):
    """Vectors that need no special case for rows without negatives: exp(s - inf) is 0, and so is their share."""
    empty = lse == -torch.inf
    lse = torch.where(empty, torch.inf, lse)
    weight, share = (torch.where(empty, 0.0, gain * value) for value in (weight, share))
    return tuple(value.to(dtype).contiguous() for value in (lse, weight, share))


@triton.jit
def _equal_groups(groups_x, groups_y, rows, cols):
    return tl.load(groups_x + rows)[:, None] == tl.load(groups_y + cols)[None, :]


@triton.jit
def _below_maximum(s, AXIS: tl.constexpr):
    """Maximum along an axis and the sum of exponentials below it; NaN comes through in the sum."""
    top = tl.max(s, AXIS)
    shift = tl.where(tl.abs(top) == float("inf"), 0.0, top)
    return top, tl.sum(tl.exp(s - tl.expand_dims(shift, AXIS)), AXIS)


@triton.jit
def _sigma(t):
    return 1.0 / (1.0 + tl.exp(-t))


@triton.jit
def _softplus(t, TERMS: tl.constexpr):
    # log1p(e) as a series in e / (2 + e) <= 1/3, since the device's logarithm is inexact just above 1
    e = tl.exp(-tl.abs(t))
    z = e / (2.0 + e)
    series = tl.zeros_like(z)
    for term in tl.static_range(TERMS):
        series = series * z * z + 1.0 / (2 * (TERMS - term) - 1)
    return tl.maximum(t, 0.0) + 2.0 * z * series


@triton.jit
def _negatives(
    x,
    y,
    groups_x,
    groups_y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    scale,
    row_top,
    row_sum,
    col_top,
    col_sum,
    GROUPED: tl.constexpr,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    RAGGED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    s = product_tile(x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K)
    s *= tl.load(scale)
    if RAGGED:
        s = tl.where((rows < num_x)[:, None] & (cols < num_y)[None, :], s, -float("inf"))
    if GROUPED:
        s = tl.where(_equal_groups(groups_x, groups_y, row, col), -float("inf"), s)
    top, total = _below_maximum(s, 1)
    tl.store(row_top + tile_col * num_x + rows, top, mask=rows < num_x)
    tl.store(row_sum + tile_col * num_x + rows, total, mask=rows < num_x)
    top, total = _below_maximum(s, 0)
    tl.store(col_top + tile_row * num_y + cols, top, mask=cols < num_y)
    tl.store(col_sum + tile_row * num_y + cols, total, mask=cols < num_y)


@triton.jit
def _weights(
    x,
    y,
    groups_x,
    groups_y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    scale,
    row_lse,
    row_weight,
    col_lse,
    col_weight,
    result,
    GROUPED: tl.constexpr,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    RAGGED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    s = product_tile(x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K)
    s *= tl.load(scale)
    # half a tile at a time, as the vectors of all columns do not fit into the registers beside the products
    left, right = tl.split(tl.permute(tl.reshape(s, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
    half = tile_col * BLOCK_N + tl.arange(0, BLOCK_N // 2)
    vectors = row_lse, row_weight, col_lse, col_weight
    _store_weights(left, num_x, num_y, rows, half, *vectors, result)
    _store_weights(right, num_x, num_y, rows, half + BLOCK_N // 2, *vectors, result)


@triton.jit
def _store_weights(s, num_x, num_y, rows, cols, row_lse, row_weight, col_lse, col_weight, result):
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    weight = tl.load(row_weight + row)[:, None] * tl.exp(s - tl.load(row_lse + row)[:, None])
    weight += tl.load(col_weight + col)[None, :] * tl.exp(s - tl.load(col_lse + col)[None, :])
    inside = (rows < num_x)[:, None] & (cols < num_y)[None, :]
    tl.store(result + rows[:, None] * num_y + cols[None, :], weight.to(result.dtype.element_ty), mask=inside)


@triton.jit
def _shares(
    x,
    y,
    groups_x,
    groups_y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    scale,
    row_lse,
    row_share,
    col_lse,
    col_share,
    result,
    GROUPED: tl.constexpr,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    RAGGED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    same = _equal_groups(groups_x, groups_y, row, col) & (rows < num_x)[:, None] & (cols < num_y)[None, :]
    # positives are rare: most tiles end here
    if tl.max(tl.max(same.to(tl.int32), 1), 0) > 0:
        s = product_tile(
            x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K
        )
        s *= tl.load(scale)
        share = tl.load(row_share + row)[:, None] * _sigma(tl.load(row_lse + row)[:, None] - s)
        share += tl.load(col_share + col)[None, :] * _sigma(tl.load(col_lse + col)[None, :] - s)
        tl.store(result + rows[:, None] * num_y + cols[None, :], -share.to(result.dtype.element_ty), mask=same)


@triton.jit
def _sigmoid_sum(
    x,
    y,
    groups_x,
    groups_y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    scale,
    bias,
    sums,
    GROUPED: tl.constexpr,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    RAGGED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    s = product_tile(x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K)
    t = s * tl.load(scale) + tl.load(bias)
    if GROUPED:
        t = tl.where(_equal_groups(groups_x, groups_y, row, col), -t, t)
    loss = _softplus(t, 16 if tl.float64 == ACC else 8)
    if RAGGED:
        loss = tl.where((rows < num_x)[:, None] & (cols < num_y)[None, :], loss, 0.0)
    tl.store(sums + tl.program_id(0), tl.sum(tl.sum(loss, 1).to(tl.float64), 0))


@triton.jit
def _sigmoid_weights(
    x,
    y,
    groups_x,
    groups_y,
    num_x,
    num_y,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    scale,
    bias,
    gain,
    result,
    GROUPED: tl.constexpr,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    RAGGED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    s = product_tile(x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K)
    t = s * tl.load(scale) + tl.load(bias)
    weight = tl.load(gain)
    if GROUPED:
        same = _equal_groups(groups_x, groups_y, row, col)
        weight = tl.where(same, -weight, weight) * _sigma(tl.where(same, -t, t))
    else:
        weight = weight * _sigma(t)
    inside = (rows < num_x)[:, None] & (cols < num_y)[None, :]
    at = result + rows[:, None] * num_y + cols[None, :]
    tl.store(at, weight.to(result.dtype.element_ty), mask=inside)
