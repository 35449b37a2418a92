"""The figures that the accuracy study quotes, each with the rows it is made from and what it should reach."""

import functools
import itertools

import numpy as np
from accuracy_elements import ELEMENT_ROWS
from accuracy_elements import INSTRUMENTS as ELEMENT_INSTRUMENTS
from accuracy_pairs import GIVEN, PAIR_ROWS, PAIRS
from accuracy_table import Figure
from accuracy_transfer import SIZES
from results_tables import UNITS

SPECTRUM_LABELS = ("teff", "logg", "fe_h")
PRINTED = {"apogee": "APOGEE", "nirspec": "NIRSpec", "lamost": "LAMOST", "gaia_xp": "Gaia XP", "outsider": "new one"}
RENEWED = ", normalised anew"
UNKNOWN = "limits-anew"  # the row of the limits of spectra whose normalisation nobody gives
BEST = "1 (posterior mean 0.8-0.95)"
MAIN = "with labels"
#: What seed 001's abstract quotes: the largest error of each label.
ABSTRACT = {"teff": 50.0, "logg": 0.1, "fe_h": 0.05}
ABSTRACT_ELEMENT = 0.1


def recall_of(results, row, way):
    """recall@1 in one direction."""
    return {"": results[row][MAIN]["retrieval"][way]["recall@1"]}


def oracle_of(results, row, way):
    """recall@1 of the oracle."""
    return results[row]["oracle"][way]


def recall_figures():
    """Retrieval of the four pairs that are quoted."""
    quoted = (
        ("nirspec -> apogee", "apogee-nirspec", 0.52),
        ("lamost -> gaia_xp", "lamost-gaia_xp", 0.50),
        ("apogee -> gaia_xp", "apogee-gaia_xp", 0.33),
        ("nirspec -> lamost", "nirspec-lamost", 0.27),
    )
    for way, pair, reach in quoted:
        for row, extra in variants(pair):
            values, known = functools.partial(recall_of, row=row, way=way), UNKNOWN if extra else row
            limit = functools.partial(oracle_of, row=known, way=way)
            yield Figure(f"recall@1 {in_words(way)}{extra}", (row,), values, reach, limit=limit, limit_rows=(known,))


def variants(pair):
    """Rows of a pair, and what to say of them: the flux as the survey gives it first."""
    return [(pair + GIVEN, ""), (pair, RENEWED)]


def in_words(way):
    """A direction for readers."""
    return " to ".join(PRINTED[name] for name in way.split(" -> "))


def title_of(label):
    """A label for readers; one that decides nothing is in brackets."""
    return UNITS[label][0] if label in SPECTRUM_LABELS else f"({UNITS[label][0]}"


def ratios_of(results, row, instrument):
    """RMSE of the small MLP's labels over the bound."""
    found, bound = results[row][MAIN]["labels"][instrument]["mlp"], results[row]["bound"][instrument]
    return {title_of(label): found[label]["rmse"] / bound[label] for label in bound}


def label_figures():
    """Labels from the embedding, beside the bound."""
    quoted = (
        ("apogee", "apogee-nirspec", 2.0),
        ("nirspec", "apogee-nirspec", 1.1),
        ("lamost", "lamost-gaia_xp", 1.25),
        ("gaia_xp", "lamost-gaia_xp", 1.3),
    )
    for instrument, pair, reach in quoted:
        for row, extra in variants(pair):
            values = functools.partial(ratios_of, row=row, instrument=instrument)
            limit = functools.partial(renewed_bounds, row=row, instrument=instrument) if extra else BEST
            rows, title = (UNKNOWN,) if extra else (), f"label RMSE over bound, {PRINTED[instrument]}{extra}"
            yield Figure(title, (row,), values, reach, at_least=False, limit=limit, limit_rows=rows)


def renewed_bounds(results, row, instrument):
    """Bounds of spectra whose normalisation nobody gives, over those of the survey."""
    found, bound = results[UNKNOWN]["bound"][instrument], results[row]["bound"][instrument]
    return {title_of(label): found[label] / bound[label] for label in bound}


def zero_shot_of(results, row, network, kind):
    """RMSE of k-NN labels that come from APOGEE's over the best supervised network's."""
    found, best = results[row][kind]["zero-shot"]["apogee -> nirspec"], results[network]["nirspec"]["best"]
    return {UNITS[label][0]: found[label]["rmse"] / best[label]["rmse"] for label in found}


def zero_shot_figures():
    """Labels of an instrument without labels: by contrast alone first, since labels in the loss are its own, too."""
    for kind, (row, extra) in itertools.product(("contrast", MAIN), variants("apogee-nirspec")):
        rows = (row, "supervised" + GIVEN * row.endswith(GIVEN))
        values = functools.partial(zero_shot_of, row=row, network=rows[1], kind=kind)
        title = f"zero-shot NIRSpec labels, RMSE over the best supervised network's, {kind}{extra}"
        known = UNKNOWN if extra else row
        limit = functools.partial(bound_over_network, known=known, network=rows[1])
        yield Figure(title, rows, values, 0.9, at_least=False, limit=limit, limit_rows=(known,))


def bound_over_network(results, known, network):
    """NIRSpec's bounds over the errors of the best supervised network."""
    bound, best = results[known]["bound"]["nirspec"], results[network]["nirspec"]["best"]
    return {UNITS[label][0]: bound[label] / best[label]["rmse"] for label in best}


def linear_of(results, row, network, instrument):
    """R2 of the linear probe minus the best supervised network's."""
    found, best = results[row][MAIN]["labels"][instrument]["linear"], results[network][instrument]["best"]
    return {UNITS[label][0]: found[label]["r2"] - best[label]["r2"] for label in best}


def linear_figures():
    """The linear probe beside supervised networks."""
    for pair in ("apogee-nirspec", "lamost-gaia_xp"):
        for instrument, (row, extra) in itertools.product(pair.split("-"), variants(pair)):
            rows = (row, "supervised" + GIVEN * row.endswith(GIVEN))
            values = functools.partial(linear_of, row=row, network=rows[1], instrument=instrument)
            title = f"linear probe, R² minus the best supervised network's, {PRINTED[instrument]}{extra}"
            yield Figure(title, rows, values, -0.005, digits=4)


def shared_of(results, study):
    """recall@1 in the space of four over that of the pair alone, each direction."""
    found = results["four"][study]["retrieval"]
    alone = {way: figures for pair in PAIRS for way, figures in results[pair][MAIN]["retrieval"].items()}
    return {in_words(way): found[way]["recall@1"] / alone[way]["recall@1"] for way in found}


def four_figures():
    """Four instruments in one space."""
    rows = ("four", *PAIRS)
    title = "four instruments in one space, recall@1 over the pair alone"
    yield Figure(title, rows, functools.partial(shared_of, study="all"), 0.95)
    yield Figure(f"{title}; 30 % of the stars lack one", rows, functools.partial(shared_of, study="all-missing-one"))


def element_ratios(results, row, instrument):
    """RMSE over bound of each of the twenty labels."""
    found, bound = results[row][MAIN]["labels"][instrument]["mlp"], results[row]["bound"][instrument]
    return {label: found[label]["rmse"] / bound[label] for label in found}


def median_ratio(results, **where):
    """The middle of twenty labels."""
    return {"": float(np.median(list(element_ratios(results, **where).values())))}


def within_abstract(results, row, instrument):
    """How many of the twenty labels are as precise as the abstract says."""
    found = results[row][MAIN]["labels"][instrument]["mlp"]
    return {"": count_within({label: errors["rmse"] for label, errors in found.items()})}


def bounds_within(results, row, instrument):
    """How many of the twenty labels have a bound that precise."""
    return {"": count_within(results[row]["bound"][instrument])}


def count_within(errors):
    """How many of the errors, a dict by label, the abstract of seed 001 allows."""
    return sum(error <= ABSTRACT.get(label, ABSTRACT_ELEMENT) for label, error in errors.items())


def element_figures():
    """Twenty labels of the line model."""
    for row, instrument in itertools.product(ELEMENT_ROWS, ELEMENT_INSTRUMENTS):
        where = {"row": row, "instrument": instrument}
        name = f"{PRINTED[instrument]}, 20 labels{', decorrelated' * row.endswith('decorrelated')}"
        ratio, count = functools.partial(median_ratio, **where), functools.partial(within_abstract, **where)
        limit, title = functools.partial(bounds_within, **where), f"{name}: labels within 50 K, 0.1, 0.05 and 0.1 dex"
        yield Figure(f"{name}: median RMSE over bound", (row,), ratio, 2.5, at_least=False, limit="1")
        yield Figure(title, (row,), count, 20, limit=limit, digits=0)


def error_of(results, network, label):
    """Mean absolute error of one label of real LAMOST stars, and the median one."""
    found = results["lamost-real"]["networks"][network]
    return {"": found[label], "(median": found["median"][label]}


def real_figures():
    """Real LAMOST spectra, learned from alone."""
    wanted = (("teff", 70.0), ("logg", 0.085), ("fe_h", 0.060))
    for network, (label, reach) in itertools.product(("default", "starnet"), wanted):
        values = functools.partial(error_of, network=network, label=label)
        title, unit, digits = UNITS[label]
        name = f"real LAMOST, five-fold, LabelRegressor ({network}), MAE {title} ({unit})"
        yield Figure(name, ("lamost-real",), values, reach, False, "the labels' own error", digits)


def transfer_of(results, size):
    """Mean absolute error on the mock survey's embedding over the best from scratch."""
    figures = results["lamost-transfer"]["sizes"][str(size)]["figures"]
    return {UNITS[label][0]: one["transfer"] / one["scratch"] for label, one in figures.items()}


def transfer_figures():
    """Real LAMOST spectra, few labels."""
    for size in SIZES:
        title = f"real LAMOST, {size:,} labels, MAE after training on the mock survey over from scratch"
        yield Figure(title, ("lamost-transfer",), functools.partial(transfer_of, size=size), 1.0, at_least=False)


def outsider_recall(results):
    """recall@1 over the oracle's, both ways."""
    row = results["new-instrument"]
    return {in_words(way): row[MAIN]["retrieval"][way]["recall@1"] / row["oracle"][way] for way in row["oracle"]}


def outsider_figures():
    """An instrument that the package has never met; the ratios are those that the built-in ones are to reach."""
    row, values = "new-instrument", functools.partial(ratios_of, row="new-instrument", instrument="outsider")
    yield Figure("new instrument with LAMOST, recall@1 over the oracle's", (row,), outsider_recall, 0.68, limit="1")
    yield Figure("new instrument, label RMSE over bound", (row,), values, 2.0, at_least=False, limit="1")


def longest_fit(results):
    """Minutes of the longest training of a pair."""
    return {"": max(result[kind]["fit_seconds"] for result in results.values() for kind in (MAIN, "contrast")) / 60}


def waiting_of(results):
    """Share of a step spent waiting for data, at each number of stars."""
    return {f"{one['stars']:,} stars": one["waiting_share"] for one in results["throughput"]["sizes"]}


def cost_figures():
    """Time."""
    for pair in PAIR_ROWS:
        yield Figure(f"minutes to train {pair}", (pair,), longest_fit, 15.0, at_least=False, digits=1)
    yield Figure("share of a step spent waiting for data", ("throughput",), waiting_of, 0.1, at_least=False, digits=3)


FIGURES = (
    *recall_figures(),
    *label_figures(),
    *zero_shot_figures(),
    *linear_figures(),
    *four_figures(),
    *element_figures(),
    *real_figures(),
    *transfer_figures(),
    *outsider_figures(),
    *cost_figures(),
)
