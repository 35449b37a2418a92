"""Building, saving and loading a model; errors and label ranges."""

import json
import re
import shutil

import astropy.units as u
import numpy as np
import pytest

import specalign as sa
from specalign.alignment import checkpoint
from specalign.exceptions import CheckpointError, GridMismatchError, LabelError, MatchError
from specalign.prediction import LabelTransfer, storage
from specalign.tests.prediction.conftest import reference

NAMES = ["teff", "logg", "fe_h", "mg_fe"]


def same(a, b):
    return a.colnames == b.colnames and all(np.array_equal(np.asarray(a[n]), np.asarray(b[n])) for n in a.colnames)


def build(survey, **options):
    few = survey.training["nirspec"][:60]
    defaults = {"reference": reference(survey), "labels": survey.labels, "training": [few]}
    return LabelTransfer.build(survey.aligner, **{**defaults, **options})


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def members(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def pulls(model, survey, name):
    """Residuals of held-out stars over their errors."""
    table = model.predict(survey.test["nirspec"])
    row = {star: i for i, star in enumerate(survey.labels["object_id"])}
    true = survey.labels[name].value[[row[star] for star in table["object_id"]]]
    return (table[name].value - true) / table[f"{name}_err"].value


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_neighbours_cover_held_out_stars(model, survey, name):
    """One sigma should hold 68 %; 100 test stars scatter by 5 % around it."""
    assert 0.55 <= (np.abs(pulls(model, survey, name)) < 1).mean() <= 0.90


def test_errors_are_checked_on_the_instrument_that_is_labelled(survey):
    """A linear probe on the other instrument's embeddings is far too sure of itself; held-out stars tell."""
    other = survey.aligner.embed(survey.training["gaia_xp"])
    linear = build(survey, reference=other, method="linear", names=NAMES)
    factor = linear.facts["errors"]["nirspec"]["factors"]["teff"]
    assert linear.facts["errors"]["nirspec"]["n_stars"] == 60
    assert factor > 1.5
    covered = np.abs(pulls(linear, survey, "teff"))
    assert (covered < 1).mean() > (covered < 1 / factor).mean() + 0.1


def test_without_labels_of_the_instrument_errors_are_not_checked(survey):
    few = survey.training["gaia_xp"].object_id[:15]
    labels = survey.labels[np.isin(survey.labels["object_id"], few)]
    one = build(survey, labels=labels, names=NAMES)
    assert one.facts["errors"]["nirspec"] == {"n_stars": 0, "factors": {}}
    assert one.facts["label_quality"] == []


def test_every_label_says_what_it_is_worth(model, survey):
    """A column of chance beside Teff: what held-out training stars say holds for the test stars, too."""
    labels = survey.labels["object_id", "teff"].copy()
    labels["chance"] = np.random.default_rng(0).normal(size=len(labels)) * u.dex
    table = build(survey, labels=labels, training=[survey.training["nirspec"]]).predict(survey.test["nirspec"])
    teff, chance = table.meta["label_quality"]
    assert (teff["instrument"], teff["label"], teff["unit"], teff["n"]) == ("nirspec", "teff", "K", 300)
    assert teff["r2"] > 0.7
    assert chance["r2"] < 0.1
    figures = {row["label"]: row for row in sa.metrics.labels(table, labels)}
    assert 0.5 < teff["rmse"] / figures["teff"]["rmse"] < 2
    assert abs(chance["r2"] - figures["chance"]["r2"]) < 0.3


def test_labels_outside_those_of_the_training_are_named(survey):
    """How far a linear model goes beyond its labels hangs on the space; with either limit some stars are beyond it."""
    found = 0
    for limit in (4600, 4800):
        cool = survey.labels[survey.labels["teff"] < limit * u.K]
        table = build(survey, labels=cool, method="linear", names=["teff"]).predict(survey.test["nirspec"])
        low, high = np.min(cool["teff"].value), np.max(cool["teff"].value)
        outside = (table["teff"] - table["teff_err"]).value > high
        assert all("teff" in reason for reason in table["domain_reasons"][outside])
        inside = (table["teff"].value > low) & (table["teff"].value < high)
        assert not any("teff" in reason for reason in table["domain_reasons"][inside])
        found += outside.sum()
    assert found > 4


def test_what_is_saved_comes_back(model, survey, folder):
    loaded = LabelTransfer.load(folder)
    assert same(loaded.predict(survey.test["nirspec"]), model.predict(survey.test["nirspec"]))
    assert repr(loaded) == repr(model)
    assert "NOT FOR SCIENCE" in repr(loaded)
    assert loaded.facts == model.facts
    assert loaded.labels["logg"].unit == u.dex(u.cm / u.s**2)


def test_a_model_of_networks_is_fitted_anew_and_is_the_same(survey, tmp_path):
    options = {"members": 1, "max_epochs": 3, "hidden": 16, "seed": 3}
    model = build(survey, method="mlp", options=options, names=["teff"])
    model.save(tmp_path / "mlp")
    again = LabelTransfer.load(tmp_path / "mlp")
    assert again.facts["options"] == options
    assert same(again.predict(survey.test["nirspec"][:5]), model.predict(survey.test["nirspec"][:5]))


def test_every_missing_file_is_named(folder):
    for path in members(folder):
        moved = path.rename(folder.parent / "elsewhere")
        with pytest.raises(CheckpointError, match=re.escape(path.name)):
            LabelTransfer.load(folder)
        moved.rename(path)


def test_bit_flips_and_cuts_are_refused_in_every_file(folder):
    rng = np.random.default_rng(0)
    for path in members(folder):
        content = path.read_bytes()
        for _ in range(8):
            changed = bytearray(content)
            changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            with pytest.raises(CheckpointError, match=re.escape(path.name)):
                LabelTransfer.load(folder)
        path.write_bytes(content[:-1])
        with pytest.raises(CheckpointError, match=re.escape(path.name)):
            LabelTransfer.load(folder)
        path.write_bytes(content)
    LabelTransfer.load(folder)


def rewrite(folder, change):
    """A description with right digests, as somebody would write who wants to be trusted."""
    value = json.loads((folder / "model.json").read_text())
    value.pop("sha256")
    change(value)
    checkpoint.write_description(folder / "model.json", value)


@pytest.mark.parametrize("name", ["../secret.fits", "/etc/passwd", "aligner-0123456789abcdef/../../x", "model.json"])
def test_files_outside_the_folder_are_not_read(folder, name):
    rewrite(folder, lambda value: value["files"].update({name: {"sha256": "0" * 64, "bytes": 3}}))
    with pytest.raises(CheckpointError, match="expected files of a model in this folder"):
        LabelTransfer.load(folder)


@pytest.mark.parametrize("key", ["reference", "labels", "aligner", "domains", "facts", "files"])
def test_a_description_that_lacks_something_is_refused(folder, key):
    rewrite(folder, lambda value: value.pop(key))
    with pytest.raises(CheckpointError, match=r"model\.json"):
        LabelTransfer.load(folder)


def test_a_file_without_a_digest_is_not_read(folder):
    rewrite(folder, lambda value: value["files"].pop(value["labels"]))
    with pytest.raises(CheckpointError, match="states no digest"):
        LabelTransfer.load(folder)


def test_an_aligner_is_not_a_model(survey, tmp_path):
    survey.aligner.save(tmp_path)
    shutil.copy(tmp_path / "aligner.json", tmp_path / "model.json")
    with pytest.raises(CheckpointError, match="expected a description with format 'specalign model'"):
        LabelTransfer.load(tmp_path)


def test_a_new_model_replaces_the_old_one_as_a_whole(model, survey, folder, monkeypatch):
    other = build(survey, names=["teff"])
    (folder / "mine.txt").write_text("kept")
    monkeypatch.setattr(storage, "write_description", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        other.save(folder)
    assert LabelTransfer.load(folder).facts == model.facts
    monkeypatch.undo()
    other.save(folder)
    assert list(LabelTransfer.load(folder).facts["errors"]["nirspec"]["factors"]) == ["teff"]
    assert len(list(folder.glob("labels-*"))) == len(list(folder.glob("aligner-*"))) == 1
    assert (folder / "mine.txt").exists()


def test_an_instrument_without_training_spectra_is_refused(model, survey):
    with pytest.raises(GridMismatchError, match="labels nirspec; it was built without training spectra of gaia_xp"):
        model.predict(survey.test["gaia_xp"])


def test_no_rows_give_no_rows(model, survey):
    table = model.predict(survey.test["nirspec"][:0])
    assert len(table) == 0
    assert table["teff"].unit == u.K
    assert table["in_domain"].dtype == bool


def test_build_refuses(survey):
    with pytest.raises(LabelError, match="expected labels of the stars of the reference, got 0 rows"):
        build(survey, labels=survey.labels[-50:])
    with pytest.raises(MatchError, match="each instrument once"):
        build(survey, training=[survey.training["nirspec"], survey.test["nirspec"]])
    with pytest.raises(MatchError, match="got none"):
        build(survey, training=[])
    table = reference(survey)
    table.provenance = {**table.provenance, "space": "another"}
    with pytest.raises(GridMismatchError, match="another"):
        build(survey, reference=table)


def test_the_name_is_public():
    assert sa.predict.__module__ == "specalign.prediction.predict"
