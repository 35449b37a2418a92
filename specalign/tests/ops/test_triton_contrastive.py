"""Triton's tile functions of the contrastive losses against the formulas in float64.

Without a CUDA device the kernels run in Triton's interpreter, which must be chosen before triton is imported.
"""

import pytest
import torch
from torch.nn import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip("triton")

from specalign.ops._triton import contrastive, products  # noqa: E402
from specalign.ops._triton.products import Blocks  # noqa: E402

SIZES = [0, 1, 2, 63, 64, 65, 127, 1030]
PAIRS = list(zip(SIZES, [65, 1, 1030, 0, 64, 127, 63, 2], strict=True))
WIDTHS = [1, 3, 20, 48, 64, 100]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SMALL = [Blocks(16, 16, 16), Blocks(32, 16, 32), Blocks(16, 64, 16)]


@pytest.fixture(params=SMALL, ids=str)
def _small_blocks(request, monkeypatch):
    monkeypatch.setattr(products, "FORCED", request.param)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE, dtype)


def unit(*shape, seed=0, dtype=torch.float64):
    return functional.normalize(normal(*shape, seed=seed), dim=1).to(dtype)


def integers(high, size, seed=0):
    return torch.randint(high, (size,), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def scalar(value, x):
    return torch.tensor(value, dtype=products.accumulation_dtype(x.dtype), device=x.device)


class Formula:
    """All that the tile functions compute, written out in one type."""

    def __init__(self, x, y, scale, groups=None, bias=0.0, dtype=torch.float64):
        self.s = scale * (x.to(dtype) @ y.to(dtype).T)
        self.same = torch.zeros_like(self.s, dtype=torch.bool)
        if groups is not None:
            self.same = groups[0][:, None] == groups[1][None, :]
        self.sign = torch.where(self.same, 1.0, -1.0).to(dtype)
        self.bias = bias
        negatives = self.s.masked_fill(self.same, -torch.inf)
        self.rows, self.cols = negatives.logsumexp(1), negatives.logsumexp(0)

    def weights(self, row_lse, row_weight, row_share, col_lse, col_weight, col_share):
        vectors = [value.to(self.s.dtype) for value in (row_lse, row_weight, row_share)]
        result = self._direction(self.s, *vectors)
        vectors = [value.to(self.s.dtype) for value in (col_lse, col_weight, col_share)]
        return result + self._direction(self.s.T, *vectors).T

    def _direction(self, s, lse, weight, share):
        same = self.same if s.shape == self.same.shape and s is self.s else self.same.T
        none = torch.isneginf(lse)[:, None]
        away = torch.where(none, 0, weight[:, None] * torch.exp((s - lse[:, None]).masked_fill(none, 0)))
        pull = torch.where(none, 0, share[:, None] * torch.sigmoid(lse[:, None] - s))
        return torch.where(same, -pull, away)

    def sigmoid_sum(self):
        excess = -self.sign * (self.s + self.bias)
        return torch.logaddexp(excess, torch.zeros_like(excess)).sum()

    def sigmoid_weights(self):
        return -self.sign * torch.sigmoid(-self.sign * (self.s + self.bias))


def vectors_of(formula, seed=0):
    """Vectors of the backward pass: lse, weight, share of the rows and of the columns."""
    found = []
    for i, lse in enumerate((formula.rows, formula.cols)):
        weight, share = (normal(len(lse), seed=seed + 10 * i + j).abs() for j in (1, 2))
        found += [lse, weight.masked_fill(torch.isneginf(lse), 0), share]
    return found


def close(got, exact, tolerance):
    """Whether results differ by no more than a part of the largest; NaN and infinities must be the same ones."""
    assert got.shape == exact.shape
    got, finite = got.double(), torch.isfinite(exact)
    assert torch.equal(got[~finite].nan_to_num(nan=7.0), exact[~finite].nan_to_num(nan=7.0))
    return not finite.any() or float((got - exact)[finite].abs().max()) <= tolerance


def check(x, y, scale, groups, bias=-0.7):
    """All four functions of a tile against the formulas."""
    acc = products.accumulation_dtype(x.dtype)
    exact, plain = Formula(x, y, scale, groups, bias), Formula(x, y, scale, groups, bias, acc)
    pair = (None, None) if groups is None else groups
    relative = 1e-12 if acc == torch.float64 else 1e-6
    largest = 1.0 + (float(exact.s.abs().max()) if exact.s.numel() else 0.0)
    rows, cols = contrastive.negatives(x, y, scalar(scale, x), *pair)
    assert rows.dtype == cols.dtype == acc
    assert close(rows, exact.rows, relative * largest)
    assert close(cols, exact.cols, relative * largest)
    vectors = vectors_of(exact)
    got = contrastive.weights(x, y, scalar(scale, x), *pair, *vectors, 4.0)
    check_matrix(got, x, y, 4 * exact.weights(*vectors), 4 * plain.weights(*vectors))
    got = contrastive.sigmoid_weights(x, y, scalar(scale, x), scalar(bias, x), *pair, 0.5)
    check_matrix(got, x, y, exact.sigmoid_weights() / 2, plain.sigmoid_weights() / 2)
    total = contrastive.sigmoid_sum(x, y, scalar(scale, x), scalar(bias, x), *pair)
    assert total.dtype == torch.float64
    assert total.shape == ()
    # a pair's loss is the smaller, the closer its exponent is to what rounding makes of it
    assert float(total) == pytest.approx(float(exact.sigmoid_sum()), rel=relative * max(1.0, largest / 10), abs=1e-15)


def check_matrix(got, x, y, exact, plain):
    """A tile of weights, and their sum with the products, which is the derivative by the scale."""
    matrix, of_scale = got
    acc = products.accumulation_dtype(x.dtype)
    assert matrix.dtype == x.dtype
    assert matrix.shape == exact.shape
    assert of_scale.shape == ()
    if not exact.numel():
        assert not of_scale
        return
    rounding = 8 * torch.finfo(acc).eps
    error = 2 * float((plain.double() - exact).abs().max())
    if acc == torch.float64:
        error = 1e-12 * float(exact.abs().max())
    terms = (x.double() @ y.double().T) * exact
    # an error of the weights, or of the products, in every term
    allowed = error * float((x.double() @ y.double().T).abs().sum()) + rounding * float(terms.abs().sum())
    assert float((of_scale - terms.sum()).abs()) <= allowed
    if acc != x.dtype:
        rounding += torch.finfo(x.dtype).eps
        error += torch.finfo(x.dtype).tiny * torch.finfo(x.dtype).eps
    assert close(matrix, exact, error + rounding * float(exact.abs().max()))


# all sizes and widths in float32, some in types that differ from it in few lines
GRID = [
    (dtype, *pair, width)
    for dtype, widths in [
        (torch.float32, WIDTHS),
        (torch.float64, [100]),
        (torch.bfloat16, [3, 64]),
        (torch.float16, [48]),
    ]
    for pair in PAIRS
    for width in widths
]


@pytest.mark.parametrize(("dtype", "b", "c", "width"), GRID)
def test_tiles_are_the_formulas(dtype, b, c, width):
    x, y = normal(b, width, seed=1, dtype=dtype), normal(c, width, seed=2, dtype=dtype)
    groups = (integers(9, b, 3), integers(9, c, 4)) if (b + width) % 2 else None
    check(x, y, 1.5 / width**0.5, groups)


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("dtype", DTYPES[1:3])
@pytest.mark.parametrize(("b", "c", "width"), [(33, 50, 20), (16, 64, 32), (1, 70, 3)])
def test_many_ragged_blocks(dtype, b, c, width):
    x, y = normal(b, width, seed=1, dtype=dtype), normal(c, width, seed=2, dtype=dtype)
    check(x, y, 0.5, (integers(30, b, 3), integers(30, c, 4)))
    check(x, y, 0.5, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_large_scales(dtype, scale, sign):
    x = unit(65, 20, dtype=dtype)
    check(x, sign * x, scale, (torch.arange(65, device=DEVICE),) * 2)
    check(torch.ones_like(x), -torch.ones_like(x), scale, None)


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_maxima_that_differ_by_thousands(dtype, monkeypatch):
    """Every row and every column needs a maximum of its own: e^s of the others leaves the range."""
    monkeypatch.setattr(products, "FORCED", Blocks(32, 16, 32))
    x, y = torch.ones(40, 1, dtype=dtype, device=DEVICE), torch.ones(35, 1, dtype=dtype, device=DEVICE)
    x[::3] *= 300
    x[1] = -400
    y[::4] *= 200
    y[2] = -250
    check(x, y, 1.0, None)
    check(x, y, 1.0, (integers(4, 40), integers(4, 35)))


@pytest.mark.usefixtures("_small_blocks")
def test_one_group_has_no_negatives():
    x, y = normal(20, 5, dtype=torch.float32), normal(35, 5, seed=1, dtype=torch.float32)
    groups = torch.full((20,), 7, device=DEVICE), torch.full((35,), 7, device=DEVICE)
    rows, cols = contrastive.negatives(x, y, scalar(2.0, x), *groups)
    assert bool(torch.isneginf(rows).all())
    assert bool(torch.isneginf(cols).all())
    check(x, y, 2.0, groups)


def test_rows_without_negatives_pull_nothing():
    """A lse of -inf is the logarithm of no negatives: nothing is pushed, and the positives are already alone."""
    x, y = normal(4, 5, dtype=torch.float32), normal(6, 5, seed=1, dtype=torch.float32)
    empty = [torch.full((n,), -torch.inf, dtype=torch.float64, device=DEVICE) for n in (4, 6)]
    zero, one = ([torch.full((n,), v, dtype=torch.float64, device=DEVICE) for n in (4, 6)] for v in (0.0, 1.0))
    for groups in [(integers(2, 4), integers(2, 6)), (None, None)]:
        vectors = empty[0], zero[0], one[0], empty[1], zero[1], one[1]
        matrix, of_scale = contrastive.weights(x, y, scalar(1.0, x), *groups, *vectors, 1.0)
        assert not matrix.any()
        assert not of_scale


def test_different_groups_are_as_no_groups():
    x, y = normal(30, 7, dtype=torch.float32), normal(40, 7, seed=1, dtype=torch.float32)
    groups = torch.arange(30, device=DEVICE), torch.arange(100, 140, device=DEVICE)
    for with_groups, without in zip(
        contrastive.negatives(x, y, scalar(2.0, x), *groups),
        contrastive.negatives(x, y, scalar(2.0, x), None, None),
        strict=True,
    ):
        assert torch.equal(with_groups, without)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grouped", [True, False])
def test_nan_stays_nan(dtype, grouped):
    x, y = normal(20, 5, dtype=dtype), normal(35, 5, seed=1, dtype=dtype)
    x[3, 2], y[30, 0] = torch.nan, torch.nan
    groups = (torch.arange(20, device=DEVICE), torch.arange(35, device=DEVICE)) if grouped else (None, None)
    rows, cols = contrastive.negatives(x, y, scalar(1.0, x), *groups)
    exact = Formula(x, y, 1.0, groups if grouped else None)
    assert torch.equal(rows.isnan(), exact.rows.isnan())
    assert torch.equal(cols.isnan(), exact.cols.isnan())
    assert int(rows.isnan().sum()) == 20
    bad = torch.zeros(20, 35, dtype=torch.bool, device=DEVICE)
    bad[3], bad[:, 30] = True, True
    vectors = vectors_of(Formula(normal(20, 5), normal(35, 5), 1.0))
    for matrix, of_scale in (
        contrastive.weights(x, y, scalar(1.0, x), *groups, *vectors, 1.0),
        contrastive.sigmoid_weights(x, y, scalar(1.0, x), scalar(0.0, x), *groups, 1.0),
    ):
        assert torch.equal(matrix.isnan(), bad)
        assert bool(of_scale.isnan())
    assert bool(contrastive.sigmoid_sum(x, y, scalar(1.0, x), scalar(0.0, x), *groups).isnan())


def test_a_row_of_nan_alone():
    x = torch.full((1, 3), torch.nan, device=DEVICE)
    rows, cols = contrastive.negatives(x, torch.ones(70, 3, device=DEVICE), scalar(1.0, x), None, None)
    assert bool(rows.isnan().all())
    assert bool(cols.isnan().all())


def test_large_exponents_are_exact():
    """Sums of 2^j e^s are known, whatever s is."""
    x = torch.ones(64, 1, device=DEVICE)
    for size in (1e5, -1e5):
        rows, cols = contrastive.negatives(x, size * x[:32], scalar(1.0, x), None, None)
        assert rows.double() == pytest.approx(size + 5 * 0.6931471805599453, rel=1e-7)
        assert cols.double() == pytest.approx(size + 6 * 0.6931471805599453, rel=1e-7)


def test_gain_is_a_factor():
    x, y = normal(9, 4, dtype=torch.float32), normal(11, 4, seed=1, dtype=torch.float32)
    groups = integers(4, 9), integers(4, 11)
    vectors = vectors_of(Formula(x, y, 1.0, groups))
    one, many = (contrastive.weights(x, y, scalar(1.0, x), *groups, *vectors, gain) for gain in (1.0, 2.0**20))
    assert torch.equal(one[0] * 2**20, many[0])
    assert torch.equal(one[1] * 2**20, many[1])


def test_strides(monkeypatch):
    """Views need no copy: every second row and column, transposed, expanded, and a column of groups."""
    monkeypatch.setattr(products, "FORCED", Blocks(32, 32, 16))
    wide = normal(60, 90, dtype=torch.float32)
    groups = torch.stack([integers(5, 40), integers(7, 40)], dim=1)[:30, 0]
    check(wide[::2, 1::3], wide.T[:50, ::2], 0.3, (groups, groups[:1].expand(50)))
    check(wide[:1, :30].expand(30, 30), wide[:30, :1].expand(30, 30), 0.3, None)
    assert not groups.is_contiguous()


def test_offsets_beyond_32_bits():
    """Rows 2^30 elements apart, of which hardly any memory is touched."""
    x = torch.empty(2**32 + 16, dtype=torch.bfloat16, device=DEVICE).as_strided((5, 4), (2**30, 1))
    for i in range(5):
        x[i] = torch.arange(4) - i
    check(x, x.contiguous(), 0.25, None)
    across = x.as_strided((4, 5), (1, 2**30))
    check(across, across.contiguous(), 0.25, None)
