"""Whether a new spectrum is like those of the training: an embedding alone does not tell.

An encoder puts every spectrum on the unit sphere among those that it knows, also noise, a spectrum at the wrong
velocity or one that is upside down.  So the flux is looked at, too: a noise-weighted factor analysis of the training
spectra (`specalign.encoders.factors`) says how they vary, and what is left of a new one.
"""

import functools

import numpy as np
from scipy.stats import rankdata

from specalign import ops
from specalign.analysis.scores import reduced_chi_square
from specalign.data.loading import check_good_pixels, read_rows
from specalign.data.splits import hash_fraction
from specalign.display import Displayed, brief
from specalign.encoders.base import as_tensor
from specalign.encoders.factors import FactorAnalysis
from specalign.encoders.scaling import PixelScaler
from specalign.exceptions import MatchError, SpectrumError

__all__ = ["FIGURES", "TrainingDomain"]

#: The figures, and the side on which a foreign spectrum lies.
FIGURES = {"similarity": "low", "residual": "high", "isolation": "high", "likeness": "low"}

FEWEST_STARS = 20
MOST_ROWS = 4096  # training rows that are kept to compare with
N_FACTORS = 16
N_NEIGHBOURS = 10
FOLDS = 4
BLOCK_ROWS = 1024
CLIP = 25.0  # a cosmic that no mask has caught counts as five sigma, not as a million


class TrainingDomain(Displayed):
    """The training spectra of one instrument, and four figures that compare a spectrum with them.

    ``similarity``: mean cosine to the nearest embeddings.  ``residual``: mean squared residual a pixel, in units of the
    stated variance and of what the factors leave of training spectra.  ``isolation``: how far its factors are from
    those of the nearest training spectra, relative to their own neighbours' distances (the local outlier factor,
    Breunig et al. 2000, SIGMOD, 93).  ``likeness``: correlation of the flux with the mean training spectrum over the
    good pixels, weighted with the inverse variance; 0 where there is nothing but noise.

    A figure's threshold is a quantile of what training spectra reach that are compared with the spectra of other
    stars, the same quantile for each figure, such that the stated share of these spectra lies beyond one threshold or
    more.  Besides, a spectrum below the training spectra's S/N or share of good pixels, or in another frame, is
    unlike them.

    Parameters
    ----------
    sample : Sample
        What is compared with.
    facts : dict
        JSON-like: thresholds and the like, as `fit` makes them.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.prediction import TrainingDomain
    >>> xp, rng, names = sa.get_instrument("gaia_xp"), np.random.default_rng(1), [f"star-{i}" for i in range(200)]
    >>> slope = rng.normal(size=200)
    >>> flux = 1 + 0.1 * np.outer(slope, np.linspace(-1, 1, xp.n_pixels)) + 0.01 * rng.normal(size=(200, xp.n_pixels))
    >>> given = {"spectral_axis": xp.spectral_axis, "normalized": True}
    >>> prepared = xp.prepare_arrays(flux, np.full(flux.shape, 1e4), object_id=names, **given)
    >>> vectors = np.stack([np.cos(slope), np.sin(slope)], axis=1).astype(np.float32)
    >>> domain = TrainingDomain.fit(prepared, vectors)
    >>> drawn = rng.normal(size=(1, xp.n_pixels))
    >>> noise = xp.prepare_arrays(drawn, np.full(drawn.shape, 1e4), object_id=["x"], **given)
    >>> reasons = domain.reasons(domain.figures(noise, vectors[:1]), noise)
    >>> "residual" in reasons[0]
    True
    """

    def __init__(self, sample, facts):
        self.sample, self.facts = sample, facts

    def _facts(self):
        return {name: brief(value) for name, value in self.facts.items()}

    @classmethod
    def fit(cls, prepared, vectors, *, false_alarm=0.02, seed=0):
        """Learn what training spectra look like.

        Parameters
        ----------
        prepared : `~specalign.PreparedSpectra`
            Of one instrument; of more than 4096 rows, those are used whose identifiers' hashes are the lowest.
        vectors : (N, D) float32
            Their embeddings.
        false_alarm : float
            Share of training spectra beyond the threshold of at least one of the four figures.
        seed : int

        Raises
        ------
        MatchError
            Fewer than 20 stars.
        """
        if not 0 < false_alarm < 0.5:
            raise ValueError(f"false_alarm: expected a share above 0 and below 0.5, got {false_alarm}")
        check_good_pixels(prepared)
        n_stars = len(np.unique(prepared.object_id))
        if n_stars < FEWEST_STARS:
            raise MatchError(
                f"expected training spectra of at least {FEWEST_STARS} stars to tell what is like them, "
                f"got {n_stars} of {prepared.instrument.name}"
            )
        chance = hash_fraction(prepared.object_id, seed, "domain")
        rows = np.lexsort((prepared.spectrum_id, chance))[:MOST_ROWS]
        prepared, vectors = prepared[rows], vectors[rows]
        fold = (hash_fraction(prepared.object_id, seed, "domain fold") * FOLDS).astype(int)
        held_out = _held_out(prepared, vectors, fold, seed)
        return cls(Sample.fit(prepared, vectors, seed), _facts(prepared, held_out, false_alarm, n_stars))

    def figures(self, prepared, vectors):
        """Dict of the figures (N,) float64 of new spectra.

        Raises
        ------
        SpectrumError
            The spectra have another number of pixels.
        """
        if prepared.flux.shape[1] != len(self.sample.factors.mean):
            raise SpectrumError(
                f"expected spectra of {len(self.sample.factors.mean)} pixels, got {prepared.flux.shape[1]}"
            )
        return self.sample.figures(prepared, vectors)

    def reasons(self, figures, prepared):
        """Why each spectrum is unlike the training ones (N,) str; empty where it is like them."""
        found = [[] for _ in range(len(prepared))]
        for name, limit in sorted(self.facts["thresholds"].items()):  # the same order after a file
            high = FIGURES.get(name) == "high"
            values = {"snr": prepared.snr, "good_fraction": prepared.good_fraction, **figures}[name]
            inside = values <= limit if high else values >= limit
            for i in np.flatnonzero(~inside):  # NaN is not inside
                found[i].append(f"{name} {values[i]:.3g} {'>' if high else '<'} {limit:.3g}")
        for i in np.flatnonzero(~np.isin(_frames(prepared), self.facts["frames"])):
            found[i].append(f"frame {_frames(prepared)[i]}, trained on {' and '.join(self.facts['frames'])}")
        return np.array(["; ".join(one) for one in found], dtype=str)


def _frames(prepared):
    known = "frame" in prepared.catalog.colnames
    return np.asarray(prepared.catalog["frame"], dtype=str) if known else np.full(len(prepared), "not stated")


def _held_out(prepared, vectors, fold, seed):
    """Figures of training rows, each compared with the rows of other stars alone."""
    held_out = {name: np.full(len(prepared), np.nan) for name in FIGURES}
    for number in np.unique(fold):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        found = Sample.fit(prepared[outside], vectors[outside], seed).figures(prepared[inside], vectors[inside])
        for name, values in found.items():
            held_out[name][inside] = values
    return held_out


def _facts(prepared, held_out, false_alarm, n_stars):
    thresholds = _thresholds(held_out, false_alarm)
    beyond = [v > thresholds[n] if FIGURES[n] == "high" else v < thresholds[n] for n, v in held_out.items()]
    thresholds |= {"snr": float(prepared.snr.min()), "good_fraction": float(prepared.good_fraction.min())}
    return {
        "thresholds": thresholds,
        "frames": sorted(set(_frames(prepared).tolist())),
        "false_alarm": false_alarm,
        "flagged_in_training": float(np.any(beyond, axis=0).mean()),
        "n_stars": n_stars,
        "n_spectra": len(prepared),
    }


def _thresholds(held_out, false_alarm):
    """One quantile of every figure, chosen so that this share of the rows lies beyond any of them."""
    foreign = {name: held_out[name] if side == "high" else -held_out[name] for name, side in FIGURES.items()}
    n = len(foreign["residual"])
    least = np.min([rankdata(-values, method="min") for values in foreign.values()], axis=0)  # 1: the most foreign
    rank = np.quantile(least, false_alarm)
    limits = {name: np.quantile(values, 1 - min(1.0, (rank - 1) / (n - 1))) for name, values in foreign.items()}
    return {name: float(limit if FIGURES[name] == "high" else -limit) for name, limit in limits.items()}


class Sample:
    """Training rows as factors and vectors, to compare others with.

    Parameters
    ----------
    scaler : `~specalign.encoders.scaling.PixelScaler`
    factors : `~specalign.encoders.factors.FactorAnalysis`
    coordinates : (N, K) float32
        Factors of the training rows.
    vectors : (N, D) float32
        Their embeddings.
    """

    def __init__(self, scaler, factors, coordinates, vectors):
        self.scaler, self.factors, self.coordinates, self.vectors = scaler, factors, coordinates, vectors

    @classmethod
    def fit(cls, prepared, vectors, seed):
        """Fit the factors to some rows, and keep where the rows are."""
        n_pixels = prepared.flux.shape[1]
        scaler = PixelScaler(n_pixels)
        factors = FactorAnalysis(n_pixels, max(1, min(N_FACTORS, len(prepared) // 4)))
        scaler.fit(prepared.flux, prepared.ivar, prepared.mask)
        sample = cls(scaler, factors, None, np.ascontiguousarray(vectors, dtype=np.float32))
        factors.fit(**sample._inputs(prepared, np.arange(len(prepared))), seed=seed)
        sample.coordinates = sample._flux_figures(prepared)[0].astype(np.float32)
        return sample

    def figures(self, prepared, vectors):
        """Dict of the figures (N,) of other rows."""
        coordinates, residual, likeness = self._flux_figures(prepared)
        nearest, _ = ops.topk_similarity(
            np.ascontiguousarray(vectors, np.float32), self.vectors, min(N_NEIGHBOURS, len(self.vectors))
        )
        isolation = -self._neighbours.score_samples(coordinates.astype(np.float32)) if len(prepared) else residual
        return {
            "similarity": nearest.numpy().astype(np.float64).mean(axis=1),
            "residual": residual,
            "isolation": isolation,
            "likeness": likeness,
        }

    @functools.cached_property
    def _neighbours(self):
        from sklearn.neighbors import LocalOutlierFactor

        k = min(N_NEIGHBOURS, len(self.coordinates) - 1)
        return LocalOutlierFactor(n_neighbors=k, novelty=True).fit(self.coordinates)

    def _inputs(self, prepared, rows):
        inputs = read_rows(prepared, rows)
        inputs["flux"] = self.scaler.tame(inputs["flux"]).masked_fill(inputs["mask"], 0)
        if prepared.covariance_factor is not None:
            inputs["noise_basis"] = as_tensor(np.array(prepared.covariance_factor[1], np.float32))
        return inputs

    def _flux_figures(self, prepared):
        """Factors (N, K), residual (N,) and likeness (N,), in blocks of rows."""
        starts = range(0, len(prepared), BLOCK_ROWS)
        blocks = [self._block(prepared, np.arange(i, min(i + BLOCK_ROWS, len(prepared)))) for i in starts]
        if not blocks:
            return np.zeros((0, self.factors.n_factors)), np.zeros(0), np.zeros(0)
        return tuple(np.concatenate(values) for values in zip(*blocks, strict=True))

    def _block(self, prepared, rows):
        inputs, model = self._inputs(prepared, rows), self.factors
        mean, _ = model.posterior(model.summarize(**inputs))
        expected = (model.mean + mean @ model.basis.T).numpy().astype(np.float64)
        flux = inputs["flux"].numpy().astype(np.float64)
        stated = np.where(prepared.mask[rows], 0, prepared.ivar[rows]).astype(np.float64)
        weight = stated / (float(model.scale) + model.excess.numpy() * stated)
        raw = np.where(prepared.mask[rows], 0, prepared.flux[rows]).astype(np.float64)
        residual = reduced_chi_square(flux - expected, weight, most=CLIP)
        return mean.numpy(), residual, _correlation(stated, raw, model.mean.numpy())


def _correlation(weight, x, y):
    """Weighted correlation (N,) of rows x with rows or one row y; 0 where one of them is constant."""
    weight = weight / weight.sum(axis=1, keepdims=True)
    x, y = (one - (weight * one).sum(axis=1, keepdims=True) for one in (x, y))
    scale = np.sqrt((weight * x**2).sum(axis=1) * (weight * y**2).sum(axis=1))
    return (weight * x * y).sum(axis=1) / np.where(scale > 0, scale, 1)
