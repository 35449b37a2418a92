"""What a plugin costs: count the lines of each distribution beside this file, and write them to ``cost.csv``.

python docs/examples/cost.py
"""

import ast
import csv
import io
import tokenize
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
HEAD = ("distribution", "module", "of these, code", "entry point", "test", "page")


def count(folder):
    """A row of the table: lines of the module, its code, the entry points, the tests and the page."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    module = folder / f"{project['tool']['setuptools']['py-modules'][0]}.py"
    entries = sum(len(group) for group in project["project"]["entry-points"].values())
    tests = sum(lines(path) for path in folder.glob("test_*.py"))
    return folder.name, lines(module), code_lines(module), entries, tests, lines(folder / "README.rst")


def lines(path):
    """Lines of a file."""
    return len(path.read_text().splitlines())


def code_lines(path):
    """Lines of a Python file that are no docstring, no comment and not empty."""
    text = path.read_text()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in skipped]
    code = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(code)


def table():
    """All rows, with the head."""
    return [HEAD, *(count(path.parent) for path in sorted(HERE.glob("*/pyproject.toml")))]


if __name__ == "__main__":
    with (HERE / "cost.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(table())
