"""Sphinx configuration: the Astropy theme, warnings are errors, and nothing is fetched unless asked."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sphinx_astropy.conf.v3 import *  # noqa: F403
from sphinx_astropy.conf.v3 import exclude_patterns, extensions, intersphinx_mapping

import specalign

project = "specalign"
author = "The specalign developers"
years = dict.fromkeys([2026, datetime.now(UTC).year])
copyright = f"{'-'.join(map(str, years))}, {author}"
version = release = specalign.__version__
html_title = f"specalign {release}"
htmlhelp_basename = "specalign"
html_static_path = ["_static"]
html_css_files = ["specalign.css"]

# How-to pages include the examples, and tutorials are made from the gallery.
exclude_patterns += ["_build", "examples", "gallery"]
highlight_language = "python3"
automodapi_toctreedirnm = "reference/api"
automodapi_inheritance_diagram = 0
automodsumm_inherited_members = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
plot_formats = [("png", 150)]
plot_html_show_formats = False

# Links to other projects need the network; a build without it must pass too.
if not os.environ.get("SPECALIGN_DOCS_LINKS"):
    intersphinx_mapping.clear()

# Every reference to our own names must resolve; those to other projects do where links are switched on.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!specalign)(?!.*\bspecalign\.).*")]

# The tutorials are programs in docs/gallery; sphinx-gallery runs them and writes their pages to docs/tutorials.  They
# run in every build, since a change of the package may break one that did not change (-D plot_gallery=0: not at all).
sys.path.insert(0, str(Path(__file__).parent))
import gallery_setup  # noqa: E402

extensions += ["sphinx_gallery.gen_gallery", "html_output"]
html_math_renderer = "mathml"
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery_setup.reading_order",
    "image_scrapers": ("gallery_setup.show_last_figure",),
    "reset_modules": ("matplotlib", "gallery_setup.same_conditions"),
    "reset_modules_order": "both",
    "run_stale_examples": True,
    "parallel": min(2, os.cpu_count() or 1),  # each runs for minutes on one core
    "abort_on_example_error": True,
    "ignore_repr_types": gallery_setup.NO_TEXT,
    "first_notebook_cell": "%matplotlib inline",
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "thumbnail_size": (480, 336),
    "backreferences_dir": None,
}
# One tutorial shows real spectra where this folder exists, and says which it shows.
os.environ.setdefault("SPECALIGN_SHARED", str(Path(__file__).parents[2] / "shared"))


def find_public_name(app, env, node, contnode):
    """Resolve a name under which the package offers an object, such as specalign.Aligner, to where it is defined."""
    parts = node.get("reftarget", "").split(".")
    if parts[0] != "specalign":
        return None
    value = specalign
    for part in parts[1:]:
        value = getattr(value, part, None)
    domain = env.get_domain("py")
    module, name = getattr(value, "__module__", "").split("."), getattr(value, "__qualname__", "")
    # a package may document what one of its modules defines
    homes = [".".join([*module[:depth], name]) for depth in range(len(module), 0, -1)]
    found = (domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, contnode)
             for home in homes if home != node["reftarget"])  # fmt: skip
    return next((reference for reference in found if reference is not None), None)


def setup(app):
    """Called by Sphinx."""
    app.connect("missing-reference", find_public_name)
