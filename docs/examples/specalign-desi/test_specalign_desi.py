"""The contract, and what specutils and real rows of DESI say of the reader."""

from pathlib import Path

import numpy as np
import pytest
import specalign_desi
import specutils
from astropy.io import fits
from specutils import SpectrumList

from specalign.exceptions import CorruptFileError, EmptySpectrumError, VelocityWarning
from specalign.io.quality import decode
from specalign.testing import parametrize_instrument

# Rows of DESI's Early Data Release, which specutils has for its own tests.
ROWS = Path(specutils.__file__).parent / "io/default_loaders/tests/desi_test_data"


@parametrize_instrument("desi")
def test_contract(check):
    check()


@pytest.fixture
def path(tmp_path):
    return specalign_desi.Desi().write_example(tmp_path / "star", 1)


def change(path, **arrays):
    with fits.open(path, mode="update") as hdus:
        for name, value in arrays.items():
            hdus[name].data[:] = value
            hdus[name].add_checksum()


def test_specutils_takes_the_example_for_a_coadd(path):
    arms = SpectrumList.read(path)  # its own identifier chooses the loader
    assert [arm.meta["band"] for arm in arms] == ["b", "r", "z"]
    assert arms[0].flux.unit == specalign_desi.FLUX
    assert arms[0].meta["resolution_data"].shape == (2, 11, 2751)


def test_arms_are_joined_by_inverse_variance_without_bad_pixels(path):
    bad = np.zeros((2, 2326), "u4")
    bad[:, 10:] = 1 << 2
    change(path, B_FLUX=2, B_IVAR=1, B_MASK=0, R_FLUX=5, R_IVAR=3, R_MASK=bad)
    star = specalign_desi.read(path)[0]
    bits = [decode(star.meta["quality"][pixel], star.meta["quality_bits"]) for pixel in (2700, 2710, 2760)]
    assert star.flux.value[[2600, 2700, 2710]].tolist() == [2, (2 + 3 * 5) / 4, 2]
    assert star.uncertainty.array[[2600, 2700, 2710, 2760]].tolist() == [1, 4, 1, 0]
    assert bits == [[], ["PARTIAL"], ["COSMIC"]]


def test_other_wavelengths_and_a_file_of_sky_are_refused(path):
    with fits.open(path, mode="update") as hdus:
        hdus["FIBERMAP"].data["OBJTYPE"] = "SKY"
        hdus["FIBERMAP"].add_checksum()
    with pytest.raises(EmptySpectrumError, match="got none among 2"):
        specalign_desi.read(path)
    change(path, B_WAVELENGTH=np.linspace(3600, 5801, 2751))
    with pytest.raises(CorruptFileError, match="arm b: expected 2751 pixels from 3600"):
        specalign_desi.read(path)


@pytest.mark.parametrize("name", specalign_desi.FIBER_COLUMNS)
def test_a_fibre_map_without_a_column_is_refused(path, name):
    with fits.open(path) as hdus:
        kept = [column for column in hdus["FIBERMAP"].columns if column.name != name]
        hdus["FIBERMAP"] = fits.BinTableHDU.from_columns(kept, name="FIBERMAP")
        hdus.writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=f"lacks the columns {name}"):
        specalign_desi.read(path)


def test_a_row_of_one_arm_is_not_taken_for_that_of_every_target(path):
    with fits.open(path) as hdus:
        for kind in ("FLUX", "IVAR", "MASK", "RESOLUTION"):
            hdu = hdus[f"B_{kind}"]
            hdus[f"B_{kind}"] = fits.ImageHDU(hdu.data[:1], hdu.header, name=hdu.name)
            hdus[f"B_{kind}"].add_checksum()
        hdus.writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match="arm b: expected 2 rows, as the fibre map has, got 1"):
        specalign_desi.read(path)


@pytest.mark.skipif(not ROWS.exists(), reason="specutils was installed without the data of its tests")
@pytest.mark.parametrize("name", ["coadd-sv3-dark-26065", "coadd-5-169-thru20210419", "spectra-sv3-dark-26065"])
def test_real_rows(name):
    path, only_b = ROWS / f"{name}.fits", slice(0, 2700)
    spectra, arms = specalign_desi.read(path), SpectrumList.read(path)
    fibers, arm = arms[0].meta["fibermap"], arms[0]
    rows = np.flatnonzero(np.asarray(fibers["OBJTYPE"], str) == "TGT")
    assert [one.meta["object_id"] for one in spectra] == [str(fibers["TARGETID"][row]) for row in rows]
    for one, row in zip(spectra, rows, strict=True):
        flux, good = arm.flux.value[row], ~arm.mask[row] & (arm.uncertainty.array[row] > 0)
        assert (one.mask[only_b] != good[only_b]).all()
        np.testing.assert_allclose(one.flux.value[only_b][good[only_b]], flux[only_b][good[only_b]], 1e-6)
    with pytest.warns(VelocityWarning, match="stay in the barycentric frame"):
        prepared = specalign_desi.Desi().prepare(spectra)
    usable = [one for one in spectra if not one.mask.all()]
    assert (len(prepared), len(prepared.rejected)) == (len(usable), len(spectra) - len(usable))
