"""The core of the kit: what becomes of checks that pass, fail, fail as expected, are skipped, or break."""

import unittest

import pytest

import specalign.testing
from specalign.exceptions import ContractError, ContractWarning, PluginWarning, SpecalignWarning
from specalign.testing import CheckTable, Contract
from specalign.testing.contract import fail, skip

pytest_plugins = ("pytester",)


def make_contract():
    """Checks of a dict: what each does is what the dict has under its name."""
    contract = Contract("thing", lambda target, seed: target)

    @contract.check
    def has_a_name(thing, rng):
        """The thing has a name.

        More is not part of the promise.
        """
        if not thing.get("name"):
            fail("expected a name")

    @contract.check
    def has_parts(thing, rng):
        """The thing has parts."""
        if "parts" not in thing:
            skip("it is not made of parts")
        assert thing["parts"] / thing["pieces"] == 1

    @contract.check
    def is_lucky(thing, rng):
        """The thing draws a large number."""
        thing.setdefault("drawn", []).append(rng.random())

    return contract


GOOD = {"name": "a", "parts": 2, "pieces": 2}


def test_a_table_says_what_became_of_each_check():
    table = make_contract().run({"parts": 1, "pieces": 0}, on_fail="record")
    assert isinstance(table, CheckTable)
    assert table["check"].tolist() == ["has_a_name", "has_parts", "is_lucky"]
    assert table["status"].tolist() == ["failed", "failed", "passed"]
    assert table["reason"].tolist() == ["expected a name", "ZeroDivisionError: division by zero", ""]
    assert table.counts == {"passed": 1, "failed": 2}
    assert table.meta == {"kind": "thing", "target": "{'parts': 1, 'pieces': 0}", "seed": 0}


def test_some_checks_may_be_chosen():
    table = make_contract().run({}, checks=["is_lucky", "has_parts"])
    assert table["check"].tolist() == ["has_parts", "is_lucky"]


def test_what_has_no_meaning_is_skipped_with_its_reason():
    table = make_contract().run({"name": "a"})
    assert dict(table[1]) == {"check": "has_parts", "status": "skipped", "reason": "it is not made of parts"}


def test_all_failures_are_raised_after_all_checks_ran():
    seen = []
    with pytest.raises(
        ContractError, match=r"breaks 2 of 3 promises \(seed 0\):\n  has_a_name: expected a name\n"
    ) as e:
        make_contract().run({"parts": 1, "pieces": 0}, callback=lambda *row: seen.append(row[:2]))
    assert isinstance(e.value, AssertionError)
    assert e.value.results.counts == {"passed": 1, "failed": 2}
    assert seen == [("has_a_name", "failed"), ("has_parts", "failed"), ("is_lucky", "passed")]


def test_an_error_says_how_to_see_it_again():
    contract = make_contract()
    with pytest.raises(ContractError, match=r"breaks 1 of 1 promises \(seed 7\):"):
        contract.run({}, checks=["has_a_name"], seed=7)
    check = dict(contract.generate({}, seed=7))["has_a_name"]
    assert repr(check) == "<check has_a_name of the thing {}, seed 7>"
    with pytest.raises(ContractError) as caught:
        check()
    promise, again = caught.value.__notes__
    assert promise == "has_a_name promises: The thing has a name."
    assert again == "again: check_thing(..., checks=['has_a_name'], seed=7)"


def test_failures_may_be_a_warning():
    with pytest.warns(ContractWarning, match="breaks 1 of 3 promises") as caught:
        table = make_contract().run({}, on_fail="warn")
    assert len(caught) == 1
    assert table.counts == {"passed": 1, "failed": 1, "skipped": 1}
    assert issubclass(ContractWarning, PluginWarning)


def test_an_expected_failure_keeps_its_reason():
    table = make_contract().run({}, expected_failures={"has_a_name": "nobody named it"})
    assert table["status"][0] == "expected"
    assert table["reason"][0] == "nobody named it (expected a name)"
    assert not table.failures


def test_an_expected_failure_that_passes_is_an_error():
    with pytest.raises(ContractError, match="has_a_name: passed, and was expected to fail: nobody named it"):
        make_contract().run(dict(GOOD), expected_failures={"has_a_name": "nobody named it"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expected_failures": {"has_a_nmae": "typo"}}, "no check is called has_a_nmae; there are has_a_name, has_p"),
        ({"expected_failures": {"has_a_name": " "}}, "expected a reason for each check, got none for has_a_name"),
        ({"checks": ["is_happy"]}, "checks: no check is called is_happy"),
        ({"on_fail": "ignore"}, "on_fail: expected one of raise, warn, record, got 'ignore'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_contract().run(dict(GOOD), **arguments)


def test_a_target_that_cannot_be_used_fails_every_check_with_its_own_error():
    def refuse(target, seed):
        raise LookupError(f"no {target}")

    contract = Contract("thing", refuse, make_contract().checks)
    table = contract.run("moon", on_fail="record")
    assert set(table["reason"]) == {"LookupError: no moon"}


def test_the_subject_is_made_once_and_late():
    made = []
    contract = Contract("thing", lambda target, seed: made.append((target, seed)) or dict(GOOD), make_contract().checks)
    checks = dict(contract.generate("a", seed=3))
    assert made == []
    for check in checks.values():
        check()
    assert made == [("a", 3)]


def test_numbers_follow_from_the_seed_and_the_name():
    one, two, other = dict(GOOD), dict(GOOD), dict(GOOD)
    contract = make_contract()
    contract.run(one, seed=1)
    dict(contract.generate(two, seed=1))["is_lucky"]()
    contract.run(other, seed=2)
    assert one["drawn"] == two["drawn"] != other["drawn"]


def test_warnings_of_the_package_are_no_failures_and_others_are_as_outside():
    contract = Contract("thing", lambda target, seed: target)

    @contract.check
    def warns(thing, rng):
        """It warns."""
        import warnings

        warnings.warn("of a thing", thing)

    assert contract.run(SpecalignWarning).counts == {"passed": 1}
    assert contract.run(RuntimeWarning, on_fail="record").counts == {"failed": 1}


def test_every_check_has_a_name_of_its_own_and_says_what_it_promises():
    contract = make_contract()
    assert contract.summaries["has_a_name"] == "The thing has a name."
    with pytest.raises(ValueError, match="expected a new name with a docstring for a check, got 'is_lucky'"):
        contract.check(contract.checks["is_lucky"])
    with pytest.raises(ValueError, match="got '<lambda>'"):
        contract.check(lambda thing, rng: None)


def test_the_table_shows_every_row():
    rows = [(f"check_{i}", "passed", "") for i in range(200)]
    table = CheckTable.from_rows(rows, kind="thing", target="a<b", seed=0)
    assert repr(table).startswith("<CheckTable of the thing a<b: 200 passed>\n  check   status reason\n")
    assert repr(table).count("\n") == 202
    assert str(table) == repr(table)
    html = table._repr_html_()
    assert "200 passed" in html
    assert "check_117" in html
    assert "a<b" not in html
    assert "200 passed" not in repr(table["check", "reason"])
    assert repr(table[:0]).startswith("<CheckTable of the thing a<b: no checks>")


PYTEST_FILE = """
import pytest
from specalign.tests.testing.test_contract import GOOD, make_contract
contract = make_contract()

@contract.parametrize({target}, expected_failures={expected}, marks={{"is_lucky": pytest.mark.slow}})
def test_contract(check):
    check()
"""


def run_pytest(pytester, target, expected):
    pytester.makeini("[pytest]\nmarkers =\n    slow: takes long\n")
    pytester.makepyfile(PYTEST_FILE.format(target=target, expected=expected))
    return pytester.inline_run("-p", "no:cacheprovider", "-p", "no:xdist", "--strict-markers")


def outcomes(run):
    return {report.nodeid.split("[")[1]: report.outcome for report in run.getreports() if report.when == "call"}


def test_pytest_makes_a_test_of_each_check(pytester):
    run = run_pytest(pytester, {"parts": 1, "pieces": 0}, {"has_a_name": "nobody named it"})
    assert outcomes(run) == {"has_a_name]": "skipped", "has_parts]": "failed", "is_lucky]": "passed"}
    reports = {report.nodeid.split("[")[1]: report for report in run.getreports() if report.when == "call"}
    assert reports["has_a_name]"].wasxfail == "nobody named it"
    assert "slow" in reports["is_lucky]"].keywords


def test_pytest_fails_where_an_expected_failure_passes_and_skips_what_has_no_meaning(pytester):
    run = run_pytest(pytester, {"name": "a"}, {"has_a_name": "nobody named it"})
    assert outcomes(run) == {"has_a_name]": "failed", "has_parts]": "skipped", "is_lucky]": "passed"}


def test_pytest_is_not_needed_to_run_checks():
    check = dict(make_contract().generate({"name": "a"}))["has_parts"]
    with pytest.raises(unittest.SkipTest, match="it is not made of parts"):
        check()


def test_every_public_name_resolves():
    for name in specalign.testing.__all__:
        assert getattr(specalign.testing, name) is not None
    assert set(specalign.testing.__all__) <= set(dir(specalign.testing))
    with pytest.raises(AttributeError, match="has no attribute 'check_telescope'"):
        specalign.testing.check_telescope  # noqa: B018
