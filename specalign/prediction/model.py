"""All that it takes to label new spectra: an aligner, labelled embeddings, and what the training spectra look like."""

import numpy as np
from astropy.table import QTable, vstack

from specalign import __version__
from specalign.analysis import metrics
from specalign.analysis.labels import LabelModel
from specalign.data.columns import NOT_LABELS, column_values, difference_unit, known_values, label_names
from specalign.data.splits import hash_fraction
from specalign.display import Displayed, brief
from specalign.exceptions import GridMismatchError, LabelError, MatchError
from specalign.prediction.domain import TrainingDomain

__all__ = ["LabelTransfer"]

LEAST_FACTOR = 2 / 3
FOLDS = 4
FEWEST_STARS = 20
ONE_SIGMA = 0.6827
#: What a label table says of itself that goes with every prediction.
STATED = ("calibrated", "solar_scale", "data_model", "error_correlation", "source")


class LabelTransfer(Displayed):
    """A model that labels new spectra; see `build`, `save`, `load` and `specalign.predict`.

    Attributes
    ----------
    aligner : `~specalign.Aligner`
    reference : `~specalign.EmbeddingTable`
        Labelled embeddings that labels are learned from.
    labels : `~astropy.table.QTable`
        Labels of the stars of ``reference``.
    domains : dict of str to `~specalign.prediction.TrainingDomain`
        What the training spectra look like, by instrument.
    records : dict of str to `~specalign.instruments.prepared.InstrumentRecord`
        How the spectra of each instrument are prepared.
    facts : dict
        JSON-like: method, options, science, note, errors, label_quality, seed, specalign (the version that built it).

    Examples
    --------
    Two instruments that see the same stars, of which one has labels:

    >>> import astropy.units as u
    >>> import numpy as np
    >>> import specalign as sa
    >>> from astropy.table import QTable
    >>> from specalign.prediction import LabelTransfer
    >>> rng, names = np.random.default_rng(1), [f"star-{i}" for i in range(60)]
    >>> teff, prepared = rng.uniform(4000, 7000, 60), {}
    >>> prism = sa.get_instrument("nirspec", disperser="prism", filter="clear")
    >>> for instrument in (prism, sa.get_instrument("gaia_xp")):
    ...     axis = instrument.spectral_axis
    ...     flux = 1 + np.outer(teff / 5500 - 1, np.cos(np.linspace(0, 9, len(axis))))
    ...     flux += 0.02 * rng.normal(size=flux.shape)
    ...     prepared[instrument.name] = instrument.prepare_arrays(
    ...         flux, np.full(flux.shape, 2500.0), spectral_axis=axis, object_id=names
    ...     )
    >>> aligner = sa.Aligner(["nirspec", "gaia_xp"], embed_dim=8)
    >>> _ = aligner.fit(prepared, max_epochs=2, progress=False)
    >>> labels = QTable({"object_id": names, "teff": teff * u.K}, meta={"label_system": "mine"})
    >>> model = LabelTransfer.build(
    ...     aligner, aligner.embed(prepared["nirspec"]), labels, [prepared["gaia_xp"]], science=False, note="an example"
    ... )
    >>> isinstance(model, LabelTransfer), sorted(model.domains), model.science
    (True, ['gaia_xp'], False)
    """

    def __init__(self, aligner, reference, labels, domains, records, facts):
        self.aligner, self.reference, self.labels, self.domains = aligner, reference, labels, domains
        self.records, self.facts = records, facts
        if reference.space != aligner.space:
            raise GridMismatchError(
                f"the labelled embeddings are of the space {reference.space[:12]!r}, the aligner's is "
                f"{aligner.space[:12]!r}; embed with this aligner"
            )
        self._model = LabelModel(facts["method"], **facts["options"]).fit(reference, labels)
        self._ranges = {name: _range(labels, name) for name in label_names(labels)}

    def __repr__(self):
        note = "" if self.science else ", NOT FOR SCIENCE"
        return (
            f"<LabelTransfer to {', '.join(self.domains)}: {self.facts['method']} of {', '.join(self._ranges)} from "
            f"{len(self.reference)} spectra, space {self.aligner.space[:12]}{note}>"
        )

    def _facts(self):
        labels = [f"{name} [{self.labels[name].unit or 'dimensionless'}]" for name in self._ranges]
        return {
            "for science": "yes" if self.science else f"NO: {self.facts['note'] or 'made to try the software'}",
            "instruments": ", ".join(f"{n}: {brief(record.options)}" for n, record in self.records.items()),
            "method": f"{self.facts['method']} {brief(self.facts['options'])}",
            "labels": ", ".join(labels),
            "label system": str(self.labels.meta.get("label_system")),
            "reference": repr(self.reference)[1:-1],
            "errors": brief(self.facts.get("errors")),
            "space": self.aligner.space[:12],
            "built with": f"specalign {self.facts.get('specalign')}",
        }

    @property
    def science(self):
        """Whether the model was made for science, and not to try the software."""
        return self.facts["science"]

    @classmethod
    def build(
        cls, aligner, reference, labels, training, *, method="knn", options=None, names=None, false_alarm=0.02, seed=0,
        note="", science=True,
    ):  # fmt: skip
        """Make a model of a trained aligner.

        Give stars that the aligner was trained on; those that you keep for a test must be in neither ``reference`` nor
        ``training``.

        Parameters
        ----------
        aligner : `~specalign.Aligner`
        reference : `~specalign.EmbeddingTable`
            Embeddings to learn labels from, of any instruments of the aligner; rows without a label are left out.
        labels : `~astropy.table.QTable`
            object_id and labels with units, as `specalign.read_labels` gives them.
        training : sequence of `~specalign.PreparedSpectra`
            The spectra that the aligner was trained on, of each instrument that the model is to label: new spectra are
            compared with them, and the errors are checked on those that have labels.
        method : {"knn", "linear", "mlp", "flow"}
            See `~specalign.LabelModel`.
        options : dict, optional
            Of the method; JSON-like.
        names : sequence of str, optional
            Which labels; by default all.
        false_alarm : float
            See `TrainingDomain.fit`.
        seed : int
        note : str
            What the model is; printed with every prediction.
        science : bool
            False: the model was made to try the software, and says so with every prediction.

        Returns
        -------
        LabelTransfer

        Raises
        ------
        LabelError, MatchError
            There is no label, no star has one, or an instrument has fewer than 20 stars.
        GridMismatchError
            Embeddings or spectra are not of this aligner.
        """
        labels = _plain_labels(labels, reference, names)
        reference = reference[np.isin(reference.object_id, labels["object_id"])]
        tables = _by_instrument(aligner, training)
        domains = {
            name: TrainingDomain.fit(rows, table.vectors, false_alarm=false_alarm, seed=seed)
            for name, (rows, table) in tables.items()
        }
        facts = {
            "method": method, "options": dict(options or {}), "science": bool(science), "note": str(note),
            "seed": int(seed), "specalign": __version__,
        }  # fmt: skip
        held_out = {n: _held_out(reference, labels, table, facts) for n, (_, table) in tables.items()}
        facts["errors"] = {name: _check_errors(predicted, labels) for name, predicted in held_out.items()}
        facts["label_quality"] = [row for n, one in held_out.items() for row in _quality(n, one, labels)]
        records = {name: rows.instrument for name, (rows, _) in tables.items()}
        return cls(aligner, reference, labels, domains, records, facts)

    def predict(self, prepared):
        """Labels of prepared spectra, in the order of the rows; see `specalign.predict` for the columns.

        Parameters
        ----------
        prepared : `~specalign.PreparedSpectra`

        Returns
        -------
        `~astropy.table.QTable`

        Raises
        ------
        GridMismatchError
            The spectra were not prepared like those of the training, or the model does not know their instrument.
        """
        table = self.aligner.embed(prepared)
        name = self._instrument(prepared, table)
        predicted = self._model.predict(table)
        for label, factor in self.facts["errors"][name]["factors"].items():
            predicted[f"{label}_err"] *= factor
        predicted.add_column(table.instrument, index=2, name="instrument")
        self._add_domain(predicted, prepared, table.vectors, self.domains[name])
        predicted["snr"], predicted["good_fraction"] = table.snr, table.good_fraction
        self._add_nearest(predicted, table)
        known = "path" in prepared.catalog.colnames
        predicted["path"] = np.asarray(prepared.catalog["path"], str) if known else np.full(len(prepared), "")
        predicted.meta = self._meta(predicted.meta)
        return predicted

    def _instrument(self, prepared, table):
        names = set(table.instrument.tolist()) or {n for n, r in self.records.items() if r == prepared.instrument}
        if not names <= set(self.domains) or not names:
            raise GridMismatchError(
                f"this model labels {', '.join(self.domains)}; it was built without training spectra of "
                f"{', '.join(sorted(names)) or prepared.instrument.name}, so nobody knows what those look like"
            )
        return names.pop()

    def _add_domain(self, predicted, prepared, vectors, domain):
        figures = domain.figures(prepared, vectors)
        reasons = [[text] if text else [] for text in domain.reasons(figures, prepared).tolist()]
        for label, (low, high, unit) in self._ranges.items():
            value, error = predicted[label].value, predicted[f"{label}_err"].value
            for i in np.flatnonzero(~((value + error >= low) & (value - error <= high))):
                reasons[i].append(f"{label} {value[i]:.4g} outside {low:.4g} to {high:.4g} {unit}")
        predicted["in_domain"] = np.array([not one for one in reasons], dtype=bool)
        predicted["domain_reasons"] = np.array(["; ".join(one) for one in reasons], dtype=str)
        for figure, values in figures.items():
            predicted[f"domain_{figure}"] = values.astype(np.float32)

    def _add_nearest(self, predicted, table):
        nearest = self.reference.search(table, k=1)
        predicted["nearest_object_id"] = np.asarray(nearest["neighbour_object_id"], dtype=str)
        predicted["nearest_similarity"] = nearest["similarity"]
        predicted["in_reference"] = np.isin(table.object_id, self.reference.object_id)

    def _meta(self, meta):
        stated = {name: self.labels.meta[name] for name in STATED if name in self.labels.meta}
        own = {
            "note": self.facts["note"],
            "not_for_science": not self.science,
            "errors": self.facts["errors"],
            "label_quality": self.facts.get("label_quality", []),
            "domain": {name: domain.facts for name, domain in self.domains.items()},
            "specalign": __version__,
            "model_built_with": self.facts["specalign"],
        }
        return {**meta, **stated, **own}

    def save(self, folder):
        """Write the model into a folder, replaced as a whole: an older one stays whole until the new one is.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
        """
        from specalign.prediction.storage import save

        save(self, folder)

    @classmethod
    def load(cls, folder):
        """Read a model that `save` wrote.  Nothing in the files is executed; the label model is fitted anew.

        Parameters
        ----------
        folder : str or `~pathlib.Path`

        Raises
        ------
        CheckpointError
            A file is missing, was changed, or does not fit the others.
        """
        from specalign.prediction.storage import load

        return cls(*load(folder))


def _plain_labels(labels, reference, names):
    """Label columns and their errors of the stars of the reference."""
    names = list(names or label_names(labels))
    rows = labels[np.isin(np.asarray(labels["object_id"], dtype=str), reference.object_id)]
    if not names or not len(rows):
        raise LabelError(
            f"expected labels of the stars of the reference, got {len(rows)} rows with "
            f"{', '.join(names) or 'no label'}; the table has {len(labels)} stars ({labels['object_id'][:3].tolist()} "
            f"...), the reference {len(reference)} spectra ({reference.object_id[:3].tolist()} ...)"
        )
    for name in names:
        column_values(rows, name)  # raises where it is not there, or has no unit
    table = QTable({"object_id": np.asarray(rows["object_id"], dtype=str), **{name: rows[name] for name in names}})
    table.meta = {name: rows.meta[name] for name in ("label_system", *STATED) if name in rows.meta}
    if beside := [name for name in names if name in NOT_LABELS]:
        table.meta["named_labels"] = beside
    return table


def _range(labels, name):
    values, unit, _ = known_values(labels, name)
    return float(np.nanmin(values)), float(np.nanmax(values)), difference_unit(unit)


def _by_instrument(aligner, training):
    """Prepared spectra and their embeddings by the aligner's name of the instrument."""
    found = {}
    for prepared in training.values() if isinstance(training, dict) else training:
        table = aligner.embed(prepared)
        names = np.unique(table.instrument)
        if len(names) != 1 or names[0] in found:
            raise MatchError(
                f"training: expected spectra of each instrument once, got {len(table)} of {prepared.instrument.name} "
                f"{'again' if len(names) else ''}"
            )
        found[str(names[0])] = (prepared, table)
    if not found:
        raise MatchError("training: expected the training spectra of one instrument or more, got none")
    return found


def _held_out(reference, labels, table, facts):
    """Labels of training stars, each learned from other stars; None where there are too few."""
    table = table[np.isin(table.object_id, labels["object_id"])]
    if len(np.unique(table.object_id)) < FEWEST_STARS:
        return None
    inside, outside = (_fold(one.object_id, facts["seed"]) for one in (table, reference))
    fit = LabelModel(facts["method"], **facts["options"]).fit
    folds = np.unique(inside)
    return vstack(
        [fit(reference[outside != k], labels).predict(table[inside == k]) for k in folds], metadata_conflicts="silent"
    )


def _check_errors(predicted, labels):
    """Factors that make the errors of held-out training stars as large as their residuals.

    The encoder has seen these stars, which makes their residuals small: errors shrink by no more than a third.
    """
    if predicted is None:
        return {"n_stars": 0, "factors": {}}
    factors = {name: _factor(found) for name, found in _pulls(predicted, labels).items()}
    return {"n_stars": len(np.unique(predicted["object_id"])), "factors": factors}


def _quality(instrument, predicted, labels):
    """What each label of held-out training stars is worth, as dicts."""
    if predicted is None:
        return []
    return [
        {
            "instrument": instrument, "label": str(row["label"]), "unit": str(row["unit"]), "n": int(row["n"]),
            "rmse": float(row["rmse"]), "r2": float(row["r2"]),
        }
        for row in metrics.labels(predicted, labels)
        if np.isfinite(row["r2"])
    ]  # fmt: skip


def _fold(object_id, seed):
    return (hash_fraction(object_id, seed, "label errors") * FOLDS).astype(int)


def _pulls(predicted, labels):
    """Residuals over errors of each label, where both are known."""
    order = np.argsort(labels["object_id"])
    place = order[np.searchsorted(labels["object_id"][order], predicted["object_id"])]
    pulls = {}
    for name in label_names(labels):
        true, value = known_values(labels, name)[0][place], column_values(predicted, name)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = np.abs(value - true) / predicted[f"{name}_err"].value
        pulls[name] = pull[np.isfinite(pull)]
    return pulls


def _factor(pulls):
    return max(LEAST_FACTOR, float(np.quantile(pulls, ONE_SIGMA))) if len(pulls) else 1.0
