"""The checks of objectives: a sound one passes all, and each broken one fails just those that it breaks."""

import unittest

import pytest

from specalign.alignment.objectives import InfoNCE
from specalign.exceptions import ContractError, UnknownPluginError
from specalign.testing import check_objective, objective_checks, parametrize_objective
from specalign.testing.objectives import OBJECTIVE
from specalign.tests.testing import broken_objectives as broken
from specalign.tests.testing.distributions import install

LONG = ("aligner_learns", "aligner_saves_and_loads", "listing_imports_nothing")
QUICK = [name for name in OBJECTIVE.checks if name not in LONG]


def failures(target, names=QUICK):
    """Reasons by the names of those checks that fail."""
    checks, found = dict(objective_checks(target)), {}
    for name in names:
        try:
            checks[name]()
        except unittest.SkipTest:
            continue
        except Exception as error:
            found[name] = str(error)
    return found


@pytest.mark.parametrize("cls", broken.BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_objective_fails_just_what_it_breaks(cls):
    assert set(failures(cls)) == broken.BROKEN[cls]


def test_every_check_has_an_objective_that_breaks_it():
    assert set.union(*broken.BROKEN.values(), LONG) == set(OBJECTIVE.checks)


def test_an_objective_with_another_gradient_learns_nothing():
    assert set(failures(broken.WrongGradient, [*QUICK, "aligner_learns"])) == {"aligner_learns"}


def test_installed_objectives_are_saved_and_loaded(tmp_path, monkeypatch):
    place = "specalign.tests.testing.broken_objectives"
    install(tmp_path, monkeypatch, "objectives", sound=f"{place}:Sound", lost=f"{place}:ForgottenBuffer")
    names = ["aligner_saves_and_loads", "listing_imports_nothing"]
    assert not failures("sound", names)
    assert "the buffer 'factor' is not persistent" in failures("lost", names)["aligner_saves_and_loads"]


def test_a_distribution_that_imports_its_plugin_by_itself_is_noticed(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "objectives", early="sitecustomize:Early")
    (tmp_path / "sitecustomize.py").write_text("class Early: pass\n")
    assert "sitecustomize was imported" in failures("info_nce", ["listing_imports_nothing"])["listing_imports_nothing"]


def test_an_objective_with_options_of_its_own_is_checked_as_it_is():
    given = InfoNCE(initial_scale=3.0, max_scale=7.0)
    assert not failures(given)
    assert given.log_scale.grad is None


def test_what_is_no_objective_fails_with_that():
    with pytest.raises(ContractError, match="expected one of class Objective, got Linear"):
        check_objective(broken.nn.Linear(3, 3))
    table = check_objective("triplet", on_fail="record")
    assert UnknownPluginError.__name__ in table["reason"][0]


@parametrize_objective(broken.Sound)
def test_the_decorator_makes_a_test_of_each_check(check):
    check()
