"""What differs between real and mock spectra of M71's giants: as outliers, and as positions in the shared space."""

import dataclasses

import numpy as np
from m71_data import HIGHEST_SNR, drawn, outside_emulators, survey_values
from m71_space import domain_reasons, mock_giants, quantiles
from m71_spectra import packed

import specalign as sa

FALSE_ALARM = 0.01  # where there are stars enough for it
SHOWN = 300  # mock stars of each instrument in the figure


def outlier_study(space, traces, twins):
    """P-values of every trace by each score, with the emulated APOGEE spectrum as the partner where there is one."""
    encoder = pretrained(space)
    kept = space.kept["nirspec"]
    normal = sa.EmbeddingTable.concatenate([space.aligner.embed(rows) for rows in space.kept.values()])
    asked = sa.EmbeddingTable.concatenate([space.aligner.embed(rows) for rows in (traces.prepared, twins)])
    made = sa.reconstruct(encoder, traces.prepared, reference=kept)
    rate = max(FALSE_ALARM, 3 / len(kept))
    model = sa.OutlierModel(("neighbours", "residual", "disagreement"), seed=space.seed)
    model.fit(normal, {"nirspec": kept}, {"nirspec": sa.reconstruct(encoder, kept)})
    found = model.predict(asked, {"nirspec": traces.prepared}, {"nirspec": made}, false_alarm=rate)
    rows, reasons = found[: len(traces.prepared)], domain_reasons(space, traces)
    entries = [
        outlier_entry(row, why) | {"trace": str(t)} for row, why, t in zip(rows, reasons, traces.title, strict=True)
    ]
    return {"false_alarm": rate, "n_normal": found.meta["n_normal"], "traces": entries}, made, encoder


def pretrained(space):
    """An autoencoder of mock NIRSpec spectra."""
    return sa.pretrain("autoencoder", space.train["nirspec"], seed=space.seed, progress=False, **space.short)


def outlier_entry(row, reasons):
    """One row of the table of outliers; None where a score is not known."""
    entry = {"p": float(row["p_value"]), "outlier": bool(row["outlier"]), "domain": str(reasons)}
    for name in ("neighbours", "residual", "disagreement"):
        value, p = row[name], row[f"{name}_p"]
        entry[name] = None if np.ma.is_masked(p) else {"value": float(value), "p": float(p)}
    return entry


class Plane:
    """Two principal components of the mock test stars of both instruments, into which real traces are put."""

    def __init__(self, space):
        from sklearn.decomposition import PCA

        self.tables = {name: space.aligner.embed(rows) for name, rows in space.test.items()}
        self.model = PCA(2, random_state=0).fit(np.concatenate([t.vectors for t in self.tables.values()]))
        self.share = self.model.explained_variance_ratio_.tolist()
        n = len(self.tables["nirspec"])
        self.shown = np.linspace(0, n - 1, min(n, SHOWN)).astype(int)

    def points(self, vectors):
        """Places (N, 2) as a string."""
        return packed(self.model.transform(np.asarray(vectors)))

    def mock(self, space):
        """Places of some mock stars, and their [M/H]."""
        places = {name: self.points(table.vectors[self.shown]) for name, table in self.tables.items()}
        values = space.values(self.tables["nirspec"].object_id[self.shown])
        return places | {"logg": packed(values[:, 1], 3), "share": self.share}


def position_study(space, traces, known, twins, plane):
    """Cosines and ranks of real traces and of mock ones, and places on the plane."""
    vectors, gallery = space.aligner.embed(traces.prepared).vectors, space.aligner.embed(twins)
    values = survey_values([known[source_of(name)] for name in gallery.object_id])
    model = space.aligner.embed(model_twins(space, gallery.object_id, values, known))
    out = {"mock": mock_positions(space, plane), "outside": outside_emulators(space.survey.mock.script, values)}
    out["traces"] = trace_positions(traces, vectors, gallery, plane)
    for entry, own, vector in zip(out["traces"], traces.prepared.object_id, vectors, strict=True):
        entry["cosine to mock NIRSpec"] = cosine_to_own(model, own, vector)
    out["mock twins"] = trace_positions(None, model.vectors, gallery, plane, model.object_id)
    figure = {"twins": plane.points(gallery.vectors), "twin names": [source_of(name) for name in gallery.object_id]}
    figure |= {"traces": plane.points(vectors), "mock NIRSpec at the labels": plane.points(model.vectors)}
    return out | {"figure": figure | plane.mock(space)}


def cosine_to_own(table, name, vector):
    """Cosine of a vector to the first row of an object; None where the table has none."""
    own = np.flatnonzero(table.object_id == name)
    return float(vector @ table.vectors[own[0]]) if len(own) else None


def source_of(object_id):
    """Number of a source by the name of the object."""
    return str(object_id).rpartition("_")[2]


def model_twins(space, names, values, known):
    """Mock NIRSpec spectra at the APOGEE labels of real stars, with noise."""
    snr = np.minimum([known[source_of(name)]["snr"] for name in names], HIGHEST_SNR)
    return drawn(space.survey, "nirspec", values, names, 5, snr)


def trace_positions(traces, vectors, gallery, plane, names=None):
    """Cosine to the emulated APOGEE spectrum of the same star, and its rank among those of mock test stars."""
    names = traces.prepared.object_id if names is None else names
    titles = [f"mock at the labels of {source_of(name)}" for name in names] if traces is None else traces.title
    others, rows = plane.tables["apogee"].vectors, []
    for title, name, vector in zip(titles, names, vectors, strict=True):
        cosine = cosine_to_own(gallery, name, vector)
        rank = None if cosine is None else 1 + int((others @ vector > cosine).sum())
        rows.append({"trace": str(title), "cosine": cosine, "rank": rank, "best": float((others @ vector).max())})
    return rows


def mock_positions(space, plane):
    """The same of mock test stars, all and giants: cosine to their own APOGEE spectrum, and its rank."""
    own, other = (plane.tables[name] for name in ("nirspec", "apogee"))
    cosines = own.vectors @ other.vectors.T
    pairs = np.diag(cosines)
    rank = 1 + (cosines > pairs[:, None]).sum(axis=1)
    similar = np.isin(own.object_id, mock_giants(space)[0])
    return {
        name: {"n": int(rows.sum()), "cosine": quantiles(pairs[rows]), "rank": quantiles(rank[rows])}
        for name, rows in {"all": np.ones(len(own), bool), "giants": similar}.items()
        if rows.any()
    } | {"gallery": len(other)}


def renamed_space(table, base):
    """Embeddings of an adapted aligner, as of the space whose partner's vectors it shares."""
    return dataclasses.replace(table, provenance=base.provenance)
