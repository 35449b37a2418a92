"""One shared space, trained with the defaults: what it finds again, and the labels that its embeddings give."""

import itertools
import time

import torch
from bench_results import label_rows

import specalign as sa

PROBES = ("mlp", "linear", "knn")


def train_space(train, labels, seed, encoders=None, **options):
    """An `~specalign.Aligner` with options, trained without any, and what the training took."""
    start = time.perf_counter()
    aligner = sa.Aligner(encoders or list(train), **options)
    history = aligner.fit(train, labels=labels, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    return aligner, {"fit_seconds": seconds, "epochs": len(history.epochs), "threads": torch.get_num_threads()}


def study_space(train, test, labels, known, seed, use_labels=True, encoders=None, **options):
    """Everything that is quoted of one space.

    Parameters
    ----------
    train, test : dict of str to PreparedSpectra
    labels : `~astropy.table.QTable`
        True labels of training and of test stars; only rows of training stars are ever fitted to.
    known : dict of str to sequence of str
        Labels that each instrument can know.
    use_labels : bool
        Give the training stars' labels to the training.
    encoders : dict of str to Encoder or str, optional
        By default those of an aligner.
    **options
        Of an aligner; none for the defaults.
    """
    aligner, facts = train_space(train, labels if use_labels else None, seed, encoders, **options)
    return facts | figures_of(aligner, train, test, labels, known)


def figures_of(aligner, train, test, labels, known):
    """Retrieval and labels in a space that is trained; the arguments are those of `study_space`."""
    base = {name: aligner.embed(rows) for name, rows in train.items()}
    asked = {name: aligner.embed(rows) for name, rows in test.items()}
    ways = list(itertools.permutations(train, 2))
    return {
        "retrieval": {f"{a} -> {b}": sa.metrics.retrieval(asked[a], asked[b]) for a, b in ways},
        "labels": {name: probe_rows(base[name], asked[name], labels, known[name]) for name in train},
        "zero-shot": {f"{a} -> {b}": zero_shot_rows(base[a], asked[b], labels, known, a, b) for a, b in ways},
    }


def probe_rows(base, asked, labels, names):
    """Labels of test stars by probes on the training stars' embeddings of the same instrument."""
    return {kind: probed(kind, base, asked, labels, names) for kind in PROBES}


def zero_shot_rows(base, asked, labels, known, source, target):
    """Labels of one instrument's test stars from the nearest labelled training stars of another."""
    names = [name for name in known[target] if name in known[source]]
    return probed("knn", base, asked, labels, names)


def probed(kind, base, asked, labels, names):
    """RMSE, bias and R2 of one probe, a label each; test stars are not among the probe's."""
    predicted = sa.LabelModel(kind).fit(base, labels, names=names).predict(asked)
    return label_rows(predicted, labels, names)
