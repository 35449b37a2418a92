"""Damaged FITS files are refused, and whole ones are read."""

import contextlib
import gzip
import os
import shutil

import numpy as np
import pytest
from astropy.io import fits

from specalign.exceptions import CorruptFileError, SpecalignError
from specalign.io import READERS
from specalign.io.fits_files import checksum_state, header_dict, native, open_fits
from specalign.tests.io import synthetic
from specalign.tests.io.damage import contents, flips, harmless_cuts, structure_cuts


@pytest.fixture(params=list(synthetic.WRITERS))
def whole(request, tmp_path):
    """A whole file and the reader of its instrument."""
    instrument, write = synthetic.WRITERS[request.param]
    path = tmp_path / request.param
    write(path)
    return path, READERS[instrument]


def test_every_cut_is_refused_with_the_path_or_changes_nothing(whole):
    path, read = whole
    raw, expected = path.read_bytes(), contents(read(path))
    is_harmless = harmless_cuts(path)
    for size in structure_cuts(len(raw), random=60, seed=1):
        path.write_bytes(raw[:size])
        if is_harmless(size):
            with contextlib.suppress(CorruptFileError):
                found = contents(read(path))
                assert found == expected[: len(found)]
                assert len(found) == len(expected) or path.suffix == ".csv"
        else:
            with pytest.raises(CorruptFileError, match=rf"{path.name}: .* fetch or copy it again"):
                read(path)


@pytest.mark.parametrize("name", [name for name in synthetic.FITS if not name.endswith(".gz")])
def test_every_flipped_bit_is_refused_where_there_are_checksums(name, tmp_path):
    instrument, write = synthetic.WRITERS[name]
    path = tmp_path / name
    write(path, checksum=True)
    assert READERS[instrument](path)[0].meta["checksum"] == "verified"
    raw = path.read_bytes()
    for damaged in flips(raw, number=60, seed=2):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=name):
            READERS[instrument](path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in synthetic.FITS if not name.endswith(".gz")])
def test_every_cut_and_300_flips(name, tmp_path):
    instrument, write = synthetic.WRITERS[name]
    path = tmp_path / name
    write(path, checksum=True)
    raw = path.read_bytes()
    cuts = structure_cuts(len(raw), random=200, seed=3)
    is_harmless = harmless_cuts(path)
    damaged = [raw[:size] for size in cuts if not is_harmless(size)]
    for content in [*damaged, *flips(raw, number=300, seed=4)]:
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match=name):
            READERS[instrument](path)


def test_flips_without_checksums_raise_our_errors_only(whole):
    path, read = whole
    raw = path.read_bytes()
    for damaged in flips(raw, number=25, seed=5):
        path.write_bytes(damaged)
        with contextlib.suppress(SpecalignError):
            read(path)


def test_a_lost_checksum_keyword_is_noticed(tmp_path):
    path = tmp_path / "a.fits"
    synthetic.aspcapstar(path, checksum=True)
    path.write_bytes(path.read_bytes().replace(b"CHECKSUM=", b"CHECKSUX=", 1))
    with pytest.raises(CorruptFileError, match="extension 0 has lost its CHECKSUM"), open_fits(path):
        pass


def test_a_sum_of_the_data_alone_is_checked(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones(3)).writeto(path, checksum="datasum")
    with open_fits(path) as hdus:
        assert "CHECKSUM" not in hdus[0].header
    path.write_bytes(path.read_bytes().replace(b"\x3f\xf0", b"\x3f\xf1", 1))
    with pytest.raises(CorruptFileError, match=r"sum to .*, and DATASUM says"), open_fits(path):
        pass


def test_no_handle_stays_open(whole):
    path, read = whole
    handles = [len(os.listdir("/proc/self/fd"))] if os.path.isdir("/proc/self/fd") else []
    raw = path.read_bytes()
    for size in (len(raw), len(raw) // 2, 100):
        path.write_bytes(raw[:size])
        with contextlib.suppress(CorruptFileError):
            read(path)
        assert not handles or len(os.listdir("/proc/self/fd")) == handles[0]


def test_provenance_says_that_there_is_no_checksum(whole):
    path, read = whole
    assert {spectrum.meta["checksum"] for spectrum in read(path)} == {"none"}


def test_some_checksums(tmp_path):
    path = tmp_path / "a.fits"
    first, second = fits.PrimaryHDU(np.ones(3)), fits.ImageHDU(np.ones(3))
    first.add_checksum()
    fits.HDUList([first, second]).writeto(path)
    with open_fits(path) as hdus:
        assert checksum_state(hdus) == "partly"


def test_our_checksum_is_that_of_astropy(tmp_path):
    path = tmp_path / "a.fits"
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 719, 720, 721, 600_000):
        fits.PrimaryHDU(rng.integers(0, 256, size).astype(np.uint8)).writeto(path, checksum=True, overwrite=True)
        with open_fits(path) as hdus:
            assert hdus[0].verify_checksum() == hdus[0].verify_datasum() == 1


@pytest.mark.parametrize("size", [10**12, 2**63, 10**19])
def test_a_claimed_size_is_checked_before_anything_is_allocated(size, tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones(3)).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"NAXIS1  =                    3", b"NAXIS1  =%21d" % size))
    with pytest.raises(CorruptFileError, match=r"a.fits: extension 0 claims \d{13,} bytes"), open_fits(path):
        pass


def test_a_packed_file_that_claims_far_too_much_is_refused(tmp_path):
    path = tmp_path / "a.fits.gz"
    header = fits.PrimaryHDU(np.ones(3)).header
    header["NAXIS1"] = 10**12
    path.write_bytes(gzip.compress(header.tostring().encode() + bytes(10**6)))
    with pytest.raises(CorruptFileError, match="not plausible"), open_fits(path):
        pass


@pytest.mark.parametrize(
    ("card", "value", "message"),
    [
        (b"BITPIX  =                  -64", b"BITPIX  =                   17", "BITPIX = 17"),
        (b"BITPIX  =                  -64", b"BITPIX  =                  abc", "BITPIX is 'abc'"),
        (b"NAXIS1  =                    3", b"NAXIS1  =                   -3", "negative size"),
        (b"NAXIS   =                    1", b"NAXIS   =                 1000", "NAXIS = 1000"),
    ],
)
def test_impossible_headers(card, value, message, tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones(3)).writeto(path)
    raw = path.read_bytes()
    assert card in raw
    path.write_bytes(raw.replace(card, value))
    with pytest.raises(CorruptFileError, match=message), open_fits(path):
        pass


def test_fewer_extensions_than_announced(tmp_path):
    path = tmp_path / "a.fits"
    primary = fits.PrimaryHDU(np.ones(3))
    primary.header["NEXTEND"] = 2
    fits.HDUList([primary, fits.ImageHDU(np.ones(3))]).writeto(path)
    with pytest.raises(CorruptFileError, match="announces 2 extensions, and 1 are there"), open_fits(path):
        pass


def test_bytes_after_the_last_extension(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones(3)).writeto(path)
    raw = path.read_bytes()
    path.write_bytes(raw + bytes(2880))  # the end of a tape block
    with open_fits(path) as hdus:
        assert hdus[0].data.tolist() == [1, 1, 1]
    for tail in (b"junk", bytes(2880) + b"junk"):
        path.write_bytes(raw + tail)
        with pytest.raises(CorruptFileError, match="extension"), open_fits(path):
            pass


def test_errors_of_the_reader_become_a_damaged_file(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones(3)).writeto(path)
    message = r"a.fits: the content cannot be interpreted .KeyError"
    with pytest.raises(CorruptFileError, match=message) as caught, open_fits(path) as hdus:
        hdus[0].header["ABSENT"]
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_card_that_is_not_standard(tmp_path):
    path = tmp_path / "a.fits"
    primary = fits.PrimaryHDU(np.ones(3))
    primary.header["AKTARG"] = "NAN"
    primary.header["EMPTY"] = None
    primary.header["COMMENT"] = "not a fact"
    primary.writeto(path)
    path.write_bytes(path.read_bytes().replace(b"'NAN     '", b"NAN       "))
    with open_fits(path) as hdus:
        header = header_dict(hdus[0].header)
    assert header["AKTARG"] == "NAN"
    assert header["EMPTY"] is None
    assert "COMMENT" not in header


def test_native_copies_whatever_is_given():
    array = np.arange(6, dtype=">f4").reshape(2, 3)[:, ::-1]
    array.flags.writeable = False
    copy = native(array)
    assert copy.dtype == np.float32
    assert copy.flags.writeable
    assert copy.flags.c_contiguous
    assert copy.tolist() == array.tolist()


def test_a_packed_file_is_known_by_its_content(tmp_path):
    synthetic.lamost_coadd(tmp_path / "a.fits")
    packed = tmp_path / "b.fits"
    with open(tmp_path / "a.fits", "rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    assert contents(READERS["lamost"](packed)) == contents(READERS["lamost"](tmp_path / "a.fits"))
