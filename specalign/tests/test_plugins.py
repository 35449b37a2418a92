"""Plugins from fake distributions on the path: clashes, broken ones, and what listing must not do."""

import json
import os
import subprocess
import sys
import warnings

import pytest

from specalign.exceptions import PluginError, PluginWarning, UnknownPluginError
from specalign.plugins import KINDS, Plugin, find_plugins, load_plugin


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """A function that puts a distribution with plugins, and their module, on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(distribution, entries, group="instruments", folder=tmp_path, ending="dist-info"):
        info = folder / f"{distribution}-1.0.{ending}"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(f"[specalign.{group}]\n" + "\n".join(entries) + "\n")

    return add


def module(folder, name, text="class Thing:\n    pass\n"):
    (folder / f"{name}.py").write_text(text)


def names(kind="instruments"):
    return [plugin.name for plugin in find_plugins(kind)]


def test_built_ins_are_found_through_their_entry_points():
    assert {"apogee", "gaia_xp", "lamost", "nirspec"} <= set(names())
    assert {"mlp", "starnet"} <= set(names("encoders"))
    assert "info_nce" in names("objectives")
    assert all(plugin.module.startswith("specalign.") for plugin in find_plugins("instruments"))


def test_plugin_of_another_distribution(offer, tmp_path):
    module(tmp_path, "offered_one")
    offer("my_spectrograph", ["weave=offered_one:Thing"])
    assert Plugin("weave", "my-spectrograph", "offered_one", "Thing") in find_plugins("instruments")
    assert load_plugin("instruments", "weave").__name__ == "Thing"


def test_dotted_attribute_and_missing_attribute(offer, tmp_path):
    module(tmp_path, "offered_nested", "class Outer:\n    class Inner:\n        pass\n")
    offer("nested", ["inner=offered_nested:Outer.Inner", "gone=offered_nested:Outer.Gone"])
    assert load_plugin("instruments", "inner").__qualname__ == "Outer.Inner"
    with pytest.raises(PluginError, match=r"gone \(nested: offered_nested:Outer.Gone\) cannot be imported") as caught:
        load_plugin("instruments", "gone")
    assert isinstance(caught.value.__cause__, AttributeError)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UnknownPluginError, match=r"no instrument plugin is called 'apogeee'; installed: apogee, gaia_xp"
    ):
        load_plugin("instruments", "apogeee")


@pytest.mark.parametrize("function", [find_plugins, lambda kind: load_plugin(kind, "apogee")])
def test_unknown_kind(function):
    with pytest.raises(PluginError, match="among instruments, encoders, objectives, got 'telescopes'"):
        function("telescopes")


def test_clash_names_both_distributions(offer):
    offer("first", ["weave=one:Thing"])
    offer("second", ["weave=two:Thing"])
    with pytest.raises(
        PluginError, match=r"'weave' is offered by weave \(first: one:Thing\) and by weave \(second: two"
    ):
        load_plugin("instruments", "weave")
    assert "apogee" in names()


def test_a_built_in_cannot_be_replaced(offer, tmp_path):
    module(tmp_path, "replaces", "raise RuntimeError('ran')\n")
    offer("hostile", ["starnet=replaces:Thing"], group="encoders")
    with pytest.raises(PluginError, match=r"offered by starnet \(hostile.* and by starnet \(specalign"):
        load_plugin("encoders", "starnet")
    assert "replaces" not in sys.modules


def test_a_distribution_that_takes_our_name_offers_nothing(offer, tmp_path):
    module(tmp_path, "replaces_too", "raise RuntimeError('ran')\n")
    offer("specalign", ["starnet=replaces_too:Thing"], group="encoders")
    with pytest.warns(PluginWarning, match="'starnet' of the distribution 'specalign' points outside the package"):
        assert "starnet" not in names("encoders")
    with pytest.raises(PluginError, match="points outside the package"):
        load_plugin("encoders", "starnet")


def test_clash_is_the_same_for_every_hash_seed(offer, tmp_path):
    for distribution in ("zeta", "alpha", "Beta_Two"):
        offer(distribution, [f"weave={distribution.lower()}:Thing"])
    code = (
        "from specalign.plugins import load_plugin\n"
        "try: load_plugin('instruments', 'weave')\n"
        "except Exception as error: print(error)"
    )
    outputs = set()
    for seed in range(20):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(tmp_path)}
        outputs.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
        )
    assert len(outputs) == 1
    assert "(alpha: alpha:Thing) and by weave (beta-two: beta_two:Thing) and by weave (zeta" in outputs.pop()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("raise ImportError('no module named h5py')\n", ImportError),
        ("1 / 0\n", ZeroDivisionError),
        ("def broken(:\n", SyntaxError),
        ("raise SystemExit(3)\n", SystemExit),
    ],
)
def test_broken_plugin_has_its_own_chained_error_and_the_others_work(offer, tmp_path, text, cause):
    name = f"broken_{cause.__name__.lower()}"
    module(tmp_path, name, text)
    offer("broken", [f"bad={name}:Thing"])
    assert {"bad", "apogee"} <= set(names())
    with pytest.raises(
        PluginError, match=f"bad .broken: {name}:Thing. cannot be imported.*update or uninstall"
    ) as caught:
        load_plugin("instruments", "bad")
    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize("line", ["spaced = module : Thing", "spaced = not-a-module:Thing", "spaced = "])
def test_unreadable_entry_point_warns_once_and_the_others_work(offer, line):
    offer("careless", [line, "tidy = module:Thing"])
    with pytest.warns(PluginWarning, match="'spaced' of the distribution 'careless' has an entry point") as caught:
        found = names()
    assert len(caught) == 1
    assert {"tidy", "apogee"} <= set(found)
    assert "spaced" not in found
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PluginError, match="'spaced' of the distribution 'careless' has an entry point that cannot"):
            load_plugin("instruments", "spaced")


def test_unreadable_metadata_file_warns_and_the_others_work(offer, tmp_path):
    offer("garbled", ["once=a:B", "once=c:D"])
    with pytest.warns(PluginWarning, match=r"garbled-1.0.dist-info.entry_points.txt cannot be read \(DuplicateOption"):
        assert "apogee" in names()


def test_other_packages_broken_metadata_is_ignored(tmp_path, monkeypatch):
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("no section\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "apogee" in names()


def test_percent_signs_are_not_interpolated(offer):
    offer("percent", ["good = module:Thing", "odd = %(module)s:Thing"])
    with pytest.warns(PluginWarning, match="'odd'"):
        assert "good" in names()


def test_stale_egg_info_in_the_working_folder_does_not_shadow_the_installed_one(offer, tmp_path, monkeypatch):
    stale = tmp_path / "work"
    offer("moved", ["weave=new_place:Thing"], folder=tmp_path / "site")
    offer("moved", ["weave=old_place:Thing"], folder=stale, ending="egg-info")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend("")
    monkeypatch.chdir(stale)
    assert [p.module for p in find_plugins("instruments") if p.name == "weave"] == ["new_place"]


def test_the_first_of_two_installations_counts(offer, tmp_path, monkeypatch):
    for folder in ("system", "user"):
        offer("twice", [f"weave={folder}:Thing"], folder=tmp_path / folder)
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    assert [p.module for p in find_plugins("instruments") if p.name == "weave"] == ["user"]


def test_listing_imports_nothing(offer, tmp_path):
    module(tmp_path, "must_stay_out", "raise RuntimeError('imported')\n")
    offer("lazy", ["lazy=must_stay_out:Thing"])
    code = (
        "import json, sys\nfrom specalign.plugins import find_plugins, KINDS\nbefore = set(sys.modules)\n"
        "found = [p.name for kind in KINDS for p in find_plugins(kind)]\n"
        "print(json.dumps([found, sorted(set(sys.modules) - before), sorted(sys.modules)]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found, new, loaded = json.loads(run.stdout)
    assert {"lazy", "apogee", "mlp", "info_nce"} <= set(found)
    assert not [name for name in new if "." not in name and name not in sys.stdlib_module_names]
    assert not {"numpy", "astropy", "torch", "specalign.instruments", "must_stay_out"} & set(loaded)


def test_every_kind_is_offered_by_the_package():
    assert all(any(plugin.distribution == "specalign" for plugin in find_plugins(kind)) for kind in KINDS)
