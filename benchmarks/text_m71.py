"""The prose of ``docs/m71.rst``, a text a section; ``{table}`` is where its tables stand.

Numbers in braces come from the stored result.  FINDINGS and the alternative texts say what was seen in one result, and
must be read again beside the tables after another one.
"""

HEAD = """.. This page is written by benchmarks/bench_m71.py; do not edit it by hand.

.. _m71:

Real JWST spectra: giants of M71
================================

The one set of real NIRSpec spectra here whose stars APOGEE has labels of, from files to labels: what works, what does
not, and why. Eight files of JWST programme 2609 (G140H with F100LP, reduced by PypeIt) have {n_in} traces of four
sources of the globular cluster M71, in two exposures each. Sources 3 and 19 are clean; 7 and 12 are saturated or were
badly extracted, and have a second trace in some exposures. 7, 12 and 19 have labels of APOGEE (ASPCAP); 3 has none,
and nothing here says that it belongs to the cluster. ::

    python benchmarks/bench_m71.py --seed {seed} --stars 20000

No real spectrum trained anything but the adaptations. The space is one of mock NIRSpec and APOGEE spectra (see
:doc:`accuracy`), by the contrast of vectors (``objective="clip"``) and labels, with no option set; the flux of all is
divided by a continuum that is fitted anew, since real spectra come without a true one. {n_train} stars trained it,
{n_kept} others calibrate intervals and outliers, and {n_test} are the test. *Mock giants* are the {n_giants} test
stars with Teff below 5300 K, log g below 3.3 and [M/H] below -0.4. Seed {seed}, {stars} stars, {minutes} minutes, of
which the space took {fit_minutes}; code {code}.

.. warning::

   The mock NIRSpec spectra are no scale for real labels. They come from 300 synthetic spectra without lines of H I and
   with a short line list in the H band, and have no label of carbon or nitrogen; APOGEE has [N/Fe] = 0.8 for these
   stars. And APOGEE's labels are of another system: its [M/H] stands for the grid's, and no offset is known. So a
   difference from APOGEE below is not an error of the method alone.
"""

FINDINGS = """
In short
--------

What works:

* **Velocities of clean spectra.** Source 19 moves at -25.6 ± 2.0 and -26.3 ± 1.9 km/s, where APOGEE has -23.3; the
  exposures of source 3 differ by 4.8 km/s, 1.4 times the error of the difference. None of the seven traces of 7 and 12
  gives a reliable velocity, and each is named with a reason.
* **Flags.** Every trace of 7 and 12 is an outlier by every score.
* **Agreement of exposures.** Labels of the clean sources differ by up to 1.8 predicted errors between the exposures,
  by any method; the zero-shot k-NN's error of source 19 is then so large that 1026 K are among them. That is
  precision. It says nothing of whether they are right.

What does not:

* **The flags do not tell a saturated spectrum from a clean one of a real star.** Sources 3 and 19 are outliers, too,
  and no trace is in the domain, since every normal star is a mock one. What tells them apart is the velocity, and the
  size of the residual: a reduced χ² of 10 to 41 for the clean traces, and of 440 and more for the others.
* **Labels of source 19.** The three methods that learn from NIRSpec itself give an [M/H] that is higher than APOGEE's,
  by 0.25 to 0.30 dex, an [α/M] that is lower, by 0.15 to 0.31, and a log g that is higher, by 0.6 to 1.1; no 95 %
  interval holds any of them. The flow, whose errors on mock giants are 59 K and 0.18 dex, misses log g by 0.9 and 1.1
  dex. The raw-flux MLP, with errors on mock giants 1.3 to 1.7 times as large, is nearer to APOGEE here in all eight
  labels: what a space gains on mock spectra does not carry over by itself. The zero-shot k-NN is right in [M/H] in one
  exposure, and wrong by 857 K in the other.
* **Positions.** Mock giants lie at a cosine of 0.80 from their APOGEE spectra, which ranks second among 2,000 in the
  median; source 19 at 0.06 and 0.00 from the emulated one, near the middle of the ranks: it would not be found. Its
  two exposures have a cosine of 0.96, those of source 3 of 0.87, where two mock giants that are merely alike have 0.98.
* **Adaptation by the other sources**, with partners, moves log g of source 19 from 1.0 dex above APOGEE's to 0.0 and
  0.3, and [M/H] by 0.04 and 0.05 dex towards it; Teff goes away from it, by labels alone to 545 K below, and mock stars
  become worse. With two sources to learn from, both full of artefacts, and one to test, this is no evidence for or
  against it. Learning from source 19 brings that source near its own partner, as it must, and moves source 3 along
  with it; 7 and 12 hardly move.

Why:

* **The mock spectra, more than the encoder.** Without any encoder, the noiseless mock spectra that are nearest to
  source 19 have an [M/H] higher than APOGEE's by 0.44 and 0.56 dex, and a log g higher by 0.8 and 1.0. Real lines are
  deeper than those of the model at APOGEE's labels (a slope of 1.2), many lines from 10900 to 11500 Å, where CN
  absorbs, are all but missing in the model, and those of H I are missing altogether.
* **The noise is not what is stated.** The exposures of source 19 differ by 2.8 times their stated noise, those of
  source 3 by 1.9 times; the residual from the model is 5 times the noise.
* **The flux at the ends.** Below 10300 Å the flux goes up and down by 5 %, and at the red end of source 19,
  near 15400 Å, it rises and falls; a polynomial does not take that out.
* **Pixels that no mock spectrum has.** With 13520-14930 Å left in, the embeddings of source 19 have a cosine of 0.31
  and 0.45 with those without them. Log g by the flow and the MLP moves by 0.6 to 0.9 dex, towards APOGEE's as it
  happens, that of the raw-flux MLP by 1.0 to 1.1 dex away from it, and Teff by up to 1096 K (k-NN). Mask what the
  training did not have.
"""

VELOCITY = """
Velocities and preparation
--------------------------

Each trace is compared with the 300 synthetic spectra (:doc:`user_guide/instruments`). The error is that of the fit; an
error of the wavelength calibration is not in it. The cluster moves at -22.9 km/s.

{table}

With measured velocities alone, as ``prepare(..., radial_velocity=MeasuredVelocity(templates))``, {n_in} traces come in,
{n_out} come out and {n_rejected} are rejected, each for the reason in the table. Below, these {n_rejected} are brought
to rest by the velocity of the cluster, so that there is something to flag.

Wavelengths that the synthetic grid lacks (13520-14930 Å, and the ends) are masked before the continuum is fitted.
"""

LABELS = """
Labels
------

The flow, the MLP and the k-NN are `~specalign.LabelModel`; the k-NN knows APOGEE's embeddings alone (zero-shot). The
raw-flux MLP sees pixels and no embedding. Intervals are conformal (`~specalign.analysis.ConformalLabels`), by S/N, and
hold for mock stars; nothing promises them for real ones. The third label is the grid's [M/H], called [Fe/H] in the
mock survey, and is compared with APOGEE's [M/H].

{table}
"""

REPEATABILITY = """
Two exposures
-------------

Exposures lie on other pixels of the detector. Of several traces, the one with the highest S/N counts.

{table}
"""

OUTLIERS = """
Outliers
--------

P-values among {n_normal} mock NIRSpec stars, which are the normal ones (`~specalign.OutlierModel`): by neighbours in
the space; by the residual (reduced χ²) of an autoencoder that was pre-trained on mock NIRSpec spectra; by the
disagreement with the emulated APOGEE spectrum of the source's labels, where it has some. An outlier has a p-value of
all up to {false_alarm}. In brackets: the scores themselves. The last column is another test, ``in_domain`` of
:doc:`user_guide/predict`, at 2 %.

{table}

{n_alarms} of {n_traces} traces are outliers, and {n_inside} lie in the domain.
"""

SPECTRA_TEXT = """
The gap as spectra
------------------

.. figure:: {spectra_figure}
   :alt: Four stretches of the spectrum of source 19 between 9700 and 13290 Å, over the mock model at its APOGEE labels
      and the autoencoder's reconstruction. The real lines are deeper than the model's, there are many between 10900
      and 11430 Å that the model hardly has, a line of H I at 12822 Å is missing in the model, and the blue end goes up
      and down by five per cent.
   :width: 100%

   Source 19 (black), the mock NIRSpec model at its APOGEE labels (blue) and what the autoencoder makes of the real
   spectrum (orange, dashed). Dotted: lines of H I, which the grid lacks.

*Scatter* is half the 16-84 % range of real minus other; *residual / noise* is the median of its absolute value over the
stated noise, 1 for noise alone; *slope* is that of the real flux on the other, above 1 where real lines are deeper.
Mock giants of the same S/N are compared with their own models.

{table}
"""

WHOLE = """
**Wavelengths that no mock spectrum has.** An encoder of mock spectra knows nothing of 13520-14930 Å, and the continuum
is another one if it is fitted across. Labels of source 19, minus APOGEE's, with these wavelengths (whole) and without
them (cut, as everywhere else here):

{table}
"""

POSITIONS = """
The gap as positions
--------------------

.. figure:: {plane_figure}
   :alt: Three panels of the same plane, before adaptation, after learning from sources 7 and 12, and after source 19.
      Mock APOGEE and mock NIRSpec stars fill one disc together. Before, the real traces lie in it away from the
      emulated APOGEE spectra of their labels; after source 19, source 19 lies near its own, source 3 has moved to the
      same side, and 7 and 12 hardly move.
   :width: 100%

   The plane of the two principal components of mock test stars ({share} of the variance); real traces and the emulated
   APOGEE spectra are put into it. Adaptation by labels and partners.

The partner of a source is an APOGEE spectrum that the survey's emulator makes of its labels (all within the
emulators' range), with noise: it carries no more than these labels. The rank is that among the {gallery} APOGEE
spectra of mock test stars; 1 is best. In brackets: 5-95 %. Below the real traces: mock NIRSpec spectra that were made
of the same labels.

{table}
"""

ADAPTATION = """
With adaptation
---------------

`specalign.Aligner.adapt` learns from all traces of the sources named, by their APOGEE labels, or by these and their
emulated partners among 500 mock APOGEE spectra; never from the source that is asked. The labels are those of a model
that knows APOGEE's mock embeddings alone, before and after.

{table}
"""

MISSING = """
What is missing
---------------

* Stars. One clean star with labels is an example, not a measurement: no bias, scatter or coverage can be had from it,
  and no adaptation can be shown to help or to harm.
* A grid of NIRSpec spectra with lines of H I, molecules with the carbon and nitrogen of the cluster's stars, and the
  line spread of a point source in a shutter.
* A noise of extracted spectra that contains what two exposures differ by.
* Real APOGEE spectra of these stars: their partners here are emulated.
"""

SECTIONS = {
    "head": HEAD,
    "findings": FINDINGS,
    "velocity": VELOCITY,
    "labels": LABELS,
    "repeatability": REPEATABILITY,
    "outliers": OUTLIERS,
    "spectra": SPECTRA_TEXT,
    "whole": WHOLE,
    "positions": POSITIONS,
    "adaptation": ADAPTATION,
    "missing": MISSING,
}
