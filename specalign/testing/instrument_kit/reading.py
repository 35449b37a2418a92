"""Examples and files: an instrument makes and reads its own, and refuses everything else with the package's errors."""

import functools
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from specalign.exceptions import SpecalignError
from specalign.instruments import get_instrument
from specalign.instruments.spectra import inverse_variance
from specalign.plugins import find_plugins
from specalign.testing.contract import fail

__all__ = ["CHECKS"]

_FLIPS = 8  # copies of its file with one flipped bit


def makes_examples(case, rng):
    """``make_example`` gives as many spectra as asked, of different stars, the same for a seed, all of them usable."""
    seeds = ([case.seed, 3], [case.seed, 3], [case.seed, 4])
    one, again, other = (list(case.sound.make_example(np.random.default_rng(seed), 3)) for seed in seeds)
    counts = len(one), len(case.instrument.make_example(np.random.default_rng(0), 1))
    if counts != (3, 1):
        fail(f"expected 3 spectra and 1, as asked, got {counts[0]} and {counts[1]}")
    stars = [spectrum.meta.get("object_id") for spectrum in one]
    if len(set(stars)) != 3 or len({spectrum.flux.value.tobytes() for spectrum in one}) != 3:
        fail(f"expected three different stars, got {stars}")
    if any((a.flux != b.flux).any() for a, b in zip(one, again, strict=True)):
        fail("expected the same spectra from the same seed, got others")
    if all(np.array_equal(a.flux, b.flux) for a, b in zip(one, other, strict=True)):
        fail("expected other spectra from another seed, got the same")
    if any(spectrum.mask is None or spectrum.uncertainty is None for spectrum in one):
        fail("expected spectra with a mask and an uncertainty")
    prepared = case.instrument.prepare(one)
    if len(prepared) != 3:
        fail(f"expected 3 rows that can be prepared, got rejected: {list(prepared.rejected['reason'])}")


def reads_its_own_file(case, rng):
    """``write_example`` writes one file where it was told, and ``read`` takes it, visits or not, with facts that
    ``prepare`` needs, and leaves it as it was.
    """
    folder = Path(tempfile.mkdtemp(dir=case.folder))
    path = case.sound.write_example(folder / "a.file", np.random.default_rng([case.seed, 5]))
    found = sorted(one.name for one in folder.iterdir())
    if found != [path.name] or not path.name.startswith("a.file"):
        fail(f"expected one file whose name begins with 'a.file', and its path, got {path} and the files {found}")
    before = path.read_bytes()
    spectra = case.instrument.read(path)
    _usable(case, spectra, "combined")
    visits = _read(case, path, "its own file with visits='all'", visits="all")
    if visits is not None:  # a file of sums alone may refuse
        _usable(case, visits, "all")
    if [_bits(a) for a in spectra] != [_bits(b) for b in case.instrument.read(str(path))]:
        fail("reading the file again, by its name as a str, gives other spectra")
    if path.read_bytes() != before:
        fail("reading the file has changed it")


def _usable(case, spectra, visits):
    """Spectra say what they are, bad pixels are masked, and they can be prepared."""
    products = {product.name for product in case.instrument.products}
    for spectrum in spectra:
        if spectrum.meta.get("instrument") != case.instrument.name or spectrum.meta.get("product") not in products:
            stated = {name: spectrum.meta.get(name) for name in ("instrument", "product")}
            fail(f"expected a spectrum of {case.instrument.name}, of a product among {sorted(products)}, got {stated}")
        _bad_pixels_are_masked(spectrum)
    prepared = case.instrument.prepare(list(spectra)) if len(spectra) else ()
    if not len(prepared):
        reasons = list(prepared.rejected["reason"]) if len(spectra) else "nothing was read"
        fail(f"visits={visits!r}: expected a row that can be prepared, got rejected: {reasons}")


def _bad_pixels_are_masked(spectrum):
    """What says nothing is masked by the reader already."""
    mask = np.zeros(spectrum.flux.shape, bool) if spectrum.mask is None else np.asarray(spectrum.mask)
    loose = np.flatnonzero((~np.isfinite(spectrum.flux.value) | (inverse_variance(spectrum) == 0)) & ~mask)
    if loose.size:
        fail(f"read: pixel {loose[0]} has no flux or no inverse variance, and mask is not True there")


def _bits(spectrum):
    return spectrum.flux.value.tobytes(), np.asarray(spectrum.mask).tobytes(), spectrum.spectral_axis.value.tobytes()


def files_of_others_are_refused(case, rng):
    """A file of each built-in instrument but itself is refused with one of the package's errors."""
    case.file  # noqa: B018  (skips)
    built_in = [plugin.name for plugin in find_plugins("instruments") if plugin.distribution == "specalign"]
    for name in built_in:
        if name != case.instrument.name:
            path = case.folder / f"of-{name}.fits"
            path.write_bytes(_foreign(name, case.seed))
            _must_refuse(case, path, f"a file of {name}")


@functools.lru_cache(maxsize=16)
def _foreign(name, seed):
    """The bytes of a file of a built-in instrument, all of which write FITS."""
    with tempfile.TemporaryDirectory() as folder:
        path = get_instrument(name).write_example(Path(folder) / "foreign", np.random.default_rng([seed, 6]))
        return path.read_bytes()


def junk_is_refused(case, rng):
    """What is no spectrum (nothing, text, random bytes, FITS without data, half a file) raises the package's errors."""
    own = case.file.read_bytes()
    junk = {
        "an empty file": b"",
        "a file of text": b"wavelength flux\n5000 1.0\n",
        "a table of text": b"source,wavelength,flux\n1,5000,1.0\n",
        "random bytes": rng.bytes(20_000),
        "zeros": bytes(5760),
        "a FITS file without data": _fits_bytes(fits.PrimaryHDU()),
        "a FITS image of nothing": _fits_bytes(fits.PrimaryHDU(np.zeros((3, 7)))),
        "a FITS table of something": _fits_bytes(fits.PrimaryHDU(), _table()),
    }
    if own.startswith(b"SIMPLE"):
        junk |= {f"its own file, cut at {share:.0%}": own[: int(share * len(own))] for share in (0.02, 0.3, 0.6)}
    for what, content in junk.items():
        for ending in (case.file.suffix, ".fits"):
            path = case.folder / f"junk{ending}"
            path.write_bytes(content)
            _must_refuse(case, path, what)


def _table():
    return fits.BinTableHDU.from_columns([fits.Column("A", "J", array=np.arange(3))])


def _fits_bytes(*hdus):
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


def _must_refuse(case, path, what):
    found = _read(case, path, what)
    if found is not None:
        fail(f"{what}: expected one of the package's errors, and read gave {len(found)} spectra")


def _read(case, path, what, **options):
    """Spectra, or None where the file was refused as it should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(case.instrument.read(path, **options))
        except SpecalignError:
            return None
        except Exception as error:
            fail(f"{what}: expected one of the package's errors, got {type(error).__name__}: {error}")


def damaged_files_raise_its_errors(case, rng):
    """Its own file, without an extension, a column, rows or pixels, with NaN in the header, or with a flipped bit,
    is refused with the package's errors, or what is prepared of it is finite.
    """
    path = case.folder / f"damaged{case.file.suffix}"
    for what, write in _damages(case.file, rng):
        if write(path):
            spectra = _read(case, path, what)
            if spectra:
                _prepare(case, spectra, what)


def _prepare(case, spectra, what):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            prepared = case.instrument.prepare(spectra)
        except SpecalignError:
            return
        except Exception as error:
            fail(f"{what}: it is read, and preparing it raises {type(error).__name__}: {error}")
    if not (np.isfinite(prepared.flux).all() and np.isfinite(prepared.ivar).all()):
        fail(f"{what}: it is read, and what is prepared of it is not finite")


def _damages(own, rng):
    """What is wrong, and a function that writes the copy (and says whether it could)."""
    raw = own.read_bytes()
    if raw.startswith(b"SIMPLE"):
        with fits.open(own, memmap=False) as hdus:
            sizes = [None if hdu.data is None else hdu.data.shape for hdu in hdus]
            columns = [hdu.columns.names if isinstance(hdu, fits.BinTableHDU) else [] for hdu in hdus]
        for k in range(1, len(sizes)):
            yield f"without extension {k}", _edited(own, lambda hdus, k=k: hdus.pop(k))
        for k, (shape, names) in enumerate(zip(sizes, columns, strict=True)):
            for name in names:
                yield f"without the column {name}", _edited(own, lambda hdus, k=k, name=name: _drop(hdus, k, name))
            if shape is not None:
                yield f"with half of extension {k}", _edited(own, lambda hdus, k=k: _halve(hdus, k))
        for value in ("NaN", -9999.0):
            yield f"with {value} in its headers", _edited(own, lambda hdus, value=value: _spoil(hdus, value))
    for place, bit in zip(rng.integers(0, len(raw), _FLIPS), rng.integers(0, 8, _FLIPS), strict=True):
        yield f"with bit {bit} of byte {place} flipped", _flipped(raw, int(place), int(bit))


def _edited(own, edit):
    def write(path):
        path.unlink(missing_ok=True)
        try:
            with warnings.catch_warnings(), fits.open(own, memmap=False) as hdus:
                warnings.simplefilter("ignore")
                edit(hdus)
                hdus.writeto(path, output_verify="silentfix+ignore")
        except (AttributeError, LookupError, ValueError, TypeError, OSError, fits.VerifyError):
            return False  # astropy writes no such file
        return True

    return write


def _drop(hdus, k, name):
    old = hdus[k]
    hdus[k] = fits.BinTableHDU.from_columns([c for c in old.columns if c.name != name], name=old.name)
    hdus[k].header.extend(card for card in old.header.cards if not _structural(card.keyword))


def _halve(hdus, k):
    data = hdus[k].data
    if data.dtype.names is None:
        hdus[k].data = data[..., : data.shape[-1] // 2].copy()
    else:
        hdus[k].data = data[: len(data) // 2].copy()


def _spoil(hdus, value):
    for hdu in hdus:
        for card in list(hdu.header.cards):
            if isinstance(card.value, float) and not _structural(card.keyword):
                hdu.header[card.keyword] = value


def _structural(keyword):
    first = ("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "PCOUNT", "GCOUNT", "TFIELDS", "TFORM", "TTYPE", "EXTEND", "END")
    return keyword.startswith((*first, "TUNIT", "TZERO", "TSCAL", "TDIM", "TNULL", "EXTNAME")) or not keyword


def _flipped(raw, place, bit):
    def write(path):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << bit
        path.write_bytes(bytes(damaged))
        return True

    return write


CHECKS = (
    makes_examples,
    reads_its_own_file,
    files_of_others_are_refused,
    junk_is_refused,
    damaged_files_raise_its_errors,
)
