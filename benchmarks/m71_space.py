"""The shared space of the study of M71: trained on mock stars alone, then asked about real traces."""

import functools
import time
from dataclasses import dataclass

import numpy as np
from bench_labels import divided
from bench_results import label_rows
from m71_data import NAMES, SPREAD, drawn, giants

import specalign as sa
from specalign.analysis import ConformalLabels
from specalign.analysis.baselines import FluxLabelModel
from specalign.data.columns import match_rows
from specalign.prediction.domain import TrainingDomain

PAIR = ("nirspec", "apogee")
DOMAIN_ALARM = 0.02
LEVELS = (0.5, 0.8, 0.95)
MOST_MOCK = 400  # giants of which two noise draws, or their neighbours in labels, are compared


@dataclass
class Space:
    """A trained aligner, and the stars that it was trained on, those kept from it, and the test."""

    survey: object
    aligner: object
    train: dict
    kept: dict
    test: dict
    facts: dict
    short: dict

    @functools.cached_property
    def labels(self):
        """True labels of all mock stars."""
        return self.survey.labels(PAIR)

    @functools.cached_property
    def domain(self):
        """What mock NIRSpec spectra look like that the aligner was trained on."""
        train = self.train["nirspec"]
        vectors = self.aligner.embed(train).vectors
        return TrainingDomain.fit(train, vectors, false_alarm=DOMAIN_ALARM, seed=self.seed)

    @property
    def seed(self):
        """Of the survey and of every training."""
        return self.survey.seed

    def values(self, object_id):
        """True labels (N, 6) of mock stars by name."""
        return self.survey.mock.values[match_rows(np.asarray(object_id, str), self.survey.mock.object_id)]


def trained(survey, max_epochs=None):
    """The space of one survey by vectors alone, flux normalised anew, since real spectra have no true continuum."""
    seen, train, kept = divided(survey, PAIR)
    survey.forget()
    short, start = {"max_epochs": max_epochs} if max_epochs else {}, time.perf_counter()
    aligner = sa.Aligner(list(train), objective="clip")
    aligner.fit(train, labels=survey.labels(PAIR), seed=survey.seed, progress=False, **short)
    facts = {"fit_seconds": time.perf_counter() - start}
    facts |= {"n_train": len(train["nirspec"]), "n_kept": len(kept["nirspec"])}
    test = {key: one.test for key, one in seen.items()}
    return Space(survey, aligner, train, kept, test, facts, short)


def domain_reasons(space, traces):
    """Why each trace is outside of the domain of the mock training spectra; empty where it is inside."""
    figures = space.domain.figures(traces.prepared, space.aligner.embed(traces.prepared).vectors)
    return space.domain.reasons(figures, traces.prepared)


def label_models(space):
    """Fitted and calibrated models by name, each with a function that makes its input of prepared NIRSpec spectra."""
    embed = space.aligner.embed
    own, other = embed(space.train["nirspec"]), embed(space.train["apogee"])
    plans = {
        "flow": (sa.LabelModel("flow", **space.short), own, embed),
        "mlp": (sa.LabelModel("mlp", **space.short), own, embed),
        "zero-shot": (sa.LabelModel("knn"), other, embed),
        "raw flux": (FluxLabelModel(seed=space.seed, **space.short), space.train["nirspec"], lambda rows: rows),
    }
    found = {}
    for name, (model, base, prepare) in plans.items():
        conformal = ConformalLabels(model, LEVELS).fit_model(base, space.labels, names=NAMES)
        found[name] = conformal.calibrate(prepare(space.kept["nirspec"]), space.labels), prepare
    return found


def label_study(space, models, traces, known):
    """Labels of every trace by every model, and root mean square errors of mock test stars beside them."""
    test = space.test["nirspec"]
    similar = giants(space.values(test.object_id))
    found = {"n_test": len(test), "n_giants": int(similar.sum()), "traces": {}, "mock": {}}
    for name, (model, prepare) in models.items():
        found["traces"][name] = trace_labels(model.predict(prepare(traces.prepared)), traces, known)
        predicted = model.predict(prepare(test))
        found["mock"][name] = {
            "all": rmse(predicted, space.labels),
            "giants": rmse(predicted[similar], space.labels) if similar.any() else None,
        }
    return found


def rmse(predicted, labels):
    """Root mean square error a label."""
    return {name: row["rmse"] for name, row in label_rows(predicted, labels, NAMES).items()}


def trace_labels(predicted, traces, known):
    """A list over traces: value, error, ends of the intervals; difference from APOGEE, and the levels that hold it."""
    rows = []
    for i, title in enumerate(traces.title):
        one = {"trace": str(title), "labels": {}}
        for name in NAMES:
            one["labels"][name] = label_entry(predicted, i, name, known.get(str(traces.source[i])))
        rows.append(one)
    return rows


def label_entry(predicted, i, name, truth):
    """One label of one trace."""
    keys = {key: f"{name}{key}" for key in ("", "_err")}
    keys |= {f"{end}_{100 * level:g}": f"{name}_{end}_{100 * level:g}" for end in ("lo", "hi") for level in LEVELS}
    entry = {key.strip("_") or "value": float(predicted[column][i].value) for key, column in keys.items()}
    if truth is not None:
        entry["apogee"], entry["difference"] = truth[name], entry["value"] - truth[name]
        levels = [f"{100 * level:g}" for level in LEVELS]
        entry["held by"] = [key for key in levels if entry[f"lo_{key}"] <= truth[name] <= entry[f"hi_{key}"]]
    return entry


def pulls(first, second):
    """Difference of two predictions of a label over the error of the difference, a label each."""
    out = {}
    for name in first["labels"]:
        a, b = (one["labels"][name] for one in (first, second))
        difference = a["value"] - b["value"]
        out[name] = {"difference": difference, "pull": difference / float(np.hypot(a["err"], b["err"]))}
    return out


def repeatability(space, models, traces, labels):
    """The two exposures of each source, by their best traces, beside mock stars that were drawn twice."""
    vectors, sources = space.aligner.embed(traces.prepared).vectors.astype(float), {}
    for source in np.unique(traces.source).tolist():
        first, second = traces.best(source)
        rows = {name: pulls(of[first], of[second]) for name, of in labels["traces"].items()}
        sources[source] = {"cosine": float(vectors[first] @ vectors[second]), "labels": rows}
        sources[source]["snr"] = traces.prepared.snr[[first, second]].tolist()
    return {"sources": sources, "mock": mock_repeats(space, models)}


def mock_giants(space):
    """Names and labels of mock test stars that are like M71's giants."""
    names = space.test["nirspec"].object_id
    values = space.values(names)
    rows = np.flatnonzero(giants(values))[:MOST_MOCK]
    return names[rows], values[rows]


def mock_repeats(space, models, snr=(150.0, 290.0)):
    """Two noise draws of mock giants at the clean traces' S/N, and their nearest other giants in labels."""
    names, values = mock_giants(space)
    if len(names) < 2:
        return None
    level = np.random.default_rng([space.seed, 72]).uniform(*snr, len(names))
    draws = [drawn(space.survey, "nirspec", values, names, stream, level) for stream in (2, 3)]
    first, second = (space.aligner.embed(one).vectors.astype(float) for one in draws)
    near = nearest(values)
    same, other = np.sum(first * second, axis=1), np.sum(first * second[near], axis=1)
    spread = {name: mock_pulls(model, prepare, draws) for name, (model, prepare) in models.items()}
    pair = {"same star": quantiles(same), "alike in labels": quantiles(other)}
    return {"n": len(names), "cosine": pair, "pull_68": spread}


def nearest(values):
    """Row (N,) of the nearest other star in labels."""
    scaled = values[:, :4] / SPREAD
    distance = ((scaled[:, None] - scaled[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return distance.argmin(axis=1)


def mock_pulls(model, prepare, draws):
    """68th percentile of the absolute pull between two draws, a label each."""
    first, second = (model.predict(prepare(one)) for one in draws)
    out = {}
    for name in NAMES:
        error = np.hypot(first[f"{name}_err"].value, second[f"{name}_err"].value)
        out[name] = float(np.percentile(np.abs(first[name].value - second[name].value) / error, 68))
    return out


def quantiles(values):
    """5th, 50th and 95th percentile."""
    return np.percentile(values, (5, 50, 95)).tolist()
