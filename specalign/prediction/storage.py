"""A `LabelTransfer` as a folder; the description, with the digests of all files, is written last.

``aligner-*/`` as `specalign.Aligner.save` writes it, ``reference-*.fits`` (`specalign.EmbeddingTable`),
``labels-*.ecsv``, ``domain-<instrument>-*.safetensors``, and ``model.json``.  Names contain a digest, so that a new
model never touches a file of the old one before the description has replaced the old description.
"""

import dataclasses
import hashlib
import re
import shutil
import tempfile
from pathlib import Path

import safetensors.torch
from astropy.table import QTable
from safetensors import SafetensorError

from specalign.alignment import Aligner
from specalign.alignment.checkpoint import Kind, read_description, read_member, write_description
from specalign.data.embeddings import EmbeddingTable
from specalign.encoders.base import as_tensor
from specalign.encoders.factors import FactorAnalysis
from specalign.encoders.scaling import PixelScaler
from specalign.exceptions import CheckpointError
from specalign.instruments.prepared import InstrumentRecord
from specalign.io.files import atomic_write
from specalign.prediction.domain import Sample, TrainingDomain

__all__ = ["load", "save"]

MODEL = Kind("model", "model.json", "model")
DESCRIPTION, VERSION = MODEL.description, 1
MEMBER = re.compile(
    r"aligner-[0-9a-f]{16}(/(aligner\.json|weights-[0-9a-f]{16}\.safetensors))?|"
    r"(reference-[0-9a-f]{16}\.fits)|(labels-[0-9a-f]{16}\.ecsv)|(domain-[\w-]+-[0-9a-f]{16}\.safetensors)"
)


def save(model, folder):
    """See `LabelTransfer.save`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "reference": _add(folder, "reference", ".fits", _bytes_of(model.reference.write, ".fits")),
        "labels": _add(folder, "labels", ".ecsv", _bytes_of(model.labels.write, ".ecsv", format="ascii.ecsv")),
        "aligner": f"aligner-{model.aligner.space[:16]}",
    }
    model.aligner.save(folder / parts["aligner"])
    domains = {
        name: {
            "file": _add(folder, f"domain-{name}", ".safetensors", safetensors.torch.save(_tensors(domain.sample))),
            "facts": domain.facts,
            "record": dataclasses.asdict(model.records[name]),
        }
        for name, domain in model.domains.items()
    }
    files = [parts["reference"], parts["labels"], *(one["file"] for one in domains.values())]
    files += [f"{parts['aligner']}/{path.name}" for path in sorted((folder / parts["aligner"]).iterdir())]
    value = {
        "format": MODEL.format, "version": VERSION, **parts, "domains": domains, "facts": model.facts,
        "files": {name: _stated((folder / name).read_bytes()) for name in files},
    }  # fmt: skip
    write_description(folder / DESCRIPTION, value)
    _sweep(folder, {*files, parts["aligner"]})


def _bytes_of(write, suffix, **options):
    """What a writer of files writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"content{suffix}"
        write(path, **options)
        return path.read_bytes()


def _add(folder, stem, suffix, content):
    """Write a file whose name contains its digest."""
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    with atomic_write(folder / name) as temporary:
        temporary.write_bytes(content)
    return name


def _stated(content):
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _sweep(folder, keep):
    """Remove what an older model left; files that are not ours stay."""
    for path in folder.iterdir():
        if MEMBER.fullmatch(path.name) and path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _tensors(sample):
    modules = {"scaler": sample.scaler, "factors": sample.factors}
    tensors = {f"{key}.{name}": value for key, module in modules.items() for name, value in module.state_dict().items()}
    tensors |= {name: as_tensor(getattr(sample, name)) for name in ("coordinates", "vectors")}
    return {name: value.contiguous() for name, value in tensors.items()}


def load(folder):
    """The arguments of `LabelTransfer`, from a folder that `save` wrote; every file is checked before it is read."""
    folder = Path(folder)
    value = read_description(folder / DESCRIPTION, MODEL, VERSION)
    try:
        contents = {name: _checked(folder, name, entry) for name, entry in value["files"].items()}
        domains = {name: _domain(folder, one, contents) for name, one in value["domains"].items()}
        records = {name: InstrumentRecord(**one["record"]) for name, one in value["domains"].items()}
        names = [value[part] for part in ("reference", "labels")]
        missing = [name for name in names if name not in contents]
        if missing or f"{value['aligner']}/aligner.json" not in contents:
            raise CheckpointError(f"{folder / DESCRIPTION}: states no digest of {missing or value['aligner']}")
        reference = EmbeddingTable.read(folder / names[0])
        labels = QTable.read(folder / names[1], format="ascii.ecsv")
        return Aligner.load(folder / value["aligner"]), reference, labels, domains, records, value["facts"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / DESCRIPTION}: {error!r}: this is not a model that specalign wrote") from error


def _checked(folder, name, entry):
    if not MEMBER.fullmatch(name):
        raise CheckpointError(f"{folder / DESCRIPTION}: expected files of a model in this folder, got {name!r}")
    content = read_member(folder / name, entry["bytes"], MODEL)
    if _stated(content) != entry:
        raise CheckpointError(
            f"{folder / name}: does not have the digest that {DESCRIPTION} states; copy the folder again from where it "
            f"was saved, or build the model anew"
        )
    return content


def _domain(folder, one, contents):
    try:
        tensors = safetensors.torch.load(contents[one["file"]])
        n_pixels, n_factors = tensors["factors.basis"].shape
        scaler, factors = PixelScaler(n_pixels), FactorAnalysis(n_pixels, n_factors)
        for key, module in (("scaler", scaler), ("factors", factors)):
            own = {name: tensors[f"{key}.{name}"] for name in module.state_dict()}
            module.load_state_dict(own)
        coordinates, vectors = (tensors[name].numpy() for name in ("coordinates", "vectors"))
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder / one['file']}: not what describes training spectra ({error})") from error
    return TrainingDomain(Sample(scaler, factors, coordinates, vectors), one["facts"])
