"""Label new spectra with a model that `specalign model` (or the quickstart) made.

Files are read, prepared and embedded; each spectrum gets labels with errors, and
in_domain says whether it is like the spectra that the model was trained on.
FILE is a file, a folder or a pattern, or what `specalign prepare` wrote.
"""

PRINTED = 6  # labels and errors
WEAK = 0.1  # R2 of held-out stars: errors within 5 % of the labels' own spread

EXAMPLE = """
    specalign predict x1d/ --model model/ --output labels.ecsv
    specalign predict "x1d/*_x1d.fits" --model specalign-quickstart/model --output labels.ecsv
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="files, folders or patterns")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="what `specalign model` wrote")
    parser.add_argument(
        "--visits", choices=["combined", "all"], default="combined", help="combined spectra, or every visit"
    )
    parser.add_argument("--output", metavar="FILE", help="where the table goes: .ecsv or .csv")


def run(arguments):
    """Predict, print, write."""
    from specalign.cli.tables import check_output, print_table, write_table
    from specalign.prediction import predict

    check_output(arguments.output)
    table = predict(list(arguments.files), arguments.model, visits=arguments.visits)
    if arguments.output:
        write_table(table, arguments.output)
    print_table(_shown(table))
    for row in table[~table["in_domain"]]:
        print(f"not in domain: {row['spectrum_id']}: {row['domain_reasons']}")
    for row in table.meta["rejected"]:
        print(f"rejected: {row['spectrum_id']}: {row['reason']}")
    print(
        f"{len(table)} spectra labelled in the system {table.meta['label_system']}, {table['in_domain'].sum()} of them "
        f"in domain; {len(table.meta['rejected'])} files or spectra rejected"
    )
    if weak := _weak(table):
        print(f"hardly better than the mean of the labelled stars (R2 below {WEAK}): {', '.join(weak)}")
    if table.meta["not_for_science"]:
        print(f"NOT FOR SCIENCE: {table.meta['note']}")


def _weak(table):
    """Labels of the instruments at hand that held-out stars of the model were not given."""
    used = set(table["instrument"])
    rows = [row for row in table.meta["label_quality"] if row["instrument"] in used and row["r2"] < WEAK]
    return list(dict.fromkeys(row["label"] for row in rows))


def _shown(table):
    names = table.colnames
    labels = names[names.index("instrument") + 1 : names.index("in_domain")]
    return table[["object_id", *labels[:PRINTED], "in_domain", "snr", "nearest_object_id", "nearest_similarity"]]
