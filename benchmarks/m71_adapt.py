"""Adaptation to real traces of M71, one labelled source left out: what it does to that source and to mock stars."""

import numpy as np
from astropy.table import QTable
from m71_data import NAMES
from m71_space import rmse
from m71_study import renamed_space, source_of, trace_positions
from survey_data import UNITS

import specalign as sa

#: What is learned from, and what is asked.
PLANS = {"7, 12": ("7", "12"), "19": ("19",)}
WAYS = ("labels", "labels and partners")
KINDS = ("knn", "mlp")
STRANGERS = 500  # mock APOGEE spectra that a trace must not be near to


def adapt_study(space, traces, known, twins, plane):
    """Before and after each adaptation: labels of every trace, cosines, places, and errors of mock test stars."""
    base = space.aligner.embed(space.train["apogee"])
    options = {"mlp": space.short}
    models = {kind: sa.LabelModel(kind, **options.get(kind, {})).fit(base, space.labels, names=NAMES) for kind in KINDS}
    judge = Judge(space, traces, known, twins, plane, base, models)
    found = {"before": judge(space.aligner), "after": {}}
    for plan, sources in PLANS.items():
        found["after"][plan] = {way: judge(adapted(space, traces, known, twins, sources, way)) for way in WAYS}
    return found


def adapted(space, traces, known, twins, sources, way):
    """An aligner that learned from all traces of some sources."""
    rows = traces.prepared[np.isin(traces.source, sources)]
    partners = None
    if way != WAYS[0]:  # the left-out star's own partner must not be among them
        mine = twins[np.isin(twins.object_id, rows.object_id)]
        partners = {"apogee": sa.PreparedSpectra.concatenate([mine, space.train["apogee"][:STRANGERS]])}
    options = {"partners": partners, "seed": space.seed, "progress": False} | space.short
    return space.aligner.adapt(rows, label_table(known, rows.object_id), **options)


def label_table(known, object_id):
    """APOGEE's labels of some stars with units."""
    names = np.unique(object_id).tolist()
    table = QTable({"object_id": names})
    for label in NAMES:
        table[label] = [known[source_of(name)][label] for name in names] * UNITS[label]
    table.meta["label_system"] = "mock-survey"  # as if it were: no offset between the systems is known
    return table


class Judge:
    """What an aligner makes of real traces and of mock test stars; labels come from APOGEE's mock embeddings alone."""

    def __init__(self, space, traces, known, twins, plane, base, models):
        self.space, self.traces, self.known, self.twins = space, traces, known, twins
        self.plane, self.base, self.models = plane, base, models

    def __call__(self, aligner):
        """Labels and their differences from APOGEE, cosines to the emulated partners, places, errors of mock stars."""
        table = renamed_space(aligner.embed(self.traces.prepared), self.base)
        test = renamed_space(aligner.embed(self.space.test["nirspec"]), self.base)
        partners = aligner.embed(self.twins)
        rows = trace_positions(self.traces, table.vectors, partners, self.plane)
        for kind, model in self.models.items():
            predicted = model.predict(table)
            for i, row in enumerate(rows):
                row[kind] = differences(predicted, i, self.known.get(str(self.traces.source[i])))
        mock = {kind: rmse(model.predict(test), self.space.labels) for kind, model in self.models.items()}
        return {"traces": rows, "mock": mock, "points": self.plane.points(table.vectors)}


def differences(predicted, i, truth):
    """Value and error of each label, and the difference from APOGEE's where there is one."""
    out = {}
    for name in NAMES:
        value, error = (float(predicted[column][i].value) for column in (name, f"{name}_err"))
        out[name] = {"value": value, "err": error}
        if truth is not None:
            out[name]["difference"] = value - truth[name]
    return out
