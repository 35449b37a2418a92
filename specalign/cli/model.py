"""Make the model that `specalign predict` uses, of an aligner, its training spectra and a catalogue of labels.

Name the prepared spectra that the aligner was trained on. Those whose star is in
the catalogue are what labels are learned from, and new spectra are compared with
all of them. Spectra that you keep for a test must not be among them.
"""

from specalign.cli.files import UsageError

EXAMPLE = """
    specalign model prepared/ --aligner aligner/ --labels allStar.fits --system aspcap-dr17 --output model/
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.tables import add_label_file

    parser.add_argument(
        "prepared", nargs="+", metavar="FILE", help="files that `specalign prepare` wrote, or their folder"
    )
    parser.add_argument("--aligner", default="aligner", metavar="FOLDER", help="what `specalign train` wrote")
    add_label_file(parser, required=True)
    parser.add_argument(
        "--instruments", nargs="+", default=[], metavar="NAME", help="whose new spectra are labelled; by default all"
    )
    parser.add_argument(
        "--reference", nargs="+", default=[], metavar="NAME", help="whose spectra are learned from; by default all"
    )
    parser.add_argument("--method", choices=["knn", "linear", "mlp", "flow"], default="knn", help="how labels follow")
    parser.add_argument("--note", default="", help="a line that goes with every prediction")
    parser.add_argument("--science", choices=["yes", "no"], default="yes", help="no: predictions are marked as a trial")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it")
    parser.add_argument("--output", default="model", metavar="FOLDER", help="where the model goes")


def run(arguments):
    """Read, embed, build, save."""
    from astropy.table import QTable

    from specalign.alignment import Aligner
    from specalign.cli.tables import print_table, read_label_file, read_prepared
    from specalign.data.embeddings import EmbeddingTable
    from specalign.prediction import LabelTransfer

    prepared = read_prepared(arguments.prepared)
    aligner = Aligner.load(arguments.aligner)
    wanted = {key: _chosen(key, getattr(arguments, key), prepared) for key in ("instruments", "reference")}
    reference = EmbeddingTable.concatenate([aligner.embed(prepared[name]) for name in wanted["reference"]])
    model = LabelTransfer.build(
        aligner,
        reference,
        read_label_file(arguments),
        [prepared[name] for name in wanted["instruments"]],
        method=arguments.method,
        seed=arguments.seed,
        note=arguments.note,
        science=arguments.science == "yes",
    )
    model.save(arguments.output)
    print(f"{arguments.output}: {model!r}")
    for name, checked in model.facts["errors"].items():
        stars = checked["n_stars"]
        print(f"errors of {name}: {f'checked on {stars} stars that were held out in turn' if stars else 'not checked'}")
    if model.facts["label_quality"]:
        print_table(QTable(rows=model.facts["label_quality"]))
    print(f"next: specalign predict YOUR-FILES/ --model {arguments.output} --output labels.ecsv")


def _chosen(key, names, prepared):
    unknown = sorted(set(names) - set(prepared))
    if unknown:
        raise UsageError(f"--{key}: expected some of {', '.join(prepared)}, got {unknown[0]!r}")
    return names or list(prepared)
