"""Kernels of the contrastive losses: a tile of products, and the terms of a loss while it is on the chip."""

import triton
import triton.language as tl

from specalign.ops._triton.products import TILES_IN_A_ROW, place_of_tile, product_tile


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
def negatives(
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
def weights(
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
    # half a tile at a time, as the vectors of all columns do not fit into the registers beside the products
    left, right = tl.split(tl.permute(tl.reshape(s, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
    half = tile_col * BLOCK_N + tl.arange(0, BLOCK_N // 2)
    operands = groups_x, groups_y, num_x, num_y, scale, row_lse, row_weight, col_lse, col_weight, result
    total = _store_weights(left, rows, half, *operands, GROUPED, RAGGED)
    total += _store_weights(right, rows, half + BLOCK_N // 2, *operands, GROUPED, RAGGED)
    tl.store(sums + tl.program_id(0), total)


@triton.jit
def _store_weights(
    product,
    rows,
    cols,
    groups_x,
    groups_y,
    num_x,
    num_y,
    scale,
    row_lse,
    row_weight,
    col_lse,
    col_weight,
    result,
    GROUPED: tl.constexpr,
    RAGGED: tl.constexpr,
):
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    s = product * tl.load(scale)
    weight = tl.load(row_weight + row)[:, None] * tl.exp(s - tl.load(row_lse + row)[:, None])
    weight += tl.load(col_weight + col)[None, :] * tl.exp(s - tl.load(col_lse + col)[None, :])
    if GROUPED:
        weight = tl.where(_equal_groups(groups_x, groups_y, row, col), 0.0, weight)
    inside = (rows < num_x)[:, None] & (cols < num_y)[None, :]
    tl.store(result + rows[:, None] * num_y + cols[None, :], weight.to(result.dtype.element_ty), mask=inside)
    return _sum_of_products(product, weight, inside, RAGGED)


@triton.jit
def _sum_of_products(product, weight, inside, MASKED: tl.constexpr):
    terms = product * weight
    if MASKED:
        terms = tl.where(inside, terms, 0.0)
    return tl.sum(tl.sum(terms, 1).to(tl.float64), 0)


@triton.jit
def shares(
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
    same = _equal_groups(groups_x, groups_y, row, col) & (rows < num_x)[:, None] & (cols < num_y)[None, :]
    # positives are rare: most tiles end here
    if tl.max(tl.max(same.to(tl.int32), 1), 0) > 0:
        product = product_tile(
            x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K
        )
        s = product * tl.load(scale)
        share = tl.load(row_share + row)[:, None] * _sigma(tl.load(row_lse + row)[:, None] - s)
        share += tl.load(col_share + col)[None, :] * _sigma(tl.load(col_lse + col)[None, :] - s)
        tl.store(result + rows[:, None] * num_y + cols[None, :], -share.to(result.dtype.element_ty), mask=same)
        tl.store(sums + tl.program_id(0), -_sum_of_products(product, share, same, True))


@triton.jit
def sigmoid_sum(
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
def sigmoid_weights(
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
    product = product_tile(
        x, y, row, col, width, x_row, x_col, y_row, y_col, ACC, UPCAST, EVEN, BLOCK_M, BLOCK_N, BLOCK_K
    )
    t = product * tl.load(scale) + tl.load(bias)
    weight = tl.load(gain)
    if GROUPED:
        same = _equal_groups(groups_x, groups_y, row, col)
        weight = tl.where(same, -weight, weight) * _sigma(tl.where(same, -t, t))
    else:
        weight = weight * _sigma(t)
    inside = (rows < num_x)[:, None] & (cols < num_y)[None, :]
    at = result + rows[:, None] * num_y + cols[None, :]
    tl.store(at, weight.to(result.dtype.element_ty), mask=inside)
    tl.store(sums + tl.program_id(0), _sum_of_products(product, weight, inside, RAGGED))
