"""Sphinx configuration: the Astropy theme, warnings are errors, and nothing is fetched unless asked."""

import os
from datetime import UTC, datetime

from sphinx_astropy.conf.v3 import *  # noqa: F403
from sphinx_astropy.conf.v3 import exclude_patterns, intersphinx_mapping

import specalign

project = "specalign"
author = "The specalign developers"
copyright = f"2026-{datetime.now(UTC).year}, {author}"
version = release = specalign.__version__
html_title = f"specalign {release}"
htmlhelp_basename = "specalign"

exclude_patterns += ["_build", "reference/api/.*"]
highlight_language = "python3"
automodapi_inheritance_diagram = 0
automodsumm_inherited_members = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
plot_formats = ["png"]

# Links to other projects need the network; a build without it must pass too.
if not os.environ.get("SPECALIGN_DOCS_LINKS"):
    intersphinx_mapping.clear()

# Every reference to our own names must resolve; those to other projects do where links are switched on.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!specalign)(?!.*\bspecalign\.).*")]
