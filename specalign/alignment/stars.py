"""The stars of a training: joined over the instruments, split, and given what they are to be trained on."""

import logging

import numpy as np
import torch

from specalign.alignment.history import History
from specalign.alignment.targets import LabelScaler, label_values
from specalign.data.columns import column_values, difference_unit, match_rows
from specalign.data.loading import join_stars
from specalign.data.scheme import LabelScheme
from specalign.data.splits import StarSplit, split
from specalign.exceptions import LabelError, MatchError
from specalign.instruments.frames import VELOCITY, all_know_velocity, check_velocity_label, tell_mixed_frames

__all__ = ["LabelledStars", "join_prepared", "new_history", "scaled_targets", "split_stars", "star_labels"]

log = logging.getLogger(__name__)

NO_TEST = (9, 1, 0)


def join_prepared(prepared, names, pairs):
    """The index of the stars of several instruments' rows."""
    if mixed := tell_mixed_frames(prepared):
        log.warning("the frames of the spectra differ (%s): lines of one star are shifted against each other", mixed)
    ids = {name: prepared[name].object_id for name in names}
    return join_stars(ids, pairs, spectrum_id={name: prepared[name].spectrum_id for name in names})


def split_stars(index, validation, seed):
    """Training and validation stars; stars that one instrument alone saw are split, too."""
    part = split(index.star_id, validation=validation, test=0.0, seed=seed, purpose="fit")
    shared = index.shared()
    if (shared & (part == "train")).sum() < 2:
        examples = {name: list(map(str, index.star_id[np.unique(star)[:3]])) for name, star in index.star.items()}
        raise MatchError(
            f"expected at least 2 training stars that two instruments saw, got {(shared & (part == 'train')).sum()} "
            f"(of {shared.sum()} with the validation stars); the identifiers begin with {examples}. Use pairs= where "
            f"catalogues name stars differently"
        )
    return np.flatnonzero(part == "train"), np.flatnonzero(part == "validation")


def scaled_targets(labels, index, prepared, training):
    """Standardised labels (S, L) of all stars, scaled on the training stars."""
    if labels is None:
        return None, None
    columns, units, values = star_labels(labels, index, prepared)
    if not np.isfinite(values[training]).any():
        raise LabelError("labels: none is known for a training star")
    scaler = LabelScaler.fit(columns, units, values[training], labels.meta.get("label_system", ""))
    return torch.from_numpy(scaler.transform(values)), scaler


def star_labels(labels, index, prepared):
    """Names, units and values (S, L) of the labels of all stars, under whatever catalogue's name the table has them.

    Catalogues carry velocities beside labels: where spectra are at rest, they are left out if nobody named them.
    """
    if VELOCITY in labels.colnames and not all_know_velocity(prepared):
        check_velocity_label(prepared, labels.meta.get("named_labels", ()))
        log.info("%s is left out of the labels: the spectra are at rest, or hide it", VELOCITY)
        labels = labels[[name for name in labels.colnames if name != VELOCITY]]
    names = [_own_id(index, name, rows.object_id) for name, rows in prepared.items()]
    return label_values(labels, [index.star_id, *names])


def _own_id(index, name, object_id):
    """The identifier (S,) of each star in one instrument's catalogue, or an empty string."""
    ids = np.full(len(index), "", dtype=object)
    ids[index.star[name]] = object_id
    return ids.astype(str)


def new_history(index, training, held):
    """A history that knows how the rows were joined, and has no epoch yet."""
    counts = {
        "stars": len(index),
        "matched": int(index.shared().sum()),
        "training": len(training),
        "validation": len(held),
        "rows": {name: len(star) for name, star in index.star.items()},
    }
    unmatched = {name: {"count": len(ids), "first": list(map(str, ids[:5]))} for name, ids in index.unmatched().items()}
    return History(counts=counts, unmatched=unmatched)


class LabelledStars:
    """The labelled stars of some spectra, and what each of them is for."""

    def __init__(self, prepared, labels, names, system, split, seed):
        self.name = prepared.instrument.name
        check_velocity_label({self.name: prepared}, names or ())
        self.index = join_stars({self.name: prepared.object_id}, spectrum_id={self.name: prepared.spectrum_id})
        self.scheme, self.labelled, values = LabelScheme.from_table(labels, self.index.star_id, system, names)
        self.values = np.full((len(self.index), len(self.scheme.names)), np.nan)
        self.values[self.labelled] = values
        self.split = _drawn(split, self.index.star_id, seed)
        part = self.split.of(self.index.star_id[self.labelled])
        self.training, self.held = self.labelled[part == "train"], self.labelled[part == "validation"]
        self._check()

    def _check(self):
        for name, column in zip(self.scheme.names, self.values[self.training].T, strict=True):
            known = column[np.isfinite(column)]
            if len(known) < 2 or np.ptp(known) == 0:
                what = f"is known for {len(known)} training stars" if len(known) < 2 else "is the same for all of them"
                raise LabelError(
                    f"{name} {what}, expected at least two different values ({self.split}); drop it with names=[...]"
                )

    def rows(self, stars):
        """Rows of some stars, and the star of each."""
        return self.index.rows(self.name, stars)

    def counts(self):
        return self.split.counts | {"training": len(self.training), "validating": len(self.held)}

    def weights(self, labels):
        """Weights (S, L) float32 of each star's labels, with the mean 1 over known labels of training stars."""
        place = match_rows(self.index.star_id, labels["object_id"])
        columns = zip(self.scheme.names, self.scheme.units, self.values.T, strict=True)
        return torch.from_numpy(np.stack([self._column_weights(labels, place, *c) for c in columns], axis=1))

    def _column_weights(self, labels, place, name, unit, values):
        errors = column_values(labels, f"{name}_err", difference_unit(unit))[0][place]
        errors = np.where((place >= 0) & (errors > 0) & np.isfinite(values), errors, np.nan)
        known = self.training[np.isfinite(values[self.training])]
        if not np.isfinite(errors[known]).any():
            raise LabelError(f"{name}_err is known for no training star; fit with weighted=False, or give errors")
        typical = np.nanmedian(errors[known])
        weight = 1 / (1 + (np.where(np.isfinite(errors), errors, typical) / typical) ** 2)
        return (weight / weight[known].mean()).astype(np.float32)


def _drawn(split, stars, seed):
    if isinstance(split, StarSplit):
        return split
    return StarSplit.draw(stars, NO_TEST if split is None else split, seed)
