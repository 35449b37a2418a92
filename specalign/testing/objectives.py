"""An objective, held to what the package promises of it."""

from specalign.testing.objective_values import OBJECTIVE

__all__ = ["check_objective", "objective_checks", "parametrize_objective"]


def check_objective(target, *, expected_failures=None, checks=None, seed=0, on_fail="raise", callback=None):
    """Hold an objective to everything that the package promises of it.

    The vectors are drawn by the checks, and all of it takes a few seconds.

    Parameters
    ----------
    target : str, class or Objective
        The name of a plugin, a class that is built without options, or an objective with options of its own, of which
        copies are used.
    expected_failures : dict of str to str, optional
        Reasons by the name of the check. An expected failure that does not come is a failure.
    checks : sequence of str, optional
        Names of those to run. Default: all.
    seed : int
        Of the vectors and of random parameters.
    on_fail : {"raise", "warn", "record"}
        What to do about failures, after all checks have run.
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

    Examples
    --------
    >>> from specalign.alignment import get_objective
    >>> from specalign.testing import check_objective
    >>> names = ["parameters_are_clamped", "half_precision_is_close"]
    >>> check_objective(get_objective("info_nce", max_scale=100.0), checks=names).counts
    {'passed': 2}
    """
    options = {"expected_failures": expected_failures, "checks": checks, "seed": seed}
    return OBJECTIVE.run(target, on_fail=on_fail, callback=callback, **options)


def objective_checks(target, *, seed=0):
    """Give out the checks of `check_objective` one by one.

    Parameters
    ----------
    target : str, class or Objective
    seed : int

    Yields
    ------
    name : str
    check : callable
        Without arguments.

    Examples
    --------
    >>> from specalign.testing import objective_checks
    >>> checks = dict(objective_checks("sigmoid"))
    >>> checks["rows_of_one_star_are_never_negatives"]()
    """
    yield from OBJECTIVE.generate(target, seed=seed)


def parametrize_objective(target, *, expected_failures=None, seed=0, marks=None):
    """Make a test of each check of `check_objective`: a decorator for pytest.

    Parameters
    ----------
    target : str, class or Objective
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
    >>> from specalign.testing import parametrize_objective
    >>> @parametrize_objective("info_nce")
    ... def test_contract(check):
    ...     check()
    """
    return OBJECTIVE.parametrize(target, expected_failures=expected_failures, seed=seed, marks=marks)
