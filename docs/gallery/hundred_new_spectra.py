"""
A hundred new spectra
=====================

You have many labelled APOGEE stars, NIRSpec spectra of a hundred of them, which carry no labels of their own, and
now a hundred new NIRSpec files arrive, of stars that APOGEE never saw. What are their labels, which of them can you
believe, what do they look like, and what became of the files that could not be labelled?

**Made with mock spectra**, written in the formats of the surveys. A hundred pairs is what a JWST programme may have,
and it is little: this page shows what that costs.
"""

# %%
# The files
# ---------
#
# The first hundred NIRSpec files are the new ones; the next hundred are of stars that APOGEE has, too.

import shutil
import tempfile
import textwrap
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table

import specalign as sa
from specalign.mock import write_survey

# sphinx_gallery_thumbnail_number = 2

folder = Path(tempfile.mkdtemp())
survey = write_survey(folder / "apogee", 500, instruments=["apogee"], seed=4)
jwst = write_survey(folder / "jwst", 200, instruments=["nirspec"], seed=4)
files = {"apogee": survey["apogee"][100:], "nirspec": jwst["nirspec"][100:]}

incoming = folder / "incoming"
incoming.mkdir()
new = [Path(shutil.copy(path, incoming)) for path in jwst["nirspec"][:100]]

# %%
# Real deliveries are not clean. So one of the new files is cut off, one holds no flux at all, one is of another
# instrument, and one has no lines, as a spectrum of the background would:

new[3].write_bytes(new[3].read_bytes()[:20_000])
shutil.copy(files["apogee"][0], incoming)
with fits.open(new[5], mode="update") as hdus:
    hdus["EXTRACT1D"].data["FLUX"] = np.nan
with fits.open(new[7], mode="update") as hdus:
    table = hdus["EXTRACT1D"].data
    noise = np.random.default_rng(0).normal(size=len(table))
    table["FLUX"] = np.nanmedian(table["FLUX"]) + table["FLUX_ERROR"] * noise

# %%
# Train on what is labelled
# -------------------------
#
# The labels belong to APOGEE's stars alone. Given to ``fit``, they help the encoders where there are few pairs: all
# four hundred APOGEE spectra take part, and not only those that have a partner.

prepared = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for name, paths in files.items():
        instrument = sa.get_instrument(name)
        prepared[name] = instrument.prepare(
            [spectrum for path in paths for spectrum in instrument.read(path)]
        )
print(*prepared.values(), *(warning.message for warning in said), sep="\n")

# %%
labels = sa.read_labels(survey["catalogue"], system="specalign-mock")
seen = np.isin(labels["object_id"], prepared["apogee"].object_id)
names = ["teff", "logg", "fe_h", "mg_fe"]
labels = labels[seen][["object_id", *names]]

aligner = sa.Aligner(["apogee", "nirspec"])
history = aligner.fit(
    prepared, labels, max_epochs=40, seed=0, accelerator="cpu", progress=False
)
print(history.counts)

# %%
# A model to keep
# ---------------
#
# `~specalign.prediction.LabelTransfer` holds all that a new file needs: the aligner, labelled embeddings of both
# instruments, and what the training spectra look like. With only a hundred of these, the thresholds of
# ``in_domain`` rest on few extreme spectra, so the share of false alarms is raised from 2 to 5 %.
# ``science=False``: it is made of mock spectra.

from specalign.prediction import LabelTransfer

reference = sa.EmbeddingTable.concatenate(
    [aligner.embed(rows) for rows in prepared.values()]
)
model = LabelTransfer.build(
    aligner, reference, labels, training=[prepared["nirspec"]], names=names, false_alarm=0.05,
    note="a hundred pairs of mock spectra", science=False,
)  # fmt: skip
model.save(folder / "model")
print(model)

# %%
# Label the new files
# -------------------
#
# One call, with the folder in which they arrived. Warnings are shown below the cell: the model is not for science,
# and the files state no velocity.

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    predicted = sa.predict(incoming, folder / "model")
for warning in said:
    print(f"{warning.category.__name__}: {warning.message}")
for name in names:
    for column in (name, f"{name}_err"):
        predicted[column].info.format = ".0f" if name == "teff" else ".2f"
shown = [f"{name}{end}" for name in names[:3] for end in ("", "_err")]
predicted["object_id", *shown, "in_domain"][:8]

# %%
# Nothing is lost: rejected rows
# ------------------------------
#
# Files in are rows out and rejected ones. What cannot be read or prepared has its reason:

rejected = predicted.meta["rejected"]
n_files = len(list(incoming.iterdir()))
print(
    n_files, "files in,", len(predicted), "labelled,", len(rejected), "rejected"
)
for row in rejected:
    name = Path(row["spectrum_id"]).name
    print(textwrap.fill(f"{name}: {row['reason']}", 76, subsequent_indent="  "))

# %%
# What to do with them: a file that was cut off is fetched again; one without flux goes back to the reduction with
# its reason; one of another instrument or disperser has its own model. Do not fill pixels to get a file through.
#
# Which rows are like the training
# --------------------------------
#
# A model labels anything. ``in_domain`` is False for what does not look like the training spectra, and
# ``domain_reasons`` says why. Here is every row that is flagged. The one without lines is 9000004000007; the others
# are the price, a few sound stars at the edge of what the training saw:

for name in ("domain_residual", "domain_likeness"):
    predicted[name].info.format = ".2f"
predicted[~predicted["in_domain"]][
    "object_id", "domain_reasons", "domain_residual", "domain_likeness"
]

# %%
# Which labels can be believed
# ----------------------------
#
# Before any truth is known, the model says what its labels are worth, from training stars that were held out in
# turn. A label with an R2 near 0 is little more than the mean of the labelled stars, however small its scatter
# looks:

quality = Table(rows=predicted.meta["label_quality"])
for name in ("rmse", "r2"):
    quality[name].info.format = ".2f"
quality

# %%
# These are mock stars, so the truth is known. With a hundred pairs, temperature and gravity are there, and
# metallicity only in part:

from specalign.plots import plot_labels

true = sa.read_labels(survey["labels"], system="specalign-mock")
believed = predicted[predicted["in_domain"]]
plot_labels(believed, true, names=["teff", "logg", "fe_h"])

# %%
# Are the stated errors as large as the residuals? 0.68 of the stars within one of them would be right, and 0.95
# within two. Compare R2 with the table above: that one was too good for [Mg/Fe], since the encoders had seen those
# stars, and their labels. Here, a prediction of [Mg/Fe] is worth little, and its error is nearly as large as the
# spread of the stars.

figures = sa.metrics.labels(believed, true)
row_of = {name: row for row, name in enumerate(true["object_id"])}
truth = true[[row_of[name] for name in believed["object_id"]]]
for name in names:
    residual = np.abs((believed[name] - truth[name]).value)
    pull = residual / believed[f"{name}_err"].value
    r2 = figures["r2"][figures["label"] == name][0]
    within = [f"{np.mean(pull < errors):.2f}" for errors in (1, 2)]
    print(f"{name:6} R2 {r2:5.2f}   within one and two errors:", *within)

# %%
# Look-alikes
# -----------
#
# The nearest APOGEE stars of a new spectrum are what its labels were made of. Look at them, and at their spectra.
# The star itself is not among them: APOGEE never saw it.

from specalign.plots import plot_neighbour_labels, plot_retrieved

nirspec = sa.get_instrument("nirspec", disperser="g140h", filter="f100lp")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the velocities again
    spectra = nirspec.prepare(
        [spectrum for path in new[8:12] for spectrum in nirspec.read(path)]
    )
queries, gallery = aligner.embed(spectra), aligner.embed(prepared["apogee"])
neighbours = gallery.search(queries, k=5)
plot_retrieved(
    neighbours, spectra, prepared["apogee"], detail=[16000, 16150] * u.AA
)

# %%
# Where the neighbours of four new stars lie in the Kiel diagram. Lines go from the true place of a star to its
# neighbours: the longer they are, the less the space knows of it.

plot_neighbour_labels(neighbours, true)

# %%
# Keep the table, with units, reasons and provenance:

predicted.write(folder / "labels.ecsv")
shutil.rmtree(folder)

# %%
# What would help
# ---------------
#
# * More pairs: with four hundred of them, [Fe/H] follows, too (:doc:`jwst_and_apogee`).
# * Where there are none to be had, spectra that are simulated from a library for each labelled star
#   (:doc:`theory_to_jwst`), at the price of the gap between models and the sky.
# * Velocities: pass ``radial_velocity`` where you can measure it, in the training as in the prediction.
# * From the command line: ``specalign predict incoming/ --model model/ --output labels.ecsv``.
