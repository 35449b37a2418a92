"""Velocities that prepare measures: only where it is asked to, with their errors, and with reasons where it fails."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import InverseVariance
from specutils import Spectrum

from specalign.exceptions import SpectrumError, UnreliableVelocityWarning, VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.measured import MeasuredVelocity
from specalign.instruments.resampling import doppler_factor

KM_S = u.km / u.s
CENTRES = np.random.default_rng(1).uniform(4300, 8900, 400)
AXIS = 10 ** np.arange(np.log10(3650), np.log10(9150), 1e-4)
TRUE = (-31.0, 187.0)


def lines(wavelength):
    """Lines of LAMOST's width on a sloping continuum."""
    profile = np.exp(-0.5 * ((wavelength[:, None] - CENTRES) / 1.6) ** 2)
    return (1 - 0.3 * profile.sum(axis=1).clip(max=3)) * (wavelength / 6000) ** -2


def spectrum(name, velocity, frame="barycentric", noise=0.02, **meta):
    rng = np.random.default_rng(len(name))
    flux = lines(AXIS / doppler_factor(velocity)) if velocity is not None else np.ones(AXIS.size)
    facts = {"object_id": name, "spectrum_id": f"{name}-1", "frame": frame, "medium": "vacuum", **meta}
    ivar = InverseVariance(np.full(AXIS.size, noise**-2))
    return Spectrum(
        (flux + noise * rng.standard_normal(AXIS.size)) * u.dimensionless_unscaled,
        AXIS * u.AA,
        uncertainty=ivar,
        meta=facts,
    )


@pytest.fixture(scope="module")
def lamost():
    return get_instrument("lamost")


@pytest.fixture(scope="module")
def request_(lamost):
    continuum = get_instrument("lamost", normalization="continuum")
    templates = continuum.prepare_arrays(lines(AXIS)[None], spectral_axis=AXIS * u.AA, object_id=["template"])
    return MeasuredVelocity(templates)


def test_velocities_are_measured_applied_and_said(lamost, request_):
    stated = {"radial_velocity": 500 * KM_S, "velocity_source": "header Z"}
    spectra = [spectrum("a", TRUE[0], **stated), spectrum("bb", TRUE[1])]
    prepared = lamost.prepare(spectra, radial_velocity=request_)
    catalog = prepared.catalog
    assert catalog["velocity_source"].tolist() == ["measured", "measured"]
    assert catalog["frame"].tolist() == ["rest", "rest"]
    error = catalog["velocity_err"].to_value(KM_S)
    assert ((error > 0) & (error < 5)).all()
    assert (np.abs(catalog["velocity_applied"].to_value(KM_S) - TRUE) < 4 * error).all()
    assert (catalog["velocity_applied"] == catalog["radial_velocity"]).all()
    assert prepared.instrument.options["normalization"] == "median"
    passed = lamost.prepare(spectra, radial_velocity=catalog["radial_velocity"])
    np.testing.assert_array_equal(prepared.flux, passed.flux)
    assert np.isnan(passed.catalog["velocity_err"]).all()


def test_an_error_belongs_to_its_velocity(lamost):
    stated = spectrum("a", 30.0, radial_velocity=30 * KM_S, velocity_err=2000 * u.m / u.s)
    assert lamost.prepare(stated).catalog["velocity_err"].to_value(KM_S).tolist() == [2.0]
    assert np.isnan(lamost.prepare(stated, radial_velocity=31 * KM_S).catalog["velocity_err"].value).all()


def test_nothing_is_measured_unless_it_is_asked_for(lamost, monkeypatch):
    monkeypatch.setattr("specalign.instruments.measured.radial_velocity", None)
    stated = spectrum("a", 30.0, radial_velocity=30 * KM_S, velocity_source="header Z")
    assert lamost.prepare(stated).catalog["velocity_source"].tolist() == ["header Z"]
    with pytest.warns(VelocityWarning, match="no radial velocity is known for 1 spectra"):
        assert lamost.prepare(spectrum("a", 30.0)).catalog["velocity_source"].tolist() == ["none"]


def test_a_failure_rejects_its_row_with_the_reason_and_no_stated_velocity_steps_in(lamost, request_):
    stated = {"radial_velocity": 12 * KM_S, "velocity_source": "header Z"}
    spectra = [
        spectrum("noise", None, noise=5.0, **stated),
        spectrum("good", TRUE[0]),
        spectrum("flat", None, noise=9.0),
    ]
    with pytest.warns(UnreliableVelocityWarning, match="2 of 3 velocities are not reliable"):
        prepared = lamost.prepare(spectra, radial_velocity=request_)
    assert prepared.object_id.tolist() == ["good"]
    assert sorted(prepared.rejected["object_id"]) == ["flat", "noise"]
    assert all("the measured velocity is not reliable: " in reason for reason in prepared.rejected["reason"])


def test_all_failures_are_rejected_without_a_word_on_frames(lamost, request_):
    with pytest.warns(UnreliableVelocityWarning) as caught:
        prepared = lamost.prepare([spectrum("noise", None, noise=5.0)], radial_velocity=request_)
    assert (len(prepared), len(prepared.rejected), len(caught)) == (0, 1, 1)


def test_one_spectrum_alone_raises(lamost, request_):
    with (
        pytest.warns(UnreliableVelocityWarning),
        pytest.raises(SpectrumError, match="object 'noise': the measured velocity is not reliable"),
    ):
        lamost.prepare(spectrum("noise", None, noise=5.0), radial_velocity=request_)


def test_spectra_at_rest_are_left_alone_and_rows_without_pixels_keep_their_reason(lamost, request_):
    rest = spectrum("rest", 0.0, frame="rest", radial_velocity=55 * KM_S, velocity_source="header")
    empty = spectrum("empty", 20.0)
    empty = Spectrum(empty.flux, empty.spectral_axis, uncertainty=empty.uncertainty, mask=AXIS > 0, meta=empty.meta)
    other = spectrum("other axis", TRUE[1])[200:3800]
    other.meta.update(spectrum_id="other")
    prepared = lamost.prepare([empty, rest, other, spectrum("a", TRUE[0])], radial_velocity=request_)
    assert prepared.object_id.tolist() == ["rest", "other axis", "a"]
    assert prepared.catalog["velocity_source"].tolist() == ["header", "measured", "measured"]
    assert prepared.catalog["velocity_applied"][0] == 0
    np.testing.assert_allclose(prepared.catalog["velocity_applied"][1:].value, TRUE[::-1], atol=10)
    assert prepared.rejected["reason"][0].startswith("object 'empty': 0 of 3908 pixels are good")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = lamost.prepare(rest, radial_velocity=request_)
    assert alone.catalog["velocity_source"].tolist() == ["header"]


def test_templates_must_fit(lamost, request_):
    with pytest.raises(SpectrumError, match="templates: expected PreparedSpectra at rest, got ndarray"):
        lamost.prepare(spectrum("a", 0.0), radial_velocity=MeasuredVelocity(np.ones((1, 3908))))
    median = lamost.prepare(spectrum("a", 0.0, frame="rest"))
    with pytest.raises(SpectrumError, match="lamost normalised by the continuum, got lamost normalised by median"):
        lamost.prepare(spectrum("a", 0.0), radial_velocity=MeasuredVelocity(median))
    with pytest.raises(SpectrumError, match=r"spectra of apogee .* got lamost"):
        get_instrument("apogee").prepare(spectrum("a", 0.0), radial_velocity=request_)
    with pytest.raises(SpectrumError, match="the resolution of gaia_xp hides every velocity"):
        get_instrument("gaia_xp").prepare(spectrum("a", 0.0), radial_velocity=request_)


def test_the_range_of_wavelengths_is_passed_on(lamost, request_):
    narrow = MeasuredVelocity(request_.templates, within=[1000, 2000] * u.AA)
    with pytest.raises(SpectrumError, match="within: expected wavelengths between"):
        lamost.prepare(spectrum("a", 0.0), radial_velocity=narrow)
    near = MeasuredVelocity(request_.templates, max_velocity=100 * KM_S)
    with (
        pytest.warns(UnreliableVelocityWarning),
        pytest.raises(SpectrumError, match="edge of the range: beyond 100 km/s"),
    ):
        lamost.prepare(spectrum("bb", 140.0), radial_velocity=near)
