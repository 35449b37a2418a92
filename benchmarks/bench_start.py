"""What a process waits for once: imports, and loops that are compiled.

    python benchmarks/bench_start.py [--repeats 2] [--store]

Each is timed in fresh processes, without the start of the interpreter: first with an empty cache of compiled loops, as
after an installation, and then with what the first process left there.  Printed: seconds, the best of the repeats.
"""

import argparse
import os
import subprocess
import sys
import tempfile

from performance_rows import add_store_option, facts, store_row

IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
RESAMPLE = """import time
import numpy as np
from specalign.instruments.resampling import pixel_edges, resample_rows
flux, edges = np.ones((1, 9)), pixel_edges(np.arange(9.0))
start = time.perf_counter()
resample_rows(flux, flux, flux > 0, np.zeros((1, 9), np.uint32), edges, edges)
print(time.perf_counter() - start)
"""
PROGRAMS = {f"import {name}": IMPORT.format(name) for name in ("specalign", "torch", "pynndescent")}
PROGRAMS["resample_rows"] = RESAMPLE


def seconds(program, cache):
    """What a program prints in a process of its own."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure(repeats, programs=PROGRAMS):
    """Seconds of the first process, whose cache is empty, and of the next; what does not run is left out."""
    out = {}
    for name, program in programs.items():
        try:
            turns = []
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as cache:
                    turns.append([seconds(program, cache) for _ in range(2)])
        except subprocess.CalledProcessError as error:
            print(f"{name} is left out: {error.stderr.splitlines()[-1]}")
            continue
        out[name] = dict(zip(("first", "next"), map(list, zip(*turns, strict=True)), strict=True))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
    add_store_option(parser)
    options = parser.parse_args()
    machine = facts("torch", "numba", "pynndescent")
    times = measure(options.repeats)
    for name, values in times.items():
        print(f"{name:30s}{min(values['first']):8.2f} s, then{min(values['next']):8.2f} s")
    if options.store:
        store_row(options.store, "start", {"facts": machine, "repeats": options.repeats, "seconds": times})


if __name__ == "__main__":
    main()
