"""Labels that figures and tables show where there is no room for all, and the figures of a catalogue."""

__all__ = ["catalogue_figures", "few_labels"]

#: The usual labels; panels of more cannot be read.
USUAL = ("teff", "logg", "fe_h", "mg_fe", "c_fe")

#: Labels of a corner plot that can still be read on a page.
MOST_CORNER = 8


def few_labels(names, usual=USUAL):
    """The usual ones of the labels, or else the first of them."""
    return [name for name in usual if name in names] or list(names)[: len(usual)]


def catalogue_figures(labels, names):
    """Densities, a histogram and a corner plot of a catalogue.

    Parameters
    ----------
    labels : `~astropy.table.QTable`
        One row a star.
    names : list of str
        Labels that some star has.

    Returns
    -------
    figures : list of (`~matplotlib.figure.Figure`, str)
    notes : list of str
        Why a figure is left out.
    """
    from specalign.exceptions import LabelError, MissingExtraError
    from specalign.plots import plot_abundance, plot_corner, plot_density, plot_histogram

    some = list(names) if len(names) <= MOST_CORNER else few_labels(names)
    rest = "" if len(some) == len(names) else f" {len(some)} of {len(names)} labels; the table has the others."
    drawings = [
        (("teff", "logg"), lambda: plot_density(labels), "Surface gravity against effective temperature."),
        (("fe_h",), lambda: plot_histogram(labels, "fe_h"), "Metallicity."),
        (
            ("fe_h", "mg_fe"),
            lambda: plot_abundance(labels),
            "Magnesium against metallicity; dotted lines are the solar values.",
        ),
        (
            some[:1],
            lambda: plot_corner(labels, some),
            f"Labels against each other; each panel shows the stars that have both.{rest}",
        ),
    ]
    figures, notes = [], []
    for needed, draw, caption in drawings:
        if needed and set(needed) <= set(names):
            try:
                figures.append((draw(), caption))
            except (LabelError, MissingExtraError) as error:
                notes.append(f"Left out, {caption.split('.')[0].lower()}: {error}.")
    return figures, notes
