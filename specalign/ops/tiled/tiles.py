"""What the contrastive losses need of one tile of similarities, in plain torch with buffers that are used again."""

import torch
from torch.nn import functional

from specalign.ops.reference import accumulation_dtype
from specalign.ops.tiled.pairs import positive_pairs

__all__ = ["TorchTiles"]

# One exponential can serve the rows and the columns of a tile as long as what they lose by underflow, e^-87, is as
# nothing beside what they keep.
LEAST_SUM = 1e-25
LARGEST_SPREAD = 60.0


class TorchTiles:
    """Tiles of s = scale * x @ y.T; rows and columns come in the order of their groups, None = no positive pair."""

    def __init__(self):
        self._buffers = {}

    def operand(self, rows):
        """Rows in the type in which the products are made."""
        return rows.to(accumulation_dtype(rows.dtype))

    def negatives(self, x, y, scale, groups_x, groups_y):
        """Logarithm of the sum of e^s over the negatives of each row (B,) and of each column (C,)."""
        s = self._similarity(x, y, scale)
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
        """Gradient of the loss by the elements of s, times ``gain`` (B, C)."""
        s = self._similarity(x, y, scale)
        positive = None if groups_x is None else positive_pairs(groups_x, groups_y)
        if positive is not None:
            i, j = positive
            s_positive = s[i, j].double()
            pull = row_share[i] * torch.sigmoid(row_lse[i] - s_positive)
            pull += col_share[j] * torch.sigmoid(col_lse[j] - s_positive)
        result = self._negative_weights(s, row_lse, row_weight * gain, col_lse, col_weight * gain)
        if positive is not None:
            result[positive] = (-gain * pull).to(s.dtype)
        return result

    def sigmoid_sum(self, x, y, scale, bias, groups_x, groups_y):
        """Sum of softplus(-z s) over a tile, z = 1 for positives and -1 for negatives; s with its bias."""
        s = self._signed(x, y, scale, bias, groups_x, groups_y)[0]
        return functional.softplus(s).sum(dtype=torch.float64)

    def sigmoid_weights(self, x, y, scale, bias, groups_x, groups_y, gain):
        """Gradient of `sigmoid_sum` by the elements of s, times ``gain`` (B, C)."""
        s, positive = self._signed(x, y, scale, bias, groups_x, groups_y)
        s.sigmoid_().mul_(gain)
        if positive is not None:
            s[positive] = -s[positive]
        return s

    def _signed(self, x, y, scale, bias, groups_x, groups_y):
        s = self._similarity(x, y, scale).add_(bias)
        positive = None if groups_x is None else positive_pairs(groups_x, groups_y)
        if positive is not None:
            s[positive] = -s[positive]
        return s, positive

    def _similarity(self, x, y, scale):
        out = self._buffer("s", x.new_empty(0), (len(x), len(y)))
        return torch.mm(x * scale, y.T, out=out)

    def _negative_weights(self, s, row_lse, row_weight, col_lse, col_weight):
        used = torch.cat([row_lse[row_weight > 0], col_lse[col_weight > 0]])
        if not used.numel():
            return s.mul_(0)
        low, high = torch.aminmax(used)
        if bool(high - low <= LARGEST_SPREAD):
            return self._with_one_exponential(s, low, row_lse, row_weight, col_lse, col_weight)
        return self._with_two_exponentials(s, row_lse, row_weight, col_lse, col_weight)

    def _with_one_exponential(self, s, low, row_lse, row_weight, col_lse, col_weight):
        low = low.to(s.dtype)
        a = _scaled(row_weight, low - row_lse).to(s.dtype)
        b = _scaled(col_weight, low - col_lse).to(s.dtype)
        both = torch.add(a[:, None], b[None, :], out=self._buffer("e", s))
        return s.sub_(low).exp_().mul_(both)

    def _with_two_exponentials(self, s, row_lse, row_weight, col_lse, col_weight):
        by_row = torch.sub(s, _finite(row_lse, s.dtype)[:, None], out=self._buffer("e", s)).exp_()
        by_row.mul_(row_weight.to(s.dtype)[:, None])
        by_column = s.sub_(_finite(col_lse, s.dtype)[None, :]).exp_().mul_(col_weight.to(s.dtype)[None, :])
        return by_column.add_(by_row)

    def _logsumexp(self, s, dim):
        top = s.amax(dim=dim, keepdim=True).clamp_(min=torch.finfo(s.dtype).min)
        e = torch.sub(s, top, out=self._buffer("e", s)).exp_()
        return e.sum(dim=dim).log_().add_(top.squeeze(dim))

    def _buffer(self, name, like, shape=None):
        shape = shape or like.shape
        size = shape[0] * shape[1]
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        return self._buffers[name][:size].view(shape)


def _scaled(weight, exponent):
    return torch.where(weight > 0, weight * exponent.exp(), 0)


def _finite(lse, dtype):
    """A row without negatives has -inf and weight 0: whatever is finite serves, and 0 * e^inf does not."""
    return torch.where(torch.isneginf(lse), torch.finfo(dtype).max, lse).to(dtype)
