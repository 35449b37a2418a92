"""The whole road on a mock survey, below ./specalign-quickstart.

Mock stars are written as APOGEE and NIRSpec files, read, prepared, aligned in
one space, looked up and labelled; stars of the test part are never trained on.
The report, the aligner, the embeddings, the labels, and a model for `specalign predict` (not for science) stay
in the folder.
"""

import time
from pathlib import Path

from specalign.cli.report import GALLERY, QUERY, RANKS, Outcome, summary, write

EXAMPLE = """
    specalign quickstart
    specalign quickstart --stars 4000 --max-epochs 40 --output bigger/
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    parser.add_argument("--output", default="specalign-quickstart", metavar="FOLDER", help="where everything goes")
    parser.add_argument("--stars", type=int, default=1500, help="mock stars, a fifth of them for the test")
    parser.add_argument("--max-epochs", type=int, default=20, help="times that every star is seen")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it")


def run(arguments):
    """Run all steps and say where everything is."""
    started = time.perf_counter()
    folder = Path(arguments.output)
    prepared, labels = survey(folder, arguments)
    train, test = split_by_star(prepared, arguments.seed)
    aligner = align(train, folder, arguments)
    tables = embed(aligner, train, test, folder)
    retrieval = retrieve(tables, test)
    predictions = label(tables, train, test, labels, folder)
    keep_model(aligner, tables, train, labels, folder)
    print("6/6 the report")
    outcome = Outcome(arguments, aligner, prepared, test, tables, retrieval, predictions, labels)
    path = write(folder / "report.html", outcome)
    summary(path, outcome, time.perf_counter() - started)


def survey(folder, arguments):
    """Write the mock files, then read and prepare them as any other: `PreparedSpectra` by instrument, and labels."""
    from specalign.cli.files import progress_bar
    from specalign.data.labels import read_labels
    from specalign.instruments import get_instrument
    from specalign.mock import write_survey

    print(f"1/6 a mock survey of {arguments.stars} stars with {GALLERY} and {QUERY}: no spectrum in it is real")
    paths = write_survey(folder / "mock", arguments.stars, (GALLERY, QUERY), seed=arguments.seed, overwrite=True)
    print("2/6 read and prepare")
    prepared = {}
    for name in (GALLERY, QUERY):
        instrument = get_instrument(name)
        bar = progress_bar(paths[name], arguments, name)
        prepared[name] = instrument.prepare([spectrum for path in bar for spectrum in instrument.read(path)])
        (folder / "prepared").mkdir(exist_ok=True)
        prepared[name].write(folder / "prepared" / f"{name}.fits")
        print(f"    {prepared[name]!r}")
    return prepared, read_labels(paths["labels"], system="specalign-mock")


def split_by_star(prepared, seed):
    """Training and test rows of each instrument; a star is in one of them only."""
    from specalign.data.splits import split

    parts = {name: split(rows.object_id, validation=0.0, test=0.2, seed=seed) for name, rows in prepared.items()}
    return tuple({name: rows[parts[name] == part] for name, rows in prepared.items()} for part in ("train", "test"))


def align(train, folder, arguments):
    """Fit and save the aligner."""
    from specalign.alignment import Aligner
    from specalign.cli.files import wants_progress

    print("3/6 align: one encoder an instrument, the two spectra of a star on one point")
    aligner = Aligner([GALLERY, QUERY])
    aligner.fit(train, max_epochs=arguments.max_epochs, seed=arguments.seed, progress=wants_progress(arguments))
    aligner.save(folder / "aligner")
    return aligner


def embed(aligner, train, test, folder):
    """Embeddings by part and instrument, written as one file each."""
    tables = {}
    (folder / "embeddings").mkdir(exist_ok=True)
    for part, rows in (("train", train), ("test", test)):
        for name in rows:
            tables[part, name] = aligner.embed(rows[name])
            tables[part, name].write(folder / "embeddings" / f"{name}-{part}.fits")
    return tables


def retrieve(tables, test):
    """Figures of retrieval among the test stars: the space, both ways, and what it must beat."""
    from specalign.analysis import baselines, metrics

    print("4/6 find the test stars of one instrument in the other")
    a, b = tables["test", GALLERY], tables["test", QUERY]
    return {
        f"shared space, {QUERY} to {GALLERY}": metrics.retrieval(b, a, ks=RANKS),
        f"shared space, {GALLERY} to {QUERY}": metrics.retrieval(a, b, ks=RANKS),
        f"raw flux, {QUERY} to {GALLERY}": baselines.matched_flux_retrieval(test[QUERY], test[GALLERY], ks=RANKS),
        "chance": baselines.chance(b, a, ks=RANKS),
    }


def label(tables, train, test, labels, folder):
    """Predicted labels of the test stars' NIRSpec spectra, by method."""
    import numpy as np

    from specalign.analysis import FluxLabelModel, LabelModel
    from specalign.cli.tables import write_table

    print(f"5/6 label the {QUERY} spectra of the test stars")
    known = labels[np.isin(labels["object_id"], train[GALLERY].object_id)]
    query = tables["test", QUERY]
    predictions = {
        f"zero-shot, from {GALLERY}": LabelModel("knn").fit(tables["train", GALLERY], known).predict(query),
        "linear probe": LabelModel("linear").fit(tables["train", QUERY], known).predict(query),
        "baseline: MLP on raw flux": FluxLabelModel(seed=0).fit(train[QUERY], known).predict(test[QUERY]),
    }
    for name, table in zip(("zero-shot", "linear-probe", "raw-flux-mlp"), predictions.values(), strict=True):
        write_table(table, folder / "labels" / f"{QUERY}-{name}.ecsv")
    return predictions


def keep_model(aligner, tables, train, labels, folder):
    """Write a model that labels new NIRSpec spectra, to try `specalign predict` with."""
    from specalign.data.embeddings import EmbeddingTable
    from specalign.prediction import LabelTransfer

    reference = EmbeddingTable.concatenate([tables["train", GALLERY], tables["train", QUERY]])
    note = "the quickstart made it of mock spectra"
    model = LabelTransfer.build(aligner, reference, labels, [train[QUERY]], note=note, science=False)
    model.save(folder / "model")
    print(f"{folder / 'model'}: {model!r}")
