"""Tiles against the plain definitions: sizes beside borders, scales that leave the range of e^s, exact operands."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from specalign import ops
from specalign.ops import backends
from specalign.ops.tiled import search
from specalign.ops.tiled.pairs import PairedTiles, positive_pairs

SIZES = (0, 1, 2, 63, 64, 65, 127, 1030)
DIMENSIONS = (1, 3, 20, 48, 64, 100)
SCALES = (1.0, 100.0, 1000.0)
LEAST = 1e-30  # float32 holds nothing much smaller: what is, may be 0
ROUNDINGS = 4  # of a gradient of two rows, of which the plain formula may by chance have less than one


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 64 x 64, so that few rows make many of them, and ragged ones at both ends."""
    monkeypatch.setattr(backends, "CPU_TILE", (64, 64))
    monkeypatch.setattr(search, "TILE_ELEMENTS", 64 * 64)
    monkeypatch.setattr(search, "QUERY_BLOCK", 64)


def unit(n, d, seed=0, dtype=torch.float32):
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(rows, dim=1).to(dtype)


def integers(n, d, seed=0, high=3):
    """Rows of small integers: every product and every sum of them is exact in float32."""
    return torch.randint(-high, high + 1, (n, d), generator=torch.Generator().manual_seed(seed)).float()


def signs(n, d, seed=0):
    """Rows of +1 and -1 in a dimension that is a power of four, so that their lengths are exact too."""
    return torch.randint(0, 2, (n, d), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def losses(x, y, scale, groups, backend, dtype):
    """Both losses with their gradients to x, y, scale (and bias)."""
    found = []
    for function, extra in ((ops.info_nce, ()), (ops.sigmoid_loss, (-2.0,))):
        inputs = [x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()]
        inputs += [torch.tensor(value, dtype=dtype, requires_grad=True) for value in (scale, *extra)]
        loss = function(*inputs, *groups, backend=backend)
        found.append((loss.detach(), torch.autograd.grad(loss, inputs)))
    return found


def relative(value, truth, unit=LEAST):
    """Largest error by the largest value, or by the unit where all are smaller."""
    return float((value.double() - truth).abs().max() / truth.abs().max().clamp(min=unit)) if truth.numel() else 0.0


def check_losses(x, y, scale, groups):
    """The losses are held one by one; the gradients' errors are returned, to be pooled over draws."""
    truth = losses(x, y, scale, groups, "reference", torch.float64)
    errors = []
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        tiled = losses(x, y, scale, groups, "tiled", dtype)
        plain = losses(x, y, scale, groups, "reference", dtype)
        for (loss, grads), (_, usual), (exact, wanted) in zip(tiled, plain, truth, strict=True):
            assert abs(float(loss) - float(exact)) <= limit * abs(float(exact)) + LEAST
            # the gradient to the bias is a sum of numbers of both signs up to 1, which may cancel
            for ours, theirs, true, unit in zip(grads, usual, wanted, (LEAST, LEAST, LEAST, 1.0), strict=False):
                errors.append((dtype, relative(ours, true, unit), relative(theirs, true, unit)))
    return errors


def check_gradients(errors):
    """In float32, over all draws, within twice the plain formula's own error against float64, and some roundings."""
    single = [(ours, usual) for dtype, ours, usual in errors if dtype == torch.float32]
    ours, usual = torch.tensor(single, dtype=torch.float64).square().mean(dim=0).sqrt().tolist()
    assert ours <= 2 * usual + ROUNDINGS * torch.finfo(torch.float32).eps
    assert max(ours for dtype, ours, _ in errors if dtype == torch.float64) < 1e-11


@pytest.mark.parametrize("n", [*SIZES[:-1], pytest.param(SIZES[-1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("scale", SCALES)
def test_losses_and_gradients_are_the_formula(n, scale):
    """Gradients: within twice the plain formula's own error against float64, over all dimensions."""
    errors = []
    for d in DIMENSIONS:
        errors += check_losses(unit(n, d, 10 * d), unit(n, d, 10 * d + 1), scale, (None, None))
    check_gradients(errors)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("n", "m"), [(65, 127), (127, 64), (1, 130), (130, 1), (0, 5), (5, 0), (200, 131)])
@pytest.mark.parametrize("kinds", [1, 7, 90])
@pytest.mark.usefixtures("small_tiles")
def test_groups_in_any_order_and_rectangular_batches(n, m, kinds, scale):
    generator = torch.Generator().manual_seed(n + m)
    groups = tuple(torch.randint(-3, kinds, (size,), generator=generator) for size in (n, m))
    errors = check_losses(unit(n, 20, 1), unit(m, 20, 2), scale, groups)
    check_gradients(errors)


def test_rows_and_columns_whose_likeness_differs_by_thousands():
    """No single exponential can serve such a tile: whatever one row holds would vanish beside another."""
    x, y = (
        unit(200, 16, 1) * torch.logspace(-2, 3, 200)[:, None],
        unit(200, 16, 2) * torch.logspace(2, -3, 200)[:, None],
    )
    errors = check_losses(x[:, :], y.flip(0), 30.0, (None, None))
    assert max(ours for dtype, ours, _ in errors if dtype == torch.float32) < 1e-4
    check_losses(-x.abs(), y.abs(), 30.0, (None, None))


@pytest.mark.parametrize("function", [ops.info_nce, lambda x, y, s, **k: ops.sigmoid_loss(x, y, s, 0.0, **k)])
def test_not_a_number_stays_one(function):
    x, y = unit(130, 5), unit(130, 5, 1)
    x[77, 2] = torch.nan
    assert torch.isnan(function(x, y, 10.0))
    x[77, 2] = torch.inf
    assert not torch.isfinite(function(x, y, 10.0))


def test_every_pair_of_equal_rows_is_exactly_known():
    """All products are 0: the loss of N rows is log N, whatever the tiles."""
    x = torch.zeros(1030, 4)
    assert float(ops.info_nce(x, x, 100.0)) == pytest.approx(float(torch.tensor(1030.0).log()), rel=1e-7)
    assert float(ops.sigmoid_loss(x, x, 100.0, 0.0)) == pytest.approx(1030 * 0.6931471805599453, rel=1e-7)


@pytest.mark.usefixtures("small_tiles")
def test_tiles_hold_every_pair_once():
    groups = torch.randint(0, 40, (2, 150), generator=torch.Generator().manual_seed(3))
    tiles = PairedTiles(torch.zeros(150, 1), torch.zeros(150, 1), groups[0], groups[1], (64, 64))
    seen, positive = torch.zeros(150, 150), torch.zeros(150, 150)
    for rows, columns, some in tiles:
        seen[rows, columns] += 1
        if some is not None:
            i, j = positive_pairs(tiles.groups_x[rows], tiles.groups_y[some])
            positive[rows, some][i, j] += 1
    assert torch.equal(seen, torch.ones(150, 150))
    assert torch.equal(positive, (tiles.groups_x[:, None] == tiles.groups_y).float())


def equal_search(queries, gallery, k, match):
    ours = ops.topk_similarity(queries, gallery, k, backend="tiled")
    plain = ops.topk_similarity(queries, gallery, k, backend="reference")
    assert torch.equal(ours.indices, plain.indices)
    ranks = [ops.match_rank(queries, gallery, match, backend=name) for name in ("tiled", "reference")]
    assert torch.equal(*ranks)
    return ours.values, plain.values


@pytest.mark.parametrize(("q", "d"), list(itertools.product(SIZES, DIMENSIONS)))
def test_search_and_ranks_are_the_definition(q, d):
    for m in SIZES[1:]:
        match = torch.randint(-1, m, (q,), generator=torch.Generator().manual_seed(m))
        values = equal_search(unit(q, d, 3), unit(m, d, 4), min(m, 10), match)
        assert torch.allclose(*values, rtol=0, atol=3e-7)


@pytest.mark.parametrize(("q", "m"), [(1, 1030), (65, 127), (127, 1030), (200, 5000)])
@pytest.mark.parametrize("d", [4, 16, 64])
@pytest.mark.usefixtures("small_tiles")
def test_search_is_equal_on_exact_operands(q, m, d):
    """In few dimensions nearly everything is a tie."""
    match = torch.randint(-1, m, (q,), generator=torch.Generator().manual_seed(d))
    for k in (1, 10, min(m, 300)):
        assert torch.equal(*equal_search(signs(q, d, 1), signs(m, d, 2), k, match))


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.usefixtures("small_tiles")
def test_many_blocks_of_the_gallery_keep_what_is_barely_better(k):
    """In 4 dimensions the best of 5,000 rows are within 1e-3 of each other."""
    match = torch.randint(0, 5000, (130,), generator=torch.Generator().manual_seed(k))
    values = equal_search(unit(130, 4, 3), unit(5000, 4, 4), k, match)
    assert torch.allclose(*values, rtol=0, atol=3e-7)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.usefixtures("small_tiles")
def test_a_gallery_in_the_order_of_its_likeness(order):
    """Rising: every row beats all before it. Falling: none does."""
    angle = torch.linspace(0, 1.5, 3000)[::order] if order == 1 else torch.linspace(0, 1.5, 3000).flip(0)
    gallery = torch.stack([angle.cos(), angle.sin()], dim=1)
    queries = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    equal_search(queries, gallery, 100, torch.tensor([17, 2900]))


@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 20))
def test_copies_of_a_row_tie_although_their_products_are_rounded(seed, m, d):
    """What a product rounds to must not depend on where in a tile it stands."""
    rows = unit(m, d, seed)
    generator = torch.Generator().manual_seed(seed)
    gallery = rows[torch.randint(0, m, (3 * m,), generator=generator)]
    target = torch.randint(0, 3 * m, (min(m, 9),), generator=generator)
    rank = ops.match_rank(unit(len(target), d, seed + 1), gallery, target)
    earlier = (gallery[None] == gallery[target][:, None]).all(dim=2) & (torch.arange(3 * m) < target[:, None])
    first = ops.match_rank(unit(len(target), d, seed + 1), gallery, earlier.int().argmax(dim=1))
    expected = torch.where(earlier.any(dim=1), first + earlier.sum(dim=1), rank)
    assert torch.equal(rank, expected)


def test_lengths_at_the_ends_of_float32():
    queries, gallery = unit(7, 5), unit(40, 5, 1)
    expected = ops.topk_similarity(queries, gallery, 3)
    for factor in (1e-30, 1e30):
        found = ops.topk_similarity(queries * factor, gallery * factor, 3)
        assert torch.equal(found.indices, expected.indices)
        assert torch.allclose(found.values, expected.values, rtol=1e-6)


@pytest.mark.parametrize(("n", "m"), list(itertools.product(SIZES, (1, 64, 127))))
def test_masked_similarity_is_equal_on_exact_operands(n, m):
    """Weights 0 and 1, flux a power of two or none: powers and their roots are exact where they are squares."""
    for p in DIMENSIONS:
        flux = integers(n, p, 1), integers(m, p, 2)
        weight = (integers(n, p, 3) > 0).float(), (integers(m, p, 4) > 0).float()
        arguments = flux[0], weight[0], flux[1], weight[1]
        assert torch.equal(ops.masked_similarity(*arguments), ops.masked_similarity(*arguments, backend="reference"))


def test_masked_similarity_and_its_gradient_over_many_blocks(monkeypatch):
    monkeypatch.setattr("specalign.ops.tiled.overlap.ROW_BLOCK", 7)
    generator = torch.Generator().manual_seed(0)
    arguments = [torch.randn(n, 33, generator=generator, dtype=torch.float64) for n in (20, 20, 15, 15)]
    arguments = [rows if i % 2 == 0 else rows.clamp(min=0) for i, rows in enumerate(arguments)]
    wanted = []
    for backend in ("tiled", "reference"):
        inputs = [rows.clone().requires_grad_() for rows in arguments]
        result = ops.masked_similarity(*inputs, backend=backend)
        wanted.append((result.detach(), *torch.autograd.grad(result.sin().sum(), inputs[::2])))
    for ours, plain in zip(*wanted, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-11, atol=1e-13)
