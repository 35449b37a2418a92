"""The checks of an instrument: sound ones pass all of them, and each fails on an instrument broken in just that way."""

import gc
import sys
import unittest

import pytest

from specalign.exceptions import ContractError, ContractWarning, PluginError
from specalign.instruments import get_instrument
from specalign.testing import check_instrument, instrument_checks, parametrize_instrument
from specalign.testing.instrument_kit.case import InstrumentCase
from specalign.testing.instruments import INSTRUMENT_CONTRACT
from specalign.tests.testing.broken_values import BROKEN
from specalign.tests.testing.spectrograph import Small

CHECKS = INSTRUMENT_CONTRACT.checks
# Those that take long where nothing is wrong with files or processes.
LONG = {
    "files_of_others_are_refused",
    "junk_is_refused",
    "damaged_files_raise_its_errors",
    "masked_pixels_never_matter",
    "listing_imports_nothing",
    "spawned_process_gives_the_same_arrays",
}
SLOW_PROCESS = {"spawned_process_gives_the_same_arrays": pytest.mark.slow}
# One list is that of all plugins: apogee's test has it.
SLOW_LIST = SLOW_PROCESS | {"listing_imports_nothing": pytest.mark.slow}
SLOW_FILES = SLOW_LIST | {"damaged_files_raise_its_errors": pytest.mark.slow}


@parametrize_instrument(Small)
def test_an_instrument_of_somebody_else(check):
    check()


@parametrize_instrument("apogee", marks=SLOW_PROCESS)
def test_apogee(check):
    check()


@parametrize_instrument("nirspec", marks=SLOW_FILES)
def test_nirspec(check):
    check()


@pytest.mark.slow
@parametrize_instrument(get_instrument("nirspec", disperser="prism", filter="clear"))
def test_nirspec_prism(check):
    check()


@parametrize_instrument("lamost", marks=SLOW_FILES)
def test_lamost(check):
    check()


@parametrize_instrument(get_instrument("lamost", mode="mrs"), marks=SLOW_FILES)
def test_lamost_of_medium_resolution(check):
    check()


@parametrize_instrument("gaia_xp", marks=SLOW_LIST)
def test_gaia_xp(check):
    check()


# this seed had an example with a negative flux at 550 nm
@parametrize_instrument(get_instrument("gaia_xp", form="coefficients"), marks=SLOW_FILES, seed=3)
def test_gaia_xp_coefficients(check):
    check()


def failures(kind, names):
    """Names of the checks that fail, of those that are run; a plugin may raise anything."""
    found = set()
    for name, check in instrument_checks(kind):
        if name in names:
            try:
                check()
            except unittest.SkipTest:
                continue
            except Exception:
                found.add(name)
    return found


def relatives(names):
    """Checks of the same things, but for the long ones."""
    modules = {CHECKS[name].__module__ for name in names}
    return {name for name, check in CHECKS.items() if check.__module__ in modules} - LONG


def test_every_check_has_an_instrument_that_breaks_it():
    noticed = set().union(*(checks for _, checks in BROKEN.values()))
    assert noticed | {"listing_imports_nothing"} == set(CHECKS)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_instrument_is_noticed_by_its_checks_and_not_by_their_relatives(name):
    kind, expected = BROKEN[name]
    assert failures(kind, relatives(expected) | expected) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_instrument_is_noticed_by_no_other_check(name):
    kind, expected = BROKEN[name]
    assert failures(kind, set(CHECKS) - {"spawned_process_gives_the_same_arrays"} | expected) == expected


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A class that a distribution offers, and the folder in which it lies."""
    (tmp_path / "offered_small.py").write_text("from specalign.tests.testing.spectrograph import Small as Parent\n\n\n"
                                               "class Small(Parent):\n    pass\n")  # fmt: skip
    info = tmp_path / "small_spectrograph-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[specalign.instruments]\nsmall=offered_small:Small\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("offered_small", None)


def test_a_plugin_that_is_offered_is_found_by_its_name(offered):
    checks = dict(instrument_checks("small"))
    checks["listing_imports_nothing"]()
    checks["name_is_stated"]()


def test_a_plugin_that_is_imported_by_a_list_is_noticed(offered):
    # What a module that was imported leaves behind, without the time that this one takes.
    text = "import sys, types\nsys.modules['offered_small'] = types.ModuleType('offered_small')\n"
    (offered / "sitecustomize.py").write_text(text)
    check = dict(instrument_checks("small"))["listing_imports_nothing"]
    with pytest.raises(ContractError, match="offered_small was imported before anybody asked for the plugin"):
        check()


def test_a_name_that_is_not_that_of_the_entry_point_is_noticed(offered):
    kind = get_instrument("small").__class__
    kind.name = "little"
    with pytest.raises(ContractError, match="name: expected small, as the entry point says, got 'little'"):
        dict(instrument_checks(kind))["name_is_stated"]()


def test_a_plugin_that_cannot_be_made_fails_every_check_with_its_reason():
    table = check_instrument("smal", on_fail="record")
    assert set(table["status"]) == {"failed"}
    assert all("no instrument plugin is called 'smal'" in reason for reason in table["reason"])


def test_an_instrument_without_a_reader_is_told_what_it_lacks():
    class Bare(Small):
        reader = ""

    with pytest.raises(PluginError, match=r"Bare.reader: expected the name of the module with PRODUCTS.*got ''"):
        Bare()
    table = check_instrument(Bare, checks=["name_is_stated"], on_fail="record")
    assert "Bare.reader: expected the name" in table["reason"][0]


def test_a_warning_points_to_whoever_asked():
    kind = BROKEN["WithoutVersion"][0]
    with pytest.warns(ContractWarning, match="the instrument WithoutVersion breaks 1 of 1 promises") as caught:
        table = check_instrument(kind, checks=["version_is_stated"], on_fail="warn")
    assert caught[0].filename == __file__
    assert table.counts == {"failed": 1}


def test_an_instrument_of_a_script_is_told_to_move():
    kind = type("Drafted", (Small,), {"__module__": "__main__"})
    with pytest.raises(ContractError, match="Drafted is defined in a script or a notebook; move it into a module"):
        dict(instrument_checks(kind))["spawned_process_gives_the_same_arrays"]()


def test_the_folder_of_the_checks_is_taken_away():
    case = InstrumentCase(Small, 0)
    folder = case.folder
    assert folder.is_dir()
    del case
    gc.collect()
    assert not folder.exists()
