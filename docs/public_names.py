"""Every name of the API reference, and whether it has an example that runs: ``python docs/public_names.py``."""

import doctest
import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path

REFERENCE = Path(__file__).parent / "reference"
DIRECTIVE = re.compile(r"^\.\. automodapi:: (\S+)\n((?:   :.*\n?)*)", re.MULTILINE)
SKIPPED = re.compile(r":skip: (.*)")


@dataclass(frozen=True, order=True)
class PublicName:
    """One documented object.

    Parameters
    ----------
    module, name : str
        The module that documents it, and its name there.
    has_example : bool
        Whether a doctest of its docstring uses it; for an object without a docstring of its own, one of the module's.
    """

    module: str
    name: str
    has_example: bool

    def __str__(self):
        return f"{'yes' if self.has_example else 'NO '}  {self.module}.{self.name}"


def public_names():
    """Every `PublicName` that the pages of ``docs/reference`` document, sorted."""
    return sorted(name for module, skipped in documented_modules() for name in _names(module, skipped))


def documented_modules():
    """Modules with the names that their page leaves out."""
    found = {}
    for page in sorted(REFERENCE.glob("*.rst")):
        for module, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            found[module] = {name.strip() for line in SKIPPED.findall(options) for name in line.split(",")}
    return sorted(found.items())


def _names(module, skipped):
    """The objects of one module."""
    home = importlib.import_module(module)
    for name in sorted(set(home.__all__) - skipped):
        value = getattr(home, name)
        if not inspect.ismodule(value):
            yield PublicName(module, name, any(_uses(text, name) for text in _docstrings(value, home)))


def _docstrings(value, home):
    """Where the examples of an object may stand: its own docstring, its own methods', or the module's."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return [home.__doc__ or ""]
    members = vars(value).values() if inspect.isclass(value) else ()
    functions = (getattr(member, "__func__", getattr(member, "fget", member)) for member in members)
    return [value.__doc__ or "", *(function.__doc__ or "" for function in functions if inspect.isroutine(function))]


def _uses(text, name):
    examples = doctest.DocTestParser().get_examples(text)
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(word.search(example.source) or word.search(example.want) for example in examples)


def main():
    """Print the list and the counts; 1 where a name has no example."""
    names = public_names()
    print("\n".join(map(str, names)))
    without = sum(not name.has_example for name in names)
    print(f"{len(names)} public names, {len(names) - without} with an example, {without} without")
    return int(bool(without))


if __name__ == "__main__":
    sys.exit(main())
