"""The model card of a published model, ``README.md``, with the YAML head that model hubs read."""

import json

__all__ = ["model_card"]

TAGS = ("astronomy", "stellar-spectroscopy", "safetensors")
KIND_TAGS = {"aligner": "contrastive-learning", "label regressor": "regression", "encoder": "self-supervised"}
TITLES = {
    "aligner": "One embedding space for spectra of {}",
    "label regressor": "Labels of stars from spectra of {}",
    "encoder": "An encoder of spectra of {}",
}
TRIAL = "**Not for science.** It was trained on simulated spectra, or as a trial."
FRAME = "The frame of the training's spectra is not kept with the weights: at rest, unless the author says otherwise."
LIMITS = """\
* It takes spectra on the grid of the file `grid-*.ecsv`, prepared with the same mask rules and normalisation. Spectra
  on another grid, in air wavelengths, or in another frame (at rest, barycentric) than those of the training give
  vectors that mean nothing.
* Stars unlike those of the training have vectors, too, and nothing here says that they are wrong.
* The metrics above are of the validation stars, which chose the epoch that was kept.
"""


def model_card(config):
    """The text of ``README.md`` for a ``config.json``; every number in it is from there.

    Parameters
    ----------
    config : dict

    Returns
    -------
    str
    """
    parts = [_head(config), _what(config), _spectra(config), _training(config), _with(config), _without(config)]
    return "\n".join([*parts, "## Limits\n", LIMITS])


def _head(config):
    about = config["about"]
    tags = [*TAGS, KIND_TAGS[config["kind"]]]
    lines = [
        f"license: {json.dumps(about['license'] or 'unknown')}",
        "library_name: specalign",
        "pipeline_tag: feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in tags),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _what(config):
    about, names = config["about"], ", ".join(config["instruments"])
    title = about["title"] or TITLES[config["kind"]].format(names)
    numbers = f"A specalign {config['kind']}; vectors of {config['embed_dim']} numbers. {config['output']}"
    licence = [] if about["license"] else ["The author states no licence."]
    science = {True: [], False: [TRIAL], None: ["Whether it is meant for science is not stated."]}[about["science"]]
    note = [about["note"]] if about["note"] else []
    return "\n\n".join([f"# {_plain(title)}", *science, *map(_plain, note), numbers, *licence, ""])


def _plain(text):
    """One line, without anything that a page would take for HTML."""
    return " ".join(str(text).split()).replace("<", "&lt;")


def _spectra(config):
    lines = [
        "## Spectra\n",
        "| instrument | options | grid | mask rules | encoder |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, entry in config["instruments"].items():
        grid = entry["grid"]
        ends = f"{grid['n_pixels']} pixels, {grid['first']:.6g} to {grid['last']:.6g} {grid['unit']}"
        options = ", ".join(f"{key} = {value}" for key, value in entry["options"].items()) or "none"
        cells = (name, options, ends, f"version {entry['mask_rules']['version']}", entry["encoder"]["plugin"])
        lines.append(f"| {' | '.join(_plain(cell).replace('|', '/') for cell in cells)} |")
    lines += ["", f"Wavelengths are in vacuum; all of them are in `grid-*.ecsv`. {FRAME} Normalisation:", ""]
    lines += [f"* {name}: {_plain(entry['normalization']['words'])}" for name, entry in config["instruments"].items()]
    if config["labels"]:
        labels = zip(config["labels"]["names"], config["labels"]["units"], strict=True)
        system = f", of the system {_plain(found)}" if (found := config["labels"].get("system")) else ""
        names = ", ".join(f"{_plain(n)} [{_plain(unit) or 'no unit'}]" for n, unit in labels)
        lines += ["", f"Labels: {names}{system}."]
    return "\n".join([*lines, ""])


def _training(config):
    training, facts = config["training"], config["about"]["facts"]
    lines = ["## Training\n"]
    if training is None:
        lines.append("No history of a training is kept with this encoder.")
    else:
        lines.append(f"{training['epochs']} epochs, of which number {training['kept_epoch']} (from 0) was kept.\n")
        lines += ["| count | |", "| --- | --- |", *_rows(training["counts"]), ""]
        lines += ["| of the kept epoch | |", "| --- | --- |", *_rows(training["metrics"]), ""]
    if facts:
        lines += ["| stated by the author | |", "| --- | --- |", *_rows(facts), ""]
    software = ", ".join(f"{name} {version}" for name, version in config["software"].items())
    return "\n".join([*lines, f"Written with {software}.", ""])


def _rows(values):
    return [f"| {_plain(key)} | {_number(value)} |" for key, value in values.items()]


def _number(value):
    text = "not known" if value is None else f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
    return _plain(text.strip('"')).replace("|", "/")


def _with(config):
    first = next(iter(config["instruments"]))
    call = {
        "aligner": "table = model.embed(prepared)   # spectra of one of the instruments",
        "label regressor": "table = model.predict(prepared)",
        "encoder": f'aligner = sa.Aligner({{"{first}": model, "another": "mlp"}}, embed_dim={config["embed_dim"]})',
    }[config["kind"]]
    return f"""\
## With specalign

```python
import specalign as sa
from specalign.alignment import load_weights

model = load_weights("this folder")
{call}
```
"""


def _without(config):
    name, entry = next(iter(config["instruments"].items()))
    steps = "\n".join(
        f"{i}. {step}" for i, step in enumerate([*entry["encoder"]["input"], *entry["encoder"]["recipe"]], 1)
    )
    if not entry["encoder"]["recipe"]:
        steps += "\n\nThe plugin of this encoder states no recipe: its own documentation says what the tensors do."
    return f"""\
## Without specalign

`config.json` is JSON, weights are safetensors, grids are ECSV (text with units):

```python
import json
from safetensors.numpy import load_file

config = json.load(open("config.json"))
entry = config["instruments"]["{name}"]
tensors = load_file(entry["encoder"]["file"])     # such as tensors["{next(iter(entry["encoder"]["tensors"]))}"]
options = entry["encoder"]["options"]
```

What to do with a spectrum of {name} (`config.json` has the same sentences for each instrument under `encoder`):

{steps}

Names such as `a.weight` are tensors, and a name with brackets behind it, `a(x)`, is `a.weight @ x + a.bias`.
{config["output"]}
"""
