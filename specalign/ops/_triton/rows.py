"""Rows as the search compares them: of unit length, or in half precision as they are, with their lengths."""

import torch

from specalign.ops import reference
from specalign.ops._triton.products import accumulation_dtype

SAFE = 1e15  # float32 holds the squares and products of rows whose largest element, and its inverse, stay below this
COPIED_BYTES = 2**28  # of one chunk of the gallery in unit length
CHUNK_ROWS = 2**22


def is_half(x):
    """Whether rows of that type stay as they are: unit length would cost them their last digits."""
    return x.element_size() < 4


def lengths(x):
    """Norms of rows, in the type of the sums; 1 for a row of zeros, whose cosines are all 0."""
    length = torch.linalg.vector_norm(x, dim=1, dtype=accumulation_dtype(x.dtype))
    return torch.where(length > 0, length, 1)


def is_empty(x):
    """Rows of zeros."""
    if x.shape[1] == 0:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    return torch.linalg.vector_norm(x, torch.inf, dim=1) == 0


def comparable(queries, gallery):
    """Both operands, in float32 where the products of bfloat16 rows would leave its range."""
    if queries.dtype == torch.bfloat16 and not (_is_safe(queries) and _is_safe(gallery)):
        return queries.float(), gallery.float()
    return queries, gallery


def _is_safe(x):
    if x.numel() == 0:
        return True
    largest = torch.linalg.vector_norm(x, torch.inf, dim=1, dtype=torch.float32)
    return bool(((largest == 0) | ((largest > 1 / SAFE) & (largest < SAFE))).all())


def prepare(x):
    """Rows and their lengths; None where the rows returned are of unit length."""
    return (x, lengths(x)) if is_half(x) else (reference.unit_rows(x), None)


def chunks(gallery, first=None):
    """Slices of the gallery; with `first`, from that many rows on, each as long as all before it."""
    most = CHUNK_ROWS
    if first is None or not is_half(gallery):
        width = gallery.shape[1] * accumulation_dtype(gallery.dtype).itemsize
        most = min(most, max(1, COPIED_BYTES // max(1, width)))
    start, size = 0, most if first is None else first
    while start < len(gallery):
        stop = min(len(gallery), start + min(size, most))
        yield slice(start, stop)
        start = size = stop
