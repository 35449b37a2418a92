"""The parts of a report that say what went in, what was left out, and what everything was made with."""

import platform
from importlib import metadata

__all__ = ["catalogue_checks", "provenance"]

LIBRARIES = ("numpy", "scipy", "astropy", "specutils", "torch", "lightning", "scikit-learn", "umap-learn", "matplotlib")


def catalogue_checks(outcome):
    """Rows, rejected ones with their reasons, repeated stars, stars in one set only, the split, and labels."""
    from astropy.table import vstack

    from specalign.plots import Section

    rejected = _rejected(outcome)
    alone = _stars_in_one_set(outcome)
    text = [
        _rejected_text(rejected),
        "" if alone else "Every star was seen by every instrument.",
    ]
    tables = [(_rows(outcome, alone), "Spectra and stars by instrument; no star is in two parts")]
    tables.append((_reasons(rejected), "Rejected files and spectra by reason"))
    if alone:
        tables.append((vstack(list(alone.values())), "Stars that only one instrument has"))
    figures, notes = [], []
    if outcome.labels is None:
        text.append("There is no catalogue of labels, so that labels are not checked.")
    else:
        words, more, figures, notes = _labels(outcome)
        text.append(words)
        tables += more
    tables = [(table, caption) for table, caption in tables if len(table)]
    return Section("Catalogue checks", "\n\n".join(filter(None, text)), figures=figures, tables=tables, notes=notes)


def _rejected(outcome):
    from astropy.table import vstack

    if outcome.rejected is not None:
        return outcome.rejected
    return vstack([prepared.rejected for prepared in outcome.prepared.values()], metadata_conflicts="silent")


def _rejected_text(rejected):
    return f"{len(rejected)} files or spectra were rejected." if len(rejected) else "No spectrum was rejected."


def _rows(outcome, alone):
    """A row an instrument."""
    from astropy.table import QTable

    from specalign.analysis import describe_labels

    rows = []
    for name, prepared in outcome.prepared.items():
        study = describe_labels(prepared)
        parts = [len(outcome.tables[part, name]) for part in ("train", "test")]
        several = len(set(study.duplicates["object_id"].tolist()))
        rows.append((name, study.n_rows, study.n_stars, several, len(alone.get(name, ())), *parts))
    names = (
        "instrument",
        "spectra",
        "stars",
        "with_several_spectra",
        "in_no_other",
        "training_spectra",
        "test_spectra",
    )
    return QTable(rows=rows, names=names)


def _reasons(rejected):
    import numpy as np
    from astropy.table import QTable

    reasons, first, counts = np.unique(np.asarray(rejected["reason"], str), return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    examples = np.asarray(rejected["spectrum_id"], str)[first]
    return QTable({"number": counts[order], "reason": reasons[order], "for_example": examples[order]})


def _stars_in_one_set(outcome):
    """object_id, instrument and, where they are known, the usual labels, by instrument."""
    from astropy.table import QTable, vstack

    from specalign.analysis import compare_catalogues

    labels = None if outcome.labels is None else outcome.labels[["object_id", *outcome.shown_labels()]]
    ids = {name: QTable({"object_id": prepared.object_id}) for name, prepared in outcome.prepared.items()}
    found = {}
    for name in ids if len(ids) > 1 else ():
        others = vstack([table for other, table in ids.items() if other != name])
        found[name] = compare_catalogues(ids[name], others, labels, names=(name, "others")).only_a
        found[name].add_column([name] * len(found[name]), name="instrument", index=1)
    return {name: table for name, table in found.items() if len(table)}


def _labels(outcome):
    """Text, tables, figures and notes on the catalogue of labels."""
    from specalign.analysis import describe_labels, unique_stars
    from specalign.cli.figures import catalogue_figures

    study = describe_labels(outcome.labels)
    seen = study.labels["label"][study.labels["n"] > 0].tolist()
    figures, notes = catalogue_figures(unique_stars(outcome.labels), seen)
    tables = [
        (_with_reasons(study.labels, outcome.labels), "Labels: how many stars have them, and their range"),
        (study.duplicates, "Rows of stars that have several in the catalogue"),
    ]
    return _labels_text(outcome, study), tables, figures, notes


def _labels_text(outcome, study):
    import numpy as np
    from astropy.table import QTable

    from specalign.analysis import compare_catalogues

    spectra = QTable({"object_id": np.unique(np.concatenate([rows.object_id for rows in outcome.prepared.values()]))})
    both = compare_catalogues(outcome.labels[["object_id"]], spectra, names=("labels", "spectra"))
    text = (
        f"The labels are of the system {study.system or 'unstated'}: {study.n_stars} stars, {len(both.only_a)} of them "
    )
    text += f"without a spectrum; {len(both.only_b)} of {len(spectra)} stars with spectra have no row in it."
    conflicts = outcome.labels.meta.get("conflicting_object_ids", [])
    text += f" {study.n_joined} repeated rows were equal and joined; {len(conflicts)} stars had rows that differ"
    return text + (f" ({', '.join(map(str, conflicts[:5]))})." if conflicts else ".")


def _with_reasons(ranges, labels):
    """Ranges of the labels, with why values were masked."""
    masked = labels.meta.get("masked", {})
    found = [masked.get(name, {}).items() for name in ranges["label"].tolist()]
    if any(found):
        ranges["masked_because"] = ["; ".join(f"{why}: {n}" for why, n in reasons) or "–" for reasons in found]
    return ranges


def provenance(outcome):
    """Versions, seeds and digests; without a date, so that the same input gives the same file.

    Parameters
    ----------
    outcome : `~specalign.cli.report_outcome.Outcome`

    Returns
    -------
    dict
    """
    from specalign import __version__
    from specalign.plots import projection

    records = {name: prepared.instrument for name, prepared in outcome.prepared.items()}
    history = outcome.aligner.history
    return {
        "specalign": __version__,
        **outcome.provenance,
        "weights (SHA-256)": outcome.aligner.space,
        "instruments": {name: _record(outcome, name, record) for name, record in records.items()},
        "training": {**history.counts, "epochs": len(history.epochs), "best epoch": history.best_epoch},
        "t-SNE": f"perplexity {projection.PERPLEXITY}, cosine, seed {outcome.seed}",
        "UMAP": f"{projection.N_NEIGHBORS} neighbours, min_dist {projection.MIN_DIST}, cosine, seed {outcome.seed}",
        "libraries": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
    }


def _record(outcome, name, record):
    encoder = next((e for key, e in outcome.aligner.encoders.items() if key.startswith(name)), None)
    facts = {"encoder": {"class": type(encoder).__name__} | encoder.config()} if encoder is not None else {}
    options = {"options": record.options} if record.options else {}
    return {**facts, **options, "grid (SHA-256)": record.grid_digest, "mask rules": record.mask_version}


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
