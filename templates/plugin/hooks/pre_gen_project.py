"""Refuse names that could not be installed, before a file is written."""

import keyword
import re
import sys

DISTRIBUTION, PLUGIN, AUTHOR = "{{ cookiecutter.distribution }}", "{{ cookiecutter.plugin }}", """{{ cookiecutter.author }}"""

if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", DISTRIBUTION):
    sys.exit(f"distribution: expected letters, digits and single '-', beginning with a letter, got {DISTRIBUTION!r}")
if DISTRIBUTION.lower() == "specalign":
    sys.exit(f"distribution: expected a name of its own, got {DISTRIBUTION!r}, whose module would hide the package")
if keyword.iskeyword(PLUGIN) or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", PLUGIN):
    sys.exit(f"plugin: expected lower-case letters, digits and single '_', no keyword of Python, got {PLUGIN!r}")
if not AUTHOR.strip() or '"' in AUTHOR or "\\" in AUTHOR or "\n" in AUTHOR:
    sys.exit(f"author: expected a name without quotation marks and backslashes, got {AUTHOR!r}")
