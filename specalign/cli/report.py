"""The report of the quickstart: what was done, how well it went, and what to do next."""

from dataclasses import dataclass

from specalign import __version__

__all__ = ["GALLERY", "QUERY", "RANKS", "Outcome", "summary", "write"]

GALLERY, QUERY = "apogee", "nirspec"
RANKS = (1, 2, 5, 10, 20, 50)
SHOWN = ("teff", "logg", "fe_h", "mg_fe", "c_fe")  # labels whose errors are shown; all of them are written
MOCK = (
    "Every spectrum here is a mock: a small line model with a fixed table of real lines turned labels into spectra. "
    "The figures say that the machinery works. They do not say how well it works on observed spectra."
)


@dataclass
class Outcome:
    """Everything that the quickstart made.

    Parameters
    ----------
    arguments : namespace
    aligner : `~specalign.Aligner`
    prepared, test : dict of str to `~specalign.PreparedSpectra`
        All stars, and those that were not trained on.
    tables : dict of (part, instrument) to `~specalign.EmbeddingTable`
    retrieval : dict of str to dict
        Figures by method.
    predictions : dict of str to `~astropy.table.QTable`
        Labels of the test stars by method.
    labels : `~astropy.table.QTable`
        The true ones.
    """

    arguments: object
    aligner: object
    prepared: dict
    test: dict
    tables: dict
    retrieval: dict
    predictions: dict
    labels: object

    def label_figures(self, names):
        """Errors of each method for some labels, as one table."""
        from astropy.table import vstack

        from specalign.analysis import metrics

        parts = []
        for method, predicted in self.predictions.items():
            part = metrics.labels(predicted, self.labels)["label", "unit", "n", "rmse", "bias", "mad", "r2"]
            part.add_column([method] * len(part), name="method", index=0)
            parts.append(part)
        table = vstack(parts)
        return table[[name in names for name in table["label"]]]

    def r2(self, method, label="teff"):
        """Coefficient of determination of one label."""
        table = self.label_figures([label])
        return float(table["r2"][table["method"] == method][0])


def write(path, outcome):
    """Write the report and return its path."""
    from specalign.plots import write_report

    return write_report(
        path,
        "specalign quickstart",
        [_spectra(outcome), _training(outcome), _lookalikes(outcome), _labels(outcome), _next(outcome)],
        subtitle=f"{GALLERY} and {QUERY}, {len(outcome.labels)} mock stars, {len(outcome.test[QUERY])} for the test",
        headline=_headline(outcome),
        notes=[MOCK],
        provenance=_provenance(outcome),
    )


def _headline(outcome):
    first = next(iter(outcome.retrieval.values()))
    zero_shot = next(iter(outcome.predictions))
    factor = first["recall@1"] / first["chance_recall@1"]
    return [
        ("recall@1", f"{first['recall@1']:.2f}", f"{QUERY} to {GALLERY}; {factor:.0f} times chance"),
        ("median rank", f"{first['median_rank']:.0f}", f"among {first['n_gallery']} spectra"),
        ("R2 of Teff", f"{outcome.r2(zero_shot):.3f}", f"zero-shot: from labelled {GALLERY} spectra"),
        ("R2 of Teff", f"{outcome.r2('linear probe'):.3f}", f"linear probe on {QUERY} embeddings"),
    ]


def _spectra(outcome):
    from specalign.instruments import get_instrument
    from specalign.plots import Section, plot_before_after, plot_kiel, plot_prepared

    row = outcome.test[QUERY][0]
    spectrum = get_instrument(QUERY).read(row.catalog["path"][0])[0]
    figures = [
        (plot_kiel(outcome.labels), "The mock stars; lower is larger, as always."),
        (plot_before_after(spectrum, row), f"A {QUERY} spectrum as it was read, and as it was prepared."),
        (plot_prepared(outcome.test[GALLERY]), f"Prepared {GALLERY} spectra; masked pixels are left out."),
    ]
    text = "\n\n".join(f"{rows!r}".strip("<>") for rows in outcome.prepared.values())
    return Section("Spectra", text, figures=figures)


def _training(outcome):
    from specalign.plots import Section, plot_history

    text = (
        f"{outcome.aligner!r}".strip("<>")
        + ". Stars were split by name: none of the test stars was trained on, and a tenth "
        "of the training stars chose the best epoch."
    )
    return Section("Alignment", text, figures=[(plot_history(outcome.aligner.history), "Loss and recall by epoch.")])


def _lookalikes(outcome):
    from specalign.analysis import metrics
    from specalign.data.embeddings import EmbeddingTable
    from specalign.plots import Section, plot_embedding, plot_neighbours, plot_retrieval

    queries, gallery = outcome.tables["test", QUERY], outcome.tables["test", GALLERY]
    both = EmbeddingTable.concatenate([queries, gallery])
    neighbours = gallery.search(queries[:1], k=3)
    figures = [
        (plot_retrieval(outcome.retrieval), "How often the star itself is among the first k."),
        (plot_embedding(both, labels=outcome.labels, colour="teff"), "Both instruments in the shared space."),
        (plot_neighbours(neighbours, outcome.test[QUERY], outcome.test[GALLERY]), "A query and its look-alikes."),
    ]
    caption = f"Retrieval among {len(gallery)} test stars; chance is one over their number."
    return Section("Look-alikes", "", figures=figures, tables=[(metrics.compare(outcome.retrieval), caption)])


def _labels(outcome):
    from specalign.plots import Section, plot_labels

    text = (
        f"Zero-shot: the mean of the nearest labelled {GALLERY} spectra of training stars, for {QUERY} spectra of test "
        f"stars; no {QUERY} spectrum had a label. The linear probe learned from labelled {QUERY} embeddings of the "
        "training stars, and the baseline from their raw flux."
    )
    figures = [(plot_labels(table, outcome.labels), name) for name, table in outcome.predictions.items()]
    caption = (
        f"Errors on {len(outcome.test[QUERY])} test stars, in the unit given; mad is the median absolute deviation."
    )
    return Section("Labels", text, figures=figures[:2], tables=[(outcome.label_figures(SHOWN), caption)])


def next_steps(folder):
    """Commands that go on from here."""
    return [
        f"specalign inspect {folder}/mock/apogee/*0000.fits",
        f"specalign search {folder}/embeddings/{QUERY}-test.fits --gallery {folder}/embeddings/{GALLERY}-test.fits",
        f"specalign labels {folder}/embeddings/{QUERY}-test.fits --reference {folder}/embeddings/{GALLERY}-train.fits "
        f"--labels {folder}/mock/labels.ecsv",
        f"specalign predict YOUR-NIRSPEC-FILES/ --model {folder}/model --output labels.ecsv",
        "specalign prepare YOUR-FILES/ --output prepared/",
    ]


def _next(outcome):
    from specalign.plots import Section

    return Section("What to do next", "\n\n".join(next_steps(outcome.arguments.output)))


def _provenance(outcome):
    options = {name: getattr(outcome.arguments, name) for name in ("stars", "max_epochs", "seed")}
    return {"specalign": __version__, "command": "specalign quickstart", **options, "space": outcome.aligner.space}


def summary(path, outcome, seconds):
    """Print the figures and what to do next."""
    from specalign.analysis import metrics
    from specalign.cli.tables import print_table

    print()
    print_table(metrics.compare(outcome.retrieval)["method", "recall@1", "recall@10", "mrr", "median_rank"])
    print_table(outcome.label_figures(SHOWN[:3]))
    print(f"\n{path}: the report. {MOCK}")
    print(f"done in {seconds:.0f} s; next:")
    print("\n".join(f"    {line}" for line in next_steps(path.parent)))
