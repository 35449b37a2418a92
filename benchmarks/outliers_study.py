"""One survey with planted outliers: how well each score finds each kind, beside an isolation forest."""

import functools
import time

import numpy as np
from accuracy_survey import test_size
from planted_outliers import KINDS, NORMAL, SHARE, PlantedSurvey
from survey_data import SETTINGS

import specalign as sa
from specalign.analysis.scores import rows_of

MODELS = {
    "neighbours": ("neighbours",),
    "residual": ("residual",),
    "disagreement": ("disagreement",),
    "all, minimum": ("neighbours", "residual", "disagreement"),
    "all, fisher": ("neighbours", "residual", "disagreement"),
}
FALSE_ALARM = 0.01


@functools.lru_cache(maxsize=1)
def study(shared, n_stars, seed, instruments):
    """Scores of the test stars by every method: dict with kind (N,), scores of stars, and alarms of spectra."""
    n_test = test_size(n_stars)
    survey = PlantedSurvey(shared, n_stars, seed, 2 * n_test, n_test, instruments)
    prepared = {}
    for name in instruments:
        train, test = survey.prepare(name)
        n_train = n_stars - 3 * n_test
        in_training = np.isin(train.object_id, survey.object_id[:n_train])
        prepared[SETTINGS[name][0]] = {"train": train[in_training], "held": train[~in_training], "test": test}
        survey.forget()
    return scored(prepared, seed) | {"kind": survey.kinds[-n_test:], "star": survey.object_id[-n_test:]}


def scored(prepared, seed):
    """What every method says of the test spectra; embeddings and encoders know the training stars alone."""
    start = time.perf_counter()
    aligner = sa.Aligner(list(prepared), objective="clip")
    aligner.fit({name: parts["train"] for name, parts in prepared.items()}, seed=seed, progress=False)
    tables = {
        part: sa.EmbeddingTable.concatenate([aligner.embed(parts[part]) for parts in prepared.values()])
        for part in ("held", "test")
    }
    encoders = {
        name: sa.pretrain("autoencoder", parts["train"], seed=seed, progress=False) for name, parts in prepared.items()
    }
    given = {part: spectra_and_reconstructions(prepared, encoders, part) for part in ("held", "test")}
    facts = {"train_seconds": time.perf_counter() - start, "n_held": len(np.unique(tables["held"].object_id))}
    found = {}
    for title, scores in MODELS.items():
        model = sa.OutlierModel(scores, combine="fisher" if "fisher" in title else "minimum", seed=seed)
        model.fit(tables["held"], *given["held"])
        found[title] = model.predict(tables["test"], *given["test"], false_alarm=FALSE_ALARM)
    return {"facts": facts, "found": found, "forests": forests(prepared, tables, seed)}


def spectra_and_reconstructions(prepared, encoders, part):
    """Two dicts by instrument: spectra, and what the encoders make of them, with errors from those held out."""
    spectra = {name: parts[part] for name, parts in prepared.items()}
    made = {name: sa.reconstruct(encoders[name], spectra[name], reference=prepared[name]["held"]) for name in prepared}
    return spectra, made


def forests(prepared, tables, seed):
    """Scores of stars by isolation forests on what all instruments saw of them: raw flux, and embeddings."""
    inputs = {
        "isolation forest, raw flux": {
            part: beside({name: raw_flux(parts, part) for name, parts in prepared.items()}) for part in tables
        },
        "isolation forest, embeddings": {part: beside(vectors(table)) for part, table in tables.items()},
    }
    return {title: forest(*rows.values(), seed) for title, rows in inputs.items()}


def forest(held, test, seed):
    """Scores (N,) by stars, and its names."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=300, random_state=seed).fit(held[1])
    return dict(zip(test[0].tolist(), -model.score_samples(test[1]), strict=True))


def raw_flux(parts, part):
    """Names and prepared flux, the mean star's under the mask."""
    mean = np.ma.array(parts["held"].flux, mask=parts["held"].mask).mean(axis=0).filled(0)
    return parts[part].object_id, np.where(parts[part].mask, mean, parts[part].flux)


def vectors(table):
    """Names and vectors by instrument."""
    names = np.unique(table.instrument).tolist()
    return {
        name: (table.object_id[table.instrument == name], table.vectors[table.instrument == name]) for name in names
    }


def beside(inputs):
    """The stars that all instruments saw, and their inputs side by side."""
    stars = sorted(set.intersection(*(set(names.tolist()) for names, _ in inputs.values())))
    rows = [values[rows_of(stars, names)] for names, values in inputs.values()]
    return np.array(stars), np.concatenate(rows, axis=1)


def kind_row(shared, n_stars, seed, instruments, kind):
    """Average precision at a share of 1 %, alarms at 1 %, for every method."""
    result = study(shared, n_stars, seed, instruments)
    kinds = dict(zip(result["star"].tolist(), result["kind"].tolist(), strict=True))
    row = {"instruments": list(instruments), **result["facts"], "methods": {}}
    for title, found in result["found"].items():
        scores, alarms = by_star(found), by_star(found, "outlier")
        row["methods"][title] = precision(scores, kinds, kind) | {
            "found_at_1_percent": share(alarms, kinds, kind),
            "false_alarms_spectra": false_alarms(found, kinds),
        }
    for title, scores in result["forests"].items():
        row["methods"][title] = precision(scores, kinds, kind)
    counts = {name: sum(one == name for one in kinds.values()) for name in (NORMAL, kind)}
    return row | {"n_normal": counts[NORMAL], "n_planted": counts[kind]}


def by_star(found, column="score"):
    """The highest value of each star's spectra."""
    known = found[~np.ma.getmaskarray(np.ma.asarray(found[column]))]
    values = {}
    for name, value in zip(known["object_id"].tolist(), np.asarray(known[column], float).tolist(), strict=True):
        values[name] = max(value, values.get(name, -np.inf))
    return values


def precision(scores, kinds, kind):
    """Average precision of one kind among normal stars, weighted so that its share is 1 %."""
    from sklearn.metrics import average_precision_score

    stars = [name for name in scores if kinds[name] in (kind, NORMAL)]
    planted = np.array([kinds[name] == kind for name in stars])
    weight = np.where(planted, SHARE / (1 - SHARE) * (~planted).sum() / max(planted.sum(), 1), 1)
    values = [scores[name] for name in stars]
    return {"average_precision": float(average_precision_score(planted, values, sample_weight=weight))}


def share(alarms, kinds, kind):
    """Share of the stars of a kind that raise an alarm."""
    return float(np.mean([value for name, value in alarms.items() if kinds[name] == kind]))


def false_alarms(found, kinds):
    """Share of the normal stars' spectra that raise an alarm."""
    normal = np.array([kinds[name] == NORMAL for name in found["object_id"].tolist()])
    return float(np.ma.asarray(found["outlier"])[normal].mean())


KIND_ROWS = {kind: functools.partial(kind_row, kind=kind) for kind in KINDS}
