"""LAMOST low resolution in both formats."""

import astropy.units as u
import numpy as np
import pytest
from astropy.constants import c
from astropy.io import fits

from specalign.exceptions import CorruptFileError, SpectrumError, SpectrumUnitError, UnknownProductError
from specalign.io.lamost import QUALITY_BITS, read
from specalign.io.quality import decode
from specalign.tests.io import synthetic

WRITERS = {"lrs-coadd": synthetic.lamost_coadd, "lrs-image": synthetic.lamost_image}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.fits"


@pytest.mark.parametrize("product", list(WRITERS))
def test_both_formats(product, path):
    flux, ivar, wavelength, _, _ = WRITERS[product](path)
    (spectrum,) = read(str(path))
    assert spectrum.flux.unit == u.dimensionless_unscaled
    np.testing.assert_allclose(spectrum.flux.value, flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), wavelength, rtol=1e-6)
    assert spectrum.uncertainty.array.tolist() == ivar.tolist()
    meta = spectrum.meta
    assert (meta["product"], meta["frame"], meta["medium"]) == (product, "barycentric", "vacuum")
    assert (meta["object_id"], meta["spectrum_id"]) == ("LAMOST J100844.60+024356.7", "lamost-95008071")
    assert (meta["snr"], meta["resolving_power"], meta["velocity_source"]) == (21.8, 1800.0, "header Z")
    assert meta["radial_velocity"].to_value(u.km / u.s) == pytest.approx(1e-4 * c.to_value(u.km / u.s), rel=1e-4)


@pytest.mark.parametrize("product", list(WRITERS))
def test_and_mask_is_bad_and_or_mask_is_information(product, path):
    WRITERS[product](path)
    (spectrum,) = read(path)
    named = [decode(spectrum.meta["quality"][i], spectrum.meta["quality_bits"]) for i in (4, 10, 11, 12, 13)]
    assert named == [["NO_IVAR"], ["AND_BADCCD", "OR_BADCCD"], ["OR_BRIGHTSKY"], ["OR_UNDOCUMENTED"], []]
    assert np.flatnonzero(spectrum.mask).tolist() == [4, 10]
    assert len(set(QUALITY_BITS.values())) == len(QUALITY_BITS)


@pytest.mark.parametrize(
    ("header", "name", "star"),
    [
        ({"OBSID": -28762}, "lamost-56286-HD10-8-71", "LAMOST J100844.60+024356.7"),
        ({"OBSID": None}, "lamost-56286-HD10-8-71", "LAMOST J100844.60+024356.7"),
        ({"OBSID": None, "PLANID": ""}, "a.fits", "LAMOST J100844.60+024356.7"),
        ({"DESIG": ""}, "lamost-95008071", "lamost-95008071"),
    ],
)
def test_names_without_an_obsid(header, name, star, path):
    synthetic.lamost_coadd(path, header=header)
    (spectrum,) = read(path)
    assert (spectrum.meta["spectrum_id"], spectrum.meta["object_id"]) == (name, star)


@pytest.mark.parametrize("z", [-9999, -9999.0, "", 2.5])
def test_a_redshift_that_is_not_known_is_no_velocity(z, path):
    synthetic.lamost_coadd(path, header={"Z": z})
    (spectrum,) = read(path)
    assert (spectrum.meta["radial_velocity"], spectrum.meta["velocity_source"]) == (None, "none")


def test_air_and_observed_wavelengths_are_facts(path):
    synthetic.lamost_coadd(path, header={"VACUUM": False, "HELIO": False})
    (spectrum,) = read(path)
    assert (spectrum.meta["medium"], spectrum.meta["frame"]) == ("air", "observed")


def test_the_signal_to_noise_of_older_files(path):
    synthetic.lamost_image(path)
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["SNRG"]
        hdus[0].header["SN_G"] = 46.7
    assert read(path)[0].meta["snr"] == 46.7


@pytest.mark.parametrize(("unit", "factor"), [("nm", 0.1), ("um", 1e-4), ("Angstrom", 1)])
def test_a_stated_unit_is_used(unit, factor, path):
    wavelength = 10 ** (3.5682 + 1e-4 * np.arange(synthetic.N_LAMOST))
    synthetic.lamost_coadd(path, unit=unit, wavelength=wavelength * factor)
    (spectrum,) = read(path)
    np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), wavelength, rtol=1e-12)


@pytest.mark.parametrize("unit", ["s", "parrot"])
def test_a_wrong_unit_is_named(unit, path):
    synthetic.lamost_coadd(path, unit=unit)
    with pytest.raises(SpectrumUnitError, match=rf"{unit}.*expected .*Angstrom"):
        read(path)


@pytest.mark.parametrize(("pixel", "value"), [(7, np.nan), (7, -1.0), (7, 0.0), (7, 3700.0)])
def test_a_broken_axis_names_the_file_and_the_pixel(pixel, value, path):
    wavelength = 10 ** (3.5682 + 1e-4 * np.arange(synthetic.N_LAMOST))
    wavelength[pixel] = value
    synthetic.lamost_coadd(path, wavelength=wavelength)
    with pytest.raises(SpectrumError, match=rf"a.fits .*wavelength \[{pixel}\] (is|=) {value}"):
        read(path)


def test_medium_resolution_is_refused_by_name(path):
    primary = fits.PrimaryHDU()
    primary.header.update(TELESCOP="LAMOST", EXTNAME="Information")
    fits.HDUList([primary, fits.ImageHDU(np.ones(3), name="COADD_B")]).writeto(path)
    with pytest.raises(UnknownProductError, match=r"medium-resolution spectrum of LAMOST .*reads lrs-coadd, lrs-image"):
        read(path)


def test_parts_that_are_missing(path):
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "LAMOST"
    fits.HDUList([primary, fits.ImageHDU(np.ones(3), name="OTHER")]).writeto(path)
    with pytest.raises(CorruptFileError, match=r"has the table COADD, and only .*OTHER"):
        read(path)
    table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "2E", array=np.ones((1, 2)))], name="COADD")
    fits.HDUList([primary, table]).writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=r"lacks the columns .*'IVAR', 'WAVELENGTH'"):
        read(path)
    image = fits.PrimaryHDU(np.ones((3, 9)))
    image.header["TELESCOP"] = "LAMOST"
    image.writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=r"an image with five rows .*got \(3, 9\)"):
        read(path)
