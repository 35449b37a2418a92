"""Checks of arguments: what was expected and what came.

Those of shapes, types and devices look at no values, so that a graph can be traced through them; those of values are
called where an op computes.
"""

import torch

__all__ = [
    "check_finite",
    "check_groups",
    "check_integers",
    "check_k",
    "check_logits",
    "check_match",
    "check_normals",
    "check_rows",
    "check_scalar",
    "check_weight_rows",
    "check_weights",
]

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
BLOCK_ELEMENTS = 2**22


def check_rows(**pair):
    """Two floating-point matrices alike in columns, type and device."""
    for name, value in pair.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"{name}: expected a floating-point torch.Tensor, got {kind}")
        if value.ndim != 2:
            raise ValueError(f"{name}: expected two dimensions (rows, columns), got shape {tuple(value.shape)}")
    (a, x), (b, y) = pair.items()
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"expected as many columns in {a} as in {b}, got {x.shape[1]} and {y.shape[1]}")
    if x.dtype != y.dtype or x.device != y.device:
        raise ValueError(f"expected {a} and {b} alike, got {x.dtype} on {x.device} and {y.dtype} on {y.device}")


def check_normals(mean_x, variance_x, mean_y, variance_y):
    """Means and variances of one number of dimensions; those of y for all rows of x, or for each."""
    if mean_y.ndim == 3 and len(mean_y) != len(mean_x):
        raise ValueError(f"mean_y: expected candidates of {len(mean_x)} rows, got those of {len(mean_y)}")
    check_rows(mean_x=mean_x, mean_y=mean_y.flatten(0, 1) if mean_y.ndim == 3 else mean_y)
    for name, mean, variance in (("x", mean_x, variance_x), ("y", mean_y, variance_y)):
        if variance.shape != mean.shape:
            raise ValueError(f"variance_{name}: expected shape {tuple(mean.shape)}, got {tuple(variance.shape)}")


def check_positive(**variances):
    """Numbers above 0."""
    for name, variance in variances.items():
        if not bool((variance > 0).all()):
            raise ValueError(f"{name}: expected positive numbers, got {float(variance.detach().min())}")


def check_scalar(name, value):
    """A float, or a 0-d tensor."""
    if isinstance(value, torch.Tensor) and value.ndim != 0:
        raise ValueError(f"{name}: expected a float or a 0-d tensor, got shape {tuple(value.shape)}")
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.Tensor)):
        raise TypeError(f"{name}: expected a float or a 0-d tensor, got {type(value).__name__}")


def check_groups(x, y, groups_x, groups_y):
    """Both groups or none, one integer a row."""
    if (groups_x is None) != (groups_y is None):
        raise ValueError("expected both groups_x and groups_y, or neither")
    if groups_x is None:
        if x.shape[0] != y.shape[0]:
            raise ValueError(f"without groups, expected as many rows in x as in y, got {x.shape[0]} and {y.shape[0]}")
        return
    check_integers("groups_x", groups_x, x)
    check_integers("groups_y", groups_y, y)


def check_logits(logits, x, y):
    """None, or one floating-point number for each pair of rows, on the same device."""
    if logits is None:
        return
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point() or logits.device != x.device:
        kind = f"{logits.dtype} on {logits.device}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise TypeError(f"logits: expected a floating-point torch.Tensor on {x.device}, got {kind}")
    if logits.shape != (len(x), len(y)):
        raise ValueError(f"logits: expected shape {(len(x), len(y))}, got {tuple(logits.shape)}")


def check_integers(name, value, rows):
    """One integer for each row, on the same device."""
    if not isinstance(value, torch.Tensor) or value.dtype not in INTEGERS:
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise TypeError(f"{name}: expected a torch.Tensor of integers, got {kind}")
    if value.ndim != 1 or value.shape[0] != rows.shape[0] or value.device != rows.device:
        raise ValueError(
            f"{name}: expected shape ({rows.shape[0]},) on {rows.device}, got {tuple(value.shape)} on {value.device}"
        )


def check_k(k, gallery):
    """From 1 to the rows of the gallery."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= gallery.shape[0]:
        raise ValueError(f"k: expected an integer from 1 to the {gallery.shape[0]} rows of the gallery, got {k!r}")


def check_weight_rows(name, flux, weight):
    """Weights of the shape, type and device of the flux."""
    if not isinstance(weight, torch.Tensor) or weight.dtype != flux.dtype or weight.device != flux.device:
        kind = f"{weight.dtype} on {weight.device}" if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise TypeError(f"weight_{name}: expected a torch.Tensor of {flux.dtype} on {flux.device}, got {kind}")
    if weight.shape != flux.shape:
        raise ValueError(f"weight_{name}: expected shape {tuple(flux.shape)}, got {tuple(weight.shape)}")


def check_finite(name, rows, start=0):
    """No NaN and no Inf; ``start`` is the number of the first row."""
    for first, block in _blocks(rows):
        # one sum is quicker than a look at every element, and an overflow of it only costs that look
        if not bool(torch.isfinite(block.sum(dtype=torch.promote_types(rows.dtype, torch.float32)))):
            _check_every_row(name, block, start + first)


def _check_every_row(name, block, start):
    bad = ~torch.isfinite(block).all(dim=1)
    if bool(bad.any()):
        raise ValueError(f"{name}: expected finite values, got NaN or Inf in row {start + int(bad.int().argmax())}")


def check_match(match, n_gallery):
    """Rows of the gallery, or -1."""
    bad = (match < -1) | (match >= n_gallery)
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise ValueError(
            f"match: expected -1 or a row of the gallery below {n_gallery}, got {int(match[row])} in row {row}"
        )


def check_weights(name, flux, weight):
    """Weights that are finite and not negative, and finite flux where they are not 0."""
    for start, block in _blocks(weight):
        if not bool(((block >= 0) & torch.isfinite(block)).all()):
            raise ValueError(f"weight_{name}: expected finite weights that are not negative")
        bad = ((block > 0) & ~torch.isfinite(flux[start : start + len(block)])).any(dim=1)
        if bool(bad.any()):
            row = start + int(bad.int().argmax())
            raise ValueError(f"flux_{name}: expected finite values where the weight is not 0; row {row} has others")


def _blocks(rows):
    step = max(1, BLOCK_ELEMENTS // max(1, rows.shape[1]))
    return ((start, rows[start : start + step]) for start in range(0, len(rows), step))
