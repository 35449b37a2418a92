"""LAMOST low resolution in both formats, and medium resolution."""

import astropy.units as u
import numpy as np
import pytest
from astropy.constants import c
from astropy.io import fits

from specalign.exceptions import CorruptFileError, EmptySpectrumError, SpectrumError, SpectrumUnitError
from specalign.instruments import get_instrument
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


def test_parts_that_are_missing(path):
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "LAMOST"
    fits.HDUList([primary, fits.ImageHDU(np.ones(3), name="OTHER")]).writeto(path)
    with pytest.raises(CorruptFileError, match=r"has the table COADD, and only .*OTHER"):
        read(path)
    table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "2E", array=np.ones((1, 2)))], name="COADD")
    fits.HDUList([primary, table]).writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=r"COADD lacks the columns IVAR, WAVELENGTH"):
        read(path)
    image = fits.PrimaryHDU(np.ones((3, 9)))
    image.header["TELESCOP"] = "LAMOST"
    image.writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=r"an image with five rows .*got \(3, 9\)"):
        read(path)


def test_both_arms_of_medium_resolution(path):
    synthetic.lamost_mrs(path)
    blue, red = read(path)
    for spectrum, arm, first in ((blue, "B", 3.69), (red, "R", 3.8)):
        meta = spectrum.meta
        assert (meta["product"], meta["arm"], meta["visit"], meta["snr"]) == ("mrs", arm, None, 41.38)
        assert (meta["frame"], meta["medium"], meta["resolving_power"]) == ("barycentric", "vacuum", 7500.0)
        assert (meta["radial_velocity"], meta["velocity_source"]) == (None, "none")
        assert meta["spectrum_id"] == f"lamost-95008071-COADD_{arm}"
        expected = 10 ** (first + 1e-5 * np.arange(synthetic.N_LAMOST))
        np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), expected, rtol=1e-6)
        assert np.flatnonzero(spectrum.mask).tolist() == [4, 10]
        assert decode(meta["quality"][11], meta["quality_bits"]) == ["OR_BRIGHTSKY"]


def test_single_exposures(path):
    synthetic.lamost_mrs(path)
    spectra = read(path, visits="all")
    assert [s.meta["visit"] for s in spectra] == ["B-83906010", "B-83906011", "R-83906010", "R-83906011"]
    assert [s.meta["arm"] for s in spectra] == ["B", "B", "R", "R"]
    whole = read(path)
    for spectrum, summed in ((spectra[0], whole[0]), (spectra[2], whole[1])):
        assert (np.diff(spectrum.spectral_axis.value) > 0).all()
        assert (spectrum.spectral_axis == summed.spectral_axis).all()
        assert (spectrum.flux == summed.flux).all()
        assert np.flatnonzero(spectrum.mask).tolist() == [4, 10]
        assert decode(spectrum.meta["quality"][10], spectrum.meta["quality_bits"]) == ["PIXMASK"]


def test_files_without_sums_or_exposures(path):
    synthetic.lamost_mrs(path, coadds=False)
    with pytest.raises(EmptySpectrumError, match=r"a\.fits: expected tables that begin with COADD_ .*try visits='all'"):
        read(path)
    synthetic.lamost_mrs(path, exposures=0, overwrite=True)
    with pytest.raises(EmptySpectrumError, match=r"begin with B- or R- .*try visits='combined'"):
        read(path, visits="all")


def test_tables_that_were_cut_off(path):
    synthetic.lamost_mrs(path)
    with fits.open(path, mode="update") as hdus:
        del hdus[-1]
    with pytest.raises(CorruptFileError, match=r"the header states 7 extensions \(N_EXTEN\), and 6 are there"):
        read(path)


def test_a_medium_resolution_table_that_lacks_a_column(path):
    primary = fits.PrimaryHDU()
    primary.header.update(TELESCOP="LAMOST", EXTNAME="Information")
    table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "E", array=np.ones(3))], name="COADD_B")
    fits.HDUList([primary, table]).writeto(path)
    with pytest.raises(CorruptFileError, match=r"COADD_B lacks the columns IVAR, LOGLAM, ANDMASK"):
        read(path)
    fits.HDUList([primary, fits.ImageHDU(np.ones(3), name="COADD_B")]).writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=r"COADD_B (has no row|lacks)"):
        read(path)


def test_prepare_takes_one_resolution_and_says_which(path):
    synthetic.lamost_mrs(path)
    low, medium = get_instrument("lamost"), get_instrument("lamost", mode="mrs")
    spectra = low.read(path)
    with pytest.raises(SpectrumError, match=r"product mrs: .*mode='lrs' was expected; .*mode='mrs'\)"):
        low.prepare(spectra[0])
    prepared = low.prepare(spectra, radial_velocity=[0, 0] * u.km / u.s)
    assert (len(prepared), len(prepared.rejected)) == (0, 2)
    synthetic.lamost_coadd(path, overwrite=True)
    with pytest.raises(SpectrumError, match=r"product lrs-coadd: .*mode='mrs' was expected; .*mode='lrs'\)"):
        medium.prepare(medium.read(path)[0])
