"""Another process and a file: what goes there comes back as it was."""

import hashlib
import multiprocessing
import os
import sys
import types
from contextlib import contextmanager

import numpy as np

from specalign.instruments.prepared import PreparedSpectra
from specalign.testing.contract import fail
from specalign.testing.instrument_kit.case import ARRAYS, compare

__all__ = ["CHECKS"]

TIME_LIMIT = 120.0  # seconds, of a process that has to import the package
_ADVICE = "A class goes there by its name: put it into a module; in a script, check it under __name__ == '__main__'"
_FAREWELL = 10.0  # seconds, of a process that has answered
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def file_gives_the_same_arrays(case, rng):
    """What was prepared, written and read again has the same bits, facts and record."""
    path = case.folder / "prepared.fits"
    case.prepared.write(path)
    again = PreparedSpectra.read(path)
    compare(case.prepared, again, "prepared, written and read")
    for name in ("instrument", "quality_bits", "axis_kind", "flux_unit"):
        if getattr(case.prepared, name) != getattr(again, name):
            fail(f"{name}: expected {getattr(case.prepared, name)} from the file, got {getattr(again, name)}")
    if again.instrument != case.instrument.record:
        fail(f"expected the record of the instrument, {case.instrument.record}, got {again.instrument}")


def spawned_process_gives_the_same_arrays(case, rng):
    """The instrument goes to a new process, as those of a data loader are, and prepares the same bits there."""
    flux, ivar = case.draw(rng, 2)
    expected = digest(case.prepare(flux, ivar))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_prepare_elsewhere, args=(there,), daemon=True)
    with _one_thread(), _main_left_alone(case.instrument):
        process.start()
    try:
        there.close()
        found = _answer(here, (case.instrument, flux, ivar))
    finally:
        here.close()
        process.join(_FAREWELL)
        process.kill()
        process.join()
    if found != expected:
        fail(f"expected the bits that this process makes, {expected[:12]}, got {found[:400]}")


def _answer(pipe, question):
    """What the other process says; the question goes through the pipe, where one that has ended blocks nobody."""
    try:
        pipe.send(question)
    except OSError:
        fail(f"the other process ended at once. {_ADVICE}")
    except Exception as error:
        fail(f"the instrument cannot be sent to another process: {type(error).__name__}: {error}")
    if not pipe.poll(TIME_LIMIT):
        fail(f"expected an answer of the other process within {TIME_LIMIT:.0f} s, got none")
    try:
        return pipe.recv()
    except (EOFError, OSError):
        fail(f"the other process ended without an answer. {_ADVICE}")


@contextmanager
def _main_left_alone(instrument):
    """A process that starts meanwhile does not run the script again, unless the instrument is defined in it."""
    main = sys.modules["__main__"]
    if type(instrument).__module__ == "__main__":
        yield
        return
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _one_thread():
    """Variables that a process started meanwhile inherits: it shares the machine with this one."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _prepare_elsewhere(pipe):
    try:
        instrument, flux, ivar = pipe.recv()
        names = [f"star-{i}" for i in range(len(flux))]
        answer = digest(instrument.prepare_arrays(flux, ivar, spectral_axis=instrument.spectral_axis, object_id=names))
    except AttributeError as error:
        answer = f"AttributeError: {error}. {_ADVICE}"
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    pipe.send(answer)


def digest(prepared):
    """SHA-256 of the arrays of `PreparedSpectra`."""
    found = hashlib.sha256()
    for name in ARRAYS:
        found.update(np.ascontiguousarray(getattr(prepared, name)).tobytes())
    return found.hexdigest()


CHECKS = (file_gives_the_same_arrays, spawned_process_gives_the_same_arrays)
