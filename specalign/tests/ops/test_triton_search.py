"""Triton's search and ranks against the definitions: the same indices, and values to the last digits.

Without a CUDA device the kernels run in Triton's interpreter, which must be chosen before triton is imported.
"""

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip("triton")

from specalign.ops import reference  # noqa: E402
from specalign.ops._triton import products, rows, search  # noqa: E402
from specalign.ops._triton.products import Blocks  # noqa: E402

SIZES = [1, 2, 63, 64, 65, 127, 1030]
PAIRS = list(zip(SIZES, [65, 1, 1030, 127, 64, 63, 2], strict=True))
WIDTHS = [1, 3, 20, 48, 64, 100]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# all sizes and widths in float32, some in types that differ from it in few lines
GRID = [(torch.float32, *pair, width) for pair in PAIRS for width in WIDTHS]
GRID += [(torch.float64, *pair, width) for pair in PAIRS[1:4] for width in (3, 64)]
GRID += [(dtype, *pair, width) for dtype in DTYPES[2:] for pair in PAIRS[3:5] for width in (1, 20, 100)]


@pytest.fixture
def _many_chunks(monkeypatch):
    """Groups of 16 rows, in chunks that begin with 2 of them."""
    monkeypatch.setattr(products, "FORCED", Blocks(32, 16, 16))
    monkeypatch.setattr(search, "FIRST_ROWS", 32)
    monkeypatch.setattr(rows, "CHUNK_ROWS", 128)


def random(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=random(seed), dtype=torch.float64).to(DEVICE, dtype)


def signs(*shape, seed=0, dtype=torch.float32):
    """Rows whose length is a power of two where their width is one of four; many of their cosines are equal."""
    return (2 * torch.randint(2, shape, generator=random(seed)) - 1).to(DEVICE, dtype)


def integers(low, high, size, seed=0):
    return torch.randint(low, high, (size,), generator=random(seed)).to(DEVICE)


def check_topk(queries, gallery, k, tolerance=0.0):
    values, indices = search.topk(queries, gallery, k)
    exact, expected = reference.topk(queries, gallery, k)
    assert values.dtype == exact.dtype
    assert torch.equal(indices, expected)
    assert values.shape == exact.shape
    assert not exact.numel() or float((values - exact).abs().max()) <= tolerance


def rounding(dtype):
    return 20 * torch.finfo(products.accumulation_dtype(dtype)).eps


@pytest.mark.parametrize(("dtype", "q", "m", "width"), GRID)
def test_topk_is_the_definition(dtype, q, m, width, monkeypatch):
    monkeypatch.setattr(products, "FORCED", Blocks(256, 64, 64))
    k = min(m, 5) if width != 20 else min(m, 70)
    check_topk(normal(q, width, dtype=dtype), normal(m, width, seed=1, dtype=dtype), k, rounding(dtype))


@pytest.mark.parametrize(("dtype", "q", "m", "width"), GRID)
def test_rank_is_the_definition(dtype, q, m, width):
    queries, gallery = normal(q, width, dtype=dtype), normal(m, width, seed=1, dtype=dtype)
    match = integers(-1, m, q)
    assert torch.equal(search.match_rank(queries, gallery, match), reference.match_rank(queries, gallery, match))


@pytest.mark.slow
@pytest.mark.usefixtures("_many_chunks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "k"), [(4, 3), (16, 40), (64, 1)])
def test_exact_operands_in_many_chunks(dtype, width, k):
    queries, gallery = signs(35, width, dtype=dtype), 4 * signs(300, width, seed=1, dtype=dtype)
    gallery[::7] *= 0.25
    check_topk(queries, gallery, k)
    match = integers(-1, 300, 35)
    assert torch.equal(search.match_rank(queries, gallery, match), reference.match_rank(queries, gallery, match))


@pytest.mark.slow
@pytest.mark.usefixtures("_many_chunks")
@pytest.mark.parametrize("dtype", DTYPES[1:3])
def test_random_operands_in_many_chunks(dtype):
    for k in (1, 20):
        check_topk(normal(40, 20, dtype=dtype), normal(500, 20, seed=1, dtype=dtype), k, rounding(dtype))


@pytest.mark.slow
@pytest.mark.usefixtures("_many_chunks")
@pytest.mark.parametrize("listed", [1, 3, 64])
@pytest.mark.parametrize("kept", [1, 512])
@pytest.mark.parametrize("rising", [True, False])
def test_sorted_galleries(listed, kept, rising, monkeypatch):
    """Every row is better than all before it, so that every group is listed and every row is kept."""
    monkeypatch.setattr(search, "LISTED", listed)
    monkeypatch.setattr(search, "KEPT", kept)
    angle = torch.linspace(3.0, 0.0, 256, dtype=torch.float32, device=DEVICE)
    gallery = torch.stack([angle.cos(), angle.sin()], dim=1)
    gallery = gallery if rising else gallery.flip(0)
    queries = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, 0.0]], device=DEVICE)
    check_topk(queries, gallery, 5, rounding(torch.float32))
    check_topk(queries, gallery, 1, rounding(torch.float32))


@pytest.mark.usefixtures("_many_chunks")
@pytest.mark.parametrize("dtype", DTYPES[1:3])
@pytest.mark.parametrize("kept", [1, 512])
def test_ties_go_to_the_lowest_index(dtype, kept, monkeypatch):
    monkeypatch.setattr(search, "KEPT", kept)
    queries = normal(20, 16, dtype=dtype)
    same = normal(1, 16, seed=2, dtype=dtype).expand(200, 16)
    assert torch.equal(search.topk(queries, same, 9)[1].cpu(), torch.arange(9).expand(20, 9))
    copies = normal(7, 16, seed=3, dtype=dtype).repeat(40, 1)
    copies[::2] *= 2
    check_topk(queries, copies, 50, rounding(dtype))
    match = integers(0, 280, 20)
    assert torch.equal(search.match_rank(queries, copies, match), reference.match_rank(queries, copies, match))


@pytest.mark.usefixtures("_many_chunks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_zeros(dtype):
    queries, gallery = normal(6, 5, dtype=dtype), normal(100, 5, seed=1, dtype=dtype)
    queries[::2] = 0
    gallery[integers(0, 100, 60)] = 0
    check_topk(queries, gallery, 80, rounding(dtype))
    check_topk(queries, 0 * gallery, 3)
    match = integers(-1, 100, 6)
    assert torch.equal(search.match_rank(queries, gallery, match), reference.match_rank(queries, gallery, match))


def test_all_of_the_gallery():
    check_topk(normal(5, 3), normal(65, 3, seed=1), 65, rounding(torch.float64))
    gallery = normal(65, 16, seed=1, dtype=torch.bfloat16)
    check_topk(gallery[:3], gallery, 65, rounding(torch.bfloat16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing(dtype):
    check_topk(normal(0, 3, dtype=dtype), normal(4, 3, dtype=dtype), 2)
    check_topk(normal(3, 0, dtype=dtype), normal(4, 0, dtype=dtype), 2)
    for q, m in [(0, 3), (3, 0), (0, 0)]:
        match = torch.full((q,), -1, device=DEVICE)
        assert torch.equal(search.match_rank(normal(q, 2, dtype=dtype), normal(m, 2, dtype=dtype), match), match + 1)


def test_queries_in_parts(monkeypatch):
    monkeypatch.setattr(search, "QUERY_ROWS", 16)
    monkeypatch.setattr(search, "MAXIMA", 2**10)
    check_topk(normal(40, 8), normal(300, 8, seed=1), 7, rounding(torch.float64))


@pytest.mark.parametrize("dtype", DTYPES[:3])
def test_lengths_at_the_ends_of_the_range(dtype):
    """Squares of such rows leave the range, their cosines do not."""
    queries, gallery = normal(12, 6, dtype=dtype), normal(70, 6, seed=1, dtype=dtype)
    queries[::3] *= 2.0**-100
    queries[1::3] *= 2.0**100
    gallery[::2] *= 2.0**-90
    gallery[1::4] *= 2.0**90
    check_topk(queries, gallery, 5, rounding(dtype))
    match = integers(-1, 70, 12)
    assert torch.equal(search.match_rank(queries, gallery, match), reference.match_rank(queries, gallery, match))


@pytest.mark.parametrize("dtype", DTYPES[1:3])
def test_strides(dtype):
    wide = normal(60, 90, dtype=dtype)
    queries, gallery = wide[::2, 1::3], wide.T[:50, ::2]
    match = torch.stack([integers(-1, 50, 30)] * 2, dim=1)[:, 0]
    check_topk(queries, gallery, 4, rounding(dtype))
    check_topk(wide[:1, :30].expand(20, 30), gallery, 4, rounding(dtype))
    assert torch.equal(search.match_rank(queries, gallery, match), reference.match_rank(queries, gallery, match))


def test_offsets_beyond_32_bits():
    """Rows 2^30 elements apart, of which hardly any memory is touched."""
    gallery = torch.empty(2**32 + 16, dtype=torch.bfloat16, device=DEVICE).as_strided((5, 4), (2**30, 1))
    for i in range(5):
        gallery[i] = torch.arange(4) - i
    check_topk(gallery.contiguous(), gallery, 2, rounding(torch.bfloat16))
    check_topk(gallery, gallery.contiguous(), 2, rounding(torch.bfloat16))
    match = torch.arange(5, device=DEVICE)
    assert torch.equal(search.match_rank(gallery, gallery, match), torch.ones_like(match))
