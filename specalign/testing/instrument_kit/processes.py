"""Another process and a file: what goes there comes back as it was."""

import hashlib

import numpy as np

from specalign.instruments.prepared import PreparedSpectra
from specalign.testing.children import check_importable, sent_to_a_child
from specalign.testing.contract import fail
from specalign.testing.instrument_kit.case import ARRAYS, compare

__all__ = ["CHECKS"]


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
    check_importable(type(case.instrument))
    found = sent_to_a_child(prepare_and_digest, case.instrument, flux, ivar)
    if found != expected:
        fail(f"expected the bits that this process makes, {expected[:12]}, got {found[:12]}")


def prepare_and_digest(instrument, flux, ivar):
    """The child's part."""
    names = [f"star-{i}" for i in range(len(flux))]
    return digest(instrument.prepare_arrays(flux, ivar, spectral_axis=instrument.spectral_axis, object_id=names))


def digest(prepared):
    """SHA-256 of the arrays of `PreparedSpectra`."""
    found = hashlib.sha256()
    for name in ARRAYS:
        found.update(np.ascontiguousarray(getattr(prepared, name)).tobytes())
    return found.hexdigest()


CHECKS = (file_gives_the_same_arrays, spawned_process_gives_the_same_arrays)
