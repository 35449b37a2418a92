"""What the contrastive losses need of one tile of similarities, in plain torch with buffers that are used again."""

import torch
from torch.nn import functional

from specalign.ops.reference import accumulation_dtype
from specalign.ops.tiled.pairs import positive_pairs
from specalign.ops.tiled.products import similarity

__all__ = ["TorchTiles"]

# One exponential can serve the rows and the columns of a tile as long as what they lose by underflow, e^-87, is as
# nothing beside what they keep.
LEAST_SUM = 1e-25
LARGEST_SPREAD = 60.0
SOFTPLUS_IS_LINEAR = 40.0  # beyond which log(1 + e^s) is s to the last digit of float64


class TorchTiles:
    """Tiles of s = scale * x @ y.T; rows and columns come in the order of their groups, None = no positive pair."""

    def __init__(self):
        self._buffers = {}

    def operand(self, rows):
        """Rows in the type in which the products are made."""
        return rows.to(accumulation_dtype(rows.dtype))

    def negatives(self, x, y, scale, groups_x, groups_y):
        """Logarithm of the sum of e^s over the negatives of each row (B,) and of each column (C,)."""
        s = similarity(x, y).mul_(scale)
        if groups_x is not None:
            s[positive_pairs(groups_x, groups_y)] = -torch.inf
        top = s.amax()
        if not bool(top > -torch.inf):  # nothing but positives, or NaN
            return s.amax(dim=1), s.amax(dim=0)
        e = torch.sub(s, top, out=self._buffer("e", s)).exp_()
        rows, columns = e.sum(dim=1), e.sum(dim=0)
        if bool(torch.minimum(rows.amin(), columns.amin()) >= LEAST_SUM):
            return rows.log_().add_(top), columns.log_().add_(top)
        return self._logsumexp(s, 1), self._logsumexp(s, 0)

    def weights(
        self, x, y, scale, groups_x, groups_y, row_lse, row_weight, row_share, col_lse, col_weight, col_share, gain
    ):
        """Gradient of the loss by the elements of s (B, C) and by the scale (0-d), both times ``gain``."""
        product = similarity(x, y)
        s = torch.mul(product, scale, out=self._buffer("e", product))
        if groups_x is not None:
            i, j = positive_pairs(groups_x, groups_y)
            positive = s[i, j].double()
            pull = row_share[i] * torch.sigmoid(row_lse[i] - positive)
            pull += col_share[j] * torch.sigmoid(col_lse[j] - positive)
        self._negative_weights(s, row_lse, row_weight * gain, col_lse, col_weight * gain)
        if groups_x is not None:
            s[i, j] = (-gain * pull).to(s.dtype)
        return s, product.mul_(s).sum()

    def sigmoid_sum(self, x, y, scale, bias, groups_x, groups_y):
        """Sum of softplus(-z s) over a tile, z = 1 for positives and -1 for negatives; s with its bias."""
        s = similarity(x, y).mul_(scale).add_(bias)
        _turn_positives(s, groups_x, groups_y)
        return functional.softplus(s, threshold=SOFTPLUS_IS_LINEAR).sum().double()

    def sigmoid_weights(self, x, y, scale, bias, groups_x, groups_y, gain):
        """Gradient of `sigmoid_sum` by the elements of s (B, C) and by the scale (0-d), both times ``gain``."""
        product = similarity(x, y)
        s = torch.mul(product, scale, out=self._buffer("e", product)).add_(bias)
        _turn_positives(s, groups_x, groups_y)
        s.sigmoid_().mul_(gain)
        _turn_positives(s, groups_x, groups_y)
        return s, product.mul_(s).sum()

    def _negative_weights(self, s, row_lse, row_weight, col_lse, col_weight):
        used = torch.cat([row_lse, col_lse])
        used = used[~torch.isneginf(used)]
        low, high = torch.aminmax(used) if used.numel() else (row_lse.new_zeros(()), row_lse.new_zeros(()))
        if bool(high - low <= LARGEST_SPREAD):
            self._with_one_exponential(s, low.to(s.dtype), row_lse, row_weight, col_lse, col_weight)
        else:
            self._with_two_exponentials(s, row_lse, row_weight, col_lse, col_weight)

    def _with_one_exponential(self, s, low, row_lse, row_weight, col_lse, col_weight):
        a = _scaled(row_weight, low - row_lse).to(s.dtype)
        b = _scaled(col_weight, low - col_lse).to(s.dtype)
        s.sub_(low).exp_().mul_(torch.add(a[:, None], b[None, :], out=self._buffer("factor", s)))

    def _with_two_exponentials(self, s, row_lse, row_weight, col_lse, col_weight):
        by_row = torch.sub(s, _finite(row_lse, s.dtype)[:, None], out=self._buffer("factor", s)).exp_()
        by_row.mul_(row_weight.to(s.dtype)[:, None])
        s.sub_(_finite(col_lse, s.dtype)[None, :]).exp_().mul_(col_weight.to(s.dtype)[None, :]).add_(by_row)

    def _logsumexp(self, s, dim):
        top = s.amax(dim=dim, keepdim=True).clamp_(min=torch.finfo(s.dtype).min)
        e = torch.sub(s, top, out=self._buffer("e", s)).exp_()
        return e.sum(dim=dim).log_().add_(top.squeeze(dim))

    def _buffer(self, name, like):
        if name not in self._buffers or self._buffers[name].numel() < like.numel():
            self._buffers[name] = torch.empty(like.numel(), dtype=like.dtype, device=like.device)
        return self._buffers[name][: like.numel()].view(like.shape)


def _scaled(weight, exponent):
    return torch.where(weight > 0, weight * exponent.exp(), 0)


def _finite(lse, dtype):
    """A row without negatives has -inf and weight 0: whatever is finite serves, and 0 * e^inf does not."""
    return torch.where(torch.isneginf(lse), torch.finfo(dtype).max, lse).to(dtype)


def _turn_positives(s, groups_x, groups_y):
    if groups_x is not None:
        pairs = positive_pairs(groups_x, groups_y)
        s[pairs] = -s[pairs]
