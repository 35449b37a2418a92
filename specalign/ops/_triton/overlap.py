"""Weighted cosine over the pixels that two rows share: three matrix products in one pass over the pixels."""

import torch
import triton
import triton.language as tl

from specalign.ops import reference
from specalign.ops._triton import products
from specalign.ops._triton.products import TILES_IN_A_ROW, Blocks, place_of_tile

CANDIDATES = {
    torch.float32: (Blocks(64, 64, 16, 8, 3), Blocks(64, 32, 16, 4, 3), Blocks(32, 64, 16, 4, 3)),
    torch.float64: (Blocks(32, 32, 16, 4, 2),),
}
COPIED_BYTES = 2**28  # of the scaled rows of either side


def masked_similarity(flux_x, weight_x, flux_y, weight_y):
    """Weighted cosine (N, M) over the pixels that both rows have; 0 where nothing overlaps."""
    dtype = products.accumulation_dtype(flux_x.dtype)
    result = torch.empty((len(flux_x), len(flux_y)), dtype=dtype, device=flux_x.device)
    step = max(1, COPIED_BYTES // (2 * dtype.itemsize * max(1, flux_x.shape[1])))
    for i in range(0, len(flux_x), step):
        x = _scaled(flux_x[i : i + step], weight_x[i : i + step])
        for j in range(0, len(flux_y), step):
            y = _scaled(flux_y[j : j + step], weight_y[j : j + step])
            _fill(*x, *y, result[i : i + step, j : j + step])
    return result


def _scaled(flux, weight):
    """Rows by their largest, without what hides under weight 0; both with the same strides."""
    flux, weight = reference.weighted_rows(flux, weight)[:2]
    return flux.contiguous(), weight.contiguous()


def _fill(x, w, y, v, result):
    def launch(blocks):
        programs = triton.cdiv(len(x), blocks.rows) * triton.cdiv(len(y), blocks.cols)
        constants = products.product_constants(x, y, blocks)
        del constants["RAGGED"], constants["UPCAST"]
        operands = x, w, y, v, result, len(x), len(y), x.shape[1], result.stride(0)
        products.run(_overlap, programs, x.device, blocks, *operands, **constants)

    launch(products.choose_blocks("overlap", x, y, CANDIDATES[x.dtype], launch))


@triton.jit
def _overlap(
    x,
    w,
    y,
    v,
    result,
    num_x,
    num_y,
    width,
    result_row,
    ACC: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile_row, tile_col = place_of_tile(tl.cdiv(num_x, BLOCK_M), tl.cdiv(num_y, BLOCK_N), TILES_IN_A_ROW)
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_col * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = tl.minimum(rows, num_x - 1), tl.minimum(cols, num_y - 1)
    product = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACC)
    power_x = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACC)
    power_y = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACC)
    for start in range(0, width, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        inside = inner < width
        at_x = row[:, None] * width + inner[None, :]
        at_y = col[None, :] * width + inner[:, None]
        f = tl.load(x + at_x, mask=inside[None, :], other=0.0)
        a = tl.load(w + at_x, mask=inside[None, :], other=0.0)
        g = tl.load(y + at_y, mask=inside[:, None], other=0.0)
        b = tl.load(v + at_y, mask=inside[:, None], other=0.0)
        product = tl.dot(a * f, b * g, product, input_precision="ieee", out_dtype=ACC)
        power_x = tl.dot(a * (f * f), b, power_x, input_precision="ieee", out_dtype=ACC)
        power_y = tl.dot(a, b * (g * g), power_y, input_precision="ieee", out_dtype=ACC)
    overlap = (power_x > 0) & (power_y > 0)
    # exact roots and quotient, as the cosine of a row with itself is 1
    if tl.float64 == ACC:
        length = tl.sqrt(tl.where(overlap, power_x, 1.0)) * tl.sqrt(tl.where(overlap, power_y, 1.0))
        cosine = product / length
    else:
        length = tl.sqrt_rn(tl.where(overlap, power_x, 1.0)) * tl.sqrt_rn(tl.where(overlap, power_y, 1.0))
        cosine = tl.div_rn(product, length)
    inside = (rows < num_x)[:, None] & (cols < num_y)[None, :]
    tl.store(result + rows[:, None] * result_row + cols[None, :], tl.where(overlap, cosine, 0.0), mask=inside)
