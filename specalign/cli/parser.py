"""The parser: a sub-command for each verb, the options that all verbs share, and YAML run files."""

import argparse
import importlib
import textwrap

from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

from specalign import __version__

__all__ = ["VERBS", "build_parser"]

VERBS = (
    "quickstart", "instruments", "plugins", "inspect", "study", "prepare", "pretrain", "train", "embed", "search",
    "labels", "report", "model", "predict", "fetch",
)  # fmt: skip

LEVELS = ("debug", "info", "warning", "error")
DESCRIPTION = """\
One shared space for every stellar spectrograph: prepare the spectra of several
instruments, align the instruments, look stars up and label them across surveys.
"""
EPILOG = """\
example:
  specalign quickstart                    the whole road on a mock survey
  specalign inspect aspcapStar-*.fits     what is in a file, before and after
  specalign train --config run.yaml       options of a verb from a YAML file

exit codes: 0 done, 1 an error (one line; --debug adds the traceback), 2 wrong usage
"""


class _Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of descriptions and examples."""


def build_parser():
    """The parser of the command line; making it imports nothing heavy.

    Returns
    -------
    `jsonargparse.ArgumentParser`
    """
    parser = ArgumentParser(
        prog="specalign", description=DESCRIPTION, epilog=EPILOG, version=__version__, formatter_class=_Formatter
    )
    verbs = parser.add_subcommands(title="verbs", description="", metavar="VERB", dest="subcommand")
    for name in VERBS:
        verb = importlib.import_module(f"specalign.cli.{name}")
        verbs.add_subcommand(name, _verb_parser(verb), help=verb.__doc__.splitlines()[0])
    return parser


def _verb_parser(verb):
    """A verb is a module with a docstring (its help), EXAMPLE, `add_arguments` and `run`."""
    epilog = "example:\n" + textwrap.indent(textwrap.dedent(verb.EXAMPLE).strip(), "  ")
    parser = ArgumentParser(description=verb.__doc__, epilog=epilog, formatter_class=_Formatter)
    verb.add_arguments(parser)
    parser.add_argument("--progress", action=ActionYesNo(no_prefix="no-"), default=True, help="progress bars")
    parser.add_argument(
        "--log-level", choices=LEVELS, default="warning", help="what is told on the way; info: decisions and counts"
    )
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    parser.add_argument("--config", action="config", help="YAML run file with any of these options")
    return parser
