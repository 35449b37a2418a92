"""An aligner's parts to named tensors, and back, without believing what a file says of them."""

from dataclasses import dataclass

import torch

from specalign.alignment.history import History
from specalign.alignment.objectives import InfoNCE
from specalign.alignment.targets import LabelScaler
from specalign.encoders import Encoder, check_encoder
from specalign.exceptions import CheckpointError, PluginError
from specalign.instruments.prepared import InstrumentRecord
from specalign.plugins import find_plugins, load_plugin

__all__ = ["Parts", "plugin_name", "restore", "tensors"]


@dataclass(frozen=True)
class Parts:
    """What a saved aligner consists of."""

    embed_dim: int
    encoders: dict
    choices: dict
    records: dict
    head: torch.nn.Module | None
    objective: InfoNCE
    labels: LabelScaler | None
    history: History


def tensors(encoders, head, objective):
    """All parameters and buffers by name."""
    modules = {f"encoders.{name}": encoder for name, encoder in encoders.items()} | {"objective": objective}
    if head is not None:
        modules["head"] = head
    return {f"{prefix}.{key}": value for prefix, part in modules.items() for key, value in part.state_dict().items()}


def plugin_name(encoder):
    """The name under which an encoder's class is installed.

    Raises
    ------
    PluginError
        It is not: it would not be found again.
    """
    place = f"{type(encoder).__module__}:{type(encoder).__qualname__}"
    for plugin in find_plugins("encoders"):
        if f"{plugin.module}:{plugin.attribute}" == place:
            return plugin.name
    raise PluginError(
        f"the encoder {place} is no installed plugin, so a saved aligner could not be loaded; add it to the entry "
        f"points specalign.encoders of its distribution"
    )


def restore(description, stored, folder):
    """The parts of an aligner from a checked description and tensors.

    Raises
    ------
    CheckpointError
        The description lacks something, or the tensors do not fit it.
    """
    try:
        return _restore(description, stored)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, PluginError):
            raise
        if isinstance(error, CheckpointError):
            raise CheckpointError(f"{folder}: {error}") from error
        raise CheckpointError(
            f"{folder}: the description does not fit the weights or this version ({type(error).__name__}: {error})"
        ) from error


def _restore(description, stored):
    entries = {name: description["instruments"][name] for name in description["order"]}
    taken = set()
    encoders = {name: _encoder(entry, stored, f"encoders.{name}.", taken) for name, entry in entries.items()}
    labels = LabelScaler(**description["labels"]) if description["labels"] else None
    head = None
    if labels is not None:
        head = _filled(lambda: torch.nn.Linear(description["embed_dim"], len(labels.names)), stored, "head.", taken)
    maximum = description["objective"]["max_scale"]
    objective = _filled(lambda: InfoNCE(max_scale=maximum), stored, "objective.", taken)
    if left := sorted(set(stored) - taken):
        raise CheckpointError(f"the weights hold {len(left)} tensors that belong to no part, such as {left[0]!r}")
    return Parts(
        description["embed_dim"],
        encoders,
        {name: _choice(entry) for name, entry in entries.items()},
        {name: InstrumentRecord(**entry["record"]) for name, entry in entries.items()},
        head,
        objective,
        labels,
        History.from_dict(description["history"]),
    )


def _choice(entry):
    return entry["encoder"], {k: v for k, v in entry["config"].items() if k not in ("n_pixels", "embed_dim")}


def _encoder(entry, stored, prefix, taken):
    factory = load_plugin("encoders", entry["encoder"])
    encoder = _filled(lambda: factory(**entry["config"]), stored, prefix, taken)
    if not isinstance(encoder, Encoder) or encoder.config() != entry["config"]:
        raise CheckpointError(f"the encoder {entry['encoder']!r} does not build what its configuration says")
    check_encoder(encoder, entry["encoder"])
    return encoder.eval()


def _filled(build, stored, prefix, taken):
    """A module with stored tensors; it is built without memory, so that a stated size costs nothing by itself."""
    with torch.device("meta"):
        module = build()
    own = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
    for key, value in module.state_dict().items():
        _check_tensor(prefix + key, own.get(key), value)
    module.load_state_dict(own, strict=True, assign=True)
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
