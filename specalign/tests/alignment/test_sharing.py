"""Published models: another program reproduces their vectors, and they come back as they were."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from astropy.table import QTable

import specalign as sa
from specalign.alignment import LabelRegressor, checkpoint, export_weights, load_weights
from specalign.alignment.sharing.card import model_card
from specalign.exceptions import CheckpointError, GridMismatchError, SpecalignError
from specalign.tests.alignment.survey import label_table, observe, stars

QUICK = {"max_epochs": 2, "batch_size": 32, "progress": False, "accelerator": "cpu"}
SIZES = {
    "starnet": {"filters": [3, 4], "filter_length": 4, "hidden": [8]},
    "mlp": {"n_factors": 4, "width": 8, "depth": 2},
    "autoencoder": {"hidden": 8, "bottleneck": 4},
    "specformer": {"window": 8, "stride": 6, "width": 16, "depth": 2, "heads": 2},
}


def encoder(name, n_pixels):
    return sa.get_encoder(name, n_pixels=n_pixels, embed_dim=6, **SIZES[name])


@pytest.fixture(scope="module")
def spectra():
    torch.set_num_threads(1)
    return {name: observe(name, stars(60)) for name in ("apogee", "nirspec", "gaia_xp")}


@pytest.fixture(scope="module")
def aligner(spectra):
    chosen = {"apogee": encoder("starnet", 40), "nirspec": encoder("mlp", 30), "gaia_xp": encoder("autoencoder", 25)}
    aligner = sa.Aligner(chosen, embed_dim=6)
    aligner.fit(spectra, label_table(stars(60)), **QUICK)
    return aligner


@pytest.fixture(scope="module")
def transformer(spectra):
    """An aligner of which one encoder attends to windows."""
    aligner = sa.Aligner({"apogee": encoder("specformer", 40), "nirspec": encoder("mlp", 30)}, embed_dim=6)
    aligner.fit({name: spectra[name] for name in aligner.instruments}, label_table(stars(60)), **QUICK)
    return aligner


@pytest.fixture(scope="module")
def regressor(spectra):
    labels = label_table(stars(60))
    labels.meta["label_system"] = "specalign-mock"
    return LabelRegressor(encoder("mlp", 40)).fit(spectra["apogee"], labels, **QUICK)


@pytest.fixture
def folder(aligner, spectra, tmp_path):
    export_weights(aligner, tmp_path / "model", prepared=spectra, license="cc-by-4.0", facts={"seed": 0})
    return tmp_path / "model"


def read(folder):
    return json.loads((folder / "config.json").read_text())


def change(folder, edit):
    """A config whose digest is right, as an attacker would write it."""
    value = read(folder)
    edit(value)
    value.pop("sha256")
    (folder / "config.json").write_bytes(checkpoint._canonical(value | {"sha256": checkpoint._digest(value)}))


ANOTHER_PROGRAM = """
import json, math, sys
import numpy as np
from safetensors.numpy import load_file

folder, arrays = sys.argv[1:]
config, data = json.load(open(folder + "/config.json")), np.load(arrays)
erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def linear(t, name, x):
    return x @ t[name + ".weight"].T + t[name + ".bias"]


def norm(t, name, x):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * t[name + ".weight"] + t[name + ".bias"]


def block(t, name, x):
    return x + linear(t, name + ".4", gelu(linear(t, name + ".1", norm(t, name + ".0", x))))


def starnet(t, o, flux, ivar, bad, snr):
    x = np.clip((flux - t["scaler.mean"]) / t["scaler.std"], -20, 20)
    x = np.where(bad, 0, x)[:, None]
    for i in range(len(o["filters"])):
        w = t[f"convolutions.{2 * i}.weight"]
        parts = np.lib.stride_tricks.sliding_window_view(x, w.shape[2], axis=2)
        x = np.maximum(np.einsum("ncpk,fck->nfp", parts, w) + t[f"convolutions.{2 * i}.bias"][:, None], 0)
    k = o["pool_length"]
    x = x[:, :, : x.shape[2] // k * k].reshape(len(x), x.shape[1], -1, k).max(axis=3).reshape(len(x), -1)
    for i in range(len(o["hidden"])):
        x = np.maximum(linear(t, f"dense.{2 * i}", x), 0)
    return linear(t, f"dense.{2 * len(o['hidden'])}", x)


def mlp(t, o, flux, ivar, bad, snr):
    reach = 20 * t["scaler.std"]
    f = np.clip(flux, t["scaler.mean"] - reach, t["scaler.mean"] + reach) - t["factors.mean"]
    f, w, basis = np.where(bad, 0, f), ivar / (t["factors.scale"] + t["factors.excess"] * ivar), t["factors.basis"]
    c = np.linalg.inv(np.eye(o["n_factors"]) + np.einsum("np,pi,pj->nij", w, basis, basis))
    m, s = np.einsum("nij,nj->ni", c, (w * f) @ basis), np.sqrt(np.einsum("nii->ni", c))
    context = np.clip(np.log10(snr), -1, 4)[:, None] - 1.5
    x = linear(t, "stem", np.concatenate([m, 0.6 * np.log(np.maximum(s, 1e-12)), context], axis=1))
    for i in range(o["depth"]):
        x = block(t, f"blocks.{i}", x)
    return linear(t, "head.1", norm(t, "head.0", x))


def standardized(t, o, flux, ivar, bad, snr):
    median = np.array([np.sort(row[~b])[(np.sum(~b) - 1) // 2] for row, b in zip(ivar, bad)])
    used = ~bad & (ivar > o["low_weight"] * median[:, None])
    mean, std = t["standardizer.scaler.mean"], t["standardizer.scaler.std"]
    f = np.clip(flux, mean - 20 * std, mean + 20 * std)
    n = used.sum(axis=1)
    level = np.where(used, f, 0).sum(axis=1) / n
    spread = np.sqrt(np.where(used, (f - level[:, None]) ** 2, 0).sum(axis=1) / n)
    statistics = np.stack([level, np.log10(np.maximum(spread, 1e-6)), np.log10(snr) - 1.5, used.mean(axis=1)], axis=1)
    z = np.where(used, (f - mean) / std, 0)
    weight = np.where(used, 1 / (1 + 1 / (np.where(used, ivar, 1) * std**2)), 0)
    assert o["standardize"] == "pixel"
    return z, weight, statistics


def attention(q, k, v, seen, heads):
    q, k, v = (x.reshape(*x.shape[:2], heads, -1) for x in (q, k, v))
    score = np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(q.shape[3])
    score = np.exp(np.where(seen[:, None, None], score, -np.inf) - score.max(axis=3, keepdims=True))
    found = np.einsum("nhqk,nkhd->nqhd", score / score.sum(axis=3, keepdims=True), v)
    return found.reshape(*found.shape[:2], -1)


def specformer(t, o, flux, ivar, bad, snr):
    z, weight, statistics = standardized(t, o, flux, ivar, bad, snr)
    view = lambda x: np.lib.stride_tricks.sliding_window_view(x, o["window"], axis=-1)[..., :: o["stride"], :]
    pad = ((0, 0), (0, 0), (0, 1))
    x = linear(t, "values", np.pad(view(z * weight), pad)) + view(1 - weight) @ t["worth.weight"].T
    phase = view(t["log_wavelength"]).mean(axis=1)[:, None] * t["position.frequency"]
    code = linear(t, "position.linear", np.concatenate([np.sin(phase), np.cos(phase)], axis=1))
    gain, place = np.split(code, 2, axis=1)
    last = np.zeros((len(z), 1, o["window"] + 1))
    last[:, 0, 0], last[:, 0, -1] = statistics[:, 0], statistics[:, 1]
    last = linear(t, "values", last) + linear(t, "context", statistics)[:, None]
    x = np.concatenate([x * gain + place, last], axis=1)
    seen = np.pad((view(weight) > 0).any(axis=2), ((0, 0), (0, 1)), constant_values=True)
    for i in range(o["depth"]):
        qkv = np.split(linear(t, f"blocks.{i}.qkv", norm(t, f"blocks.{i}.norm", x)), 3, axis=2)
        x = x + linear(t, f"blocks.{i}.out", attention(*qkv, seen, o["heads"]))
        x = block(t, f"blocks.{i}.perceptron", x)
    key, value = np.split(linear(t, "head.key_value", norm(t, "head.norm", x)), 2, axis=2)
    query = np.broadcast_to(t["head.query"], (len(x), 1, o["width"]))
    x = attention(query, key, value, seen, o["heads"])[:, 0]
    return linear(t, "head.mlp.3", gelu(linear(t, "head.mlp.1", norm(t, "head.mlp.0", x))))


def autoencoder(t, o, flux, ivar, bad, snr):
    z, weight, statistics = standardized(t, o, flux, ivar, bad, snr)
    x = linear(t, "stem", z * weight) + weight @ t["worth.weight"].T + statistics @ t["context.weight"].T
    for i in range(o["blocks"]):
        x = block(t, f"encoder.{i}", x)
    code = linear(t, f"encoder.{o['blocks'] + 1}", norm(t, f"encoder.{o['blocks']}", x))
    return linear(t, "head.3", gelu(linear(t, "head.1", norm(t, "head.0", code))))


assert "1 numbers y of means m = a y, and 1 numbers x of variances v = ln(1 + exp(b x)) + 0.0001" in config["output"]
factor = {key: np.exp(value) for key, value in load_file(folder + "/objective.safetensors").items()}
shared = config["embed_dim"] - 2
vectors = {}
for name, entry in config["instruments"].items():
    t = {key: value.astype(float) for key, value in load_file(folder + "/" + entry["encoder"]["file"]).items()}
    flux, ivar, mask = (data[f"{name}-{key}"] for key in ("flux", "ivar", "mask"))
    bad = mask | (ivar == 0)
    flux, ivar = np.where(bad, 0, flux).astype(float), np.where(bad, 0, ivar).astype(float)
    snr = np.maximum(np.sqrt((flux**2 * ivar).sum(axis=1) / (~bad).sum(axis=1)), 1e-3)
    found = globals()[entry["encoder"]["plugin"]](t, entry["encoder"]["options"], flux, ivar, bad, snr)
    vectors[name] = found[:, :shared] / np.linalg.norm(found[:, :shared], axis=1, keepdims=True)
    latent = found[:, shared:] / np.sqrt(np.mean(found**2, axis=1, keepdims=True))
    y, x = np.split(latent, 2, axis=1)
    vectors[name + "-latent_mean"] = factor["log_mean"] * y
    vectors[name + "-latent_variance"] = np.log(1 + np.exp(factor["log_spread"] * x)) + 1e-4
    lines = [row for row in open(folder + "/" + entry["grid"]["file"]) if not row.startswith("#")]
    vectors[name + "-grid"] = np.array([float(row.split()[0]) for row in lines[1:]])
assert "specalign" not in sys.modules and "torch" not in sys.modules
np.savez(arrays, **vectors)
"""


@pytest.mark.parametrize("model", ["aligner", "transformer"])
def test_another_program_reproduces_the_vectors(model, spectra, tmp_path, request):
    """With json, safetensors and numpy alone, by the sentences of config.json."""
    aligner, folder = request.getfixturevalue(model), tmp_path / "model"
    export_weights(aligner, folder, prepared={name: spectra[name] for name in aligner.instruments})
    new = {name: observe(name, stars(9, first=300)) for name in aligner.instruments}
    for rows in new.values():
        rows.flux[0, 3] = 500.0  # wild, and no mask has it
        rows.mask[1, 5:16], rows.ivar[1, 5:16] = True, 0  # a window that nothing is known of
        rows.ivar[2, :9] *= 1e-5  # and one of low weight
    arrays = {f"{name}-{key}": getattr(rows, key) for name, rows in new.items() for key in ("flux", "ivar", "mask")}
    path = tmp_path / "arrays.npz"
    np.savez(path, **arrays)
    run = [sys.executable, "-I", "-c", ANOTHER_PROGRAM, folder, path]
    subprocess.run(run, check=True, capture_output=True, timeout=120)
    with np.load(path) as found:
        for name, rows in new.items():
            table = aligner.embed(rows)
            np.testing.assert_allclose(found[name], table.vectors, atol=2e-5)
            for part in ("latent_mean", "latent_variance"):
                np.testing.assert_allclose(found[f"{name}-{part}"], getattr(table, part), atol=2e-5, rtol=1e-4)
            assert np.array_equal(found[f"{name}-grid"], rows.spectral_axis.to_value("Angstrom"))


def test_an_aligner_comes_back_bit_for_bit(aligner, folder, spectra):
    loaded = load_weights(folder)
    assert loaded.space == aligner.space
    for rows in spectra.values():
        assert np.array_equal(loaded.embed(rows).vectors, aligner.embed(rows).vectors)
    assert repr(loaded.history) == repr(aligner.history)


def test_a_regressor_comes_back_with_its_split(regressor, spectra, tmp_path):
    export_weights(regressor, tmp_path, prepared=spectra["apogee"])
    loaded = load_weights(tmp_path)
    here, there = regressor.predict(spectra["apogee"]), loaded.predict(spectra["apogee"])
    assert all((here[name] == there[name]).all() for name in here.colnames)
    assert loaded.split.digest == regressor.split.digest
    labels = read(tmp_path)["labels"]
    assert (labels["names"], labels["system"]) == (["teff", "logg", "fe_h"], "specalign-mock")
    assert "Not for science" in (tmp_path / "README.md").read_text()


def test_an_aligner_of_mock_labels_is_not_for_science_although_nobody_says_so(spectra, tmp_path):
    labels, some = label_table(stars(60)), {name: spectra[name] for name in ("nirspec", "gaia_xp")}
    labels.meta["label_system"] = "specalign-mock"
    aligner = sa.Aligner({"nirspec": encoder("mlp", 30), "gaia_xp": encoder("mlp", 25)}, embed_dim=6)
    aligner.fit(some, labels, **QUICK | {"max_epochs": 1})
    aligner.save(tmp_path / "saved")
    export_weights(sa.Aligner.load(tmp_path / "saved"), tmp_path / "model", prepared=some)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Not for science" in card
    assert ", of the system specalign-mock." in card


def test_an_encoder_comes_back(spectra, tmp_path):
    encoder = sa.pretrain("autoencoder", spectra["apogee"], embed_dim=6, **SIZES["autoencoder"], **QUICK)
    export_weights(encoder, tmp_path)
    loaded = load_weights(tmp_path)
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert loaded.origin.instrument == encoder.origin.instrument
    assert read(tmp_path)["training"]["counts"]["rows"] == 60


def test_the_config_says_what_the_network_takes(aligner, folder):
    config = read(folder)
    assert config["embed_dim"] == 6
    assert config["objective"]["name"] == "clip+likelihood"
    assert config["labels"]["names"] == ["teff", "logg", "fe_h"]
    assert config["about"] == {"title": "", "license": "cc-by-4.0", "note": "", "science": None, "facts": {"seed": 0}}
    entry = config["instruments"]["apogee"]
    assert entry["grid"] | {"digest": ""} == {
        "file": "grid-apogee.ecsv", "kind": "wavelength", "unit": "Angstrom", "n_pixels": 40, "first": 10000.0,
        "last": 17000.0, "digest": "", "meaning": "in vacuum, in the frame of the prepared spectra",
    }  # fmt: skip
    assert entry["encoder"]["tensors"]["convolutions.0.weight"] == [3, 1, 4]
    assert entry["encoder"]["options"] == aligner.encoders["apogee"].config()
    assert config["training"]["counts"]["training"] == aligner.history.counts["training"]
    assert config["training"]["metrics"]["val_loss"] == aligner.history.epochs["val_loss"][aligner.history.best_epoch]


def test_the_grid_is_a_table_with_units(folder, spectra):
    table = QTable.read(folder / "grid-nirspec.ecsv")
    assert np.array_equal(table["wavelength"], spectra["nirspec"].spectral_axis)
    assert table.meta["wavelengths"] == "in vacuum, in the frame of the prepared spectra"


def test_the_rules_of_an_instrument_are_in_the_config(tmp_path):
    xp = sa.get_instrument("gaia_xp")
    flux = 1 + 0.1 * np.random.default_rng(0).normal(size=(20, 343))
    prepared = xp.prepare_arrays(flux, spectral_axis=xp.spectral_axis, object_id=stars(20), normalized=True)
    encoder = sa.pretrain("autoencoder", prepared, hidden=4, bottleneck=2, embed_dim=3, **(QUICK | {"max_epochs": 1}))
    export_weights(encoder, tmp_path)
    entry = read(tmp_path)["instruments"]["gaia_xp"]
    rules = entry["mask_rules"]
    assert rules["version"] == xp.mask_version
    assert rules["bits"] == xp.quality_bits
    assert rules["bad_bits"] == sum(1 << rules["bits"][name] for name in rules["masking"])
    assert {"NONFINITE", "NO_IVAR"} <= set(rules["masking"])
    assert entry["normalization"]["rule"] == type(xp.normalization).__name__
    assert entry["normalization"]["words"] == xp.normalization.words
    assert "lsf_sigma" in QTable.read(tmp_path / "grid-gaia_xp.ecsv").colnames


def test_the_card_has_a_head_that_hubs_read_and_the_numbers_of_the_training(aligner, folder):
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "cc-by-4.0", "library_name": "specalign", "pipeline_tag": "feature-extraction",
        "tags": ["astronomy", "stellar-spectroscopy", "safetensors", "contrastive-learning"],
    }  # fmt: skip
    assert f"| training | {aligner.history.counts['training']} |" in body
    assert "| seed | 0 |" in body
    assert "Whether it is meant for science is not stated" in body
    assert all(f"{number}. " in body for number in range(1, 6))


def test_the_card_runs_nothing_that_a_title_holds(folder):
    config = read(folder)
    config["about"] |= {"title": "<script>alert(1)</script>\n# x", "license": "a\nb: c", "science": False}
    card = model_card(config)
    assert "<script" not in card
    assert "**Not for science.**" in card
    assert yaml.safe_load(card.split("---\n", 2)[1])["license"] == "a\nb: c"


def test_an_older_model_in_the_folder_is_replaced(regressor, folder, spectra, tmp_path):
    export_weights(regressor, folder, prepared=spectra["apogee"])
    assert isinstance(load_weights(folder), LabelRegressor)
    assert not (folder / "encoder-nirspec.safetensors").exists()
    export_weights(regressor, tmp_path / "again", prepared=spectra["apogee"])
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()
    }


def test_a_grid_that_nobody_knows_is_asked_for(aligner, spectra, tmp_path):
    with pytest.raises(
        SpecalignError, match=r"the wavelengths of apogee with grid .* cannot be found .* give prepared="
    ):
        export_weights(aligner, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(GridMismatchError, match="the model was trained on apogee"):
        export_weights(aligner, tmp_path / "model", prepared=spectra | {"apogee": observe("nirspec", stars(3))})
    with pytest.raises(ValueError, match="prepared: expected spectra of apogee, nirspec, gaia_xp, got 'lamost'"):
        export_weights(aligner, tmp_path / "model", prepared={"lamost": spectra["apogee"]})


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected an Aligner, a LabelRegressor or an Encoder, got str"):
        export_weights("aligner", tmp_path)


def test_files_that_no_model_wrote_stay_in_the_folder(regressor, folder, spectra):
    (folder / "catalogue.ecsv").write_text("of the user")
    (folder / "others.safetensors").write_bytes(b"of the user")
    export_weights(regressor, folder, prepared=spectra["apogee"])
    assert (folder / "catalogue.ecsv").read_text() == "of the user"
    assert (folder / "others.safetensors").exists()
    assert not (folder / "encoder-nirspec.safetensors").exists()


def test_every_bit_flip_and_cut_is_refused(folder):
    rng = np.random.default_rng(0)
    for path in sorted(path for path in folder.iterdir() if path.name != "README.md"):
        content = path.read_bytes()
        flips = [bytearray(content) for _ in range(20)]
        for spoilt in flips:
            spoilt[rng.integers(len(content))] ^= 1 << rng.integers(8)
        for spoilt in [*flips, b"", content[:-1], content + b"\n"]:
            path.write_bytes(spoilt)
            with pytest.raises(CheckpointError, match=path.name):
                load_weights(folder)
        path.write_bytes(content)
    (folder / "README.md").write_text("edited")
    load_weights(folder)


def test_a_missing_file_is_named(folder):
    for path in sorted(path for path in folder.iterdir() if path.name != "README.md"):
        moved = path.rename(folder.parent / path.name)
        with pytest.raises(CheckpointError, match=path.name):
            load_weights(folder)
        path.symlink_to(moved)
        with pytest.raises(CheckpointError, match=path.name):
            load_weights(folder)
        path.unlink()
        moved.rename(path)


def offer(folder, name, content):
    entry = read(folder)["files"]["encoder-apogee.safetensors"] | checkpoint.add_member(folder, "x", ".bin", content)
    entry.pop("file")
    (folder / name).write_bytes(content)
    change(folder, lambda value: value["files"].update({name: entry}))


@pytest.mark.parametrize("name", ["weights.pkl", "pytorch_model.bin", "model.pt", "a/b.safetensors", "..ecsv"])
def test_files_of_another_kind_are_never_read(folder, name):
    (folder / "a").mkdir()
    offer(folder, name, pickle.dumps(np.arange(3)))
    with pytest.raises(
        CheckpointError, match=r"expected files called \*\.safetensors and \*\.ecsv in this folder, got"
    ):
        load_weights(folder)


def test_a_pickle_with_another_name_is_refused(folder):
    offer(folder, "encoder-apogee.safetensors", pickle.dumps(np.arange(3)))
    with pytest.raises(CheckpointError, match=r"encoder-apogee\.safetensors: expected a safetensors header"):
        load_weights(folder)


EDITS = {
    "another version": lambda value: value.update(version=9),
    "another format": lambda value: value.update(format="specalign aligner"),
    "no kind": lambda value: value.pop("kind"),
    "another kind": lambda value: value.update(kind="encoder"),
    "no files": lambda value: value.pop("files"),
    "files that are none": lambda value: value.update(files={"a.ecsv": 3}),
    "no weights of an encoder": lambda value: value["files"].pop("encoder-apogee.safetensors"),
    "no prefix": lambda value: value["files"]["encoder-apogee.safetensors"].pop("prefix"),
    "an encoder of another size": lambda value: value["checkpoint"]["instruments"]["apogee"]["config"].update(
        n_pixels=41
    ),
    "no checkpoint": lambda value: value.pop("checkpoint"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_config_that_does_not_fit_is_refused(folder, edit):
    change(folder, edit)
    with pytest.raises(CheckpointError, match=str(folder)):
        load_weights(folder)
