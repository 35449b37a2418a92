"""x1d of the JWST pipeline, spec1d of PypeIt, and spec of msaexp."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from specalign.exceptions import CorruptFileError, SpectrumUnitError, UnknownProductError
from specalign.io.nirspec import BAD_BITS, QUALITY_BITS, read
from specalign.io.quality import decode
from specalign.tests.io import synthetic


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.fits"


def named(spectrum, pixel):
    return decode(spectrum.meta["quality"][pixel], spectrum.meta["quality_bits"])


def test_x1d(path):
    wavelength, flux = synthetic.x1d(path)
    (spectrum,) = read(str(path))
    assert (spectrum.flux.unit, spectrum.spectral_axis.unit) == (u.Jy, u.um)
    assert spectrum.flux.value.tolist() == flux.tolist()
    assert spectrum.spectral_axis.value.tolist() == wavelength.tolist()
    assert spectrum.uncertainty.array[0] == 0.25
    assert named(spectrum, 3) == ["NO_IVAR"]
    assert np.flatnonzero(spectrum.mask).tolist() == [3]
    meta = spectrum.meta
    assert (meta["product"], meta["frame"], meta["medium"]) == ("x1d", "barycentric", "vacuum")
    assert (meta["object_id"], meta["spectrum_id"], meta["visit"]) == ("2609_1", "jw01_s1-2609_1-1", "jw01_s1")
    assert (meta["radial_velocity"], meta["velocity_source"]) == (None, "none")
    assert np.isnan(meta["snr"])


def test_several_sources_in_one_x1d(path):
    synthetic.x1d(path, sources=3)
    spectra = read(path)
    assert [s.meta["object_id"] for s in spectra] == ["2609_1", "2609_2", "2609_3"]
    assert len({s.meta["spectrum_id"] for s in spectra}) == 3


# The pipeline's numbers (mnemonic_map of its data-quality table) of flags that we name, and of two that we do not.
PIPELINE = {
    0: "DO_NOT_USE", 1: "SATURATED", 2: "JUMP_DET", 3: "DROPOUT", 4: "OUTLIER", 5: "PERSISTENCE", 6: "AD_FLOOR",
    7: "CHARGELOSS", 8: "UNRELIABLE_ERROR", 9: "NON_SCIENCE", 10: "DEAD", 11: "HOT", 12: "WARM", 13: "LOW_QE",
    14: "UNDOCUMENTED", 15: "TELEGRAPH", 16: "NONLINEAR", 18: "NO_FLAT_FIELD", 25: "UNRELIABLE_FLAT", 26: "OPEN",
    27: "OPEN", 29: "MSA_FAILED_OPEN", 30: "OTHER_BAD_PIXEL", 31: "UNDOCUMENTED",
}  # fmt: skip


def test_data_quality_keeps_its_names(path):
    dq = np.zeros(50, dtype=np.uint32)
    dq[10 : 10 + len(PIPELINE)] = [1 << bit for bit in PIPELINE]
    synthetic.x1d(path, dq=dq)
    (spectrum,) = read(path)
    assert [named(spectrum, 10 + i) for i in range(len(PIPELINE))] == [[name] for name in PIPELINE.values()]
    assert spectrum.mask[10:34].tolist() == [name in BAD_BITS for name in PIPELINE.values()]


@pytest.mark.parametrize(
    ("header", "frame"),
    [({}, "barycentric"), ({"SPECSYS": "BARYCENT"}, "barycentric"), ({"SPECSYS": "TOPOCENT"}, "observed")],
)
def test_the_frame_that_a_header_states(header, frame, path):
    synthetic.x1d(path, header=header)
    assert read(path)[0].meta["frame"] == frame


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"unit": "s"}, "spectral axis has the unit s; expected"),
        ({"unit": None}, "column WAVELENGTH has no unit"),
        ({"unit": "parrot"}, "column WAVELENGTH has the unit 'parrot'"),
        ({"flux_unit": "m"}, "flux has the unit m; expected"),
        ({"flux_unit": None}, r"column FLUX(_ERROR)? has no unit"),
    ],
)
def test_wrong_or_missing_units(units, message, path):
    synthetic.x1d(path, **units)
    with pytest.raises(SpectrumUnitError, match=rf"a.fits.*{message}"):
        read(path)


def test_any_unit_of_length_and_flux(path):
    wavelength, flux = synthetic.x1d(path, unit="nm", flux_unit="mJy")
    (spectrum,) = read(path)
    np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.um), wavelength / 1000, rtol=1e-12)
    np.testing.assert_allclose(spectrum.flux.to_value(u.Jy), flux / 1000, rtol=1e-12)


@pytest.mark.parametrize("n_zero", [0, 10])
def test_spec1d(n_zero, path):
    wavelength, flux = synthetic.spec1d(path, n_zero=n_zero)
    (spectrum,) = read(path)
    kept = wavelength > 0
    assert spectrum.meta["n_dropped"] == n_zero == (~kept).sum()
    assert spectrum.spectral_axis.to_value(u.AA).tolist() == wavelength[kept].tolist()
    assert spectrum.flux.value.tolist() == flux[kept].tolist()
    assert (spectrum.flux.unit, spectrum.uncertainty.array[0]) == (u.electron, 0.25)
    assert np.flatnonzero(spectrum.mask).tolist() == [2, 5]
    assert named(spectrum, 2) == ["EXTRACTION_MASK"]
    meta = spectrum.meta
    assert (meta["product"], meta["frame"], meta["medium"]) == ("spec1d", "barycentric", "vacuum")
    assert (meta["object_id"], meta["snr"], meta["visit"]) == ("2609_12", 47.0, "jw01_00002")
    assert meta["spectrum_id"] == "jw01_00002-2609_12-SPAT0010-SLIT0012-MSC01"
    assert meta["n_traces"] == 1


def test_several_traces_are_several_flagged_spectra(path):
    synthetic.spec1d(path, traces=2)
    spectra = read(path)
    assert len({s.meta["spectrum_id"] for s in spectra}) == 2
    assert {s.meta["object_id"] for s in spectra} == {"2609_12"}
    for spectrum in spectra:
        assert spectrum.meta["n_traces"] == 2
        assert (spectrum.meta["quality"] >> QUALITY_BITS["MULTIPLE_TRACE"] & 1).all()
        assert np.flatnonzero(spectrum.mask).tolist() == [2, 5]


@pytest.mark.parametrize("name", ["star_7.spec.fits", "star_7.spec.fits.gz"])
def test_msaexp(name, tmp_path):
    wavelength, flux, _ = synthetic.msaexp(tmp_path / name)
    (spectrum,) = read(tmp_path / name)
    assert (spectrum.flux.unit, spectrum.spectral_axis.unit) == (u.uJy, u.um)
    assert spectrum.flux.value.tolist() == flux.tolist()
    assert spectrum.spectral_axis.value.tolist() == wavelength.tolist()
    assert (spectrum.uncertainty.unit, spectrum.uncertainty.array[8]) == (u.uJy**-2, 0.25)
    meta = spectrum.meta
    assert (meta["product"], meta["frame"], meta["medium"]) == ("msaexp", "barycentric", "vacuum")
    assert (meta["object_id"], meta["visit"], meta["n_dropped"]) == ("nebula_s200a1", "star_7", 0)
    assert meta["spectrum_id"] == "star_7-nebula_s200a1-1"
    assert (meta["header"]["SRCID"], meta["radial_velocity"], meta["normalization"]) == (1, None, "none")


def test_bad_pixels_of_msaexp_have_reasons(path):
    _, _, error = synthetic.msaexp(path)
    (spectrum,) = read(path)
    assert spectrum.mask.tolist() == ((error == 0) | (error == 0.1)).tolist()
    assert {tuple(named(spectrum, i)) for i in np.flatnonzero(error == 0)} == {("NO_IVAR",)}
    assert named(spectrum, 7) == ["UNRELIABLE_ERROR", "EXTRACTION_MASK"]


def test_a_column_valid_of_msaexp_masks(path):
    valid = np.ones(60, dtype=bool)
    valid[[3, 9]] = False
    arrays = {"wave": np.linspace(1, 2, 60), "flux": np.ones(60), "err": np.where(np.arange(60) == 3, 0.0, 1.0)}
    columns = [fits.Column(k, "D", "um" if k == "wave" else "uJy", array=v) for k, v in arrays.items()]
    synthetic.msaexp(path, columns=[*columns, fits.Column("valid", "L", array=valid)])
    (spectrum,) = read(path)
    assert np.flatnonzero(spectrum.mask).tolist() == [3, 9]
    assert (named(spectrum, 3), named(spectrum, 9)) == (["NO_IVAR"], ["EXTRACTION_MASK"])


def test_msaexp_without_a_single_measurement_is_masked(path):
    columns = [fits.Column("wave", "D", "um", array=[1.0, 2.0, 3.0])]
    columns += [fits.Column(name, "D", "uJy", array=np.zeros(3)) for name in ("flux", "err")]
    synthetic.msaexp(path, columns=columns)
    assert read(path)[0].mask.all()


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (("um", None, "uJy"), "column flux has no unit"),
        (("um", "uJy", None), "column err has no unit"),
        ((None, "uJy", "uJy"), "column wave has no unit"),
        (("s", "uJy", "uJy"), "spectral axis has the unit s"),
        (("um", "uJy", "um"), "not that of the flux"),
    ],
)
def test_units_of_msaexp(units, message, path):
    synthetic.msaexp(path, units=units)
    with pytest.raises(SpectrumUnitError, match=rf"a.fits.*{message}"):
        read(path)


def test_msaexp_in_other_units_is_the_same_spectrum(path):
    wavelength, flux, _ = synthetic.msaexp(path, units=("Angstrom", "mJy", "uJy"))
    (spectrum,) = read(path)
    np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), wavelength)
    np.testing.assert_allclose(spectrum.flux.to_value(u.uJy), flux * 1e3)
    np.testing.assert_allclose(spectrum.uncertainty.quantity[8].to_value(u.uJy**-2), 0.25)


def test_disperser_and_filter_of_every_product(path):
    writers = {
        synthetic.x1d: {"GRATING": "PRISM", "FILTER": "CLEAR"},
        synthetic.spec1d: {"DISPNAME": "PRISM", "FILTER1": "CLEAR"},
        synthetic.msaexp: {"GRATING": "PRISM", "FILTER": "CLEAR"},
    }
    for write, header in writers.items():
        write(path, header=header)
        meta = read(path)[0].meta
        assert (meta["disperser"], meta["filter"]) == ("prism", "clear")
        path.unlink()
    synthetic.x1d(path)
    assert (read(path)[0].meta["disperser"], read(path)[0].meta["filter"]) == (None, None)


def test_a_spec1d_with_a_negative_wavelength_is_refused(path):
    synthetic.spec1d(path)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["OPT_WAVE"][4] = -1
    with pytest.raises(ValueError, match=r"wavelength \[4\] is -1.0"):
        read(path)


def test_files_that_end_between_two_extensions(path):
    synthetic.spec1d(path, traces=2, detector=False)
    with pytest.raises(CorruptFileError, match=r"2 of 2 traces are there, .*MSC01-DETECTOR"):
        read(path)
    path.unlink()
    synthetic.spec1d(path, traces=1, header={"NSPEC": 2})
    with pytest.raises(CorruptFileError, match="1 of 2 traces are there"):
        read(path)
    path.unlink()
    synthetic.x1d(path, asdf=False)
    with pytest.raises(CorruptFileError, match="ends with ASDF"):
        read(path)
    path.unlink()
    synthetic.msaexp(path, last=False)
    with pytest.raises(CorruptFileError, match="at its end, PROF1D"):
        read(path)


def test_other_files_are_refused_by_name(path):
    synthetic.x1d(path, header={"INSTRUME": "MIRI"})
    with pytest.raises(UnknownProductError, match=r"INSTRUME = 'MIRI'.*reads x1d, spec1d, msaexp"):
        read(path)
    path.unlink()
    synthetic.msaexp(path, columns=[fits.Column("wave", "D", "um", array=[1.0])])
    with pytest.raises(CorruptFileError, match="SPEC1D lacks the columns flux, err: expected wave, flux, err, got"):
        read(path)
    path.unlink()
    columns = [fits.Column(name, "5D", "um", array=np.ones((1, 5))) for name in ("WAVELENGTH", "FLUX", "FLUX_ERROR")]
    table = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")
    primary = fits.PrimaryHDU()
    primary.header.update(INSTRUME="NIRSPEC", DATAMODL="TSOMultiSpecModel")
    fits.HDUList([primary, table, fits.ImageHDU(np.ones(2), name="ASDF")]).writeto(path)
    with pytest.raises(UnknownProductError, match="a time series"):
        read(path)
