"""The checks of encoders: a sound one passes all, and each broken one fails just those that it breaks."""

import unittest

import pytest

from specalign.exceptions import ContractError, ContractWarning, UnknownPluginError
from specalign.testing import check_encoder, encoder_checks, parametrize_encoder
from specalign.testing.encoders import ENCODER
from specalign.tests.testing import broken_encoders as broken
from specalign.tests.testing.distributions import install

# Each takes a training or a process: they are held against the classes that break them, and against sound ones.
LONG = ("aligner_learns", "survives_a_new_process", "aligner_saves_and_loads", "listing_imports_nothing")


def failures(target, names):
    """Reasons by the names of those checks that fail."""
    checks, found = dict(encoder_checks(target)), {}
    for name in names:
        try:
            checks[name]()
        except unittest.SkipTest:
            continue
        except Exception as error:
            found[name] = str(error)
    return found


QUICK = [name for name in ENCODER.checks if name not in LONG]


@pytest.mark.parametrize("cls", [broken.Sound, broken.Summarizing])
def test_a_sound_encoder_passes(cls):
    assert not failures(cls, QUICK)


@pytest.mark.parametrize("cls", broken.BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_encoder_fails_just_what_it_breaks(cls):
    assert set(failures(cls, QUICK)) == broken.BROKEN[cls]


def test_every_check_has_an_encoder_that_breaks_it():
    assert set.union(*broken.BROKEN.values(), LONG) == set(ENCODER.checks)


def test_dropout_that_never_ends_is_noticed():
    assert "eval_mode_has_no_randomness" in failures(broken.AlwaysDropping, QUICK)


def test_an_encoder_that_does_not_see_the_flux_does_not_learn():
    found = failures(broken.SeesNoFlux, ["aligner_learns", "masked_pixels_never_matter"])
    assert set(found) == {"aligner_learns"}
    assert "expected at least 15%, and chance finds 2%" in found["aligner_learns"]


@pytest.mark.slow
def test_what_depends_on_the_process_does_not_survive_another():
    assert set(failures(broken.KnowsTheProcess, [*QUICK, "survives_a_new_process"])) == {"survives_a_new_process"}


def test_a_class_in_a_function_does_not_survive_either():
    class Local(broken.Sound):
        pass

    assert "move it into a module" in failures(Local, ["survives_a_new_process"])["survives_a_new_process"]


def test_installed_encoders_are_saved_and_loaded(tmp_path, monkeypatch):
    place = "specalign.tests.testing.broken_encoders"
    install(tmp_path, monkeypatch, "encoders", sound=f"{place}:Sound", lost=f"{place}:ScalingInAnAttribute")
    names = ["aligner_saves_and_loads", "listing_imports_nothing"]
    assert not failures("sound", names)
    found = failures("lost", names)
    assert set(found) == {"aligner_saves_and_loads"}
    assert "a loaded aligner embeds" in found["aligner_saves_and_loads"]
    assert " of 160 vectors, by up to " in found["aligner_saves_and_loads"]


def test_a_distribution_that_imports_its_plugin_by_itself_is_noticed(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "encoders", early="sitecustomize:Early")
    (tmp_path / "sitecustomize.py").write_text("class Early: pass\n")
    check = dict(ENCODER.generate("mlp"))["listing_imports_nothing"]
    with pytest.raises(ContractError, match="to list plugins, sitecustomize was imported"):
        check()


def test_an_encoder_with_options_of_its_own_is_checked_as_it_is():
    encoder = broken.Sound(n_pixels=50, embed_dim=3, width=5)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert not failures(encoder, QUICK)
    assert all((before[key] == value).all() for key, value in encoder.state_dict().items())


def test_what_is_no_encoder_fails_with_that():
    with pytest.raises(ContractError, match="expected one of class Encoder, got Linear"):
        check_encoder(broken.nn.Linear(3, 3))
    seen = []
    table = check_encoder("perceptron", on_fail="record", callback=lambda *row: seen.append(row))
    assert set(table["status"]) == {"failed"}
    assert [row[0] for row in seen] == table["check"].tolist() == list(ENCODER.checks)
    assert UnknownPluginError.__name__ in table["reason"][0]
    with pytest.warns(ContractWarning, match="the encoder perceptron breaks"):
        check_encoder("perceptron", on_fail="warn")


# so does the example of check_encoder, with a built-in one
@parametrize_encoder(broken.Sound, marks={"survives_a_new_process": pytest.mark.slow})
def test_the_decorator_makes_a_test_of_each_check(check):
    check()
