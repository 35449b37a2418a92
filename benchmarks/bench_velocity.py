"""Velocities of many spectra against many templates, in one run.

    python benchmarks/bench_velocity.py [--rows 1000] [--templates 100] [--pixels 4096] [--repeats 3]

Made-up spectra of lines in steps of 4 km/s, S/N 50, 5 % of the pixels masked, velocities within 300 km/s, against
templates with other depths of the lines.  Printed: seconds of the best of the repeats without compilation, pairs of
spectrum and template a second, and what came out: the mean and the width of (measured - true) / error, where 0 and 1
are right.
"""

import argparse
import time

import astropy.units as u
import numpy as np

from specalign.instruments.resampling import doppler_factor
from specalign.instruments.velocity import radial_velocity

STEP = 1.3815e-5  # of log wavelength: 4.1 km/s, as in APOGEE's files


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
    flux += 0.02 * rng.standard_normal(flux.shape)
    mask = rng.random(flux.shape) < 0.05
    flux[mask] = 1e30
    return np.array([absorption(axis, d, centres) for d in depth]), flux, mask, velocity, axis


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--templates", type=int, default=100)
    parser.add_argument("--pixels", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    templates, flux, mask, velocity, axis = batch(options)
    ivar = np.full(flux.shape, 2500.0)

    def measure(rows):
        return radial_velocity(flux[rows], templates, ivar=ivar[rows], mask=mask[rows], spectral_axis=axis * u.AA)

    measure(slice(2))
    times = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        table = measure(slice(None))
        times.append(time.perf_counter() - start)
    pull = (table["velocity"].to_value("km/s") - velocity) / table["velocity_err"].to_value("km/s")
    print(f"{options.rows} spectra x {options.templates} templates x {options.pixels} pixels: {min(times):.2f} s")
    print(f"{options.rows * options.templates / min(times):.0f} pairs a second")
    print(f"reliable {table['reliable'].mean():.3f}, pulls {pull.mean():+.3f} +- {pull.std():.3f}")


if __name__ == "__main__":
    main()
