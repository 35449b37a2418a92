"""Training of small networks on vectors and labels: members, each stopped early on stars of its own."""

import logging
import math

import numpy as np
import torch

from specalign.analysis.regression import check_stars
from specalign.config import limited_threads
from specalign.data.scaling import ColumnScaler
from specalign.display import Displayed

__all__ = ["StarEnsemble", "label_noise"]

log = logging.getLogger(__name__)

#: Steps that an epoch has at least, so that few stars are not fitted in a handful of steps.
SMALLEST_EPOCH = 8


class StarEnsemble(Displayed):
    """What ensembles of networks share: standardised labels, held-out stars, early stopping, a calibration.

    A subclass makes the networks (``_network``), of which each has ``loss(inputs, labels, errors)``, the mean of a
    batch, ``held_out(outputs, labels, errors)``, what decides when to stop, and ``calibrate(outputs, labels,
    errors)``; outputs are what a network makes of held-out inputs.

    Parameters
    ----------
    hidden, members, max_epochs, patience, batch_size, learning_rate, weight_decay, validation, seed, device
        See `specalign.analysis.network.NetworkEnsemble`.

    Examples
    --------
    >>> from specalign.analysis.ensemble import StarEnsemble
    >>> from specalign.analysis.network import NetworkEnsemble
    >>> issubclass(NetworkEnsemble, StarEnsemble)
    True
    """

    #: Threads of a fit where ``conf.threads`` does not say; 0: torch's choice.
    threads = 0

    def __init__(
        self, hidden, members, max_epochs, patience, batch_size, learning_rate, weight_decay, validation, seed, device
    ):  # fmt: skip
        self.hidden, self.members, self.max_epochs, self.patience = hidden, members, max_epochs, patience
        self.batch_size, self.learning_rate, self.weight_decay = batch_size, learning_rate, weight_decay
        self.validation, self.seed, self.device = validation, seed, device
        self._centre = self._spread = None

    def _facts(self):
        fitted = hasattr(self, "networks")
        return {
            "members": f"{self.members} of {self.hidden} hidden units, {'fitted' if fitted else 'not fitted'}",
            "labels": str(len(self.scaler.scale)) if fitted else "none yet",
            "epochs": f"at most {self.max_epochs}, patience {self.patience}",
            "seed": str(self.seed),
        }

    def fit(self, inputs, labels, star, errors=None):
        """Train on rows of inputs.

        Parameters
        ----------
        inputs : (N, D) float32 array, or an object with ``len``, ``shape`` and standardised rows by index array
        labels : (N, L) float64, NaN = missing
        star : (N,) str
            All rows of a star are trained on, or held out, together.
        errors : (N, L) float64, optional
            Standard deviations of the labels' own errors, 0 = none; see `label_noise`.

        Raises
        ------
        LabelError
            All rows are of one star.
        """
        check_stars(star)
        self.scaler = ColumnScaler.fit(labels)
        if isinstance(inputs, np.ndarray):
            self._centre, self._spread = inputs.mean(axis=0), max(float(inputs.std(axis=0).mean()), 1e-6)
        scaled = torch.tensor(self.scaler.forward(labels), dtype=torch.float32)
        noise = np.zeros_like(labels) if errors is None else errors / np.array(self.scaler.scale)
        noise = torch.tensor(noise, dtype=torch.float32)
        with limited_threads(torch, self.threads):
            self.networks = [self._fit_member(i, inputs, scaled, noise, star) for i in range(self.members)]
        return self

    def _network(self, n_inputs, n_labels):
        raise NotImplementedError

    def _fit_member(self, number, inputs, labels, noise, star):
        held_out = _held_out(star, self.validation, self.seed, number)
        generator = torch.Generator().manual_seed(self.seed + number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + number)
            network = self._network(inputs.shape[1], labels.shape[1]).to(self.device)
            ended = self._train(
                network, inputs, labels, noise, np.flatnonzero(~held_out), np.flatnonzero(held_out), generator
            )
            outputs = self._forward(network, inputs, np.flatnonzero(held_out))
            network.calibrate(outputs, labels[held_out], noise[held_out])
        log.info("%s: network %d of %d, %s", type(self).__name__, number + 1, self.members, ended)
        return network.eval()

    def _train(self, network, inputs, labels, noise, train, held_out, generator):
        batches = max(math.ceil(len(train) / self.batch_size), min(SMALLEST_EPOCH, len(train)))
        steps = self.max_epochs * batches
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step / steps))
        best, best_state, waited, epoch = math.inf, None, 0, 0
        while epoch < self.max_epochs and waited <= self.patience:
            epoch += 1
            order = train[torch.randperm(len(train), generator=generator).numpy()]
            self._epoch(network, inputs, labels, noise, np.array_split(order, batches), optimizer, schedule)
            outputs = self._forward(network, inputs, held_out)
            loss = network.held_out(outputs, labels[held_out], noise[held_out]).item()
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, best_state = loss, {k: v.clone() for k, v in network.state_dict().items()}
        if best_state is not None:
            network.load_state_dict(best_state)
        return f"ended after {epoch} of {self.max_epochs} epochs; best loss of {len(held_out)} rows {best:.4g}"

    def _epoch(self, network, inputs, labels, noise, batches, optimizer, schedule):
        network.train()
        for rows in batches:
            loss = network.loss(self._tensor(inputs, rows), labels[rows].to(self.device), noise[rows].to(self.device))
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


def label_noise(values, errors):
    """Standard deviations of the labels' own errors, complete: (N, L) float64.

    Where a label is known and its error is not, or is not positive, the median error of the label stands in; a label
    without any error has 0, that is, none.

    Parameters
    ----------
    values : (N, L) float64, NaN = missing
    errors : (N, L) float64, NaN = unknown

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis.ensemble import label_noise
    >>> values = np.array([[5000.0, 4.5], [5100.0, 4.4], [5200.0, np.nan]])
    >>> label_noise(values, np.array([[50.0, np.nan], [np.nan, np.nan], [60.0, np.nan]]))
    array([[50.,  0.],
           [55.,  0.],
           [60.,  0.]])
    """
    known = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    columns = zip(np.asarray(errors, dtype=float).T, known.T, strict=True)
    typical = [np.median(column[there]) if there.any() else 0.0 for column, there in columns]
    return np.where(known, errors, typical)


def _held_out(star, share, seed, number):
    names, index = np.unique(star, return_inverse=True)
    order = np.random.default_rng([seed, number]).permutation(len(names))
    chosen = np.zeros(len(names), dtype=bool)
    chosen[order[: max(1, round(share * len(names)))]] = True
    return chosen[index]


def _learning_rate(progress, warm_up=0.05):
    return min(progress / warm_up + 0.01, 1.0) * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)))
