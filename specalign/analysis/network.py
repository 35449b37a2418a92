"""A small ensemble of perceptrons that predicts labels and their errors; used on embeddings and on raw flux."""

import numpy as np
import torch
from torch import nn

from specalign.analysis.ensemble import StarEnsemble

__all__ = ["NetworkEnsemble"]

#: Logarithms of the factors on a variance among which a calibration looks.
LEAST, MOST = -10.0, 10.0


class NetworkEnsemble(StarEnsemble):
    """Perceptrons with heteroscedastic errors, each stopped early on stars of its own.

    Every member is trained on all stars but a part of its own.  The variance e^s is trained with the Gaussian
    likelihood, in which the label's own error sigma stands beside it [1]_:

        (y - mean)^2 / (e^s + sigma^2) + ln(e^s + sigma^2)

    around a mean that it does not move, and is rescaled so that held-out residuals have the variance e^s + sigma^2.
    The mean is trained on the first term times e^s [2]_: squared errors alone where labels are exact (so a wrong
    variance cannot spoil the mean), and less of them where the label's error is large.  So the predicted error is that
    of the true label, without the catalogue's.

    Parameters
    ----------
    hidden : int
        Width of both hidden layers.
    members : int
    max_epochs, patience : int
        Training ends at ``max_epochs``, or when the held-out error has not improved for ``patience`` epochs; the best
        weights are kept.
    batch_size : int
    learning_rate, weight_decay, dropout : float
    validation : float
        Share of stars that a member holds out.
    seed : int
    device : str

    References
    ----------
    .. [1] Leung & Bovy 2019, MNRAS, 483, 3255 (arXiv 1808.04428), and 2024, MNRAS, 527, 1494 (arXiv 2308.10944).
    .. [2] The beta-NLL with beta = 1 of Seitzer et al. 2022 (arXiv 2203.09168).

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis.network import NetworkEnsemble
    >>> rng = np.random.default_rng(1)
    >>> inputs = rng.normal(size=(400, 3)).astype(np.float32)
    >>> network = NetworkEnsemble(hidden=16, members=1, max_epochs=40)
    >>> _ = network.fit(inputs, inputs[:, :1] * 100 + 5000, np.arange(400).astype(str))
    >>> mean, error = network.predict(inputs)
    >>> mean.shape, error.shape, bool(np.corrcoef(mean[:, 0], inputs[:, 0])[0, 1] > 0.9)
    ((400, 1), (400, 1), True)
    """

    def __init__(
        self, hidden=256, members=3, max_epochs=60, patience=15, batch_size=256, learning_rate=1e-3, weight_decay=1e-4,
        dropout=0.0, validation=0.1, seed=0, device="cpu",
    ):  # fmt: skip
        super().__init__(
            hidden, members, max_epochs, patience, batch_size, learning_rate, weight_decay, validation, seed, device
        )
        self.dropout = dropout

    def _network(self, n_inputs, n_labels):
        return _Perceptron(n_inputs, n_labels, self.hidden, self.dropout)

    def predict(self, inputs):
        """Values and errors (Q, L): mean of the members, and their mean variance with the scatter between them."""
        outputs = [self._forward(network, inputs, np.arange(len(inputs))) for network in self.networks]
        mean = torch.stack([mean for mean, _ in outputs]).double().numpy()
        variance = torch.stack([log_variance.exp() for _, log_variance in outputs]).double().numpy()
        error = np.sqrt(variance.mean(axis=0) + mean.var(axis=0))
        return self.scaler.inverse(mean.mean(axis=0)), error * self.scaler.scale


class _Perceptron(nn.Module):
    """Two hidden layers and a linear path beside them."""

    def __init__(self, n_inputs, n_labels, hidden, dropout):
        super().__init__()
        self.first = nn.Linear(n_inputs, hidden)
        self.second = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.GELU())
        self.mean = nn.Linear(2 * hidden, n_labels)
        self.log_variance = nn.Linear(hidden, n_labels)
        self.register_buffer("calibration", torch.zeros(n_labels))

    def forward(self, inputs):
        first = self.first(inputs)
        second = self.second(first)
        log_variance = self.log_variance(second.detach()).clamp(-14, 4)
        return self.mean(torch.cat([first, second], dim=1)), log_variance + self.calibration

    def loss(self, inputs, labels, noise):
        return _loss(*self(inputs), labels, noise)

    @staticmethod
    def held_out(outputs, labels, noise):
        """Squared error, with weights that no network can change."""
        there = torch.isfinite(labels)
        # errors below the median count alike: some are stated too small
        typical = noise.median(dim=0).values.clamp(min=1e-9)
        weight = there / (1 + (noise / typical) ** 2)
        return (weight * torch.where(there, outputs[0] - labels, 0.0).square()).sum() / weight.sum().clamp(min=1e-9)

    def calibrate(self, outputs, labels, noise):
        """Add to the logarithm of the variance what makes held-out residuals as large as expected."""
        mean, log_variance = outputs
        there = torch.isfinite(labels)
        square = torch.where(there, labels - mean, 0.0).square()
        if (noise > 0).any():
            self.calibration += _missing_factor(square, log_variance, noise, there).to(self.calibration.device)
            return
        ratio = (square / log_variance.exp()).sum(dim=0)
        count = there.sum(dim=0)
        self.calibration += torch.where((count > 0) & (ratio > 0), (ratio / count.clamp(min=1)).log(), 0.0).to(
            self.calibration.device
        )


def _missing_factor(square, log_variance, noise, there, steps=40):
    """Logarithm (L,) of the factor on e^s with which (y - mean)^2 / (factor e^s + sigma^2) is 1 in the mean."""
    # as in the likelihood, a label says as much about e^s as e^s is of its variance
    weight = there * log_variance.exp() / (log_variance.exp() + noise**2)
    low, high = (torch.full((square.shape[1],), end) for end in (LEAST, MOST))
    for _ in range(steps):
        middle = (low + high) / 2
        ratio = (weight * square / ((log_variance + middle).exp() + noise**2)).sum(dim=0)
        too_small = ratio > weight.sum(dim=0)
        low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
    return torch.where(there.any(dim=0), (low + high) / 2, 0.0)


def _loss(mean, log_variance, labels, noise):
    there = torch.isfinite(labels)
    own = log_variance.exp()
    relative = noise**2 / own
    residual = torch.where(there, mean - labels, 0.0).square()
    logarithm = log_variance + relative.log1p()
    likelihood = torch.where(there, residual.detach() / (own + noise**2) + logarithm, 0.0)
    return (residual / (1 + relative.detach()) + 0.5 * likelihood).sum() / there.sum().clamp(min=1)
