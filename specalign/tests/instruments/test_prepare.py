"""The promises of ``prepare`` and ``prepare_arrays`` that hold for every instrument.

Those that the author of a plugin can check too are in `specalign.testing`; here is what goes further.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.utils.masked import Masked
from hypothesis import given, settings
from hypothesis import strategies as st
from specutils import Spectrum, SpectrumCollection, SpectrumList

from specalign.exceptions import (
    EmptySpectrumError,
    MissingFactError,
    SpectrumError,
    SpectrumUnitError,
    VelocityWarning,
)
from specalign.instruments import get_instrument
from specalign.instruments.prepared import PreparedSpectra
from specalign.tests.instruments.conftest import NAMES, make_rows, make_spectrum

ARRAYS = ("flux", "ivar", "mask", "quality", "norm")


def prepare(instrument, flux, ivar=None, mask=None, **facts):
    facts = {"spectral_axis": instrument.spectral_axis, "object_id": [f"s{i}" for i in range(len(flux))]} | facts
    return instrument.prepare_arrays(flux, ivar, mask, **facts)


def assert_same(one, two, names=ARRAYS):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_bad_pixels_are_masked_with_zero_weight_and_finite_flux(instrument):
    flux, ivar, mask = make_rows(instrument)
    ivar[0, 40:60] = [0, -1, np.nan, np.inf] * 5
    flux[1, 70:72] = np.nan, np.inf
    prepared = prepare(instrument, flux, ivar, mask)
    assert isinstance(prepared, PreparedSpectra)
    assert prepared.flux.dtype == prepared.ivar.dtype == np.float32
    assert np.isfinite(prepared.flux).all()
    assert np.isfinite(prepared.ivar).all()
    np.testing.assert_array_equal(prepared.ivar == 0, prepared.mask)
    np.testing.assert_array_equal(prepared.flux[prepared.mask], 0)
    np.testing.assert_array_equal(prepared.mask, (prepared.quality & np.uint32(instrument.bad_bits)) != 0)


def test_input_mask_comes_out_where_it_went_in(instrument):
    flux, ivar, mask = make_rows(instrument)
    clean = prepare(instrument, flux, ivar, np.zeros_like(mask))
    np.testing.assert_array_equal(prepare(instrument, flux, ivar, mask).mask, mask | clean.mask)


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**16),
    rubbish=st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]),
    weight=st.sampled_from([np.nan, np.inf, -1.0, 0.0, 1e30]),
    name=st.sampled_from(NAMES),
    velocity=st.floats(-300, 300),
)
def test_what_is_masked_never_matters_bitwise(seed, rubbish, weight, name, velocity):
    instrument = get_instrument(name)
    flux, ivar, mask = make_rows(instrument, 2, seed)
    facts = {"frame": "barycentric", "radial_velocity": velocity * u.km / u.s}
    reference = prepare(instrument, flux, ivar, mask, **facts)
    other = prepare(instrument, np.where(mask, rubbish, flux), np.where(mask, weight, ivar), mask, **facts)
    assert len(reference) == 2
    assert_same(reference, other)


def test_bits_mask_as_the_mask_does(apogee):
    flux, ivar, mask = make_rows(apogee, 2)
    quality = np.where(mask, 1 << apogee.quality_bits["BADPIX"], 0)
    one = prepare(apogee, flux, ivar, mask)
    two = prepare(apogee, np.where(mask, np.nan, flux), ivar, quality=quality)
    assert_same(one, two, ("flux", "ivar", "mask"))
    assert (two.quality[two.mask] & 1).any()
    assert not (one.quality & 1).any()


def test_information_bits_travel_and_do_not_mask(apogee):
    flux, ivar, _ = make_rows(apogee, 1)
    quality = np.zeros(flux.shape, int)
    quality[0, 1000] = 1 << apogee.quality_bits["PERSIST_LOW"]
    plain, flagged = prepare(apogee, flux, ivar), prepare(apogee, flux, ivar, quality=quality)
    assert_same(plain, flagged, ("flux", "ivar", "mask"))
    assert np.flatnonzero(plain.quality != flagged.quality).tolist() == [1000]


def test_masked_arrays_bring_their_mask(instrument):
    flux, ivar, mask = make_rows(instrument)
    reference = prepare(instrument, flux, ivar, mask)
    assert_same(reference, prepare(instrument, np.ma.masked_array(flux, mask), ivar))
    assert_same(reference, prepare(instrument, Masked(flux * u.one, mask), ivar))
    assert_same(reference, prepare(instrument, flux, np.ma.masked_array(ivar, mask), np.zeros_like(mask)))


def test_rows_in_are_rows_out_and_rejected(instrument):
    flux, ivar, mask = make_rows(instrument, 5)
    flux[1] = -1
    mask[3] = True
    prepared = prepare(instrument, flux, ivar, mask)
    assert prepared.object_id.tolist() == ["s0", "s2", "s4"]
    assert prepared.rejected["object_id"].tolist() == ["s1", "s3"]
    assert "NORMALIZATION" in prepared.rejected["reason"][0]
    assert "MASKED" in prepared.rejected["reason"][1]


def test_all_rejected_is_an_empty_table_not_an_error(instrument):
    flux, ivar, _ = make_rows(instrument, 2)
    prepared = prepare(instrument, flux * 0, ivar)
    assert len(prepared) == 0
    assert len(prepared.rejected) == 2


def test_threshold_of_good_pixels_is_a_tenth(apogee):
    flux, ivar, _ = make_rows(apogee, 2)
    mask = np.ones(flux.shape, bool)
    mask[0, 1000:1880] = False
    mask[1, 1000:1800] = False
    prepared = prepare(apogee, flux, ivar, mask)
    assert prepared.object_id.tolist() == ["s0"]
    assert "are good, 858 are needed" in prepared.rejected["reason"][0]


def test_order_of_rows_is_kept_and_does_not_matter(instrument):
    flux, ivar, mask = make_rows(instrument, 70)
    order = np.random.default_rng(0).permutation(70)
    velocity = np.linspace(-100, 100, 70) * u.km / u.s
    names = np.array([f"s{i}" for i in range(70)])
    whole = prepare(instrument, flux, ivar, mask, frame="barycentric", radial_velocity=velocity, object_id=names)
    mixed = prepare(
        instrument,
        flux[order],
        ivar[order],
        mask[order],
        frame="barycentric",
        radial_velocity=velocity[order],
        object_id=names[order],
    )
    assert_same(whole[order], mixed)
    np.testing.assert_array_equal(mixed.object_id, names[order])


def test_input_is_not_modified_and_may_be_read_only_or_big_endian(instrument):
    flux, ivar, mask = make_rows(instrument)
    reference = prepare(instrument, flux, ivar, mask)
    copies = [a.copy() for a in (flux, ivar, mask)]
    for array in (flux, ivar, mask):
        array.setflags(write=False)
    assert_same(reference, prepare(instrument, flux, ivar, mask))
    assert_same(reference, prepare(instrument, flux.astype(">f8"), ivar.astype(">f8"), mask))
    for array, copy in zip((flux, ivar, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    single = prepare(instrument, flux.astype(">f4"), ivar.astype("<f4"), mask)
    np.testing.assert_allclose(single.flux, reference.flux, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("unit", ["nm", "um", "m"])
def test_the_unit_of_the_axis_does_not_matter(unit, instrument):
    reference = instrument.prepare(make_spectrum(instrument))
    for reverse in (False, True):
        other = instrument.prepare(make_spectrum(instrument, unit=u.Unit(unit), reverse=reverse))
        np.testing.assert_array_equal(reference.mask, other.mask)
        np.testing.assert_allclose(reference.flux, other.flux, rtol=3e-7, atol=1e-12)
        np.testing.assert_allclose(reference.ivar, other.ivar, rtol=3e-7)


def test_flux_units_are_converted_with_their_ivar(apogee):
    flux, ivar, mask = make_rows(apogee)
    per_wavelength = flux * u.Unit("1e-17 erg / (s cm2 AA)")
    one = prepare(apogee, per_wavelength, ivar, mask)
    other = per_wavelength.to(u.W / u.m**2 / u.um)
    two = prepare(apogee, other, ivar / (other / per_wavelength).value.mean() ** 2, mask)
    np.testing.assert_allclose(one.flux, two.flux, rtol=1e-6)
    np.testing.assert_allclose(one.ivar, two.ivar, rtol=1e-6)
    np.testing.assert_allclose(one.norm, two.norm, rtol=1e-6)
    jansky = per_wavelength.to(u.Jy, u.spectral_density(apogee.spectral_axis))
    scale = jansky.value / flux
    three = prepare(apogee, jansky, ivar / scale**2, mask)
    np.testing.assert_allclose(one.flux, three.flux, rtol=1e-5, atol=1e-6)
    assert one.flux_unit == two.flux_unit == three.flux_unit


def test_flux_is_restored_by_norm(instrument):
    flux, ivar, mask = make_rows(instrument)
    prepared = prepare(instrument, flux, ivar, mask)
    good = ~prepared.mask
    restored = prepared.flux.astype(float) * prepared.norm
    expected = flux[[int(name[1:]) for name in prepared.object_id]]
    np.testing.assert_allclose(restored[good], expected[good], rtol=1e-5)
    np.testing.assert_allclose((prepared.ivar.astype(float) / prepared.norm.astype(float) ** 2)[good], 1.0, rtol=1e-5)


def test_normalized_flux_is_left_as_it_is(apogee):
    flux, ivar, mask = make_rows(apogee)
    prepared = prepare(apogee, flux, ivar, mask, normalized=True)
    np.testing.assert_array_equal(prepared.norm, 1)
    np.testing.assert_allclose(prepared.flux[~prepared.mask], flux[~prepared.mask], rtol=1e-6)


def test_without_ivar_all_pixels_weigh_the_same(apogee):
    flux, _, mask = make_rows(apogee)
    prepared = prepare(apogee, flux, None, mask)
    np.testing.assert_allclose(prepared.ivar[~prepared.mask], 1.0)


# Velocities and frames.


def test_velocity_is_applied_where_the_frame_is_not_rest(apogee):
    flux, ivar, _ = make_rows(apogee, 3)
    velocity = [50.0, 50.0, -20.0] * u.km / u.s
    prepared = prepare(apogee, flux, ivar, frame=["rest", "barycentric", "observed"], radial_velocity=velocity)
    np.testing.assert_array_equal(prepared.catalog["velocity_applied"].to_value("km/s"), [0, 50, -20])
    np.testing.assert_array_equal(prepared.catalog["radial_velocity"].to_value("km/s"), [50, 50, -20])
    assert set(prepared.catalog["frame"]) == {"rest"}


def test_unknown_velocity_stays_and_warns_once(apogee):
    flux, ivar, _ = make_rows(apogee, 3)
    with pytest.warns(VelocityWarning, match="no radial velocity is known for 3 spectra") as caught:
        prepared = prepare(
            apogee, flux, ivar, frame="barycentric", radial_velocity=[np.nan, -9999, np.inf] * u.km / u.s
        )
    assert len(caught) == 1
    assert set(prepared.catalog["frame"]) == {"barycentric"}
    assert set(prepared.catalog["velocity_source"]) == {"none"}
    assert_same(prepared, prepare(apogee, flux, ivar), ("flux", "ivar"))


def test_unknown_velocity_beside_rows_at_rest_is_rejected(apogee):
    flux, ivar, _ = make_rows(apogee, 3)
    velocity = [10.0, np.nan, 20.0] * u.km / u.s
    prepared = prepare(apogee, flux, ivar, frame="barycentric", radial_velocity=velocity)
    assert prepared.object_id.tolist() == ["s0", "s2"]
    assert "no radial velocity is known" in prepared.rejected["reason"][0]


def test_mixed_frames_are_an_error(apogee):
    flux, ivar, _ = make_rows(apogee, 2)
    with pytest.raises(SpectrumError, match="expected one frame a batch, got barycentric and observed"):
        prepare(apogee, flux, ivar, frame=["barycentric", "observed"])


def test_gaia_xp_hides_velocities_without_a_warning():
    xp = get_instrument("gaia_xp")
    flux, ivar, _ = make_rows(xp, 2)
    prepared = prepare(xp, flux, ivar, frame="barycentric")
    shifted = prepare(xp, flux, ivar, frame="barycentric", radial_velocity=200 * u.km / u.s)
    assert_same(prepared, shifted)
    np.testing.assert_array_equal(shifted.catalog["velocity_applied"].value, 0)


# Bad input.


@pytest.mark.parametrize("velocity", [5.0, 5.0 * u.AA])
def test_velocity_needs_a_unit(velocity, apogee):
    with pytest.raises(SpectrumUnitError, match="radial_velocity: expected a Quantity in a unit like km/s"):
        prepare(apogee, *make_rows(apogee, 1), frame="barycentric", radial_velocity=velocity)


def test_velocity_of_light_is_refused(apogee):
    with pytest.raises(SpectrumError, match="less than the speed of light"):
        prepare(apogee, *make_rows(apogee, 1), frame="barycentric", radial_velocity=3e5 * u.km / u.s)


def test_shapes_that_differ_are_refused(apogee):
    flux, ivar, mask = make_rows(apogee, 2)
    with pytest.raises(SpectrumError, match=r"flux: expected shape \(N, 8575\)"):
        prepare(apogee, flux[:, :-1])
    with pytest.raises(SpectrumError, match="ivar: expected the shape of flux"):
        prepare(apogee, flux, ivar[:1])
    with pytest.raises(SpectrumError, match="mask: expected an array of bool"):
        prepare(apogee, flux, ivar, mask.astype(int))
    with pytest.raises(SpectrumError, match="object_id: expected 2 values, one a row, got 1"):
        prepare(apogee, flux, object_id=["one"])


def test_duplicate_rows_are_refused_and_visits_are_numbered(apogee):
    flux, ivar, _ = make_rows(apogee, 3)
    with pytest.raises(SpectrumError, match="expected one row each, got 'a' 2 times"):
        prepare(apogee, flux, ivar, spectrum_id=["a", "b", "a"])
    assert prepare(apogee, flux, ivar, object_id=["x", "y", "x"]).spectrum_id.tolist() == ["x:1", "y", "x:2"]


def test_unknown_frame_and_medium_are_refused(apogee):
    flux, ivar, _ = make_rows(apogee, 1)
    with pytest.raises(SpectrumError, match="frame: expected one of rest, barycentric, observed"):
        prepare(apogee, flux, ivar, frame="galactic")
    with pytest.raises(SpectrumError, match="medium: expected 'vacuum' or 'air'"):
        prepare(apogee, flux, ivar, medium="water")


def test_missing_units_are_refused(apogee):
    flux, ivar, _ = make_rows(apogee, 1)
    with pytest.raises(SpectrumUnitError, match="got no unit"):
        prepare(apogee, flux, ivar, spectral_axis=apogee.spectral_axis.value)
    with pytest.raises(SpectrumUnitError, match="convertible to Angstrom, got 'K'"):
        prepare(apogee, flux, ivar, spectral_axis=apogee.spectral_axis.value * u.K)
    with pytest.raises(SpectrumUnitError, match="ivar: expected a unit convertible to '1 / Jy2', got '1 / Jy'"):
        prepare(apogee, flux * u.Jy, ivar / u.Jy)


# Spectra of specutils.


def test_spectra_and_arrays_agree(instrument):
    spectra = [make_spectrum(instrument, seed) for seed in range(3)]
    stacked = [np.stack(a) for a in zip(*((s.flux.value, s.uncertainty.array, s.mask) for s in spectra), strict=True)]
    arrays = prepare(instrument, *stacked, object_id=["star"] * 3, spectrum_id=["row-0", "row-1", "row-2"])
    for kind in (list, tuple, SpectrumList):
        prepared = instrument.prepare(kind(spectra))
        assert_same(prepared, arrays)
        np.testing.assert_array_equal(prepared.spectrum_id, arrays.spectrum_id)


def test_collections_and_two_dimensional_spectra(apogee):
    flux, ivar, mask = make_rows(apogee, 3)
    facts = {"frame": "rest", "medium": "vacuum", "object_id": ["a", "b", "c"]}
    expected = prepare(apogee, flux, ivar, mask, object_id=["a", "b", "c"])
    one = Spectrum(flux * u.one, apogee.spectral_axis, uncertainty=_ivar(ivar), mask=mask, meta=dict(facts))
    axis = np.tile(apogee.spectral_axis.value, (3, 1)) * u.AA
    many = SpectrumCollection(flux * u.one, axis, uncertainty=_ivar(ivar), mask=mask, meta=dict(facts))
    for spectra in (one, many):
        prepared = apogee.prepare(spectra)
        assert_same(prepared, expected)
        assert prepared.object_id.tolist() == ["a", "b", "c"]


def _ivar(values):
    from astropy.nddata import InverseVariance

    return InverseVariance(values)


def test_standard_deviation_and_variance_are_inverse_variances(apogee):
    from astropy.nddata import StdDevUncertainty, UnknownUncertainty, VarianceUncertainty

    spectrum = make_spectrum(apogee)
    expected = apogee.prepare(spectrum)
    ivar = np.where(spectrum.mask, np.nan, 1.0)
    for uncertainty in (StdDevUncertainty(ivar**-0.5), VarianceUncertainty(1 / ivar)):
        other = Spectrum(
            spectrum.flux, spectrum.spectral_axis, uncertainty=uncertainty, mask=spectrum.mask, meta=spectrum.meta
        )
        assert_same(expected, apogee.prepare(other))
    other = Spectrum(spectrum.flux, spectrum.spectral_axis, uncertainty=UnknownUncertainty(ivar), meta=spectrum.meta)
    with pytest.raises(SpectrumError, match="expected InverseVariance, StdDevUncertainty or VarianceUncertainty"):
        apogee.prepare(other)


@pytest.mark.parametrize("fact", ["object_id", "frame", "medium"])
def test_a_missing_fact_is_asked_for_by_its_keyword(fact, apogee):
    spectrum = make_spectrum(apogee, **{fact: None})
    with pytest.raises(MissingFactError, match=f"does not say its {fact}: pass {fact}="):
        apogee.prepare([make_spectrum(apogee, 1), spectrum])
    given = {"object_id": "star", "frame": "rest", "medium": "vacuum"}[fact]
    assert len(apogee.prepare(spectrum, **{fact: given})) == 1


def test_bits_are_moved_by_name(apogee):
    spectrum = make_spectrum(apogee)
    spectrum.meta["quality"] = np.zeros(8575, int)
    spectrum.meta["quality"][1000] = 1 << 9
    spectrum.meta["quality_bits"] = {"BADPIX": 9}
    prepared = apogee.prepare(spectrum)
    assert prepared.mask[0, 1000]
    assert prepared.quality[0, 1000] & (1 << apogee.quality_bits["BADPIX"])
    spectrum.meta["quality_bits"] = {"ELSEWHERE": 9}
    with pytest.raises(SpectrumError, match="ELSEWHERE are not bits of this instrument"):
        apogee.prepare(spectrum)


def test_one_empty_spectrum_raises_and_in_a_list_is_rejected(instrument):
    empty = make_spectrum(instrument, 0)
    empty = Spectrum(empty.flux * 0, empty.spectral_axis, uncertainty=empty.uncertainty, meta=empty.meta)
    with pytest.raises(EmptySpectrumError, match="object 'star': 0 of"):
        instrument.prepare(empty)
    prepared = instrument.prepare([empty, make_spectrum(instrument, 1)])
    assert (len(prepared), len(prepared.rejected)) == (1, 1)


def test_different_axes_in_one_list(apogee):
    whole, part = make_spectrum(apogee, 0), make_spectrum(apogee, 1)
    short = Spectrum(
        part.flux[:5000],
        part.spectral_axis[:5000],
        uncertainty=part.uncertainty[:5000],
        mask=part.mask[:5000],
        meta=part.meta,
    )
    prepared = apogee.prepare([whole, short, make_spectrum(apogee, 2)])
    assert prepared.spectrum_id.tolist() == ["row-0", "row-1", "row-2"]
    assert prepared.mask[1, 5000:].all()
    assert_same(prepared[0], apogee.prepare(whole))
    assert_same(prepared[1], apogee.prepare(short))


def test_other_things_are_refused(apogee):
    with pytest.raises(SpectrumError, match="bare arrays go to prepare_arrays"):
        apogee.prepare(np.ones(8575))
    with pytest.raises(SpectrumError, match="expected at least one spectrum"):
        apogee.prepare([])


def test_single_steps_agree_with_the_whole(apogee):
    spectrum = make_spectrum(apogee, frame="barycentric", radial_velocity=30 * u.km / u.s, reverse=True)
    masked = apogee.mask(spectrum)
    assert (masked.mask | ~spectrum.mask).all()
    assert masked.mask.sum() > spectrum.mask.sum()
    resampled = apogee.resample(masked)
    prepared = apogee.prepare(spectrum)
    np.testing.assert_array_equal(resampled.mask, prepared.mask[0])
    good = ~prepared.mask[0]
    np.testing.assert_allclose(resampled.flux.value[good], (prepared.flux * prepared.norm)[0, good], rtol=1e-6)
    assert resampled.meta["frame"] == "rest"
    again = apogee.mask(masked)
    np.testing.assert_array_equal(again.mask, masked.mask)
    np.testing.assert_array_equal(again.meta["quality"], masked.meta["quality"])


def test_concatenated_parts_equal_the_whole(apogee):
    flux, ivar, mask = make_rows(apogee, 4)
    names = ["a", "b", "c", "d"]
    whole = prepare(apogee, flux, ivar, mask, object_id=names)
    parts = [prepare(apogee, flux[i], ivar[i], mask[i], object_id=names[i]) for i in range(4)]
    joined = PreparedSpectra.concatenate(parts)
    assert_same(whole, joined)
    assert len(joined.catalog) == 4


# Correlated noise.


def test_correlated_noise_needs_one_norm_a_row_and_no_shift(apogee):
    flux, ivar, _ = make_rows(apogee, 2)
    factor = (np.ones((2, 3)), np.ones((3, 8575)))
    with pytest.raises(SpectrumError, match="divides by a continuum of many pixels"):
        prepare(apogee, flux, ivar, covariance_factor=factor)
    median = get_instrument("apogee", normalization="median")
    with pytest.raises(SpectrumError, match="cannot be shifted by a velocity"):
        prepare(median, flux, ivar, covariance_factor=factor, frame="barycentric", radial_velocity=10 * u.km / u.s)
    with pytest.raises(SpectrumError, match=r"covariance_factor: expected \(N, K\) and \(K, P\)"):
        prepare(median, flux, ivar, covariance_factor=(np.ones((2, 4)), np.ones((3, 8575))))
    scale, basis = prepare(median, flux, ivar, covariance_factor=factor).covariance_factor
    assert (scale.shape, basis.shape) == ((2, 3), (3, 8575))


def test_correlated_noise_follows_a_change_of_grid():
    xp = get_instrument("gaia_xp")
    fine = np.linspace(3300, 10300, 1401) * u.AA
    flux, rng = np.full((2, 1401), 5.0), np.random.default_rng(0)
    scale, basis = np.array([[1.0, 2.0], [3.0, 4.0]]), rng.standard_normal((2, 1401))
    facts = {"spectral_axis": fine, "object_id": ["a", "b"]}
    prepared = xp.prepare_arrays(flux, np.ones((2, 1401)), covariance_factor=(scale, basis), **facts)
    noise = xp.prepare_arrays(5.0 + basis, np.ones((2, 1401)), normalized=True, **facts)
    np.testing.assert_allclose(prepared.covariance_factor[1], noise.flux - 5.0, atol=1e-5)
    np.testing.assert_allclose(prepared.covariance_factor[0], scale / 5.0, rtol=1e-6)


def test_fluxes_of_different_kind_are_not_joined(apogee):
    one, two = make_spectrum(apogee, 0), make_spectrum(apogee, 1)
    two = Spectrum(two.flux.value * u.Jy, two.spectral_axis, mask=two.mask, meta=two.meta)
    with pytest.raises(SpectrumUnitError, match="flux: expected a unit convertible to '', got 'Jy'"):
        apogee.prepare([one, two])


def test_rows_that_are_refused_decide_nothing_for_the_others(apogee):
    """Neither their frame nor their unknown velocity."""
    wrong = make_spectrum(apogee, object_id="wrong", spectrum_id="w", frame="rest")
    wrong.meta["instrument"] = "lamost"
    good = make_spectrum(apogee, object_id="good", spectrum_id="g", frame="barycentric")
    with pytest.warns(VelocityWarning, match="for 1 spectra: they stay in the barycentric frame"):
        prepared = apogee.prepare([wrong, good])
    assert (prepared.object_id.tolist(), prepared.rejected["object_id"].tolist()) == (["good"], ["wrong"])
    wrong.meta["frame"] = "observed"
    good.meta["radial_velocity"] = 10 * u.km / u.s
    assert apogee.prepare([wrong, good]).catalog["frame"].tolist() == ["rest"]
    assert len(apogee.prepare([wrong]).rejected) == 1
