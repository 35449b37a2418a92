"""
Labels from spectra: StarNet, step by step
==========================================

A convolutional network that takes a JWST/NIRSpec spectrum and gives Teff, log g and [Fe/H], as StarNet does for
APOGEE (`Fabbro et al. 2018 <https://doi.org/10.1093/mnras/stx3298>`_): scale the labels, split the stars 5:1:2,
look at the network, train it with a stopping rule, and say where it fails. No alignment is needed for this; it is
also what an alignment has to beat.

**Made with mock spectra**: two hundred stars, so that the page runs in seconds. They show the steps and teach the
network little; the last section has figures from real spectra.
"""

# %%
# Spectra and labels
# ------------------
#
# With your own files, ``instrument.read`` and `specalign.read_labels` stand here (see :doc:`../getting_started`).
# The mock gives noiseless spectra; the noise is drawn with a signal to noise from 30 to 300.

import numpy as np

import specalign as sa
from specalign.mock import draw_labels, spectrum

# sphinx_gallery_thumbnail_number = 2

catalogue = draw_labels(200, seed=42)
axis, clean = spectrum("nirspec", catalogue)
rng = np.random.default_rng(42)
sigma = clean / rng.uniform(30, 300, (len(clean), 1))
flux = clean + sigma * rng.normal(size=clean.shape)
nirspec = sa.get_instrument("nirspec")
spectra = nirspec.prepare_arrays(
    flux, ivar=sigma**-2, spectral_axis=axis, object_id=catalogue["object_id"]
)
labels = catalogue["object_id", "teff", "logg", "fe_h"]
print(spectra)

# %%
# A split that is kept
# --------------------
#
# A star's part follows from its name and the seed alone: not from the order of the rows, and not from the other
# stars. Several visits of a star are always in one part. Save the assignment beside the results, and load it with
# the stars at hand: stars that it does not have are an error that names them.

import tempfile
from pathlib import Path

from specalign.data.splits import StarSplit

folder = tempfile.TemporaryDirectory()
parts = StarSplit.draw(spectra.object_id, ratio=(5, 1, 2), seed=42)
parts.save(Path(folder.name) / "split.ecsv")
again = StarSplit.load(Path(folder.name) / "split.ecsv", spectra.object_id)
print(parts.counts, "the same when loaded:", again.digest == parts.digest)

# %%
# Scaled labels
# -------------
#
# Kelvin and dex do not belong into one loss. ``standard`` scaling gives every label the mean 0 and the standard
# deviation 1, ``minmax`` brings it between 0 and 1; both leave out what is unknown. They are fitted on training
# stars: a scaling that has seen the test stars has told the network about them. The regressor below does this by
# itself.

from specalign.data.scaling import LabelScaling

training = labels[parts.rows(labels["object_id"], "train")]
scaling = LabelScaling.fit(training, "standard")
scaled = scaling.forward(training)
print(
    "mean",
    scaled.mean(axis=0).round(6) + 0,
    "standard deviation",
    scaled.std(axis=0).round(6),
)
print("back to", scaling.inverse(scaled)["teff"].unit)

# %%
# The network
# -----------
#
# Four filters of eight pixels, then sixteen, a maximum over four pixels, and dense layers of 256 and 128. On a grid
# of 8192 pixels, with convolutions that do not pad, that is

from specalign.encoders import summary

print(summary(sa.get_encoder("starnet", n_pixels=8192, embed_dim=3)))

# %%
# Nearly all of it is one dense layer: its size follows from the pixels, the pooling and the last filters. Turn
# them, and see:

for options in (
    {},
    {"pool_length": 16},
    {"filters": [4, 4]},
    {"filters": [4, 16, 16], "hidden": [64]},
):
    network = sa.get_encoder("starnet", n_pixels=8192, embed_dim=3, **options)
    print(f"{summary(network).parameters:9,}  {options or 'the defaults'}")

# %%
# Training
# --------
#
# Batches of 64 stars, a learning rate of 1e-3 that is halved every five epochs, at most 20 epochs, and an end where
# the validation loss has not fallen by 1e-3 in five epochs: those are StarNet's settings, and the defaults where there
# are some thousands of stars. Fewer stars train for more epochs, in smaller batches. The weights of the lowest
# validation loss are kept. Eight epochs are enough for this page.
#
# Two defaults are not StarNet's: large errors count in proportion and not by their squares, because labels of surveys
# are wrong now and then, and the weights are averaged over the last steps. ``loss="squared", averaging=0`` is what the
# paper did.

from specalign.alignment import LabelRegressor
from specalign.plots import plot_label_bins, plot_labels, plot_training

model = LabelRegressor("starnet", scaling="standard")
model = model.fit(
    spectra,
    labels,
    split=parts,
    max_epochs=8,
    accelerator="cpu",
    progress=False,
)
plot_training(model.history)

# %%
# The figure has both losses, the epoch whose weights were kept, the end with its reason, and the steps of the
# learning rate. A training loss that falls while the validation loss does not is a network that learns its stars by
# heart: more stars, ``noise=1.0`` (each row gets up to its own stated noise on top, anew in every epoch), or fewer
# parameters are what helps.
#
# Masked pixels and those without inverse variance are hidden from the network; an unknown label of a star is left
# out of the loss, and its other labels are not. Two fits with one seed give the same weights, bit for bit, on one
# CPU.
#
# Predicted against true
# ----------------------
#
# Only the test part counts; nothing has looked at it so far.

test = spectra[parts.rows(spectra.object_id, "test")]
predicted = model.predict(test)
plot_labels(predicted, labels)

# %%
figures = sa.metrics.labels(predicted, labels)
for name, digits in (("rmse", ".3g"), ("bias", ".3g"), ("r2", ".2f")):
    figures[name].info.format = digits
figures["label", "unit", "n", "rmse", "bias", "r2"]

# %%
# The errors are fitted to the residuals of the validation stars: a floor and a part that falls with the signal to
# noise. They hold for stars like those, and are a little too small, because those stars also decided when to stop.
#
# Where it fails
# --------------
#
# One RMSE for all stars hides the corners, where there are few stars to learn from. In bins of a true label, empty
# ones included:

plot_label_bins(sa.metrics.labels_in_bins(predicted, labels, by="fe_h"))

# %%
plot_label_bins(sa.metrics.labels_in_bins(predicted, labels, by="teff"))

# %%
# A bias of opposite signs in the first and the last bin is what every regression does at the ends of its training
# labels: it draws in towards the mean. R2 inside a bin is relative to the scatter in the bin, so it is lower than
# that of all stars, and can be negative for a model that is still useful.
#
# Keep it
# -------

model.save(Path(folder.name) / "starnet")
kept = LabelRegressor.load(Path(folder.name) / "starnet")
print(
    "the same predictions:",
    bool((kept.predict(test)["teff"] == predicted["teff"]).all()),
)
folder.cleanup()

# %%
# The folder holds the weights (safetensors), a description (JSON), the split (ECSV) and digests of all three.
# Spectra of another grid, mask rule or option are refused.
#
# What it is worth
# ----------------
#
# Two thousand real LAMOST low-resolution spectra of A, F and G stars with the pipeline's labels, split 5:1:2 three
# times (seeds 42 to 44; about 1235 training and 515 test stars each), with StarNet's settings and nothing chosen on
# the test stars (``benchmarks/bench_starnet.py``). RMSE and R2 are means over the three splits:
#
# ============================  ===============  ===============  ===============
# method                        Teff [K]         log g [dex]      [Fe/H] [dex]
# ============================  ===============  ===============  ===============
# mean of the training stars    1470 / 0.00      0.490 / 0.00     0.499 / 0.00
# perceptron on raw flux        543 / 0.863      0.258 / 0.721    0.232 / 0.783
# ``starnet``                   416 / 0.919      0.236 / 0.766    0.197 / 0.843
# ``starnet``, ``noise=1.0``    413 / 0.921      0.231 / 0.775    0.197 / 0.844
# ``mlp``                       447 / 0.906      0.219 / 0.799    0.211 / 0.819
# ``mlp``, ``noise=1.0``        435 / 0.911      0.215 / 0.806    0.205 / 0.829
# ============================  ===============  ===============  ===============
#
# * Both encoders beat the perceptron on raw flux. Between the two, StarNet is ahead in Teff and [Fe/H] and ``mlp``
#   in log g, on average; the Teff error of one method changes by up to 96 K between splits, and in one of the three
#   ``mlp`` was ahead in everything, so this is no ranking.
# * The stars reach into type A, where one step of 1440 K is the scatter of all stars: such a Teff error is not the
#   40 to 50 K that networks reach for cool giants with tens of thousands of training stars.
# * The metal-poor end is where it fails. For the 50 test stars below [Fe/H] = -1 of the first split, StarNet's
#   [Fe/H] has an RMSE of 0.40 dex and a bias of +0.24, its Teff 597 K and +254 K; for those above -0.5, 0.15 dex
#   and -0.03, 339 K and -23 K.
# * The mean squared residual over squared error of the test stars was 0.6 to 1.5 for StarNet and 0.9 to 2.0 for
#   ``mlp`` (1 is right): with some 250 validation stars, and a few wild residuals, the errors are good to a few
#   tenths, not better.
# * Adding noise in training hardly mattered here. Whether that holds for fainter stars was not tried.
