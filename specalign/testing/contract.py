"""Named checks of one kind of plugin: run all of them, give them out one by one, or make a test of each."""

import inspect
import unittest
import warnings
import zlib
from dataclasses import dataclass, field

import numpy as np

from specalign.display import Displayed
from specalign.exceptions import ContractError, ContractWarning, SpecalignWarning
from specalign.testing.results import CheckTable

__all__ = ["Contract", "fail", "skip"]

_ON_FAIL = ("raise", "warn", "record")


def fail(message):
    """Say in a check that the plugin does not do what it promises.

    Parameters
    ----------
    message : str
        What was expected, what came, where.

    Raises
    ------
    ContractError

    Examples
    --------
    >>> from specalign.testing.contract import fail
    >>> fail("version: expected a non-empty str, got None")
    Traceback (most recent call last):
    specalign.exceptions.ContractError: version: expected a non-empty str, got None
    """
    raise ContractError(message)


def skip(reason):
    """Say in a check that it has no meaning for this plugin.

    Parameters
    ----------
    reason : str

    Raises
    ------
    unittest.SkipTest
        pytest counts it as a skipped test.

    Examples
    --------
    >>> from specalign.testing.contract import skip
    >>> skip("coefficients have no wavelengths")
    Traceback (most recent call last):
    unittest.case.SkipTest: coefficients have no wavelengths
    """
    raise unittest.SkipTest(reason)


@dataclass(repr=False)
class Contract(Displayed):
    """The named checks of one kind of plugin, in order.

    A check is a function of a subject and a `numpy.random.Generator`. It returns where the plugin does what it
    promises, calls `fail` where it does not, and `skip` where the question has no meaning. Any other exception is a
    failure too. Its name is that of the function and stays, since the tests of others name it. Its random numbers
    follow from the seed and its own name, so that it does the same alone as among others.

    Parameters
    ----------
    kind : str
        ``"instrument"``, ``"encoder"``, ``"objective"``.
    subject : callable
        ``subject(target, seed)`` gives what the checks look at. It is called once for all checks of a target, when
        the first of them runs, and an exception of its own fails every check.
    checks : dict of str to callable
        Filled by `check`.

    Examples
    --------
    >>> from specalign.testing.contract import Contract, fail
    >>> contract = Contract("number", lambda target, seed: target)
    >>> @contract.check
    ... def is_positive(number, rng):
    ...     '''The number is above zero.'''
    ...     if not number > 0:
    ...         fail(f"expected a positive number, got {number}")
    >>> contract.run(2).counts
    {'passed': 1}
    >>> contract.run(-2, expected_failures={"is_positive": "a debt"}).counts
    {'expected': 1}
    >>> contract.run(-2)
    Traceback (most recent call last):
    specalign.exceptions.ContractError: the number -2 breaks 1 of 1 promises (seed 0):
      is_positive: expected a positive number, got -2
    >>> contract.summaries
    {'is_positive': 'The number is above zero.'}
    """

    kind: str
    subject: object
    checks: dict = field(default_factory=dict)

    def _facts(self):
        return {"kind": self.kind, "checks": f"{len(self.checks)}: {', '.join(self.checks)}"}

    def check(self, function):
        """Add a check: a decorator.

        Parameters
        ----------
        function : callable
            Its docstring says in one line what the plugin promises.
        """
        name = function.__name__
        if name in self.checks or not inspect.getdoc(function):
            raise ValueError(f"expected a new name with a docstring for a check, got {name!r}")
        self.checks[name] = function
        return function

    @property
    def summaries(self):
        """dict of str to str: what the plugin promises, by the name of the check."""
        first = {name: inspect.getdoc(function).split("\n\n")[0] for name, function in self.checks.items()}
        return {name: " ".join(text.split()) for name, text in first.items()}

    def generate(self, target, *, seed=0):
        """Give out the checks, bound to a target.

        Parameters
        ----------
        target : str, class or object
        seed : int

        Yields
        ------
        name : str
        check : callable
            Without arguments. Raises `~specalign.exceptions.ContractError` or another exception where the check
            fails, and `unittest.SkipTest` where it has no meaning.
        """
        subject = _Once(self.subject, target, seed)
        for name, function in self.checks.items():
            yield name, _Bound(name, function, subject, self.kind)

    def run(self, target, *, expected_failures=None, checks=None, seed=0, on_fail="raise", callback=None):
        """Run all checks, or some.

        Parameters
        ----------
        target : str, class or object
        expected_failures : dict of str to str, optional
            Reasons by the name of the check. An expected failure that does not come is a failure.
        checks : sequence of str, optional
            Names of those to run. Default: all.
        seed : int
        on_fail : {"raise", "warn", "record"}
            What to do about failures, after all checks have run. ``record``: nothing, the table has them.
        callback : callable, optional
            ``callback(check, status, reason)`` is called after each check.

        Returns
        -------
        CheckTable

        Raises
        ------
        ContractError
            A check failed that was not expected to, or the other way round; ``error.results`` is the table.
        ValueError
            ``on_fail``, a name in ``checks`` or that of an expected failure is unknown.
        """
        wanted = self.checks if checks is None else self._known(dict.fromkeys(checks), "checks")
        expected = self._expected(expected_failures)
        if on_fail not in _ON_FAIL:
            raise ValueError(f"on_fail: expected one of {', '.join(_ON_FAIL)}, got {on_fail!r}")
        rows, label = [], label_of(target)
        for name, check in self.generate(target, seed=seed):
            if name not in wanted:
                continue
            rows.append((name, *_outcome(check, expected.get(name))))
            if callback is not None:
                callback(*rows[-1])
        table = CheckTable.from_rows(rows, kind=self.kind, target=label, seed=seed)
        self._report(table, on_fail)
        return table

    def parametrize(self, target, *, expected_failures=None, seed=0, marks=None):
        """A decorator for pytest that makes a test of each check; the test takes an argument ``check`` and calls it.

        Parameters
        ----------
        target : str, class or object
        expected_failures : dict of str to str, optional
            Reasons by the name of the check; these become strict ``xfail``.
        seed : int
        marks : dict of str to mark, optional
            Further marks of pytest by the name of the check.

        Returns
        -------
        `pytest.MarkDecorator`
        """
        import pytest

        expected, marks = self._expected(expected_failures), self._known(marks, "marks")
        params = []
        for name, check in self.generate(target, seed=seed):
            mine = [marks[name]] if name in marks else []
            if name in expected:
                mine.append(pytest.mark.xfail(reason=expected[name], strict=True))
            params.append(pytest.param(check, id=name, marks=mine))
        return pytest.mark.parametrize("check", params)

    def _expected(self, expected):
        expected = self._known(expected, "expected_failures")
        silent = sorted(name for name, reason in expected.items() if not (isinstance(reason, str) and reason.strip()))
        if silent:
            raise ValueError(f"expected_failures: expected a reason for each check, got none for {', '.join(silent)}")
        return expected

    def _known(self, given, argument):
        given = dict(given or {})
        unknown = sorted(set(given) - set(self.checks))
        if unknown:
            raise ValueError(f"{argument}: no check is called {', '.join(unknown)}; there are {', '.join(self.checks)}")
        return given

    def _report(self, table, on_fail):
        if not table.failures or on_fail == "record":
            return
        lines = [f"  {name}: {reason}" for name, reason in table.failures.items()]
        target, seed = table.meta["target"], table.meta["seed"]
        heading = f"the {self.kind} {target} breaks {len(lines)} of {len(table)} promises (seed {seed}):"
        message = "\n".join([heading, *lines])
        if on_fail == "warn":
            warnings.warn(message, ContractWarning, stacklevel=4)  # whoever called check_instrument, check_encoder, ...
            return
        error = ContractError(message)
        error.results = table
        raise error


def label_of(target):
    """A target in a few words."""
    if isinstance(target, str):
        return target
    return target.__qualname__ if inspect.isclass(target) else repr(target).strip("<>")


class _Once:
    """The subject of a target, made when it is first needed; the same exception each time where that fails."""

    def __init__(self, make, target, seed):
        self.make, self.target, self.seed = make, target, seed
        self.value = self.error = None

    def __call__(self):
        if self.error is None and self.value is None:
            try:
                self.value = self.make(self.target, self.seed)
            except Exception as error:
                self.error = error
        if self.error is not None:
            raise self.error
        return self.value


@dataclass(frozen=True)
class _Bound:
    """A check with its subject and its own random numbers."""

    name: str
    function: object
    subject: object
    kind: str

    def __repr__(self):
        return f"<check {self.name} of the {self.kind} {label_of(self.subject.target)}, seed {self.subject.seed}>"

    def __call__(self):
        rng = np.random.default_rng([self.subject.seed, zlib.crc32(self.name.encode())])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpecalignWarning)  # they inform whoever has real data
            try:
                self.function(self.subject(), rng)
            except Exception as error:
                self._note(error)
                raise

    def _note(self, error):
        """Say below the traceback how to see it again; an error of the subject comes once for each check."""
        promise = " ".join(inspect.getdoc(self.function).split("\n\n")[0].split())
        if not isinstance(error, unittest.SkipTest) and error is not self.subject.error:
            error.add_note(f"{self.name} promises: {promise}")
            error.add_note(f"again: check_{self.kind}(..., checks=[{self.name!r}], seed={self.subject.seed})")


def _outcome(check, expected):
    """Status and reason of a check that ran."""
    try:
        check()
    except unittest.SkipTest as reason:
        return "skipped", str(reason)
    except Exception as error:
        reason = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        return ("failed", reason) if expected is None else ("expected", f"{expected} ({reason})")
    if expected is None:
        return "passed", ""
    return "failed", f"passed, and was expected to fail: {expected}; take it off the expected failures"
