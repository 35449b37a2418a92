"""A trained model as a folder that other programs can read, and back.

``config.json`` is written last and has the digest of every other file but the model card, which people edit.
"""

import hashlib
import re
import tempfile
from pathlib import Path

from specalign.alignment import checkpoint
from specalign.alignment.aligner import Aligner
from specalign.alignment.checkpoint import ALIGNER, ENCODER, REGRESSOR, Kind
from specalign.alignment.encoder_files import load_encoder, save_encoder
from specalign.alignment.regressor import LabelRegressor
from specalign.alignment.sharing.card import model_card
from specalign.alignment.sharing.config import build_config
from specalign.alignment.sharing.grids import find_grid
from specalign.encoders import Encoder
from specalign.exceptions import CheckpointError
from specalign.instruments.prepared import InstrumentRecord, PreparedSpectra
from specalign.io.files import atomic_write

__all__ = ["CONFIG", "FILE_NAME", "PUBLISHED", "export_weights", "load_weights", "read_published"]

CONFIG, CARD = "config.json", "README.md"
PUBLISHED = Kind("published model", CONFIG, "encoder")
KINDS = {kind.name: kind for kind in (ALIGNER, REGRESSOR, ENCODER)}
LOADERS = {ALIGNER.name: Aligner.load, REGRESSOR.name: LabelRegressor.load, ENCODER.name: load_encoder}
FILE_NAME = re.compile(r"(?P<stem>[A-Za-z][A-Za-z0-9_-]*)\.(?P<suffix>safetensors|ecsv)")
MOCK_SYSTEM = "specalign-mock"


def export_weights(model, folder, *, prepared=None, license=None, title="", note="", science=None, facts=None):
    """Write a trained model as a folder that another program can use.

    ``config.json`` says everything but the numbers: options, shapes, instruments, objective, mask rules, normalisation,
    what is done to a spectrum before and in the network, scalings, history.  Each encoder has a safetensors file with
    plain names, each grid an ECSV file with all wavelengths and units.  ``README.md`` is a model card.

    Parameters
    ----------
    model : Aligner, LabelRegressor or Encoder
        Trained.  The split of a regressor, with the names of its stars, is written, too.
    folder : str or `~pathlib.Path`
        Made if it does not exist; an older model in it is replaced, and other files stay.
    prepared : PreparedSpectra or dict of str to PreparedSpectra, optional
        Spectra like those of the training, where an instrument's name and options do not give its grid.
    license : str, optional
        Of the weights, such as ``"cc-by-4.0"``; the card says so where there is none.
    title, note : str
        Of the card.
    science : bool, optional
        False: the card says that the model is not for science, as it does where it learned labels of the mock survey.
        An aligner of mock spectra that was trained without labels does not know it.
    facts : dict, optional
        JSON-like facts that the model does not know, such as the seed and the catalogue of the training.

    Raises
    ------
    SpecalignError
        The model is not trained, or nothing knows the wavelengths of an instrument.
    GridMismatchError
        ``prepared`` has another grid.
    PluginError
        An encoder or the objective is no installed plugin.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.alignment import export_weights, load_weights
    >>> xp = sa.get_instrument("gaia_xp")
    >>> flux = 1 + 0.1 * np.random.default_rng(0).normal(size=(40, 1)) * np.linspace(-1, 1, 343)
    >>> names = [f"star {i}" for i in range(40)]
    >>> prepared = xp.prepare_arrays(
    ...     flux, ivar=np.full_like(flux, 1e4), spectral_axis=xp.spectral_axis, object_id=names, normalized=True
    ... )
    >>> encoder = sa.pretrain("autoencoder", prepared, hidden=8, bottleneck=2, max_epochs=1, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_weights(encoder, folder, license="cc-by-4.0", facts={"seed": 0})
    ...     config = json.loads((Path(folder) / "config.json").read_text())
    ...     print(sorted(path.name for path in Path(folder).iterdir()))
    ...     loaded = load_weights(folder)
    ['README.md', 'config.json', 'encoder-gaia_xp.safetensors', 'grid-gaia_xp.ecsv', 'grid.safetensors']
    >>> config["instruments"]["gaia_xp"]["grid"]["n_pixels"], loaded.n_pixels
    (343, 343)
    """
    folder = Path(folder)
    kind, description, tensors, contents = _saved(model, prepared)
    grids = _grids(description, prepared, getattr(model, "origin", None))
    files = {name: {} for name in contents}
    for name, (prefix, own) in _groups(tensors, list(grids)).items():
        contents[name] = checkpoint.serialized(own)
        files[name] = {"prefix": prefix, "tensors": {key: _shape(value) for key, value in own.items()}}
    for name, grid in grids.items():
        contents[f"grid-{name}.ecsv"] = grid.ecsv()
    files = {name: files.get(name, {}) | _digest(content) for name, content in sorted(contents.items())}
    mock = MOCK_SYSTEM in ((description.get(key) or {}).get("system") for key in ("scheme", "labels"))
    about = {"title": title, "license": license, "note": note, "science": False if mock else science}
    facts = dict(facts or {}) | ({"split seed": model.split.seed} if kind is REGRESSOR else {})
    config = build_config(kind.name, description, grids, files, about | {"facts": facts})
    config = {"format": PUBLISHED.format, "version": checkpoint.VERSION, **config}
    _write(folder, contents | {CARD: model_card(config).encode()}, config)


def _saved(model, prepared):
    """What the model's own ``save`` writes: its kind, description, tensors, and the contents of other files."""
    kind = next((k for c, k in {Aligner: ALIGNER, LabelRegressor: REGRESSOR, Encoder: ENCODER}.items()
                 if isinstance(model, c)), None)  # fmt: skip
    if kind is None:
        raise ValueError(f"expected an Aligner, a LabelRegressor or an Encoder, got {type(model).__name__}")
    with tempfile.TemporaryDirectory() as folder:
        if kind is ENCODER:
            save_encoder(model, folder, next(iter(prepared.values())) if isinstance(prepared, dict) else prepared)
        else:
            model.save(folder)
        description, tensors = checkpoint.load_checkpoint(folder, kind)
        left = {path.name: path.read_bytes() for path in Path(folder).glob("*.ecsv")}
    own = {key: value for key, value in description.items() if key not in ("format", "version", "weights")}
    return kind, own, tensors, left


def _grids(description, prepared, origin):
    entries = description.get("instruments")
    order = description["order"] if entries else [description["record"]["name"]]
    records = {name: InstrumentRecord(**(entries[name] if entries else description)["record"]) for name in order}
    if isinstance(prepared, PreparedSpectra):
        prepared = {name: prepared for name, record in records.items() if record.name == prepared.instrument.name}
    prepared = prepared or {}
    if unknown := sorted(set(prepared) - set(records)):
        raise ValueError(f"prepared: expected spectra of {', '.join(records)}, got {unknown[0]!r}")
    return {name: find_grid(record, prepared.get(name), origin) for name, record in records.items()}


def _groups(tensors, names):
    """File name to the common beginning of the tensors' names, and the tensors by the rest of their names."""
    groups = {}
    for key, value in sorted(tensors.items()):
        part, name, *_ = key.split(".")
        prefix, file = f"{part}.", part
        if part in ("encoders", "decoders"):
            prefix = f"{part}.{name}."
            known = names[0] if name == "spectra" else name  # of a model of one instrument
            file = f"{part[:-1]}-{known}"
        groups.setdefault(f"{file}.safetensors", (prefix, {}))[1][key.removeprefix(prefix)] = value
    return groups


def _shape(value):
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}


def _digest(content):
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _write(folder, contents, config):
    folder.mkdir(parents=True, exist_ok=True)
    older = _named(folder)
    for name, content in contents.items():
        with atomic_write(folder / name) as temporary:
            Path(temporary).write_bytes(content)
    checkpoint.write_description(folder / CONFIG, config)
    for name in older - set(contents):
        (folder / name).unlink(missing_ok=True)


def _named(folder):
    """Files of the model that a folder has; others in it, such as catalogues, are the user's."""
    try:
        files = checkpoint.read_description(folder / CONFIG, PUBLISHED).get("files")
    except CheckpointError:
        return set()
    return {name for name in files if FILE_NAME.fullmatch(name)} if isinstance(files, dict) else set()


def load_weights(folder):
    """Read a model that `export_weights` wrote; nothing in the files is executed.

    Parameters
    ----------
    folder : str or `~pathlib.Path`

    Returns
    -------
    Aligner, LabelRegressor or Encoder
        Its vectors are those of the model that was exported, bit for bit on one machine.

    Raises
    ------
    CheckpointError
        A file is missing, was changed, is of another kind than safetensors and ECSV, or does not fit the others.
    UnknownPluginError
        The plugin of an encoder or of the objective is not installed.

    Examples
    --------
    >>> from specalign.alignment import load_weights
    >>> load_weights("no such folder")
    Traceback (most recent call last):
    ...
    specalign.exceptions.CheckpointError: no such folder/config.json: expected a file of a saved published model, ...
    """
    folder = Path(folder)
    config, contents = read_published(folder)
    kind, tensors = KINDS[config["kind"]], {}
    for name, content in contents.items():
        if name.endswith(".safetensors"):
            prefix = config["files"][name]["prefix"]
            tensors |= {prefix + key: value for key, value in checkpoint.read_tensors(folder / name, content).items()}
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint.save_checkpoint(temporary, config["checkpoint"], tensors, kind)
        for name, content in contents.items():
            if name.endswith(".ecsv"):
                (Path(temporary) / name).write_bytes(content)
        try:
            return LOADERS[kind.name](temporary)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(temporary), str(folder))) from error


def read_published(folder):
    """The checked ``config.json`` of a folder, and the contents of the files that it names: dict of str to bytes.

    Raises
    ------
    CheckpointError
        As `load_weights`.
    """
    path = Path(folder) / CONFIG
    config = checkpoint.read_description(path, PUBLISHED)
    if config.get("kind") not in KINDS or not isinstance(config.get("checkpoint"), dict):
        raise CheckpointError(f"{path}: expected one of {', '.join(KINDS)}, got {config.get('kind')!r}")
    files = config.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise CheckpointError(f"{path}: expected the files with their digests, got {files!r:.200}")
    return config, {name: _content(path, name, entry) for name, entry in files.items()}


def _content(path, name, entry):
    if not FILE_NAME.fullmatch(name):
        raise CheckpointError(
            f"{path}: expected files called *.safetensors and *.ecsv in this folder, got {name!r}; nothing else is read"
        )
    stated = {key: type(entry.get(key)) for key in ("sha256", "bytes")}
    if stated != {"sha256": str, "bytes": int} or (
        name.endswith(".safetensors") and type(entry.get("prefix")) is not str
    ):
        raise CheckpointError(f"{path}: expected sha256, bytes and prefix of {name}, got {sorted(entry)}")
    return checkpoint.checked_content(path.parent / name, entry, PUBLISHED)
