"""Show what an aligner makes of prepared spectra: one HTML file with figures, baselines and checks.

Stars are split by name: the labels of the test stars come from the others.
What the data do not allow is left out, and the report says why. An aligner that
was trained on these very stars has seen the test stars too: prepare spectra that
it has not seen, where the figures are to say how well it works.
"""

from pathlib import Path

EXAMPLE = """
    specalign report prepared/ --aligner aligner/ --labels allStar.fits --system aspcap-dr17 --output report.html
"""

WARNING = (
    "It is not known whether the aligner was trained on these stars. If it was, the figures of retrieval say how well "
    "it remembers, not how well it works on new stars."
)


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.tables import add_label_file

    parser.add_argument(
        "prepared", nargs="+", metavar="FILE", help="files that `specalign prepare` wrote, or their folder"
    )
    parser.add_argument("--aligner", default="aligner", metavar="FOLDER", help="what `specalign train` wrote")
    add_label_file(parser, required=False)
    parser.add_argument("--query", metavar="NAME", help="instrument whose stars are looked up; by default the second")
    parser.add_argument("--gallery", metavar="NAME", help="instrument to look in; by default the first")
    parser.add_argument("--test", type=float, default=0.2, help="share of the stars that are looked up and labelled")
    parser.add_argument("--baseline", choices=["yes", "no"], default="yes", help="train a network on raw fluxes too")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the pictures and the baseline")
    parser.add_argument("--output", default="report.html", metavar="FILE", help="where the report goes")


def run(arguments):
    """Read, embed, compare, write."""
    from specalign.cli.report_sections import write

    path = Path(arguments.output)
    outcome = gather(arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, outcome)
    for what, why in outcome.left_out.items():
        print(f"left out: {what}: {why}")
    print(f"{path}: the report of {', '.join(map(repr, outcome.prepared.values()))}")


def gather(arguments):
    """The `Outcome` of prepared files and an aligner."""
    from specalign.alignment import Aligner
    from specalign.cli.report_outcome import Outcome, with_ratios
    from specalign.cli.tables import read_label_file, read_prepared

    aligner = Aligner.load(arguments.aligner)
    prepared = read_prepared(arguments.prepared)
    query, gallery = _instruments(arguments, aligner, prepared)
    outcome = Outcome(aligner, prepared, _embed(aligner, prepared, arguments), query, gallery, seed=arguments.seed)
    outcome.labels, outcome.rejected = with_ratios(read_label_file(arguments)), _rejected(arguments.prepared)
    outcome.notes, outcome.provenance = [WARNING], _provenance(arguments)
    _compare(outcome, arguments.baseline == "yes")
    return outcome


def _instruments(arguments, aligner, prepared):
    """Names of the query and the gallery instrument."""
    from specalign.cli.files import UsageError

    order = sorted(prepared, key=lambda name: next((i for i, n in enumerate(aligner.instruments) if n == name), 99))
    for option in ("query", "gallery"):
        name = getattr(arguments, option)
        if name is not None and name not in prepared:
            raise UsageError(f"--{option}: expected one of {', '.join(prepared)}, got {name!r}")
    gallery = arguments.gallery or next((name for name in order if name != arguments.query), None)
    query = arguments.query or next((name for name in order if name != gallery), None)
    if query is not None and query == gallery:
        raise UsageError(f"--query and --gallery: expected two instruments, got {query!r} twice")
    return query, gallery if query is not None else None


def _embed(aligner, prepared, arguments):
    """Embeddings by part and instrument; a star is in one part only."""
    from specalign.cli.files import UsageError
    from specalign.data.splits import split

    if not 0 < arguments.test < 1:
        raise UsageError(f"--test: expected a share between 0 and 1, got {arguments.test}")
    tables = {}
    for name, rows in prepared.items():
        table = aligner.embed(rows)
        parts = split(rows.object_id, validation=0.0, test=arguments.test, seed=arguments.seed)
        tables |= {(part, name): table[parts == part] for part in ("train", "test")}
    return tables


def _compare(outcome, baseline):
    """Retrieval and labels, where the data allow them."""
    from specalign.cli.report_outcome import retrieval_figures, transferred_labels
    from specalign.exceptions import MatchError

    if outcome.pair is None:
        return
    try:
        outcome.retrieval, missing = retrieval_figures(*outcome.pair, *outcome.test_spectra())
        outcome.left_out |= missing
    except MatchError as error:
        outcome.left_out["retrieval"] = str(error)
    if outcome.labels is not None:
        outcome.predictions, missing = transferred_labels(
            outcome.tables, outcome.prepared, outcome.labels, outcome.query, outcome.gallery, baseline
        )
        outcome.left_out |= missing


def _rejected(patterns):
    """What `specalign prepare` rejected, where its table lies beside the files; otherwise None.

    It holds the files that could not be read too, of which the prepared spectra know nothing.
    """
    from astropy.table import QTable

    from specalign.cli.files import expand

    names = ("spectrum_id", "object_id", "reason")
    paths = {path.parent / "rejected.ecsv" for path in expand(patterns, written=True)}
    tables = [QTable.read(path, format="ascii.ecsv") for path in sorted(paths) if path.is_file()]
    rows = [tuple(_text(row[name]) for name in names) for table in tables for row in table]
    return QTable(rows=list(dict.fromkeys(rows)), names=names) if rows else None


def _text(value):
    """A cell as it was written: ECSV gives an empty text back as a masked value."""
    import numpy as np

    return "" if value is np.ma.masked else str(value)


def _provenance(arguments):
    options = ("aligner", "labels", "system", "query", "gallery", "test", "seed")
    given = {name: getattr(arguments, name) for name in options if getattr(arguments, name) is not None}
    return {"command": "specalign report", "prepared": [str(name) for name in arguments.prepared], **given}
