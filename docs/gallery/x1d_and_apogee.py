"""
I have x1d files and an APOGEE catalogue
========================================

You have JWST/NIRSpec spectra (``x1d`` files of the pipeline), APOGEE spectra (``aspcapStar`` files) and the
catalogue of APOGEE's labels. Some stars are in both, under two names. You want a model that labels x1d files which
come later.

**Made with mock spectra**, small enough to run in seconds. Eighty stars teach an aligner next to nothing: the page
shows the steps, and its end says what it takes.
"""

# %%
# Read and prepare
# ----------------

import dataclasses
import shutil
import tempfile
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np

import specalign as sa
from specalign.mock import write_survey

folder = Path(tempfile.mkdtemp())
paths = write_survey(
    folder / "mock", 80, instruments=("apogee", "nirspec"), seed=2
)
new_files = paths["nirspec"][70:]  # ten stars that nothing below has seen

apogee, nirspec = (
    sa.get_instrument("apogee"),
    sa.get_instrument("nirspec", disperser="g140h", filter="f100lp"),
)
prepared_a = apogee.prepare(
    [
        spectrum
        for path in paths["apogee"][:70]
        for spectrum in apogee.read(path)
    ]
)
print(prepared_a)

# %%
# An x1d file states no velocity of the star, so its spectrum stays in the barycentric frame, and a warning says so.
# Measure velocities first where you can (:doc:`../user_guide/instruments`) and pass them as ``radial_velocity``;
# then do the same with every later file.

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    prepared_n = nirspec.prepare(
        [
            spectrum
            for path in paths["nirspec"][:70]
            for spectrum in nirspec.read(path)
        ]
    )
print(prepared_n, *(warning.message for warning in said), sep="\n")

# %%
# Three of the NIRSpec spectra above each other, with gaps where pixels are masked:

from specalign.plots import plot_prepared

plot_prepared(prepared_n)

# %%
# Who is who
# ----------
#
# The two surveys name a star differently, so the sky joins them: prepared spectra know their positions. JWST's names
# become APOGEE's where there is a pair:

pairs = sa.match(prepared_a, prepared_n, by="sky", radius=1 * u.arcsec)
print(
    f"{len(pairs)} pairs, {len(pairs.meta['ambiguous_b'])} that could be several stars"
)
object_id = prepared_n.object_id.astype(object)
object_id[pairs["index_b"]] = prepared_a.object_id[pairs["index_a"]]
prepared_n = dataclasses.replace(prepared_n, object_id=object_id.astype(str))

# %%
# A catalogue, such as allStar, can stand for either side. With years between the two, stars move: give ``match``
# proper motions and an ``epoch``. One star by both, where both have pixels:

from specalign.plots import plot_overlay

plot_overlay(prepared_a, prepared_n, str(prepared_a.object_id[0]), common=True)

# %%
# Train
# -----

from specalign.plots import plot_history

aligner = sa.Aligner(["apogee", "nirspec"], embed_dim=16)
history = aligner.fit(
    {"apogee": prepared_a, "nirspec": prepared_n},
    max_epochs=10,
    seed=0,
    accelerator="cpu",
    progress=False,
)
plot_history(history)

# %%
# Six stars validate here, so the curve of their recall has few steps: no figure of this page is to be believed.
#
# Build the model
# ---------------
#
# Labels are learned from the embeddings of all labelled stars, in both instruments. With a real catalogue:
# ``sa.read_labels("allStar-dr17.fits", system="aspcap-dr17")``. ``science=False`` marks the model: whoever predicts
# with it is warned, and the table says so.

from specalign.prediction import LabelTransfer

labels = sa.read_labels(paths["labels"], system="specalign-mock")
reference = sa.EmbeddingTable.concatenate(
    [aligner.embed(prepared_a), aligner.embed(prepared_n)]
)
model = LabelTransfer.build(
    aligner, reference, labels, training=[prepared_n], names=["teff", "logg", "fe_h"],
    note="eighty mock stars", science=False,
)  # fmt: skip
model.save(folder / "model")
print(model)

# %%
# Predict
# -------

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    table = sa.predict(new_files, folder / "model")
for warning in said:
    print(f"{warning.category.__name__}: {warning.message}")
for name, digits in (("teff", ".0f"), ("logg", ".2f"), ("fe_h", ".2f")):
    table[name].info.format = table[f"{name}_err"].info.format = digits
table[
    "object_id",
    "teff",
    "teff_err",
    "logg",
    "logg_err",
    "fe_h",
    "fe_h_err",
    "in_domain",
]

# %%
# The table is written with its units and with all that is known of the prediction:

table.write(folder / "labels.ecsv")

# %%
# Spectra that are not what the model knows are labelled, too, and flagged. Upside down, for instance:

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the same two as above
    new = nirspec.prepare(
        [spectrum for path in new_files for spectrum in nirspec.read(path)]
    )
    upside_down = dataclasses.replace(
        new, flux=np.where(new.mask, 0, 2 - new.flux)
    )
    flagged = sa.predict(upside_down, folder / "model")
flagged["object_id", "in_domain", "domain_reasons"][:3]

# %%
shutil.rmtree(folder)

# %%
# The same from the command line
# ------------------------------
#
# Rows are joined by ``object_id`` there, so the files of both instruments must name a star alike::
#
#     specalign prepare apogee/ x1d/ --output prepared/
#     specalign train prepared/ --output aligner/ --max-epochs 40
#     specalign model prepared/ --aligner aligner/ --labels allStar-dr17.fits --system aspcap-dr17 \
#         --instruments nirspec --output model/
#     specalign predict new-x1d/ --model model/ --output labels.ecsv
#
# What it takes
# -------------
#
# * **Pairs.** Both spectra of a star, for hundreds of stars, that cover the labels you expect. On the mock survey,
#   1,187 pairs give 58 K in Teff and 0.09 dex in [Fe/H] (root mean square, stars held out). Seventy, as above, are
#   far too few. These are mock figures: real spectra are harder.
# * **No pairs?** A hundred x1d files alone teach no alignment. Simulate NIRSpec spectra of labelled stars from a
#   synthetic library and train on those, as in :doc:`theory_to_jwst`; the difference between theory and the sky
#   then goes into the labels.
# * **Stars to test on.** Keep some pairs out of everything above, and compare. A star's own embedding in the other
#   instrument is its nearest neighbour, so a star that is in ``reference`` seems to be labelled well
#   (``in_reference`` tells which are).
# * **Time.** The quickstart does all of it with 1,500 stars in less than three minutes on two cores; a hundred new
#   files take seconds.
#
# :doc:`../user_guide/predict` says what ``in_domain`` sees, and what it does not; :doc:`hundred_new_spectra` shows
# what to do with a real delivery, rejected files included.
