"""The prose of ``docs/m71.rst``, a text a section; ``{table}`` is where its tables stand.

Numbers in braces come from the stored result.  Sentences under FINDINGS say what was seen, and hold for that result.
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
:doc:`accuracy`), of the defaults, with labels; the flux of all is divided by a continuum that is fitted anew, since
real spectra come without a true one. {n_train} stars trained it, {n_kept} others calibrate intervals and outliers, and
{n_test} are the test. *Mock giants* are the {n_giants} test stars with Teff below 5300 K, log g below 3.3 and [M/H]
below -0.4. Seed {seed}, {stars} stars, {minutes} minutes, of which the space took {fit_minutes}; code {code}.

.. warning::

   The mock NIRSpec spectra are no scale for real labels. They come from 300 synthetic spectra without lines of H I and
   with a short line list in the H band, with carbon and nitrogen as in the Sun; APOGEE has [N/Fe] = 0.8 for these
   stars. And APOGEE's labels are of another system: its [M/H] stands for the grid's, and no offset is known. So a
   difference from APOGEE below is not an error of the method alone.
"""

FINDINGS = """
In short
--------

FINDINGS
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
hold for mock stars; nothing promises them for real ones.

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
the space; by the residual of an autoencoder that was pre-trained on mock NIRSpec spectra; by the disagreement with the
emulated APOGEE spectrum of the source's labels, where it has some. An outlier has a p-value of all up to
{false_alarm}. The last column is another test, ``in_domain`` of :doc:`user_guide/predict`, at 2 %.

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
   :alt: Three panels of the same plane, before adaptation, after sources 7 and 12 and after source 19. Mock APOGEE and
      mock NIRSpec stars form two clouds; sources 3 and 19 lie at the cloud of mock NIRSpec stars, and most traces of
      7 and 12 away from it.
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
