"""An average of the weights over the last steps: less of what the last batches happened to be."""

import contextlib

import torch

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential average of a module's parameters.

    The first steps are averaged over fewer, so that the start is soon forgotten.

    Parameters
    ----------
    module : `~torch.nn.Module`
    memory : float
        Share of the average that a step keeps, below 1; 0 = no average, but the weights themselves.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.training import WeightAverage
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(layer.weight)
    >>> average = WeightAverage(layer, memory=0.9)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> average.update()
    >>> with average.in_place():
    ...     round(float(layer.weight.detach()), 3)
    0.909
    >>> float(layer.weight.detach())
    1.0
    """

    def __init__(self, module, memory):
        self.memory, self.steps = memory, 0
        self.parameters = list(module.parameters())
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self):
        """Take in the parameters of one more step."""
        if not self.memory:
            return
        self.steps += 1
        kept = min(self.memory, self.steps / (10 + self.steps))
        torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self.parameters], 1 - kept)

    @contextlib.contextmanager
    def in_place(self):
        """Within it, the module has the averages for its parameters."""
        if not self.memory:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self):
        for parameter, value in zip(self.parameters, self.values, strict=True):
            step = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(step)
