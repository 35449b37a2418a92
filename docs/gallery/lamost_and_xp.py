"""
LAMOST and Gaia XP
==================

LAMOST sees lines and the shape of the continuum, Gaia XP hardly more than the shape. What does an aligner learn from
two spectra of a star that have so little in common, and what are its answers worth?
"""

# %%
# Which spectra
# -------------
#
# The first output of this page says which spectra it was made with.
#
# * **Real** ones, where a folder with 2,000 labelled LAMOST DR10 spectra of A, F and G stars is at hand; the
#   environment variable ``SPECALIGN_SHARED`` names it. Public XP spectra of these stars are not in it: theirs are
#   emulated. A small network, which was trained on real XP spectra, turns the LAMOST pipeline's labels into an XP
#   spectrum, and real sources lend the errors of their coefficients.
# * **Mock** ones otherwise, written as files of both surveys and read like real ones.

import os
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.constants import c
from astropy.table import QTable

import specalign as sa
from specalign.mock import write_survey

# sphinx_gallery_thumbnail_number = 1

data = Path(os.environ.get("SPECALIGN_SHARED", "shared")) / "data"
real = (data / "spectra" / "lamost_lrs_labelled.npz").is_file()
made_with = "mock spectra"
if real:
    made_with = "real LAMOST spectra and emulated Gaia XP spectra"
print(f"This page was made with {made_with.upper()}.")

# %%
# The real spectra are arrays, so ``prepare_arrays`` takes them, with the facts that a file's reader would have
# known: vacuum wavelengths, barycentric, and the pipeline's redshift.


def real_lamost(stars, rows):
    return sa.get_instrument("lamost").prepare_arrays(
        stars["flux"][rows],
        stars["ivar"][rows],
        spectral_axis=stars["wavelength"] * u.AA,
        object_id=stars["obsid"][rows].astype(str),
        frame="barycentric",
        radial_velocity=stars["redshift"][rows] * c,
    )


def emulated_xp(values, network, noise, object_id, seed=0):
    """XP spectra of labels (N, 3), with the correlated noise of real sources."""
    low, high = network["x_min"], network["x_max"]
    layer = (values - low) / (high - low) - 0.5
    for k in range(2):
        layer = layer @ network[f"w_array_{k}"].T + network[f"b_array_{k}"]
        layer = np.where(layer > 0, layer, 0.01 * layer)
    flux = layer @ network["w_array_2"].T + network["b_array_2"]
    flux /= flux[:, [107]]  # at 550 nm
    rng = np.random.default_rng(seed)
    error = rng.choice(noise["coefficient_error"], size=len(flux))
    flux = flux + (error * rng.normal(size=error.shape)) @ noise["sampling"]
    return sa.get_instrument("gaia_xp").prepare_arrays(
        flux,
        1 / (error**2 @ noise["sampling"] ** 2),
        spectral_axis=network["wavelength"] * u.AA,
        object_id=object_id,
        covariance_factor=(error, noise["sampling"]),
    )


def real_stars(most=1000):
    """LAMOST and emulated XP spectra, and the labels, of stars that the emulator can make."""
    archives = (
        "spectra/lamost_lrs_labelled",
        "emulators/gaia_xp_payne",
        "emulators/gaia_xp_noise",
    )
    stars, network, noise = (
        dict(np.load(data / f"{name}.npz")) for name in archives
    )
    columns = [stars[name].astype(float) for name in ("teff", "logg", "feh")]
    values = np.column_stack(columns)
    inside = (values >= network["x_min"]) & (values <= network["x_max"])
    rows = np.flatnonzero(inside.all(axis=1))[:most]
    lamost = real_lamost(stars, rows)
    labels = QTable(
        {"object_id": lamost.object_id, "teff": values[rows, 0] * u.K}
    )
    labels["logg"] = values[rows, 1] * u.dex(u.cm / u.s**2)
    labels["fe_h"] = values[rows, 2] * u.dex
    labels.meta["label_system"] = "lamost-lasp"
    xp = emulated_xp(values[rows], network, noise, lamost.object_id)
    return {"lamost": lamost, "gaia_xp": xp}, labels


# %%
# The mock ones are files:


def mock_stars(n=600):
    """The same from the files of a mock survey."""
    prepared = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_survey(
            Path(folder) / "mock", n, instruments=("lamost", "gaia_xp"), seed=5
        )
        for name in ("lamost", "gaia_xp"):
            instrument = sa.get_instrument(name)
            stars = [
                star for path in paths[name] for star in instrument.read(path)
            ]
            prepared[name] = instrument.prepare(stars)
        labels = sa.read_labels(paths["labels"], system="specalign-mock")
    return prepared, labels["object_id", "teff", "logg", "fe_h"]


# %%
# From here on, both are the same to the package:

prepared, labels = real_stars() if real else mock_stars()
print(f"made with {made_with}; labels: {labels.meta['label_system']}")
print(*prepared.values(), sep="\n")

# %%
# LAMOST keeps its lines and the shape of its continuum:

from specalign.plots import plot_selected

plot_selected(prepared["lamost"], labels=labels, n=5)

# %%
# XP has hardly a line, and its shape is its information. It is divided by the flux at 550 nm:

plot_selected(prepared["gaia_xp"], labels=labels, n=5)

# %%
# Align
# -----

from specalign.data.splits import split
from specalign.plots import plot_history

parts = {
    name: split(rows.object_id, validation=0.0, test=0.25, seed=0)
    for name, rows in prepared.items()
}
train = {name: rows[parts[name] == "train"] for name, rows in prepared.items()}
test = {name: rows[parts[name] == "test"] for name, rows in prepared.items()}
aligner = sa.Aligner(["lamost", "gaia_xp"])
history = aligner.fit(
    train, max_epochs=20, seed=0, accelerator="cpu", progress=False
)
plot_history(history)

# %%
# Find a star in the other survey, both ways
# ------------------------------------------

from specalign.analysis.baselines import (
    FluxLabelModel,
    chance,
    matched_flux_retrieval,
)
from specalign.plots import plot_retrieval

ks = (1, 2, 5, 10, 20, 50)
lamost, xp = aligner.embed(test["lamost"]), aligner.embed(test["gaia_xp"])
results = {
    "LAMOST to XP": sa.metrics.retrieval(lamost, xp, ks=ks),
    "XP to LAMOST": sa.metrics.retrieval(xp, lamost, ks=ks),
    "raw-flux cosine": matched_flux_retrieval(
        test["lamost"], test["gaia_xp"], ks=ks
    ),
    "chance": chance(lamost, xp, ks=ks),
}
plot_retrieval(results)

# %%
# Labels across the surveys
# -------------------------
#
# Zero-shot: learned from the XP embeddings of the training stars, predicted for LAMOST spectra of the test stars.
# Beside it, what LAMOST's own embeddings give, and a perceptron on LAMOST's raw flux, which a shared space must
# beat.

from_xp = sa.LabelModel("knn").fit(aligner.embed(train["gaia_xp"]), labels)
own = sa.LabelModel("linear").fit(aligner.embed(train["lamost"]), labels)
raw = FluxLabelModel(seed=0).fit(train["lamost"], labels)
predicted = {
    "zero-shot, from XP": from_xp.predict(lamost),
    "LAMOST's embeddings": own.predict(lamost),
    "raw flux": raw.predict(test["lamost"]),
}
for method, table in predicted.items():
    for row in sa.metrics.labels(table, labels):
        error = f"{row['rmse']:7.3f} {row['unit']:4}"
        print(f"{method:20} {row['label']:5} rmse {error} R2 {row['r2']:5.2f}")

# %%
# The perceptron had labels of LAMOST spectra, which the zero-shot ones do without. Where it is ahead of LAMOST's own
# embeddings, too, an alignment does not help for that label.
#
# Predicted against true, for the zero-shot labels:

from specalign.plots import plot_label_bins, plot_labels

plot_labels(predicted["zero-shot, from XP"], labels)

# %%
# One figure for all stars hides where there are few to learn from. In bins of the true metallicity:

plot_label_bins(
    sa.metrics.labels_in_bins(
        predicted["zero-shot, from XP"], labels, by="fe_h"
    )
)

# %%
# The space
# ---------

from specalign.plots import plot_embedding, project

both = sa.EmbeddingTable.concatenate([lamost, xp])
plot_embedding(
    both,
    project(both, "pca"),
    labels=labels,
    colour=["instrument", "teff", "logg", "fe_h"],
)

# %%
# What it is worth
# ----------------

print(f"Everything above was made with {made_with}.")

# %%
# * An XP spectrum that is emulated from labels carries those labels and nothing else. So the aligner can learn at
#   most these labels, and the figures of retrieval say how well LAMOST's spectra tell them. Real pairs share more,
#   and differ in more.
# * With mock spectra, both follow from one line model, and the label errors are those of a machine that works, not
#   of a survey.
# * :doc:`/results` has the same with all stars, several splits and both label sets, where the raw-flux perceptron
#   is ahead in some labels: it stands there so that nobody takes the aligner's figures for more than they are.
# * With your own files: ``lamost.read(path)`` and ``gaia_xp.read(path)`` (continuous or sampled XP from the
#   archive), joined with ``sa.match(..., by="sky")`` and proper motions. Then the rest of this page stays as it is.
