"""Saved aligners: the same afterwards, and refused where a byte is not as it was written."""

import hashlib
import json
import pickle
import re
import shutil
import struct
import tracemalloc

import numpy as np
import pytest
import torch

import specalign
from specalign import Aligner, get_encoder
from specalign.alignment import checkpoint
from specalign.alignment.objectives import Objective, Sigmoid
from specalign.encoders import Encoder
from specalign.exceptions import CheckpointError, GridMismatchError, PluginError, UnknownPluginError
from specalign.tests.alignment.survey import PIXELS, label_table, observe, stars


@pytest.fixture(scope="module")
def aligner():
    torch.set_num_threads(1)
    encoders = {
        name: get_encoder("mlp", n_pixels=PIXELS[name], embed_dim=6, width=16, depth=1)
        for name in ("nirspec", "apogee")
    }
    aligner = Aligner(encoders, embed_dim=6)
    prepared = {name: observe(name, stars(60)) for name in encoders}
    aligner.fit(prepared, label_table(stars(60)), max_epochs=2, batch_size=32, progress=False, accelerator="cpu")
    return aligner


@pytest.fixture
def folder(aligner, tmp_path):
    aligner.save(tmp_path / "model")
    return tmp_path / "model"


def weights_file(folder):
    return next(folder.glob("weights-*.safetensors"))


def rewrite(folder, change=None, content=None):
    """A description (and weights) whose digests are right, as an attacker would write them."""
    value = json.loads((folder / "aligner.json").read_text())
    if content is not None:
        digest = hashlib.sha256(content).hexdigest()
        path = folder / f"weights-{digest[:16]}.safetensors"
        path.write_bytes(content)
        value["weights"] = {"file": path.name, "sha256": digest, "bytes": len(content)}
    if change:
        change(value)
    value.pop("sha256", None)
    value["sha256"] = checkpoint._digest(value)
    (folder / "aligner.json").write_bytes(checkpoint._canonical(value))


def test_what_is_saved_comes_back(aligner, folder):
    loaded = Aligner.load(folder)
    assert loaded.instruments == aligner.instruments == ("nirspec", "apogee")
    assert loaded.space == aligner.space
    assert loaded._labels == aligner._labels
    for name in aligner.instruments:
        rows = observe(name, stars(9, first=300))
        assert (loaded.embed(rows).vectors == aligner.embed(rows).vectors).all()
        assert loaded.embed(rows).provenance == aligner.embed(rows).provenance
    assert repr(loaded.history) == repr(aligner.history)
    assert loaded.history.epochs["val_loss"].tolist() == aligner.history.epochs["val_loss"].tolist()


def test_loaded_weights_are_aligned_in_memory_like_trained_ones(aligner, folder):
    for one in (aligner, Aligner.load(folder)):
        places = {value.data_ptr() % 64 for part in one.encoders.values() for value in part.state_dict().values()}
        assert places == {0}


def test_saving_twice_gives_the_same_bytes(aligner, folder, tmp_path):
    Aligner.load(folder).save(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_loaded_aligner_can_be_trained_anew(aligner, folder):
    loaded = Aligner.load(folder)
    prepared = {name: observe(name, stars(60)) for name in loaded.instruments}
    loaded.fit(prepared, max_epochs=1, batch_size=32, progress=False, accelerator="cpu")
    assert loaded.encoders["apogee"].width == 16
    assert loaded.space != aligner.space


def test_a_new_aligner_replaces_the_old_one_and_leaves_nothing(aligner, folder):
    other = Aligner.load(folder)
    prepared = {name: observe(name, stars(60)) for name in other.instruments}
    other.fit(prepared, max_epochs=1, batch_size=32, progress=False, accelerator="cpu")
    other.save(folder)
    assert len(list(folder.iterdir())) == 2
    assert Aligner.load(folder).space == other.space


def test_a_failed_save_leaves_the_old_aligner(aligner, folder, monkeypatch):
    other = Aligner.load(folder)
    prepared = {name: observe(name, stars(60)) for name in other.instruments}
    other.fit(prepared, max_epochs=1, batch_size=32, progress=False, accelerator="cpu")
    monkeypatch.setattr(checkpoint, "_canonical", lambda value: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        other.save(folder)
    monkeypatch.undo()
    assert Aligner.load(folder).space == aligner.space


def test_a_loaded_aligner_refuses_another_grid(folder):
    rows = observe("apogee", stars(3))
    rows.instrument = type(rows.instrument)("apogee", {"mode": "test"}, "e" * 64, "1")
    with pytest.raises(GridMismatchError, match="eeeeeeeeeeee"):
        Aligner.load(folder).embed(rows)


def test_options_that_json_turns_into_lists_are_still_the_same(aligner, folder):
    rows = observe("apogee", stars(3))
    loaded = Aligner.load(folder)
    record = type(rows.instrument)("apogee", {"mode": ["a", "b"]}, rows.instrument.grid_digest, "1")
    loaded._records["apogee"] = record
    rows.instrument = type(record)("apogee", {"mode": ("a", "b")}, record.grid_digest, "1")
    assert len(loaded.embed(rows)) == 3


@pytest.mark.parametrize("missing", ["aligner.json", "weights"])
def test_missing_files_are_named(folder, missing):
    path = folder / missing if missing == "aligner.json" else weights_file(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{path.name}: expected a file of a saved aligner, found none"):
        Aligner.load(folder)


def test_every_bit_flip_is_refused(folder):
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        original = path.read_bytes()
        for _ in range(200):
            spoiled = bytearray(original)
            spoiled[rng.integers(len(original))] ^= 1 << rng.integers(8)
            path.write_bytes(spoiled)
            with pytest.raises(CheckpointError, match=r"aligner\.json|weights-"):
                Aligner.load(folder)
        path.write_bytes(original)
    Aligner.load(folder)


@pytest.mark.parametrize("cut", [0, 1, 7, 100, -1])
def test_truncated_files_are_refused(folder, cut):
    for path in sorted(folder.iterdir()):
        original = path.read_bytes()
        path.write_bytes(original[:cut])
        with pytest.raises(CheckpointError, match=path.name.split("-")[0]):
            Aligner.load(folder)
        path.write_bytes(original)


def refuse_quickly(folder, match, error=CheckpointError):
    tracemalloc.start()
    try:
        with pytest.raises(error, match=match):
            Aligner.load(folder)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


class Exploit:
    def __reduce__(self):
        return (open, ("exploited", "w"))


def test_pickles_are_never_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("aligner.json", weights_file(folder).name):
        copy = shutil.copytree(folder, tmp_path / path)
        (copy / path).write_bytes(pickle.dumps(Exploit()))
        refuse_quickly(copy, path)
    rewrite(folder, content=pickle.dumps(Exploit()))
    refuse_quickly(folder, "safetensors")
    assert not (tmp_path / "exploited").exists()


def header(value, size=None, data=b"\0" * 64):
    text = json.dumps(value).encode() if isinstance(value, dict) else value
    return struct.pack("<Q", len(text) if size is None else size) + text + data


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header({}, size=100_000_000), "expected a safetensors header of at most"),
        (header({}, size=2**63), "expected a safetensors header of at most"),
        (header(b" " * (2 * 2**20)), "expected a safetensors header of at most 1048576 bytes, got 2097152"),
        (header({"a": TENSOR, "b": TENSOR}), "not a safetensors file"),
        (header({"a": TENSOR | {"data_offsets": [0, 2**40]}}), "not a safetensors file"),
        (header({"a": TENSOR | {"shape": [2**40, 2**40]}}), "not a safetensors file"),
        (header({"../../escape": TENSOR}, data=b"\0" * 16), "the weights lack encoders.nirspec"),
        (b"", "expected a safetensors header"),
        (b"PK\3\4" + b"\0" * 200, "safetensors"),
    ],
)
def test_hostile_weights_are_refused(folder, content, match):
    rewrite(folder, content=content)
    refuse_quickly(folder, match)


@pytest.mark.parametrize(
    "name",
    ["../weights-0123456789abcdef.safetensors", "/etc/passwd", "weights-0123456789abcdef.safetensors/..", "x", ""],
)
def test_paths_out_of_the_folder_are_refused(folder, name):
    rewrite(folder, lambda value: value["weights"].update(file=name))
    refuse_quickly(folder, "expected a weights file in this folder")


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    path = weights_file(folder)
    moved = path.rename(tmp_path / "elsewhere")
    path.symlink_to(moved)
    refuse_quickly(folder, "expected a file of a saved aligner, found none")


@pytest.mark.parametrize("name", ["os.system", "builtins:eval", "../mlp", "specalign.encoders.mlp:ResidualMLP"])
def test_encoders_are_plugins_and_nothing_else(folder, name):
    rewrite(folder, lambda value: value["instruments"]["apogee"].update(encoder=name))
    refuse_quickly(folder, "no encoder plugin is called", UnknownPluginError)


@pytest.mark.parametrize("name", ["os.system", "builtins:eval", "specalign.alignment.objectives:InfoNCE"])
def test_objectives_are_plugins_and_nothing_else(folder, name):
    rewrite(folder, lambda value: value["objective"].update(name=name))
    refuse_quickly(folder, "no objective plugin is called .*installed: .*info_nce, sigmoid", UnknownPluginError)


def test_the_objective_and_its_options_come_back(tmp_path):
    aligner = Aligner(["apogee", "nirspec"], embed_dim=6, objective=Sigmoid(initial_scale=5.0, max_scale=30.0))
    prepared = {name: observe(name, stars(40)) for name in aligner.instruments}
    fit = {"max_epochs": 2, "batch_size": 16, "progress": False, "accelerator": "cpu"}
    aligner.fit(prepared, **fit)
    aligner.save(tmp_path)
    loaded = Aligner.load(tmp_path)
    trained, restored = aligner._objective.state_dict(), loaded._objective.state_dict()
    assert type(loaded._objective) is Sigmoid
    assert all(torch.equal(trained[key], restored[key]) for key in trained)
    loaded.fit(prepared, **fit)  # begins anew with the options, not with what was learned
    assert loaded.space == aligner.space


def test_a_folder_of_the_first_version_has_info_nce(tmp_path):
    aligner = Aligner(["apogee", "nirspec"], embed_dim=6, objective="info_nce")
    prepared = {name: observe(name, stars(40)) for name in aligner.instruments}
    aligner.fit(prepared, max_epochs=1, batch_size=16, progress=False, accelerator="cpu")
    aligner.save(folder := tmp_path / "aligner")
    rewrite(folder, lambda value: value.update(objective={"name": "info_nce", "max_scale": 200.0}))
    loaded = Aligner.load(folder)
    assert loaded.space == aligner.space
    loaded.save(folder)
    assert Aligner.load(folder)._objective.config() == {"initial_scale": 15.5, "max_scale": 200.0}


def drop_encoder(value):
    del value["instruments"]["apogee"]["encoder"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop_encoder, "description does not fit.*encoder"),
        (lambda v: v["instruments"]["apogee"]["config"].update(width=17), r"asks for torch.float32 \(17, 129\)"),
        (
            lambda v: v["instruments"]["apogee"]["config"].update(width=10**9),
            r"asks for torch.float32 \(1000000000, 129\)",
        ),
        (lambda v: v["instruments"]["apogee"]["config"].update(n_pixels="41"), "n_pixels: expected a positive integer"),
        (lambda v: v["instruments"]["apogee"]["config"].update(hook="x"), "unexpected keyword argument 'hook'"),
        (lambda v: v.update(embed_dim=7), r"head.weight: the description asks for torch.float32 \(3, 5\)"),
        (lambda v: v.update(objective={"name": "sigmoid", "config": {}}), "the weights lack objective.logit_bias"),
        (lambda v: v["objective"].update(name="sigmoid"), "unexpected keyword argument 'latent'"),
        (lambda v: v["objective"]["config"].update(hook="x"), "unexpected keyword argument 'hook'"),
        (lambda v: v["objective"]["config"].update(max_scale=-1), "expected 0 < initial_scale"),
        (lambda v: v.update(objective=3), "does not fit"),
        (lambda v: v.update(order=["apogee"]), "tensors that belong to no part"),
        (lambda v: v.update(instruments=[]), "does not fit"),
        (lambda v: v.update(labels={"names": []}), "does not fit"),
        (lambda v: v.update(version=2), "expected version 1 of the format, got 2; update specalign"),
        (lambda v: v.update(format="other"), "expected a description with format 'specalign aligner'"),
        (lambda v: v.update(weights={"file": 3}), "expected weights with file, sha256 and bytes"),
        (lambda v: v.pop("weights"), "expected weights with file, sha256 and bytes, got None"),
        (lambda v: v["weights"].update(bytes=-2), "does not have the digest"),
        (lambda v: v["weights"].update(bytes=2**60), "does not have the digest"),
        (lambda v: v["history"].pop("epochs"), "does not fit.*epochs"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(folder, change, match):
    rewrite(folder, change)
    refuse_quickly(folder, match)


def test_a_description_of_another_version_names_the_version_that_wrote_it(folder):
    def edit(value):
        assert value["software"]["specalign"] == specalign.__version__
        value["software"]["specalign"] = "9.1"
        value["instruments"]["apogee"]["config"]["rotary"] = True

    rewrite(folder, edit)
    here = re.escape(specalign.__version__)
    with pytest.raises(CheckpointError, match=rf"rotary.*; it was written with specalign 9\.1 \(here {here}\)"):
        Aligner.load(folder)


def test_weights_that_are_not_finite_are_refused(aligner, folder):
    tensors = {k: v.clone() for k, v in checkpoint.load_checkpoint(folder)[1].items()}
    tensors["encoders.apogee.stem.weight"][0, 0] = torch.nan
    rewrite(folder, content=checkpoint.serialized(tensors))
    refuse_quickly(folder, "encoders.apogee.stem.weight: the weights hold values that are not finite")


def test_an_option_that_is_younger_than_the_file_has_its_default(tmp_path):
    aligner = Aligner({"apogee": "starnet", "nirspec": "starnet"}, embed_dim=6)
    prepared = {name: observe(name, stars(40)) for name in aligner.instruments}
    aligner.fit(prepared, max_epochs=1, progress=False, accelerator="cpu")
    aligner.save(tmp_path)

    def as_the_first_version_wrote_it(value):
        for entry in value["instruments"].values():
            entry["config"] = {key: entry["config"][key] for key in ("n_pixels", "embed_dim")}

    rewrite(tmp_path, as_the_first_version_wrote_it)
    rows = observe("apogee", stars(5))
    assert (Aligner.load(tmp_path).embed(rows).vectors == aligner.embed(rows).vectors).all()


def test_deep_json_is_refused(folder):
    (folder / "aligner.json").write_bytes(b"[" * 200_000)
    refuse_quickly(folder, r"aligner\.json: expected JSON")


class Private(Encoder):
    def __init__(self, n_pixels=40, embed_dim=6):
        super().__init__(n_pixels, embed_dim)
        self.layer = torch.nn.Linear(n_pixels, embed_dim)

    def encode(self, flux, ivar, mask, snr):
        return self.layer(flux)


def test_an_encoder_that_nobody_could_load_is_not_saved(tmp_path):
    aligner = Aligner({"apogee": Private(40), "nirspec": Private(30)}, embed_dim=6)
    prepared = {name: observe(name, stars(40)) for name in aligner.instruments}
    aligner.fit(prepared, max_epochs=1, progress=False, accelerator="cpu")
    with pytest.raises(PluginError, match="test_checkpoint:Private is no installed plugin"):
        aligner.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class PrivateLoss(Objective):
    def forward(self, vectors, stars):
        return self.nothing(vectors)


def test_an_objective_that_nobody_could_load_is_not_saved(tmp_path):
    aligner = Aligner(["apogee", "nirspec"], embed_dim=6, objective=PrivateLoss())
    prepared = {name: observe(name, stars(40)) for name in aligner.instruments}
    aligner.fit(prepared, max_epochs=1, progress=False, accelerator="cpu")
    with pytest.raises(PluginError, match=r"the objective .*test_checkpoint:PrivateLoss is no installed plugin"):
        aligner.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
