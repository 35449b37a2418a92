"""Triton's masked cosine against the definition.

Without a CUDA device the kernels run in Triton's interpreter, which must be chosen before triton is imported.
"""

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip("triton")

from specalign.ops import reference  # noqa: E402
from specalign.ops._triton import overlap, products  # noqa: E402
from specalign.ops._triton.products import Blocks  # noqa: E402

SIZES = [0, 1, 2, 63, 64, 65, 127, 1030]
PAIRS = list(zip(SIZES, [65, 1, 1030, 0, 64, 127, 63, 2], strict=True))
WIDTHS = [1, 3, 20, 48, 64, 100]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
GRID = [(torch.float32, *pair, width) for pair in PAIRS for width in WIDTHS]
GRID += [(dtype, *pair, width) for dtype in DTYPES for pair in PAIRS[4:6] for width in (0, 100)]


def spectra(rows, width, seed=0, dtype=torch.float64):
    """Flux and weights, a third of which are 0, with values under them that are no numbers."""
    random = torch.Generator().manual_seed(seed)
    flux = torch.randn(rows, width, generator=random, dtype=torch.float64)
    weight = (1.5 * torch.rand(rows, width, generator=random, dtype=torch.float64) - 0.5).clamp(min=0)
    flux[weight == 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e3])[: 1 + rows % 4][-1]
    return flux.to(DEVICE, dtype), weight.to(DEVICE, dtype)


def check(x, y, tolerance=0.0):
    got, exact = overlap.masked_similarity(*x, *y), reference.masked_similarity(*x, *y)
    assert got.dtype == exact.dtype
    assert got.shape == exact.shape
    assert not got.numel() or float((got - exact).abs().max()) <= tolerance


def rounding(dtype):
    return 20 * torch.finfo(products.accumulation_dtype(dtype)).eps


@pytest.mark.parametrize(("dtype", "n", "m", "width"), GRID)
def test_is_the_definition(dtype, n, m, width):
    check(spectra(n, width, dtype=dtype), spectra(m, width, seed=1, dtype=dtype), rounding(dtype))


@pytest.mark.parametrize("blocks", [Blocks(16, 16, 16), Blocks(32, 16, 32)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_ragged_blocks(dtype, blocks, monkeypatch):
    monkeypatch.setattr(products, "FORCED", blocks)
    monkeypatch.setattr(overlap, "COPIED_BYTES", 25 * 2 * 50 * 8)
    check(spectra(33, 50, dtype=dtype), spectra(70, 50, seed=1, dtype=dtype), rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_operands(dtype):
    """Flux of one size, and weights that are 0 or 1: all sums are integers, and all powers squares."""
    random = torch.Generator().manual_seed(1)
    part = torch.zeros(40, 64, dtype=dtype)
    for i in range(40):
        part[i, 16 * (i % 3) : 16 * (i % 3) + 16] = 1
    flux = (2 * torch.randint(2, (40, 64), generator=random) - 1).to(dtype)
    check((flux.to(DEVICE), part.to(DEVICE)), (8 * flux.flip(0).to(DEVICE), 4 * part.to(DEVICE)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_with_itself(dtype):
    flux, weight = spectra(20, 100, dtype=dtype)
    got = overlap.masked_similarity(flux, weight, flux, weight)
    assert torch.allclose(got.diagonal(), torch.ones_like(got.diagonal()), rtol=0, atol=rounding(dtype))


def test_nothing_in_common():
    flux, weight = spectra(6, 8, dtype=torch.float32)
    left, right = weight.clone(), weight.clone()
    left[:, 4:], right[:, :4] = 0, 0
    assert not overlap.masked_similarity(flux, left, flux, right).any()
    assert not overlap.masked_similarity(flux, 0 * weight, flux, weight).any()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_units_do_not_matter(size):
    x, y = spectra(9, 30, dtype=torch.float32), spectra(7, 30, seed=1, dtype=torch.float32)
    check((size * x[0], x[1] / size), y, rounding(torch.float32))


@pytest.mark.parametrize("dtype", DTYPES[1:3])
def test_strides(dtype):
    flux, weight = spectra(60, 90, dtype=dtype)
    x, y = (flux[::2, 1::3], weight[::2, 1::3]), (flux.T[:50, ::2], weight.T[:50, ::2])
    check(x, y, rounding(dtype))
    check((flux[:1, :30].expand(20, 30), weight[:20, :30]), (x[0], weight[:1, :30].expand(30, 30)), rounding(dtype))


def test_offsets_beyond_32_bits():
    """Rows 2^30 elements apart, of which hardly any memory is touched."""
    flux = torch.empty(2**32 + 16, dtype=torch.bfloat16, device=DEVICE).as_strided((5, 4), (2**30, 1))
    for i in range(5):
        flux[i] = torch.arange(4) - i
    check((flux, flux.abs()), (flux, flux.abs()), rounding(torch.bfloat16))
