"""Resampling and preparation against specutils and spectres, in one run.

    python benchmarks/bench_prepare.py [--rows 1000] [--repeats 3]

A batch of APOGEE-length spectra with inverse variance and mask goes onto the APOGEE grid: on one velocity for all,
on a velocity each, and through the whole of ``prepare_arrays``.  The peers take one spectrum at a time, without a
mask; they are timed on the first spectra of the same batch.  Printed: microseconds a spectrum, the best of the
repeats, and ratios.
"""

import argparse
import time
import warnings

import astropy.units as u
import numpy as np
import spectres
from astropy.nddata import InverseVariance
from specutils import Spectrum
from specutils.manipulation import FluxConservingResampler

from specalign.instruments import get_instrument
from specalign.instruments.resampling import doppler_factor, pixel_edges, resample_rows

PEER_ROWS = 8


def batch(wavelength, rows, seed=0):
    """Flux, ivar and mask of made-up spectra: lines, noise of S/N 100, 5 % bad pixels full of rubbish."""
    rng = np.random.default_rng(seed)
    lines = 1 - 0.3 * np.exp(-(((wavelength[:, None] - wavelength[::97]) / 0.6) ** 2)).sum(axis=1)
    flux = 1000 * lines + 10 * rng.standard_normal((rows, wavelength.size))
    mask = rng.random(flux.shape) < 0.05
    flux[mask] = 1e30
    return flux, np.full(flux.shape, 0.01), mask


def best(call, repeats, rows):
    """Microseconds a row, the best of the repeats; the first call, which compiles, is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times) / rows


def specutils_rows(flux, ivar, wavelength, grid):
    """The peer of specutils on the first rows."""
    resampler = FluxConservingResampler()
    for one, weight in zip(flux, ivar, strict=True):
        spectrum = Spectrum(flux=one * u.Jy, spectral_axis=wavelength * u.AA, uncertainty=InverseVariance(weight))
        resampler(spectrum, grid * u.AA)


def spectres_rows(flux, ivar, wavelength, grid):
    """The peer of spectres on the first rows."""
    for one, weight in zip(flux, ivar, strict=True):
        spectres.spectres(grid, wavelength, one, spec_errs=weight**-0.5, fill=0.0, verbose=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    instrument = get_instrument("apogee")
    grid = instrument.spectral_axis.value
    wavelength = grid * doppler_factor(30.0)
    flux, ivar, mask = batch(wavelength, options.rows)
    velocity = np.linspace(-200, 200, options.rows)
    names = [f"star-{i}" for i in range(options.rows)]
    quality, edges, out = np.zeros(flux.shape, np.uint32), pixel_edges(wavelength), pixel_edges(grid)

    def resample(factor):
        resample_rows(flux, ivar, ~mask, quality, edges, out, factor)

    def prepare(velocity):
        instrument.prepare_arrays(
            flux,
            ivar,
            mask,
            spectral_axis=wavelength * u.AA,
            object_id=names,
            frame="barycentric",
            radial_velocity=velocity * u.km / u.s,
        )

    few = slice(0, PEER_ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = best(lambda: specutils_rows(flux[few], ivar[few], wavelength, grid), options.repeats, PEER_ROWS)
        other = best(lambda: spectres_rows(flux[few], ivar[few], wavelength, grid), options.repeats, PEER_ROWS)
    rows = [
        ("specutils FluxConservingResampler (no mask)", peer),
        ("spectres (no mask)", other),
        ("resample_rows, one velocity", best(lambda: resample(doppler_factor(30.0)), options.repeats, options.rows)),
        (
            "resample_rows, a velocity each",
            best(lambda: resample(doppler_factor(velocity)), options.repeats, options.rows),
        ),
        ("prepare_arrays, one velocity", best(lambda: prepare(30.0), options.repeats, options.rows)),
        ("prepare_arrays, a velocity each", best(lambda: prepare(velocity), options.repeats, options.rows)),
    ]
    print(f"{options.rows} spectra of {wavelength.size} pixels onto {grid.size}")
    print(f"{'':45s}{'us a spectrum':>15s}{'specutils /':>13s}{'spectres /':>12s}")
    for name, cost in rows:
        print(f"{name:45s}{cost:15.1f}{peer / cost:13.1f}{other / cost:12.1f}")


if __name__ == "__main__":
    main()
