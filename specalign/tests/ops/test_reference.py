"""The four ops against the formulas, written as plain loops over Python floats."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from specalign import ops
from specalign.ops import reference


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive_direction(x, y, scale, groups_x, groups_y):
    terms = []
    for i, group in enumerate(groups_x):
        s = [scale * math.fsum(a * b for a, b in zip(x[i], row, strict=True)) for row in y]
        positives = [j for j, other in enumerate(groups_y) if other == group]
        negatives = [s[j] for j, other in enumerate(groups_y) if other != group]
        if positives:
            logs = [s[p] - math.log(math.exp(s[p]) + math.fsum(map(math.exp, negatives))) for p in positives]
            terms.append(-math.fsum(logs) / len(positives))
    return math.fsum(terms) / len(terms) if terms else 0.0


def naive_info_nce(x, y, scale, groups_x, groups_y):
    x, y, groups_x, groups_y = x.tolist(), y.tolist(), list(groups_x), list(groups_y)
    forth = naive_direction(x, y, scale, groups_x, groups_y)
    return (forth + naive_direction(y, x, scale, groups_y, groups_x)) / 2


GROUPS = [
    ([0, 1, 2, 3], [0, 1, 2, 3]),
    ([0, 0, 1, 2], [0, 1, 1, 1, 5]),
    ([0, 0, 0], [0, 0]),
    ([4], [4]),
    ([0, 1], [2, 3, 4]),
    ([0, 1, 9], [9]),
    ([7, 7, 8, 9, 9, 9, 1], [9, 8, 8, 7, 2]),
]


@pytest.mark.parametrize(("groups_x", "groups_y"), GROUPS)
@pytest.mark.parametrize("scale", [0.5, 15.5])
def test_info_nce_is_the_formula(groups_x, groups_y, scale):
    x, y = normal(len(groups_x), 5, seed=1), normal(len(groups_y), 5, seed=2)
    expected = naive_info_nce(x, y, scale, groups_x, groups_y)
    got = ops.info_nce(x, y, scale, torch.tensor(groups_x), torch.tensor(groups_y))
    assert float(got) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_info_nce_without_groups_is_the_two_cross_entropies(n):
    x, y, scale = normal(n, 6, seed=3), normal(n, 6, seed=4), 3.0
    target = torch.arange(n)
    logits = scale * x @ y.T
    expected = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    assert float(ops.info_nce(x, y, scale)) == pytest.approx(float(expected), rel=1e-12, abs=1e-14)


@given(st.integers(0, 2**31), st.permutations(range(6)), st.permutations(range(5)))
def test_info_nce_does_not_depend_on_the_order_of_rows(seed, order_x, order_y):
    x, y = normal(6, 3, seed=seed), normal(5, 3, seed=seed + 1)
    groups_x, groups_y = torch.tensor([0, 0, 1, 2, 3, 3]), torch.tensor([3, 1, 0, 0, 8])
    before = ops.info_nce(x, y, 4.0, groups_x, groups_y)
    after = ops.info_nce(x[order_x], y[order_y], 4.0, groups_x[order_x], groups_y[order_y])
    assert float(after) == pytest.approx(float(before), rel=1e-12)


def test_info_nce_never_treats_visits_of_one_star_as_negatives():
    x = functional.normalize(normal(4, 8), dim=1)
    star = torch.tensor([0, 0, 1, 1])
    same = ops.info_nce(x, x[[0, 0, 2, 2]], 100.0, star, star)
    moved = ops.info_nce(x, x[[1, 0, 3, 2]], 100.0, star, star)
    assert float(moved) == pytest.approx(float(same), rel=1e-12)


@pytest.mark.parametrize(("groups_x", "groups_y"), GROUPS)
def test_info_nce_gradients(groups_x, groups_y):
    x, y = normal(len(groups_x), 4).requires_grad_(), normal(len(groups_y), 4, seed=9).requires_grad_()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor(groups_x), torch.tensor(groups_y)
    assert torch.autograd.gradcheck(lambda *inputs: ops.info_nce(*inputs, *groups), (x, y, scale))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_info_nce_stays_finite_and_exact_at_large_scales(scale, sign):
    x = functional.normalize(normal(20, 7), dim=1)
    exact = ops.info_nce(x, sign * x, scale)
    x32 = x.float().requires_grad_()
    loss = ops.info_nce(x32, sign * x32, scale)
    loss.backward()
    assert bool(x32.grad.isfinite().all())
    assert float(loss.detach()) == pytest.approx(float(exact), rel=1e-5, abs=1e-6)


def test_info_nce_of_nothing_is_zero():
    assert float(ops.info_nce(torch.ones(0, 3), torch.ones(0, 3), 1.0)) == 0
    empty = torch.ones(0, dtype=torch.int64)
    x = torch.ones(2, 3, requires_grad=True)
    loss = ops.info_nce(x, torch.ones(0, 3), 1.0, torch.arange(2), empty)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not x.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_in_float32(dtype):
    x, y = normal(9, 5).to(dtype), normal(9, 5, seed=1).to(dtype)
    got = ops.info_nce(x, y, 5.0)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(ops.info_nce(x.double(), y.double(), 5.0)), rel=1e-5)
    assert ops.topk_similarity(x, y, 2).values.dtype == torch.float32


def naive_cosine(x, y):
    a, b = math.sqrt(math.fsum(v * v for v in x)), math.sqrt(math.fsum(v * v for v in y))
    return math.fsum(p * q for p, q in zip(x, y, strict=True)) / (a * b) if a and b else 0.0


def naive_order(query, gallery):
    values = [naive_cosine(query, row) for row in gallery]
    return sorted(range(len(values)), key=lambda j: (-values[j], j)), values


SHAPES = list(itertools.product([1, 2, 63], [1, 65, 127], [1, 3, 48]))


@pytest.mark.parametrize(("q", "m", "d"), SHAPES)
def test_topk_and_rank_are_the_definition(q, m, d, monkeypatch):
    monkeypatch.setattr(reference, "BLOCK_BYTES", 8 * m * 5)  # ragged blocks of 5 rows
    queries, gallery = normal(q, d), normal(m, d, seed=1)
    match = torch.randint(-1, m, (q,), generator=torch.Generator().manual_seed(5))
    k = min(m, 7)
    got, rank = ops.topk_similarity(queries, gallery, k), ops.match_rank(queries, gallery, match)
    if d == 1:  # everything is a tie at +1 or -1
        queries, gallery = queries.sign(), gallery.sign()
    for i, row in enumerate(queries.tolist()):
        order, values = naive_order(row, gallery.tolist())
        assert got.indices[i].tolist() == order[:k]
        assert got.values[i].tolist() == pytest.approx([values[j] for j in order[:k]], abs=1e-12)
        assert int(rank[i]) == (0 if match[i] < 0 else 1 + order.index(int(match[i])))


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 4))
def test_ties_go_to_the_lowest_index(seed, m, d):
    """Rows of equal entries, so that the products are exact and ties are many."""
    generator = torch.Generator().manual_seed(seed)
    signs = [torch.randint(0, 2, (n, 4**d), generator=generator).double() * 2 - 1 for n in (5, m)]
    got = ops.topk_similarity(*signs, k=m)
    for i, row in enumerate(signs[0] @ signs[1].T):
        order = sorted(range(m), key=lambda j: (-float(row[j]), j))
        assert got.indices[i].tolist() == order
        for place, j in enumerate(order, start=1):
            rank = ops.match_rank(signs[0][i : i + 1], signs[1], torch.tensor([j]))
            assert int(rank) == place


def test_rank_agrees_with_topk_whatever_the_length_of_the_rows():
    queries, gallery = normal(30, 6), normal(50, 6, seed=2) * torch.rand(50, 1, dtype=torch.float64) * 100
    indices = ops.topk_similarity(queries, gallery, 50).indices
    for place in (0, 7, 49):
        assert ops.match_rank(queries, gallery, indices[:, place]).tolist() == [place + 1] * 30


def test_a_row_of_zeros_is_similar_to_nothing():
    gallery = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    got = ops.topk_similarity(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), gallery, 3)
    assert got.indices.tolist() == [[2, 1, 0], [0, 1, 2]]
    assert got.values.tolist() == [[1, 0, -1], [0, 0, 0]]


def test_no_rows():
    assert ops.topk_similarity(torch.ones(0, 2), torch.ones(3, 2), 2).indices.shape == (0, 2)
    assert ops.match_rank(torch.ones(2, 2), torch.ones(0, 2), torch.tensor([-1, -1])).tolist() == [0, 0]
    assert ops.masked_similarity(*[torch.ones(0, 4)] * 2, *[torch.ones(3, 4)] * 2).shape == (0, 3)


def naive_masked(f, w, g, v):
    products = [a * b for a, b in zip(w, v, strict=True)]
    top = math.fsum(p * a * b for p, a, b in zip(products, f, g, strict=True) if p)
    left = math.fsum(p * a * a for p, a in zip(products, f, strict=True) if p)
    right = math.fsum(p * b * b for p, b in zip(products, g, strict=True) if p)
    return top / math.sqrt(left * right) if left and right else 0.0


def masked_operands(n, m, p, seed=0):
    flux = normal(n, p, seed=seed), normal(m, p, seed=seed + 1)
    weight = [normal(k, p, seed=seed + 2 + i).clamp(min=0) for i, k in enumerate((n, m))]
    return flux[0], weight[0], flux[1], weight[1]


@pytest.mark.parametrize(("n", "m", "p"), [(1, 1, 1), (3, 5, 2), (7, 4, 33)])
def test_masked_similarity_is_the_formula(n, m, p):
    f, w, g, v = masked_operands(n, m, p)
    expected = [[naive_masked(a, b, c, d) for c, d in zip(g, v, strict=True)] for a, b in zip(f, w, strict=True)]
    assert torch.allclose(ops.masked_similarity(f, w, g, v), torch.tensor(expected, dtype=f.dtype), rtol=1e-10)


def test_masked_similarity_is_zero_without_overlap_and_ignores_what_has_no_weight():
    f, w, g, v = masked_operands(4, 4, 12)
    w[0, 6:], v[0, :6] = 0, 0
    before = ops.masked_similarity(f, w, g, v)
    assert before[0, 0] == 0
    hidden = torch.where(w > 0, f, torch.tensor(float("nan"), dtype=f.dtype))
    assert torch.equal(ops.masked_similarity(hidden, w, torch.where(v > 0, g, torch.inf), v), before)


@pytest.mark.parametrize("factor", [1e-18, 1e18])
def test_masked_similarity_keeps_to_the_range_of_float32(factor):
    f, w, g, v = (x.float() for x in masked_operands(3, 3, 8, seed=4))
    expected = ops.masked_similarity(f, w, g, v)
    got = ops.masked_similarity(f * factor, w * factor, g, v * factor)
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_masked_similarity_gradients():
    f, w, g, v = masked_operands(3, 2, 6)
    w[0, 3:], v[0, :3] = 0, 0
    inputs = f.requires_grad_(), g.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: ops.masked_similarity(a, w, b, v), inputs)


ONE, LONG = torch.ones(2, 3), torch.arange(2)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ops.info_nce([[1.0]], ONE, 1.0), TypeError, "x: expected a floating-point torch.Tensor, got list"),
        (lambda: ops.info_nce(ONE.long(), ONE, 1.0), TypeError, "x: expected a floating-point.*int64"),
        (lambda: ops.info_nce(ONE[0], ONE, 1.0), ValueError, "x: expected two dimensions"),
        (lambda: ops.info_nce(ONE, ONE[:, :2], 1.0), ValueError, "as many columns in x as in y, got 3 and 2"),
        (lambda: ops.info_nce(ONE, ONE.double(), 1.0), ValueError, "expected x and y alike"),
        (lambda: ops.info_nce(ONE, ONE[:1], 1.0), ValueError, "as many rows in x as in y, got 2 and 1"),
        (lambda: ops.info_nce(ONE, ONE, 1.0, LONG), ValueError, "both groups_x and groups_y"),
        (lambda: ops.info_nce(ONE, ONE, 1.0, LONG, LONG[:1]), ValueError, r"groups_y: expected shape \(2,\)"),
        (lambda: ops.info_nce(ONE, ONE, 1.0, LONG, LONG.float()), TypeError, "groups_y: expected.*integers"),
        (lambda: ops.info_nce(ONE, ONE, torch.ones(1)), ValueError, "logit_scale: expected a float or a 0-d"),
        (lambda: ops.info_nce(ONE, ONE, "1"), TypeError, "logit_scale: expected a float"),
        (lambda: ops.topk_similarity(ONE, ONE, 3), ValueError, "from 1 to the 2 rows of the gallery, got 3"),
        (lambda: ops.topk_similarity(ONE, ONE, True), ValueError, "k: expected an integer"),
        (lambda: ops.topk_similarity(ONE / 0, ONE, 1), ValueError, "queries: expected finite.*row 0"),
        (lambda: ops.match_rank(ONE, ONE / 0, LONG), ValueError, "gallery: expected finite values"),
        (lambda: ops.match_rank(ONE, ONE, LONG + 1), ValueError, "below 2, got 2 in row 1"),
        (lambda: ops.match_rank(ONE, ONE, LONG - 2), ValueError, "got -2 in row 0"),
        (lambda: ops.masked_similarity(ONE, ONE[:1], ONE, ONE), ValueError, r"weight_x: expected shape \(2, 3\)"),
        (lambda: ops.masked_similarity(ONE, ONE, ONE, -ONE), ValueError, "weight_y: expected finite weights"),
        (lambda: ops.masked_similarity(ONE / 0, ONE, ONE, ONE), ValueError, "flux_x: expected finite.*row 0"),
        (lambda: ops.masked_similarity(ONE, ONE.double(), ONE, ONE), TypeError, "weight_x: expected.*float32"),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_imports_with_torch_alone():
    """Neither ops nor encoders need astropy, or anything that needs it."""
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('astropy', 'specutils', 'lightning', 'numba', 'sklearn'):\n"
        "            raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import specalign.ops, specalign.encoders\n"
        "encoder = specalign.encoders.get_encoder('mlp', n_pixels=20, embed_dim=4)\n"
        "print(sum(p.numel() for p in encoder.parameters()) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr
