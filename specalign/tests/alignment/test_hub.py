"""To a hub and back over real HTTP, with nothing but JSON, safetensors, ECSV and the card."""

import json
import logging
import pickle
import sys

import numpy as np
import pytest
import torch

import specalign as sa
from specalign.alignment import checkpoint, export_weights, pull_from_hub, push_to_hub
from specalign.config import conf
from specalign.exceptions import CheckpointError, FetchError, MissingExtraError
from specalign.tests.alignment.hub_server import running
from specalign.tests.alignment.survey import observe, stars

pytest.importorskip("huggingface_hub")
QUICK = {"max_epochs": 1, "batch_size": 32, "progress": False, "accelerator": "cpu"}
SECRET = "hf_a-token-that-nobody-may-see"


@pytest.fixture(scope="module")
def encoder():
    torch.set_num_threads(1)
    return sa.pretrain("autoencoder", observe("apogee", stars(40)), hidden=8, bottleneck=4, embed_dim=6, **QUICK)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with running() as hub, conf.set_temp("cache_folder", str(tmp_path / "cache")):
        yield hub


@pytest.fixture
def pushed(hub, encoder):
    push_to_hub(encoder, "me/mine", endpoint=hub.address, token=False, license="mit")
    return hub


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_model_comes_back_from_the_hub(encoder, hub, tmp_path):
    commit = push_to_hub(encoder, "me/mine", endpoint=hub.address, token=SECRET, license="mit")
    assert commit == hub.head
    assert hub.private is True
    assert sorted(set(hub.files) - {".gitattributes"}) == [
        "README.md", "config.json", "encoder-apogee.safetensors", "grid-apogee.ecsv", "grid.safetensors",
    ]  # fmt: skip
    assert b'license: "mit"' in hub.files["README.md"]
    loaded = pull_from_hub("me/mine", endpoint=hub.address, token=SECRET, folder=tmp_path / "here")
    assert same(loaded, encoder)
    assert (tmp_path / "here" / "README.md").is_file()
    assert {token for *_, token in hub.requests} == {SECRET}


def test_a_folder_is_pushed_as_it_is_and_an_older_model_goes(encoder, hub, tmp_path):
    stays = {"notes.txt": b"stays", "catalogue.ecsv": b"theirs"}
    hub.commit({"encoder-old.safetensors": b"old", "grid-old.ecsv": b"old", ".gitattributes": b"", **stays})
    export_weights(encoder, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\nedited\n")
    (tmp_path / "model" / "private.key").write_text("not to be uploaded")
    push_to_hub(tmp_path / "model", "me/mine", endpoint=hub.address, token=False, private=False)
    assert hub.private is False
    assert not {"encoder-old.safetensors", "grid-old.ecsv"} & set(hub.files)
    assert "private.key" not in hub.files
    assert {name: hub.files[name] for name in stays} == stays
    assert hub.files["README.md"].endswith(b"edited\n")


def test_a_commit_is_named(encoder, pushed, tmp_path):
    first = pushed.head
    other = sa.pretrain(encoder, observe("apogee", stars(40)), **QUICK)
    push_to_hub(other, "me/mine", endpoint=pushed.address, token=False)
    assert same(pull_from_hub("me/mine", endpoint=pushed.address, token=False), other)
    assert same(pull_from_hub("me/mine", endpoint=pushed.address, token=False, revision=first), encoder)
    assert sorted(p.name for p in (tmp_path / "cache" / "hub" / "me--mine").iterdir()) == sorted([first, pushed.head])


def test_what_is_there_is_not_downloaded_again(pushed):
    pull_from_hub("me/mine", endpoint=pushed.address, token=False)
    pushed.requests.clear()
    pull_from_hub("me/mine", endpoint=pushed.address, token=False)
    assert not [path for method, path, _ in pushed.requests if method == "GET" and "/resolve/" in path]


def test_pickles_and_other_files_are_never_asked_for(pushed):
    pushed.commit({"model.pkl": pickle.dumps(1), "pytorch_model.bin": b"x", "other.safetensors": b"x", "run.py": b"x"})
    pull_from_hub("me/mine", endpoint=pushed.address, token=False)
    asked = {path.rsplit("/", 1)[1] for _, path, _ in pushed.requests if "/resolve/" in path}
    assert asked == {
        "README.md", "config.json", "encoder-apogee.safetensors", "grid-apogee.ecsv", "grid.safetensors",
    }  # fmt: skip


def test_a_config_that_names_a_pickle_is_refused_before_it_comes(pushed):
    value = json.loads(pushed.files["config.json"])
    value["files"]["model.pkl"] = {"sha256": "0" * 64, "bytes": 3}
    value.pop("sha256")
    content = checkpoint._canonical(value | {"sha256": checkpoint._digest(value)})
    pushed.commit({"config.json": content, "model.pkl": pickle.dumps(1)})
    with pytest.raises(CheckpointError, match=r"expected files called \*\.safetensors and \*\.ecsv, got 'model\.pkl'"):
        pull_from_hub("me/mine", endpoint=pushed.address, token=False)
    assert not [path for _, path, _ in pushed.requests if path.endswith("model.pkl")]


@pytest.mark.parametrize("name", ["encoder-apogee.safetensors", "grid-apogee.ecsv", "config.json"])
def test_a_changed_byte_is_refused(pushed, name):
    content = bytearray(pushed.files[name])
    content[len(content) // 2] ^= 1
    pushed.commit({name: bytes(content)})
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        pull_from_hub("me/mine", endpoint=pushed.address, token=False)


def test_a_missing_file_is_named(pushed):
    pushed.commit({"grid-apogee.ecsv": None})
    with pytest.raises(CheckpointError, match=r"grid-apogee\.ecsv: expected a file of a saved published model"):
        pull_from_hub("me/mine", endpoint=pushed.address, token=False)


@pytest.mark.parametrize(("revision", "match"), [("0" * 40, "the hub refused .*404"), (None, "the hub refused .*404")])
def test_what_is_not_there_is_an_error_of_one_line(hub, revision, match):
    hub.commit({"README.md": b"no model"})
    with pytest.raises(FetchError, match=f"me/mine: {match}"):
        pull_from_hub("me/mine", endpoint=hub.address, token=False, revision=revision)


def test_a_name_that_is_none_is_refused(hub, encoder):
    with pytest.raises(FetchError, match=r"a b: the hub refused .HFValidationError"):
        push_to_hub(encoder, "a b", endpoint=hub.address, token=False)


def test_a_hub_that_is_down_is_an_error_that_says_so(encoder):
    with running() as hub:
        address = hub.address
    with pytest.raises(FetchError, match="me/mine: the hub cannot be reached"):
        pull_from_hub("me/mine", endpoint=address, token=False)


def test_the_token_is_in_no_message_no_log_and_no_file(encoder, hub, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        push_to_hub(encoder, "me/mine", endpoint=hub.address, token=SECRET)
        pull_from_hub("me/mine", endpoint=hub.address, token=SECRET)
        hub.secret = "another"
        with pytest.raises(FetchError) as refused:
            pull_from_hub("me/mine", endpoint=hub.address, token=SECRET)
    assert SECRET not in str(refused.value)
    assert SECRET not in caplog.text
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


def test_a_changed_folder_is_not_pushed(encoder, hub, tmp_path):
    export_weights(encoder, tmp_path / "model")
    (tmp_path / "model" / "grid-apogee.ecsv").write_text("other")
    with pytest.raises(CheckpointError, match=r"grid-apogee\.ecsv: the content does not have the digest"):
        push_to_hub(tmp_path / "model", "me/mine", endpoint=hub.address, token=False)
    assert not hub.requests
    with pytest.raises(ValueError, match="expected no options of export_weights for a folder, got license"):
        push_to_hub(tmp_path / "model", "me/mine", license="mit")


def test_without_the_extra_it_says_what_to_install(monkeypatch, encoder):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[hub\]'"):
        push_to_hub(encoder, "me/mine")


def test_vectors_are_those_that_were_exported(encoder, pushed):
    spectra = observe("apogee", stars(5, first=100))
    loaded = pull_from_hub("me/mine", endpoint=pushed.address, token=False)
    with torch.no_grad():
        here, there = (one(spectra.flux, spectra.ivar, spectra.mask).numpy() for one in (encoder, loaded))
    assert np.array_equal(here, there)
