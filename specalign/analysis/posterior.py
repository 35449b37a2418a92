"""Posteriors of labels: samples, quantiles and densities, with units."""

import numpy as np
from astropy.table import QTable

from specalign.data.columns import known_values, match_rows, with_unit
from specalign.display import Displayed
from specalign.exceptions import SpecalignError

__all__ = ["LabelPosterior"]


class LabelPosterior(Displayed):
    """Posterior of the labels of some spectra; `specalign.LabelModel.posterior` makes it.

    Parameters
    ----------
    scheme : `~specalign.data.scheme.LabelScheme`
        Names and units of the labels.
    object_id, spectrum_id : (Q,) str
    method : str
    sample : callable
        ``sample(n, seed)`` gives draws (Q, n, L) float64.
    log_prob : callable, optional
        ``log_prob(labels)`` gives the natural logarithm (Q,) of the density at labels (Q, L) float64; None where the
        method has no density.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign import EmbeddingTable, LabelModel
    >>> names = [f"star {i}" for i in range(40)]
    >>> angle = np.linspace(0, 1, 40)
    >>> vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> table = EmbeddingTable(vectors, names, names, "apogee", np.full(40, 50), np.ones(40))
    >>> labels = QTable({"object_id": names, "teff": (4000 + 1000 * angle) * u.K})
    >>> posterior = LabelModel("linear").fit(table, labels).posterior(table[:3])
    >>> type(posterior).__name__
    'LabelPosterior'
    >>> posterior.samples(100, seed=1)["teff"].shape
    (3, 100)
    >>> posterior.quantiles([0.16, 0.84]).colnames
    ['object_id', 'spectrum_id', 'teff_q16', 'teff_q84']
    >>> posterior.log_prob(labels).shape
    (3,)
    """

    def __init__(self, scheme, object_id, spectrum_id, method, sample, log_prob=None):
        self.scheme, self.object_id, self.spectrum_id = scheme, object_id, spectrum_id
        self.method, self._sample, self._log_prob = method, sample, log_prob

    def __len__(self):
        return len(self.object_id)

    def _facts(self):
        density = "yes" if self._log_prob else "none: a sum over stars"
        return {"method": self.method, "spectra": str(len(self)), "density": density} | self.scheme._facts()

    def samples(self, n=1000, seed=0):
        """Draws from the posterior.

        Parameters
        ----------
        n : int
        seed : int

        Returns
        -------
        `~astropy.table.QTable`
            object_id, spectrum_id and a column (Q, n) with its unit a label; a draw has all labels of one star in the
            same place, with their correlations.

        Raises
        ------
        ValueError
            n is not positive.
        """
        if n < 1:
            raise ValueError(f"n: expected at least one sample, got {n}")
        drawn = self._sample(n, seed)
        table = self._table({"n_samples": n, "seed": seed})
        for j, (name, unit) in enumerate(zip(self.scheme.names, self.scheme.units, strict=True)):
            table[name] = with_unit(drawn[:, :, j], unit)
        return table

    def quantiles(self, q=(0.16, 0.5, 0.84), n=2000, seed=0):
        """Quantiles of each label alone.

        Parameters
        ----------
        q : float or sequence of float
            From 0 to 1.
        n, seed : int
            Of the draws that they are taken from.

        Returns
        -------
        `~astropy.table.QTable`
            object_id, spectrum_id and columns such as ``teff_q16`` and ``teff_q97.5``.

        Raises
        ------
        ValueError
            A quantile is not between 0 and 1.
        """
        q = np.atleast_1d(np.asarray(q, dtype=float))
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(f"q: expected numbers from 0 to 1, got {q.tolist()}")
        return self._quantile_table({f"q{100 * one:.6g}": one for one in q}, n, seed)

    def intervals(self, levels=(0.5, 0.8, 0.95), n=2000, seed=0):
        """Intervals that leave as much probability on either side.

        Parameters
        ----------
        levels : float or sequence of float
            Probabilities inside, above 0 and below 1.
        n, seed : int
            Of the draws that they are taken from.

        Returns
        -------
        `~astropy.table.QTable`
            object_id, spectrum_id and pairs of columns such as ``teff_lo_80`` and ``teff_hi_80``, in the layout of
            `specalign.analysis.ConformalLabels`, for `specalign.analysis.interval_coverage`.

        Raises
        ------
        ValueError
            A level is not above 0 and below 1.
        """
        levels = np.atleast_1d(np.asarray(levels, dtype=float))
        if not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"levels: expected probabilities above 0 and below 1, got {levels.tolist()}")
        ends = {f"lo_{100 * level:.6g}": (1 - level) / 2 for level in levels}
        ends |= {f"hi_{100 * level:.6g}": (1 + level) / 2 for level in levels}
        return self._quantile_table(ends, n, seed)

    def log_prob(self, labels):
        """Natural logarithm of the density of all labels together.

        Parameters
        ----------
        labels : `~astropy.table.QTable`
            object_id (once each) and every label of the model, in any unit that can be converted.

        Returns
        -------
        (Q,) float64
            Of a density in one over the labels' own units (``scheme.units``), a row a spectrum; NaN for a star that is
            not in the table, or lacks a label.

        Raises
        ------
        LabelError
            A label is missing or its unit cannot be converted.
        MatchError
            An object occurs twice, or no spectrum has its star in the table.
        SpecalignError
            The method has no density.
        """
        if self._log_prob is None:
            raise SpecalignError(
                f"the posterior of {self.method!r} is a sum over training stars and has no density; "
                f"expected LabelModel('flow'), 'linear' or 'mlp', or use samples(n, seed)"
            )
        return self._log_prob(self.true_values(labels))

    def true_values(self, labels):
        """Labels (Q, L) float64 of the stars of the rows in the units of the model; NaN where one is unknown.

        Parameters
        ----------
        labels : `~astropy.table.QTable`
            As for `log_prob`.
        """
        place = match_rows(self.object_id, labels["object_id"])
        pairs = zip(self.scheme.names, self.scheme.units, strict=True)
        values = np.stack([known_values(labels, name, unit)[0] for name, unit in pairs], axis=1)
        return np.where((place >= 0)[:, None], values[place], np.nan)

    def _quantile_table(self, columns, n, seed):
        """A column a label and quantile, which are named by the ends of the columns' names."""
        drawn, table = self._sample(n, seed), self._table({"n_samples": n, "seed": seed})
        found = np.quantile(drawn, list(columns.values()), axis=1)
        for j, (name, unit) in enumerate(zip(self.scheme.names, self.scheme.units, strict=True)):
            for end, values in zip(columns, found[:, :, j], strict=True):
                table[f"{name}_{end}"] = with_unit(values, unit)
        return table

    def _table(self, meta):
        own = {"label_system": self.scheme.system, "method": self.method}
        return QTable({"object_id": self.object_id, "spectrum_id": self.spectrum_id}, meta=own | meta)


class Gaussian:
    """Independent normal distributions: what values and errors (Q, L) mean where nothing more is known."""

    def __init__(self, values, errors):
        self.values, self.errors = values, errors

    def sample(self, n, seed):
        normal = np.random.default_rng(seed).normal(size=(len(self.values), n, self.values.shape[1]))
        return self.values[:, None] + self.errors[:, None] * normal

    def log_prob(self, labels):
        pull = (labels - self.values) / self.errors
        return (-0.5 * pull**2 - np.log(self.errors) - 0.5 * np.log(2 * np.pi)).sum(axis=1)
