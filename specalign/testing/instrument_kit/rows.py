"""Rows: each is prepared as if it were alone, always in the same way, and the input stays as it was."""

import copy
import random

import astropy.units as u
import numpy as np

from specalign.exceptions import SpecalignError
from specalign.io.quality import COMMON_BITS
from specalign.testing.contract import fail, skip
from specalign.testing.instrument_kit.case import as_spectrum, compare, names

__all__ = ["CHECKS"]

_N = 5
_MANY = 35  # more than the base class prepares at once
_ALONE = (0, 1, 31, 32, 34)


def _batch(case, rng, n=_N):
    """Rows with masks and velocities, and all that says how to prepare them."""
    flux, ivar = case.draw(rng, n)
    mask = rng.random(flux.shape) < 0.02
    mask[::2] = False
    velocity = rng.uniform(-100, 100, n) * u.km / u.s
    return {"flux": flux, "ivar": ivar, "mask": mask, "object_id": np.array(names(n)), "radial_velocity": velocity}


def _run(case, batch, at=slice(None)):
    return case.prepare(frame="barycentric", **{name: values[at] for name, values in batch.items()})


def _index(prepared):
    return np.array([int(name.split("-")[1]) for name in prepared.object_id], dtype=int)


def batch_equals_loop(case, rng):
    """A batch gives the same bits as its rows one by one, and so does a list of spectra."""
    batch = _batch(case, rng, _MANY)
    whole = _run(case, batch)
    for k, i in enumerate(_index(whole)):
        if i in _ALONE:
            compare(whole[k : k + 1], _run(case, batch, slice(i, i + 1)), f"row {i} in a batch and alone")
    alone = [case.instrument.prepare([spectrum]) for spectrum in case.examples]
    places = {name: k for k, name in enumerate(case.prepared.spectrum_id)}
    for one in alone:
        for k, name in enumerate(one.spectrum_id):
            compare(case.prepared[[places.get(name, 0)]], one[k : k + 1], "a spectrum in a list and alone")


def order_of_rows_is_free(case, rng):
    """Rows in another order give the same bits in that order."""
    batch, order = _batch(case, rng), rng.permutation(_N)
    whole, mixed = _run(case, batch), _run(case, batch, order)
    places = {name: k for k, name in enumerate(whole.object_id)}
    if sorted(places) != sorted(mixed.object_id):
        fail(f"expected the rows {sorted(places)} in any order, got {sorted(mixed.object_id)}")
    if mixed.object_id.tolist() != [name for name in batch["object_id"][order] if name in places]:
        fail(f"expected rows in the order given, {batch['object_id'][order].tolist()}, got {mixed.object_id.tolist()}")
    compare(whole[[places[name] for name in mixed.object_id]], mixed, "rows in another order")


def one_row_and_none_are_sizes(case, rng):
    """One row gives one row, a single spectrum the same one, and no row an empty result or the package's error."""
    flux, ivar = case.draw(rng, 1)
    axis, shape = case.input_axis, (1, case.sound.n_pixels)
    one = case.prepare(flux, ivar)
    single = case.instrument.prepare(as_spectrum(axis, flux[0], ivar[0], object_id="star-0"))
    if one.flux.shape != shape or one.ivar.shape != shape or one.mask.shape != shape:
        fail(f"one row: expected arrays of shape {shape}, got {one.flux.shape}, {one.ivar.shape}, {one.mask.shape}")
    compare(one, single, "one row of arrays and a single spectrum")
    for what, function in (("prepare_arrays of 0 rows", lambda: case.prepare(flux[:0], ivar[:0])),
                           ("prepare([])", lambda: case.instrument.prepare([]))):  # fmt: skip
        try:
            empty = function()
        except SpecalignError:
            continue
        if len(empty) or empty.flux.shape != (0, shape[1]):
            fail(f"{what}: expected flux of shape {(0, shape[1])}, got {empty.flux.shape}")


def inputs_are_untouched(case, rng):
    """Arrays and spectra are as before, and may be read-only."""
    batch = _batch(case, rng)
    before = {name: np.array(values, copy=True) for name, values in batch.items()}
    for values in batch.values():
        values.setflags(write=False)
    _run(case, batch)
    for name, values in batch.items():
        if not np.array_equal(before[name], np.asarray(values), equal_nan=name != "object_id"):
            fail(f"{name}: the array that was passed has changed")
    spectra = case.examples
    stored = [_contents(spectrum) for spectrum in spectra]
    case.instrument.prepare(spectra)
    case.instrument.mask(spectra[0])
    case.instrument.resample(spectra[0])
    for spectrum, contents in zip(spectra, stored, strict=True):
        for what, then in contents.items():
            if not np.array_equal(np.asarray(_contents(spectrum)[what]), np.asarray(then)):
                fail(f"{what} of the spectrum {spectrum.meta.get('spectrum_id')!r} has changed")


def _contents(spectrum):
    contents = {"flux": spectrum.flux.value, "spectral_axis": spectrum.spectral_axis.value, "mask": spectrum.mask}
    contents["uncertainty"] = spectrum.uncertainty.array
    contents["quality"] = spectrum.meta.get("quality", ())
    facts = {name: repr(value) for name, value in spectrum.meta.items() if name != "quality"}
    return copy.deepcopy(contents | {"meta": repr(sorted(facts.items()))})


def result_is_always_the_same(case, rng):
    """The same input gives the same bits again, and neither it nor an example or a file draws global random numbers."""
    batch, state = _batch(case, rng), _global_state()
    first = _run(case, batch)
    compare(first, _run(case, batch), "the same rows again")
    compare(case.prepared, case.instrument.prepare(case.examples), "the examples again")
    path = case.file  # skips
    work = {
        "prepare": lambda: _run(case, batch),
        "make_example": lambda: case.instrument.make_example(np.random.default_rng(1), 1),
        "write_example": lambda: case.instrument.write_example(case.folder / "again", np.random.default_rng(1)),
        "read": lambda: case.instrument.read(path),
    }
    for name, function in work.items():
        before = state if name == "prepare" else _global_state()
        function()
        if before != _global_state():
            fail(f"{name}: global random numbers, of numpy or of Python, were drawn; use the generator that is passed")


def _global_state():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  (that nobody touches it is the question)
    return kind, keys.tobytes(), *rest, hash(random.getstate())


def bits_are_kept(case, rng):
    """Each quality bit of a pixel comes out with its name; those of ``bad_bits`` mask it, and no other does."""
    one, (start, stop) = case.sound, case.clear
    own = {name: bit for name, bit in one.quality_bits.items() if name not in COMMON_BITS}
    if not own:
        skip("it has no quality bits of its own")
    pixel = start + (stop - start) // 3
    flux, ivar = case.draw(rng, len(own))
    quality = np.zeros(flux.shape, np.int64)
    quality[np.arange(len(own)), pixel] = [1 << bit for bit in own.values()]
    prepared = case.prepare(flux, ivar, quality=quality, object_id=list(own))
    if prepared.quality_bits != one.quality_bits:
        fail(f"quality_bits: expected {one.quality_bits}, got {prepared.quality_bits}")
    out = {name: k for k, name in enumerate(prepared.object_id)}
    rejected = {str(row["object_id"]): str(row["reason"]) for row in prepared.rejected}
    for name, bit in own.items():
        bad = bool(one.bad_bits >> bit & 1)
        if name in rejected and bad and name in rejected[name]:
            continue
        if name not in out:
            fail(f"{name}: a row with this bit in one pixel is rejected: {rejected.get(name)}")
        value, masked = int(prepared.quality[out[name], pixel]), bool(prepared.mask[out[name], pixel])
        if not value >> bit & 1:
            fail(f"{name}: expected bit {bit} at pixel {pixel}, got {value:#x}")
        if masked != bad:
            fail(f"{name}: expected mask {bad} at pixel {pixel}, as bad_bits says, got {masked}")
    _bits_and_mask_agree(case, prepared)
    _bits_and_mask_agree(case, case.prepared)
    _two_bits_of_a_pixel(case, own, pixel)
    if case.has_wavelengths:
        _bits_on_another_axis(case, own, pixel)
        _bits_are_joined(case, own, pixel)


def _bits_and_mask_agree(case, prepared):
    """A pixel is masked where it has a bad bit and nowhere else: whoever reads the bits later gets the same mask."""
    differs = np.argwhere(prepared.mask != ((prepared.quality & np.uint32(case.sound.bad_bits)) != 0))
    if len(differs):
        at = tuple(differs[0])
        fail(f"row {at[0]}, pixel {at[1]}: mask is {prepared.mask[at]}, and its bits are {prepared.quality[at]:#x}")


def _two_bits_of_a_pixel(case, own, pixel):
    """All bits of a pixel at once."""
    flux, ivar = case.draw(rng=np.random.default_rng(case.seed), n=1)
    quality = np.zeros(flux.shape, np.int64)
    quality[0, pixel] = wanted = sum(1 << bit for bit in own.values())
    prepared = case.prepare(flux, ivar, quality=quality)
    if len(prepared) and int(prepared.quality[0, pixel]) & wanted != wanted:
        fail(f"expected the bits {wanted:#x} of pixel {pixel}, all its own, got {prepared.quality[0, pixel]:#x}")


def _bits_are_joined(case, own, pixel):
    """Of several input pixels in one of the grid, each leaves its bit, unless it is masked and takes no part."""
    free = [bit for bit in own.values() if not case.sound.bad_bits >> bit & 1]
    grid, axis = case.sound.spectral_axis.value, case.other_axis(0.2, margin=1)
    inside = np.flatnonzero(np.abs(axis - grid[pixel]) < 0.35 * (grid[pixel + 1] - grid[pixel]))
    quality = np.zeros((len(inside), axis.size), np.int64)
    quality[np.arange(len(inside)), inside] = sum(1 << bit for bit in free)
    flux = np.full(quality.shape, 100.0)
    prepared = case.prepare(flux, np.ones_like(flux), quality=quality, spectral_axis=axis * u.AA, normalized=True)
    lost = np.flatnonzero(prepared.quality[:, pixel] & quality.max() != quality.max())
    if lost.size:
        fail(f"input pixel {inside[lost[0]]}, one of {len(inside)} in pixel {pixel}, has bits {quality.max():#x}: lost")


def _bits_on_another_axis(case, own, pixel):
    """A run of pixels with a bit leaves it in the pixel that it covers; a smaller part may only say PARTIAL."""
    axis = case.other_axis(0.8, margin=1)
    place = int(np.searchsorted(axis, case.sound.spectral_axis.value[pixel]))
    quality = np.zeros((len(own), axis.size), np.int64)
    quality[:, place - 4 : place + 5] = [[1 << bit] for bit in own.values()]
    flux = np.full(quality.shape, 100.0)
    facts = {"spectral_axis": axis * u.AA, "normalized": True, "object_id": list(own)}
    prepared = case.prepare(flux, np.ones_like(flux), quality=quality, **facts)
    for name, values in zip(prepared.object_id, prepared.quality, strict=True):
        if not int(values[pixel]) >> own[name] & 1:
            fail(f"{name}: expected bit {own[name]} at pixel {pixel} of a row on another axis, got {values[pixel]:#x}")


CHECKS = (
    batch_equals_loop,
    order_of_rows_is_free,
    one_row_and_none_are_sizes,
    inputs_are_untouched,
    result_is_always_the_same,
    bits_are_kept,
)
