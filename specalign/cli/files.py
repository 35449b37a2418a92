"""Files that are named on the command line: which they are, and what reads them."""

from specalign.exceptions import UnknownProductError

__all__ = [
    "UsageError",
    "add_instrument",
    "chosen_instruments",
    "expand",
    "progress_bar",
    "read_options",
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
        "--instrument",
        nargs="+",
        default=[],
        metavar="NAME",
        help="the instrument, or several that are tried in turn; by default the built-in ones",
    )
    parser.add_argument(
        "--option",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of the instrument, such as disperser=g140h",
    )


def chosen_instruments(arguments):
    """The instruments that were named, or every built-in one.

    Another distribution's code runs only when it is asked for by name.
    """
    from specalign.instruments import get_instrument
    from specalign.plugins import find_plugins

    given = arguments.instrument
    names = list(dict.fromkeys([given] if isinstance(given, str) else given))  # a run file may state one word
    if arguments.option and len(names) != 1:
        raise UsageError("--option needs one --instrument" if names else "--option needs --instrument")
    if names:
        return [get_instrument(name, **read_options(arguments.option)) for name in names]
    return [get_instrument(p.name) for p in find_plugins("instruments") if p.distribution == "specalign"]


def read_options(pairs):
    """What follows ``--option``: dict of the keys to the values, as YAML has them."""
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
    names = [instrument.name for instrument in instruments]
    raise UnknownProductError(
        f"{path}: no product of {', '.join(names)}; --instrument NAME tells what that one expects{_untried(names)}"
    )


def _untried(names):
    """The installed instruments that were not asked, since they were not named."""
    from specalign.plugins import find_plugins

    others = sorted({plugin.name for plugin in find_plugins("instruments")} - set(names))
    return f" ({', '.join(others)} not tried)" if others else ""


def wants_progress(arguments):
    """What ``progress=`` of the package's functions is told: False where bars are switched off, else nothing."""
    return None if arguments.progress else False


def progress_bar(items, arguments, name):
    """Items with a bar that counts them."""
    from specalign.config import progress_bar

    return progress_bar(items, progress=wants_progress(arguments), desc=name, unit="file")
