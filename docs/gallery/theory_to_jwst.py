"""
From theory to JWST
===================

A synthetic library shown to NIRSpec, and aligned with APOGEE: the design in which few real JWST spectra exist, so
that models teach the way from one telescope to the other. Replace the library by your own; the rest stays.

**Made with a drawn library**: 150 made-up stars have 240 absorption lines that grow with metallicity and fade with
temperature. It is a drawing, not a synthesis.
"""

# %%
# A library
# ---------
#
# Anything that `specutils` calls a spectrum will do, at rest, with units, finely sampled; ``meta`` says whose each
# row is and whether its wavelengths are those of vacuum or air.

import astropy.units as u
import numpy as np
from specutils import Spectrum

# sphinx_gallery_thumbnail_number = 2

rng = np.random.default_rng(1)
teff, fe_h = rng.uniform(3800, 5800, 150), rng.uniform(-1.5, 0.4, 150)
wavelength = np.arange(8980, 18020, 0.15)
depth = np.zeros((150, wavelength.size), np.float32)
for centre, excitation in zip(
    np.sort(rng.uniform(9000, 18000, 240)), rng.uniform(0, 5, 240), strict=True
):
    strength = 0.4 * 10 ** (0.4 * fe_h + excitation * (0.96 - 5040 / teff))
    near = slice(*np.searchsorted(wavelength, [centre - 2, centre + 2]))
    profile = np.exp(-0.5 * ((wavelength[near] - centre) / 0.3) ** 2)
    depth[:, near] += (strength / (1 + strength))[:, None] * profile

meta = {
    "object_id": [f"star-{i:03d}" for i in range(150)],
    "medium": "vacuum",
    "normalization": "continuum",
}
library = Spectrum(
    np.exp(-depth) * u.dimensionless_unscaled, wavelength * u.AA, meta=meta
)

# %%
# Five lines
# ----------

import specalign as sa

jwst, apogee = (
    sa.get_instrument("nirspec", grid="seeds"),
    sa.get_instrument("apogee"),
)
theory = jwst.prepare(
    jwst.simulate(library, snr=rng.uniform(30, 300, 150), rng=2)
)
survey = apogee.prepare(
    apogee.simulate(library, snr=rng.uniform(60, 300, 150), rng=3)
)
print(theory, survey, sep="\n")

# %%
# ``grid="seeds"`` has 8192 pixels, equally spaced from 9000 to 18000 Angstrom; any other grid and disperser works
# alike. With real APOGEE spectra, the last line reads files instead, and rows meet by ``object_id``, the star whose
# labels the model was computed for::
#
#     survey = apogee.prepare([spectrum for path in paths for spectrum in apogee.read(path)])
#
# What ``simulate`` did: every row has the instrument's resolution, pixels and noise, and a gap between the
# detectors that lies elsewhere in each, as it does for each shutter.

from specalign.plots import plot_overlay, plot_selected

plot_selected(theory, rows=[0, 1, 2, 3])

# %%
in_gap = (theory.quality & (1 << jwst.quality_bits["NON_SCIENCE"])) != 0
begins = jwst.spectral_axis[in_gap.argmax(axis=1)].to(u.um)
print(
    f"the gaps of the first four begin at {begins[:4].round(2)}; product: {theory.catalog['product'][0]}"
)

# %%
# One star of the library by both instruments, zoomed to a few lines:

plot_overlay(survey, theory, "star-000", limits=[16000, 16200] * u.AA)

# %%
# :doc:`/user_guide/simulation` tells which arguments change that: the resolution of the library, velocities, bad
# pixels, noise.
#
# Align, and look thirty stars up
# -------------------------------

from specalign.plots import plot_history

aligner = sa.Aligner(["apogee", "nirspec"], embed_dim=16)
history = aligner.fit(
    {"apogee": survey[:120], "nirspec": theory[:120]},
    max_epochs=30, batch_size=40, seed=0, accelerator="cpu", progress=False,
)  # fmt: skip
plot_history(history)

# %%
# Thirty stars that the aligner has not seen: each NIRSpec spectrum looks for its star among the APOGEE ones.

from specalign.plots import plot_retrieval

queries, gallery = aligner.embed(theory[120:]), aligner.embed(survey[120:])
figures = sa.metrics.retrieval(queries, gallery, ks=(1, 2, 5, 10))
plot_retrieval({"aligned on theory": figures})

# %%
# Compared pixel by pixel
# -----------------------
#
# An encoder learns that APOGEE sees finer lines. Where two instruments are to be compared directly, the finer one is
# brought to the resolution of the other first:

coarse = survey.match_resolution(to=jwst)
power = coarse.spectral_axis / coarse.lsf_sigma / 2.3548
print(f"resolving power {power.min():.0f} to {power.max():.0f}")
plot_overlay(coarse, theory, "star-000", limits=[16000, 16200] * u.AA)

# %%
# What it does not do
# -------------------
#
# A model is not a star. Line lists have errors, real continua are not divided out perfectly, and the line-spread
# function of a star in its shutter is narrower than the nominal one (:doc:`/user_guide/instruments`). An aligner
# that has seen models only has to be tried on real spectra before its answers on them are believed:
# :doc:`/real_and_mock`.
