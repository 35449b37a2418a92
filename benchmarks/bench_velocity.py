"""Velocities of many spectra against many templates, in one run.

    python benchmarks/bench_velocity.py [--rows 1000] [--templates 100] [--pixels 4096] [--store]

Made-up spectra of lines in steps of 4 km/s, S/N 50, 5 % of the pixels masked, velocities within 300 km/s, against
templates with other depths of the lines.  Printed: seconds of the best of the repeats without compilation, pairs of
spectrum and template a second, and what came out: the mean and the width of (measured - true) / error, where 0 and 1
are right.
"""

import argparse
import inspect
import time

import astropy.units as u
import numpy as np
from astropy.constants import c
from performance_rows import add_store_option, facts, store_row

from specalign.config import conf
from specalign.instruments.resampling import doppler_factor
from specalign.instruments.velocity import radial_velocity

STEP = 1.3815e-5  # of log wavelength: 4.1 km/s, as in APOGEE's files
NOISE = 0.02
FULL_SIZE = {"rows": 1000, "templates": 100, "pixels": 4096}
GOAL = 10.0  # seconds to be reached at full size


def absorption(wavelength, depth, centres, width=0.35):
    """Normalised spectrum (P,) of Gaussian lines."""
    flux = np.ones(wavelength.size)
    for one, centre in zip(depth, centres, strict=True):
        low, high = np.searchsorted(wavelength, (centre - 8 * width, centre + 8 * width))
        flux[low:high] -= one * np.exp(-0.5 * ((wavelength[low:high] - centre) / width) ** 2)
    return flux


def batch(options, seed=0):
    """Templates (T, P), noisy spectra (N, P), inverse variance, mask, true velocities in km/s, and the axis."""
    rng = np.random.default_rng(seed)
    axis = 15100 * np.exp(STEP * np.arange(options.pixels))
    centres = np.sort(rng.uniform(axis[0], axis[-1], options.pixels // 20))
    depth = rng.uniform(0.02, 0.25, (options.templates, centres.size))
    velocity = rng.uniform(-300, 300, options.rows)
    chosen = rng.integers(options.templates, size=options.rows)
    flux = np.array(
        [absorption(axis / doppler_factor(v), depth[t], centres) for v, t in zip(velocity, chosen, strict=True)]
    )
    flux += NOISE * rng.standard_normal(flux.shape)
    mask = rng.random(flux.shape) < 0.05
    flux[mask] = 1e30
    return np.array([absorption(axis, d, centres) for d in depth]), flux, mask, velocity, axis


def measure(options):
    """Seconds of each repeat without compilation, and what came out of the last."""
    templates, flux, mask, velocity, axis = batch(options)
    ivar = np.full(flux.shape, NOISE**-2)

    def call(rows):
        return radial_velocity(flux[rows], templates, ivar=ivar[rows], mask=mask[rows], spectral_axis=axis * u.AA)

    call(slice(2))
    times = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        table = call(slice(None))
        times.append(time.perf_counter() - start)
    pull = (table["velocity"].to_value("km/s") - velocity) / table["velocity_err"].to_value("km/s")
    return {
        "spectra": options.rows,
        "templates": options.templates,
        "pixels": options.pixels,
        "max_velocity": inspect.signature(radial_velocity).parameters["max_velocity"].default.to_value("km/s"),
        "step": STEP * c.to_value("km/s"),
        "snr": 1 / NOISE,
        "repeats": options.repeats,
        "seconds": times,
        "goal_seconds": GOAL if all(getattr(options, key) == size for key, size in FULL_SIZE.items()) else None,
        "reliable": float(table["reliable"].mean()),
        "pull_mean": float(pull.mean()),
        "pull_std": float(pull.std()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=FULL_SIZE["rows"])
    parser.add_argument("--templates", type=int, default=FULL_SIZE["templates"])
    parser.add_argument("--pixels", type=int, default=FULL_SIZE["pixels"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_store_option(parser)
    options = parser.parse_args()
    machine = facts("numpy", "numba")
    with conf.set_temp("threads", options.threads):
        row = measure(options)
    seconds = min(row["seconds"])
    print(f"{options.rows} spectra x {options.templates} templates x {options.pixels} pixels: {seconds:.2f} s")
    print(f"{options.rows * options.templates / seconds:.0f} pairs a second")
    print(f"reliable {row['reliable']:.3f}, pulls {row['pull_mean']:+.3f} +- {row['pull_std']:.3f}")
    if options.store:
        store_row(options.store, "velocity", {"facts": machine, "threads": options.threads} | row)


if __name__ == "__main__":
    main()
