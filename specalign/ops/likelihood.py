"""How likely rows with normal distributions are of one point: the similarity that knows how uncertain each row is."""

import math

import torch

from specalign.ops.reference import accumulation_dtype, contrast, positives

__all__ = ["CANDIDATES", "mutual_likelihood", "mutual_likelihood_nce"]

#: Rows of a gallery that cosines propose for each query; among 2,000 stars of the mock survey, all of them find no
#: star more.
CANDIDATES = 100


def mutual_likelihood(mean_x, variance_x, mean_y, variance_y):
    """See `specalign.ops.mutual_likelihood`; dimension by dimension, so that no (N, M, K) is stored."""
    dtype = accumulation_dtype(mean_x.dtype)
    total = 0.0
    for m, v, n, w in zip(
        *(_columns(values, dtype) for values in (mean_x, variance_x, mean_y, variance_y)), strict=True
    ):
        variance = v[:, None] + w
        total = total + (m[:, None] - n) ** 2 / variance + torch.log(variance)
    return -0.5 * (total + mean_x.shape[-1] * math.log(2 * math.pi))


def _columns(values, dtype):
    return values.to(dtype).unbind(dim=-1)


def mutual_likelihood_nce(mean_x, variance_x, mean_y, variance_y, groups_x, groups_y, logits=None):
    """See `specalign.ops.mutual_likelihood_nce`."""
    total = mutual_likelihood(mean_x, variance_x, mean_y, variance_y)
    return contrast(
        total if logits is None else total + logits.to(total.dtype), positives(mean_x, mean_y, groups_x, groups_y)
    )
