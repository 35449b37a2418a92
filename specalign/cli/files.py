"""Files that are named on the command line: which they are, and what reads them."""

from specalign.exceptions import UnknownProductError

__all__ = [
    "UsageError",
    "add_instrument",
    "chosen_instruments",
    "expand",
    "progress_bar",
    "read_spectra",
    "wants_progress",
]


class UsageError(Exception):
    """Options that do not fit together; the exit code is 2."""


def expand(patterns, written=False):
    """See `specalign.io.paths.expand`, which is imported late: ``--help`` needs no astropy.

    ``written``: folders stand for files that the package wrote, whatever else lies there.
    """
    from specalign.io.paths import ENDINGS, WRITTEN, expand

    return expand(patterns, WRITTEN if written else ENDINGS)


def add_instrument(parser):
    """Add the options that choose an instrument."""
    parser.add_argument(
        "--instrument", metavar="NAME", help="the instrument; by default the built-in one that reads the file"
    )
    parser.add_argument(
        "--option",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of the instrument, such as disperser=g140h",
    )


def chosen_instruments(arguments):
    """The instrument that was named, or every built-in one.

    Another distribution's code runs only when it is asked for by name.
    """
    from specalign.instruments import get_instrument
    from specalign.plugins import find_plugins

    if arguments.instrument:
        return [get_instrument(arguments.instrument, **_options(arguments.option))]
    if arguments.option:
        raise UsageError("--option needs --instrument")
    return [get_instrument(p.name) for p in find_plugins("instruments") if p.distribution == "specalign"]


def _options(pairs):
    import yaml

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageError(f"--option: expected KEY=VALUE, got {wrong[0]!r}")
    return {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in pairs)}


def read_spectra(path, instruments, visits="combined"):
    """The first instrument that knows the product, and its spectra of the file.

    Raises
    ------
    UnknownProductError
        No instrument reads it.
    """
    if len(instruments) == 1:
        return instruments[0], instruments[0].read(path, visits=visits)
    for instrument in instruments:
        try:
            return instrument, instrument.read(path, visits=visits)
        except UnknownProductError:
            continue
    names = ", ".join(instrument.name for instrument in instruments)
    raise UnknownProductError(f"{path}: no product of {names}; --instrument NAME tells what that one expects")


def wants_progress(arguments):
    """What ``progress=`` of the package's functions is told: False where bars are switched off, else nothing."""
    return None if arguments.progress else False


def progress_bar(items, arguments, name):
    """Items with a bar that counts them."""
    from specalign.config import progress_bar

    return progress_bar(items, progress=wants_progress(arguments), desc=name, unit="file")
