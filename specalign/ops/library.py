"""The ops as `torch.library` knows them: schemas, fake kernels and gradients.

The arguments of every op end with the name of a backend.  Shapes, types and devices were checked in `specalign.ops`;
values are checked here, where they are at hand, so that nothing waits for them while a graph is traced.
"""

import torch

from specalign.ops import backends
from specalign.ops.checks import check_finite, check_match, check_weights
from specalign.ops.reference import accumulation_dtype
from specalign.ops.tiled import contrastive, overlap, search

__all__ = ["info_nce", "masked_similarity", "match_rank", "sigmoid_loss", "topk_similarity"]


def _vectors(n, like):
    return torch.empty((3, n), dtype=torch.float64, device=like.device)


def _scalar(like):
    return torch.empty((), dtype=accumulation_dtype(like.dtype), device=like.device)


def _gradient(rows, need):
    return torch.empty(rows.shape if need else (0, *rows.shape[1:]), dtype=rows.dtype, device=rows.device)


@torch.library.custom_op("specalign::info_nce", mutates_args=())
def info_nce(
    x: torch.Tensor,
    y: torch.Tensor,
    logit_scale: torch.Tensor,
    groups_x: torch.Tensor | None,
    groups_y: torch.Tensor | None,
    backend: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss, and per row and per column what the gradient needs."""
    return contrastive.info_nce_forward(x, y, logit_scale, groups_x, groups_y, *backends.tiles(backend, x))


@info_nce.register_fake
def _(x, y, logit_scale, groups_x, groups_y, backend):
    return _scalar(x), _vectors(x.shape[0], x), _vectors(y.shape[0], x)


@torch.library.custom_op("specalign::info_nce_backward", mutates_args=())
def info_nce_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    logit_scale: torch.Tensor,
    groups_x: torch.Tensor | None,
    groups_y: torch.Tensor | None,
    by_row: torch.Tensor,
    by_column: torch.Tensor,
    need_x: bool,
    need_y: bool,
    backend: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients to x, y and the scale; empty where not wanted."""
    tiles, shape = backends.tiles(backend, x)
    operands = grad, x, y, logit_scale, groups_x, groups_y, by_row, by_column
    return contrastive.info_nce_backward(*operands, tiles, shape, (need_x, need_y))


@info_nce_backward.register_fake
def _(grad, x, y, logit_scale, groups_x, groups_y, by_row, by_column, need_x, need_y, backend):
    return _gradient(x, need_x), _gradient(y, need_y), _scalar(x)


def _save_info_nce(ctx, inputs, output):
    x, y, logit_scale, groups_x, groups_y, ctx.backend = inputs
    ctx.save_for_backward(x, y, logit_scale, groups_x, groups_y, output[1], output[2])


def _backward_info_nce(ctx, grad, _by_row, _by_column):
    needs = ctx.needs_input_grad
    x, y, scale, groups_x, groups_y, by_row, by_column = ctx.saved_tensors
    grads = info_nce_backward(grad, x, y, scale, groups_x, groups_y, by_row, by_column, needs[0], needs[1], ctx.backend)
    return *(part if need else None for part, need in zip(grads, needs, strict=False)), None, None, None


info_nce.register_autograd(_backward_info_nce, setup_context=_save_info_nce)


@torch.library.custom_op("specalign::sigmoid_loss", mutates_args=())
def sigmoid_loss(
    x: torch.Tensor,
    y: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    groups_x: torch.Tensor | None,
    groups_y: torch.Tensor | None,
    backend: str,
) -> torch.Tensor:
    """Sum of the losses of all pairs, divided by the rows of x."""
    return contrastive.sigmoid_forward(x, y, logit_scale, logit_bias, groups_x, groups_y, *backends.tiles(backend, x))


@sigmoid_loss.register_fake
def _(x, y, logit_scale, logit_bias, groups_x, groups_y, backend):
    return _scalar(x)


@torch.library.custom_op("specalign::sigmoid_loss_backward", mutates_args=())
def sigmoid_loss_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    groups_x: torch.Tensor | None,
    groups_y: torch.Tensor | None,
    need_x: bool,
    need_y: bool,
    backend: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients to x, y, the scale and the bias; empty where not wanted."""
    tiles, shape = backends.tiles(backend, x)
    operands = grad, x, y, logit_scale, logit_bias, groups_x, groups_y
    return contrastive.sigmoid_backward(*operands, tiles, shape, (need_x, need_y))


@sigmoid_loss_backward.register_fake
def _(grad, x, y, logit_scale, logit_bias, groups_x, groups_y, need_x, need_y, backend):
    return _gradient(x, need_x), _gradient(y, need_y), _scalar(x), _scalar(x)


def _save_sigmoid(ctx, inputs, output):
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward_sigmoid(ctx, grad):
    needs = ctx.needs_input_grad
    grads = sigmoid_loss_backward(grad, *ctx.saved_tensors, needs[0], needs[1], ctx.backend)
    return *(part if need else None for part, need in zip(grads, needs, strict=False)), None, None, None


sigmoid_loss.register_autograd(_backward_sigmoid, setup_context=_save_sigmoid)


@torch.library.custom_op("specalign::topk_similarity", mutates_args=())
def topk_similarity(
    queries: torch.Tensor, gallery: torch.Tensor, k: int, backend: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines, best first, and indices."""
    check_finite("queries", queries)
    return backends.search(backend, queries).topk(queries, gallery, k)


@topk_similarity.register_fake
def _(queries, gallery, k, backend):
    shape, dtype = (queries.shape[0], k), accumulation_dtype(queries.dtype)
    return queries.new_empty(shape, dtype=dtype), queries.new_empty(shape, dtype=torch.int64)


@torch.library.custom_op("specalign::topk_similarity_backward", mutates_args=())
def topk_similarity_backward(
    grad: torch.Tensor, queries: torch.Tensor, gallery: torch.Tensor, indices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients to queries and gallery."""
    return search.topk_backward(grad, queries, gallery, indices)


@topk_similarity_backward.register_fake
def _(grad, queries, gallery, indices):
    return _gradient(queries, True), _gradient(gallery, True)


def _save_topk(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], inputs[1], output[1])


def _backward_topk(ctx, grad, _indices):
    grads = topk_similarity_backward(grad, *ctx.saved_tensors)
    return *(part if need else None for part, need in zip(grads, ctx.needs_input_grad, strict=False)), None, None


topk_similarity.register_autograd(_backward_topk, setup_context=_save_topk)


@torch.library.custom_op("specalign::match_rank", mutates_args=())
def match_rank(queries: torch.Tensor, gallery: torch.Tensor, match: torch.Tensor, backend: str) -> torch.Tensor:
    """Rank of one gallery row a query."""
    check_finite("queries", queries)
    check_match(match, len(gallery))
    return backends.search(backend, queries).match_rank(queries, gallery, match.long())


@match_rank.register_fake
def _(queries, gallery, match, backend):
    return queries.new_empty(queries.shape[:1], dtype=torch.int64)


@torch.library.custom_op("specalign::masked_similarity", mutates_args=())
def masked_similarity(
    flux_x: torch.Tensor, weight_x: torch.Tensor, flux_y: torch.Tensor, weight_y: torch.Tensor, backend: str
) -> torch.Tensor:
    """Weighted cosines of all rows of x with all rows of y."""
    check_weights("x", flux_x, weight_x)
    check_weights("y", flux_y, weight_y)
    return backends.overlap(backend, flux_x).masked_similarity(flux_x, weight_x, flux_y, weight_y)


@masked_similarity.register_fake
def _(flux_x, weight_x, flux_y, weight_y, backend):
    return flux_x.new_empty((flux_x.shape[0], flux_y.shape[0]), dtype=accumulation_dtype(flux_x.dtype))


@torch.library.custom_op("specalign::masked_similarity_backward", mutates_args=())
def masked_similarity_backward(
    grad: torch.Tensor, flux_x: torch.Tensor, weight_x: torch.Tensor, flux_y: torch.Tensor, weight_y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients to the four arguments."""
    return overlap.masked_similarity_backward(grad, flux_x, weight_x, flux_y, weight_y)


@masked_similarity_backward.register_fake
def _(grad, flux_x, weight_x, flux_y, weight_y):
    return tuple(_gradient(rows, True) for rows in (flux_x, weight_x, flux_y, weight_y))


def _save_overlap(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])


def _backward_overlap(ctx, grad):
    grads = masked_similarity_backward(grad, *ctx.saved_tensors)
    return *(part if need else None for part, need in zip(grads, ctx.needs_input_grad, strict=False)), None


masked_similarity.register_autograd(_backward_overlap, setup_context=_save_overlap)
