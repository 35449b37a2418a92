"""Changes of trained weights that begin with none, so that decay draws the weights back to where they were.

Weight decay of a change is decay towards the start (L2-SP: Li, Grandvalet & Davoine 2018, ICML, arXiv 1802.01483).
"""

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["METHODS", "add_updates", "merge_updates", "update_parameters"]


class _Shift(nn.Module):
    """A change of any shape."""

    def __init__(self, weight):
        super().__init__()
        self.change = nn.Parameter(torch.zeros_like(weight))

    def forward(self, weight):
        return weight + self.change

    def groups(self):
        """Parameters that decay, and those that do not."""
        return [self.change], []


class _LowRank(nn.Module):
    """A change ``up @ down`` of a matrix, which begins with ``up`` = 0 (LoRA: Hu et al. 2021, arXiv 2106.09685)."""

    def __init__(self, weight, rank, generator):
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, generator=generator) * columns**-0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight):
        return weight + self.up @ self.down

    def groups(self):
        """Parameters that decay, and those that do not: where ``up`` is 0, nothing is changed."""
        return [self.up], [self.down]


def _everything(encoder, rank, generator):
    """Every parameter."""
    return {name: _Shift(value) for name, value in encoder.named_parameters()}


def _head(encoder, rank, generator):
    """The parameters of the encoder's ``head``."""
    found = {name: _Shift(value) for name, value in encoder.named_parameters() if name.startswith("head.")}
    if not found:
        raise ValueError(f"{type(encoder).__name__} has no head that could be trained alone; use method='low_rank'")
    return found


def _low_rank(encoder, rank, generator):
    """The matrices of the linear layers, each by a product of two thin ones, and their biases."""
    layers = {name: layer for name, layer in encoder.named_modules() if isinstance(layer, nn.Linear)}
    if not layers:
        raise ValueError(f"{type(encoder).__name__} has no linear layers; use method='full'")
    largest = max(min(layer.weight.shape) for layer in layers.values())
    if rank > largest:
        raise ValueError(f"rank: expected at most {largest}, as the largest layer allows, got {rank}")
    found = {}
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        found[f"{prefix}weight"] = _LowRank(layer.weight, min(rank, *layer.weight.shape), generator)
        if layer.bias is not None:
            found[f"{prefix}bias"] = _Shift(layer.bias)
    return found


#: What may change of an encoder, by the name of the method.
METHODS = {"low_rank": _low_rank, "head": _head, "full": _everything}


def add_updates(encoder, method, rank, seed):
    """Let nothing of an encoder be trained but changes of its weights, in place.

    Parameters
    ----------
    encoder : Encoder
    method : {"low_rank", "head", "full"}
    rank : int
        Of the changes, with ``"low_rank"``; smaller layers have a smaller one.
    seed : int
        Of the random part of such changes.

    Returns
    -------
    Encoder
        The same one.

    Raises
    ------
    ValueError
        The encoder has no such part, or the rank is larger than its layers.
    """
    updates = METHODS[method](encoder, rank, torch.Generator().manual_seed(seed))
    encoder.requires_grad_(False)
    for name, update in updates.items():
        owner, _, attribute = name.rpartition(".")
        parametrize.register_parametrization(encoder.get_submodule(owner), attribute, update)
    return encoder


def update_parameters(encoder):
    """Parameters of the changes: those that decay, and those that do not."""
    found = [m.groups() for m in encoder.modules() if isinstance(m, (_Shift, _LowRank))]
    return [p for decayed, _ in found for p in decayed], [p for _, others in found for p in others]


@torch.no_grad()
def merge_updates(encoder, start):
    """Give ``start``, an unchanged copy, the weights of an encoder that changes were added to; returns it."""
    for name, parameter in start.named_parameters():
        owner, _, attribute = name.rpartition(".")
        parameter.copy_(getattr(encoder.get_submodule(owner), attribute))
    return start
