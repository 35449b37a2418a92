"""What this documentation changes in the HTML that Sphinx writes: formulas, thumbnails, the way back from source code.

Formulas become MathML, which browsers draw by themselves: the default, MathJax, is fetched from a server by every
reader, and leaves raw TeX where there is no network.  docutils translates them; what it does not know is a warning.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)
#: A link of a page of source code to the page of an object, whose name says under which module it is documented.
BACK = re.compile(r'/(?P<home>[\w.]+)\.(?P<name>\w+)\.html#[\w.]*\.(?P=name)(?P<rest>(\.\w+)*)"')
#: A thumbnail of sphinx-gallery, which leaves it without words, and the title that stands below it.
THUMBNAIL = re.compile(
    r":alt:\n(?P<between>\n  :doc:`.*`\n\n"
    r'.. raw:: html\n\n *<div class="[\w-]*title">(?P<title>.*)</div>)'
)


def to_mathml(node):
    """A formula as MathML, or as it was written, with a warning, where docutils does not know a command.

    Parameters
    ----------
    node : `docutils.nodes.math` or `docutils.nodes.math_block`
    """
    try:
        return tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
    except MathError as error:
        logger.warning("formula: %s", error, location=node)
        return f"<code>{node.astext().replace('&', '&amp;').replace('<', '&lt;')}</code>"


def visit_math(translator, node):
    """Write a formula; called by Sphinx for those in a line and for displayed ones."""
    translator.body.append(to_mathml(node))
    raise nodes.SkipNode


def mend_way_back(app, pagename, templatename, context, doctree):
    """Lead from source code to the object that it defines, under the name by which a package offers it.

    ``sphinx.ext.viewcode`` keeps one module's name for all that a file defines, the first under which any of it is
    documented; but some of it may be documented in its own module and some in the package above.
    """
    if pagename.startswith("_modules/"):
        context["body"] = BACK.sub(r'/\g<home>.\g<name>.html#\g<home>.\g<name>\g<rest>"', context["body"])


def name_thumbnails(app, docname, source):
    """Give each thumbnail of the gallery the title of its page, for those who do not see it."""
    if docname.startswith("tutorials/"):
        source[0] = THUMBNAIL.sub(r":alt: \g<title>\n\g<between>", source[0])


def setup(app):
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("source-read", name_thumbnails)
    app.connect("html-page-context", mend_way_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
