"""Labels of 2000 real LAMOST stars: StarNet and the default encoder against the mean and a perceptron on raw flux.

Supervised training with the published settings (batches of 64, a learning rate of 1e-3 that falls in steps, at most 20
epochs, an end where the validation loss has not fallen by 1e-3 in 5 epochs), stars split 5:1:2, and every figure from
the test part, which nothing was chosen on::

    python benchmarks/bench_starnet.py --shared ../shared
"""

import argparse
import json
import time
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable
from survey_data import SPEED_OF_LIGHT, UNITS

import specalign as sa
from specalign.alignment import LabelRegressor
from specalign.analysis.baselines import FluxLabelModel
from specalign.data.splits import StarSplit

NAMES = ("teff", "logg", "fe_h")
PUBLISHED = {"max_epochs": 20, "patience": 5, "step_size": 5, "loss": "squared", "averaging": 0.0}


def read_lamost(shared, longest=np.inf):
    """Spectra of all labelled stars, with the pixels beyond ``longest`` Angstrom bad, and the pipeline's labels."""
    with np.load(shared / "data" / "spectra" / "lamost_lrs_labelled.npz") as file:
        data = {key: file[key] for key in file}
    object_id = np.array([f"lamost-{number}" for number in data["obsid"]])
    prepared = sa.get_instrument("lamost").prepare_arrays(
        data["flux"],
        data["ivar"],
        np.broadcast_to(data["wavelength"] > longest, data["flux"].shape),
        spectral_axis=data["wavelength"] * u.AA,
        object_id=object_id,
        frame="barycentric",
        radial_velocity=data["redshift"] * SPEED_OF_LIGHT * u.km / u.s,
    )
    labels = QTable({"object_id": object_id}, meta={"label_system": "lamost-lasp"})
    for name, column in zip(NAMES, ("teff", "logg", "feh"), strict=True):
        labels[name] = data[column].astype(float) * UNITS[name]
    return prepared, labels


def predict_mean(prepared, labels, parts):
    """The mean of the training stars for everyone."""
    known = labels[parts.of(labels["object_id"]) == "train"]
    table = QTable({"object_id": prepared.object_id}, meta=dict(labels.meta))
    for name in NAMES:
        table[name] = np.full(len(prepared), np.nanmean(known[name].value)) * UNITS[name]
    return table


def flux_model(prepared, labels, parts, seed):
    """Predictions of the perceptron on raw flux for all rows; it sees training and validation stars."""
    known = labels[parts.of(labels["object_id"]) != "test"]
    return FluxLabelModel(seed=seed).fit(prepared, known).predict(prepared)


def regressor(encoder, prepared, labels, parts, seed, **options):
    """Predictions of a `LabelRegressor` for all rows."""
    model = LabelRegressor(encoder).fit(
        prepared, labels, split=parts, seed=seed, progress=False, **PUBLISHED, **options
    )
    print(f"    {model.history}", flush=True)
    return model.predict(prepared)


METHODS = {
    "mean of the training stars": lambda p, labels, parts, seed: predict_mean(p, labels, parts),
    "raw-flux perceptron": flux_model,
    "StarNet": lambda *arguments: regressor("starnet", *arguments),
    "StarNet, noise 1": lambda *arguments: regressor("starnet", *arguments, noise=1.0),
    "mlp": lambda *arguments: regressor("mlp", *arguments),
    "mlp, noise 1": lambda *arguments: regressor("mlp", *arguments, noise=1.0),
}


def figures(predicted, labels):
    """RMSE, bias and R2 of each label, of all test stars and in bins, and the mean square of residual over error."""
    out = {"all": plain(sa.metrics.labels(predicted, labels))}
    for by in ("teff", "fe_h"):
        out[by] = plain(sa.metrics.labels_in_bins(predicted, labels, by=by))
    if "teff_err" in predicted.colnames:
        true = labels[[list(labels["object_id"]).index(name) for name in predicted["object_id"]]]
        ratio = {n: (predicted[n].value - true[n].value) / predicted[f"{n}_err"].value for n in NAMES}
        out["chi2"] = {name: float(np.nanmean(value**2)) for name, value in ratio.items()}
    return out


def plain(table):
    """Rows as dicts of text and numbers."""
    keys = [key for key in ("bin", "label", "n", "rmse", "bias", "r2") if key in table.colnames]
    return [{key: _plain(row[key]) for key in keys} for row in table]


def _plain(value):
    value = getattr(value, "item", lambda: value)()
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main():
    """Run every method on every split, print as it goes, and store everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--shared", type=Path, default=root.parent / "shared")
    parser.add_argument("--store", type=Path, default=root / "benchmarks" / "results" / "starnet-lamost.json")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    options = parser.parse_args()
    prepared, labels = read_lamost(options.shared)
    print(prepared, flush=True)
    results = {}
    for seed in options.seeds:
        parts = StarSplit.draw(prepared.object_id, ratio=(5, 1, 2), seed=seed)
        test = parts.rows(prepared.object_id, "test")
        print(parts, flush=True)
        for method, run in METHODS.items():
            start = time.perf_counter()
            found = figures(run(prepared, labels, parts, seed)[test], labels)
            found["seconds"] = time.perf_counter() - start
            results.setdefault(method, {})[seed] = found
            text = ", ".join(f"{r['label']} {r['rmse']:.3g} ({r['bias']:+.2g}, {r['r2']:.3f})" for r in found["all"])
            print(f"  {method}: {text}; {found['seconds']:.0f} s", flush=True)
    lines = (f"{json.dumps(method)}: {json.dumps(found)}" for method, found in results.items())
    options.store.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
