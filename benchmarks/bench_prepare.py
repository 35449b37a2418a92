"""Resampling and preparation against specutils and spectres, in one run.

    python benchmarks/bench_prepare.py [--rows 1000] [--repeats 3] [--threads 2] [--store]

A batch of APOGEE-length spectra with inverse variance and mask goes onto the APOGEE grid: on one velocity for all,
on a velocity each, and through the whole of ``prepare_arrays``.  The peers take one spectrum at a time, without a
mask; they are timed on the first spectra of the same batch.  All take turns.  Printed: microseconds a spectrum, the
best of the repeats, and ratios.  "Spectrum" is what one row costs as a `specutils.Spectrum`.
"""

import argparse
import functools
import gc
import time
import tracemalloc
import warnings

import astropy.units as u
import numpy as np
import ops_peers
import spectres
from astropy.nddata import InverseVariance
from performance_rows import add_store_option, facts, store_row
from specutils import Spectrum
from specutils.manipulation import FluxConservingResampler

from specalign.config import conf
from specalign.instruments import get_instrument
from specalign.instruments.resampling import doppler_factor, pixel_edges, resample_rows

PEER_ROWS = 8
MOVED = 30.0  # km/s that all spectra are shifted by


def batch(wavelength, rows, seed=0):
    """Flux, ivar and mask of made-up spectra: lines, noise of S/N 100, 5 % bad pixels full of rubbish."""
    rng = np.random.default_rng(seed)
    lines = 1 - 0.3 * np.exp(-(((wavelength[:, None] - wavelength[::97]) / 0.6) ** 2)).sum(axis=1)
    flux = 1000 * lines + 10 * rng.standard_normal((rows, wavelength.size))
    mask = rng.random(flux.shape) < 0.05
    flux[mask] = 1e30
    return flux, np.full(flux.shape, 0.01), mask


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


def peers(flux, ivar, wavelength, grid):
    """The calls of the peers, each on the rows it is given."""
    return {
        "specutils": lambda: specutils_rows(flux, ivar, wavelength, grid),
        "spectres": lambda: spectres_rows(flux, ivar, wavelength, grid),
    }


def own_calls(instrument, flux, ivar, mask, wavelength):
    """Resampling and preparing, with one velocity for all and with a velocity each."""
    velocity, names = np.linspace(-200, 200, len(flux)), [f"star-{i}" for i in range(len(flux))]
    quality, edges = np.zeros(flux.shape, np.uint32), pixel_edges(wavelength)
    out = pixel_edges(instrument.spectral_axis.value)

    def resample(velocity):
        resample_rows(flux, ivar, ~mask, quality, edges, out, doppler_factor(velocity))

    def prepare(velocity):
        return instrument.prepare_arrays(
            flux,
            ivar,
            mask,
            spectral_axis=wavelength * u.AA,
            object_id=names,
            frame="barycentric",
            radial_velocity=velocity * u.km / u.s,
        )

    return {
        f"{name}, {which}": functools.partial(call, kind)
        for name, call in (("resample_rows", resample), ("prepare_arrays", prepare))
        for which, kind in (("one velocity", MOVED), ("a velocity each", velocity))
    }


def bytes_of(call):
    """What a call leaves in memory, by the allocator of Python."""
    call()
    tracemalloc.start()
    kept = call()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return size


def both_clocks(call):
    """Seconds, and those of the processor in all threads, which other work on the machine lengthens less."""
    gc.collect()
    start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(rows, repeats, peer_rows=PEER_ROWS):
    """All contenders in turns: seconds a spectrum, a list a contender, and what was measured."""
    instrument = get_instrument("apogee")
    grid = instrument.spectral_axis.value
    wavelength = grid * doppler_factor(MOVED)
    flux, ivar, mask = batch(wavelength, rows)
    few = slice(0, min(rows, peer_rows))
    own = own_calls(instrument, flux, ivar, mask, wavelength)
    prepared = own["prepare_arrays, one velocity"]()
    others = peers(flux[few], ivar[few], wavelength, grid)
    others["Spectrum"] = lambda: [prepared.to_spectrum(i) for i in range(len(flux[few]))]
    for call in (*own.values(), *others.values()):
        call()  # the first call compiles
    times = ops_peers.interleaved(own | others, repeats, both_clocks)
    counts = dict.fromkeys(own, rows) | dict.fromkeys(others, len(flux[few]))
    seconds, cpu = ({name: [one[i] / counts[name] for one in times[name]] for name in times} for i in range(2))
    return {
        "spectra": rows,
        "peer_spectra": len(flux[few]),
        "pixels": wavelength.size,
        "grid": grid.size,
        "repeats": repeats,
        "seconds_a_spectrum": seconds,
        "processor_seconds_a_spectrum": cpu,
        "bytes_of_a_spectrum": bytes_of(lambda: prepared.to_spectrum(0)),
    }


def print_row(row):
    cost = {name: 1e6 * min(seconds) for name, seconds in row["seconds_a_spectrum"].items()}
    print(f"{row['spectra']} spectra of {row['pixels']} pixels onto {row['grid']}")
    print(f"{'':45s}{'us a spectrum':>15s}{'specutils /':>13s}{'spectres /':>12s}")
    for name, own in cost.items():
        print(f"{name:45s}{own:15.1f}{cost['specutils'] / own:13.1f}{cost['spectres'] / own:12.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_store_option(parser)
    options = parser.parse_args()
    machine = facts("numpy", "numba", "specutils", "spectres")
    with warnings.catch_warnings(), conf.set_temp("threads", options.threads):
        warnings.simplefilter("ignore")
        row = measure(options.rows, options.repeats)
    print_row(row)
    if options.store:
        store_row(options.store, "prepare", {"facts": machine, "threads": options.threads} | row)


if __name__ == "__main__":
    main()
