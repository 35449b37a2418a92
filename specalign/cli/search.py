"""Find the nearest neighbours of spectra among those of another instrument, or of the same one.

Where queries and gallery share stars, recall@k, the mean reciprocal rank and
the median rank are printed too.
"""

EXAMPLE = """
    specalign search embeddings/nirspec.fits --gallery embeddings/apogee.fits -k 10 --output neighbours.ecsv
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from jsonargparse.typing import PositiveInt

    parser.add_argument("queries", nargs="+", metavar="FILE", help="files that `specalign embed` wrote")
    parser.add_argument("--gallery", nargs="+", required=True, metavar="FILE", help="embeddings to look in")
    parser.add_argument("-k", "--k", type=PositiveInt, default=10, help="neighbours a query")
    parser.add_argument(
        "--method", choices=["exact", "pynndescent"], default="exact", help="approximate above a million rows"
    )
    parser.add_argument(
        "--similarity",
        choices=["auto", "cosine", "likelihood"],
        default="auto",
        help="what orders them; auto: likelihood where the embeddings have distributions",
    )
    parser.add_argument("--output", metavar="FILE", help="where the table goes: .ecsv or .csv")


def run(arguments):
    """Search, print, write."""
    from specalign.analysis import metrics
    from specalign.cli.tables import print_table, read_embeddings, write_table
    from specalign.exceptions import MatchError

    queries, gallery = read_embeddings(arguments.queries), read_embeddings(arguments.gallery)
    options = {"method": arguments.method, "similarity": arguments.similarity}
    neighbours = gallery.search(queries, k=min(int(arguments.k), len(gallery)), **options)
    if arguments.output:
        write_table(neighbours, arguments.output)
    shown = ("object_id", "neighbour_object_id", "neighbour_instrument", "rank", "similarity", "log_likelihood")
    print_table(neighbours[[name for name in shown if name in neighbours.colnames]])
    try:
        figures = metrics.retrieval(queries, gallery, similarity=arguments.similarity)
    except MatchError:
        print("no star of the queries is in the gallery, so there is no recall to state")
    else:
        print_table(metrics.compare({"embeddings": figures}))
