"""One spectrum from arrays and facts: axes, units, masks and flags."""

import astropy.units as u
import numpy as np
import pytest
from astropy.constants import c
from astropy.nddata import InverseVariance
from hypothesis import given
from hypothesis import strategies as st
from specutils import Spectrum

from specalign.exceptions import SpectrumError, SpectrumUnitError
from specalign.io.products import Product, check_visits, unknown_product
from specalign.io.quality import COMMON_BITS, bit_value, decode, translate
from specalign.io.spectra import (
    build_spectrum,
    declared_medium,
    inverse_square,
    stated_number,
    stated_velocity,
    velocity_of_redshift,
)

PRODUCT = Product("drawing", "pencil", "https://example.org", frame="barycentric", medium="air", resolving_power=99.0)
BITS = {"SMUDGE": 0, "HINT": 3}


def build(flux=None, axis=None, **options):
    axis = np.arange(5000.0, 5010.0) * u.AA if axis is None else axis
    flux = np.ones(len(axis)) * u.Jy if flux is None else flux
    options = {"product": PRODUCT, "quality_bits": BITS, "object_id": "star", "spectrum_id": "row", **options}
    return build_spectrum(flux, axis, **options)


def names(spectrum, pixel):
    return decode(spectrum.meta["quality"][pixel], spectrum.meta["quality_bits"])


def test_facts_are_flat_and_complete():
    spectrum = build(snr=7, radial_velocity=3 * u.km / u.s, velocity_source="header V", path="a.fits", header={"A": 1})
    assert isinstance(spectrum, Spectrum)
    assert isinstance(spectrum.uncertainty, InverseVariance)
    expected = {
        "instrument": "pencil", "product": "drawing", "object_id": "star", "spectrum_id": "row",
        "frame": "barycentric", "medium": "air", "normalization": "none", "radial_velocity": 3 * u.km / u.s,
        "velocity_source": "header V", "snr": 7.0, "header": {"A": 1}, "path": "a.fits", "visit": None, "n_dropped": 0,
        "axis_kind": "wavelength", "resolving_power": 99.0, "quality_bits": {**BITS, **COMMON_BITS},
    }  # fmt: skip
    assert {name: spectrum.meta[name] for name in expected} == expected
    assert set(spectrum.meta) == {*expected, "quality"}


def test_facts_of_a_file_replace_those_of_the_product():
    spectrum = build(medium="vacuum", frame="rest", more=5, object_id=None, velocity_source="header V")
    assert (spectrum.meta["medium"], spectrum.meta["frame"], spectrum.meta["more"]) == ("vacuum", "rest", 5)
    assert spectrum.meta["object_id"] is None
    assert (spectrum.meta["radial_velocity"], spectrum.meta["velocity_source"]) == (None, "none")


def test_bad_pixels_are_masked_named_and_finite():
    flux = np.array([1, np.nan, np.inf, 1, 1, 1, 1, 1, 1, 1]) * u.Jy
    ivar = np.array([4, 4, 4, 0, -1, np.nan, np.inf, 4, 4, 4])
    quality = np.array([8, 0, 0, 0, 0, 0, 0, 1, 0, 0])
    mask = np.arange(10) == 8
    spectrum = build(flux, ivar=ivar, quality=quality, mask=mask, bad_bits=("SMUDGE",))
    found = [names(spectrum, i) for i in range(10)]
    no_ivar = [["NO_IVAR"]] * 4
    assert found == [["HINT"], ["NONFINITE"], ["NONFINITE"], *no_ivar, ["SMUDGE"], ["MASKED"], []]
    assert spectrum.mask.tolist() == [False] + [True] * 8 + [False]
    assert spectrum.uncertainty.array.tolist() == [4, 0, 0, 0, 0, 0, 0, 4, 4, 4]
    assert np.isfinite(spectrum.flux.value).all()
    assert spectrum.meta["quality"].dtype == np.uint32
    assert spectrum.mask.dtype == bool


@given(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 0.0]), min_size=3, max_size=3))
def test_flags_do_not_tell_what_hides_under_the_mask(values):
    mask = np.arange(10) < 3
    flux = np.ones(10)
    flux[:3] = values
    spectrum = build(flux * u.Jy, mask=mask)
    assert {tuple(names(spectrum, i)) for i in range(3)} == {("MASKED",)}


def test_no_ivar_means_one_everywhere():
    assert build().uncertainty.array.tolist() == [1.0] * 10


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", "<f8", ">i2"])
def test_any_byte_order_read_only_and_untouched(dtype):
    flux = np.arange(10).astype(dtype)
    flux.flags.writeable = False
    axis = np.arange(1, 11).astype(">f8")
    axis.flags.writeable = False
    spectrum = build(flux * u.Jy if flux.dtype.isnative else u.Quantity(flux, u.Jy, copy=False), axis * u.um, ivar=flux)
    for array in (
        spectrum.flux.value,
        spectrum.spectral_axis.value,
        spectrum.uncertainty.array,
        spectrum.meta["quality"],
    ):
        assert array.dtype.isnative
    assert spectrum.flux.value.tolist() == np.arange(10).tolist()
    assert flux.tolist() == np.arange(10).tolist()


def test_a_decreasing_axis_is_kept():
    axis = np.arange(10.0, 0.0, -1.0) * u.um
    flux = np.arange(10.0) * u.Jy
    spectrum = build(flux, axis)
    assert spectrum.spectral_axis.value.tolist() == axis.value.tolist()
    assert spectrum.flux.value.tolist() == flux.value.tolist()


@st.composite
def broken_axes(draw):
    """An axis, and the first index where it breaks."""
    n = draw(st.integers(5, 60))
    values = np.cumsum(np.full(n, 0.5)) + 4000
    if draw(st.booleans()):
        values = values[::-1].copy()
    place = draw(st.integers(2, n - 3))
    kind = draw(st.sampled_from(["nan", "inf", "zero", "negative", "repeat", "swap"]))
    if kind == "repeat":
        values[place] = values[place - 1]
    elif kind == "swap":
        values[[place - 1, place]] = values[[place, place - 1]]
    else:
        values[place] = {"nan": np.nan, "inf": np.inf, "zero": 0.0, "negative": -5.0}[kind]
    return values, place


@given(broken_axes())
def test_a_broken_axis_is_refused_at_its_first_bad_value(case):
    values, place = case
    with pytest.raises(SpectrumError, match=rf"wavelength \[{place}\] (is|=) {values[place]} ?") as caught:
        build(axis=values * u.AA)
    assert "star" in str(caught.value)


def test_one_pixel_is_no_spectrum():
    with pytest.raises(SpectrumError, match="at least 2 wavelengths, got 1"):
        build(axis=[5000.0] * u.AA)


@pytest.mark.parametrize(
    ("flux", "axis", "message"),
    [
        (np.ones(10), None, "the flux has no unit"),
        (np.ones(10) * u.m, None, "the flux has the unit m; expected one that converts to erg"),
        (None, np.arange(1.0, 11.0), "the spectral axis has no unit .* converts to Angstrom"),
        (None, np.arange(1.0, 11.0) * u.s, "the spectral axis has the unit s; expected .* Angstrom"),
        (None, np.arange(1.0, 11.0) * u.Hz, "the spectral axis has the unit Hz; expected .* Angstrom"),
    ],
)
def test_wrong_or_missing_units_are_named(flux, axis, message):
    with pytest.raises(SpectrumUnitError, match=message):
        build(flux, axis)


def test_ivar_is_converted_to_the_unit_of_the_flux():
    spectrum = build(np.ones(10) * u.Jy, ivar=np.ones(10) / u.mJy**2)
    assert spectrum.uncertainty.array.tolist() == pytest.approx([1e6] * 10)
    with pytest.raises(SpectrumUnitError, match=r"inverse variance has the unit 1 / m2, .* flux: Jy"):
        build(np.ones(10) * u.Jy, ivar=np.ones(10) / u.m**2)


@pytest.mark.parametrize("name", ["ivar", "quality", "mask"])
def test_arrays_of_another_length(name):
    with pytest.raises(SpectrumError, match=rf"one length, got .*'{name}': \(9,\)"):
        build(**{name: np.ones(9, dtype=int)})


def test_lengths_in_any_unit_agree():
    axis = np.linspace(15000.0, 17000.0, 50)
    for unit in (u.nm, u.um, u.m):
        spectrum = build(axis=(axis * u.AA).to(unit))
        np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), axis, rtol=1e-12)


def test_values_that_say_unknown():
    assert np.isnan([stated_number(v) for v in (-9999, -999, "-9999.0", "NAN", None, "", np.inf, "x")]).all()
    assert [stated_number(v) for v in ("12", 3, -998.0)] == [12.0, 3.0, -998.0]
    assert [stated_velocity(v) for v in (-9999, 999999, "NaN", None, 9999.99)] == [None] * 5
    assert stated_velocity(-270.2) == -270.2 * u.km / u.s
    assert [velocity_of_redshift(z) for z in (-9999, None, 3.2, "", 0.1)] == [None] * 5


@given(st.floats(-0.01, 0.01))
def test_the_velocity_of_a_redshift_is_relativistic(z):
    beta = (velocity_of_redshift(z) / c).to_value(u.dimensionless_unscaled)
    assert np.sqrt((1 + beta) / (1 - beta)) == pytest.approx(1 + z, rel=1e-12)


def test_inverse_square_never_warns():
    assert inverse_square([2.0, 0.0, -1.0, np.nan, np.inf]).tolist() == [0.25, 0, 0, 0, 0]
    assert inverse_square([1e-300])[0] == np.inf  # which build_spectrum takes as no information


@pytest.mark.parametrize(
    ("header", "medium"),
    [
        ({}, "default"),
        ({"CTYPE1": "AWAV"}, "air"),
        ({"CTYPE1": "AWAV-LOG"}, "air"),
        ({"CTYPE1": "WAVE"}, "vacuum"),
        ({"CTYPE1": "LINEAR", "VACUUM": True}, "vacuum"),
        ({"VACUUM": False}, "air"),
        ({"VACUUM": "?"}, "default"),
        ({"CTYPE1": "WAVELEN"}, "default"),
    ],
)
def test_the_medium_that_a_header_declares(header, medium):
    assert declared_medium(header, "default") == medium


def test_translate_loses_no_flag():
    table = {0: 5, 3: 5, 4: 0, None: 23}
    quality = translate(np.array([0, 1, 8, 9, 16, 17, 64, np.nan, 1e20, 65]), table)
    assert quality.tolist() == [0, 32, 32, 32, 1, 33, 2**23, 0, 0, 2**23 + 32]
    assert translate(np.array([-1], dtype=">i2"), {0: 0, None: 2}).tolist() == [5]
    assert translate([2], {0: 0}).tolist() == [0]
    assert quality.dtype == np.uint32
    assert bit_value({"A": 0, "B": 31}, "A", "B") == 2**31 + 1


def test_products_and_visits():
    assert "found x; the pencil reader reads drawing" in str(unknown_product("a", "x", "pencil", [PRODUCT]))
    check_visits("all")
    with pytest.raises(ValueError, match=r"visits: expected one of \('combined', 'all'\), got 'each'"):
        check_visits("each")
    with pytest.raises(ValueError, match=r"product 'x': expected one of .*, got 'moon'"):
        Product("x", "y", "z", frame="moon")
