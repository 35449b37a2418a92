"""Matrix products of tiles, by the quicker of the two libraries that torch brings for the CPU.

In float32, ``torch.mm`` calls the BLAS that torch was built with: on x86-64 one that gives processors of other makers
narrower instructions than they have.  oneDNN, which torch brings for its compiled graphs, asks the processor what it
can do; on one of AMD it was twice as fast.  Where torch lacks it, or it fails, BLAS serves.
"""

import functools

import torch

__all__ = ["add_product", "add_transposed_product", "choose_product", "similarity"]

LEAST_WORK = 2**22  # multiplications below which preparing a product costs more than it saves


def similarity(x, y):
    """x @ y.T."""
    return choose_product(x, y)(x, y)


def choose_product(x, y):
    """The function that computes ``x @ y.T`` for any blocks of rows of x and y.

    Two libraries may round in two ways, so that whoever compares elements of several products has to use one.
    """
    return _onednn if _serves(x, len(x) * len(y) * x.shape[1]) else _blas


def add_product(total, a, b):
    """total (B, D) += a (B, C) @ b (C, D)."""
    if a.dtype != total.dtype:
        total.add_(_widened(a, b, total.dtype))
    elif _serves(a, a.numel() * b.shape[1]):
        total.add_(_onednn(a, b.T))
    else:
        total.addmm_(a, b)


def add_transposed_product(total, a, b):
    """total (D, C) += (a (B, C).T @ b (B, D)).T."""
    if a.dtype != total.dtype:
        total.add_(_widened(b.T, a, total.dtype))
    elif _serves(a, a.numel() * b.shape[1]):
        total.add_(_onednn(b.T, a.T))
    else:
        total.addmm_(b.T, a)


def _widened(a, b, dtype):
    """a @ b of half-precision operands, summed in a wider type."""
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=dtype)
    return a.to(dtype) @ b.to(dtype)


def _blas(x, y):
    return x @ y.T


def _onednn(x, y):
    return torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")


def _serves(x, work):
    return work >= LEAST_WORK and x.dtype == torch.float32 and x.device.type == "cpu" and _onednn_works()


@functools.cache
def _onednn_works():
    """Whether this build of torch has the operation, and it multiplies: it is not one of torch's public functions."""
    x = torch.arange(48.0).view(3, 16)
    try:
        return torch.backends.mkldnn.is_available() and torch.equal(_onednn(x, x), _blas(x, x))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
