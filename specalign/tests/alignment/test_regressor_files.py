"""Saved label regressors: the same afterwards, and refused where something is not as it was written."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch

from specalign import Aligner, get_encoder
from specalign.alignment import LabelRegressor, checkpoint
from specalign.data.splits import StarSplit
from specalign.encoders import Encoder
from specalign.exceptions import CheckpointError, GridMismatchError, PluginError, UnknownPluginError
from specalign.tests.alignment.survey import PIXELS, label_table, observe, stars

QUICK = {"max_epochs": 2, "batch_size": 32, "progress": False, "accelerator": "cpu"}


def fitted(encoder="starnet", scaling="minmax", **options):
    labels = label_table(stars(90))
    labels.meta["label_system"] = "mock"
    return LabelRegressor(encoder, scaling).fit(observe("apogee", stars(90)), labels, **(QUICK | options))


@pytest.fixture(scope="module", params=[pytest.param("starnet", marks=pytest.mark.slow), "with a linear layer"])
def regressor(request):
    torch.set_num_threads(1)
    other = get_encoder("mlp", n_pixels=40, embed_dim=6, width=16, depth=1)
    return fitted("starnet" if request.param == "starnet" else other)


@pytest.fixture
def folder(regressor, tmp_path):
    regressor.save(tmp_path / "model")
    return tmp_path / "model"


def change(folder, edit):
    """A description whose digest is right, as an attacker would write it."""
    path = folder / "regressor.json"
    value = json.loads(path.read_text())
    edit(value)
    value.pop("sha256")
    path.write_bytes(checkpoint._canonical(value | {"sha256": checkpoint._digest(value)}))


def test_what_is_saved_comes_back(regressor, folder):
    loaded, rows = LabelRegressor.load(folder), observe("apogee", stars(9, first=300))
    here, there = regressor.predict(rows), loaded.predict(rows)
    assert here.colnames == there.colnames
    assert all((here[name] == there[name]).all() for name in here.colnames)
    assert [column.unit for column in here.itercols()] == [column.unit for column in there.itercols()]
    assert here.meta == there.meta
    assert repr(loaded.history) == repr(regressor.history)
    assert loaded.split.of(stars(90)).tolist() == regressor.split.of(stars(90)).tolist()
    assert loaded.scaling == "minmax"


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    LabelRegressor.load(folder).save(tmp_path / "again")
    assert len(list(folder.iterdir())) == 3
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_errors_that_are_unknown_survive(tmp_path):
    fitted(split=(1, 0, 1)).save(tmp_path)
    assert np.isnan(LabelRegressor.load(tmp_path).predict(observe("apogee", stars(2)))["teff_err"]).all()


def test_a_new_regressor_replaces_the_old_one_and_leaves_nothing(folder):
    fitted(seed=5).save(folder)
    assert len(list(folder.iterdir())) == 3
    assert LabelRegressor.load(folder).split.seed == 5


def test_an_aligner_may_lie_in_the_same_folder(regressor, folder):
    encoders = {n: get_encoder("mlp", n_pixels=PIXELS[n], embed_dim=4, width=8, depth=1) for n in ("apogee", "nirspec")}
    aligner = Aligner(encoders, embed_dim=4)
    aligner.fit({n: observe(n, stars(40)) for n in encoders}, **(QUICK | {"max_epochs": 1}))
    aligner.save(folder)
    regressor.save(folder)
    assert Aligner.load(folder).space == aligner.space
    assert LabelRegressor.load(folder).split.digest == regressor.split.digest


def test_a_loaded_regressor_refuses_another_grid_and_can_be_trained_anew(folder):
    loaded, rows = LabelRegressor.load(folder), observe("apogee", stars(3))
    rows.instrument = type(rows.instrument)("apogee", {"mode": "test"}, "e" * 64, "1")
    with pytest.raises(GridMismatchError, match="eeeeeeeeeeee"):
        loaded.predict(rows)
    loaded.fit(observe("apogee", stars(90)), label_table(stars(90)), **QUICK)
    assert "learned from" in repr(loaded)


def test_every_bit_flip_and_cut_is_refused(folder):
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        flips = [bytearray(content) for _ in range(100)]
        for spoilt in flips:
            spoilt[rng.integers(len(content))] ^= 1 << rng.integers(8)
        for spoilt in [*flips, b"", content[:7], content[:-1], content + b"\n"]:
            path.write_bytes(spoilt)
            with pytest.raises(CheckpointError, match=r"regressor|split-"):
                LabelRegressor.load(folder)
        path.write_bytes(content)
    LabelRegressor.load(folder)


def test_a_missing_file_is_named(folder):
    for path in sorted(folder.iterdir()):
        moved = path.rename(folder.parent / path.name)
        with pytest.raises(CheckpointError, match=path.name):
            LabelRegressor.load(folder)
        path.symlink_to(moved)
        with pytest.raises(CheckpointError, match=path.name):
            LabelRegressor.load(folder)
        path.unlink()
        moved.rename(path)


def hostile(text, size=None):
    return struct.pack("<Q", len(text) if size is None else size) + text + b"\0" * 64


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (hostile(b"{}", size=100_000_000), "expected a safetensors header of at most"),
        (hostile(b" " * (2 * 2**20)), "expected a safetensors header of at most 1048576 bytes, got 2097152"),
        (
            hostile(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1099511627776]}}'),
            "not a safetensors file",
        ),
        (pickle.dumps(np.arange(3)), "safetensors"),
    ],
)
def test_hostile_weights_are_refused(folder, content, match):
    change(
        folder, lambda value: value.update(weights=checkpoint.add_member(folder, "regressor", ".safetensors", content))
    )
    with pytest.raises(CheckpointError, match=match):
        LabelRegressor.load(folder)


@pytest.mark.parametrize("name", ["os.system", "../mlp", "specalign.encoders.mlp:ResidualMLP"])
def test_encoders_are_plugins_and_nothing_else(folder, name):
    change(folder, lambda value: value.update(encoder=name))
    with pytest.raises(UnknownPluginError, match="no encoder plugin is called"):
        LabelRegressor.load(folder)


EDITS = {
    "a label too many": lambda value: value["scheme"]["names"].append("mg_fe"),
    "an unknown scaling": lambda value: value["scaling"].update(method="robust"),
    "a unit that is none": lambda value: value["scheme"].update(units=["K", "K", "no such unit"]),
    "an encoder of another size": lambda value: value["config"].update(n_pixels=41),
    "no errors": lambda value: value.pop("errors"),
    "a split elsewhere": lambda value: value["split"].update(file="split-a/../../" + value["split"]["file"]),
    "no split": lambda value: value.pop("split"),
    "a split that is none": lambda value: value.update(split=3),
    "no weights": lambda value: value.pop("weights"),
    "weights elsewhere": lambda value: value["weights"].update(file="../" + value["weights"]["file"]),
    "weights of another size": lambda value: value["weights"].update(bytes=2**60),
    "another kind": lambda value: value.update(format="specalign aligner"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_description_that_does_not_fit_is_refused(folder, edit):
    change(folder, edit)
    with pytest.raises(CheckpointError, match="model"):
        LabelRegressor.load(folder)


def test_a_description_of_another_version_names_the_version_that_wrote_it(folder):
    def edit(value):
        value["software"]["specalign"] = "9.1"
        value["config"]["rotary"] = True

    change(folder, edit)
    with pytest.raises(CheckpointError, match=r"rotary.*; it was written with specalign 9\.1 \(here "):
        LabelRegressor.load(folder)


def test_the_split_of_another_regressor_is_refused(regressor, folder):
    (path,) = folder.glob("split-*.ecsv")
    StarSplit.draw(stars(90), seed=regressor.split.seed + 1).save(path)
    with pytest.raises(CheckpointError, match=r"split-.*does not have the digest that regressor\.json states"):
        LabelRegressor.load(folder)


def test_an_aligner_is_no_regressor(folder):
    with pytest.raises(CheckpointError, match=r"aligner\.json: expected a file"):
        Aligner.load(folder)


class Own(Encoder):
    def __init__(self, n_pixels, embed_dim=3):
        super().__init__(n_pixels, embed_dim)
        self.layer = torch.nn.Linear(n_pixels, embed_dim)

    def encode(self, flux, ivar, mask, snr):
        return self.layer(flux)


def test_an_encoder_that_nobody_could_load_is_not_saved(tmp_path):
    with pytest.raises(PluginError, match="no installed plugin"):
        fitted(Own(40)).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
