"""Model spectra to what each instrument would see, and on through ``prepare``."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import InverseVariance
from specutils import Spectrum, SpectrumCollection, SpectrumList
from specutils.utils.wcs_utils import vac_to_air

from specalign.exceptions import MissingFactError, SpectrumError, SpectrumUnitError
from specalign.instruments import get_instrument
from specalign.instruments.axes import FLUX_DENSITY
from specalign.instruments.resampling import doppler_factor
from specalign.instruments.spectra import as_list
from specalign.io.quality import bit_value

SETTINGS = [
    ("apogee", {}),
    ("nirspec", {}),
    ("nirspec", {"grid": "seeds"}),
    ("nirspec", {"grid": "detector"}),
    ("nirspec", {"disperser": "g395h", "filter": "f290lp"}),
    ("nirspec", {"disperser": "prism", "filter": "clear"}),
    ("lamost", {}),
    ("lamost", {"mode": "mrs"}),
    ("gaia_xp", {}),
]
UNIT = FLUX_DENSITY
FACTS = {"object_id": "model", "medium": "vacuum"}
LINES = {"apogee": 16000.0, "nirspec": 16500.0, "lamost": 5200.0, "gaia_xp": 9000.0}
DEFECTS = {"apogee": {"BADPIX", "CRPIX"}, "nirspec": {"OUTLIER", "DEAD"}, "lamost": {"AND_BADCCD"}, "gaia_xp": set()}


def middle(instrument):
    """A wavelength that no chip gap, window or arm boundary touches."""
    if instrument.options.get("disperser") == "g395h":
        return 48000.0
    return LINES[instrument.name]


def sigma_at(instrument, wavelength):
    return float(np.interp(wavelength, instrument.spectral_axis.value, instrument.lsf_sigma.value))


def smooth_model(instrument, n=1, oversampling=1.5, **meta):
    """Flux without lines, sampled finely enough, over all that the instrument sees and a little more."""
    grid = instrument.spectral_axis.value
    step = instrument.lsf_sigma.value.min() / oversampling
    axis = np.arange(grid[0] - 40 * step, grid[-1] + 40 * step, step)
    x = (axis - grid[0]) / (grid[-1] - grid[0])
    flux = (2 + np.sin(3 * x)) * np.linspace(1, 3, n)[:, None]
    meta = FACTS | {"object_id": [f"star-{i}" for i in range(n)]} | meta
    return Spectrum(flux * UNIT, axis * u.AA, meta=meta)


def lines_model(instrument, width=0.5, centre=None, depth=0.5, fine=12, reach=120):
    """One Gaussian line, `width` times as wide as the line-spread function, on a stretch around it."""
    centre = middle(instrument) if centre is None else centre
    sigma = sigma_at(instrument, centre)
    axis = np.arange(max(centre - reach * sigma, 0.25 * centre), centre + reach * sigma, sigma / fine)
    flux = 1 - depth * np.exp(-0.5 * ((axis - centre) / (width * sigma)) ** 2)
    return axis, flux, sigma


def moments(instrument, spectrum, centre, sigma, reach=12):
    """Area, centre and standard deviation of an absorption line in good pixels."""
    axis, width = instrument.spectral_axis.value, instrument.edges.upper - instrument.edges.lower
    use = (np.abs(axis - centre) < reach * sigma) & ~spectrum.mask
    depth = (1 - spectrum.flux.value) * width
    area = depth[use].sum()
    mean = (depth * axis)[use].sum() / area
    return area, mean, np.sqrt((depth * (axis - mean) ** 2)[use].sum() / area)


def clean(name, **options):
    """An instrument without gaps."""
    instrument = get_instrument(name, **options)
    instrument.gaps = ()
    return instrument


@pytest.mark.parametrize(("name", "options"), SETTINGS)
@pytest.mark.parametrize("width", [0.3, 2.0])
def test_a_line_gets_the_width_of_the_instrument_in_quadrature_and_keeps_its_place_and_flux(name, options, width):
    instrument = clean(name, **options)
    centre = middle(instrument)
    axis, flux, sigma = lines_model(instrument, width)
    seen = instrument.simulate(Spectrum(flux * UNIT, axis * u.AA, meta=FACTS), np.inf, 0, bad_fraction=0)
    area, mean, spread = moments(instrument, seen, centre, sigma, 8 * np.hypot(1, width))
    coarse = name == "gaia_xp" or options.get("disperser") == "prism"  # their resolution changes along a line
    pixel = np.interp(centre, instrument.spectral_axis.value[1:], np.diff(instrument.spectral_axis.value))
    assert area == pytest.approx(np.sum(1 - flux) * (axis[1] - axis[0]), rel=3e-3 if coarse else 1e-5)
    assert abs(mean - centre) < (0.1 if coarse else 0.002) * pixel
    assert spread == pytest.approx(sigma * np.hypot(1, width), rel=0.01)


def test_the_resolution_of_the_library_is_taken_off():
    apogee = clean("apogee")
    axis, _, sigma = lines_model(apogee, fine=20)
    library = 16000.0 / 45000 / 2.3548
    flux = 1 - 0.5 * np.exp(-0.5 * ((axis - 16000) / library) ** 2)
    model = Spectrum(flux * UNIT, axis * u.AA, meta=FACTS)
    spreads = [
        moments(apogee, apogee.simulate(model, np.inf, 0, bad_fraction=0, resolving_power=power), 16000.0, sigma)[2]
        for power in (45000, None)
    ]
    assert spreads == pytest.approx([sigma, np.hypot(sigma, library)], rel=2e-3)


def test_a_model_coarser_than_the_instrument_is_refused():
    apogee = get_instrument("apogee")
    axis, flux, _ = lines_model(apogee)
    model = Spectrum(flux * UNIT, axis * u.AA, meta=FACTS)
    with pytest.raises(SpectrumError, match=r"expected more than 2\d{4} at .* got 20000: a model cannot be sharpened"):
        apogee.simulate(model, 100, 0, resolving_power=20000)
    with pytest.raises(SpectrumError, match=r"expected steps of 0\.2.* or less .* got steps of 0\.6"):
        apogee.simulate(Spectrum(flux[::25] * UNIT, axis[::25] * u.AA, meta=FACTS), 100, 0)


def test_models_with_the_line_spread_function_are_only_brought_into_the_pixels():
    seeds = clean("nirspec", grid="seeds")
    model = smooth_model(seeds, oversampling=0.9)
    seen = seeds.simulate(model, np.inf, 0, bad_fraction=0, convolve=False)[0]
    ours = np.interp(seeds.spectral_axis.value, model.spectral_axis.value, model.flux.value[0])
    np.testing.assert_allclose(seen.flux.value, ours, rtol=3e-4)
    same = Spectrum(ours * UNIT, seeds.spectral_axis, meta=FACTS)
    again = seeds.simulate(same, np.inf, 0, bad_fraction=0, convolve=False)
    np.testing.assert_allclose(again.flux.value, ours, rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_a_constant_stays_one(name, options):
    instrument = get_instrument(name, **options)
    model = smooth_model(instrument)
    seen = instrument.simulate(
        Spectrum(np.full(model.shape, 7.0) * UNIT, model.spectral_axis, meta=model.meta), np.inf, 3
    )
    assert np.ptp(seen[0].flux.value[~seen[0].mask]) < 1e-12
    assert (~seen[0].mask).mean() > 0.8


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_prepare_takes_what_simulate_gives_and_finds_flux_and_noise(name, options):
    instrument = get_instrument(name, **options | {"normalization": "none"})
    model = smooth_model(instrument, 3)
    prepared = instrument.prepare(instrument.simulate(model, np.array([[50], [100], [200]]), 5))
    assert prepared.object_id.tolist() == ["star-0", "star-1", "star-2"]
    assert set(prepared.catalog["product"]) == {"simulated"}
    assert set(prepared.catalog["frame"]) <= {"rest", "barycentric"}
    np.testing.assert_allclose(prepared.snr, [50, 100, 200], rtol=0.03)
    truth = np.array(
        [np.interp(instrument.spectral_axis.value, model.spectral_axis.value, f) for f in model.flux.value]
    )
    pull = ((prepared.flux - truth) * np.sqrt(prepared.ivar))[~prepared.mask]
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    assert pull.std() == pytest.approx(1, abs=5 / np.sqrt(pull.size))


@pytest.mark.parametrize("name", ["apogee", "nirspec", "lamost", "gaia_xp"])
def test_prepare_with_default_options_normalises_a_smooth_model_away(name):
    instrument = get_instrument(name)
    model = smooth_model(instrument)
    prepared = instrument.prepare(instrument.simulate(model, np.inf, 1))
    truth = np.interp(instrument.spectral_axis.value, model.spectral_axis.value, model.flux.value[0])
    restored = prepared.flux * prepared.norm
    good = ~prepared.mask[0]
    np.testing.assert_allclose(restored[0][good], truth[good], rtol=2e-4)


def line_offset(instrument, velocity, axis, flux, medium, stated):
    """Pixels between a line in prepared spectra and where it should be."""
    instrument.min_good_fraction = 0.001
    centre = middle(instrument)
    axis = vac_to_air(axis * u.AA, method="Morton2000") if medium == "air" else axis * u.AA
    model = Spectrum(flux * UNIT, axis, meta={"object_id": "model"})
    seen = instrument.simulate(model, np.inf, 0, medium=stated, bad_fraction=0, radial_velocity=velocity)
    prepared = instrument.prepare(seen, normalized=True)
    grid = instrument.spectral_axis.value
    near = np.abs(grid - centre) < 25 * sigma_at(instrument, centre)
    width = instrument.edges.upper - instrument.edges.lower
    depth = np.where(near & ~prepared.mask[0], 1 - prepared.flux[0], 0) * width
    found = np.sum(depth * grid) / np.sum(depth)
    return (found - centre) / np.interp(centre, grid[1:], np.diff(grid))


@pytest.mark.parametrize(("name", "options"), [s for s in SETTINGS if s[0] != "gaia_xp"])
@pytest.mark.parametrize("medium", ["vacuum", "air"])
@pytest.mark.parametrize("velocity", [None, -140.0, 260.0])
def test_lines_come_back_to_a_tenth_of_a_pixel(name, options, medium, velocity):
    instrument = clean(name, **options)
    axis, flux, _ = lines_model(instrument, 1.0)
    velocity = None if velocity is None else velocity * u.km / u.s
    assert abs(line_offset(instrument, velocity, axis, flux, medium, medium)) < 0.1


@pytest.mark.parametrize("name", ["apogee", "lamost"])
def test_air_mislabelled_as_vacuum_is_off_by_more_than_eighty_kilometres_a_second(name):
    instrument = clean(name)
    axis, flux, _ = lines_model(instrument, 1.0)
    centre = middle(instrument)
    pixels = line_offset(instrument, None, axis, flux, "air", "vacuum")
    width = np.interp(centre, instrument.spectral_axis.value[1:], np.diff(instrument.spectral_axis.value))
    assert 81.5 < -pixels * width / centre * 299792.458 < 85


def test_a_shifted_spectrum_states_its_velocity_and_frame():
    apogee = get_instrument("apogee")
    seen = apogee.simulate(smooth_model(apogee, 2), 100, 0, radial_velocity=[30, -20] * u.km / u.s)
    assert [one.meta["frame"] for one in seen] == ["barycentric"] * 2
    assert [one.meta["radial_velocity"] for one in seen] == [30 * u.km / u.s, -20 * u.km / u.s]
    prepared = apogee.prepare(seen)
    assert set(prepared.catalog["frame"]) == {"rest"}
    assert prepared.catalog["velocity_applied"].value.tolist() == [30, -20]


def test_shifted_lines_stand_where_the_velocity_puts_them():
    nirspec = clean("nirspec", grid="detector")
    axis, flux, sigma = lines_model(nirspec, 1.0)
    model = Spectrum(flux * UNIT, axis * u.AA, meta=FACTS)
    seen = nirspec.simulate(model, np.inf, 0, bad_fraction=0, radial_velocity=300 * u.km / u.s)
    assert moments(nirspec, seen, 16516.5, sigma)[1] == pytest.approx(16500 * doppler_factor(300.0), abs=0.01)


def test_the_mean_of_many_draws_is_the_noiseless_spectrum_and_their_scatter_the_stated_error():
    prism = get_instrument("nirspec", disperser="prism", filter="clear", grid="detector")
    model = smooth_model(prism)
    exact = prism.simulate(model, np.inf, 0, bad_fraction=0)[0].flux.value
    draws = 200
    rows = Spectrum(
        np.repeat(model.flux, draws, axis=0), model.spectral_axis, meta=FACTS | {"object_id": ["a"] * draws}
    )
    many = prism.simulate(rows, 20, 8, bad_fraction=0)
    flux = np.array([one.flux.value for one in many])
    error = many[0].uncertainty.array ** -0.5
    pull = (flux.mean(axis=0) - exact) / (error / np.sqrt(draws))
    assert np.abs(pull).max() < 5
    np.testing.assert_allclose(flux.std(axis=0) / error, 1, atol=5 / np.sqrt(2 * draws))
    assert abs(np.mean((flux[:, 1:] - exact[1:]) * (flux[:, :-1] - exact[:-1]) / error[1:] ** 2)) < 0.02


def test_signal_to_noise_is_photon_noise_or_what_each_pixel_is_told():
    apogee = get_instrument("apogee")
    model = smooth_model(apogee, 2)
    p, flux = apogee.n_pixels, None
    seen = {}
    asked = np.linspace(20, 80, p)
    for key, snr in {
        "number": 60, "rows": [60, 60], "pixels": asked, "both": np.stack([asked, 2 * asked]),
        "function": lambda axis: np.interp(axis.to_value(u.um), [1.5, 1.7], [20, 80]),
    }.items():  # fmt: skip
        seen[key] = apogee.simulate(model, snr, 4, bad_fraction=0)
    flux = apogee.simulate(model, np.inf, 4, bad_fraction=0)[1].flux.value
    good = ~seen["number"][1].mask

    def achieved(key, row=1):
        return (flux * np.sqrt(seen[key][row].uncertainty.array))[good]

    np.testing.assert_allclose(achieved("number") / 60, np.sqrt(flux[good] / np.median(flux[good])), rtol=0.01)
    np.testing.assert_array_equal(achieved("rows"), achieved("number"))
    np.testing.assert_allclose(achieved("pixels"), asked[good], rtol=1e-12)
    np.testing.assert_allclose(achieved("both"), 2 * asked[good], rtol=1e-12)
    axis = apogee.spectral_axis.to_value(u.um)
    np.testing.assert_allclose(achieved("function"), np.interp(axis, [1.5, 1.7], [20, 80])[good], rtol=1e-12)


@pytest.mark.parametrize("name", ["apogee", "nirspec", "lamost", "gaia_xp"])
def test_bad_pixels_have_the_instruments_own_bits_at_the_rate_asked(name):
    instrument = get_instrument(name)
    seen = instrument.simulate(smooth_model(instrument, 8), 100, 2, bad_fraction=0.1)
    quality = np.array([one.meta["quality"] for one in seen])
    struck = np.zeros(quality.shape, bool)
    for bit in DEFECTS[name]:
        with_bit = (quality & bit_value(instrument.quality_bits, bit)) != 0
        assert with_bit.any()
        struck |= with_bit
    holes = np.isin(quality, 0, invert=True) & ~struck
    rate = struck.sum() / (~holes).sum()
    assert rate == pytest.approx(0.1 if DEFECTS[name] else 0, abs=0.006)
    for one in seen:
        bad = (one.meta["quality"] & instrument.bad_bits) != 0
        np.testing.assert_array_equal(one.mask, bad)
        assert (one.uncertainty.array[bad] == 0).all()
        assert (one.flux.value[bad] == 0).all()
        assert (one.uncertainty.array[~bad] > 0).all()


def test_chip_gaps_of_apogee_are_flagged_as_edges():
    apogee = get_instrument("apogee")
    seen = apogee.simulate(smooth_model(apogee), 100, 2, bad_fraction=0)[0]
    np.testing.assert_array_equal(seen.mask, apogee.outside)
    assert set(seen.meta["quality"][apogee.outside]) == {bit_value(apogee.quality_bits, "EDGE")}


@pytest.mark.parametrize(
    ("disperser", "name", "width", "begins"),
    [
        ("g140h", "f100lp", 370, (10260, 13220)),
        ("g235h", "f170lp", 620, (17194, 22155)),
        ("g395h", "f290lp", 1042, (28917, 37259)),
    ],
)
def test_the_gap_of_nirspec_moves_with_the_generator(disperser, name, width, begins):
    nirspec = get_instrument("nirspec", disperser=disperser, filter=name)
    seen = nirspec.simulate(smooth_model(nirspec, 60), 100, 2, bad_fraction=0)
    axis, bits = nirspec.spectral_axis.value, bit_value(nirspec.quality_bits, "DO_NOT_USE", "NON_SCIENCE")
    holes = [axis[(one.meta["quality"] & bits) == bits] for one in seen]
    np.testing.assert_allclose([np.ptp(hole) for hole in holes], width, rtol=0.03)
    first = np.array([hole[0] for hole in holes])
    span = begins[1] - begins[0]
    assert begins[0] < first.min() < begins[0] + 0.1 * span
    assert begins[1] - 0.1 * span < first.max() < begins[1] + 0.01 * span


def test_dispersers_of_short_spectra_have_no_gap():
    for disperser, name in (("prism", "clear"), ("g395m", "f290lp")):
        assert get_instrument("nirspec", disperser=disperser, filter=name).gaps == ()


@pytest.mark.parametrize("name", ["apogee", "nirspec"])
def test_the_same_seed_gives_the_same_and_a_row_does_not_depend_on_those_after_it(name):
    instrument = get_instrument(name)
    model = smooth_model(instrument, 3)
    one = instrument.simulate(model, 40, 11)
    two = instrument.simulate(model, 40, np.random.default_rng(11))
    other = instrument.simulate(model, 40, 12)
    first = Spectrum(model.flux[:2], model.spectral_axis, meta=FACTS | {"object_id": ["star-0", "star-1"]})
    for a, b, c in zip(one, two, other, strict=True):
        np.testing.assert_array_equal(a.flux, b.flux)
        np.testing.assert_array_equal(a.meta["quality"], b.meta["quality"])
        assert (a.flux != c.flux).any()
    for a, b in zip(one, instrument.simulate(first, 40, 11), strict=False):
        np.testing.assert_array_equal(a.flux, b.flux)


def test_gaps_and_bad_pixels_are_those_of_the_noisy_spectrum_where_there_is_no_noise():
    nirspec = get_instrument("nirspec")
    noisy, exact = (nirspec.simulate(smooth_model(nirspec), snr, 3)[0] for snr in (20, np.inf))
    np.testing.assert_array_equal(noisy.meta["quality"], exact.meta["quality"])


def test_units_order_and_container_of_the_library_do_not_matter():
    apogee = get_instrument("apogee")
    model = smooth_model(apogee, 3)
    want = np.array([one.flux.value for one in apogee.simulate(model, 50, 1)])
    rows = [
        Spectrum(flux, model.spectral_axis, meta=FACTS | {"object_id": f"star-{i}"})
        for i, flux in enumerate(model.flux)
    ]
    turned = [Spectrum(r.flux[::-1], r.spectral_axis[::-1].to(u.um), meta=r.meta) for r in rows]
    nano = SpectrumList([Spectrum(r.flux, r.spectral_axis.to(u.nm), meta=r.meta) for r in rows])
    collection = SpectrumCollection(
        flux=model.flux, spectral_axis=np.tile(model.spectral_axis.value, (3, 1)) * u.AA, meta=[r.meta for r in rows]
    )
    for library in (rows, turned, nano, collection):
        got = np.array([one.flux.value for one in apogee.simulate(library, 50, 1)])
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_axes_may_differ_between_the_models_of_a_list():
    apogee = get_instrument("apogee")
    a, b = smooth_model(apogee, oversampling=1.5), smooth_model(apogee, oversampling=2.5)
    rows = [
        Spectrum(m.flux[0], m.spectral_axis, meta=FACTS | {"object_id": k})
        for k, m in zip("aba", (a, b, a), strict=True)
    ]
    seen = apogee.simulate(rows, [100, 200, 300], 0)
    assert [one.meta["object_id"] for one in seen] == ["a", "b", "a"]
    assert len({one.meta["spectrum_id"] for one in seen}) == 3
    np.testing.assert_allclose([one.meta["snr"] for one in seen], [100, 200, 300], rtol=0.01)
    assert len(apogee.prepare(seen)) == 3


def test_simulating_is_linear():
    lamost = get_instrument("lamost")
    model, rng = smooth_model(lamost), np.random.default_rng(0)
    one, two = 1 + rng.random((2, *model.shape))

    def seen(flux):
        return lamost.simulate(Spectrum(flux * UNIT, model.spectral_axis, meta=model.meta), np.inf, 0)[0].flux.value

    np.testing.assert_allclose(seen(2 * one + 0.5 * two), 2 * seen(one) + 0.5 * seen(two), rtol=1e-12)


def test_nothing_under_the_mask_of_a_model_leaks():
    apogee = get_instrument("apogee")
    model, mask = smooth_model(apogee), np.zeros((1, smooth_model(apogee).shape[1]), bool)
    mask[0, 5000:5010] = True
    rubbish = model.flux.value.copy()
    rubbish[mask] = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0, 1, 2, 3, 4]
    seen = [
        apogee.simulate(Spectrum(f * UNIT, model.spectral_axis, mask=mask, meta=model.meta), np.inf, 0, bad_fraction=0)[
            0
        ]
        for f in (model.flux.value, rubbish)
    ]
    np.testing.assert_array_equal(seen[0].flux, seen[1].flux)
    np.testing.assert_array_equal(seen[0].mask, seen[1].mask)
    lost = (seen[0].meta["quality"] & bit_value(apogee.quality_bits, "UNCOVERED")) != 0
    assert 5 < lost.sum() < 40


@pytest.mark.parametrize("table", [True, False])
def test_samples_without_information_are_not_used_whatever_the_container(table):
    apogee = get_instrument("apogee")
    model = smooth_model(apogee, 2)
    flux, ivar = model.flux.value.copy(), np.ones(model.shape)
    flux[:, 5000:5010], ivar[:, 5000:5010] = 1e30, 0
    library = Spectrum(flux * UNIT, model.spectral_axis, uncertainty=InverseVariance(ivar * UNIT**-2), meta=model.meta)
    seen = apogee.simulate(library if table else as_list(library), np.inf, 0, bad_fraction=0)
    assert all(np.nanmax(one.flux.value) < 10 for one in seen)
    assert all(one.meta["quality"][~apogee.outside].any() for one in seen)


def test_how_many_rows_are_in_memory_together_changes_nothing(monkeypatch):
    prism = get_instrument("nirspec", disperser="prism", filter="clear", grid="detector")
    model, velocity = smooth_model(prism, 5), [0, 10, -10, 200, 10] * u.km / u.s
    snr = np.linspace(20, 60, 5)
    want = prism.simulate(model, snr, 3, radial_velocity=velocity)
    monkeypatch.setattr("specalign.instruments.simulation.AT_ONCE", 2)
    got = prism.simulate(model, snr, 3, radial_velocity=velocity)
    rng = np.random.default_rng(3)
    for part in (slice(2), slice(2, 5)):  # and a library that is simulated in parts
        rows = Spectrum(
            model.flux[part], model.spectral_axis, meta=FACTS | {"object_id": ["a", "b", "c"][: 2 + (part.stop > 2)]}
        )
        parts = prism.simulate(rows, snr[part], rng, radial_velocity=velocity[part])
        for a, b in zip(want[part], parts, strict=True):
            np.testing.assert_array_equal(a.flux, b.flux)
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a.flux, b.flux)
        np.testing.assert_array_equal(a.meta["quality"], b.meta["quality"])
        assert a.meta["spectrum_id"] == b.meta["spectrum_id"]


def test_wavelengths_that_the_model_lacks_are_masked():
    nirspec = clean("nirspec", grid="seeds")
    whole = smooth_model(nirspec)
    use = (whole.spectral_axis.value > 10000) & (whole.spectral_axis.value < 17000)
    part = Spectrum(whole.flux[:, use], whole.spectral_axis[use], meta=whole.meta)
    seen = nirspec.simulate(part, 100, 0, bad_fraction=0)[0]
    axis = nirspec.spectral_axis.value
    assert seen.mask[(axis < 10000) | (axis > 17000)].all()
    assert not seen.mask[(axis > 10010) & (axis < 16990)].any()
    assert len(nirspec.prepare(seen)) == 1


def test_a_spectrum_of_one_disperser_is_refused_by_another():
    prism = get_instrument("nirspec", disperser="prism", filter="clear")
    seen = prism.simulate(smooth_model(prism), 100, 0)[0]
    with pytest.raises(SpectrumError, match="expected g140h/f100lp"):
        get_instrument("nirspec").prepare(seen)


def test_one_model_gives_one_spectrum():
    apogee = get_instrument("apogee")
    model = smooth_model(apogee)
    one = apogee.simulate(Spectrum(model.flux[0], model.spectral_axis, meta=FACTS), 100, 0, spectrum_id="row")
    assert isinstance(one, Spectrum)
    assert one.meta["spectrum_id"] == "apogee-simulated-row"
    assert one.meta["medium"] == "vacuum"
    assert one.meta["frame"] == "rest"


def test_bad_arguments_are_named():
    apogee = get_instrument("apogee")
    model = smooth_model(apogee)
    flux, axis = model.flux[0], model.spectral_axis
    for change, error, message in [
        ({"rng": None}, SpectrumError, "rng: expected a seed"),
        ({"snr": -3}, SpectrumError, r"snr: expected positive numbers, got -3"),
        ({"snr": [1, 2, 3]}, SpectrumError, r"snr: expected a number or shape \(1,\), \(8575,\)"),
        ({"bad_fraction": 1.0}, SpectrumError, "bad_fraction: expected a share"),
        ({"resolving_power": -1}, SpectrumError, "resolving_power: expected a positive number"),
        ({"radial_velocity": 30}, SpectrumUnitError, "radial_velocity: expected a Quantity"),
    ]:
        with pytest.raises(error, match=message):
            apogee.simulate(Spectrum(flux, axis, meta=FACTS), **({"snr": 100, "rng": 0} | change))
    with pytest.raises(MissingFactError, match="does not say its medium"):
        apogee.simulate(Spectrum(flux, axis, meta={"object_id": "a"}), 100, 0)
    with pytest.raises(SpectrumError, match="frame: expected models at rest, got"):
        apogee.simulate(Spectrum(flux, axis, meta=FACTS | {"frame": "observed"}), 100, 0)
    with pytest.raises(SpectrumError, match="'model': expected a positive median flux, got -2"):
        apogee.simulate(Spectrum(np.full(flux.shape, -2.0) * UNIT, axis, meta=FACTS), 100, 0)
    with pytest.raises(SpectrumError, match="'model': expected a model with good pixels between 15101"):
        apogee.simulate(Spectrum(flux, axis / 3, meta=FACTS), 100, 0)
    with pytest.raises(SpectrumError, match="expected at least one model"):
        apogee.simulate([], 100, 0)
    with pytest.raises(SpectrumError, match="has no wavelengths to simulate"):
        get_instrument("gaia_xp", form="coefficients").simulate(Spectrum(flux, axis, meta=FACTS), 100, 0)


def test_an_instrument_without_a_line_spread_function_asks_to_leave_the_model_as_it_is():
    apogee = get_instrument("apogee")
    apogee.lsf_sigma, model = None, smooth_model(get_instrument("apogee"))
    with pytest.raises(SpectrumError, match="apogee declares no lsf_sigma; pass convolve=False"):
        apogee.simulate(model, 100, 0)
    assert len(apogee.simulate(model, 100, 0, convolve=False)) == 1
