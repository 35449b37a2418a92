"""Pairs of instruments of the mock survey: the first rows of the accuracy study."""

from accuracy_space import study_space
from bench_results import plain

from specalign.analysis import baselines
from specalign.exceptions import SpectrumError

#: Pairs by the script's names; the quoted ones are trained a second time on the flux as the survey gives it.
PAIRS = {
    "apogee-nirspec": ("apogee", "nirspec"),
    "lamost-gaia_xp": ("lamost_lrs", "gaia_xp"),
    "apogee-gaia_xp": ("apogee", "gaia_xp"),
    "nirspec-lamost": ("nirspec", "lamost_lrs"),
    "apogee-lamost": ("apogee", "lamost_lrs"),
    "nirspec-gaia_xp": ("nirspec", "gaia_xp"),
}
GIVEN = "-given"
PAIR_ROWS = (
    *PAIRS,
    *(name + GIVEN for name in ("apogee-nirspec", "lamost-gaia_xp", "apogee-gaia_xp", "nirspec-lamost")),
)
#: Kinds of training, by the name under which they are stored.
TRAININGS = {"with labels": True, "contrast": False}


def pair_row(survey, row):
    """Retrieval and labels of one pair, with its limits, trained with labels and by contrast alone."""
    names = PAIRS[row.removesuffix(GIVEN)]
    seen = {survey.plugin(name): survey.seen(name, row.endswith(GIVEN)) for name in names}
    train, test = ({key: getattr(one, part) for key, one in seen.items()} for part in ("train", "test"))
    result = limits(survey, seen, test)
    result["n_train"], result["n_test"] = (len(next(iter(part.values()))) for part in (train, test))
    for kind, use_labels in TRAININGS.items():
        result[kind] = study_space(train, test, survey.labels(names), survey.known(names), survey.seed, use_labels)
    return plain(result)


def limits(survey, seen, test):
    """What the pair is compared with: the bounds, an oracle that knows labels to them, the cosine of the raw flux."""
    (a, b), oracle = seen, survey.mock.oracle_recall
    return {
        "bound": {key: one.bound for key, one in seen.items()},
        "oracle": {f"{x} -> {y}": oracle(seen[x].covariance, seen[y].covariance) for x, y in ((a, b), (b, a))},
        "raw-flux cosine": {f"{x} -> {y}": raw_flux(test[x], test[y]) for x, y in ((a, b), (b, a))},
    }


def raw_flux(queries, gallery):
    """Retrieval by the cosine of raw fluxes; None without common wavelengths."""
    try:
        return baselines.matched_flux_retrieval(queries, gallery)
    except SpectrumError as error:
        print(error)
        return None
