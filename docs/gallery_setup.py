"""How the gallery in ``docs/gallery`` is run: what a cell shows, and under which conditions.

sphinx-gallery finds the functions by their names in ``conf.py``.  A tutorial shows a figure by naming it in the
last line of a cell, as in a notebook; the package's figures belong to no window, so sphinx-gallery does not find
them by itself.
"""

import warnings
from pathlib import Path

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

#: What the libraries under us say when they are imported; the same as in the tests.
HARMLESS = ("numpy.ndarray size changed", "numpy.ufunc size changed")

#: Types of figures, whose text below the picture says nothing.
NO_TEXT = r"matplotlib\.figure|specalign\.plots\.style"

#: The tutorials in the order in which to read them.
ORDER = (
    "catalogue_study.py",
    "jwst_and_apogee.py",
    "x1d_and_apogee.py",
    "hundred_new_spectra.py",
    "starnet.py",
    "theory_to_jwst.py",
    "lamost_and_xp.py",
)

_kept = []


def reading_order(filename):
    """Place of a tutorial in the gallery; one without a place is an error.

    Parameters
    ----------
    filename : str
    """
    name = Path(filename).name
    if name not in ORDER:
        raise ValueError(f"{name} has no place among the tutorials: add it to ORDER in docs/gallery_setup.py")
    return ORDER.index(name)


def show_last_figure(block, block_vars, gallery_conf, **options):
    """The figure that is the value of a cell's last line, as reStructuredText; nothing where it is none.

    Parameters
    ----------
    block, block_vars, gallery_conf
        As sphinx-gallery gives them to an image scraper.
    """
    figure = block_vars["example_globals"].get("___")
    # the value outlives its cell, and a cell that ends otherwise must not show it again
    if not isinstance(figure, Figure) or figure is block_vars.get("shown"):
        return ""
    block_vars["shown"] = figure
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=150)
    return figure_rst([path], gallery_conf["src_dir"], fig_titles=_in_words(figure))


def _in_words(figure):
    """The titles of a figure, for those who do not see it."""
    titles = [figure.get_suptitle(), *(ax.get_title(loc) for ax in figure.axes for loc in ("left", "center"))]
    return "; ".join(title.replace("\n", " ") for title in titles if title)


def same_conditions(gallery_conf, fname, when):
    """Before a tutorial: any warning is an error, and one thread; afterwards, as it was before.

    Parameters
    ----------
    gallery_conf : dict
    fname : path-like
    when : {"before", "after"}
    """
    import torch

    if when == "before":
        torch.set_num_threads(1)
        _kept.append(warnings.catch_warnings())
        _kept[-1].__enter__()
        warnings.simplefilter("error")
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message)
    elif _kept:
        _kept.pop().__exit__(None, None, None)
