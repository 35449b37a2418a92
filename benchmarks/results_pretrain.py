"""The section of ``docs/results.rst`` on pre-trained encoders, from the stored rows of ``bench_pretrain.py``."""

import json

from results_tables import UNITS, list_table, spread

TITLE = "Pre-trained encoders"
ENCODERS = {"specformer": "LAMOST", "autoencoder": "Gaia XP"}
SPACES = {
    "space-plain": "the default encoders",
    "space-trainable": "pre-trained ones, trained on",
    "space-frozen": "pre-trained ones, frozen but for their heads",
    "space-untrained": "the same ones, never pre-trained",
}
ABOUT = """Encoders that were pre-trained on {n_train} spectra of the mock survey without labels (`specalign.pretrain`,
no option set), and the spaces that are made of them, by the contrast alone. ::

    python benchmarks/bench_pretrain.py --shared ../shared"""
LOSSES = """*Loss* is that of the {n_test} test stars' spectra, squared errors of standardised pixels by their inverse
variance; of ``specformer`` those of the pixels that were hidden from it. The principal axes see the same pixels. *Noise
alone* is the loss of a perfect reconstruction of the noise-free spectra; a smaller one tells that noise is reproduced,
too: Gaia XP's is correlated, and both the encoder and the axes see all pixels. CPU time is that of the whole
pre-training."""
SPACE = """LAMOST with Gaia XP. Labels are read off the embeddings by a small MLP. *Minutes* are those of the training
alone, on as many threads; where there was one, other programs had a share."""


def pretrain_section(store, n_stars):
    """The section, or nothing where no row is stored."""
    found = read(store, n_stars)
    encoders = {name: found[name] for name in ENCODERS if name in found}
    spaces = {name: found[name] for name in SPACES if name in found}
    if not encoders:
        return ""
    first = next(iter(encoders.values()))[0]
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n", ABOUT.format(**first), "", encoder_table(encoders), ""]
    parts += [LOSSES.format(**first), ""]
    return "\n".join(parts + ([SPACE, "", space_table(spaces), ""] if spaces else []))


def read(store, n_stars):
    """The stored results of every row, a list over seeds."""
    rows = {row: sorted(store.glob(f"pretrain-{row}-stars{n_stars}-seed*.json")) for row in (*ENCODERS, *SPACES)}
    return {row: [json.loads(path.read_text()) for path in paths] for row, paths in rows.items() if paths}


def encoder_table(encoders):
    """A row an encoder: its size, what it cost, and its loss beside the references'."""
    references = list(next(iter(encoders.values()))[0]["test loss"])
    rows = [("encoder", "spectra", "parameters", "epochs", "CPU minutes", *(f"loss, {name}" for name in references))]
    for name, results in encoders.items():
        million = f"{results[0]['parameters'] / 1e6:.1f} million"
        minutes = spread([r["cpu_seconds"] / 60 for r in results], 1)
        losses = (spread([r["test loss"][one] for r in results], 4) for one in references)
        rows.append((f"``{name}``", ENCODERS[name], million, str(results[0]["epochs"]), minutes, *losses))
    return list_table(rows)


def space_table(spaces):
    """A row a space: retrieval both ways, labels, and minutes."""
    first = next(iter(spaces.values()))[0]
    ways, columns = list(first["retrieval"]), [(k, x) for k, kinds in first["labels"].items() for x in kinds["mlp"]]
    head = [f"{UNITS[label][0]} of {name} ({UNITS[label][1]})" for name, label in columns]
    rows = [("space of", "minutes", "threads", *(f"``recall@1`` {way}" for way in ways), *head)]
    for space, results in spaces.items():
        recall = (spread([r["retrieval"][way]["recall@1"] for r in results], 3) for way in ways)
        cells = (spread([r["labels"][k]["mlp"][x]["rmse"] for r in results], UNITS[x][2]) for k, x in columns)
        threads = ", ".join(sorted({str(r["threads"]) for r in results}))
        rows.append((SPACES[space], spread([r["fit_seconds"] / 60 for r in results], 1), threads, *recall, *cells))
    return list_table(rows)
