"""Real LAMOST spectra: labels learned from them alone, five-fold by star."""

import time

import numpy as np
from bench_results import plain
from bench_starnet import NAMES, read_lamost

from specalign.alignment import LabelRegressor
from specalign.analysis.baselines import FluxLabelModel
from specalign.data.columns import match_rows
from specalign.data.splits import StarSplit, hash_fraction, split

FOLDS = 5
HOTTEST = 7000.0  # K; errors of hotter stars are not quoted
NETWORKS = {
    "default": lambda: LabelRegressor(),
    "starnet": lambda: LabelRegressor("starnet"),
    "raw flux": None,
}


def real_stars(survey, longest=np.inf):
    """Prepared spectra and labels, or as many of them as the survey has stars; see `read_lamost`."""
    prepared, labels = read_lamost(survey.shared, longest)
    labels = labels[match_rows(prepared.object_id, labels["object_id"])]
    rows = np.random.default_rng(survey.seed).permutation(len(prepared))[: survey.n_stars]
    return prepared[np.sort(rows)], labels[np.sort(rows)]


def real_row(survey):
    """Mean absolute errors of every network against the labels of the LAMOST pipeline."""
    prepared, labels = real_stars(survey)
    fold = folds(prepared.object_id, survey.seed)
    result = {"n": len(prepared), "n_quoted": int(quoted(labels).sum()), "networks": {}}
    for kind in NETWORKS:
        start = time.perf_counter()
        predicted = np.full((len(prepared), len(NAMES)), np.nan)
        for number in range(FOLDS):
            known, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            model = fitted(kind, prepared[known], labels[known], survey.seed)
            predicted[test] = values_of(model.predict(prepared[test]))
        figures = absolute_errors(predicted, labels) | {"seconds": time.perf_counter() - start}
        figures["median"] = absolute_errors(predicted, labels, np.nanmedian)
        result["networks"][kind] = figures
    return plain(result)


def folds(object_id, seed):
    """The fold of each row, which follows from its star."""
    return (FOLDS * hash_fraction(object_id, seed, "fold")).astype(int)


def fitted(kind, prepared, labels, seed):
    """One network with its defaults; one star in ten decides when to stop."""
    if kind == "raw flux":
        return FluxLabelModel(seed=seed).fit(prepared, labels)
    stars = np.unique(prepared.object_id)
    parts = StarSplit(stars, split(stars, validation=0.1, test=0, seed=seed, purpose="validation"))
    return NETWORKS[kind]().fit(prepared, labels, split=parts, seed=seed, progress=False)


def values_of(table):
    """Labels (N, L) without units."""
    return np.stack([table[name].value for name in NAMES], axis=1)


def quoted(labels):
    """Stars whose errors are quoted."""
    return labels["teff"].value < HOTTEST


def absolute_errors(predicted, labels, average=np.nanmean):
    """Mean absolute error of each label over the stars that are quoted."""
    error = np.abs(predicted - values_of(labels))[quoted(labels)]
    return dict(zip(NAMES, average(error, axis=0).tolist(), strict=True))
