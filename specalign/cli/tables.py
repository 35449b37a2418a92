"""Tables that the verbs read, print and write."""

from pathlib import Path

from specalign.cli.files import UsageError, expand

__all__ = [
    "add_label_file",
    "check_output",
    "print_table",
    "read_embeddings",
    "read_label_file",
    "read_prepared",
    "write_table",
]


def read_prepared(patterns):
    """Prepared spectra by instrument: files, folders or patterns; several files of one instrument are joined."""
    from specalign.instruments.prepared import PreparedSpectra

    parts = {}
    for path in expand(patterns, written=True):
        part = PreparedSpectra.read(path)
        parts.setdefault(part.instrument.name, []).append(part)
    return {name: PreparedSpectra.concatenate(found) for name, found in sorted(parts.items())}


def read_embeddings(patterns):
    """One table of embeddings from files, folders or patterns."""
    from specalign.data.embeddings import EmbeddingTable

    parts = [EmbeddingTable.read(path) for path in expand(patterns, written=True)]
    if len({part.space for part in parts}) > 1:
        parts[0].check_same_space(next(part for part in parts if part.space != parts[0].space))
    return EmbeddingTable.concatenate(parts) if len(parts) > 1 else parts[0]


def add_label_file(parser, required):
    """Add the options that name a catalogue of labels."""
    parser.add_argument("--labels", metavar="FILE", required=required, help="catalogue: FITS, csv, ECSV, ...")
    parser.add_argument(
        "--system", metavar="NAME", help="label system, such as aspcap-dr17; by default what the file says"
    )
    parser.add_argument(
        "--names", nargs="+", default=[], metavar="LABEL", help="which labels; velocities must be named"
    )


def read_label_file(arguments):
    """The labels, or None where no file is named."""
    from specalign.data.labels import read_labels

    if arguments.labels is None:
        return None
    labels = read_labels(arguments.labels, system=arguments.system)
    return _named(labels, arguments.names) if arguments.names else labels


def _named(labels, names):
    """The table with some of its labels and their errors."""
    if unknown := [name for name in names if name not in labels.colnames]:
        raise UsageError(f"--names: expected some of {', '.join(labels.colnames[1:])}, got {unknown[0]!r}")
    chosen = labels["object_id", *names, *(f"{name}_err" for name in names if f"{name}_err" in labels.colnames)]
    chosen.meta["named_labels"] = list(names)
    return chosen


def print_table(table, n=20):
    """Print the first rows of a table, without line breaks."""
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".4g"
    print("\n".join(table[:n].pformat(max_lines=-1, max_width=-1)))
    if len(table) > n:
        print(f"... {len(table) - n} more rows")


def check_output(path):
    """Refuse a name that `write_table` could not write, before the work is done."""
    if path is not None and Path(path).suffix not in (".ecsv", ".csv"):
        raise UsageError(f"--output: expected a name that ends in .ecsv, or in .csv (without units), got {str(path)!r}")


def write_table(table, path):
    """Write a table as ECSV, or as csv without units; all of it or nothing."""
    from specalign.io.files import atomic_write

    check_output(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        table.write(temporary, format=f"ascii{path.suffix}")
    print(f"{path}: {len(table)} rows")
