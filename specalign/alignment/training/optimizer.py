"""AdamW with warm-up and a cosine, which alignment and pre-training share."""

import math

import torch

__all__ = ["parameter_groups", "warm_cosine"]

WARM_UP = 0.05  # share of the training
LAST = 0.01  # of the learning rate, at the end


def parameter_groups(parameters, weight_decay, learning_rate):
    """Those that training changes, for an optimizer: no decay of biases, norms and other vectors.

    Parameters
    ----------
    parameters : iterable of `~torch.nn.Parameter`
    weight_decay, learning_rate : float

    Returns
    -------
    list of dict
    """
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay, "lr": learning_rate},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "lr": learning_rate},
    ]


def warm_cosine(groups, steps):
    """What `~lightning.pytorch.LightningModule.configure_optimizers` gives back, for so many steps.

    Parameters
    ----------
    groups : list of dict
        As AdamW takes them, with their learning rates; empty ones are left out.
    steps : int
        Of the whole training; the rate rises for a twentieth of them, and falls to a hundredth as a cosine.
    """
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step / max(1, steps)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _share(progress):
    """Share of the learning rate at a share of the training."""
    if progress < WARM_UP:
        return (progress + 1e-3) / WARM_UP
    return LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))
