"""Label spectra with the labels of others in the same space, in any instrument.

Errors are printed where the labelled catalogue holds the queried stars too.
These stars are left out of what the model learns from, so that no star labels
itself.
"""

from specalign.exceptions import MatchError

PRINTED = 9  # columns: the star, and four labels with their errors

EXAMPLE = """
    specalign labels embeddings/nirspec.fits --reference embeddings/apogee.fits \\
        --labels allStar.fits --system aspcap-dr17 --output labels.ecsv
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.tables import add_label_file

    parser.add_argument("queries", nargs="+", metavar="FILE", help="files that `specalign embed` wrote")
    parser.add_argument("--reference", nargs="+", required=True, metavar="FILE", help="embeddings of labelled stars")
    add_label_file(parser, required=True)
    parser.add_argument("--model", choices=["knn", "linear", "mlp", "flow"], default="knn", help="how labels follow")
    parser.add_argument("--output", metavar="FILE", help="where the table goes: .ecsv or .csv")


def run(arguments):
    """Fit, predict, print, write."""
    import numpy as np

    from specalign.analysis import LabelModel, metrics
    from specalign.cli.tables import print_table, read_embeddings, read_label_file, write_table

    queries, reference = read_embeddings(arguments.queries), read_embeddings(arguments.reference)
    labels = read_label_file(arguments)
    others = reference[~np.isin(reference.object_id, queries.object_id)]
    if not len(others):
        raise MatchError("every star of --reference is among the queries, and no star labels itself: name other stars")
    predicted = LabelModel(arguments.model).fit(others, labels).predict(queries)
    if arguments.output:
        write_table(predicted, arguments.output)
    print_table(predicted[[name for name in predicted.colnames if name != "spectrum_id"][:PRINTED]])
    if np.isin(queries.object_id, np.asarray(labels["object_id"], dtype=str)).any():
        print_table(metrics.labels(predicted, labels)["label", "unit", "n", "rmse", "bias", "mad", "r2"])
