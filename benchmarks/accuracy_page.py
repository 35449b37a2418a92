"""``docs/accuracy.rst`` from the stored rows of full size of ``bench_accuracy.py``."""

from collections import Counter

import numpy as np
from accuracy_elements import ELEMENT_ROWS, LABELS
from accuracy_figures import FIGURES, MAIN, PRINTED, UNKNOWN, in_words
from accuracy_four import STUDIES
from accuracy_pairs import GIVEN, PAIR_ROWS, PAIRS, TRAININGS
from accuracy_store import load
from accuracy_supervised import SUPERVISED_ROWS
from accuracy_table import NOT_RUN, assemble
from bench_results import FULL_SIZE
from results_tables import UNITS, list_table, spread

from specalign.io.files import atomic_write

HEAD = """.. This page is written by benchmarks/bench_accuracy.py; do not edit it by hand.

.. _accuracy:

Accuracy: how near the defaults come to the limit
=================================================

What somebody gets who calls ``Aligner([...]).fit(..., labels=...)`` and sets nothing, beside what the spectra can
tell. The mock survey shows stars to four instruments with noise, gaps, cosmic rays, errors of velocity and
calibration, and extinction, and its information limit is known; the real spectra are 2,000 of LAMOST. The rows are
stored as JSON in ``benchmarks/results``, and each is a command of its own::

    python benchmarks/bench_accuracy.py --seed 5 --stars 20000 --rows apogee-nirspec

The first 18,000 stars train, and the last 2,000 are the test: never seen, one visit each, nothing averaged. The seed
is that of the survey and of the trainings. Scalers, early stopping and probes are fitted on training stars, and
choices are made on validation stars, which are some of them. No option of any training is set.
"""
NONE = """
.. warning::

   **No row of full size is stored yet**, so there is no figure on this page. Rows of small surveys are for tests and
   do not count.
"""
READING = """
How to read it
--------------

* *Limit.* The *oracle* knows the labels of each star to the bound of both instruments; the *bound* is the root mean
  square Cramér-Rao bound of the test stars. No unbiased estimator has a smaller error; a posterior mean, which knows
  the population, is biased, and reaches 0.8-0.95 of it. Where labels are counted, as many of the bounds would do;
  beside a supervised network, it is the bound over that network's error.
* *Met* means: by every seed and every label. [α/M] is quoted for APOGEE and NIRSpec alone, since the other two models
  do not have it, and in brackets, since the figure to reach is about Teff, log g and [Fe/H].
* Labels come from the small MLP probe on an instrument's own aligned embedding, where nothing else is said. Which
  probe is quoted was not chosen by its figures.
* All seeds that are stored are shown: {seeds}. A figure that is made from several rows has the seeds that all of them
  have.
* All spaces were trained with the present defaults, of which the objective is ``clip+likelihood``; *contrast* is that
  without labels. Regressors have no such objective.
* The package's code that made the rows, by its digest: {code}.

The settings of ``prepare``
---------------------------

* The survey gives normalised spectra: NIRSpec's and APOGEE's are divided by their true continuum, LAMOST's and Gaia
  XP's by their true flux at one wavelength, and the bound and the oracle know all that. The lines without a remark
  therefore prepare them with ``normalized=True``: a statement about the data, and no tuning.
* *Normalised anew* is ``prepare`` as it is, as it must be for observed spectra: it finds the continuum of NIRSpec and
  APOGEE from the noisy pixels beside each star's own gaps, divides LAMOST by its median, and Gaia XP by its noisy flux
  at 550 nm. What that takes away, no encoder can bring back: where such a line has a limit, it is that of somebody to
  whom each spectrum is multiplied by an unknown factor of the shape that ``prepare`` divides by (a number, or
  polynomials of its degree), for labels over the bound that the survey states (``--rows limits-anew``). Extinction is
  what suffers most. The figures to reach were set for spectra as the survey gives them, and stand here as they are.
  Everything of the four instruments in one space is prepared so.
* Gaia XP comes with the survey's own ``covariance_factor``. The new instrument comes with its true continuum divided
  out.

What differs from a plain reading
---------------------------------

* A pair is trained with the labels that one of its instruments knows. *Contrast* trains on pairs of spectra alone.
* *Zero-shot* labels need a space that saw no label of NIRSpec. Labels belong to stars, and in the loss they teach
  both encoders; so the line *contrast* is the strict one. They are means over APOGEE's training stars, weighted by the
  probability that the contrast gives each to be the star. The supervised network that they are compared with is itself
  near the bound, see the tables of labels below: 0.9 of it is about what a posterior mean can reach at all.
* The *best supervised network* is chosen for each label, on validation stars, among a regressor with the encoder
  "mlp", one with "starnet" (where it trains in 15 minutes), and the perceptron on raw flux: a harder comparison than
  one network.
* The bound of the twenty labels takes the spread of the training stars as what is known beforehand, which is narrower
  than the default of :func:`specalign.mock.cramer_rao`, and makes it harder to reach.
* Of the real LAMOST stars below 7,000 K, one in ten is of type A by the pipeline's own class, and has labels that look
  like a second solution of the pipeline (:doc:`development/experiments`). They count; the median error stands in
  brackets beside the mean.
* From scratch, the method counts that is best on the test stars, for each label: hindsight that favours training from
  scratch. After training on the mock survey, the mean of two regressors counts, of which one begins with the encoder of
  that space; from scratch, the mean of two that begin with other weights is among the methods.
  The mock LAMOST spectra end at 7,400 Å, and real ones are cut there before they are embedded; from scratch, all
  pixels count.
* A new instrument is to reach the smallest ratio of recall to oracle that the four instruments are to reach (0.68),
  and the largest ratio of errors (2).
"""


def write_page(path, store, stars=FULL_SIZE):
    """Write the page from the stored rows of one size."""
    with atomic_write(path) as temporary:
        temporary.write_text(page_of(load(store, stars)), encoding="utf-8")


def page_of(stored):
    """The page as text."""
    if not stored:
        return HEAD + NONE
    lines = [tuple(line.values()) for line in assemble(FIGURES, stored)]
    table = list_table([("figure", "limit", "to reach", "reached", ""), *lines])
    seeds = sorted({seed for results in stored.values() for seed in results})
    reading = READING.format(seeds=", ".join(map(str, seeds)), code=codes_of(stored))
    sections = [section(title, make(stored)) for title, make in SECTIONS.items()]
    return HEAD + section("The table", table) + reading + "".join(sections)


def codes_of(stored):
    """How many rows and seeds each state of the package made; figures of two states are not of the same defaults."""
    codes = Counter(result.get("code", "unknown") for results in stored.values() for result in results.values())
    return ", ".join(f"``{code}`` ({number})" for code, number in sorted(codes.items()))


def section(title, table):
    """A heading and its table, or nothing where no row is stored."""
    return f"\n{title}\n{'-' * len(title)}\n\n{table}\n" if table else ""


def retrieval_table(stored):
    """A row a pair, direction and training."""
    rows = [("pair", "direction", "training", "``recall@1``", "``recall@10``", "MRR", "oracle", "raw-flux cosine")]
    for row in (*PAIR_ROWS, "new-instrument"):
        for results in filter(None, [list(stored.get(row, {}).values())]):
            for way in results[0]["oracle"]:
                oracle = spread(oracles(stored, row, way), 3)
                rows += [retrieval_cells(row, way, kind, results, oracle) for kind in TRAININGS]
    return list_table(rows) if len(rows) > 1 else ""


def oracles(stored, row, way):
    """recall@1 of the oracle, a seed each: where normalisation is found anew, of one to whom nobody gives it."""
    renewed = stored.get(UNKNOWN) if row in PAIRS else None
    return [result["oracle"][way] for result in (renewed or stored[row]).values()]


def retrieval_cells(row, way, kind, results, oracle):
    """Figures of one direction, over seeds."""
    found = [result[kind]["retrieval"][way] for result in results]
    cosine = [result["raw-flux cosine"][way]["recall@1"] for result in results if result["raw-flux cosine"][way]]
    figures = [spread([f[key] for f in found], 3) for key in ("recall@1", "recall@10", "mrr")]
    return (row, in_words(way), kind, *figures, oracle, spread(cosine, 3) if cosine else "none")


def label_table(stored):
    """A row an instrument, pair, training and probe: RMSE, and in brackets the ratio to the bound."""
    rows = [("labels of", "space", "training", "method", *heads())]
    for row in (*PAIR_ROWS, "new-instrument"):
        for results in filter(None, [list(stored.get(row, {}).values())]):
            for name in results[0]["bound"]:
                rows += label_rows_of(row, name, results)
    for row in SUPERVISED_ROWS:
        for results in filter(None, [list(stored.get(row, {}).values())]):
            rows += [supervised_cells(row, name, results) for name in results[0] if name in PRINTED]
    return list_table(rows) if len(rows) > 1 else ""


def heads():
    """Labels and their units."""
    return [f"{title} ({unit})" for title, unit, _ in UNITS.values()]


def label_rows_of(row, name, results):
    """The probes of one instrument, and what is zero-shot."""
    bounds, rows = [result["bound"][name] for result in results], []
    for kind in TRAININGS:
        for probe in results[0][kind]["labels"][name]:
            found = [result[kind]["labels"][name][probe] for result in results]
            rows.append((PRINTED[name], row, kind, probe, *cells(found, bounds)))
        for way in results[0][kind]["zero-shot"]:
            if way.endswith(f" {name}"):
                found = [result[kind]["zero-shot"][way] for result in results]
                rows.append((PRINTED[name], row, kind, "zero-shot k-NN", *cells(found, bounds)))
    return rows


def supervised_cells(row, name, results):
    """The best supervised networks, label by label."""
    found, bounds = [result[name]["best"] for result in results], [result[name]["bound"] for result in results]
    space = "none" + (", as given" if row.endswith(GIVEN) else "")
    return (PRINTED[name], space, "labels alone", "best supervised", *cells(found, bounds))


def cells(found, bounds):
    """RMSE of each label, and its ratio to the bound; nothing where a label is not known."""
    for label, (_, _, digits) in UNITS.items():
        if label not in bounds[0] or label not in found[0]:
            yield ""
            continue
        errors = [f[label]["rmse"] for f in found]
        ratio = np.mean([error / bound[label] for error, bound in zip(errors, bounds, strict=True)])
        yield f"{spread(errors, digits)} ({ratio:.2f})"


def four_table(stored):
    """A row a direction: recall@1 of the pair alone, of four in one space, and with stars missing."""
    results = list(stored.get("four", {}).values())
    if not results:
        return ""
    rows = [("direction", "pair alone", "all four", "all four, 30 % of the stars lack one", "oracle")]
    limits = [result["oracle"] for result in stored.get(UNKNOWN, {}).values()]
    for way in results[0]["all"]["retrieval"]:
        pairs = [result[MAIN]["retrieval"] for pair in PAIRS for result in stored.get(pair, {}).values()]
        alone = [pair[way] for pair in pairs if way in pair]
        found = (alone, *([result[study]["retrieval"][way] for result in results] for study in STUDIES))
        recalls = [[f["recall@1"] for f in part] for part in found] + [[limit[way] for limit in limits]]
        rows.append((in_words(way), *(spread(part, 3) if part else NOT_RUN for part in recalls)))
    return list_table(rows)


def element_table(stored):
    """A row a label: RMSE (ratio to the bound; R²) in both instruments and variants."""
    columns = [(row, name) for row in ELEMENT_ROWS if row in stored for name in ("apogee", "nirspec")]
    rows = [("label", *(f"{PRINTED[name]}{', decorrelated' * ELEMENT_ROWS[row]}" for row, name in columns))]
    for label in LABELS:
        rows.append((label, *(element_cell(list(stored[row].values()), name, label) for row, name in columns)))
    return list_table(rows) if columns else ""


def element_cell(results, name, label):
    """One label of one instrument."""
    found = [result[MAIN]["labels"][name]["mlp"][label] for result in results]
    bounds = [result["bound"][name][label] for result in results]
    ratio = np.mean([f["rmse"] / bound for f, bound in zip(found, bounds, strict=True)])
    text = spread([f["rmse"] for f in found], 0 if label == "teff" else 3)
    return f"{text} ({ratio:.2f}; {np.mean([f['r2'] for f in found]):.2f})"


def real_table(stored):
    """A row a network: mean absolute errors of real LAMOST labels."""
    results = list(stored.get("lamost-real", {}).values())
    if not results:
        return ""
    rows = [("LabelRegressor, five-fold", *heads()[:3])]
    for kind in results[0]["networks"]:
        rows.append((kind, *absolute_cells([result["networks"][kind] for result in results])))
    return list_table(rows)


def transfer_table(stored):
    """A row a number of labels and method."""
    results = list(stored.get("lamost-transfer", {}).values())
    if not results:
        return ""
    rows = [("labels", "way", "method", *heads()[:3])]
    rows.append(("0", "transfer", "probe of mock stars", *absolute_cells([result["no labels"] for result in results])))
    for size in results[0]["sizes"]:
        means = [result["sizes"][size]["means"] for result in results]
        rows += [
            (size, way, kind, *absolute_cells([mean[way][kind] for mean in means]))
            for way in ("scratch", "transfer")
            for kind in means[0][way]
        ]
    return list_table(rows)


def absolute_cells(found):
    """Mean absolute error of each label, over seeds."""
    return [spread([f[label] for f in found], UNITS[label][2]) for label in ("teff", "logg", "fe_h")]


SECTIONS = {
    "Retrieval": retrieval_table,
    "Labels": label_table,
    "Four instruments in one space": four_table,
    "Twenty labels": element_table,
    "Real LAMOST spectra": real_table,
    "Few labels of real LAMOST spectra": transfer_table,
}
