"""Pre-train an encoder on prepared spectra of one instrument, without labels.

The encoder is saved as a folder of weights and JSON. `specalign train --encoder
INSTRUMENT=FOLDER` begins with it.
"""

from specalign.cli.files import UsageError, read_options, wants_progress
from specalign.exceptions import MatchError, SpecalignError

EXAMPLE = """
    specalign pretrain prepared/lamost.fits --output lamost-encoder/
    specalign pretrain prepared/gaia_xp.fits --encoder autoencoder --option hidden=128 bottleneck=32
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from jsonargparse.typing import PositiveInt, restricted_number_type

    share = restricted_number_type("ShareBelowOne", float, [(">=", 0), ("<", 1)])
    parser.add_argument(
        "prepared", nargs="+", metavar="FILE", help="files of one instrument that `specalign prepare` wrote"
    )
    parser.add_argument("--encoder", default="specformer", metavar="NAME", help="one that gives spectra back")
    parser.add_argument("--option", nargs="+", default=[], metavar="KEY=VALUE", help="options of the encoder")
    parser.add_argument("--output", default="encoder", metavar="FOLDER", help="where the encoder goes")
    parser.add_argument("--embed-dim", type=PositiveInt, default=128, help="length of the vectors")
    parser.add_argument("--max-epochs", type=PositiveInt, help="by default 10, or as many as make a thousand steps")
    parser.add_argument("--batch-size", type=PositiveInt, default=128, help="stars a step")
    parser.add_argument("--validation", type=share, default=0.1, help="share of stars that choose the best epoch")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it")
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu or auto")


def run(arguments):
    """Read, pre-train, save."""
    from specalign.alignment import save_encoder
    from specalign.cli.tables import read_prepared

    prepared = read_prepared(arguments.prepared)
    if len(prepared) != 1:
        raise MatchError(f"expected spectra of one instrument, got {', '.join(prepared)}; name the files of one")
    ((name, spectra),) = prepared.items()
    encoder = _pretrained(arguments, spectra)
    save_encoder(encoder, arguments.output)
    print(repr(encoder.history))
    print(f"{arguments.output}: {encoder.origin!r}")
    print(f"next: specalign train FILES --encoder {name}={arguments.output} --embed-dim {arguments.embed_dim}")


def _pretrained(arguments, spectra):
    from specalign.alignment import pretrain

    try:
        return pretrain(
            arguments.encoder,
            spectra,
            embed_dim=arguments.embed_dim,
            validation=arguments.validation,
            max_epochs=arguments.max_epochs,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            accelerator=arguments.accelerator,
            progress=wants_progress(arguments),
            **_options(arguments),
        )
    except ValueError as error:
        if isinstance(error, SpecalignError):
            raise
        raise UsageError(str(error)) from error  # of an option


def _options(arguments):
    """Options that the encoder has."""
    from specalign.encoders import get_encoder

    options = read_options(arguments.option)
    if options:
        known = set(get_encoder(arguments.encoder, n_pixels=64).config()) - {"n_pixels", "embed_dim"}
        if unknown := sorted(set(options) - known):
            raise UsageError(f"--option: expected some of {', '.join(sorted(known))}, got {unknown[0]!r}")
    return options
