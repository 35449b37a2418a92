"""The sections of a report, in the order in which a reader asks."""

from dataclasses import replace

from specalign.cli.report_checks import catalogue_checks, provenance
from specalign.cli.report_outcome import known_names

__all__ = ["write"]

#: Points of a picture of the space: more take longer than they tell.
MOST_POINTS = 1000

NEIGHBOURS = 5
QUERIES = 4

ONE_INSTRUMENT = "Left out: there are no test spectra of two instruments to compare."
NO_LABELS = "Left out: no catalogue of labels was given."
ORDERS = {
    "cosine": "in the order of their cosines",
    "likelihood": "in the order of how likely they are of the same star, given how uncertain both spectra are",
}


def write(path, outcome):
    """Write the report and return its path.

    Parameters
    ----------
    path : path-like
    outcome : `~specalign.cli.report_outcome.Outcome`
    """
    from specalign.plots import write_report

    sections = [
        *_looking(outcome),
        _transferred(outcome),
        _retrieval(outcome),
        _baselines(outcome),
        _training(outcome),
        _spectra(outcome),
        catalogue_checks(outcome),
        _next(outcome),
    ]
    tested = len(outcome.tables["test", outcome.query]) if outcome.query else 0
    stars = {star for prepared in outcome.prepared.values() for star in prepared.object_id.tolist()}
    return write_report(
        path,
        outcome.title,
        [section for section in sections if section is not None],
        subtitle=f"{' and '.join(outcome.prepared)}: {len(stars)} stars, {tested} test spectra",
        headline=_headline(outcome),
        notes=outcome.notes,
        provenance=provenance(outcome),
    )


def _headline(outcome):
    cards = []
    if outcome.retrieval:
        first = next(iter(outcome.retrieval.values()))
        factor = first["recall@1"] / first["chance_recall@1"]
        way = f"{outcome.query} to {outcome.gallery}; {factor:.0f} times chance"
        cards.append(("recall@1", f"{first['recall@1']:.2f}", way))
        cards.append(("median rank", f"{first['median_rank']:.0f}", f"among {first['n_gallery']} spectra"))
    known = "teff" in outcome.shown_labels()
    for method in [name for name, table in outcome.predictions.items() if known and "teff" in table.colnames][:2]:
        cards.append(("R² of Teff", f"{outcome.r2(method):.3f}", f"{method}; {outcome.query} test stars"))
    return cards


def _looking(outcome):
    """Retrieved spectra, neighbour maps and pictures of the space; projections and the search are made once."""
    import numpy as np

    from specalign.plots import Section

    if outcome.pair is None:
        return [Section(title, ONE_INSTRUMENT) for title in ("Look-alikes", "Neighbours", "The shared space")]
    queries, gallery = outcome.pair
    neighbours = gallery.search(queries, k=max(NEIGHBOURS, min(50, len(gallery))))
    few = neighbours[neighbours["rank"] <= NEIGHBOURS]
    chosen = _spread_queries(outcome)
    few = few[np.isin(few["spectrum_id"], chosen)]
    projections = _projections(outcome, few)
    return [
        _lookalikes(outcome, neighbours),
        _neighbours(outcome, few, projections),
        _space(outcome, projections),
    ]


def _projections(outcome, few):
    from specalign.data.embeddings import EmbeddingTable
    from specalign.exceptions import MissingExtraError, SpectrumError
    from specalign.plots import project

    both = EmbeddingTable.concatenate(outcome.pair)
    shown = both[_shown_rows(both, outcome.pair[0].object_id, few, outcome.seed)]
    found = {}
    for method in ("tsne", "umap"):
        try:
            found[method] = replace(project(shown, method, seed=outcome.seed), n_left_out=len(both) - len(shown))
        except (MissingExtraError, SpectrumError) as error:
            outcome.left_out[f"the picture of the space by {method}"] = str(error)
    return found


def _shown_rows(both, queried, few, seed):
    """Rows of whole stars: those of the map of neighbours, then those that are queried, then others, by the seed."""
    import numpy as np

    names, star, counts = np.unique(both.object_id, return_inverse=True, return_counts=True)
    mapped = np.isin(names, np.concatenate([few["object_id"], few["neighbour_object_id"]]))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = np.lexsort((shuffled, ~np.isin(names, queried), ~mapped))
    return np.flatnonzero(np.isin(star, order[np.cumsum(counts[order]) <= MOST_POINTS]))


def _lookalikes(outcome, neighbours):
    """A star that was found, and one that was not."""
    from specalign.exceptions import GridMismatchError
    from specalign.plots import Section, plot_neighbours, plot_retrieved

    spectra = outcome.prepared[outcome.query], outcome.prepared[outcome.gallery]
    figures = []
    for name, place in _found_and_missed(neighbours):
        try:
            figure = plot_retrieved(neighbours, *spectra, spectrum_id=name)
        except GridMismatchError:  # no wavelength in common: they can only stand below each other
            figure = plot_neighbours(neighbours, *spectra, spectrum_id=name)
        figures.append((figure, f"A query and the spectra that are most like it; its own star {place}."))
    text = (
        f"The {outcome.gallery} spectra that are most like the {outcome.query} spectrum of a star in the shared space, "
        f"drawn over it, {ORDERS[neighbours.meta['similarity']]}. The cosine is that of the two embeddings: 1 is the "
        "same direction, 0 is unrelated. Each spectrum is shown at its own resolution, so that lines of the sharper "
        "instrument are deeper also for the same star, and in the frame in which it was prepared, so that lines are "
        "shifted where a velocity was not known."
    )
    return Section("Look-alikes", text, figures=figures)


def _found_and_missed(neighbours):
    """(spectrum_id, where its own star is) of the first query that is found at once, and of the first that is not."""
    import numpy as np

    k = int(np.max(neighbours["rank"]))
    own = neighbours[np.asarray(neighbours["object_id"] == neighbours["neighbour_object_id"])]
    ranks = {}
    for name, rank in zip(own["spectrum_id"].tolist(), own["rank"].tolist(), strict=True):
        ranks[name] = min(rank, ranks.get(name, rank))
    names = list(dict.fromkeys(neighbours["spectrum_id"].tolist()))
    found = [(name, "is the first") for name in names if ranks.get(name) == 1]
    missed = [
        (name, f"has rank {ranks[name]}" if name in ranks else f"is not among the first {k}")
        for name in names
        if ranks.get(name) != 1
    ]
    return [*found[:1], *missed[:1]]


def _neighbours(outcome, few, projections):
    from specalign.plots import Section, plot_neighbour_labels, plot_neighbour_map

    figures = [
        (
            plot_neighbour_map(few, *outcome.pair, projection, k=NEIGHBOURS),
            f"A few queries and their {NEIGHBOURS} nearest {outcome.gallery} spectra in the plane of {_NAMES[name]}.",
        )
        for name, projection in list(projections.items())[-1:]
    ]
    text = "Neighbours are found in all dimensions of the space; on a plane some of them lie apart."
    if {"teff", "logg"} <= set(outcome.shown_labels()):
        kiel = plot_neighbour_labels(few, outcome.tested_labels(), k=NEIGHBOURS)
        figures.append((kiel, "The same queries and neighbours by their true labels, on the Kiel diagram."))
    else:
        text += "\n\nThe Kiel diagram is left out: teff and logg are not known."
    return Section("Neighbours", text, figures=figures)


_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


def _spread_queries(outcome):
    """spectrum_id of a few queries, spread over the temperatures where those are known."""
    import numpy as np

    from specalign.analysis.metrics import match_rows
    from specalign.data.columns import column_values

    queries = outcome.pair[0]
    order = np.arange(len(queries))
    if "teff" in outcome.shown_labels():
        labels = outcome.tested_labels()
        rows = match_rows(queries.object_id, labels["object_id"])
        teff = np.where(rows >= 0, column_values(labels, "teff")[0][rows], np.nan)
        order = np.argsort(teff, kind="stable")[: max(1, np.isfinite(teff).sum())]
    places = np.linspace(0.1, 0.9, QUERIES) * (len(order) - 1)
    return queries.spectrum_id[order[np.unique(places.round().astype(int))]]


def _space(outcome, projections):
    from specalign.plots import Section, plot_embedding

    colours = ["instrument", *outcome.shown_labels()]
    figures = [
        (
            plot_embedding(None, projection, outcome.labels, colours),
            f"The shared space by {_NAMES[name]}, coloured by instrument and {_some(outcome)}; a shape an instrument.",
        )
        for name, projection in projections.items()
    ]
    text = (
        "If the space is shared, the instruments cover each other, and labels change smoothly. t-SNE and UMAP keep "
        "neighbours only: distances between groups, their sizes and the axes mean nothing."
    )
    return Section("The shared space", "\n\n".join([text, *_missing(outcome, "the picture")]), figures=figures)


def _some(outcome):
    """How many labels are shown."""
    shown, known = len(outcome.shown_labels()), len(known_names(outcome.labels)) if outcome.labels is not None else 0
    return f"{shown} of {known} labels" if shown < known else "label"


def _missing(outcome, beginning):
    """Sentences on what was left out."""
    return [f"Left out, {what}: {why}" for what, why in outcome.left_out.items() if what.startswith(beginning)]


def _transferred(outcome):
    from specalign.plots import Section, plot_labels, plot_transferred

    title = "Transferred labels"
    if not outcome.predictions:
        reason = "" if outcome.labels is None else "Left out: no label could be predicted."
        return Section(title, "\n\n".join([reason or NO_LABELS, *_missing(outcome, "labels")]))
    method, predicted = next(iter(outcome.predictions.items()))
    names = set(outcome.shown_labels()) & set(predicted.colnames)
    planes = [
        (("teff", "logg", "fe_h"), "Kiel diagram"),
        (("fe_h", "mg_fe", "teff"), "[Mg/Fe] against [Fe/H]"),
    ]
    figures = [
        (plot_transferred(predicted, outcome.labels, *axes), f"{plane}: true labels, and those by {method}.")
        for axes, plane in planes
        if set(axes[:2]) <= names
    ]
    figures += [
        (plot_labels(table, outcome.labels, _first(outcome, names)), f"Predicted against true labels: {name}.")
        for name, table in list(outcome.predictions.items())[:2]
    ]
    text = (
        f"Zero-shot: the mean of the nearest labelled {outcome.gallery} spectra of other stars, for {outcome.query} "
        f"spectra of test stars; no {outcome.query} spectrum had a label. Means of neighbours are drawn towards the "
        "middle: sequences look tighter, and their ends are less far apart, than those of true labels."
    )
    return Section(title, text, figures=figures)


def _first(outcome, names):
    """The first three labels that are shown and predicted."""
    return [name for name in outcome.shown_labels() if name in names][:3]


#: Numbers that the picture and the other rows show: with them the table is wider than a page.
_IN_FIGURE = ("recall@2", "recall@20", "chance_recall@1")


def _retrieval(outcome):
    import numpy as np

    from specalign.analysis import metrics
    from specalign.plots import Section, plot_retrieval

    if not outcome.retrieval:
        return Section("Retrieval", "\n\n".join([ONE_INSTRUMENT, *_missing(outcome, "retrieval")]))
    figures = [(plot_retrieval(outcome.retrieval), "How often the star itself is among the first k.")]
    caption = f"Retrieval among {len(outcome.pair[1])} test spectra; chance is a random order"
    table = metrics.compare(outcome.retrieval)
    hidden = {*_IN_FIGURE, *([] if np.any(table["n_unmatched"]) else ["n_unmatched"])}
    tables = [(table[[name for name in table.colnames if name not in hidden]], caption)]
    text = "How often a star is found again in the other instrument, against raw fluxes and against chance."
    return Section("Retrieval", "\n\n".join([text, *_missing(outcome, "the baseline")]), figures=figures, tables=tables)


def _baselines(outcome):
    from specalign.plots import Section

    if not outcome.predictions:
        return None
    text = f"The linear probe learned from labelled {outcome.query} embeddings of the training stars"
    if any(name.startswith("baseline") for name in outcome.predictions):
        text += (
            ", and the baseline, a network, from their raw flux. A shared space is worth its price where it beats it"
        )
    caption = f"Errors on {len(outcome.tables['test', outcome.query])} test spectra, in the unit given; "
    caption += "mad is the median absolute deviation"
    tables = [(outcome.label_figures(outcome.shown_labels()), caption)]
    if len(every := outcome.r2_of_every_label()) > len(outcome.shown_labels()):
        caption = "R² of every label by method: 1 is perfect, 0 is no better than the mean of the test stars"
        tables.append((every, caption))
    return Section("Labels against baselines", "\n\n".join([text + ".", *_missing(outcome, "labels")]), tables=tables)


def _training(outcome):
    from specalign.plots import Section, plot_history

    history = outcome.aligner.history
    text = f"{outcome.aligner!r}".strip("<>") + ". " + f"{history!r}".strip("<>") + "."
    return Section("Training", text, figures=[(plot_history(history), "Loss and recall by epoch.")])


def _spectra(outcome):
    """Prepared spectra of each instrument, and one before and after where its file is still there."""
    from specalign.plots import Section, plot_prepared

    figures = [
        (plot_prepared(rows), f"Prepared {name} spectra; masked pixels are left out.")
        for name, rows in outcome.prepared.items()
        if len(rows)
    ]
    figures += _before_after(outcome)
    text = "\n\n".join(f"{rows!r}".strip("<>") for rows in outcome.prepared.values())
    return Section("Spectra", text, figures=figures)


def _before_after(outcome):
    from specalign.exceptions import SpecalignError
    from specalign.instruments import get_instrument
    from specalign.plots import plot_before_after

    name = outcome.query or next(iter(outcome.prepared))
    row = outcome.prepared[name][:1]
    if not len(row) or "path" not in row.catalog.colnames:
        return []
    instrument, path = get_instrument(row.instrument.name, **row.instrument.options), row.catalog["path"][0]
    try:
        spectra = [one for visits in ("combined", "all") for one in instrument.read(path, visits=visits)]
    except (SpecalignError, OSError):  # the prepared file has travelled without what it was made of
        return []
    spectrum = next((one for one in spectra if one.meta["spectrum_id"] == row.spectrum_id[0]), None)
    if spectrum is None:
        return []
    return [(plot_before_after(spectrum, row), f"A {name} spectrum as it was read, and as it was prepared.")]


def _next(outcome):
    from specalign.plots import Section

    return Section("What to do next", "\n\n".join(outcome.next_steps)) if outcome.next_steps else None
