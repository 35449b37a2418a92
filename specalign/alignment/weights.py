"""An aligner's parts to named tensors, and back, without believing what a file says of them."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import torch

from specalign.alignment.calibration import LabelErrors
from specalign.alignment.checkpoint import REGRESSOR, stated_member
from specalign.alignment.decoders import FactorDecoder
from specalign.alignment.history import History, LabelHistory, PretrainingHistory
from specalign.alignment.inputs import plain_record
from specalign.alignment.objectives import Objective, check_objective
from specalign.alignment.origin import SpectraOrigin, software_versions
from specalign.alignment.targets import LabelScaler
from specalign.data.scaling import METHODS, ColumnScaler
from specalign.data.scheme import LabelScheme
from specalign.data.splits import StarSplit
from specalign.encoders import Encoder, check_encoder
from specalign.exceptions import CheckpointError, PluginError, SpecalignError
from specalign.instruments.prepared import InstrumentRecord
from specalign.plugins import find_plugins, load_plugin

__all__ = [
    "AXIS",
    "Parts",
    "RegressorParts",
    "describe",
    "filled",
    "plugin_name",
    "restore",
    "restore_encoder",
    "restore_regressor",
    "restore_split",
    "split_content",
    "tensors",
]

AXIS = "grid.spectral_axis"  # the name of an encoder's wavelengths among its tensors


@dataclass(frozen=True)
class Parts:
    """What a saved aligner consists of."""

    embed_dim: int
    encoders: dict
    choices: dict
    records: dict
    head: torch.nn.Module | None
    objective: Objective
    objective_choice: tuple
    labels: LabelScaler | None
    history: History
    decoders: dict


@dataclass(frozen=True)
class RegressorParts:
    """What a saved label regressor consists of."""

    name: str
    options: dict
    encoder: Encoder
    head: torch.nn.Module | None
    scaler: ColumnScaler
    scheme: LabelScheme
    errors: LabelErrors
    record: InstrumentRecord
    history: LabelHistory


def tensors(encoders, head, objective, decoders=None):
    """All parameters and buffers by name; head and objective may be None."""
    modules = {f"encoders.{name}": encoder for name, encoder in encoders.items()}
    modules |= {f"decoders.{name}": decoder for name, decoder in (decoders or {}).items()}
    modules |= {name: part for name, part in {"objective": objective, "head": head}.items() if part is not None}
    return {f"{prefix}.{key}": value for prefix, part in modules.items() for key, value in part.state_dict().items()}


def describe(aligner):
    """What a file says of a trained aligner beside its tensors; `restore` reads it."""
    instruments = {
        name: {
            "encoder": plugin_name("encoders", encoder),
            "config": encoder.config(),
            "record": plain_record(aligner._records[name]),
        }
        for name, encoder in aligner.encoders.items()
    }
    objective = aligner._objective
    return {
        "embed_dim": aligner.embed_dim,
        "order": list(aligner.instruments),
        "instruments": instruments,
        "objective": {"name": plugin_name("objectives", objective), "config": objective.config()},
        "decoders": {name: decoder.config() for name, decoder in aligner._decoders.items()},
        "labels": aligner._labels.as_dict() if aligner._labels else None,
        "history": aligner.history.as_dict(),
        "software": software_versions(),
    }


def plugin_name(kind, part):
    """The name under which the class of an encoder or objective is installed.

    Raises
    ------
    PluginError
        It is not: it would not be found again.
    """
    for plugin in find_plugins(kind):
        if _is_class_of(plugin, type(part)):
            return plugin.name
    raise PluginError(
        f"the {kind[:-1]} {type(part).__module__}:{type(part).__qualname__} is no installed plugin, so a saved aligner "
        f"could not be loaded; add it to the entry points specalign.{kind} of its distribution"
    )


def _is_class_of(plugin, cls):
    """Whether an entry point gives a class, perhaps under a shorter path; what nobody has imported stays so."""
    if (plugin.module, plugin.attribute) == (cls.__module__, cls.__qualname__):
        return True
    return getattr(sys.modules.get(plugin.module), plugin.attribute or "", None) is cls


def restore(description, stored, folder):
    """The parts of an aligner from a checked description and tensors.

    Raises
    ------
    CheckpointError
        The description lacks something, or the tensors do not fit it.
    """
    return _checked(_restore, description, stored, folder)


def restore_regressor(description, stored, folder):
    """The parts of a label regressor, likewise."""
    return _checked(_restore_regressor, description, stored, folder)


def restore_encoder(description, stored, folder):
    """An encoder with its history, and the `SpectraOrigin` of its training, likewise."""
    return _checked(_restore_encoder, description, stored, folder)


def split_content(split):
    """A split as `StarSplit.save` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        split.save(Path(folder) / "split.ecsv")
        return (Path(folder) / "split.ecsv").read_bytes()


def restore_split(folder, description):
    """The split that lies beside a regressor."""
    path, _ = stated_member(folder, description.get("split"), REGRESSOR, "split", "split", ".ecsv")
    try:
        return StarSplit.load(path)
    except (SpecalignError, OSError) as error:
        raise CheckpointError(f"{path}: the split of this regressor cannot be read ({error})") from error


def _checked(build, description, stored, folder):
    try:
        return build(description, stored)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, PluginError):
            raise
        if isinstance(error, CheckpointError):
            raise CheckpointError(f"{folder}: {error}") from error
        raise CheckpointError(
            f"{folder}: the description does not fit the weights or this version ({type(error).__name__}: {error})"
            f"{_other_software(description)}"
        ) from error


def _other_software(description):
    """What wrote a file, where it says so."""
    written = description.get("software") if isinstance(description, dict) else None
    if not isinstance(written, dict):
        return ""
    other = [f"{name} {written.get(name)} (here {here})" for name, here in software_versions().items()]
    return f"; it was written with {', '.join(other)}"


def _restore(description, stored):
    entries = {name: description["instruments"][name] for name in description["order"]}
    taken = set()
    encoders = {name: _encoder(entry, stored, f"encoders.{name}.", taken) for name, entry in entries.items()}
    labels = LabelScaler(**description["labels"]) if description["labels"] else None
    objective_choice = _objective_choice(description["objective"])
    objective = _objective(*objective_choice, stored, taken)
    head, dimensions = None, objective.n_shared(description["embed_dim"])
    if labels is not None:
        head = filled(lambda: torch.nn.Linear(dimensions, len(labels.names)), stored, "head.", taken)
    decoders = {name: _decoder(config, stored, f"decoders.{name}.", taken)
                for name, config in description.get("decoders", {}).items()}  # fmt: skip
    _check_left(stored, taken)
    return Parts(
        description["embed_dim"],
        encoders,
        {name: _choice(entry) for name, entry in entries.items()},
        {name: InstrumentRecord(**entry["record"]) for name, entry in entries.items()},
        head,
        objective,
        objective_choice,
        labels,
        History.from_dict(description["history"]),
        decoders,
    )


def _decoder(config, stored, prefix, taken):
    return filled(lambda: FactorDecoder(**config), stored, prefix, taken).eval()


def _restore_regressor(description, stored):
    taken, scheme, scaling = set(), dict(description["scheme"]), description["scaling"]
    scheme = LabelScheme(**scheme | {"names": tuple(scheme["names"]), "units": tuple(map(u.Unit, scheme["units"]))})
    scaler = ColumnScaler(scaling["method"], tuple(scaling["centre"]), tuple(scaling["scale"]))
    errors = LabelErrors(**description["errors"])
    lengths = {len(x) for x in (scheme.names, scheme.units, scaler.centre, scaler.scale, errors.floor, errors.slope)}
    if len(lengths) != 1 or scaler.method not in METHODS:
        raise CheckpointError("the description does not have one scale, unit and error for each label")
    encoder = _encoder(description, stored, "encoders.spectra.", taken)
    head, n_labels = None, len(scheme.names)
    if encoder.embed_dim != n_labels:
        head = filled(lambda: torch.nn.Linear(encoder.embed_dim, n_labels), stored, "head.", taken).eval()
    _check_left(stored, taken)
    record, history = InstrumentRecord(**description["record"]), LabelHistory.from_dict(description["history"])
    return RegressorParts(*_choice(description), encoder, head, scaler, scheme, errors, record, history)


def _restore_encoder(description, stored):
    taken, axis = {AXIS}, description["axis"]
    encoder = _encoder(description, stored, "encoders.spectra.", taken)
    _check_left(stored, taken)
    history = description["history"]
    encoder.history = None if history is None else PretrainingHistory.from_dict(history)
    wavelength = u.Quantity(stored[AXIS].numpy(), axis["unit"])
    if wavelength.shape != (encoder.n_pixels,):
        raise CheckpointError(f"expected {encoder.n_pixels} wavelengths, got {wavelength.shape}")
    return encoder, SpectraOrigin(InstrumentRecord(**description["record"]), wavelength, axis["kind"])


def _check_left(stored, taken):
    if left := sorted(set(stored) - taken):
        raise CheckpointError(f"the weights hold {len(left)} tensors that belong to no part, such as {left[0]!r}")


def _choice(entry):
    return entry["encoder"], {k: v for k, v in entry["config"].items() if k not in ("n_pixels", "embed_dim")}


def _encoder(entry, stored, prefix, taken):
    factory = load_plugin("encoders", entry["encoder"])
    encoder = filled(lambda: factory(**entry["config"]), stored, prefix, taken)
    # an option that is younger than the file has its default
    if not isinstance(encoder, Encoder) or encoder.config() != encoder.config() | entry["config"]:
        raise CheckpointError(f"the encoder {entry['encoder']!r} does not build what its configuration says")
    check_encoder(encoder, entry["encoder"])
    encoder.scaled = True
    return encoder.eval()


def _objective_choice(entry):
    """Name and options; the first files had the one option of the one objective in their place."""
    entry = dict(entry)
    name = entry.pop("name")
    return name, entry.get("config", entry)


def _objective(name, config, stored, taken):
    factory = load_plugin("objectives", name)
    objective = filled(lambda: factory(**config), stored, "objective.", taken)
    # as for an encoder
    if not isinstance(objective, Objective) or objective.config() != objective.config() | config:
        raise CheckpointError(f"the objective {name!r} does not build what its configuration says")
    check_objective(objective, name)
    return objective.eval()


def filled(build, stored, prefix="", taken=None):
    """A module with stored tensors; it is built without memory, so that a stated size costs nothing by itself.

    Parameters
    ----------
    build : callable
        Gives the module, whose tensors are replaced.
    stored : dict of str to `~torch.Tensor`
    prefix : str
        Of the names that are the module's.
    taken : set of str, optional
        Gets the names that were used.

    Raises
    ------
    CheckpointError
        A tensor is missing, has another shape or type, or is not finite.

    Examples
    --------
    >>> import torch
    >>> from specalign.alignment.weights import filled
    >>> filled(lambda: torch.nn.Linear(1, 1), {"weight": torch.ones(1, 1), "bias": torch.zeros(1)}).weight.item()
    1.0
    """
    with torch.device("meta"):
        module = build()
    # in memory of torch's own: at addresses of other alignment, a product of matrices may round in another way
    own = {key.removeprefix(prefix): value.clone() for key, value in stored.items() if key.startswith(prefix)}
    for key, value in module.state_dict().items():
        _check_tensor(prefix + key, own.get(key), value)
    module.load_state_dict(own, strict=True, assign=True)
    if taken is not None:
        taken.update(prefix + key for key in own)
    return module


def _check_tensor(name, value, expected):
    if value is None:
        raise CheckpointError(f"the weights lack {name}, which the description asks for")
    if value.shape != expected.shape or value.dtype != expected.dtype:
        raise CheckpointError(
            f"{name}: the description asks for {expected.dtype} {tuple(expected.shape)}, the weights hold "
            f"{value.dtype} {tuple(value.shape)}"
        )
    if not bool(value.isfinite().all()):
        raise CheckpointError(f"{name}: the weights hold values that are not finite")
