"""aspcapStar, apStar, apVisit and mwmStar."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from specutils import Spectrum, SpectrumList

from specalign.exceptions import (
    CorruptFileError,
    SpectrumError,
    SpectrumUnitError,
    UnknownProductError,
    VelocityWarning,
)
from specalign.io.apogee import BAD_BITS, PRODUCTS, QUALITY_BITS, read
from specalign.io.quality import decode
from specalign.tests.io import synthetic
from specalign.tests.io.synthetic import N_APOGEE, STAR


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.fits"


def test_aspcapstar(path):
    flux = synthetic.aspcapstar(path)
    spectra = read(str(path))
    assert isinstance(spectra, SpectrumList)
    (spectrum,) = spectra
    assert spectrum.flux.unit == u.dimensionless_unscaled
    assert spectrum.flux.value.tolist() == flux.astype(float).tolist()
    expected = 10 ** (4.179 + 6e-6 * np.arange(N_APOGEE))
    np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), expected, rtol=1e-14)
    assert spectrum.uncertainty.array[3:] == pytest.approx(1e4, rel=1e-6)
    assert spectrum.mask.tolist() == [True] * 3 + [False] * (N_APOGEE - 3)
    meta = spectrum.meta
    assert (meta["product"], meta["frame"], meta["medium"]) == ("aspcapStar", "rest", "vacuum")
    assert (meta["normalization"], meta["object_id"], meta["snr"]) == ("continuum", STAR, 148.8)
    assert (meta["radial_velocity"], meta["velocity_source"]) == (10.0 * u.km / u.s, "header VHELIO")
    assert (meta["resolving_power"], meta["visit"], meta["path"]) == (22500.0, None, str(path))


@pytest.mark.parametrize(("visits", "rows"), [(1, None), (1, 2), (2, None), (3, None)])
def test_apstar_with_one_visit_or_many(visits, rows, path):
    stack = synthetic.apstar(path, visits=visits, rows=rows)
    (combined,) = read(path)
    assert combined.flux.unit == 1e-17 * u.erg / u.s / u.cm**2 / u.AA
    np.testing.assert_allclose(combined.flux.value, stack[0], rtol=1e-6)
    assert (combined.meta["frame"], combined.meta["normalization"]) == ("rest", "none")
    assert (combined.meta["snr"], combined.meta["radial_velocity"]) == (95.0, -270.2 * u.km / u.s)
    each = read(path, visits="all")
    first = len(stack) - visits
    assert len(each) == visits
    for i, spectrum in enumerate(each):
        np.testing.assert_allclose(spectrum.flux.value, stack[first + i], rtol=1e-6)
    if first:
        assert [s.meta["visit"] for s in each] == [f"apVisit-{i + 1}.fits" for i in range(visits)]
        assert [s.meta["radial_velocity"].value for s in each] == [-271.0 - i for i in range(visits)]
        assert [s.meta["velocity_source"] for s in each] == [f"header VHELIO{i + 1}" for i in range(visits)]
        assert [s.meta["snr"] for s in each] == [41.0 + i for i in range(visits)]
    ids = [s.meta["spectrum_id"] for s in (*each, combined)]
    assert len(set(ids)) == len(ids) - (first == 0)
    assert {s.meta["object_id"] for s in each} == {STAR}


def test_apstar_of_sdss_v_calls_its_barycentric_velocity_vrad(path):
    """https://github.com/sdss/datamodel, datamodel/products/md/apStar.md: VRAD1 and VRAD2 agree, BC1 and BC2 do not."""
    synthetic.apstar(path, header={"APRED": "1.0", "VRAD": 15.5, "VRAD1": 15.25, "VRAD2": 15.75})
    with fits.open(path, mode="update") as hdus:
        for suffix in ("", "1", "2"):
            del hdus[0].header[f"VHELIO{suffix}"]
    spectra = [*read(path), *read(path, visits="all")]
    assert [s.meta["radial_velocity"].value for s in spectra] == [15.5, 15.25, 15.75]
    assert [s.meta["velocity_source"] for s in spectra] == ["header VRAD", "header VRAD1", "header VRAD2"]
    assert {s.meta["frame"] for s in spectra} == {"rest"}


def test_an_error_of_1e10_is_no_information(path):
    synthetic.apstar(path)
    (spectrum,) = read(path)
    assert spectrum.uncertainty.array[7] == 0
    assert decode(spectrum.meta["quality"][7], spectrum.meta["quality_bits"]) == ["NO_IVAR"]
    assert spectrum.uncertainty.array[8] == 0.25


@pytest.mark.parametrize("dtype", [np.int16, np.int64])
def test_the_flags_of_the_survey_keep_their_names(dtype, path):
    flags = np.zeros((4, N_APOGEE), dtype=dtype)
    flags[0, 20:35] = 1 << np.arange(15)
    flags[0, 35] = -(2**15) if dtype == np.int16 else 2**15
    synthetic.apstar(path, flags=flags)
    (spectrum,) = read(path)
    bits = spectrum.meta["quality_bits"]
    found = [decode(value, bits) for value in spectrum.meta["quality"][20:36]]
    assert found == [[name] for name in QUALITY_BITS]
    assert spectrum.mask[20:36].tolist() == [name in BAD_BITS for name in QUALITY_BITS]


def test_an_empty_row_is_read_and_all_masked(path):
    synthetic.apstar(path, visits=1, rows=2)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[1] = hdus[2].data[1] = 0
    (visit,) = read(path, visits="all")
    assert visit.mask.all()
    assert not visit.uncertainty.array.any()
    assert not read(path)[0].mask.all()


@pytest.mark.parametrize("value", [-9999.0, 999999.0, "NaN"])
def test_a_velocity_that_is_not_known(value, path):
    synthetic.aspcapstar(path, header={"VHELIO": value})
    (spectrum,) = read(path)
    assert (spectrum.meta["radial_velocity"], spectrum.meta["velocity_source"]) == (None, "none")


def test_air_wavelengths_are_a_fact_of_the_spectrum(path):
    synthetic.aspcapstar(path, first={"CTYPE1": "AWAV-LOG"})
    assert read(path)[0].meta["medium"] == "air"


def test_units_that_are_not_those_of_the_survey(path):
    synthetic.aspcapstar(path, first={"CTYPE1": "LINEAR"})
    with pytest.raises(SpectrumUnitError, match=r"a.fits: expected CTYPE1 = 'LOG-LINEAR' .*, got 'LINEAR'"):
        read(path)
    path.unlink()
    synthetic.apstar(path)
    for unit, message in (("m", "has the unit m; expected"), ("parrots", "'parrots'; expected")):
        with fits.open(path, mode="update") as hdus:
            hdus[1].header["BUNIT"] = unit
        with pytest.raises(SpectrumUnitError, match=message):
            read(path)


def test_no_name_of_the_star_stays_no_name(path):
    synthetic.aspcapstar(path, header={"OBJ": ""})
    with fits.open(path, mode="update") as hdus:
        del hdus[4]
        table = fits.BinTableHDU.from_columns([fits.Column("APOGEE_ID", "18A", array=[""])])
        hdus.append(table)
    assert read(path)[0].meta["object_id"] is None


@pytest.mark.parametrize(("write", "keep"), [(synthetic.aspcapstar, 4), (synthetic.apstar, 9), (synthetic.apstar, 3)])
def test_a_file_that_ends_between_two_extensions(write, keep, path):
    write(path)
    with fits.open(path) as hdus:
        fits.HDUList(hdus[:keep]).writeto(path.with_name("b.fits"))
    with pytest.raises(CorruptFileError, match=rf"b.fits: this a\w+Star has \d+ extensions, and {keep} are there"):
        read(path.with_name("b.fits"))


def test_extensions_that_the_history_announces(path):
    synthetic.apstar(path, header={"HISTORY": "HDU10 : RV table for combined spectrum"})
    with pytest.raises(CorruptFileError, match="this apStar has 11 extensions, and 10 are there"):
        read(path)


def test_more_visits_than_rows(path):
    synthetic.apstar(path, visits=3, rows=3)
    assert len(read(path)) == 1
    with pytest.raises(CorruptFileError, match="counts 3 visits, and the images have 3 rows"):
        read(path, visits="all")


def test_arrays_of_different_shapes(path):
    synthetic.apstar(path, flags=np.zeros((4, 5), dtype=np.int16))
    with pytest.raises(CorruptFileError, match=r"shapes \(4, 300\), \(4, 300\) and \(4, 5\)"):
        read(path)


@pytest.mark.parametrize("visits", ["combined", "all"])
def test_apvisit(visits, path):
    wavelength, flux = synthetic.apvisit(path)
    (spectrum,) = read(path, visits=visits)
    assert spectrum.flux.unit == 1e-17 * u.erg / u.s / u.cm**2 / u.AA
    np.testing.assert_allclose(spectrum.flux.value, flux.ravel(), rtol=1e-6)
    assert spectrum.spectral_axis.to_value(u.AA).tolist() == wavelength.ravel().tolist()
    assert (np.diff(spectrum.spectral_axis) < 0).all()
    assert np.flatnonzero(spectrum.mask).tolist() == [60 + 7]
    assert spectrum.uncertainty.array[0] == 0.25
    meta = spectrum.meta
    assert (meta["product"], meta["frame"], meta["medium"]) == ("apVisit", "observed", "vacuum")
    assert (meta["normalization"], meta["object_id"], meta["snr"]) == ("none", STAR, 45.0)
    assert (meta["radial_velocity"], meta["velocity_source"]) == (-44.5 * u.km / u.s, "header VRAD")
    assert meta["barycentric_correction"] == 11.25 * u.km / u.s
    assert meta["visit"] == "apVisit-r12-5095-55844-128.fits"
    assert meta["spectrum_id"] == f"apVisit-{STAR}-r12-5095-55844-128"


def test_the_flags_of_an_apvisit_stay_with_their_pixels(path):
    flags = np.zeros((3, 60), dtype=np.int16)
    flags[[0, 1, 2], [3, 4, 5]] = [1 << 1, 1 << 12, 1 << 14]
    synthetic.apvisit(path, flags=flags)
    (spectrum,) = read(path)
    quality, bits = spectrum.meta["quality"], spectrum.meta["quality_bits"]
    named = {i: decode(quality[i], bits) for i in np.flatnonzero(quality)}
    assert named == {3: ["CRPIX"], 64: ["SIG_SKYLINE"], 67: ["NO_IVAR"], 125: ["NOT_ENOUGH_PSF"]}
    assert np.flatnonzero(spectrum.mask).tolist() == [3, 67, 125]


def test_an_apvisit_of_dr17_states_no_velocity(path):
    """DR17 removed VRAD, VHELIO and BC from the header, and its table has no file name in some releases."""
    synthetic.apvisit(path)
    with fits.open(path, mode="update") as hdus:
        for key in ("VRAD", "VHELIO", "BC", "CCPEAK"):
            del hdus[0].header[key]
        hdus[11].columns.change_name("FILE", "URI")
    (spectrum,) = read(path)
    meta = spectrum.meta
    assert (meta["radial_velocity"], meta["velocity_source"], meta["barycentric_correction"]) == (None, "none", None)
    assert (meta["visit"], meta["frame"]) == ("a.fits", "observed")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"CCPEAK": 0.07}, r"a.fits: VRAD = -44.5 km/s is doubtful: .* a peak of 0.07; pass radial_velocity="),
        ({"VHELIO": -44.5}, r"a.fits: VRAD = -44.5, BC = 11.25 and VHELIO = -44.5 km/s contradict each other; pass"),
    ],
)
def test_a_velocity_that_the_file_itself_doubts(header, message, path):
    synthetic.apvisit(path, header=header)
    with pytest.warns(VelocityWarning, match=message) as caught:
        (spectrum,) = read(path)
    assert caught[0].filename == __file__
    assert spectrum.meta["radial_velocity"] == -44.5 * u.km / u.s


@pytest.mark.parametrize("keep", [1, 2, 5, 11])
def test_an_apvisit_that_ends_between_two_extensions(keep, path):
    synthetic.apvisit(path, hdus=keep, header={"HISTORY": "AP1DVISIT:  HDU10 - LSF coefficients"})
    message = "the file holds a header and no data" if keep == 1 else f"this apVisit has 12 extensions, and {keep} are"
    with pytest.raises(CorruptFileError, match=message):
        read(path)


def test_wavelengths_of_an_apvisit_that_cannot_be(path):
    synthetic.apvisit(path)
    with fits.open(path, mode="update") as hdus:
        hdus[4].header["BUNIT"] = "Wavelength (nm)"
    with pytest.raises(SpectrumUnitError, match=r"expected BUNIT = 'Wavelength \(Ang\)' .*, got 'Wavelength \(nm\)'"):
        read(path)
    with fits.open(path, mode="update") as hdus:
        hdus[4].header["BUNIT"] = "Wavelength (Ang)"
        hdus[4].data = hdus[4].data[::-1]  # the detectors in another order than the fluxes
    with pytest.raises(SpectrumError, match=r"wavelength \[60\] = .* is out of order"):
        read(path)
    with fits.open(path, mode="update") as hdus:
        hdus[4].data = hdus[4].data[:2]
    with pytest.raises(CorruptFileError, match="there are 180 fluxes and 120 wavelengths"):
        read(path)


@pytest.mark.parametrize("visits", ["combined", "all"])
def test_mwmstar(visits, path):
    flux = synthetic.mwmstar(path, telescopes=("apo25m", "apo1m", "lco25m"), checksum=True)
    spectra = read(path, visits=visits)
    assert [s.meta["telescope"] for s in spectra] == ["apo25m", "apo1m", "lco25m"]
    assert [s.meta["spectrum_id"] for s in spectra] == [f"mwmStar-{STAR}-{s.meta['telescope']}" for s in spectra]
    for spectrum in spectra:
        assert spectrum.flux.value.tolist() == flux.astype(float).tolist()
        assert spectrum.flux.unit == 1e-17 * u.erg / u.s / u.cm**2 / u.AA
        expected = 10 ** (4.179 + 6e-6 * np.arange(N_APOGEE))
        np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), expected, rtol=1e-14)
        assert np.flatnonzero(spectrum.mask).tolist() == [0, 1, 2, 20]
        assert decode(spectrum.meta["quality"][21], spectrum.meta["quality_bits"]) == ["SIG_SKYLINE"]
        meta = spectrum.meta
        assert (meta["product"], meta["frame"], meta["medium"], meta["snr"]) == ("mwmStar", "rest", "vacuum", 120.5)
        assert (meta["radial_velocity"], meta["velocity_source"]) == (115.5 * u.km / u.s, "column v_rad")
        assert (meta["object_id"], meta["header"]["SDSS_ID"], meta["checksum"]) == (STAR, 99560000, "verified")


def test_mwmstar_is_as_specutils_reads_it(path):
    synthetic.mwmstar(path, checksum=True)
    ours, theirs = read(path)[0], Spectrum.read(path, format="SDSS-V mwm", hdu=3)
    good = ~ours.mask
    assert (ours.flux == theirs.flux)[good].all()
    assert (ours.uncertainty.array == theirs.uncertainty.array)[good].all()
    np.testing.assert_allclose(ours.spectral_axis.value, theirs.spectral_axis.value, rtol=1e-7)
    assert np.flatnonzero(theirs.mask & good).tolist() == [21]  # specutils takes every flag for a bad pixel


def test_an_mwmstar_without_a_name_of_the_survey_has_its_number(path):
    synthetic.mwmstar(path)
    with fits.open(path, mode="update") as hdus:
        hdus[3].data["obj"] = ""
    assert read(path)[0].meta["object_id"] == "99560000"


def test_an_mwmstar_without_an_axis_in_its_header(path):
    synthetic.mwmstar(path)
    expected = read(path)[0].spectral_axis.value
    with fits.open(path, mode="update") as hdus:
        for key in ("CRVAL", "CDELT", "CRPIX", "CTYPE"):
            del hdus[3].header[key]
    np.testing.assert_allclose(read(path)[0].spectral_axis.value, expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"telescopes": ()}, "an mwmStar without APOGEE spectra"),
        ({"extra": ("mjd",)}, "an Astra file of visits or models"),
        ({"extra": ("model_flux",)}, "an Astra file of visits or models"),
    ],
)
def test_files_of_astra_that_are_not_read(options, found, path):
    synthetic.mwmstar(path, **options)
    with pytest.raises(
        UnknownProductError, match=f"a.fits: found {found}.* reads aspcapStar, apStar, apVisit, mwmStar"
    ):
        read(path)


def test_an_mwmstar_that_ends_between_two_extensions(path):
    synthetic.mwmstar(path)
    with fits.open(path) as hdus:
        fits.HDUList(hdus[:4]).writeto(path.with_name("b.fits"))
    with pytest.raises(CorruptFileError, match="this mwmStar has 5 extensions, and 4 are there"):
        read(path.with_name("b.fits"))


def test_an_image_of_all_fibers_is_no_apvisit(path):
    images = [fits.ImageHDU(np.zeros((3, 10))) for _ in range(4)]
    images[3].header["BUNIT"] = "Wavelength (Ang)"
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    with pytest.raises(UnknownProductError, match=r"the apogee reader reads aspcapStar, apStar, apVisit, mwmStar"):
        read(path)


def test_every_product_states_its_facts():
    assert {p.name: (p.frame, p.medium, p.normalization) for p in PRODUCTS} == {
        "aspcapStar": ("rest", "vacuum", "continuum"),
        "apStar": ("rest", "vacuum", "none"),
        "apVisit": ("observed", "vacuum", "none"),
        "mwmStar": ("rest", "vacuum", "none"),
    }
    assert all(p.data_model.startswith("https://") for p in PRODUCTS)
