"""What a report is made of: embeddings by part and instrument, and what follows from them."""

from dataclasses import dataclass, field

from specalign.cli.figures import USUAL, few_labels

__all__ = ["METHODS", "RANKS", "Outcome", "known_names", "retrieval_figures", "transferred_labels", "with_ratios"]

RANKS = (1, 2, 5, 10, 20, 50)
METHODS = ("zero-shot", "linear probe", "baseline: MLP on raw flux")


@dataclass
class Outcome:
    """Everything that a report shows.

    Parameters
    ----------
    aligner : `~specalign.Aligner`
    prepared : dict of str to `~specalign.PreparedSpectra`
        All rows.
    tables : dict of (part, instrument) to `~specalign.EmbeddingTable`
        Parts are train and test; no star is in both.
    query, gallery : str or None
        The instruments that are compared; None where there is only one.
    labels : `~astropy.table.QTable` or None
        The true ones.
    retrieval : dict of str to dict
        Figures by method.
    predictions : dict of str to `~astropy.table.QTable`
        Labels of the test stars of the query instrument by method, the transferred ones first.
    left_out : dict of str to str
        What could not be computed, and why.
    provenance : dict
        Command, options, seeds.
    rejected : `~astropy.table.QTable`, optional
        spectrum_id, object_id, reason of what is not in ``prepared``; by default what the spectra carry.
    notes, next_steps : list of str
    title : str
    seed : int
    """

    aligner: object
    prepared: dict
    tables: dict
    query: str | None
    gallery: str | None
    labels: object = None
    retrieval: dict = field(default_factory=dict)
    predictions: dict = field(default_factory=dict)
    left_out: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    rejected: object = None
    notes: list = field(default_factory=list)
    next_steps: list = field(default_factory=list)
    title: str = "specalign report"
    seed: int = 0

    @property
    def pair(self):
        """Test embeddings of the query and of the gallery instrument, or None where one has no rows."""
        parts = [self.tables.get(("test", name)) for name in (self.query, self.gallery)]
        return None if any(part is None or not len(part) for part in parts) else tuple(parts)

    def test_spectra(self):
        """Prepared spectra of the two tables of `pair`."""
        import numpy as np

        rows = [self.prepared[name] for name in (self.query, self.gallery)]
        return [one[np.isin(one.spectrum_id, part.spectrum_id)] for one, part in zip(rows, self.pair, strict=True)]

    def tested_labels(self):
        """Labels of the stars in the test parts."""
        import numpy as np

        parts = [table.object_id for (part, _), table in self.tables.items() if part == "test"]
        return self.labels[np.isin(np.asarray(self.labels["object_id"], dtype=str), np.concatenate(parts))]

    def shown_labels(self):
        """Names of the labels that figures show: the usual ones, or else the first that test stars have."""
        return few_labels([] if self.labels is None else known_names(self.tested_labels()))

    def label_figures(self, names):
        """Errors of each method for some labels, as one table."""
        from astropy.table import vstack

        from specalign.analysis import metrics

        parts = []
        for method, predicted in self.predictions.items():
            part = metrics.labels(predicted, self.labels)["label", "unit", "n", "rmse", "bias", "mad", "r2"]
            part.add_column([method] * len(part), name="method", index=0)
            parts.append(part[[name in names for name in part["label"]]])
        return vstack(parts)

    def r2_of_every_label(self):
        """Coefficients of determination, a row a label and a column a method."""
        import numpy as np
        from astropy.table import QTable

        from specalign.analysis import metrics

        figures = {method: metrics.labels(table, self.labels) for method, table in self.predictions.items()}
        known = {method: dict(zip(table["label"], table["r2"], strict=True)) for method, table in figures.items()}
        names = list(dict.fromkeys(str(name) for table in figures.values() for name in table["label"]))
        columns = {method: [r2.get(name, np.nan) for name in names] for method, r2 in known.items()}
        return QTable({"label": names, **columns})

    def r2(self, method, label="teff"):
        """Coefficient of determination of one label."""
        table = self.label_figures([label])
        return float(table["r2"][table["method"] == method][0])


def known_names(labels):
    """Names of the labels that are known for two stars or more."""
    import numpy as np

    from specalign.data.columns import column_values, label_names

    return [name for name in label_names(labels) if np.isfinite(column_values(labels, name)[0]).sum() > 1]


def with_ratios(labels):
    """The labels with the usual [X/Fe], where the catalogue has [X/H] and [Fe/H] instead; others as they are."""
    from specalign.data.abundances import to_x_fe

    wanted = {name.removesuffix("_fe") + "_h": name for name in USUAL if name.endswith("_fe")}
    there = set() if labels is None else set(labels.colnames)
    wanted = [x_h for x_h, x_fe in wanted.items() if x_h in there and x_fe not in there]
    if not wanted or "fe_h" not in there:
        return labels
    ends = ("", "_err", "_corr")
    ratios = to_x_fe(labels[[name + end for name in ("fe_h", *wanted) for end in ends if name + end in there]])
    result = labels.copy()
    for name in ratios.colnames:
        if not name.startswith("fe_h"):
            result[name] = ratios[name]
    result.meta["masked"] = {**labels.meta.get("masked", {}), **ratios.meta["masked"]}
    return result


def retrieval_figures(queries, gallery, prepared_queries, prepared_gallery, ks=RANKS):
    """Figures of retrieval, both ways, with what they must beat, and why something is missing.

    Parameters
    ----------
    queries, gallery : `~specalign.EmbeddingTable`
    prepared_queries, prepared_gallery : `~specalign.PreparedSpectra`
        Their spectra.
    ks : tuple of int

    Returns
    -------
    figures : dict of str to dict
    left_out : dict of str to str
    """
    from specalign.analysis import baselines, metrics
    from specalign.exceptions import SpecalignError

    there, back = (f"{a.instrument[0]} to {b.instrument[0]}" for a, b in ((queries, gallery), (gallery, queries)))
    figures = {
        f"shared space, {there}": metrics.retrieval(queries, gallery, ks=ks),
        f"shared space, {back}": metrics.retrieval(gallery, queries, ks=ks),
    }
    left_out = {}
    try:
        raw = baselines.matched_flux_retrieval(prepared_queries, prepared_gallery, ks=ks)
        figures[f"raw flux, {there}"] = raw
    except SpecalignError as error:  # no wavelength in common: there is nothing to compare with, and that is a result
        left_out["the baseline of raw fluxes"] = str(error)
    return figures | {"chance": baselines.chance(queries, gallery, ks=ks)}, left_out


def transferred_labels(tables, prepared, labels, query, gallery, baseline=True):
    """Labels of the query instrument's test stars, by method; test stars are never learned from.

    Parameters
    ----------
    tables : dict of (part, instrument) to `~specalign.EmbeddingTable`
    prepared : dict of str to `~specalign.PreparedSpectra`
        All rows.
    labels : `~astropy.table.QTable`
    query, gallery : str
    baseline : bool
        Also train a network on raw fluxes, which takes longest.

    Returns
    -------
    predictions : dict of str to `~astropy.table.QTable`
    left_out : dict of str to str
    """
    import numpy as np

    from specalign.analysis import FluxLabelModel, LabelModel
    from specalign.exceptions import LabelError, MatchError

    test, train = tables["test", query], prepared[query]
    known = labels[~np.isin(np.asarray(labels["object_id"], dtype=str), test.object_id)]
    names = known_names(known)
    if not np.isin(test.object_id, np.asarray(labels["object_id"], dtype=str)).any():
        return {}, {"labels": "no test star is in the catalogue, so that nothing could be judged"}
    train = train[np.isin(train.spectrum_id, tables["train", query].spectrum_id)]
    flux = prepared[query][np.isin(prepared[query].spectrum_id, test.spectrum_id)]
    ways = {
        METHODS[0]: lambda: LabelModel("knn").fit(tables["train", gallery], known, names=names).predict(test),
        METHODS[1]: lambda: LabelModel("linear").fit(tables["train", query], known, names=names).predict(test),
        METHODS[2]: lambda: FluxLabelModel(seed=0).fit(train, known, names=names).predict(flux),
    }
    predictions, left_out = {}, {}
    for method, way in ways.items():
        if method == METHODS[2] and not baseline:
            left_out[f"labels by {method}"] = "not asked for"
            continue
        try:
            predictions[_method_name(method, gallery)] = way()
        except (LabelError, MatchError) as error:
            left_out[f"labels by {method}"] = str(error)
    return predictions, left_out


def _method_name(method, gallery):
    return f"zero-shot, from {gallery}" if method == METHODS[0] else method
