"""Velocities by cross-correlation: values, errors, what must not matter, and what is flagged."""

import dataclasses
import warnings

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import SpectrumError, SpectrumUnitError, UnreliableVelocityWarning, VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.resampling import doppler_factor
from specalign.instruments.velocity import radial_velocity
from specalign.instruments.velocity_search import LogGrid

STEP = 20 / 299792.458
AXIS = 15000 * np.exp(STEP * np.arange(1200))
CENTRES = np.sort(np.random.default_rng(5).uniform(14900, 16300, 80))
DEPTHS = np.random.default_rng(6).uniform(0.05, 0.5, (4, CENTRES.size))


def star(wavelength, depth):
    """Normalised lines, 2.5 pixels wide (FWHM)."""
    return 1 - (depth * np.exp(-0.5 * ((wavelength[:, None] - CENTRES) / 1.1) ** 2)).sum(axis=1)


TEMPLATES = np.array([star(AXIS, depth) for depth in DEPTHS])


def noisy(velocity, noise, seed=1, axis=AXIS, template=0):
    """Rows of one star at velocities, with noise: flux and ivar."""
    rng = np.random.default_rng(seed)
    flux = np.array([star(axis / doppler_factor(v), DEPTHS[template]) for v in np.atleast_1d(velocity)])
    return flux + noise * rng.standard_normal(flux.shape), np.full(flux.shape, noise**-2.0)


def measure(flux, ivar, axis=AXIS, templates=TEMPLATES, **options):
    return radial_velocity(flux, templates, ivar=ivar, spectral_axis=axis * u.AA, **options)


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableVelocityWarning)
        return measure(*args, **options)


def same(one, two):
    for name in one.colnames:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(two[name]), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.005, 0.02, 0.1])
def test_errors_are_those_of_repeated_draws(noise):
    truth = np.random.default_rng(2).uniform(-400, 400, 1500)
    table = measure(*noisy(truth, noise))
    assert table["reliable"].all()
    pull = (table["velocity"].to_value("km/s") - truth) / table["velocity_err"].to_value("km/s")
    assert np.std(pull) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pull)) < 0.1


def test_the_error_is_where_chi2_rises_by_one():
    flux, ivar = noisy(37.0, 0.02)
    table = measure(flux, ivar, templates=TEMPLATES[:1])

    def chi2(velocity):
        model = star(AXIS / doppler_factor(velocity), DEPTHS[0])
        design = np.stack([model, np.ones(len(model))], axis=1)
        return np.linalg.lstsq(design, flux[0], rcond=None)[1][0] / 0.02**2

    velocity, error = (table[name][0].to_value("km/s") for name in ("velocity", "velocity_err"))
    scale = max(1, table["reduced_chi2"][0])
    for side in (-1, 1):
        # the outermost pixels, of which the template does not cover every shift, are in this chi^2 only
        assert chi2(velocity + side * error) - chi2(velocity) == pytest.approx(scale, rel=0.15)


def test_velocity_is_relativistic_and_receding_positive():
    truth = np.array([-900.0, 0.0, 900.0])
    table = measure(*noisy(truth, 1e-4))
    np.testing.assert_allclose(table["velocity"].to_value("km/s"), truth, atol=0.05)
    assert table["velocity"].unit == table["velocity_err"].unit == u.km / u.s


def test_the_best_template_and_its_height_are_reported():
    table = measure(*noisy([10.0, 20.0], 1e-3, template=2))
    assert table["template"].tolist() == [2, 2]
    assert (table["peak_height"] > 0.99).all()
    assert (table["peak_height"] <= 1).all()


def test_masked_pixels_never_matter():
    flux, ivar = noisy([15.0, -200.0, 4.0], 0.02)
    mask = np.random.default_rng(3).random(flux.shape) < 0.2
    reference = measure(flux, ivar, mask=mask)
    for rubbish in (np.nan, np.inf, 1e30, -1.0):
        same(measure(np.where(mask, rubbish, flux), ivar, mask=mask), reference)
        same(measure(flux, np.where(mask, rubbish, ivar), mask=mask), reference)
    same(measure(flux, np.where(mask, 0, ivar)), reference)


def test_a_row_does_not_depend_on_its_batch():
    flux, ivar = noisy(np.linspace(-100, 100, 70), 0.02)
    whole = measure(flux, ivar)
    same(
        measure(flux[40:41], ivar[40:41], object_id=["40"])["velocity", "velocity_err"],
        whole[40:41]["velocity", "velocity_err"],
    )


def test_order_and_units_of_the_axis_do_not_matter():
    flux, ivar = noisy([15.0, -200.0], 0.02)
    reference = measure(flux, ivar)
    turned = measure(flux[:, ::-1], ivar[:, ::-1], AXIS[::-1], TEMPLATES[:, ::-1], template_axis=AXIS[::-1] * u.AA)
    same(turned, reference)
    other = radial_velocity(flux, TEMPLATES, ivar=ivar, spectral_axis=AXIS / 1e4 * u.um, max_velocity=1e6 * u.m / u.s)
    np.testing.assert_allclose(other["velocity"].value, reference["velocity"].value, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-17, 1e6])
def test_the_unit_of_the_flux_does_not_matter(scale):
    flux, ivar = noisy([15.0, -200.0], 0.02)
    reference, other = measure(flux, ivar), measure(flux * scale, ivar / scale**2)
    np.testing.assert_allclose(other["velocity"].value, reference["velocity"].value, atol=1e-6)
    np.testing.assert_allclose(other["velocity_err"].value, reference["velocity_err"].value, rtol=1e-6)


def test_an_axis_of_equal_wavelength_steps_and_finer_templates():
    axis, fine = np.linspace(15000, 16200, 1100), np.linspace(14950, 16250, 5200)
    truth = np.random.default_rng(4).uniform(-300, 300, 800)
    templates = np.array([star(fine, depth) for depth in DEPTHS])
    table = measure(*noisy(truth, 0.03, axis=axis), axis=axis, templates=templates, template_axis=fine * u.AA)
    pull = (table["velocity"].to_value("km/s") - truth) / table["velocity_err"].to_value("km/s")
    assert np.std(pull) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pull)) < 0.1


def test_holes_of_templates_are_not_bridged():
    flux, ivar = noisy([50.0], 0.01)
    hole = slice(500, 700)
    templates = TEMPLATES.copy()
    templates[:, hole] = np.nan
    reference = measure(flux, ivar, templates=templates)
    flux[:, 510:690] = 0.3  # 10 pixels within: what the hole hides at any shift that is fitted
    again = measure(flux, ivar, templates=templates)
    np.testing.assert_allclose(again["velocity"].value, reference["velocity"].value, atol=0.05)
    assert reference["velocity"][0].value == pytest.approx(50, abs=1.5)
    rest = np.delete(np.arange(len(AXIS)), np.arange(len(AXIS))[hole])
    short = measure(flux, ivar, templates=TEMPLATES[:, rest], template_axis=AXIS[rest] * u.AA)
    assert short["velocity"][0].value == pytest.approx(50, abs=1.5)


def test_a_pixel_that_few_templates_miss_is_filled():
    templates = np.concatenate([TEMPLATES, TEMPLATES[:1]])
    templates[4, 100:110] = np.nan
    table = measure(*noisy([50.0], 0.01), templates=templates)
    assert table["velocity"][0].value == pytest.approx(50, abs=1.5)


def test_outliers_are_left_out_and_counted():
    flux, ivar = noisy([50.0, 50.0], 0.01)
    flux[1, [100, 300, 500, 900]] = 40.0
    table = measure(flux, ivar)
    assert table["n_rejected"].tolist() == [0, 4]
    assert table["velocity"][1].value == pytest.approx(50, abs=1.5)


def test_a_row_without_information_fails_and_the_others_do_not():
    flux, ivar = noisy([5.0, 5.0, 5.0], 0.01)
    ivar[1] = 0
    with pytest.warns(UnreliableVelocityWarning, match=r"1 of 3 .* dark \(nothing to correlate"):
        table = measure(flux, ivar, object_id=["a", "b", "c"], spectrum_id=["a-1", "dark", "c-1"])
    assert table["reliable"].tolist() == [True, False, True]
    assert np.isnan(table["velocity"][1])
    assert np.isnan(table["velocity_err"][1])
    assert table["template"][1] == -1


def test_nothing_in_nothing_out():
    assert len(measure(np.empty((0, 1200)), np.empty((0, 1200)))) == 0


@pytest.mark.parametrize("truth", [330.0, -360.0, 420.0])
def test_beyond_the_range_is_flagged_as_at_the_edge(truth):
    with pytest.warns(UnreliableVelocityWarning, match="at the edge of the range"):
        table = measure(*noisy([truth], 0.01), max_velocity=300 * u.km / u.s)
    assert not table["reliable"][0]


@pytest.mark.parametrize("truth", [1500.0, -2500.0])
def test_far_beyond_the_range_is_never_reliable(truth):
    assert not quietly(*noisy(np.full(50, truth), 0.03), max_velocity=300 * u.km / u.s)["reliable"].any()


@pytest.mark.parametrize("noise", [0.4, 0.6])
def test_what_is_reliable_in_much_noise_is_right(noise):
    truth = np.random.default_rng(12).uniform(-400, 400, 600)
    table = quietly(*noisy(truth, noise))
    pull = (table["velocity"].value - truth) / table["velocity_err"].value
    assert table["reliable"].any()
    assert np.abs(pull[table["reliable"]]).max() < 5


def test_noise_alone_is_not_a_velocity():
    flux = 1 + 0.1 * np.random.default_rng(8).standard_normal((300, 1200))
    table = quietly(flux, np.full(flux.shape, 100.0))
    assert not table["reliable"].any()


def test_a_constant_spectrum_is_not_a_velocity():
    assert not quietly(np.ones((1, 1200)), np.ones((1, 1200)))["reliable"][0]


def test_two_stars_in_one_spectrum_are_ambiguous():
    flux, _ = noisy([-250.0, 250.0], 1e-9)
    flux = flux.mean(axis=0, keepdims=True) + 0.03 * np.random.default_rng(9).standard_normal((1, 1200))
    table = quietly(flux, np.full(flux.shape, 0.03**-2), templates=TEMPLATES[:1])
    assert "ambiguous" in table["reason"][0]


def test_a_spectrum_of_something_else_is_flagged():
    rng = np.random.default_rng(10)
    waves = np.cumsum(rng.standard_normal(1200)) * 0.05
    flux = 1 + waves - waves.mean() + 0.01 * rng.standard_normal(1200)
    assert not quietly(flux[None], np.full((1, 1200), 1e4))["reliable"][0]


def test_few_good_pixels_are_flagged():
    flux, ivar = noisy([5.0], 0.01)
    ivar[:, 200:] = 0
    assert "less than 25 %" in quietly(flux, ivar)["reason"][0]


def test_within_leaves_the_others_out():
    flux, ivar = noisy([5.0], 0.01)
    flux[:, AXIS > 15700] = np.roll(flux[:, AXIS > 15700], 10, axis=1)
    table = measure(flux, ivar, within=[1.5, 1.57] * u.um)
    assert table["velocity"][0].value == pytest.approx(5, abs=1.5)


def prepared(velocity, **options):
    apogee = get_instrument("apogee")
    axis = np.linspace(15100, 16990, 9000)
    centres = np.sort(np.random.default_rng(5).uniform(15000, 17000, 150))
    rest = [axis[:, None] / doppler_factor(v) - centres for v in velocity]
    flux = np.array([1 - 0.4 * np.exp(-0.5 * (distance / 0.4) ** 2).sum(axis=1) for distance in rest])
    names = [f"star-{i}" for i in range(len(flux))]
    return apogee.prepare_arrays(flux, np.full(flux.shape, 1e4), spectral_axis=axis * u.AA, object_id=names, **options)


def test_prepared_spectra_and_their_names():
    with pytest.warns(VelocityWarning, match="no radial velocity"):
        moving = prepared([30.0, -70.0], frame="barycentric")
    table = radial_velocity(moving, prepared([0.0]))
    assert table["velocity"].value == pytest.approx([30, -70], abs=0.3)
    assert table["object_id"].tolist() == ["star-0", "star-1"]
    assert table["spectrum_id"].tolist() == moving.spectrum_id.tolist()
    assert set(table["frame"]) == {"barycentric"}


def test_what_was_measured_brings_spectra_to_rest():
    with pytest.warns(VelocityWarning, match="no radial velocity"):
        moving = prepared([30.0, -70.0], frame="barycentric")
    templates = prepared([0.0])
    velocity = radial_velocity(moving, templates)["velocity"]
    still = prepared([30.0, -70.0], frame="barycentric", radial_velocity=velocity)
    np.testing.assert_allclose(radial_velocity(still, templates)["velocity"].value, 0, atol=0.1)


def test_templates_that_move_are_refused():
    with pytest.warns(VelocityWarning, match="no radial velocity"):
        moving = prepared([30.0], frame="barycentric")
    with pytest.raises(SpectrumError, match="templates: expected spectra at rest, got the frame barycentric"):
        radial_velocity(prepared([0.0]), moving)
    with pytest.raises(SpectrumError, match="leave them out"):
        radial_velocity(moving, prepared([0.0]), mask=moving.mask)
    with pytest.raises(SpectrumError, match="leave it out"):
        radial_velocity(moving, prepared([0.0]), template_axis=AXIS * u.AA)


def test_coefficients_are_refused():
    spectra = prepared([0.0])
    with pytest.raises(SpectrumError, match="expected an axis of wavelengths, got one of kind coefficient"):
        radial_velocity(dataclasses.replace(spectra, axis_kind="coefficient"), spectra)


FLUX, IVAR = noisy([5.0, 6.0], 0.01)
REFUSED = [
    ({"ivar": None}, SpectrumError, "needs ivar="),
    ({"ivar": IVAR[:1]}, SpectrumError, r"ivar: expected shape \(2, 1200\)"),
    ({"mask": np.zeros((2, 3), bool)}, SpectrumError, r"mask: expected shape \(2, 1200\)"),
    ({"spectral_axis": AXIS[1:] * u.AA}, SpectrumError, "spectral_axis: expected 1200 wavelengths"),
    ({"spectral_axis": AXIS}, SpectrumUnitError, "got no unit"),
    ({"object_id": ["a"]}, SpectrumError, "object_id: expected 2 names"),
    ({"spectrum_id": ["a"]}, SpectrumError, "spectrum_id: expected 2 names"),
    ({"max_velocity": 100}, SpectrumUnitError, "max_velocity: expected a Quantity"),
    ({"max_velocity": -1 * u.km / u.s}, SpectrumError, "max_velocity: expected more than 0"),
    ({"templates": TEMPLATES[:, 1:]}, SpectrumError, "pass template_axis"),
    ({"templates": TEMPLATES[:0]}, SpectrumError, "templates: expected at least one"),
    ({"templates": np.ones((1, 1200))}, SpectrumError, "row 0 is constant"),
    ({"templates": np.full((1, 1200), np.nan)}, SpectrumError, "expected 20 pixels or more"),
    ({"within": [1, 1.1] * u.um}, SpectrumError, "within: expected wavelengths between 15000 and"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_what_cannot_be_measured_is_refused(change, error, message):
    arguments = {"templates": TEMPLATES, "ivar": IVAR, "spectral_axis": AXIS * u.AA} | change
    with pytest.raises(error, match=message):
        radial_velocity(FLUX, **arguments)


def test_a_grid_of_equal_steps_is_kept():
    grid = LogGrid.of(AXIS)
    assert (grid.size, grid.step) == (1200, pytest.approx(STEP))
    np.testing.assert_allclose(grid.extended(3).wavelength[3:-3], AXIS)
    assert LogGrid.of(np.linspace(1e4, 2e4, 100)).size > 100
