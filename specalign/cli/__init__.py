"""The command line ``specalign``: every verb is thin, and calls the package's public functions."""

import importlib
import os
import sys
import traceback
import warnings

from specalign.cli.files import UsageError
from specalign.cli.messages import logged, shown
from specalign.exceptions import MissingExtraError, SpecalignError, SpecalignWarning

__all__ = ["main"]


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The words after ``specalign``; those of the process by default.

    Returns
    -------
    int
        0 done; 1 an error that the user can act on, printed in one line; 2 wrong usage; 130 interrupted.

    Examples
    --------
    >>> from specalign.cli import main
    >>> main(["--version"])
    specalign 0.1.dev0
    0
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # argparse ends the process after --help, --version and wrong usage
        return end.code if isinstance(end.code, int) else 2
    except MissingExtraError as error:
        return _report(error, debug=False)
    return _run(arguments.subcommand, arguments[arguments.subcommand])


def _parser():
    try:
        from specalign.cli.parser import build_parser
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the command line needs {error.name}, which is not installed; run: pip install 'specalign[all]'"
        ) from error
    return build_parser()


def _run(verb, arguments):
    # Read once, when torch loads OpenMP: threads that spin while they wait slow small steps tenfold on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run = importlib.import_module(f"specalign.cli.{verb}").run
    try:
        with warnings.catch_warnings(), logged(arguments.log_level), shown(arguments.progress):
            warnings.simplefilter("default", SpecalignWarning)
            warnings.showwarning = _print_warning
            run(arguments)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (SpecalignError, OSError) as error:
        return _report(error, arguments.debug)
    except UsageError as error:
        print(f"specalign: error: {error}; see specalign {verb} --help", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("specalign: interrupted", file=sys.stderr)
        return 130
    return 0


def _report(error, debug):
    if debug:
        traceback.print_exception(error)
    print(f"specalign: error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    return 1


def _print_warning(message, category, filename, lineno, file=None, line=None):
    print(f"specalign: warning: {' '.join(str(message).split())}", file=file or sys.stderr)
