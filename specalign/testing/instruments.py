"""The contract of an instrument: what `specalign` and its users rely on."""

from specalign.testing.contract import Contract
from specalign.testing.instrument_kit import CHECKS
from specalign.testing.instrument_kit.case import InstrumentCase

__all__ = ["INSTRUMENT_CONTRACT", "check_instrument", "instrument_checks", "parametrize_instrument"]

#: The checks of an instrument; ``INSTRUMENT_CONTRACT.summaries`` says in a line what each of them asks.
INSTRUMENT_CONTRACT = Contract("instrument", InstrumentCase)
for _check in CHECKS:
    INSTRUMENT_CONTRACT.check(_check)


def check_instrument(target, *, expected_failures=None, checks=None, seed=0, on_fail="raise", callback=None):
    """Check that an instrument does what every instrument promises.

    Parameters
    ----------
    target : str, class or Instrument
        A plugin's name, a class that needs no argument, or an instance, which has its options.
    expected_failures : dict of str to str, optional
        Reasons by the name of the check.  An expected failure that does not come is a failure.
    checks : sequence of str, optional
        Names of those to run.  Default: all, which takes a few seconds.
    seed : int
        Everything that is drawn follows from it.
    on_fail : {"raise", "warn", "record"}
        What to do about failures, after all checks have run.
    callback : callable, optional
        ``callback(check, status, reason)`` is called after each check.

    Returns
    -------
    CheckTable
        A row a check: check, status (passed, failed, expected, skipped), reason.

    Raises
    ------
    ContractError
        A check failed that was not expected to, or the other way round; ``error.results`` is the table.
    ValueError
        ``on_fail``, a name in ``checks`` or that of an expected failure is unknown.

    Examples
    --------
    >>> from specalign.testing import check_instrument
    >>> names = ["grid_is_increasing", "batch_equals_loop", "air_becomes_vacuum"]
    >>> check_instrument("gaia_xp", checks=names)
    <CheckTable of the instrument gaia_xp: 2 passed, 1 skipped>
          check         status                              reason
    ------------------ ------- --------------------------------------------------------------
    grid_is_increasing passed
    air_becomes_vacuum skipped its pixels of 20 Angstrom are too wide to tell air from vacuum
    batch_equals_loop  passed
    """
    return INSTRUMENT_CONTRACT.run(
        target, expected_failures=expected_failures, checks=checks, seed=seed, on_fail=on_fail, callback=callback
    )


def instrument_checks(target, *, seed=0):
    """The checks one by one.

    Parameters
    ----------
    target : str, class or Instrument
    seed : int

    Yields
    ------
    name : str
    check : callable
        Without arguments; raises `~specalign.exceptions.ContractError` or another exception where it fails, and
        `unittest.SkipTest` where it has no meaning.

    Examples
    --------
    >>> from specalign.testing import instrument_checks
    >>> checks = dict(instrument_checks("lamost"))
    >>> checks["grid_is_increasing"]()
    """
    return INSTRUMENT_CONTRACT.generate(target, seed=seed)


def parametrize_instrument(target, *, expected_failures=None, seed=0, marks=None):
    """A decorator for pytest: one test for each check of an instrument.

    Parameters
    ----------
    target : str, class or Instrument
    expected_failures : dict of str to str, optional
        Reasons by the name of the check; these become strict ``xfail``.
    seed : int
    marks : dict of str to mark, optional
        Further marks of pytest by the name of the check.

    Returns
    -------
    `pytest.MarkDecorator`

    Examples
    --------
    >>> from specalign.testing import parametrize_instrument
    >>> @parametrize_instrument("gaia_xp")
    ... def test_contract(check):
    ...     check()
    """
    return INSTRUMENT_CONTRACT.parametrize(target, expected_failures=expected_failures, seed=seed, marks=marks)
