"""All four instruments in one space, and the same with three training stars in ten missing an instrument."""

from accuracy_space import study_space
from bench_four import NAMES, thinned
from bench_results import plain

STUDIES = ("all", "all-missing-one")


def four_row(survey):
    """Retrieval and labels of both spaces, trained with labels; the pairs alone are rows of their own."""
    seen = {survey.plugin(name): survey.seen(name) for name in NAMES}
    train, test = ({key: getattr(one, part) for key, one in seen.items()} for part in ("train", "test"))
    result = {"rows": {}}
    for study in STUDIES:
        known = train if study == "all" else thinned(train, survey.mock.object_id, study, survey.seed)
        result["rows"][study] = {key: len(rows) for key, rows in known.items()}
        result[study] = study_space(known, test, survey.labels(NAMES), survey.known(NAMES), survey.seed)
    return plain(result)
