"""Posteriors of labels by conditional normalising flows."""

import math

import numpy as np
import torch
from torch import nn

from specalign.analysis.ensemble import StarEnsemble
from specalign.exceptions import MissingExtraError, SpectrumError

__all__ = ["FlowEnsemble"]

#: By how much the proposal of a label that is not exactly known is wider than the network's own estimate.
WIDER = 1.5
#: Base points of which `FlowEnsemble.predict` takes mean and standard deviation.
POINTS = 128
BLOCK = 2**18  # samples that are drawn at a time
LOG_TWO_PI = math.log(2 * math.pi)


class FlowEnsemble(StarEnsemble):
    """Neural spline flows [1]_: the density of all labels together, given an embedding.

    A perceptron summarises the embedding, shifts and scales each label (standardised before), and autoregressive
    rational-quadratic splines turn what is left into a normal distribution.  Members are trained by their likelihood
    on all stars but a part of their own, which says when to stop and how wide the normal distribution is; the posterior
    is their mean.

    A label with an error sigma is not the true one: the likelihood of the catalogue's value is the integral of the
    flow's density over the true label, as in the deconvolution of [2]_, by importance sampling with ``draws`` points
    from the product of the error and 1.5 times the perceptron's own width.  A missing label has an infinite error.  So
    no star with at least one label is left out, and the posterior is that of true labels.

    Parameters
    ----------
    hidden : int
        Width of the perceptron's two layers.
    members : int
    transforms : int
        Splines in sequence.
    bins : int
        Pieces of each spline.
    draws : int
        For the integral over labels with errors, and over missing ones.
    snr : bool, optional
        Tell the flow the logarithm of the S/N of each spectrum beside its embedding, whose direction does not say how
        well it is known.  By default where the S/N of every training row is known.
    dropout, max_epochs, patience, batch_size, learning_rate, weight_decay, validation, seed, device
        See `specalign.analysis.network.NetworkEnsemble`.

    Raises
    ------
    MissingExtraError
        zuko is not installed.

    References
    ----------
    .. [1] Durkan et al. 2019 (arXiv 1906.04032); conditional on data, Papamakarios et al. 2021 (arXiv 1912.02762).
    .. [2] Dockhorn et al. 2020 (arXiv 2006.09396), with the bound of Burda et al. 2016 (arXiv 1509.00519).

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.analysis.flow import FlowEnsemble
    >>> rng = np.random.default_rng(1)
    >>> inputs = rng.normal(size=(400, 3)).astype(np.float32)
    >>> flow = FlowEnsemble(hidden=16, members=1, max_epochs=20)
    >>> _ = flow.fit(inputs, inputs[:, :2] * 100 + 5000, np.arange(400).astype(str))
    >>> flow.sample(inputs[:5], 100, seed=1).shape, flow.log_prob(inputs[:5], np.full((5, 2), 5000.0)).shape
    ((5, 100, 2), (5,))
    """

    threads = 1  # its many small steps would wait for each other

    def __init__(
        self, hidden=128, members=2, transforms=2, bins=8, draws=8, snr=None, dropout=0.0, max_epochs=60, patience=10,
        batch_size=256, learning_rate=1e-3, weight_decay=1e-4, validation=0.1, seed=0, device="cpu",
    ):  # fmt: skip
        _zuko()
        super().__init__(
            hidden, members, max_epochs, patience, batch_size, learning_rate, weight_decay, validation, seed, device
        )
        self.transforms, self.bins, self.draws, self.dropout = transforms, bins, draws, dropout
        self.snr = self._uses_snr = snr

    def _network(self, n_inputs, n_labels):
        return _Flow(n_inputs, n_labels, self)

    def inputs(self, vectors, snr, fitting=False):
        """Vectors (N, D) of unit length and, where it is used, the S/N (N,), as columns of like size.

        Training rows (``fitting``) decide whether it is used where the option ``snr`` does not.

        Raises
        ------
        SpectrumError
            The S/N is used, and that of a row is not known.
        """
        unknown = np.count_nonzero(~(snr > 0) | ~np.isfinite(snr))
        if fitting:
            self._uses_snr = not unknown if self.snr is None else self.snr
        if not self._uses_snr:
            return vectors
        if unknown:
            raise SpectrumError(
                f"the flow uses the S/N of each spectrum, which is not known of {unknown} of {len(snr)}; "
                f"fit LabelModel('flow', snr=False), or leave these rows out"
            )
        return np.column_stack([vectors * np.sqrt(vectors.shape[1]), np.log(snr)]).astype(np.float32)

    def predict(self, inputs):
        """Mean and standard deviation (Q, L) of the posterior, from 128 quasi-random points, the same for all rows."""
        drawn = self._draw(inputs, _normal_points(len(self.scaler.scale), self.seed))
        return drawn.mean(axis=1), drawn.std(axis=1)

    def sample(self, inputs, n, seed=0):
        """Independent draws (Q, n, L) float64 from each row's posterior."""
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(n, len(inputs), len(self.scaler.scale), generator=generator)
        # any part of the draws is then of all members
        return self._draw(inputs, points)[:, torch.randperm(n, generator=generator).numpy()]

    @torch.no_grad()
    def log_prob(self, inputs, labels):
        """Natural logarithm (Q,) of the density at labels (Q, L), in one over their units; NaN where one is NaN."""
        scaled = torch.tensor(self.scaler.forward(labels), dtype=torch.float32)
        known = torch.isfinite(scaled).all(dim=1)
        members = zip(self.networks, self._summaries(inputs), strict=True)
        parts = [one.log_density(*one._moved((*summary, scaled.nan_to_num()))).cpu() for one, summary in members]
        density = torch.stack(parts).double().logsumexp(dim=0) - math.log(len(parts))
        density = density.numpy() - np.log(self.scaler.scale).sum()
        return np.where(known.numpy(), density, np.nan)

    def _summaries(self, inputs):
        return [self._forward(network, inputs, np.arange(len(inputs))) for network in self.networks]

    @torch.no_grad()
    def _draw(self, inputs, points):
        """Labels (Q, n, L) where normal points (n, Q or 1, L) lie, each member's share of the points in turn."""
        parts = zip(self.networks, self._summaries(inputs), points.tensor_split(self.members), strict=True)
        drawn = torch.cat([_in_blocks(network, summary, share) for network, summary, share in parts])
        return self.scaler.inverse(drawn.transpose(0, 1).double().numpy())


def _zuko():
    try:
        import zuko
    except ImportError as error:
        raise MissingExtraError("LabelModel('flow') needs zuko: pip install 'specalign[posterior]'") from error
    return zuko


def _in_blocks(network, summary, points):
    """Labels (n, Q, L) at normal points (n, Q or 1, L), in blocks of rows."""
    points = points.expand(-1, len(summary[0]), -1)
    rows = max(1, BLOCK // max(1, len(points)))
    blocks = zip(*(one.split(rows) for one in summary), points.split(rows, dim=1), strict=True)
    return torch.cat([network.draw(*network._moved(block)).cpu() for block in blocks], dim=1)


def _normal_points(n_labels, seed):
    """Points (n, 1, L) that fill a normal distribution evenly."""
    points = torch.quasirandom.SobolEngine(n_labels, scramble=True, seed=seed).draw(POINTS)
    return torch.special.ndtri(points.clamp(1e-6, 1 - 1e-6))[:, None]


class _Flow(nn.Module):
    """A summary of the inputs, with a mean and a width a label, and splines that depend on it."""

    def __init__(self, n_inputs, n_labels, options):
        super().__init__()
        hidden, self.draws = options.hidden, options.draws
        self.first = nn.Linear(n_inputs, hidden)
        self.second = nn.Sequential(nn.GELU(), nn.Dropout(options.dropout), nn.Linear(hidden, hidden), nn.GELU())
        self.mean = nn.Linear(2 * hidden, n_labels)
        self.log_width = nn.Linear(2 * hidden, n_labels)
        n_summary = max(8, hidden // 4)
        self.summary = nn.Sequential(nn.Linear(hidden, n_summary), nn.GELU())
        self.splines = (
            _zuko()
            .flows.NSF(
                n_labels,
                n_summary,
                bins=options.bins,
                transforms=options.transforms,
                hidden_features=(2 * n_summary,) * 2,
            )
            .transform
        )
        self.register_buffer("spread", torch.ones(n_labels))

    def forward(self, inputs):
        first = self.first(inputs)
        second = self.second(first)
        both = torch.cat([first, second], dim=1)
        return self.mean(both), self.log_width(both).clamp(-7, 3), self.summary(second)

    def normal_points(self, mean, log_width, summary, labels):
        """Where labels (..., N, L) lie in the normal distribution, and the logarithm (..., N) of the volumes' ratio."""
        reduced = (labels - mean) * (-log_width).exp()
        points, volume = self.splines(summary).call_and_ladj(reduced)
        return points, volume - log_width.sum(dim=-1)

    def log_density(self, mean, log_width, summary, labels):
        points, volume = self.normal_points(mean, log_width, summary, labels)
        return _log_normal(points, self.spread).sum(dim=-1) + volume

    def draw(self, mean, log_width, summary, points):
        """Labels (n, N, L) at normal points (n, N, L)."""
        return self.splines(summary).inv(points * self.spread) * log_width.exp() + mean

    def _moved(self, tensors):
        """Tensors on the device of the network; outputs of held-out rows are kept on the CPU."""
        return [one.to(self.spread.device) for one in tensors]

    def loss(self, inputs, labels, noise):
        return self._log_likelihood(self(inputs), labels, noise, None).neg().mean()

    def held_out(self, outputs, labels, noise):
        outputs, labels, noise = self._moved(outputs), *self._moved((labels, noise))
        return self._log_likelihood(outputs, labels, noise, torch.Generator().manual_seed(0)).neg().mean()

    def _log_likelihood(self, outputs, labels, noise, generator):
        """Of the catalogue's labels (N,), without a constant."""
        exact = (torch.isfinite(labels) & (noise == 0)).all(dim=1)
        parts = labels.new_zeros(len(labels))
        if exact.any():
            parts[exact] = self.log_density(*(one[exact] for one in outputs), labels[exact])
        if not exact.all():
            rest = [one[~exact] for one in outputs]
            drawn, weight = _proposed(*rest[:2], labels[~exact], noise[~exact], self.draws, generator)
            parts[~exact] = (self.log_density(*rest, drawn) + weight).logsumexp(dim=0) - math.log(self.draws)
        return parts

    @torch.no_grad()
    def calibrate(self, outputs, labels, noise, steps=30, draws=64):
        """Set how wide the normal distribution is by the likelihood of held-out labels."""
        outputs, labels, noise = self._moved(outputs), *self._moved((labels, noise))
        drawn, weight = _proposed(*outputs[:2], labels, noise, draws, torch.Generator().manual_seed(0))
        points, volume = self.normal_points(*outputs, drawn)
        for _ in range(steps):  # expectation and maximisation
            likelihood = _log_normal(points, self.spread).sum(dim=-1) + volume + weight
            share = likelihood.softmax(dim=0)
            self.spread = (share[..., None] * points**2).sum(dim=0).mean(dim=0).sqrt().clamp(0.5, 2)


def _log_normal(points, spread):
    return -0.5 * (points / spread) ** 2 - spread.log() - 0.5 * LOG_TWO_PI


def _proposed(mean, log_width, labels, noise, draws, generator):
    """True labels (draws, N, L) that the catalogue's may stand for, and the logarithm (draws, N) of their weights."""
    mean, width = mean.detach(), WIDER * log_width.detach().exp()
    known = torch.isfinite(labels)
    labels, exact = torch.where(known, labels, mean), known & (noise == 0)
    precision = torch.where(known, 1 / noise.clamp(min=1e-6) ** 2, 0.0)
    total = precision + width**-2
    centre = (labels * precision + mean * width**-2) / total
    normal = torch.randn(draws, *labels.shape, generator=generator).to(labels.device)
    drawn = torch.where(exact, labels, centre + normal * total.rsqrt())
    measured = torch.where(known, _log_normal(drawn - labels, noise.clamp(min=1e-6)), 0.0)
    proposal = -0.5 * normal**2 + 0.5 * total.log() - 0.5 * LOG_TWO_PI
    return drawn, torch.where(exact, 0.0, measured - proposal).sum(dim=-1)
