"""The mock survey of one run of ``bench_accuracy.py``: every instrument is observed once, prepared once, and kept."""

from dataclasses import dataclass

from survey_data import MockSurvey

MOST_TEST_STARS = 2000


def test_size(n_stars):
    """How many of the last stars are the test: 2,000, and fewer of a survey that is too small for them."""
    return min(MOST_TEST_STARS, n_stars // 5)


@dataclass
class Seen:
    """What one instrument saw: prepared spectra, the bound of each label, and the covariances that an oracle uses."""

    train: object
    test: object
    bound: dict
    covariance: object


class Survey:
    """Stars of one seed; the last ones, a visit each, are the test, and nothing is trained on them.

    Parameters
    ----------
    shared : pathlib.Path
    n_stars, seed : int
        The seed is also that of every training.
    """

    def __init__(self, shared, n_stars, seed):
        self.shared, self.n_stars, self.seed = shared, n_stars, seed
        self._mock, self._seen = None, {}

    kind = MockSurvey

    @property
    def mock(self):
        """The `MockSurvey`, drawn when it is first asked for."""
        if self._mock is None:
            self._mock = self.kind(self.shared, self.n_stars, self.seed, test_size(self.n_stars))
        return self._mock

    def plugin(self, name):
        """The package's name of one of the script's instruments."""
        return self.mock.settings[name][0]

    def known(self, names):
        """Labels that each instrument's model knows, by the package's name of the instrument."""
        return {self.plugin(name): self.mock.known_labels[name] for name in names}

    def labels(self, names):
        """True labels of all stars that the model of one of these instruments knows."""
        known = {label for name in names for label in self.mock.known_labels[name]}
        table = self.mock.labels["object_id", *(label for label in self.mock.units if label in known)]
        table.meta["label_system"] = "mock-survey"
        return table

    def seen(self, name, given=False):
        """`Seen` of one instrument; ``given`` leaves the flux normalised as the survey has it."""
        kept = self._seen.get(name)
        if kept is None or kept[0] != given:
            self._seen.pop(name, None)  # both kinds of a large survey do not fit into memory
            self._seen[name] = kept = given, self._observed(name, given)
        return kept[1]

    def _observed(self, name, given):
        train, test = self.mock.prepare(name, normalized=given)
        bound = {label: float(value.value) for label, value in self.mock.bound(name).items()}
        seen = Seen(train, test, bound, self.mock.covariance(name))
        self.mock.forget()
        return seen

    def forget(self):
        """Drop everything that was prepared."""
        self._seen = {}
