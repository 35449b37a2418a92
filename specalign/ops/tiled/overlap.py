"""Weighted cosines over the pixels that two rows share, as three matrix products a tile."""

import torch

from specalign.ops.reference import accumulation_dtype, weighted_rows
from specalign.ops.tiled.products import similarity

__all__ = ["masked_similarity", "masked_similarity_backward"]

ROW_BLOCK = 1024
BLOCK_ELEMENTS = 2**21  # of the rows that are prepared at once


def masked_similarity(flux_x, weight_x, flux_y, weight_y):
    """Similarity (N, M); 0 where nothing overlaps."""
    dtype = accumulation_dtype(flux_x.dtype)
    result = torch.empty((len(flux_x), len(flux_y)), dtype=dtype, device=flux_x.device)
    for columns in _blocks(flux_y):
        y = Operand(flux_y[columns], weight_y[columns])
        for rows in _blocks(flux_x):
            result[rows, columns] = Overlap(Operand(flux_x[rows], weight_x[rows]), y).cosine
    return result


def masked_similarity_backward(grad, flux_x, weight_x, flux_y, weight_y):
    """Gradients to the four arguments."""
    dtype = accumulation_dtype(flux_x.dtype)
    result = [torch.zeros(rows.shape, dtype=dtype, device=rows.device) for rows in (flux_x, weight_x, flux_y, weight_y)]
    for columns in _blocks(flux_y):
        y = Operand(flux_y[columns], weight_y[columns])
        for rows in _blocks(flux_x):
            x = Operand(flux_x[rows], weight_x[rows])
            by_x, by_y = Overlap(x, y).gradients(grad[rows, columns])
            for total, where, part in zip(result, (rows, rows, columns, columns), (*by_x, *by_y), strict=True):
                total[where] += part
    return tuple(part.to(flux_x.dtype) for part in result)


def _blocks(rows):
    height = max(1, min(ROW_BLOCK, BLOCK_ELEMENTS // max(1, rows.shape[1])))
    return [slice(start, min(start + height, len(rows))) for start in range(0, len(rows), height)]


class Operand:
    """Rows without what hides under weight 0, scaled by their largest values, and the products that are needed."""

    def __init__(self, flux, weight):
        self.flux, self.weight, *self.scales = weighted_rows(flux, weight)
        self.first = self.weight * self.flux
        self.second = self.first * self.flux

    def gradients(self, first, own, other):
        """To flux and weight, from the sums over the other rows of what stands by w f, by w f^2 and by w."""
        by_flux = self.weight * (first - self.flux * own)
        by_weight = self.flux * first - (self.flux**2 * own + other) / 2
        return by_flux / self.scales[0], by_weight / self.scales[1]


class Overlap:
    """Cosines of all rows of one operand with all rows of another."""

    def __init__(self, x, y):
        self.x, self.y = x, y
        self.power_x, self.power_y = similarity(x.second, y.weight), similarity(x.weight, y.second)
        self.overlap = (self.power_x > 0) & (self.power_y > 0)
        # two roots, since the product of the powers leaves the range of float32 long before they do
        self.length = self.power_x.sqrt().mul_(self.power_y.sqrt())
        self.cosine = torch.where(self.overlap, similarity(x.first, y.first).div_(self.length), 0)

    def gradients(self, grad):
        """To flux and weight of both operands."""
        by_product = torch.where(self.overlap, grad / self.length, 0)
        by_x = torch.where(self.overlap, grad * self.cosine / self.power_x, 0)
        by_y = torch.where(self.overlap, grad * self.cosine / self.power_y, 0)
        x, y = self.x, self.y
        return (
            x.gradients(by_product @ y.first, by_x @ y.weight, by_y @ y.second),
            y.gradients(by_product.T @ x.first, by_y.T @ x.weight, by_x.T @ x.second),
        )
