"""A saved encoder: the same afterwards, bound to its grid, and refused where something is not as it was written."""

import dataclasses
import json
import pickle

import astropy.units as u
import numpy as np
import pytest
import torch

import specalign as sa
from specalign.alignment import LabelRegressor, checkpoint, load_encoder, save_encoder
from specalign.encoders import Encoder
from specalign.exceptions import CheckpointError, GridMismatchError, PluginError, SpecalignError, UnknownPluginError
from specalign.instruments.prepared import grid_digest
from specalign.tests.alignment.survey import label_table, observe, stars

QUICK = {"max_epochs": 2, "batch_size": 32, "progress": False, "accelerator": "cpu"}
SHAPES = {
    "autoencoder": {"hidden": 8, "bottleneck": 4},
    "specformer": {"width": 16, "depth": 1, "heads": 2, "window": 5, "stride": 5},
}


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    return pretrained("autoencoder")


def pretrained(name):
    return sa.pretrain(name, observe("apogee", stars(60)), embed_dim=6, **SHAPES[name], **QUICK)


@pytest.fixture
def folder(trained, tmp_path):
    save_encoder(trained, tmp_path / "encoder")
    return tmp_path / "encoder"


def moved(spectra):
    """The same number of pixels, elsewhere."""
    axis = spectra.spectral_axis + 3 * u.AA
    record = spectra.instrument
    spectra.spectral_axis = axis
    spectra.instrument = type(record)(record.name, record.options, grid_digest(axis), record.mask_version)
    return spectra


def change(folder, edit):
    """A description whose digest is right, as an attacker, or another version of the code, would write it."""
    path = folder / "encoder.json"
    value = json.loads(path.read_text())
    edit(value)
    value.pop("sha256")
    path.write_bytes(checkpoint._canonical(value | {"sha256": checkpoint._digest(value)}))


def vectors(encoder, spectra):
    with torch.no_grad():
        return encoder(spectra.flux, spectra.ivar, spectra.mask).numpy()


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_saved_comes_back(name, tmp_path):
    trained = pretrained(name)
    save_encoder(trained, tmp_path)
    loaded, spectra = load_encoder(tmp_path), observe("apogee", stars(9, first=300))
    assert np.array_equal(vectors(loaded, spectra), vectors(trained, spectra))
    assert loaded.config() == trained.config()
    assert repr(loaded.history) == repr(trained.history)
    assert loaded.history.counts == trained.history.counts
    assert loaded.origin.instrument == trained.origin.instrument == spectra.instrument
    assert np.array_equal(loaded.origin.spectral_axis, spectra.spectral_axis)
    assert loaded.scaled
    assert not loaded.training


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_behind(trained, folder, tmp_path):
    save_encoder(load_encoder(folder), tmp_path / "again")
    assert len(list(folder.iterdir())) == 2
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    other = sa.pretrain(trained, observe("apogee", stars(60)), **QUICK)
    save_encoder(other, folder)
    assert len(list(folder.iterdir())) == 2


def test_the_versions_of_the_software_are_kept(folder):
    software = json.loads((folder / "encoder.json").read_text())["software"]
    assert software["specalign"] == sa.__version__
    assert software["torch"] == str(torch.__version__)


def test_a_loaded_encoder_goes_on_where_it_was(folder):
    spectra = observe("apogee", stars(60))
    loaded = load_encoder(folder, spectra)
    more = sa.pretrain(loaded, spectra, **QUICK)
    assert torch.equal(more.standardizer.scaler.mean, loaded.standardizer.scaler.mean)
    regressor = LabelRegressor(loaded).fit(spectra, label_table(stars(60)), **QUICK)
    assert torch.equal(regressor.encoder.standardizer.scaler.mean, loaded.standardizer.scaler.mean)


def test_an_encoder_of_an_aligner_is_saved_with_spectra_that_say_its_grid(trained, tmp_path):
    spectra = {name: observe(name, stars(60)) for name in ("apogee", "nirspec")}
    aligner = sa.Aligner({"apogee": trained, "nirspec": "mlp"}, embed_dim=6)
    aligner.fit(spectra, **(QUICK | {"max_epochs": 1}))
    with pytest.raises(SpecalignError, match="expected an encoder that knows the spectra of its training"):
        save_encoder(aligner.encoders["nirspec"], tmp_path / "nirspec")
    save_encoder(aligner.encoders["nirspec"], tmp_path / "nirspec", spectra["nirspec"])
    loaded = load_encoder(tmp_path / "nirspec", spectra["nirspec"])
    assert loaded.history is None
    assert np.array_equal(vectors(loaded, spectra["nirspec"]), vectors(aligner.encoders["nirspec"], spectra["nirspec"]))


def test_another_grid_of_as_many_pixels_is_refused_everywhere(trained, folder, tmp_path):
    other = moved(observe("apogee", stars(60)))
    with pytest.raises(GridMismatchError, match=r"the encoder was trained on apogee with grid .* prepare them on its"):
        load_encoder(folder, other)
    loaded = load_encoder(folder)
    with pytest.raises(GridMismatchError, match="the encoder was trained on apogee"):
        sa.pretrain(loaded, other, **QUICK)
    with pytest.raises(GridMismatchError, match="the encoder was trained on apogee"):
        LabelRegressor(loaded).fit(other, label_table(stars(60)), **QUICK)
    aligner = sa.Aligner({"apogee": loaded, "nirspec": "mlp"}, embed_dim=6)
    with pytest.raises(GridMismatchError, match="the encoder was trained on apogee"):
        aligner.fit({"apogee": other, "nirspec": observe("nirspec", stars(60))}, **QUICK)
    with pytest.raises(GridMismatchError, match="the encoder was trained on apogee"):
        save_encoder(trained, tmp_path / "other", other)


def otherwise(spectra, **changes):
    """The same spectra, said to be prepared in another way."""
    return dataclasses.replace(spectra, instrument=dataclasses.replace(spectra.instrument, **changes))


@pytest.mark.parametrize("changes", [{"options": {"normalization": "median"}}, {"mask_version": "another"}])
def test_spectra_that_were_prepared_in_another_way_are_refused(trained, folder, changes):
    """The scaling of the input belongs to the normalisation of the training."""
    other = otherwise(observe("apogee", stars(60)), **changes)
    with pytest.raises(GridMismatchError, match=r"the encoder was trained on apogee .* the spectra come from apogee"):
        LabelRegressor(load_encoder(folder)).fit(other, label_table(stars(60)), **QUICK)
    with pytest.raises(GridMismatchError, match="the encoder was trained on apogee"):
        sa.reconstruct(trained, other)


def test_the_grid_of_a_reconstruction_is_that_of_the_training(trained):
    with pytest.raises(GridMismatchError, match="the encoder was trained on apogee"):
        sa.reconstruct(trained, moved(observe("apogee", stars(60))))


def test_a_moved_encoder_knows_no_grid_until_it_is_trained(tmp_path):
    spectra, other = observe("apogee", stars(60)), moved(observe("apogee", stars(60)))
    encoder = sa.pretrain("specformer", spectra, **SHAPES["specformer"], **QUICK)
    there = sa.pretrain(encoder.on_grid(other.spectral_axis), other, **QUICK)
    save_encoder(there, tmp_path)
    assert encoder.on_grid(other.spectral_axis).origin is None
    assert np.array_equal(load_encoder(tmp_path, other).origin.spectral_axis, other.spectral_axis)


def test_spectra_of_other_pixels_are_refused(trained, tmp_path):
    encoder = sa.get_encoder("autoencoder", n_pixels=30)
    encoder.scaled = True
    with pytest.raises(GridMismatchError, match="the encoder takes 30 pixels, the spectra have 40"):
        save_encoder(encoder, tmp_path / "encoder", observe("apogee", stars(3)))


def test_an_encoder_that_is_not_trained_is_not_saved(tmp_path):
    with pytest.raises(SpecalignError, match="the encoder is not trained: its input has no scaling"):
        save_encoder(sa.get_encoder("autoencoder", n_pixels=40), tmp_path / "encoder", observe("apogee", stars(3)))
    assert not (tmp_path / "encoder").exists()


class Own(Encoder):
    scaled = True


def test_an_encoder_that_nobody_could_load_is_not_saved(tmp_path):
    with pytest.raises(PluginError, match="no installed plugin"):
        save_encoder(Own(40), tmp_path / "encoder", observe("apogee", stars(3)))
    assert not (tmp_path / "encoder").exists()


def test_every_bit_flip_and_cut_is_refused(folder):
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        flips = [bytearray(content) for _ in range(50)]
        for spoilt in flips:
            spoilt[rng.integers(len(content))] ^= 1 << rng.integers(8)
        for spoilt in [*flips, b"", content[:7], content[:-1], content + b"\n"]:
            path.write_bytes(spoilt)
            with pytest.raises(CheckpointError, match="encoder"):
                load_encoder(folder)
        path.write_bytes(content)
    load_encoder(folder)


def test_a_missing_file_is_named(folder):
    for path in sorted(folder.iterdir()):
        moved_away = path.rename(folder.parent / path.name)
        with pytest.raises(CheckpointError, match=path.name):
            load_encoder(folder)
        moved_away.rename(path)


def test_a_pickle_is_refused(folder):
    content = pickle.dumps(np.arange(3))
    entry = checkpoint.add_member(folder, "encoder", ".safetensors", content)
    change(folder, lambda value: value.update(weights=entry))
    with pytest.raises(CheckpointError, match="safetensors"):
        load_encoder(folder)


@pytest.mark.parametrize("name", ["os.system", "../mlp", "specalign.encoders.mlp:ResidualMLP"])
def test_encoders_are_plugins_and_nothing_else(folder, name):
    change(folder, lambda value: value.update(encoder=name))
    with pytest.raises(UnknownPluginError, match="no encoder plugin is called"):
        load_encoder(folder)


def test_another_version_of_the_format_is_refused(folder):
    change(folder, lambda value: value.update(version=2))
    with pytest.raises(CheckpointError, match="expected version 1 of the format, got 2; update specalign"):
        load_encoder(folder)


def test_an_option_that_this_version_does_not_know_names_the_version_that_wrote_it(folder):
    def edit(value):
        value["config"]["rotary"] = True
        value["software"]["specalign"] = "9.1"

    change(folder, edit)
    with pytest.raises(CheckpointError, match=rf"rotary.*; it was written with specalign 9\.1 \(here {sa.__version__}"):
        load_encoder(folder)


EDITS = {
    "an encoder of another size": lambda value: value["config"].update(n_pixels=41),
    "a unit that is none": lambda value: value["axis"].update(unit="no such unit"),
    "another unit": lambda value: value["axis"].update(unit="nm"),
    "the digest of another grid": lambda value: value["record"].update(grid_digest="e" * 64),
    "no record": lambda value: value.pop("record"),
    "no history": lambda value: value.pop("history"),
    "software that is none": lambda value: value.update(software=3, record=None),
    "weights elsewhere": lambda value: value["weights"].update(file="../" + value["weights"]["file"]),
    "another kind": lambda value: value.update(format="specalign aligner"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_description_that_does_not_fit_is_refused(folder, edit):
    change(folder, edit)
    with pytest.raises(CheckpointError, match="encoder"):
        load_encoder(folder)


def test_tensors_that_belong_to_nothing_are_refused(folder):
    description, tensors = checkpoint.load_checkpoint(folder, checkpoint.ENCODER)
    description.pop("weights")
    checkpoint.save_checkpoint(folder, description, tensors | {"more": torch.ones(1)}, checkpoint.ENCODER)
    with pytest.raises(CheckpointError, match=r"1 tensors that belong to no part, such as 'more'"):
        load_encoder(folder)
