"""Losses of scaled labels, over those that are known."""

import torch

__all__ = ["huber_label_loss", "label_loss", "log_label_loss"]

LEAST_ERROR = 0.03  # in units of a label's spread
FAR = 5.0  # in median errors of a batch: far beyond normal errors, near for wrong labels
WRONG = 0.1  # in units of a label's spread: an error that is larger counts in proportion, not by its square


def label_loss(predicted, target, weight=None):
    """Mean squared error of scaled labels, over those that are known.

    Parameters
    ----------
    predicted, target : (n, L) `~torch.Tensor`
        NaN in ``target`` = unknown.
    weight : (n, L) `~torch.Tensor`, optional

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 where nothing is known.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.label_losses import label_loss
    >>> label_loss(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, float("nan")]]))
    tensor(4.)
    """
    known, difference = _known_errors(predicted, target)
    return _mean(difference**2, known, weight)


def huber_label_loss(predicted, target, weight=None):
    """Huber's loss of scaled labels, over those that are known: a few wrong labels do not outweigh the right ones.

    The square of a small error, and from 0.1 of a label's spread on, where labels of a survey are wrong more often than
    a network is, in proportion to the error (Huber 1964, Ann. Math. Stat. 35, 73); with a slope of 1 there.

    Parameters
    ----------
    predicted, target : (n, L) `~torch.Tensor`
        NaN in ``target`` = unknown.
    weight : (n, L) `~torch.Tensor`, optional

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 where nothing is known.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.label_losses import huber_label_loss
    >>> target = torch.zeros(1, 1)
    >>> [round(float(huber_label_loss(target + error, target)), 3) for error in (0.1, 1.0, 2.0)]
    [0.05, 0.95, 1.95]
    """
    known, difference = _known_errors(predicted, target)
    size = difference.abs()
    return _mean(torch.where(size < WRONG, size**2 / (2 * WRONG), size - WRONG / 2), known, weight)


def log_label_loss(predicted, target):
    """Half the logarithm of the mean squared error of each scaled label, in the mean over labels.

    What is left of the negative logarithm of a normal likelihood once the size of the errors is fitted, too: an error
    of one per cent counts the same for a label that is known well and for one that is not, and does not fade beside
    other losses as the errors shrink.  One more error of 0.03 is counted, so that a label that few stars of a batch
    have cannot outweigh the rest.

    Errors far beyond five times the batch's median count by their logarithm (Holland & Welsch 1977, Commun. Stat. A 6,
    813, there of Cauchy's name): the few wrong labels of a survey would otherwise be all that the mean square is made
    of.

    Parameters
    ----------
    predicted, target : (n, L) `~torch.Tensor`
        NaN in ``target`` = unknown.

    Returns
    -------
    `~torch.Tensor`
        0-d; 0 where nothing is known.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.label_losses import log_label_loss
    >>> target = torch.zeros(1000, 1)
    >>> round(float(log_label_loss(target + 0.1, target) - log_label_loss(target + 0.05, target)), 3)
    0.693
    """
    known, difference = _known_errors(predicted, target)
    count = known.sum(dim=0)
    limit = (FAR * _median(known, difference.detach().abs())).clamp(min=LEAST_ERROR)
    square = limit**2 * torch.log1p((difference / limit) ** 2)
    logarithm = 0.5 * torch.log((square.sum(dim=0) + LEAST_ERROR**2) / (count + 1))
    return (logarithm * (count > 0)).sum() / (count > 0).sum().clamp(min=1)


def _known_errors(predicted, target):
    """Which labels are known, and their errors: 0, without gradient, where they are not."""
    known = torch.isfinite(target)
    return known, torch.where(known, predicted - torch.where(known, target, 0), 0)


def _median(known, size):
    """Of the known ones of each label (L,); 0 where there is none."""
    return torch.where(known, size, torch.nan).nanmedian(dim=0).values.nan_to_num(0.0)


def _mean(loss, known, weight):
    weighted = loss if weight is None else weight * loss
    return weighted.sum() / known.sum().clamp(min=1)


#: What `~specalign.alignment.LabelRegressor.fit` takes as ``loss``.
LABEL_LOSSES = {"huber": huber_label_loss, "squared": label_loss}
