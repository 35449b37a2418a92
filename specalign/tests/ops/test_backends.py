"""The public ops by every backend: the same numbers, whoever computes them."""

import pytest
import torch

from specalign import ops
from specalign.ops import backends, library

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def integers(*shape, high=4, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def with_gradients(function, *inputs, **options):
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    loss = function(*inputs, **options)
    return loss.detach(), torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("n", [1, 65, 130])
def test_losses_in_triton_are_those_of_the_formula(n, grouped, dtype):
    m = n + 7 if grouped else n
    x, y, scale = normal(n, 20, dtype=dtype), normal(m, 20, seed=1, dtype=dtype), torch.tensor(3.0, device=DEVICE)
    groups = (integers(n, high=9), integers(m, high=9, seed=1)) if grouped else (None, None)
    calls = (
        (lambda *a, **k: ops.info_nce(*a, *groups, **k), (x, y, scale)),
        (lambda *a, **k: ops.sigmoid_loss(*a, *groups, **k), (x, y, scale, -scale)),
    )
    for function, inputs in calls:
        loss, grads = with_gradients(function, *inputs, backend="triton")
        true, wanted = with_gradients(function, *inputs, backend="reference")
        # A loss of exp(-17) has the relative error of 17 rounded to float32.
        assert float(loss) == pytest.approx(float(true), rel=1e-6 if float(true) > 1e-3 else 1e-5, abs=1e-30)
        for ours, theirs in zip(grads, wanted, strict=True):
            assert ours.dtype == theirs.dtype
            step = torch.finfo(dtype).eps if dtype in HALF else 4e-6
            assert float((ours - theirs).abs().max()) <= step * max(float(theirs.abs().max()), 1e-30)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
@pytest.mark.parametrize("backend", ["tiled", "triton"])
def test_search_is_that_of_the_formula(backend, dtype):
    """Signs in 16 dimensions: products and lengths are exact, and nearly everything ties."""
    queries, gallery = (integers(n, 16, high=2, seed=s).to(dtype) * 2 - 1 for n, s in ((70, 1), (700, 2)))
    match = integers(70, high=700) - 1
    found, plain = (ops.topk_similarity(queries, gallery, 12, backend=name) for name in (backend, "reference"))
    assert torch.equal(found.indices, plain.indices)
    assert torch.equal(found.values, plain.values)
    ranks = [ops.match_rank(queries, gallery, match, backend=name) for name in (backend, "reference")]
    assert torch.equal(*ranks)


@pytest.mark.parametrize("backend", ["tiled", "triton"])
def test_masked_similarity_is_that_of_the_formula(backend):
    """The sums are exact; roots may differ in the last digit, since torch's are not rounded correctly."""
    flux = [integers(n, 33, seed=n).float() - 1 for n in (9, 70)]
    weight = [integers(n, 33, high=2, seed=n + 1).float() for n in (9, 70)]
    arguments = flux[0], weight[0], flux[1], weight[1]
    found, plain = (ops.masked_similarity(*arguments, backend=name) for name in (backend, "reference"))
    assert torch.equal(found == 0, plain == 0)
    assert torch.allclose(found, plain, rtol=0, atol=1.2e-7)


def test_a_gallery_that_is_not_finite_is_named_by_every_backend():
    gallery = normal(200, 4)
    gallery[123, 1] = torch.nan
    for backend in ("reference", "tiled", "triton"):
        with pytest.raises(ValueError, match="gallery: expected finite values, got NaN or Inf in row 123"):
            ops.topk_similarity(normal(3, 4), gallery, 2, backend=backend)
        with pytest.raises(ValueError, match="gallery: expected finite values, got NaN or Inf in row 123"):
            ops.match_rank(normal(3, 4), gallery, integers(3), backend=backend)


@pytest.mark.slow
def test_opcheck_in_triton():
    x, y = (
        normal(5, 4, dtype=torch.float64).requires_grad_(),
        normal(3, 4, seed=1, dtype=torch.float64).requires_grad_(),
    )
    scale = torch.tensor(3.0, dtype=torch.float64, device=DEVICE, requires_grad=True)
    groups = torch.tensor([0, 0, 1, 2, 3], device=DEVICE), torch.tensor([2, 0, 1], device=DEVICE)
    weight = torch.ones_like(x.detach()), torch.ones_like(y.detach())
    for op, arguments in (
        (library.info_nce, (x, y, scale, *groups)),
        (library.sigmoid_loss, (x, y, scale, -scale.detach(), *groups)),
        (library.topk_similarity, (x, y, 2)),
        (library.match_rank, (x.detach(), y.detach(), groups[0] - 1)),
        (library.masked_similarity, (x, weight[0], y, weight[1])),
    ):
        assert set(torch.library.opcheck(op, (*arguments, "triton")).values()) == {"SUCCESS"}


def test_auto_takes_triton_on_cuda_alone():
    assert backends._takes_triton("auto", torch.zeros(1)) is False
    if DEVICE == "cuda":
        assert backends._takes_triton("auto", torch.zeros(1, device=DEVICE)) is True


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
def test_memory_on_a_gpu_is_that_of_tiles():
    x, y = normal(65_536, 64, dtype=torch.bfloat16).requires_grad_(), normal(65_536, 64, seed=1, dtype=torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ops.info_nce(x, y.requires_grad_(), 20.0).backward()
    assert torch.cuda.max_memory_allocated() - before < 2**30  # the matrix alone has 17 GB in float32
