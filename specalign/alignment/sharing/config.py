"""What ``config.json`` of a published model says: options, shapes, grids, rules and scalers, in words and numbers."""

from specalign.alignment.history import History
from specalign.alignment.objectives import get_objective
from specalign.alignment.origin import software_versions
from specalign.plugins import load_plugin

__all__ = ["INPUT", "build_config"]

INPUT = (
    "flux: normalised flux on the grid; ivar: its inverse variance, 0 = no information; mask: True = bad.",
    "A pixel is bad where mask is True or ivar is 0. Bad pixels have flux 0 and ivar 0 before anything else.",
    "snr = square root of the mean of flux^2 ivar over the pixels that are not bad, and at least 0.001.",
)
OUTPUT = {
    "label regressor": "Labels in scaled units are head.weight @ vector + head.bias where there is a file "
    "head.safetensors, else the encoder's vector itself; see labels for the units.",
    "encoder": "The encoder's vector is not normalised. Where only pre-training made it, its head is not trained.",
}


def build_config(kind, description, grids, files, about):
    """JSON-like content of ``config.json``.

    Parameters
    ----------
    kind : str
        ``"aligner"``, ``"label regressor"`` or ``"encoder"``.
    description : dict
        What specalign itself saves of the model.
    grids : dict of str to Grid
    files : dict of str to dict
        File name to digest, size, and what tensors it has.
    about : dict
        What the author says: title, licence, note, science, facts.
    """
    return {
        "kind": kind,
        "about": about,
        "software": software_versions(),
        "embed_dim": _embed_dim(description),
        "output": OUTPUT[kind] if kind in OUTPUT else _recipe(description),
        "objective": description.get("objective"),
        "instruments": {name: _instrument(name, grid, description, files) for name, grid in grids.items()},
        "labels": _labels(description),
        "training": _training(description["history"]),
        "files": files,
        "checkpoint": description,
    }


def _recipe(description):
    """What an aligner's objective makes of the encoders' vectors."""
    objective = get_objective(description["objective"]["name"], **description["objective"]["config"])
    history = History.from_dict(description["history"])
    vague = [name for name in description["order"] if objective.latent and history.adapted_by_labels(name)]
    without = f" Not so for {', '.join(vague)}, adapted by labels, which say nothing of them." if vague else ""
    return objective.recipe(description["embed_dim"]) + without


def _embed_dim(description):
    return description["embed_dim"] if "embed_dim" in description else description["config"]["embed_dim"]


def _instrument(name, grid, description, files):
    entry = description["instruments"][name] if "instruments" in description else description
    file = f"encoder-{name}.safetensors"
    encoder = {
        "plugin": entry["encoder"],
        "options": entry["config"],
        "file": file,
        "tensors": {key: tensor["shape"] for key, tensor in files[file]["tensors"].items()},
        "input": list(INPUT),
        "recipe": list(load_plugin("encoders", entry["encoder"]).recipe),
    }
    return grid.facts(f"grid-{name}.ecsv") | {"encoder": encoder}


def _labels(description):
    if "scheme" in description:
        scheme, scaling = description["scheme"], description["scaling"]
        return {
            "names": scheme["names"],
            "units": scheme["units"],
            "system": scheme["system"],
            "centre": scaling["centre"],
            "scale": scaling["scale"],
            "errors": description["errors"],
            "words": "label = centre + scale * scaled label; its error is the square root of floor^2 + (slope / snr)^2",
        }
    if not description.get("labels"):
        return None
    words = (
        "scaled label = (label - mean) / std; the training compared head.weight @ vector + head.bias with it, where "
        "vector is divided by its norm"
    )
    return description["labels"] | {"words": words}


def _training(history):
    """Counts, and the numbers of the epoch whose weights were kept."""
    if history is None:
        return None
    epochs, best = history["epochs"], history["best_epoch"]
    kept = epochs["epoch"].index(best) if best in epochs["epoch"] else None
    return {
        "counts": history["counts"],
        "epochs": len(epochs["epoch"]),
        "kept_epoch": best,
        "metrics": {} if kept is None else {name: column[kept] for name, column in epochs.items() if name != "epoch"},
        "seconds": sum(value or 0.0 for value in epochs["seconds"]),
    }
