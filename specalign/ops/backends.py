"""Which implementation computes an op: Triton's kernels on CUDA, tiles in plain torch everywhere else."""

import importlib
import os

from specalign.ops import reference
from specalign.ops.tiled import overlap as tiled_overlap
from specalign.ops.tiled import search as tiled_search
from specalign.ops.tiled.tiles import TorchTiles

__all__ = ["BACKENDS", "check_backend", "overlap", "search", "tiles"]

BACKENDS = ("auto", "reference", "tiled", "triton")
CPU_TILE = (1024, 1024)  # 4 MB: what two cores keep in their caches
CUDA_TILE = (4096, 16384)  # fills a GPU; 128 MB of weights in half precision


def check_backend(backend):
    """Refuse a name that is none."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")


def tiles(backend, x):
    """Tile functions of the contrastive losses, and the shape of a tile."""
    shape = CUDA_TILE if x.is_cuda else CPU_TILE
    return (_triton("contrastive") if _takes_triton(backend, x) else TorchTiles()), shape


def search(backend, queries):
    """The module with ``topk`` and ``match_rank``."""
    if backend == "reference":
        return reference
    return _triton("search") if _takes_triton(backend, queries) else tiled_search


def overlap(backend, flux):
    """The module with ``masked_similarity``."""
    if backend == "reference":
        return reference
    return _triton("overlap") if _takes_triton(backend, flux) else tiled_overlap


def _takes_triton(backend, tensor):
    """Whether Triton computes; an explicit wish that cannot be met is an error, "auto" takes what there is."""
    reason = _why_not_triton(tensor) if backend in ("auto", "triton") else "not asked for"
    if backend == "triton" and reason:
        raise ValueError(f"backend 'triton': {reason}; use backend='auto' or backend='tiled'")
    return reason is None and (backend == "triton" or tensor.is_cuda)


def _why_not_triton(tensor):
    if not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"expected tensors on a CUDA device, got {tensor.device}"
    try:
        _triton("products")
    except ImportError as error:
        return f"the package triton cannot be imported ({error})"
    return None


def _triton(name):
    return importlib.import_module(f"specalign.ops._triton.{name}")
