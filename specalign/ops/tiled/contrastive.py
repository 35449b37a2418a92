"""Contrastive losses and their gradients over tiles; no N x M matrix is ever stored.

Both losses take a set of tile functions: `specalign.ops.tiled.tiles.TorchTiles`, or the Triton kernels, which have the
same names.  Sums over tiles are kept in float64, which costs nothing: they are as long as the batch.
"""

import math

import torch

from specalign.ops.reference import accumulation_dtype
from specalign.ops.tiled import products
from specalign.ops.tiled.pairs import PairedTiles, positive_pairs, restore

__all__ = ["info_nce_backward", "info_nce_forward", "sigmoid_backward", "sigmoid_forward"]

HALF_RANGE = 2.0**14  # largest weight of a tile in half precision: float16 ends at 2^16


def info_nce_forward(x, y, scale, groups_x, groups_y, tiles, shape):
    """Loss (0-d) and what the backward pass needs: per row, and per column, (3, N) float64 of lse, weight and share.

    The lse is that of the negatives; the weight is the sum of sigmoid(lse - s) over the positives, the share one
    positive's part of the loss; both are divided by the number of positives and of rows and directions.
    """
    paired = PairedTiles(x, y, groups_x, groups_y, shape)
    lse = [torch.full((len(rows),), -torch.inf, dtype=torch.float64, device=x.device) for rows in (x, y)]
    for rows, columns, some in paired:
        operands = tiles.operand(paired.x[rows]), tiles.operand(paired.y[columns])
        found = tiles.negatives(*operands, scale, *paired.groups(rows, columns, some))
        for total, where, tile in zip(lse, (rows, columns), found, strict=True):
            torch.logaddexp(total[where], tile.double(), out=total[where])
    sums = _positive_sums(paired, scale, *lse)
    by_row, by_column = (_direction(one, part) for one, part in zip(lse, sums, strict=True))
    loss = ((by_row[0] + by_column[0]) / 2).to(accumulation_dtype(x.dtype))
    return loss, restore(by_row[1], paired.order_x, 1), restore(by_column[1], paired.order_y, 1)


def _positive_sums(paired, scale, row_lse, col_lse):
    """Per row, and per column, (3, N): sums over its positives of the loss, of sigmoid(lse - s), and their number."""
    sums = [torch.zeros((3, len(lse)), dtype=torch.float64, device=lse.device) for lse in (row_lse, col_lse)]
    for rows, _, some in paired:
        if some is None:
            continue
        i, j = positive_pairs(paired.groups_x[rows], paired.groups_y[some])
        s = scale * _similarity_of_pairs(paired.x[rows], paired.y[some], i, j)
        for total, lse, where, index in ((sums[0], row_lse, rows, i), (sums[1], col_lse, some, j)):
            excess = lse[where][index] - s.double()
            part = torch.stack([_softplus(excess), torch.sigmoid(excess), torch.ones_like(excess)])
            total[:, where] = total[:, where].index_add(1, index, part)
    return sums


def _similarity_of_pairs(x, y, i, j):
    x, y = (rows.to(accumulation_dtype(rows.dtype)) for rows in (x, y))
    if len(i) * 64 <= len(x) * len(y):  # few among many: not worth a product
        return (x[i] * y[j]).sum(dim=1)
    return (x @ y.T)[i, j]


def _softplus(excess):
    """log(1 + e^excess) in full precision, where `torch.nn.functional.softplus` turns linear at 20."""
    return torch.logaddexp(excess, torch.zeros_like(excess))


def _direction(lse, sums):
    """Loss of one direction, and its (3, N) of lse, weight and share."""
    loss, pull, count = sums
    having = (count > 0).sum().clamp(min=1)
    share = torch.where(count > 0, 1 / count.clamp(min=1), 0) / having
    return (loss * share).sum(), torch.stack([lse, pull * share / 2, share / 2])


def info_nce_backward(grad, x, y, scale, groups_x, groups_y, by_row, by_column, tiles, shape, needs):
    """Gradients to x, y and scale; `needs` says which of the first two are wanted (the others are empty)."""
    paired = PairedTiles(x, y, groups_x, groups_y, shape)
    by_row, by_column = _in_order(by_row, paired.order_x), _in_order(by_column, paired.order_y)
    gain = _gain(x.dtype, max(float(part[1:].max()) if part.shape[1] else 0.0 for part in (by_row, by_column)))

    def weights(operands, rows, columns, groups):
        return tiles.weights(*operands, scale, *groups, *by_row[:, rows], *by_column[:, columns], gain)

    return _gradients(grad, paired, scale, tiles, weights, gain, needs)


def _in_order(vectors, order):
    return vectors if order is None else vectors[:, order]


def sigmoid_forward(x, y, scale, bias, groups_x, groups_y, tiles, shape):
    """Sum of softplus(-z (s + bias)) over all pairs, divided by the rows of x."""
    paired = PairedTiles(x, y, groups_x, groups_y, shape)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for rows, columns, some in paired:
        operands = tiles.operand(paired.x[rows]), tiles.operand(paired.y[columns])
        total += tiles.sigmoid_sum(*operands, scale, bias, *paired.groups(rows, columns, some))
    return (total / max(1, len(x))).to(accumulation_dtype(x.dtype))


def sigmoid_backward(grad, x, y, scale, bias, groups_x, groups_y, tiles, shape, needs):
    """Gradients to x, y, scale and bias; `needs` says which of the first two are wanted (the others are empty)."""
    paired = PairedTiles(x, y, groups_x, groups_y, shape)
    gain = _gain(x.dtype, 1.0)
    by_bias = torch.zeros((), dtype=torch.float64, device=x.device)

    def weights(operands, rows, columns, groups):
        found = tiles.sigmoid_weights(*operands, scale, bias, *groups, gain)
        by_bias.add_(found[0].sum(dtype=accumulation_dtype(x.dtype)))
        return found

    grad = grad / max(1, len(x))
    return *_gradients(grad, paired, scale, tiles, weights, gain, needs), (by_bias * grad / gain).to(grad.dtype)


def _gain(dtype, largest):
    """Power of two that brings the weights of a tile into the range of half precision."""
    if dtype not in (torch.float16, torch.bfloat16) or not 0 < largest < math.inf:
        return 1.0
    return 2.0 ** math.floor(math.log2(HALF_RANGE / largest))


def _gradients(grad, paired, scale, tiles, weights, gain, needs):
    """Gradients to x, y and scale: sums over the tiles of G @ y and G.T @ x, with G / gain the gradient by s.

    The second is kept transposed, in which form its products are quicker.
    """
    x, y = paired.rows
    dtype = accumulation_dtype(x.dtype)
    by_x = x.new_zeros(x.shape if needs[0] else (0, x.shape[1]), dtype=dtype)
    by_y = y.new_zeros(y.T.shape if needs[1] else (y.shape[1], 0), dtype=dtype)
    by_scale = torch.zeros((), dtype=torch.float64, device=x.device)
    for rows, columns, some in paired:
        operands = tiles.operand(x[rows]), tiles.operand(y[columns])
        tile, of_scale = weights(operands, rows, columns, paired.groups(rows, columns, some))
        by_scale += of_scale
        if needs[0]:
            products.add_product(by_x[rows], tile, operands[1])
        if needs[1]:
            products.add_transposed_product(by_y[:, columns], tile, operands[0])
    factor = grad / gain
    for part in (by_x, by_y):
        part.mul_(scale * factor)
    order_x, order_y = (order if need else None for order, need in zip(paired.orders, needs, strict=True))
    grads = restore(by_x.to(x.dtype), order_x), restore(by_y.T.to(y.dtype), order_y)
    return *(part.contiguous() for part in grads), (by_scale * factor).to(dtype)
