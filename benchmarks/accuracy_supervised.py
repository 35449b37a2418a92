"""The best supervised network on each instrument's own labelled spectra: what an embedding's labels are compared with.

Three networks learn from the same training stars, and for each label the one counts that is best on validation stars:
a comparison that is harder to win than one with a single network.
"""

import time

import numpy as np
from accuracy_pairs import GIVEN
from bench_four import NAMES
from bench_results import label_rows, plain

from specalign.alignment import LabelRegressor
from specalign.alignment.training.supervised import EPOCHS
from specalign.analysis.baselines import FluxLabelModel
from specalign.data.splits import StarSplit, split

SUPERVISED_ROWS = ("supervised", "supervised" + GIVEN)
NETWORKS = ("mlp", "starnet", "raw flux")
LONGEST = 900.0  # seconds that a network may take to train: the limit of a pair
SAMPLE = 256  # stars whose training time is multiplied


def supervised_row(survey, row):
    """Every network on every instrument."""
    return plain({survey.plugin(name): instrument_result(survey, name, row.endswith(GIVEN)) for name in NAMES})


def instrument_result(survey, name, given):
    """Networks of one instrument, and for each label the figures of the one that validation stars prefer."""
    seen, labels = survey.seen(name, given), survey.labels([name])
    networks, skipped = {}, {}
    parts = validation_split(seen.train.object_id, survey.seed)
    for kind in NETWORKS:
        expected = expected_seconds(kind, seen.train, labels, survey.seed)
        if expected > LONGEST:
            skipped[kind] = expected
        else:
            networks[kind] = network_result(kind, seen, labels, parts, survey.seed)
    return {"bound": seen.bound, "networks": networks, "skipped": skipped, "best": best_of(networks)}


def validation_split(object_id, seed):
    """One training star in ten decides when to stop and which network is best."""
    stars = np.unique(object_id)
    return StarSplit(stars, split(stars, validation=0.1, test=0, seed=seed, purpose="supervised"))


def expected_seconds(kind, train, labels, seed):
    """How long a StarNet will take, from an epoch over few stars; the others are always quick."""
    if kind != "starnet" or len(train) <= SAMPLE:
        return 0.0
    start = time.perf_counter()
    LabelRegressor(kind).fit(train[:SAMPLE], labels, split=None, max_epochs=1, seed=seed, progress=False)
    return (time.perf_counter() - start) * EPOCHS * len(train) / SAMPLE


def network_result(kind, seen, labels, parts, seed):
    """RMSE, bias and R2 of one network on validation and on test stars."""
    start = time.perf_counter()
    model = fitted(kind, seen.train, labels, parts, seed)
    seconds, names = time.perf_counter() - start, [name for name in labels.colnames if name != "object_id"]
    held = seen.train[parts.rows(seen.train.object_id, "validation")]
    figures = {
        key: label_rows(model.predict(rows), labels, names) for key, rows in (("validation", held), ("test", seen.test))
    }
    return {"fit_seconds": seconds} | figures


def fitted(kind, train, labels, parts, seed):
    """One network with its defaults; validation stars are not fitted to."""
    if kind == "raw flux":
        known = labels[np.isin(labels["object_id"], parts.object_id[parts.part == "train"])]
        return FluxLabelModel(seed=seed).fit(train, known)
    return LabelRegressor(kind).fit(train, labels, split=parts, seed=seed, progress=False)


def best_of(networks):
    """For each label, the test figures of the network with the smallest error on validation stars."""
    labels = next(iter(networks.values()))["validation"]
    chosen = {x: min(networks, key=lambda kind: networks[kind]["validation"][x]["rmse"]) for x in labels}
    return {x: networks[kind]["test"][x] | {"network": kind} for x, kind in chosen.items()}
