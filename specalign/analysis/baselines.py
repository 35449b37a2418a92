"""What a shared space must beat: labels from raw flux, cosines of raw flux, and chance.

They return the same tables as `specalign.analysis.metrics` and `specalign.LabelModel`, so that all stand in one table.
"""

import astropy.units as u
import numpy as np
import torch

from specalign import ops
from specalign.analysis.metrics import match_slots, rank_summary
from specalign.analysis.network import NetworkEnsemble
from specalign.data.scheme import LabelScheme
from specalign.display import Displayed, brief
from specalign.exceptions import SpecalignError, SpectrumError
from specalign.instruments.frames import check_velocity_label
from specalign.instruments.resampling import pixel_edges, resample_rows

__all__ = ["FluxLabelModel", "chance", "matched_flux_retrieval"]

#: A mean spectrum of fewer rows is more noise than instrument.
ENOUGH_ROWS = 20


class FluxLabelModel(Displayed):
    """Labels from prepared spectra, without any embedding.

    A perceptron on standardised pixels (masked ones are 0, the mean), stopped early on held-out stars: the baseline
    that recent work on spectral foundation models found hard to beat [1]_.

    Parameters
    ----------
    **options
        Of `specalign.analysis.network.NetworkEnsemble`.

    References
    ----------
    .. [1] Zhao et al., arXiv 2602.15021.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from specalign import get_instrument
    >>> from specalign.analysis.baselines import FluxLabelModel
    >>> xp, names = get_instrument("gaia_xp"), [f"star-{i}" for i in range(60)]
    >>> teff, axis = np.linspace(4000, 7000, 60), xp.spectral_axis
    >>> flux = 1 + np.outer(teff / 5500 - 1, np.linspace(1, -1, len(axis)))
    >>> prepared = xp.prepare_arrays(flux, np.full(flux.shape, 1e4), spectral_axis=axis, object_id=names)
    >>> model = FluxLabelModel(hidden=16).fit(prepared, QTable({"object_id": names, "teff": teff * u.K}))
    >>> model.predict(prepared)["teff"].unit
    Unit("K")
    """

    def __init__(self, **options):
        self.options = {"hidden": 512, "members": 1, "max_epochs": 25, "patience": 8, "dropout": 0.2} | options
        self._network = NetworkEnsemble(**self.options)
        self._grid = None

    def _facts(self):
        if self._grid is None:
            return {"options": brief(self.options), "state": "not fitted"}
        return {"options": brief(self.options), "spectra": repr(self._grid.instrument)} | self._scheme._facts()

    def fit(self, prepared, labels, system=None, names=None):
        """Learn from the spectra whose object is labelled; see `specalign.LabelModel.fit`.

        Parameters
        ----------
        prepared : `~specalign.PreparedSpectra`
        labels : `~astropy.table.QTable`
        """
        check_velocity_label({prepared.instrument.name: prepared}, names or ())
        self._scheme, rows, values = LabelScheme.from_table(labels, prepared.object_id, system, names)
        self._mean, self._scale = _pixel_statistics(prepared.flux, prepared.mask, rows)
        self._network.fit(_Pixels(prepared, rows, self._mean, self._scale), values, prepared.object_id[rows])
        self._grid = prepared[:0]
        return self

    def predict(self, prepared):
        """Labels of every row, in the order of the rows; see `specalign.LabelModel.predict`.

        Raises
        ------
        GridMismatchError
            The spectra are of another instrument, grid or mask rule.
        """
        if self._grid is None:
            raise SpecalignError("the FluxLabelModel has not been fitted; call fit(prepared, labels) first")
        self._grid.check_same_grid(prepared)
        pixels = _Pixels(prepared, np.arange(len(prepared)), self._mean, self._scale)
        values, errors = self._network.predict(pixels)
        meta = {"method": "raw flux", "options": dict(self.options), "instrument": prepared.instrument.name}
        return self._scheme.to_table(prepared.object_id, prepared.spectrum_id, values, errors, meta)


class _Pixels:
    """Standardised pixels, a batch at a time: no second copy of all spectra in memory."""

    def __init__(self, prepared, rows, mean, scale):
        self._flux, self._mask, self._rows = prepared.flux, prepared.mask, rows
        self._mean, self._inverse = mean, 1 / scale
        self.shape = (len(rows), prepared.flux.shape[1])

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        values = self._flux[self._rows[rows]]
        values -= self._mean
        values *= self._inverse
        # a few pixels of a few spectra (cosmics at the edge of the mask) must not outweigh all others
        np.clip(values, -10, 10, out=values)
        values[self._mask[self._rows[rows]]] = 0
        return values


def _pixel_statistics(flux, mask, rows, block=1024):
    """Mean and standard deviation of each pixel over good training pixels, in blocks of rows."""
    count, total, square = np.zeros((3, flux.shape[1]))
    for part in np.array_split(rows, max(1, len(rows) // block)):
        good = ~mask[part]
        values = np.where(good, flux[part] - 1.0, 0.0)
        count += good.sum(axis=0)
        total += values.sum(axis=0)
        square += (values**2).sum(axis=0)
    mean = total / np.maximum(count, 1)
    variance = square / np.maximum(count, 1) - mean**2
    scale = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
    return (mean + 1.0).astype(np.float32), scale.astype(np.float32)


def matched_flux_retrieval(queries, gallery, ks=(1, 5, 10), block=512):
    """Retrieval by the cosine of raw fluxes at common wavelengths, in the layout of `specalign.metrics.retrieval`.

    Both sides are put on the coarser of the two grids, where they overlap; the mean spectrum of each side is
    subtracted (without it, what two instruments make of every star outweighs what tells stars apart; sides of fewer
    than 20 rows keep theirs), then each spectrum's own ivar-weighted mean; and the cosine runs over the pixels that
    both have, weighted with both inverse variances.  The resolution is not matched.

    Parameters
    ----------
    queries, gallery : `~specalign.PreparedSpectra`
    ks : tuple of int
    block : int
        Queries at once; memory is about block * len(gallery) * 16 bytes.

    Raises
    ------
    SpectrumError
        The instruments have fewer than 10 pixels in common (APOGEE and LAMOST have none), or an axis is not a
        wavelength.
    MatchError
        No query has its star in the gallery.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.analysis.baselines import matched_flux_retrieval
    >>> apogee, names = get_instrument("apogee"), ["a", "b", "c"]
    >>> flux = 1 + 0.1 * np.random.default_rng(1).normal(size=(3, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=names)
    >>> matched_flux_retrieval(prepared, prepared)["recall@1"]
    1.0
    """
    axis = _common_axis(queries, gallery)
    slots = match_slots(queries.object_id, gallery.object_id)
    x, weight_x = _on_common_axis(queries, axis)
    y, weight_y = _on_common_axis(gallery, axis)
    rank = np.zeros(len(x), dtype=np.int64)
    for rows in np.array_split(np.arange(len(x)), max(1, -(-len(x) // block))):
        similarity = ops.masked_similarity(x[rows], weight_x[rows], y, weight_y).numpy()
        rank[rows] = _best_rank(similarity, slots[rows])
    return rank_summary(rank, len(gallery), (slots >= 0).sum(axis=1), ks)


def _common_axis(queries, gallery, at_least=10):
    for prepared in (queries, gallery):
        if prepared.axis_kind != "wavelength":
            raise SpectrumError(
                f"{prepared.instrument.name}: expected wavelengths, got an axis of the kind {prepared.axis_kind!r}"
            )
    axes = [prepared.spectral_axis.to_value(u.AA) for prepared in (queries, gallery)]
    low, high = max(axis[0] for axis in axes), min(axis[-1] for axis in axes)
    parts = [axis[(axis >= low) & (axis <= high)] for axis in axes]
    coarser = min(parts, key=len)
    if len(coarser) < at_least:
        ranges = [
            f"{p.instrument.name} {a[0]:.0f}-{a[-1]:.0f} AA" for p, a in zip((queries, gallery), axes, strict=True)
        ]
        raise SpectrumError(f"{' and '.join(ranges)} have no wavelengths in common; raw fluxes cannot be compared")
    return coarser


def _on_common_axis(prepared, axis, block=1024):
    """Mean-subtracted flux and weights (N, P) on an axis in Angstrom, in blocks: the operator is float64."""
    edges = pixel_edges(prepared.spectral_axis.to_value(u.AA)), pixel_edges(axis)
    flux, weight = np.empty((2, len(prepared), len(axis)), dtype=np.float32)
    for rows in np.array_split(np.arange(len(prepared)), max(1, -(-len(prepared) // block))):
        good, quality = ~prepared.mask[rows], prepared.quality[rows]
        there = resample_rows(prepared.flux[rows], prepared.ivar[rows], good, quality, *edges)
        flux[rows], weight[rows] = there.flux, _relative(there.ivar)
    if len(prepared) >= ENOUGH_ROWS:
        flux -= (weight * flux).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-30)
    flux -= (weight * flux).sum(axis=1, keepdims=True)
    return torch.from_numpy(np.where(weight > 0, flux, np.float32(0))), torch.from_numpy(weight)


def _relative(ivar):
    """Weights of unit sum: a row's own scale cancels in the cosine, but would leave the range of float32."""
    total = ivar.sum(axis=1, keepdims=True)
    return ivar / np.where(total > 0, total, 1.0)


def _best_rank(similarity, slots):
    rank = np.zeros(len(similarity), dtype=np.int64)
    column = np.arange(similarity.shape[1])
    for match in slots.T:
        there = match >= 0
        value = similarity[np.arange(len(match)), match][:, None]
        ahead = (similarity > value) | ((similarity == value) & (column < match[:, None]))
        found = 1 + ahead.sum(axis=1)
        rank = np.where(there & ((rank == 0) | (found < rank)), found, rank)
    return rank


def chance(query_table, gallery_table, ks=(1, 5, 10)):
    """Expected figures of a random order, in the layout of `specalign.metrics.retrieval`.

    Parameters
    ----------
    query_table, gallery_table : `~specalign.EmbeddingTable` or `~specalign.PreparedSpectra`
    ks : tuple of int

    Notes
    -----
    With v rows of the star among n, no hit in the first k has the probability C(n - v, k) / C(n, k).

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import EmbeddingTable
    >>> from specalign.analysis.baselines import chance
    >>> names = ["a", "b", "c", "d"]
    >>> table = EmbeddingTable(np.eye(4), names, names, "apogee", [50] * 4, [1] * 4)
    >>> chance(table, table)["recall@1"]
    0.25
    """
    n = len(gallery_table)
    counts = (match_slots(query_table.object_id, gallery_table.object_id) >= 0).sum(axis=1)
    best = np.stack([_best_rank_distribution(n, v) for v in np.unique(counts[counts > 0])])
    share = np.unique(counts[counts > 0], return_counts=True)[1]
    probability = (share / share.sum()) @ best
    figures = {f"recall@{k}": float(probability[:k].sum()) for k in ks}
    return figures | {
        "mrr": float((probability / np.arange(1, n + 1)).sum()),
        "median_rank": float(1 + np.searchsorted(np.cumsum(probability), 0.5 - 1e-12)),
        "n_queries": len(counts),
        "n_gallery": n,
        "n_unmatched": int((counts == 0).sum()),
        "chance_recall@1": figures["recall@1"] if 1 in ks else float(probability[0]),
    }


def _best_rank_distribution(n, v):
    """Probability that the best of v rows among n is at rank 1, 2, ..., n."""
    # P(best > r) = prod_{i < v} (n - r - i) / (n - i)
    after = np.ones(n + 1)
    rank = np.arange(n + 1)
    for i in range(v):
        after *= np.clip(n - rank - i, 0, None) / (n - i)
    return after[:-1] - after[1:]
