"""How long to train, and on how many stars at a time, where there are few of them."""

import math

import numpy as np

__all__ = ["batch_of", "epochs_of"]

STEPS = 1000  # at least, by default
LEAST_BATCH, BATCHES = 8, 8  # stars in a batch, and batches in an epoch, where there are few stars


def batch_of(n_stars, batch_size):
    """Stars in a batch: what is asked for, but at most one in eight of those that train, and not fewer than 8 for that.

    Raises
    ------
    ValueError
        The size is not a positive integer.

    Examples
    --------
    >>> from specalign.alignment.training.sizes import batch_of
    >>> batch_of(18000, 64), batch_of(100, 64), batch_of(30, 64)
    (64, 12, 8)
    """
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size: expected a positive integer, got {batch_size!r}")
    return min(batch_size, max(LEAST_BATCH, n_stars // BATCHES))


def epochs_of(n_stars, batch_size, max_epochs, least):
    """What is asked for; where nothing is (None), so many epochs, or as many as make a thousand steps.

    Examples
    --------
    >>> from specalign.alignment.training.sizes import epochs_of
    >>> epochs_of(18000, 64, None, 20), epochs_of(100, 12, None, 20), epochs_of(100, 12, 3, 20)
    (20, 112, 3)
    """
    return max(least, math.ceil(STEPS / math.ceil(n_stars / batch_size))) if max_epochs is None else max_epochs
