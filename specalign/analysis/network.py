"""A small ensemble of perceptrons that predicts labels and their errors; used on embeddings and on raw flux."""

import math

import numpy as np
import torch
from torch import nn

from specalign.config import limited_threads
from specalign.data.scaling import ColumnScaler
from specalign.display import Displayed

__all__ = ["NetworkEnsemble"]

#: Steps that an epoch has at least, so that few stars are not fitted in a handful of steps.
SMALLEST_EPOCH = 8


class NetworkEnsemble(Displayed):
    """Perceptrons with heteroscedastic errors, each stopped early on stars of its own.

    Every member is trained on all stars but a part of its own.  The mean is trained on squared errors alone; the
    variance by the Gaussian likelihood around that mean (so a wrong variance cannot spoil the mean), and is rescaled
    so that held-out residuals have unit variance.

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
        self.hidden, self.members, self.max_epochs, self.patience = hidden, members, max_epochs, patience
        self.batch_size, self.learning_rate, self.weight_decay = batch_size, learning_rate, weight_decay
        self.dropout, self.validation, self.seed, self.device = dropout, validation, seed, device
        self._centre = self._spread = None

    def _facts(self):
        fitted = hasattr(self, "networks")
        return {
            "members": f"{self.members} of {self.hidden} hidden units, {'fitted' if fitted else 'not fitted'}",
            "labels": str(len(self.scaler.scale)) if fitted else "none yet",
            "epochs": f"at most {self.max_epochs}, patience {self.patience}",
            "seed": str(self.seed),
        }

    def fit(self, inputs, labels, star):
        """Train on rows of inputs.

        Parameters
        ----------
        inputs : (N, D) float32 array, or an object with ``len``, ``shape`` and standardised rows by index array
        labels : (N, L) float64, NaN = missing
        star : (N,) str
            All rows of a star are trained on, or held out, together.
        """
        self.scaler = ColumnScaler.fit(labels)
        if isinstance(inputs, np.ndarray):
            self._centre, self._spread = inputs.mean(axis=0), max(float(inputs.std(axis=0).mean()), 1e-6)
        scaled = torch.tensor(self.scaler.forward(labels), dtype=torch.float32)
        with limited_threads(torch):
            self.networks = [self._fit_member(number, inputs, scaled, star) for number in range(self.members)]
        return self

    def _fit_member(self, number, inputs, labels, star):
        held_out = _held_out(star, self.validation, self.seed, number)
        generator = torch.Generator().manual_seed(self.seed + number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + number)
            network = _Perceptron(inputs.shape[1], labels.shape[1], self.hidden, self.dropout).to(self.device)
            self._train(network, inputs, labels, np.flatnonzero(~held_out), np.flatnonzero(held_out), generator)
        network.calibrate(*self._forward(network, inputs, np.flatnonzero(held_out)), labels[held_out])
        return network

    def _train(self, network, inputs, labels, train, held_out, generator):
        batches = max(math.ceil(len(train) / self.batch_size), min(SMALLEST_EPOCH, len(train)))
        steps = self.max_epochs * batches
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step / steps))
        best, best_state, waited = math.inf, None, 0
        for _ in range(self.max_epochs):
            order = train[torch.randperm(len(train), generator=generator).numpy()]
            self._epoch(network, inputs, labels, np.array_split(order, batches), optimizer, schedule)
            loss = _squared_error(self._forward(network, inputs, held_out)[0], labels[held_out]).item()
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, best_state = loss, {k: v.clone() for k, v in network.state_dict().items()}
            if waited > self.patience:
                break
        if best_state is not None:
            network.load_state_dict(best_state)

    def _epoch(self, network, inputs, labels, batches, optimizer, schedule):
        network.train()
        for rows in batches:
            mean, log_variance = network(self._tensor(inputs, rows))
            loss = _loss(mean, log_variance, labels[rows].to(self.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    def _tensor(self, inputs, rows):
        values = inputs[rows]
        if self._centre is not None:
            values = (values - self._centre) / self._spread
        return torch.as_tensor(values, dtype=torch.float32).to(self.device)

    @torch.no_grad()
    def _forward(self, network, inputs, rows):
        network.eval()
        parts = np.array_split(rows, max(1, math.ceil(len(rows) / 1024)))
        outputs = [network(self._tensor(inputs, part)) for part in parts]
        return [torch.cat(tensors).cpu() for tensors in zip(*outputs, strict=True)]

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

    def calibrate(self, mean, log_variance, labels):
        """Add to the logarithm of the variance what makes held-out residuals have unit variance."""
        there = torch.isfinite(labels)
        ratio = torch.where(there, (labels - mean) ** 2 / log_variance.exp(), 0.0).sum(dim=0)
        count = there.sum(dim=0)
        self.calibration += torch.where((count > 0) & (ratio > 0), (ratio / count.clamp(min=1)).log(), 0.0).to(
            self.calibration.device
        )


def _held_out(star, share, seed, number):
    names, index = np.unique(star, return_inverse=True)
    order = np.random.default_rng([seed, number]).permutation(len(names))
    chosen = np.zeros(len(names), dtype=bool)
    chosen[order[: max(1, round(share * len(names)))]] = True
    return chosen[index]


def _learning_rate(progress, warm_up=0.05):
    return min(progress / warm_up + 0.01, 1.0) * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)))


def _squared_error(mean, labels):
    there = torch.isfinite(labels)
    return torch.where(there, mean - labels, 0.0).square().sum() / there.sum().clamp(min=1)


def _loss(mean, log_variance, labels):
    there = torch.isfinite(labels)
    residual = torch.where(there, mean - labels, 0.0).square()
    likelihood = torch.where(there, residual.detach() / log_variance.exp() + log_variance, 0.0)
    return (residual + 0.5 * likelihood).sum() / there.sum().clamp(min=1)
