"""The block that perceptrons of this package are made of."""

from torch import nn

__all__ = ["ResidualBlock"]


class ResidualBlock(nn.Sequential):
    """A perceptron with one hidden layer on normalised numbers (n, width), added to them.

    Parameters
    ----------
    width : int
    expansion : int
        Width of the hidden layer over that of the stream.
    dropout : float
        Share of hidden units that are dropped in training.
    """

    def __init__(self, width, expansion=2, dropout=0.0):
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
        )

    def forward(self, x):
        return x + super().forward(x)
