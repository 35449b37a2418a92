"""Convolution to a lower resolution: widths, masks, noise, and the record of what was done."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from specutils import Spectrum

from specalign.exceptions import GridMismatchError, SpectrumError, SpectrumUnitError
from specalign.instruments import get_instrument, resolution
from specalign.instruments.axes import FLUX_DENSITY
from specalign.instruments.prepared import PreparedSpectra
from specalign.instruments.resampling import pixel_edges
from specalign.instruments.resolution import smoothing_weights
from specalign.io.quality import bit_value
from specalign.tests.instruments.conftest import make_spectrum

CASES = [
    ("apogee", {}, 16200.0, (20000, 11000, 2700, 400)),
    ("nirspec", {"grid": "seeds"}, 12000.0, (2650, 1000, 100)),
    ("nirspec", {"disperser": "g395m", "filter": "f290lp"}, 40000.0, (700, 200)),
    ("lamost", {}, 7500.0, (1700, 500)),
    ("lamost", {"mode": "mrs"}, 5100.0, (7000, 1800)),
    ("gaia_xp", {}, 9000.0, (30,)),
]


def prepare(instrument, flux, ivar=None, mask=None):
    """Rows on the instrument's own grid."""
    flux = np.atleast_2d(flux)
    ivar = np.full(flux.shape, 1e4) if ivar is None else ivar
    ids = [f"star-{i}" for i in range(len(flux))]
    return instrument.prepare_arrays(
        flux, ivar, mask, spectral_axis=instrument.spectral_axis, object_id=ids, normalized=True
    )


def moments(axis, depth):
    """Area, centre and standard deviation."""
    depth = depth * (pixel_edges(axis).upper - pixel_edges(axis).lower)
    centre = np.sum(depth * axis) / depth.sum()
    return depth.sum(), centre, np.sqrt(np.sum(depth * (axis - centre) ** 2) / depth.sum())


def rows(instrument, n=5, seed=0, bad=0.02):
    """Prepared rows with structure, uneven noise and some bad pixels."""
    rng = np.random.default_rng(seed)
    shape = (n, instrument.n_pixels)
    flux = 1 + 0.2 * np.sin(np.arange(shape[1]) / 9) + 0.05 * rng.standard_normal(shape)
    return prepare(instrument, flux, rng.uniform(50, 500, shape), rng.random(shape) < bad)


@pytest.mark.parametrize(("name", "options", "centre", "powers"), CASES)
def test_widths_add_in_quadrature_and_flux_and_place_are_kept(name, options, centre, powers):
    instrument = get_instrument(name, **options)
    axis = instrument.spectral_axis.value
    own = np.interp(centre, axis, instrument.lsf_sigma.value)
    line = 0.5 * np.exp(-0.5 * ((axis - centre) / own) ** 2)
    before = moments(axis, line)
    for power in powers:
        matched = prepare(instrument, 1 - line).match_resolution(power)
        after = moments(axis, np.where(matched.mask[0], 0, 1 - matched.flux[0].astype(float)))
        target = centre / power / 2.3548
        assert after[0] == pytest.approx(before[0], rel=1e-3)
        assert abs(after[1] - before[1]) < 0.03 * target
        assert after[2] == pytest.approx(np.sqrt(before[2] ** 2 - own**2 + target**2), rel=0.01)


@given(st.floats(0, 30), st.integers(0, 2))
def test_the_discrete_gaussian_has_the_variance_asked_for(blur, seed):
    step = (1.0, 0.01, 40.0)[seed]
    weights = smoothing_weights(pixel_edges(step * np.arange(401)), np.full(401, blur * step))
    own = slice(weights.offset[200], weights.offset[201])
    distance = weights.first[200] + np.arange(own.stop - own.start) - 200
    kernel = weights.weight[own]
    assert kernel.sum() == pytest.approx(1, abs=3e-6)
    np.testing.assert_allclose(kernel, kernel[::-1])
    assert np.sum(kernel * distance**2) == pytest.approx(blur**2, rel=3e-4, abs=1e-12)


@pytest.mark.parametrize(("name", "options", "centre", "powers"), CASES)
def test_a_constant_stays_one_next_to_bad_pixels_too(name, options, centre, powers):
    instrument = get_instrument(name, **options)
    mask = np.random.default_rng(1).random((3, instrument.n_pixels)) < 0.05
    matched = prepare(instrument, np.full(mask.shape, 0.7), mask=mask).match_resolution(powers[-1])
    assert (~matched.mask).mean() > 0.5
    np.testing.assert_allclose(matched.flux[~matched.mask], 0.7, rtol=1e-6)
    assert (matched.ivar[~matched.mask] > 0).all()
    assert (matched.ivar[matched.mask] == 0).all()
    assert (matched.flux[matched.mask] == 0).all()


def test_nothing_under_the_mask_leaks():
    apogee = get_instrument("apogee")
    one, two = rows(apogee), rows(apogee)
    rubbish = np.random.default_rng(5).choice([np.nan, np.inf, -np.inf, 1e30, -7.0], one.mask.sum())
    two.flux[two.mask], two.ivar[two.mask] = rubbish, np.abs(rubbish)
    a, b = one.match_resolution(2700), two.match_resolution(2700)
    for name in ("flux", "ivar", "mask", "quality"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert np.isfinite(b.flux).all()


def test_a_pixel_is_bad_where_too_little_of_the_kernel_lies_on_good_ones():
    seeds = get_instrument("nirspec", grid="seeds")
    mask = np.zeros((1, 8192), bool)
    mask[0, 3000:3200] = True
    spectra = prepare(seeds, np.ones((1, 8192)), mask=mask)
    hole = np.flatnonzero(spectra.mask[0, 2900:3300]) + 2900
    sigma = np.sqrt((12300 / 1000) ** 2 - (12300 / 2700) ** 2) / 2.3548 / 1.0987
    for share, factor in ((0.75, 0.674), (0.5, 0.0), (0.95, 1.645), (0.25, -0.674)):
        after = spectra.match_resolution(1000, min_coverage=share).mask[0]
        inner = np.flatnonzero(after[2900:3300])
        assert inner[0] + 2900 == pytest.approx(hole[0] - factor * sigma, abs=1.5)
        assert inner[-1] + 2900 == pytest.approx(hole[-1] + factor * sigma, abs=1.5)
    lost = spectra.match_resolution(1000).quality[0, 3100]
    assert lost & bit_value(spectra.quality_bits, "UNCOVERED")
    assert lost & bit_value(spectra.quality_bits, "MASKED")


def test_kernels_do_not_reach_from_one_arm_to_the_other():
    mrs = get_instrument("lamost", mode="mrs")
    red = mrs.spectral_axis.value > 6000
    matched = prepare(mrs, np.where(red, 5.0, 1.0)).match_resolution(600)
    assert set(matched.flux[~matched.mask].round(5)) == {1.0, 5.0}
    assert matched.mask[0, np.flatnonzero(red)[0]]


def test_variance_is_that_of_many_draws():
    prism = get_instrument("nirspec", disperser="prism", filter="clear", grid="detector")
    rng, draws, p = np.random.default_rng(3), 4000, prism.n_pixels
    ivar = rng.uniform(1, 30, p)
    mask = rng.random(p) < 0.03
    flux = 10 + rng.standard_normal((draws, p)) / np.sqrt(ivar)
    matched = prepare(prism, flux, np.tile(ivar, (draws, 1)), np.tile(mask, (draws, 1))).match_resolution(
        prism.lsf_sigma * 1.5
    )
    good = ~matched.mask[0]
    ratio = matched.flux.var(axis=0)[good] * matched.ivar[0][good]
    assert good.sum() > 300
    np.testing.assert_allclose(ratio, 1, atol=5 * np.sqrt(2 / draws))


def test_noise_of_neighbours_is_correlated_as_stated():
    seeds = get_instrument("nirspec", grid="seeds")
    noise = np.random.default_rng(0).standard_normal((20, 8192))
    matched = prepare(seeds, noise, np.ones(noise.shape)).match_resolution(1000)
    use = slice(3000, 3200)
    s = np.sqrt((12400 / 1000) ** 2 - (12400 / 2700) ** 2) / 2.3548 / 1.0987
    for d in (1, 3, 6):
        pull = matched.flux * np.sqrt(matched.ivar)
        found = np.mean(pull[:, 1000:6000] * pull[:, 1000 + d : 6000 + d])
        assert found == pytest.approx(np.exp(-(d**2) / (4 * s**2)), abs=0.06)
    assert matched.ivar[:, use].min() > 3


@given(st.permutations(range(5)))
@settings(max_examples=5)
def test_rows_do_not_depend_on_their_order(order):
    lamost = get_instrument("lamost")
    spectra = rows(lamost)
    a, b = spectra.match_resolution(1000), spectra[np.array(order)].match_resolution(1000)
    for name in ("flux", "ivar", "mask", "quality", "object_id"):
        np.testing.assert_array_equal(getattr(a, name)[list(order)], getattr(b, name))
    np.testing.assert_array_equal(a[2].flux, spectra[2].match_resolution(1000).flux)


def test_it_is_linear():
    apogee = get_instrument("apogee")
    one, two = rows(apogee, seed=1, bad=0), rows(apogee, seed=2, bad=0)

    def matched(flux):
        return prepare(apogee, flux).match_resolution(3000).flux

    np.testing.assert_allclose(
        matched(2 * one.flux - 0.5 * two.flux), 2 * matched(one.flux) - 0.5 * matched(two.flux), atol=2e-6
    )


def test_two_steps_are_one():
    apogee = get_instrument("apogee")
    spectra = rows(apogee, bad=0)
    once, twice = spectra.match_resolution(3000), spectra.match_resolution(8000).match_resolution(3000)
    inner = np.abs(apogee.spectral_axis.value - 15500) < 250  # near the ends of a chip they cannot agree
    np.testing.assert_allclose(twice.flux[:, inner], once.flux[:, inner], atol=5e-5)
    np.testing.assert_array_equal(twice.lsf_sigma, once.lsf_sigma)


@pytest.mark.parametrize("kind", ["power", "powers", "sigma", "sigma in nm", "instrument", "spectra"])
def test_every_way_to_say_the_resolution_gives_the_same(kind):
    apogee, nirspec = get_instrument("apogee"), get_instrument("nirspec")
    spectra = rows(apogee, 2)
    axis = apogee.spectral_axis
    to = {
        "power": 2700,
        "powers": np.full(8575, 2700.0),
        "sigma": axis / 2700 / 2.3548,
        "sigma in nm": (axis / 2700 / 2.3548).to(u.nm),
        "instrument": nirspec,
        "spectra": rows(nirspec, 1),
    }[kind]
    matched = spectra.match_resolution(to)
    np.testing.assert_allclose(matched.flux, spectra.match_resolution(2700.0).flux, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((axis / matched.lsf_sigma / 2.3548).value, 2700, rtol=1e-9)


def test_the_resolution_may_vary_with_wavelength_and_the_weights_come_in_parts(monkeypatch):
    apogee = get_instrument("apogee")
    medium = get_instrument("nirspec", disperser="g140m", filter="f100lp")
    spectra = rows(apogee, 1)
    matched = spectra.match_resolution(medium)
    want = np.interp(apogee.spectral_axis.value, medium.spectral_axis.value, medium.lsf_sigma.value)
    np.testing.assert_allclose(matched.lsf_sigma.value, want, rtol=1e-4)
    monkeypatch.setattr(resolution, "AT_ONCE", 50_000)
    again = spectra.match_resolution(medium)
    for name in ("flux", "ivar", "quality"):
        np.testing.assert_array_equal(getattr(again, name), getattr(matched, name))


def test_the_same_resolution_changes_nothing_but_the_record():
    apogee = get_instrument("apogee")
    spectra = rows(apogee)
    same = spectra.match_resolution(apogee)
    for name in ("flux", "ivar", "mask"):
        np.testing.assert_array_equal(getattr(same, name), getattr(spectra, name))


def test_nothing_is_sharpened():
    apogee, nirspec = get_instrument("apogee"), get_instrument("nirspec")
    message = r"at most 2700 at 970. Angstrom, which nirspec has, got 22500: a spectrum cannot be sharpened"
    with pytest.raises(SpectrumError, match=message):
        rows(nirspec).match_resolution(22500)
    with pytest.raises(SpectrumError, match=r"at most 22500 at 15\d+ Angstrom, which apogee has, got 30000"):
        rows(apogee).match_resolution(30000)
    with pytest.raises(SpectrumError, match=r"at most 2700 .* got 22500"):
        rows(apogee).match_resolution(2700).match_resolution(22500)
    with pytest.raises(SpectrumError, match=r"at most 22500 .* got 30000"):
        apogee.match_resolution(make_spectrum(apogee), 30000)


def test_pixels_that_no_row_has_may_be_asked_for_anything():
    seeds = get_instrument("nirspec", grid="seeds")
    mask = np.zeros((2, 8192), bool)
    mask[:, :500] = True
    sigma = seeds.lsf_sigma * np.where(np.arange(8192) < 500, 0.5, 2)
    assert len(prepare(seeds, np.ones((2, 8192)), mask=mask).match_resolution(sigma)) == 2
    with pytest.raises(SpectrumError, match="cannot be sharpened"):
        prepare(seeds, np.ones((2, 8192)), mask=np.zeros((2, 8192), bool)).match_resolution(sigma)


def test_matched_spectra_say_so_and_are_not_mixed_with_others(tmp_path):
    apogee, nirspec = get_instrument("apogee"), get_instrument("nirspec")
    spectra = rows(apogee)
    matched = spectra.match_resolution(2700)
    assert matched.instrument.options["match_resolution"]["to"] == "R = 2700"
    assert matched.instrument.options["normalization"] == "continuum"
    assert matched.instrument.grid_digest == spectra.instrument.grid_digest
    assert spectra.match_resolution(nirspec).instrument.options["match_resolution"]["to"] == "nirspec"
    with pytest.raises(GridMismatchError, match="match_resolution"):
        PreparedSpectra.concatenate([spectra, matched])
    other = dict(spectra.match_resolution(2600).instrument.options)
    assert other["match_resolution"]["lsf_digest"] != matched.instrument.options["match_resolution"]["lsf_digest"]
    matched.write(tmp_path / "matched.fits")
    again = PreparedSpectra.read(tmp_path / "matched.fits")
    assert again.instrument == matched.instrument
    np.testing.assert_array_equal(again.lsf_sigma, matched.lsf_sigma)


def test_rows_of_which_nothing_is_left_are_rejected_and_counted():
    apogee = get_instrument("apogee")
    mask = np.zeros((3, 8575), bool)
    mask[1, ::2] = True
    spectra = prepare(apogee, np.ones((3, 8575)), mask=mask)
    matched = spectra.match_resolution(2700)
    assert matched.object_id.tolist() == ["star-0", "star-2"]
    assert matched.rejected["object_id"].tolist() == ["star-1"]
    assert "enough good neighbours" in matched.rejected["reason"][0]
    assert len(matched) + len(matched.rejected) == 3


def test_a_line_spread_function_of_each_row_is_its_own():
    apogee = get_instrument("apogee")
    spectra = rows(apogee, 3, bad=0)
    own = apogee.lsf_sigma.value
    spectra.lsf_sigma = np.stack([own, 2 * own, own]) * u.AA
    matched = spectra.match_resolution(2700)
    plain = rows(apogee, 3, bad=0).match_resolution(2700)
    np.testing.assert_array_equal(matched.flux[[0, 2]], plain.flux[[0, 2]])
    assert np.ptp(matched.flux[1] - plain.flux[1]) > 0.001
    assert matched.lsf_sigma.shape == (8575,)


def test_correlated_noise_goes_along():
    xp = get_instrument("gaia_xp", normalization="none")
    rng, draws, k = np.random.default_rng(1), 5000, 12
    x = np.linspace(-1, 1, 343)
    basis = np.array([np.cos(i * np.pi * (x + 1) / 2) for i in range(k)])
    scale = np.linspace(0.1, 0.02, k)
    variance = (scale**2) @ basis**2
    flux = 5 + (scale * rng.standard_normal((draws, k))) @ basis
    spectra = xp.prepare_arrays(
        flux * FLUX_DENSITY, np.tile(1 / variance, (draws, 1)) / FLUX_DENSITY**2, spectral_axis=xp.spectral_axis,
        object_id=[str(i) for i in range(draws)], covariance_factor=(np.tile(scale, (draws, 1)), basis),
    )  # fmt: skip
    matched = spectra.match_resolution(25)
    good = ~matched.mask[0]
    ratio = matched.flux.var(axis=0)[good] * matched.ivar[0][good]
    np.testing.assert_allclose(ratio, 1, atol=0.1)
    told = (matched.covariance_factor[0][0] ** 2) @ matched.covariance_factor[1] ** 2
    np.testing.assert_allclose(told[good] * matched.ivar[0][good], 1, rtol=1e-4)
    # as independent noise it would be called several times smaller
    assert np.median(matched.ivar[0][good] * variance[good]) < 1.5


def test_a_spectrum_is_matched_on_its_own_pixels_in_any_unit_and_order():
    apogee = get_instrument("apogee")
    want = None
    for unit, reverse in ((u.AA, False), (u.AA, True), (u.nm, False), (u.um, True)):
        spectrum = make_spectrum(apogee, unit=unit, reverse=reverse)
        got = apogee.match_resolution(spectrum, 2700)
        assert got.spectral_axis.unit == unit
        np.testing.assert_array_equal(got.spectral_axis, spectrum.spectral_axis)
        step = -1 if reverse else 1
        arrays = got.flux.value[::step], got.uncertainty.array[::step], got.mask[::step]
        want = arrays if want is None else want
        for a, b in zip(arrays, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
    prepared = get_instrument("apogee", normalization="none").prepare(make_spectrum(apogee)).match_resolution(2700)
    good = ~prepared.mask[0] & ~want[2]
    inner = good & (np.abs(apogee.spectral_axis.value - 15500) < 200)
    np.testing.assert_allclose(want[0][inner], prepared.flux[0][inner], rtol=1e-5)
    turned = make_spectrum(apogee, reverse=True)
    sigma = apogee.lsf_sigma * np.linspace(3, 9, 8575)
    one = apogee.match_resolution(make_spectrum(apogee), sigma).flux.value
    np.testing.assert_allclose(apogee.match_resolution(turned, sigma[::-1]).flux.value[::-1], one, rtol=1e-9)


def test_a_matched_spectrum_keeps_its_facts_and_can_be_prepared():
    lamost = get_instrument("lamost")
    spectrum = make_spectrum(lamost)
    spectrum.uncertainty = StdDevUncertainty(np.full(lamost.n_pixels, 0.5))
    matched = lamost.match_resolution(spectrum, 1000)
    assert matched.meta["object_id"] == "star"
    assert matched.uncertainty.array[~matched.mask].min() > 4
    assert len(lamost.prepare(matched)) == 1
    bare = Spectrum(spectrum.flux, spectrum.spectral_axis, meta=spectrum.meta)
    assert lamost.match_resolution(bare, 1000).uncertainty is None


def test_bad_arguments_are_named():
    apogee, lamost = get_instrument("apogee"), get_instrument("lamost")
    spectra = rows(apogee, 1)
    for to, error, message in [
        (0, SpectrumError, "to: expected positive numbers"),
        (np.nan, SpectrumError, "to: expected positive numbers"),
        (np.ones(7), SpectrumError, "to: expected positive numbers, one or 8575"),
        (2 * u.s, SpectrumUnitError, "to: expected a resolving power or a length such as Angstrom, got 's'"),
        (lamost, SpectrumError, "between 15101 and 17000 Angstrom, got one from 3701 to 9099"),
        (get_instrument("gaia_xp", form="coefficients"), SpectrumError, "one lsf_sigma a wavelength"),
    ]:
        with pytest.raises(error, match=message):
            spectra.match_resolution(to)
    with pytest.raises(SpectrumError, match="min_coverage: expected a share above 0 and below 1, got 1"):
        spectra.match_resolution(2700, min_coverage=1)
    spectra.lsf_sigma = None
    with pytest.raises(SpectrumError, match="apogee: expected wavelengths and an lsf_sigma"):
        spectra.match_resolution(2700)
