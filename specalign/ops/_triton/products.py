"""What all kernels share: the product of a tile, the order of tiles, and how a kernel is launched."""

import contextlib
import warnings
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from specalign.ops.reference import accumulation_dtype

INTERPRETED = bool(triton.knobs.runtime.interpret)
TILES_IN_A_ROW = tl.constexpr(8)  # rows of tiles that run side by side, so that they share what is in the L2 cache

DTYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


class Blocks(NamedTuple):
    """Sizes of a kernel's blocks: rows and columns of a tile, and the part of the width that one step reads."""

    rows: int
    cols: int
    width: int
    warps: int = 4
    stages: int = 3


# One program of the interpreter costs about as much whatever its size.
FORCED = Blocks(256, 256, 64) if INTERPRETED else None

_fastest = {}


def output_dtype(dtype):
    """What a kernel stores for a result of that type: the interpreter does not round to half precision properly."""
    return accumulation_dtype(dtype) if INTERPRETED else dtype


def choose_blocks(name, x, y, candidates, launch):
    """The fastest of the candidates, measured once a process for large operands; the first of them for small ones."""
    if FORCED is not None:
        return FORCED
    if len(candidates) == 1 or min(len(x), len(y)) < 1024 or len(x) * len(y) < 2**22:
        return candidates[0]
    key = name, x.dtype, x.device, triton.next_power_of_2(x.shape[1])
    if key not in _fastest:
        with torch.cuda.device(x.device):
            _fastest[key] = min(candidates, key=lambda blocks: _duration(launch, blocks))
    return _fastest[key]


def _duration(launch, blocks):
    try:
        return triton.testing.do_bench(lambda: launch(blocks), warmup=5, rep=20, return_mode="median")
    except (triton.runtime.errors.OutOfResources, triton.runtime.errors.PTXASError):
        return float("inf")


def run(kernel, programs, device, blocks, *args, **constants):
    """Launch a kernel on the tensors' own device."""
    options = {"num_warps": blocks.warps, "num_stages": blocks.stages, "enable_fp_fusion": True}
    with _on(device):
        kernel[(programs,)](*args, **constants, **options)


@contextlib.contextmanager
def _on(device):
    if not INTERPRETED:
        with torch.cuda.device(device):
            yield
        return
    with warnings.catch_warnings():
        # numpy reports the infinities and NaN that a device computes in silence
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def product_constants(x, y, blocks):
    """Compile-time arguments of a kernel that computes a tile of products."""
    half = x.element_size() < 4
    return {
        "ACC": DTYPES[accumulation_dtype(x.dtype)],
        "UPCAST": INTERPRETED and half,
        "EVEN": x.shape[1] % blocks.width == 0,
        "RAGGED": bool(len(x) % blocks.rows or len(y) % blocks.cols),
        "BLOCK_M": blocks.rows,
        "BLOCK_N": blocks.cols,
        "BLOCK_K": blocks.width,
    }


@triton.jit
def place_of_tile(num_rows, num_cols, SIDE_BY_SIDE: tl.constexpr):
    """Row and column of this program's tile, as int64, so that offsets into large operands do not overflow."""
    program = tl.program_id(0)
    strip = SIDE_BY_SIDE * num_cols
    first = program // strip * SIDE_BY_SIDE
    height = tl.minimum(num_rows - first, SIDE_BY_SIDE)
    row = first + program % strip % height
    col = program % strip // height
    return row.to(tl.int64), col.to(tl.int64)


@triton.jit
def product_tile(
    x,
    y,
    rows,
    cols,
    width,
    x_row,
    x_col,
    y_row,
    y_col,
    ACC: tl.constexpr,
    UPCAST: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Products of rows of x with rows of y; every index of `rows` and `cols` must be inside its operand."""
    inner = tl.arange(0, BLOCK_K).to(tl.int64)
    step = tl.full((), BLOCK_K, tl.int64)
    x_at = x + rows[:, None] * x_row + inner[None, :] * x_col
    y_at = y + cols[None, :] * y_row + inner[:, None] * y_col
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACC)
    for start in range(0, width, BLOCK_K):
        if EVEN:
            a = tl.load(x_at)
            b = tl.load(y_at)
        else:
            inside = start + inner < width
            a = tl.load(x_at, mask=inside[None, :], other=0.0)
            b = tl.load(y_at, mask=inside[:, None], other=0.0)
        if UPCAST:
            a = a.to(ACC)
            b = b.to(ACC)
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=ACC)
        x_at += step * x_col
        y_at += step * y_col
    return total
