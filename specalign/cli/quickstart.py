"""The whole road on a mock survey, below ./specalign-quickstart.

Mock stars are written as APOGEE and NIRSpec files, read, prepared, aligned in
one space, looked up and labelled; stars of the test part are never trained on.
The report, the aligner, the embeddings, the labels, and a model for `specalign predict` (not for science) stay
in the folder.
"""

import time
from pathlib import Path

GALLERY, QUERY = "apogee", "nirspec"
MOCK = (
    "Every spectrum here is a mock: a small line model with a fixed table of real lines turned labels into spectra. "
    "The figures say that the machinery works. They do not say how well it works on observed spectra."
)

#: Names of the label files, by method.
FILES = {"zero-shot": "zero-shot", "linear probe": "linear-probe", "baseline: MLP on raw flux": "raw-flux-mlp"}

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
    outcome = compare(aligner, prepared, tables, labels, arguments)
    keep_model(aligner, tables, train, labels, folder)
    print("6/6 the report")
    path = report(outcome, folder, arguments)
    summary(path, outcome, time.perf_counter() - started)


def survey(folder, arguments):
    """Write the mock files, then read and prepare them as any other: `PreparedSpectra` by instrument, and labels."""
    from specalign.cli.files import progress_bar
    from specalign.data.labels import read_labels
    from specalign.instruments import get_instrument
    from specalign.mock import write_survey

    print(f"1/6 a mock survey of {arguments.stars} stars with {GALLERY} and {QUERY}: no spectrum in it is real")
    paths = write_survey(folder / "mock", arguments.stars, (GALLERY, QUERY), seed=arguments.seed, overwrite=True)
    print(f"2/6 read and prepare; {QUERY} files state no velocity, as real ones do not: hence the two warnings")
    prepared = {}
    for name in (GALLERY, QUERY):
        instrument = get_instrument(name)
        bar = progress_bar(paths[name], arguments, name)
        prepared[name] = instrument.prepare([spectrum for path in bar for spectrum in instrument.read(path)])
        (folder / "prepared").mkdir(exist_ok=True)
        prepared[name].write(folder / "prepared" / f"{name}.fits", overwrite=True)
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
            tables[part, name].write(folder / "embeddings" / f"{name}-{part}.fits", overwrite=True)
    return tables


def compare(aligner, prepared, tables, labels, arguments):
    """Look the test stars of one instrument up in the other, and label them."""
    from specalign.cli.report_outcome import Outcome, retrieval_figures, transferred_labels, with_ratios
    from specalign.cli.tables import write_table

    print("4/6 find the test stars of one instrument in the other")
    labels = with_ratios(labels)
    outcome = Outcome(aligner, prepared, tables, QUERY, GALLERY, labels, seed=arguments.seed)
    outcome.retrieval, outcome.left_out = retrieval_figures(*outcome.pair, *outcome.test_spectra())
    print(f"5/6 label the {QUERY} spectra of the test stars")
    outcome.predictions, missing = transferred_labels(tables, prepared, labels, QUERY, GALLERY)
    outcome.left_out |= missing
    for method, table in outcome.predictions.items():
        write_table(table, Path(arguments.output) / "labels" / f"{QUERY}-{FILES[method.partition(',')[0]]}.ecsv")
    return outcome


def keep_model(aligner, tables, train, labels, folder):
    """Write a model that labels new NIRSpec spectra, to try `specalign predict` with."""
    from specalign.data.embeddings import EmbeddingTable
    from specalign.prediction import LabelTransfer

    reference = EmbeddingTable.concatenate([tables["train", GALLERY], tables["train", QUERY]])
    note = "the quickstart made it of mock spectra"
    model = LabelTransfer.build(aligner, reference, labels, [train[QUERY]], note=note, science=False)
    model.save(folder / "model")
    print(f"{folder / 'model'}: {model!r}")


def report(outcome, folder, arguments):
    """Write the report and return its path."""
    from specalign.cli.report_sections import write

    outcome.title, outcome.notes, outcome.next_steps = "specalign quickstart", [MOCK], next_steps(folder)
    options = {name: getattr(arguments, name) for name in ("stars", "max_epochs", "seed")}
    outcome.provenance = {"command": "specalign quickstart", **options}
    return write(folder / "report.html", outcome)


def next_steps(folder):
    """Commands that go on from here."""
    return [
        f"specalign inspect {folder}/mock/apogee/*0000.fits",
        f"specalign search {folder}/embeddings/{QUERY}-test.fits --gallery {folder}/embeddings/{GALLERY}-test.fits",
        f"specalign labels {folder}/embeddings/{QUERY}-test.fits --reference {folder}/embeddings/{GALLERY}-train.fits "
        f"--labels {folder}/mock/labels.ecsv",
        f"specalign report {folder}/prepared --aligner {folder}/aligner --labels {folder}/mock/labels.ecsv "
        "--system specalign-mock",
        f"specalign predict YOUR-NIRSPEC-FILES/ --model {folder}/model --output labels.ecsv",
        "specalign prepare YOUR-FILES/ --output prepared/",
    ]


def summary(path, outcome, seconds):
    """Print the figures and what to do next."""
    from specalign.analysis import metrics
    from specalign.cli.tables import print_table

    print()
    print_table(metrics.compare(outcome.retrieval)["method", "recall@1", "recall@10", "mrr", "median_rank"])
    print_table(outcome.label_figures(outcome.shown_labels()[:3]))
    print(f"\n{path}: the report. {MOCK}")
    print(f"done in {seconds:.0f} s; next:")
    print("\n".join(f"    {line}" for line in outcome.next_steps))
