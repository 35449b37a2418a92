"""Align two or more instruments: prepared spectra to one shared space.

Rows are joined by object_id. Stars that only one instrument has are counted and
left out of the contrast. The aligner is saved as a folder of weights and JSON.
"""

from pathlib import Path

from specalign.cli.files import UsageError, wants_progress
from specalign.exceptions import MatchError

EXAMPLE = """
    specalign train prepared/ --output aligner/ --max-epochs 40
    specalign train prepared/ --encoder lamost=lamost-encoder/ --freeze lamost
    specalign train prepared/ --encoder apogee=starnet --labels allStar.fits --system aspcap-dr17
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from jsonargparse.typing import PositiveInt, restricted_number_type

    from specalign.cli.tables import add_label_file

    share = restricted_number_type("ShareBelowOne", float, [(">=", 0), ("<", 1)])
    parser.add_argument(
        "prepared", nargs="+", metavar="FILE", help="files that `specalign prepare` wrote, or their folder"
    )
    parser.add_argument("--output", default="aligner", metavar="FOLDER", help="where the aligner goes")
    parser.add_argument(
        "--encoder",
        nargs="+",
        default=[],
        metavar="INSTRUMENT=NAME",
        help="encoders other than the default one: a name, or a folder that `specalign pretrain` wrote",
    )
    parser.add_argument(
        "--freeze", nargs="+", default=[], metavar="INSTRUMENT", help="whose pre-trained encoder trains its head alone"
    )
    parser.add_argument("--objective", default="clip+likelihood", metavar="NAME", help="what the training makes small")
    add_label_file(parser, required=False)
    parser.add_argument("--embed-dim", type=PositiveInt, default=128, help="length of the vectors")
    parser.add_argument("--max-epochs", type=PositiveInt, default=30, help="times that every star is seen at most")
    parser.add_argument("--batch-size", type=PositiveInt, default=256, help="stars a step")
    parser.add_argument("--validation", type=share, default=0.1, help="share of stars that choose the best epoch")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it")
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu or auto")


def run(arguments):
    """Read, fit and save."""
    from specalign.alignment import Aligner
    from specalign.cli.tables import read_label_file, read_prepared

    prepared = read_prepared(arguments.prepared)
    labels = read_label_file(arguments)
    aligner = Aligner(_encoders(arguments, prepared), embed_dim=arguments.embed_dim, objective=arguments.objective)
    aligner.fit(
        prepared,
        labels=labels,
        validation=arguments.validation,
        max_epochs=arguments.max_epochs,
        batch_size=arguments.batch_size,
        accelerator=arguments.accelerator,
        seed=arguments.seed,
        progress=wants_progress(arguments),
    )
    aligner.save(arguments.output)
    print(repr(aligner.history))
    print(f"{arguments.output}: {aligner!r}")
    print(f"next: specalign embed {' '.join(map(str, arguments.prepared))} --aligner {arguments.output}")


def _encoders(arguments, prepared):
    """Names of the instruments, or of an encoder for each where one was chosen."""
    chosen = dict(pair.partition("=")[::2] for pair in arguments.encoder)
    unknown = sorted(set(chosen) - set(prepared))
    if unknown:
        raise UsageError(f"--encoder: expected INSTRUMENT=NAME with one of {', '.join(prepared)}, got {unknown[0]!r}")
    if len(prepared) < 2:
        raise MatchError(f"expected spectra of two instruments or more, got {', '.join(prepared)}")
    encoders = {name: _encoder(name, chosen.get(name, "mlp"), arguments) for name in prepared}
    for name in arguments.freeze:
        if isinstance(encoders.get(name), (str, type(None))):
            raise UsageError(f"--freeze: expected instruments whose --encoder is a pre-trained one, got {name!r}")
        encoders[name].freeze()
    return encoders if chosen else list(prepared)


def _encoder(name, choice, arguments):
    """The name of a plugin, or the pre-trained encoder of a folder."""
    from specalign.alignment import load_encoder

    if not Path(choice).is_dir() and Path(choice).name == choice:
        return choice
    encoder = load_encoder(choice)
    if encoder.embed_dim != arguments.embed_dim:
        raise UsageError(f"--embed-dim: expected {encoder.embed_dim} as {choice} has, got {arguments.embed_dim}")
    return encoder
