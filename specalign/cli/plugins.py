"""List the plugins that are installed, or hold one to its contract.

Listing reads metadata only, and runs no code of anybody. A check runs the code of
the plugin that is named, on examples that it makes, and ends with exit code 1 if
a promise is broken.
"""

import importlib

from specalign.cli.files import UsageError, wants_progress
from specalign.exceptions import ContractError, UnknownPluginError
from specalign.plugins import KINDS, find_plugins

EXAMPLE = """
    specalign plugins
    specalign plugins check starnet
    specalign plugins check weave --kind instrument --seed 3
"""

HEAD = ("kind", "name", "distribution", "place")


def add_arguments(parser):
    """Add the arguments of this verb."""
    parser.add_argument("action", nargs="?", default="list", choices=("list", "check"), help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the plugin to check")
    parser.add_argument("--kind", choices=[kind[:-1] for kind in KINDS], help="only plugins of this kind")
    parser.add_argument("--seed", type=int, default=0, help="of all that a check draws")


def run(arguments):
    """Print the table of plugins, or that of the checks of one."""
    kinds = [f"{arguments.kind}s"] if arguments.kind else KINDS
    if arguments.action == "check":
        if arguments.name is None:
            raise UsageError("check: expected the NAME of a plugin")
        return _check(_kind_of(arguments.name, kinds), arguments)
    if arguments.name is not None:
        raise UsageError(f"list: expected no NAME, got {arguments.name!r}")
    print("\n".join(table_lines(kinds)))


def table_lines(kinds):
    """A line for each plugin of some kinds, below a head."""
    rows = [
        (kind[:-1], plugin.name, plugin.distribution, f"{plugin.module}:{plugin.attribute}")
        for kind in kinds
        for plugin in find_plugins(kind)
    ]
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    for row in (HEAD, tuple("-" * width for width in widths), *rows):
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _kind_of(name, kinds):
    """The one kind that has a plugin of that name."""
    names = {kind: {plugin.name for plugin in find_plugins(kind)} for kind in kinds}
    found = [kind for kind, known in names.items() if name in known]
    if len(found) > 1:
        kinds = " and of ".join(f"an {kind[:-1]}" for kind in found)
        raise UsageError(f"{name!r} is the name of {kinds}; choose with --kind")
    if not found:
        known = "; ".join(f"{kind}: {', '.join(sorted(values)) or 'none'}" for kind, values in names.items())
        raise UnknownPluginError(f"no plugin is called {name!r}; installed are {known}")
    return found[0][:-1]


def _check(kind, arguments):
    from tqdm import tqdm

    contract = importlib.import_module(f"specalign.testing.{kind}s")
    generate, check = getattr(contract, f"{kind}_checks"), getattr(contract, f"check_{kind}")
    total = len(list(generate(arguments.name)))
    with tqdm(total=total, unit="check", desc=arguments.name, disable=not wants_progress(arguments)) as bar:
        table = check(arguments.name, seed=arguments.seed, on_fail="record", callback=lambda *row: bar.update())
    print(repr(table))
    if table.failures:
        broken = ", ".join(table.failures)
        raise ContractError(f"the {kind} {arguments.name} breaks {len(table.failures)} of {total} promises: {broken}")
