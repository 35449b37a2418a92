"""Which tiles of an N x M matrix of similarities hold positive pairs, when rows come in the order of their groups."""

import torch

__all__ = ["PairedTiles", "positive_pairs", "restore"]


class PairedTiles:
    """Rows of two batches in the order of their groups, and the tiles over them.

    In that order the positives of one block of rows are in one range of columns, so that all other tiles need no mask.

    Parameters
    ----------
    x, y : `~torch.Tensor` (N, D), (M, D)
    groups_x, groups_y : int64 `~torch.Tensor` (N,), (M,), or None
        None for both: row i of x and row i of y are a pair.
    shape : tuple of int
        Rows and columns of a tile.
    """

    def __init__(self, x, y, groups_x, groups_y, shape):
        if groups_x is None:
            groups_x = groups_y = torch.arange(len(x), device=x.device)
        self.orders = self.order_x, self.order_y = _order(groups_x), _order(groups_y)
        self.rows = self.x, self.y = _take(x, self.order_x), _take(y, self.order_y)
        self.groups_x, self.groups_y = _take(groups_x, self.order_x), _take(groups_y, self.order_y)
        self.shape = shape

    def __iter__(self):
        """Yield rows, columns (slices) and the columns among them that may hold positives, or None."""
        height, width = self.shape
        for start, (low, high) in zip(range(0, len(self.x), height), self._ranges(height), strict=True):
            rows = slice(start, min(start + height, len(self.x)))
            for left in range(0, len(self.y), width):
                right = min(left + width, len(self.y))
                paired = slice(max(low, left), min(high, right))
                yield rows, slice(left, right), paired if paired.start < paired.stop else None

    def groups(self, rows, columns, paired):
        """Groups of a tile's rows and columns, or None for both where no pair of the tile is positive."""
        return (None, None) if paired is None else (self.groups_x[rows], self.groups_y[columns])

    def _ranges(self, height):
        """The range of columns with the groups of each block of rows: computed at once, to wait for a GPU only once."""
        if not len(self.x):
            return []
        first = self.groups_x[::height].contiguous()
        last = torch.cat([self.groups_x[height - 1 :: height], self.groups_x[-1:]])[: len(first)]
        low = torch.searchsorted(self.groups_y, first)
        return torch.stack([low, torch.searchsorted(self.groups_y, last, right=True)], dim=1).tolist()


def positive_pairs(groups_x, groups_y):
    """Indices (i, j) of all pairs of equal groups; both in ascending order of their groups."""
    low = torch.searchsorted(groups_y, groups_x)
    count = torch.searchsorted(groups_y, groups_x, right=True) - low
    i = torch.repeat_interleave(torch.arange(len(groups_x), device=groups_x.device), count)
    before = torch.cumsum(count, 0) - count
    return i, torch.arange(len(i), device=i.device) - before[i] + low[i]


def restore(values, order, dim=0):
    """Values in the order in which the rows were given."""
    if order is None:
        return values
    return torch.empty_like(values).index_copy_(dim, order, values)


def _order(groups):
    if bool((groups[1:] >= groups[:-1]).all()):
        return None
    return torch.argsort(groups, stable=True)


def _take(rows, order):
    return rows.contiguous() if order is None else rows[order]
