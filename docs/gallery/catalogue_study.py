"""
Look at a catalogue and its spectra
===================================

Before anything learns from a survey, look at it: how many stars are there, which are there twice, which have no
partner in the other instrument, do the labels agree, what do they span, and where and why are pixels missing? Half
an hour here saves days of training on the wrong rows.

**Made with mock spectra.** The files are written first, in the surveys' own formats, so that every line runs
anywhere.
"""

# %%
# Two things to change
# --------------------

import tempfile
import warnings
from pathlib import Path

import astropy.units as u
from astropy.table import vstack

import specalign as sa
from specalign.exceptions import VelocityWarning
from specalign.mock import write_survey

# sphinx_gallery_thumbnail_number = 4

folder = tempfile.TemporaryDirectory()
paths = write_survey(
    Path(folder.name) / "mock", 240, instruments=("apogee", "nirspec"), seed=2
)
labels = sa.read_labels(paths["catalogue"])
files = {"apogee": paths["apogee"], "nirspec": paths["nirspec"]}


def rounded(table):
    """The same table, shown with as many digits as are worth reading."""
    for name, digits in (("teff", ".0f"), ("logg", ".2f"), ("fe_h", ".2f")):
        table[name].info.format = digits
    return table


labels = rounded(labels)

# %%
# For your own stars, change these two::
#
#     labels = sa.read_labels("allStar-dr17-synspec_rev1.fits", system="aspcap-dr17", duplicates="keep")
#     files = {
#         "apogee": sorted(Path("apogee").glob("aspcapStar-*.fits")),
#         "nirspec": sorted(Path("jwst").glob("*_x1d.fits")),
#     }
#
# ``duplicates="keep"`` leaves all rows of a star in the table, so that you see them below; flagged values and -9999
# are NaN, and ``labels.meta["masked"]`` counts them by reason. The same star must have the same ``object_id``
# everywhere. NIRSpec files name sources in their own way: ``sa.match(..., by="sky", radius=...)`` finds who is who,
# as in :doc:`x1d_and_apogee`.
#
# How many stars, and which labels
# --------------------------------

from specalign.analysis import describe_labels

study = describe_labels(labels)
print(study)

# %%
# A survey that observed a field twice has stars twice. Which rows are they, do they agree, and which one is kept?
# Here one row is repeated as it is, and another with a lower temperature:

from specalign.analysis import find_duplicates, unique_stars

again = labels[[5, 9]]
again["teff"][1] -= 50 * u.K
catalogue = vstack([labels, again])
unique = unique_stars(catalogue)
print(f"{len(catalogue)} rows, of {len(unique)} stars")
find_duplicates(catalogue)["row", "object_id", "kept", "kind", "differing"]

# %%
# The row with the highest ``snr`` is kept; without that column, the one with the most labels. The order of rows
# never matters. The row of lower temperature was kept here only because nothing speaks for either: conflicts are
# worth a look.
#
# What the labels span
# --------------------
#
# log g against Teff, in stars per bin: the main sequence at the bottom, and the giants above it.

from specalign.plots import (
    plot_abundance,
    plot_corner,
    plot_density,
    plot_histogram,
)

plot_density(labels)

# %%
# The metallicities, in bins that are no narrower than the errors:

plot_histogram(labels, "fe_h")

# %%
# The two sequences of the Galaxy's discs:

plot_abundance(labels, "mg_fe")

# %%
# All against all. ``plot_corner(labels)`` draws all labels, also twenty of them. Its panels each show the stars
# that have both labels. If you asked it for complete rows only, one element that few stars have would take the
# others' stars away.

plot_corner(labels, names=["teff", "logg", "fe_h", "mg_fe", "c_fe", "n_fe"])

# %%
# Ten stars that span the labels are enough to see what the spectra are like:

from specalign.analysis import select_spanning

ten = select_spanning(labels, n=10, names=("teff", "logg", "fe_h"), seed=0)
ten["object_id", "teff", "logg", "fe_h"]

# %%
# Each is as far as can be from those before it, between the 1st and 99th percentile, so that a wrong value is not
# taken for an extreme star. Random stars would mostly be red-clump giants.
#
# The spectra: coverage, pixels and gaps
# --------------------------------------
#
# What a reader warns of is collected and shown here, and not lost in the output:

prepared = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for name, found in files.items():
        instrument = sa.get_instrument(name)
        prepared[name] = instrument.prepare(
            [spectrum for path in found for spectrum in instrument.read(path)]
        )
for warning in said:
    print(f"{warning.category.__name__}: {warning.message}")
assert {warning.category for warning in said} <= {VelocityWarning}

# %%
# The coverage of APOGEE, its number of pixels, and the portions that half of the spectra lack:

from specalign.analysis import describe_spectra

apogee = describe_spectra(prepared["apogee"])
print(f"{apogee.n_pixels} pixels,", apogee.coverage.round(1))
apogee.gaps["begin", "end", "pixels", "place", "reasons"]

# %%
# Why are these portions missing? The quality bits say it. Here the two gaps lie between the three detectors of
# APOGEE, where the files hold no data, and some pixels at their edges are left out by us. A pixel may have several
# bits: its cause (no inverse variance) and what followed (nothing covers it on the common grid). NIRSpec loses its
# detector gap, and pixels that its pipeline flags:

nirspec = describe_spectra(prepared["nirspec"])
nirspec.reasons

# %%
# The ten stars, a panel each, gaps left open and shaded:

from specalign.plots import plot_overlay, plot_selected

plot_selected(
    prepared["apogee"],
    rows=[str(name) for name in ten["object_id"]],
    labels=labels,
)

# %%
# Stars in one set only, and labels that should agree
# ---------------------------------------------------
#
# Suppose that the second set lacks a star, as a grid of models does where one did not converge, and that its labels
# were written with seven digits. Which star is it, and do the labels agree?

from specalign.analysis import compare_catalogues

synthetic = labels[labels["object_id"] != labels["object_id"][7]]
synthetic["teff"] = synthetic["teff"].astype("float32")
both = compare_catalogues(labels, synthetic, names=("observed", "synthetic"))
print(both)

# %%
# For each label: the median difference, the scatter (``mad_std``, which a few wrong stars do not move, and ``rms``,
# which they do), what the errors of both let expect, and the largest difference with its star. Between two surveys
# (``aspcap-dr17``, ``lamost-lasp``) the median is the offset between their systems; both are named. The missing
# star, with its labels:

rounded(both.only_a["object_id", "teff", "logg", "fe_h"])

# %%
# Spectra are compared in the same way, and then their stars are named with the catalogue's labels:

sets = compare_catalogues(
    prepared["apogee"][1:], prepared["nirspec"], labels=labels
)
print(f"{sets.n_common} stars have both spectra; NIRSpec alone has")
rounded(sets.only_b["object_id", "teff", "logg", "fe_h"])

# %%
# Two instruments over each other
# -------------------------------

star = str(ten["object_id"][0])
plot_overlay(prepared["apogee"], prepared["nirspec"], star, labels=labels)

# %%
# and where both have pixels:

plot_overlay(prepared["apogee"], prepared["nirspec"], star, common=True)

# %%
# The legend names the frames: these NIRSpec files state no velocity, so their lines lie where the star's motion
# puts them, up to a few Angstrom from APOGEE's, which is at rest. Look for the same pattern of lines, not for equal
# depths: NIRSpec's resolution is an eighth of APOGEE's, and its lines are shallower for that alone.
#
# Look-alikes
# -----------
#
# Which stars should have nearly the same spectrum? Those with nearly the same labels. For one star, the five
# nearest in Teff, log g and [Fe/H], each in units of its spread over the survey, and their spectra:

import numpy as np

values = np.column_stack(
    [labels[name].value for name in ("teff", "logg", "fe_h")]
)
from_star = values - values[labels["object_id"] == star]
distance = np.linalg.norm(from_star / np.nanstd(values, axis=0), axis=1)
nearest = np.argsort(distance)[:6]
plot_selected(
    prepared["apogee"],
    rows=[str(name) for name in labels["object_id"][nearest]],
    labels=labels,
)

# %%
# The first panel is the star itself. No network was asked so far. Look-alikes that are found by the spectra alone
# are what an aligner gives: :doc:`jwst_and_apogee` goes on from here.

folder.cleanup()

# %%
# What this does not tell
# -----------------------
#
# * That two catalogues agree does not make them right: labels that were copied from one to the other agree to the
#   last digit.
# * Duplicates are found by ``object_id``. A star that has two names is two stars here; ``sa.match`` by position
#   finds it.
# * A gap is what half of the spectra lack (``share=0.5``). Pixels that single spectra lack are in the counts by
#   bit, not among the gaps.
