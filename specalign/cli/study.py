"""Look at a catalogue, and at spectra, before anything learns from them.

Written as one HTML file: rows, repeated stars, ranges of labels, stars in one
set only, agreement of two catalogues, coverage and gaps, and the figures that
one looks at first.
"""

EXAMPLE = """
    specalign study allStar.fits --system aspcap-dr17 --output study.html
    specalign study allStar.fits --system aspcap-dr17 --spectra prepared/*.fits --against lamost.csv \\
        --against-system lamost-lasp
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    parser.add_argument("catalogue", metavar="FILE", help="catalogue of labels: FITS, csv, ECSV, ...")
    parser.add_argument("--system", metavar="NAME", help="its label system; by default what the file says")
    parser.add_argument("--against", metavar="FILE", help="another catalogue, to compare with")
    parser.add_argument("--against-system", metavar="NAME", help="the label system of that one")
    parser.add_argument("--spectra", nargs="+", default=[], metavar="FILE", help="what `specalign prepare` wrote")
    parser.add_argument("--stars", type=int, default=10, help="stars that are drawn; they span the labels")
    parser.add_argument("--seed", type=int, default=0, help="chooses the first of them")
    parser.add_argument("--output", default="study.html", metavar="FILE", help="the report")


def run(arguments):
    """Read, look, write."""
    from pathlib import Path

    from specalign import __version__
    from specalign.analysis import describe_labels
    from specalign.cli.tables import read_prepared
    from specalign.data.labels import read_labels
    from specalign.plots import write_report

    labels = read_labels(arguments.catalogue, system=arguments.system, duplicates="keep")
    study = describe_labels(labels, Path(arguments.catalogue).name)
    print(study)
    sections = [_catalogue(labels, study)]
    if arguments.against:
        other = read_labels(arguments.against, system=arguments.against_system, duplicates="keep")
        sections.append(_comparison(labels, other, None, (study.name, Path(arguments.against).name)))
    prepared = read_prepared(arguments.spectra) if arguments.spectra else {}
    sections += [_spectra(rows, labels, arguments) for rows in prepared.values()]
    sections += [_comparison(labels, rows, labels, (study.name, name)) for name, rows in prepared.items()]
    sections += _pairs(prepared, labels)
    facts = {"specalign": __version__, "command": "specalign study", "catalogue": arguments.catalogue}
    facts |= {"label system": labels.meta["label_system"], "spectra": arguments.spectra or "none"}
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    write_report(arguments.output, f"Study of {study.name}", sections, provenance=facts)
    print(f"{arguments.output}: the study")


def _words(study):
    return "\n\n".join(f"{name}: {text}" for name, text in study.facts().items())


def _filled(tables):
    return [(table, caption) for caption, table in tables if len(table)]


def _catalogue(labels, study):
    from specalign.analysis import unique_stars
    from specalign.cli.figures import catalogue_figures
    from specalign.plots import Section

    seen = study.labels["label"][study.labels["n"] > 0].tolist()
    figures, notes = catalogue_figures(unique_stars(labels), seen)
    tables = _filled([*study.tables(), ("Rows of stars that have several", study.duplicates)])
    return Section(study.name, _words(study), figures=figures, tables=tables, notes=notes)


def _comparison(a, b, labels, names):
    from specalign.analysis import compare_catalogues
    from specalign.plots import Section

    both = compare_catalogues(a, b, labels=labels, names=names if names[0] != names[1] else None)
    return Section(f"{both.a.name} and {both.b.name}", _words(both), tables=_filled(both.tables()))


def _spectra(prepared, labels, arguments):
    from specalign.analysis import describe_spectra
    from specalign.exceptions import LabelError, MatchError
    from specalign.plots import Section, plot_selected

    study = describe_spectra(prepared)
    print(study)
    try:
        chosen = _spanning(prepared, labels, arguments)
        notes = []
    except (LabelError, MatchError) as error:
        chosen = range(min(arguments.stars, len(prepared)))
        notes = [f"The first spectra are drawn, not ones that span the labels: {error}."]
    figures = [(plot_selected(prepared, chosen, labels), "Spectra; grey is masked.")] if len(chosen) else []
    return Section(study.instrument, _words(study), figures=figures, tables=_filled(study.tables()), notes=notes)


def _spanning(prepared, labels, arguments):
    """Names of stars with spectra that span as many of the usual labels as there are."""
    import numpy as np

    from specalign.analysis import select_spanning

    there = labels[np.isin(labels["object_id"], prepared.object_id)]
    names = [name for name in ("teff", "logg", "fe_h") if name in labels.colnames]
    return [str(star) for star in select_spanning(there, arguments.stars, names, arguments.seed)["object_id"]]


def _pairs(prepared, labels):
    """The spectra of one star by every two instruments that share wavelengths."""
    from itertools import combinations

    import numpy as np

    from specalign.exceptions import GridMismatchError
    from specalign.plots import Section, plot_overlay

    figures, notes = [], []
    for one, other in combinations(prepared.values(), 2):
        both = np.intersect1d(one.object_id, other.object_id)
        name = f"{one.instrument.name} and {other.instrument.name}"
        if not both.size:
            notes.append(f"{name}: no star in common.")
            continue
        try:
            figure = plot_overlay(one, other, str(both[0]), common=True, labels=labels)
            figures.append((figure, f"{name}: one star, where both have wavelengths."))
        except GridMismatchError as error:
            notes.append(f"{name}: {error}.")
    return [Section("Two instruments", figures=figures, notes=notes)] if figures or notes else []
