"""What ``specalign.predict`` flags, and how far its errors hold: held-out stars of a mock survey and foreign spectra.

The settings are the quickstart's: 1,500 stars, 20 epochs, a fifth of the stars held out.  The first instrument is
labelled, from labelled embeddings of both::

    python benchmarks/bench_predict.py --instruments nirspec apogee --seeds 0 1 2 --folder work/

What is in ``work/seed-0`` already (a folder that ``specalign quickstart --seed 0`` left, too) is used again.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

import specalign as sa
from specalign.data.splits import split
from specalign.exceptions import VelocityWarning
from specalign.mock import write_survey
from specalign.prediction import LabelTransfer
from specalign.tests.prediction.foreign import samples

ERRORS = (1, 2)  # sigma


def survey(folder, options, seed):
    """Prepared spectra by instrument, and labels."""
    if not (folder / "prepared").exists():
        paths = write_survey(folder / "mock", options.stars, options.instruments, seed=seed)
        for name in options.instruments:
            instrument = sa.get_instrument(name)
            rows = instrument.prepare([spectrum for path in paths[name] for spectrum in instrument.read(path)])
            (folder / "prepared").mkdir(exist_ok=True)
            rows.write(folder / "prepared" / f"{name}.fits")
    prepared = {name: sa.PreparedSpectra.read(folder / "prepared" / f"{name}.fits") for name in options.instruments}
    return prepared, sa.read_labels(folder / "mock" / "labels.ecsv", system="specalign-mock")


def part(prepared, which, seed):
    """Rows of the stars of one part, as the quickstart splits them."""
    parts = {n: split(rows.object_id, validation=0.0, test=0.2, seed=seed) for n, rows in prepared.items()}
    return {n: rows[parts[n] == which] for n, rows in prepared.items()}


def aligner_of(folder, train, options, seed):
    """The aligner that is there, or a new one."""
    if not (folder / "aligner").exists():
        aligner = sa.Aligner(sorted(train))
        aligner.fit(train, max_epochs=options.max_epochs, seed=seed, progress=False)
        aligner.save(folder / "aligner")
    return sa.Aligner.load(folder / "aligner")


def flagged(model, spectra):
    """Share of the rows of each sample that are not in the domain, and by which figure."""
    for name, rows in spectra.items():
        table = model.predict(rows)
        words = ("similarity", "residual", "isolation", "likeness", "snr", "outside")
        by = [float(np.mean([word in text for text in table["domain_reasons"]])) for word in words]
        shares = " ".join(f"{word} {100 * share:3.0f}" for word, share in zip(words, by, strict=True))
        print(f"  {name:34s} {100 * (1 - table['in_domain'].mean()):5.1f} %   by {shares}", flush=True)


def errors(model, test, labels):
    """R2, root mean square error and the share within 1 and 2 errors, a label."""
    predicted = model.predict(test)
    place = {star: i for i, star in enumerate(labels["object_id"])}
    true = labels[[place[star] for star in predicted["object_id"]]]
    for row in sa.metrics.labels(predicted, labels):
        name = row["label"]
        pull = np.abs(predicted[name].value - true[name].value) / predicted[f"{name}_err"].value
        held = " ".join(f"{np.mean(pull < sigma):.2f}" for sigma in ERRORS)
        print(f"  {name:6s} R2 {row['r2']:6.3f} rmse {row['rmse']:7.3f} within {held}", flush=True)


def measure(options, seed):
    """Everything for one survey."""
    folder, target = options.folder / f"seed-{seed}", options.instruments[0]
    prepared, labels = survey(folder, options, seed)
    train, test = (part(prepared, which, seed) for which in ("train", "test"))
    aligner = aligner_of(folder, train, options, seed)
    reference = sa.EmbeddingTable.concatenate([aligner.embed(rows) for rows in train.values()])
    for method in options.methods:
        model = LabelTransfer.build(
            aligner, reference, labels, [train[target]], method=method, false_alarm=options.false_alarm, science=False
        )
        if method == options.methods[0]:
            facts = model.domains[target].facts
            print(f"seed {seed}: {target}, {len(train[target])} for training, {len(test[target])} held out")
            print(f"flagged in training: {100 * facts['flagged_in_training']:.1f} %; flagged:")
            flagged(model, {"held-out stars": test[target]} | samples(test[target], seed))
        print(f"{method}:")
        errors(model, test[target], labels)


def main():
    """Print, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instruments", nargs="+", default=["nirspec", "apogee"])
    parser.add_argument("--folder", type=Path, required=True, help="where surveys and aligners are kept")
    parser.add_argument("--stars", type=int, default=1500)
    parser.add_argument("--max-epochs", type=int, default=20)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["knn", "linear", "mlp"])
    parser.add_argument("--false-alarm", type=float, default=0.02)
    warnings.simplefilter("ignore", VelocityWarning)
    options = parser.parse_args()
    for seed in options.seeds:
        measure(options, seed)


if __name__ == "__main__":
    main()
