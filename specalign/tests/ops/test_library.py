"""The ops as torch knows them: schemas, gradients, compiled steps, types, memory layouts, backends."""

import functools
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from specalign import ops
from specalign.ops import library


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape, seed=0, dtype=torch.float64, grad=True):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows.to(dtype).requires_grad_(grad)


def scalar(value, grad=True):
    return torch.tensor(value, dtype=torch.float64, requires_grad=grad)


def weight(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


ONES = torch.ones(1, 1).expand(70, 8)
GROUPS = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([2, 0, 1])
SAVED = torch.rand(3, 5, dtype=torch.float64), torch.rand(3, 3, dtype=torch.float64)
CALLS = {
    "info_nce": lambda: (library.info_nce, (normal(5, 4), normal(5, 4, seed=1), scalar(3.0), None, None, "tiled")),
    "info_nce, groups": lambda: (library.info_nce, (normal(5, 4), normal(3, 4), scalar(3.0), *GROUPS, "tiled")),
    "info_nce, x alone": lambda: (
        library.info_nce,
        (normal(5, 4), normal(3, 4, grad=False), scalar(3.0, grad=False), *GROUPS, "tiled"),
    ),
    "info_nce_backward": lambda: (
        library.info_nce_backward,
        (
            scalar(1.0, grad=False),
            normal(5, 4, grad=False),
            normal(3, 4, grad=False),
            scalar(3.0, grad=False),
            *GROUPS,
            *SAVED,
            True,
            False,
            "tiled",
        ),
    ),
    "sigmoid_loss": lambda: (
        library.sigmoid_loss,
        (normal(5, 4), normal(3, 4), scalar(3.0), scalar(-1.0), *GROUPS, "tiled"),
    ),
    "sigmoid_loss_backward": lambda: (
        library.sigmoid_loss_backward,
        (
            scalar(1.0, grad=False),
            normal(5, 4, grad=False),
            normal(5, 4, grad=False),
            scalar(3.0, grad=False),
            scalar(-1.0, grad=False),
            None,
            None,
            False,
            True,
            "tiled",
        ),
    ),
    "topk_similarity": lambda: (library.topk_similarity, (normal(5, 4), normal(7, 4, seed=1), 3, "tiled")),
    "topk_similarity_backward": lambda: (
        library.topk_similarity_backward,
        (normal(2, 3, grad=False), normal(2, 4, grad=False), normal(7, 4, grad=False), torch.tensor([[0, 3, 6]] * 2)),
    ),
    "match_rank": lambda: (
        library.match_rank,
        (normal(5, 4, grad=False), normal(7, 4, grad=False, seed=1), torch.arange(-1, 4), "tiled"),
    ),
    "masked_similarity": lambda: (
        library.masked_similarity,
        (normal(5, 4), weight(5, 4), normal(7, 4), weight(7, 4, seed=1), "tiled"),
    ),
    "masked_similarity_backward": lambda: (
        library.masked_similarity_backward,
        tuple(rows.detach() for rows in (normal(5, 7), normal(5, 4), weight(5, 4), normal(7, 4), weight(7, 4))),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name):
    """Schema, registration of the gradient, fake tensors, and ahead-of-time dispatch with dynamic shapes."""
    op, arguments = CALLS[name]()
    checked = torch.library.opcheck(op, arguments)
    assert set(checked.values()) == {"SUCCESS"}
    assert len(checked) == 4


def test_gradcheck():
    x, y, scale, bias = normal(5, 4), normal(3, 4, seed=1), scalar(2.0), scalar(-0.5)
    assert torch.autograd.gradcheck(lambda *a: ops.info_nce(*a, *GROUPS), (x, y, scale))
    assert torch.autograd.gradcheck(lambda *a: ops.info_nce(a[0], x.detach(), *a[1:]), (normal(5, 4, seed=2), scale))
    assert torch.autograd.gradcheck(lambda *a: ops.sigmoid_loss(*a, *GROUPS), (x, y, scale, bias))
    assert torch.autograd.gradcheck(lambda *a: ops.topk_similarity(*a, 2).values, (x, y))
    f, w, g, v = normal(3, 6), weight(3, 6), normal(2, 6, seed=3), weight(2, 6, seed=3)
    assert torch.autograd.gradcheck(ops.masked_similarity, (f, w, g, v))


def test_the_gradient_to_one_side_alone_is_the_same():
    """As for a rank that holds its own rows against gathered ones, which need none."""
    x, y = normal(6, 4), normal(6, 4, seed=1)
    both = torch.autograd.grad(ops.info_nce(x, y, 5.0), (x, y))
    assert torch.equal(torch.autograd.grad(ops.info_nce(x, y.detach(), 5.0), x)[0], both[0])
    assert torch.equal(torch.autograd.grad(ops.info_nce(x.detach(), y, 5.0), y)[0], both[1])
    scale = scalar(5.0)
    alone = torch.autograd.grad(ops.info_nce(x.detach(), y.detach(), scale), scale)[0]
    assert torch.equal(alone, torch.autograd.grad(ops.info_nce(x, y, scale), scale)[0])


def test_ranks_with_their_own_rows_sum_to_the_whole():
    """The loss of two ranks, each with its half of x against all of y: their rows' direction is the whole one's."""
    x, y, star = normal(8, 4), normal(8, 4, seed=1), torch.arange(8)
    whole = torch.autograd.grad(ops.info_nce(x, y, 3.0, star, star), x)[0]
    plain = normal(8, 4)
    ops.info_nce(plain, y, 3.0, star, star, backend="reference").backward()
    assert torch.allclose(whole, plain.grad, rtol=1e-12)
    halves = [ops.info_nce(x[rows], y, 3.0, star[rows], star) for rows in (slice(0, 4), slice(4, 8))]
    wanted = [
        ops.info_nce(x[rows], y, 3.0, star[rows], star, backend="reference") for rows in (slice(0, 4), slice(4, 8))
    ]
    assert torch.allclose(torch.stack(halves), torch.stack(wanted), rtol=1e-12)


def step(x, y, scale, bias, groups):
    """A training step with every op in it."""
    x, y = functional.normalize(x, dim=1), functional.normalize(y, dim=1)
    loss = ops.info_nce(x, y, scale.exp(), groups, groups) + ops.sigmoid_loss(x, y, scale.exp(), bias, groups, groups)
    near = ops.topk_similarity(x, y, 3)
    rank = ops.match_rank(x.detach(), y.detach(), groups)
    masked = ops.masked_similarity(x, (y > 0).to(x.dtype), y, (x > 0).to(x.dtype))
    return loss - near.values.sum() + masked.sin().sum(), rank, near.indices


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_step_is_one_graph_and_the_same(dynamic):
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for n in (9, 14):
        arguments = normal(n, 4), normal(n, 4, seed=1), scalar(1.0), scalar(-1.0)
        groups = torch.arange(n)
        (eager, *searched), (traced, *found) = step(*arguments, groups), compiled(*arguments, groups)
        assert all(torch.equal(a, b) for a, b in zip(searched, found, strict=True))
        for a, b in zip(torch.autograd.grad(eager, arguments), torch.autograd.grad(traced, arguments), strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_in_float32(dtype):
    """Against the formula in float64 on the same rounded rows: what is left is the rounding of the result."""
    x, y = (normal(70, 9, seed=s, dtype=dtype, grad=False).requires_grad_() for s in (0, 1))
    exact = [rows.detach().double().requires_grad_() for rows in (x, y)]
    for function in (ops.info_nce, lambda a, b, s, **k: ops.sigmoid_loss(a, b, s, -1.0, **k)):
        loss, true = function(x, y, 5.0), function(*exact, 5.0, backend="reference")
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(float(true.detach()), rel=1e-6)
        for ours, wanted in zip(torch.autograd.grad(loss, (x, y)), torch.autograd.grad(true, exact), strict=True):
            assert ours.dtype == dtype
            assert float((ours.double() - wanted).abs().max()) <= torch.finfo(dtype).eps * float(wanted.abs().max())
    near = ops.topk_similarity(x.detach(), y.detach(), 4)
    assert near.values.dtype == torch.float32
    assert torch.equal(near.indices, ops.topk_similarity(exact[0].detach(), exact[1].detach(), 4).indices)
    masked = ops.masked_similarity(x.detach(), torch.ones_like(x), y.detach(), torch.ones_like(y))
    assert masked.dtype == torch.float32


LAYOUTS = {
    "transposed": lambda rows: rows.T.contiguous().T,
    "every second column": lambda rows: torch.stack([rows, -rows], dim=2).flatten(1)[:, ::2],
    "every second row": lambda rows: torch.stack([rows, -rows], dim=1).flatten(0, 1)[::2],
    "an offset": lambda rows: torch.cat([rows[:1], rows])[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(layout):
    x, y = normal(70, 12, grad=False, dtype=torch.float32), normal(70, 12, seed=1, grad=False, dtype=torch.float32)
    a, b = LAYOUTS[layout](x), LAYOUTS[layout](y)
    assert torch.equal(a, x)
    match = torch.stack([torch.arange(70)] * 2, dim=1)[:, 0]
    ones = torch.ones(1, 1).expand(70, 12)
    assert float(ops.info_nce(a, b, 3.0, match, match)) == pytest.approx(float(ops.info_nce(x, y, 3.0)), rel=1e-6)
    assert float(ops.sigmoid_loss(a, b, 3.0, 0.0)) == pytest.approx(float(ops.sigmoid_loss(x, y, 3.0, 0.0)), rel=1e-6)
    assert torch.equal(ops.topk_similarity(a, b, 5).indices, ops.topk_similarity(x, y, 5).indices)
    assert torch.equal(ops.match_rank(a, b, match), ops.match_rank(x, y, match))
    assert torch.allclose(ops.masked_similarity(a, ones, b, ones), ops.masked_similarity(x, x * 0 + 1, y, y * 0 + 1))


def test_a_memory_map_is_read_and_never_written(tmp_path):
    rows = normal(500, 8, grad=False, dtype=torch.float32)
    np.save(tmp_path / "gallery.npy", rows.numpy())
    gallery = np.load(tmp_path / "gallery.npy", mmap_mode="r", allow_pickle=False)
    queries = np.ascontiguousarray(gallery[7:10])
    assert ops.topk_similarity(queries, gallery, 1).indices[:, 0].tolist() == [7, 8, 9]
    assert ops.match_rank(queries, gallery, np.array([7, 8, -1])).tolist() == [1, 1, 0]
    assert np.array_equal(np.load(tmp_path / "gallery.npy", allow_pickle=False), rows.numpy())


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_memory_that_cannot_be_written_will_do(tmp_path):
    """Whoever wrote to it would end the process."""
    rows = normal(70, 8, grad=False, dtype=torch.float32)
    np.save(tmp_path / "rows.npy", rows.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "rows.npy", mmap_mode="r", allow_pickle=False))
    for function in (ops.info_nce, functools.partial(ops.sigmoid_loss, logit_bias=-1.0)):
        assert torch.equal(function(mapped, mapped, logit_scale=3.0), function(rows, rows, logit_scale=3.0))
    assert torch.equal(*[ops.masked_similarity(x, ONES, x, ONES) for x in (mapped, rows)])
    assert torch.equal(*[ops.topk_similarity(x, x, 3).indices for x in (mapped, rows)])
    assert torch.equal(*[ops.match_rank(x, x, torch.arange(70)) for x in (mapped, rows)])


def test_inputs_are_never_changed():
    """They may be shared, or the parameters of a model."""
    x, y = normal(70, 5, dtype=torch.float32), normal(70, 5, seed=1, dtype=torch.float32)
    match = torch.arange(70)
    before = x.detach().clone(), y.detach().clone()
    ops.info_nce(x, y, 9.0, match, match).backward()
    ops.sigmoid_loss(x, y, 9.0, 0.0, match, match).backward()
    ops.topk_similarity(x.detach(), y.detach(), 3)
    ops.match_rank(x.detach(), y.detach(), match)
    ops.masked_similarity(x.detach(), y.detach().abs(), y.detach(), x.detach().abs())
    assert torch.equal(x.detach(), before[0])
    assert torch.equal(y.detach(), before[1])
    assert torch.equal(match, torch.arange(70))


def far_apart(n, d, gap=2**30):
    """Rows whose places in memory are more than 2^31 elements apart; what lies between is never touched."""
    return torch.empty((n - 1) * gap + d, dtype=torch.float16).as_strided((n, d), (gap, 1))


def test_more_than_two_to_the_31_elements():
    gallery, rows = far_apart(4, 8), normal(4, 8, grad=False, dtype=torch.float16)
    for place, row in zip(gallery, rows, strict=True):
        place.copy_(row)
    assert gallery.stride(0) * 3 > 2**31
    assert ops.topk_similarity(rows, gallery, 1).indices[:, 0].tolist() == [0, 1, 2, 3]
    assert ops.match_rank(rows, gallery, torch.arange(4)).tolist() == [1, 1, 1, 1]
    assert float(ops.info_nce(rows, gallery, 3.0)) == pytest.approx(float(ops.info_nce(rows, rows, 3.0)), rel=1e-6)


@pytest.mark.slow
def test_a_gallery_of_more_than_two_to_the_31_elements():
    """2^27 + 70 rows of 16 columns that share one memory; the last rows are others."""
    many = torch.zeros(1, 16).expand(2**27, 16)
    assert many.numel() == 2**31
    rank = ops.match_rank(torch.eye(16)[:2], many, torch.tensor([2**27 - 1, 5]))
    assert rank.tolist() == [2**27, 6]
    near = ops.topk_similarity(torch.eye(16)[:1], many, 3)
    assert near.indices.tolist() == [[0, 1, 2]]


def test_a_backend_that_is_asked_for_computes_or_fails():
    x = normal(3, 2, grad=False)
    with pytest.raises(ValueError, match="backend: expected one of auto, reference, tiled, triton, got 'cuda'"):
        ops.info_nce(x, x, 1.0, backend="cuda")


@pytest.mark.parametrize(
    "call",
    [
        lambda x, **k: ops.info_nce(x, x, 1.0, **k),
        lambda x, **k: ops.sigmoid_loss(x, x, 1.0, 0.0, **k),
        lambda x, **k: ops.topk_similarity(x, x, 1, **k),
        lambda x, **k: ops.match_rank(x, x, torch.arange(3), **k),
        lambda x, **k: ops.masked_similarity(x, x.abs(), x, x.abs(), **k),
    ],
)
def test_triton_without_a_gpu_is_an_error_and_auto_falls_back(call, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = normal(3, 2, grad=False)
    with pytest.raises(
        ValueError, match="backend 'triton': expected tensors on a CUDA device, got cpu; use backend='auto'"
    ):
        call(x, backend="triton")
    automatic, plain = call(x), call(x, backend="reference")
    assert (
        all(torch.allclose(a, b) for a, b in zip(automatic, plain, strict=True))
        if isinstance(plain, tuple)
        else (torch.allclose(automatic, plain))
    )


def test_triton_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [name for name in sys.modules if name.startswith("specalign.ops._triton")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match="backend 'triton': the package triton cannot be imported"):
        ops.info_nce(normal(3, 2, grad=False), normal(3, 2, grad=False), 1.0, backend="triton")
