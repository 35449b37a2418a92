"""Embed prepared spectra with a trained aligner: one file of embeddings an instrument."""

from pathlib import Path

EXAMPLE = """
    specalign embed prepared/ --aligner aligner/ --output embeddings/
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    parser.add_argument(
        "prepared", nargs="+", metavar="FILE", help="files that `specalign prepare` wrote, or their folder"
    )
    parser.add_argument("--aligner", default="aligner", metavar="FOLDER", help="what `specalign train` wrote")
    parser.add_argument("--output", default="embeddings", metavar="FOLDER", help="where the files go")


def run(arguments):
    """Read, embed and write."""
    from specalign.alignment import Aligner
    from specalign.cli.tables import read_prepared

    aligner = Aligner.load(arguments.aligner)
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, prepared in read_prepared(arguments.prepared).items():
        table = aligner.embed(prepared)
        table.write(folder / f"{name}.fits", overwrite=True)
        print(f"{folder / name}.fits: {table!r}")
