"""What somebody reaches who knows the survey's model of Gaia XP: is the Cramer-Rao bound within anybody's reach?

    python benchmarks/bench_posterior.py --shared ../shared --seed 11

The bound is local: it takes the spectra to be linear in the labels over the errors.  Here the posterior of each star's
labels and extinction is sampled with the noise-free model, the true covariance and the population as prior, by a Markov
chain (Metropolis) that starts at the truth, which no method can, or three bounds away.  Printed is the root mean square
error of the posterior's mean over the root mean square bound.  From the truth it is below what any estimator reaches on
average; the difference to the other start shows how many stars have other solutions that a search falls into.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.mixture import GaussianMixture
from survey_data import load_script

USED = [0, 1, 2, 5]  # the labels that the model knows: Teff, logg, [Fe/H], A(V)
BURN = 800


class Posterior:
    """Density of the labels (N, 4) of some stars, given their spectra."""

    def __init__(self, script, n_stars, seed):
        self.script = script
        rng = np.random.default_rng([seed, 77])
        self.labels = script.draw_labels(n_stars, rng)
        self.seen = script.observe("gaia_xp", self.labels, rng)
        self.root = self._whitening()
        self._fit_population(script.draw_labels(60000, rng))

    def _whitening(self):
        """Inverse Cholesky factors (N, P, P) of the noise."""
        sampling = self.script._load("gaia_xp_noise.npz")["sampling"].astype(float)
        floor = self.script.XP_FLOOR**2 * np.eye(sampling.shape[1])
        errors = self.seen["coefficient_error"].astype(float)
        return np.stack([np.linalg.inv(np.linalg.cholesky((sampling.T * e**2) @ sampling + floor)) for e in errors])

    def _fit_population(self, labels):
        values = coordinates(labels[:, USED])
        self.low, self.high = values.min(0), values.max(0)
        self.mean, self.spread = values.mean(0), values.std(0)
        mixture = GaussianMixture(40, random_state=0, reg_covar=1e-3)
        self.population = mixture.fit((values - self.mean) / self.spread)

    def __call__(self, x):
        """Logarithm (N,), up to a constant of each star."""
        values, full = coordinates(x), self.labels.copy()
        full[:, USED] = x
        residual = self.seen["flux"].astype(float) - self.script.spectrum("gaia_xp", full)
        chi2 = (np.einsum("nij,nj->ni", self.root, residual) ** 2).sum(1)
        prior = self.population.score_samples((values - self.mean) / self.spread) - values[:, 3]
        inside = ((values >= self.low) & (values <= self.high)).all(1)
        return np.where(inside, prior - 0.5 * chi2, -np.inf)

    def inside(self, x):
        """The nearest labels that the population has."""
        margin = 1e-3
        limits = [np.array([*edge[:3], np.exp(edge[3])]) for edge in (self.low + margin, self.high - margin)]
        return np.clip(x, *limits)


def coordinates(x):
    """The extinction as its logarithm."""
    return np.column_stack([x[:, :3], np.log(np.maximum(x[:, 3], 1e-3))])


def sample(posterior, x, root, steps, rng):
    """Posterior means (N, 4) by chains whose steps follow the bound's covariance."""
    current, scale, total = posterior(x), np.full(len(x), 0.9), np.zeros_like(x)
    for step in range(steps):
        length = scale * np.where(rng.random(len(x)) < 0.15, 3, 1)
        offered = x + length[:, None] * np.einsum("nij,nj->ni", root, rng.normal(size=x.shape))
        density = posterior(offered)
        taken = np.log(rng.random(len(x))) < density - current
        x, current = np.where(taken[:, None], offered, x), np.where(taken, density, current)
        if step < BURN:
            scale *= np.exp(0.03 * (taken - 0.3))
        else:
            total += x
    return total / (steps - BURN)


def errors(posterior, distance, steps, seed):
    """Errors of posterior means over the bound: of the root mean squares, and of the median star."""
    covariance = posterior.script.covariance("gaia_xp", posterior.labels, posterior.seen)[:, USED][:, :, USED]
    root, truth = np.linalg.cholesky(covariance), posterior.labels[:, USED]
    bound = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    rng = np.random.default_rng([seed, 78])
    start = truth + distance * np.einsum("nij,nj->ni", root, rng.normal(size=truth.shape))
    error = sample(posterior, posterior.inside(start), root, steps, rng) - truth
    ratios = {
        "rms": np.sqrt((error**2).mean(0)) / np.sqrt((bound**2).mean(0)),
        "median": np.median(np.abs(error) / bound, axis=0) / 0.6745,
    }
    names = [posterior.script.LABELS[i] for i in USED]
    return {key: dict(zip(names, value.round(2).tolist(), strict=True)) for key, value in ratios.items()}


def main(arguments=None):
    """Parse the command line and print a line a start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--stars", type=int, default=500)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args(arguments)
    if options.steps <= BURN:
        parser.error(f"--steps: expected more than the {BURN} that a chain needs to settle, got {options.steps}")
    posterior = Posterior(load_script(options.shared), options.stars, options.seed)
    for start, distance in (("the truth", 0.0), ("three bounds away", 3.0)):
        print(start, json.dumps(errors(posterior, distance, options.steps, options.seed)), flush=True)


if __name__ == "__main__":
    main()
