"""The parts of a report that say what went in, what was left out, and what everything was made with."""

import platform
from importlib import metadata

__all__ = ["catalogue_checks", "provenance"]

LIBRARIES = ("numpy", "scipy", "astropy", "specutils", "torch", "lightning", "scikit-learn", "umap-learn", "matplotlib")

#: Columns of labels in a table of stars.
MOST_LABELS = 6


def catalogue_checks(outcome):
    """Rows, rejected ones with their reasons, repeated stars, stars in one set only, the split, and labels."""
    from specalign.plots import Section

    rejected = _rejected(outcome)
    tables = [(_rows(outcome, rejected), "Spectra and stars by instrument; no star is in two parts")]
    if len(rejected):
        tables.append((_reasons(rejected), "Rejected files and spectra by reason"))
    alone = _stars_in_one_set(outcome)
    if len(alone):
        tables.append((alone, "Stars that only one instrument has"))
    text = [_rejected_text(rejected), "" if len(alone) else "Every star was seen by every instrument."]
    if outcome.labels is None:
        text.append("There is no catalogue of labels, so that labels are not checked.")
    else:
        text.append(_labels_text(outcome))
        tables.append((_coverage(outcome.labels), "Labels: how many stars have them, and their range"))
    return Section("Catalogue checks", "\n\n".join(filter(None, text)), tables=tables)


def _rejected(outcome):
    from astropy.table import vstack

    if outcome.rejected is not None:
        return outcome.rejected
    return vstack([prepared.rejected for prepared in outcome.prepared.values()], metadata_conflicts="silent")


def _rejected_text(rejected):
    return f"{len(rejected)} files or spectra were rejected." if len(rejected) else "No spectrum was rejected."


def _rows(outcome, rejected):
    """A row an instrument; rejected rows are counted where it is known whose they were."""
    import numpy as np
    from astropy.table import QTable

    rows = []
    for name, prepared in outcome.prepared.items():
        counts = np.unique(prepared.object_id, return_counts=True)[1]
        parts = [len(outcome.tables[part, name]) for part in ("train", "test")]
        alone = len(_alone(outcome, name)) if len(outcome.prepared) > 1 else 0
        rows.append((name, len(prepared), len(counts), int((counts > 1).sum()), alone, *parts))
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


def _alone(outcome, name):
    import numpy as np

    others = [prepared.object_id for other, prepared in outcome.prepared.items() if other != name]
    return np.setdiff1d(outcome.prepared[name].object_id, np.concatenate(others))


def _reasons(rejected):
    import numpy as np
    from astropy.table import QTable

    reasons, first, counts = np.unique(np.asarray(rejected["reason"], str), return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    examples = np.asarray(rejected["spectrum_id"], str)[first]
    return QTable({"number": counts[order], "reason": reasons[order], "for_example": examples[order]})


def _stars_in_one_set(outcome):
    """object_id, instrument and, where they are known, labels."""
    import numpy as np
    from astropy.table import QTable, vstack

    if len(outcome.prepared) < 2:
        return QTable(names=("object_id", "instrument"), dtype=("U1", "U1"))
    parts = [QTable({"object_id": ids, "instrument": np.full(len(ids), name)})
             for name in outcome.prepared if (ids := _alone(outcome, name)).size]  # fmt: skip
    table = vstack(parts) if parts else QTable(names=("object_id", "instrument"), dtype=("U1", "U1"))
    return _with_labels(table, outcome) if len(table) else table


def _with_labels(table, outcome):
    import numpy as np
    from astropy.table import Column

    from specalign.data.columns import column_values

    if outcome.labels is None:
        return table
    place = {name: row for row, name in enumerate(np.asarray(outcome.labels["object_id"], str).tolist())}
    rows = np.array([place.get(name, -1) for name in table["object_id"].tolist()])
    for name in outcome.shown_labels()[:MOST_LABELS]:
        values, unit, _ = column_values(outcome.labels, name)
        table[name] = Column(np.where(rows >= 0, values[rows], np.nan), unit=unit)
    return table


def _labels_text(outcome):
    import numpy as np

    labels = outcome.labels
    named = np.asarray(labels["object_id"], str)
    spectra = np.unique(np.concatenate([prepared.object_id for prepared in outcome.prepared.values()]))
    missing, unused = np.setdiff1d(spectra, named).size, np.setdiff1d(named, spectra).size
    text = f"The labels are of the system {labels.meta.get('label_system', 'unstated')}: {len(labels)} stars, "
    text += f"{unused} of them without a spectrum; {missing} of {len(spectra)} stars with spectra have no row in it."
    joined, conflicts = labels.meta.get("joined_rows", 0), labels.meta.get("conflicting_object_ids", [])
    text += f" {joined} repeated rows were equal and joined; {len(conflicts)} stars had rows that differ"
    return text + (f" ({', '.join(map(str, conflicts[:5]))})." if conflicts else ".")


def _coverage(labels):
    """A row a label: stars with and without a value, why, and the range."""
    import numpy as np
    from astropy.table import QTable

    from specalign.data.columns import column_values, label_names

    rows = []
    for name in label_names(labels):
        values, unit, _ = column_values(labels, name)
        there = values[np.isfinite(values)]
        masked = labels.meta.get("masked", {}).get(name, {})
        why = "; ".join(f"{reason}: {number}" for reason, number in masked.items())
        spread = np.percentile(there, [0, 50, 100]) if there.size else np.full(3, np.nan)
        rows.append((name, unit.to_string(), there.size, len(values) - there.size, why or "–", *map(float, spread)))
    return QTable(
        rows=rows, names=("label", "unit", "stars", "without", "masked_because", "lowest", "median", "highest")
    )


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
