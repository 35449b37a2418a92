"""The tile functions of the contrastive losses: one matrix product each, with the loss's terms in its epilogue.

A tile is x (B, D) against y (C, D), with s the scaled products.  No function synchronises, but for the first call with
large operands of a kind, which measures block sizes.
"""

import torch
import triton

from specalign.ops._triton import kernels, products
from specalign.ops._triton.products import Blocks

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
        _run(kernels.negatives, x, y, groups_x, groups_y, blocks, scale, *rows, *cols)
        return rows, cols

    rows, cols = launch(_blocks("negatives", x, y, launch))
    return _join(*rows), _join(*cols)


def weights(x, y, scale, groups_x, groups_y, row_lse, row_weight, row_share, col_lse, col_weight, col_share, gain=1.0):
    """Derivatives of the loss by s, in the type of x, and by the scale (0-d float64), both times `gain`."""
    dtype = products.accumulation_dtype(x.dtype)
    row_lse, row_weight, row_share = _terms(row_lse, row_weight, row_share, gain, dtype)
    col_lse, col_weight, col_share = _terms(col_lse, col_weight, col_share, gain, dtype)
    groups = groups_x, groups_y
    vectors = row_lse, row_weight, col_lse, col_weight
    result, of_scale = _matrix("weights", kernels.weights, x, y, *groups, scale, *vectors)
    if groups_x is not None:
        vectors = row_lse, row_share, col_lse, col_share
        of_scale = of_scale + _matrix("shares", kernels.shares, x, y, *groups, scale, *vectors, result=result)[1]
    return result.to(x.dtype), of_scale


def sigmoid_sum(x, y, scale, bias, groups_x, groups_y):
    """Sum of softplus(-z (s + bias)), with z = 1 for equal groups and -1 for others."""
    if not len(x) or not len(y):
        return x.new_zeros((), dtype=torch.float64)

    def launch(blocks):
        tiles = triton.cdiv(len(x), blocks.rows) * triton.cdiv(len(y), blocks.cols)
        sums = x.new_empty(tiles, dtype=torch.float64)
        _run(kernels.sigmoid_sum, x, y, groups_x, groups_y, blocks, scale, bias, sums)
        return sums

    return launch(_blocks("sigmoid_sum", x, y, launch)).sum()


def sigmoid_weights(x, y, scale, bias, groups_x, groups_y, gain=1.0):
    """Derivatives of `sigmoid_sum` by s, in the type of x, and by the scale (0-d float64), both times `gain`."""
    gain = torch.full_like(scale, gain)
    result, of_scale = _matrix("sigmoid_weights", kernels.sigmoid_weights, x, y, groups_x, groups_y, scale, bias, gain)
    return result.to(x.dtype), of_scale


def _matrix(name, kernel, x, y, groups_x, groups_y, *args, result=None):
    """A tile that a kernel fills, and the sum of its products with those of the rows."""
    if result is None:
        result = x.new_empty((len(x), len(y)), dtype=products.output_dtype(x.dtype))
    if not result.numel():
        return result, x.new_zeros((), dtype=torch.float64)

    def launch(blocks):
        tiles = triton.cdiv(len(x), blocks.rows) * triton.cdiv(len(y), blocks.cols)
        sums = x.new_zeros(tiles, dtype=torch.float64)
        _run(kernel, x, y, groups_x, groups_y, blocks, *args, result, sums)
        return sums

    return result, launch(_blocks(name, x, y, launch)).sum()


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
