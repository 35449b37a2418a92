import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign.mock import ELEMENTS, draw_labels, spectrum
from specalign.mock.lines import LINES, SPECIES, co_lines, hydrogen_lines

X_FE = [f"{element}_fe" for element in ELEMENTS if element != "fe"]
MOLECULAR = ("c", "n", "o", "mg", "ti")  # elements that molecules contain too
NAMES = ("apogee", "nirspec", "lamost", "gaia_xp")


def stars(teff, logg=2.5, fe_h=0.0, **x_fe):
    size = np.broadcast_shapes(*(np.shape(v) for v in (teff, logg, fe_h, *x_fe.values())), (1,))
    table = QTable({"teff": np.full(size, teff) * u.K, "logg": np.full(size, logg) * u.dex(u.cm / u.s**2)})
    table["fe_h"] = np.full(size, fe_h) * u.dex
    for name in X_FE:
        table[name] = np.full(size, x_fe.get(name, 0.0)) * u.dex
    return table


def equivalent_width(name, low, high, labels):
    """Of the window between two wavelengths (Angstrom), against 1 or the line between its ends."""
    axis, flux = spectrum(name, labels)
    inside = (axis.value > low) & (axis.value < high)
    wavelength, flux = axis.value[inside], flux.value[:, inside].astype(float)
    share = (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0])
    continuum = flux[:, :1] * (1 - share) + flux[:, -1:] * share
    continuum = np.ones_like(flux) if name == "apogee" else continuum
    return np.sum((1 - flux / continuum)[:, :-1] * np.diff(wavelength), axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_spectra_are_finite_positive_and_do_not_depend_on_the_batch(name):
    labels = draw_labels(300, seed=5)
    axis, flux = spectrum(name, labels)
    assert axis.unit == u.AA
    assert np.all(np.diff(axis.value) > 0)
    assert flux.shape == (300, len(axis))
    assert np.all(np.isfinite(flux.value) & (flux.value > 0))
    alone = spectrum(name, labels[7:8])[1]
    assert np.allclose(alone[0].value, flux[7].value, rtol=1e-5)


def test_hydrogen_and_carbon_monoxide_stand_where_they_are_observed():
    wavelength = hydrogen_lines()[0]
    for observed in (6564.6, 4862.7, 12821.6, 16411.7, 16811.1):  # H alpha, H beta, Paschen beta, Brackett 12 and 11
        assert np.min(np.abs(wavelength - observed)) < 0.3
    heads = co_lines(4000.0)[0]
    for observed in (15582, 15780, 15982, 16189, 16401):  # Brooke et al. and every atlas of cool giants
        below, above = (
            np.sum((heads > observed - 8) & (heads < observed - 2)),
            np.sum((heads > observed) & (heads < observed + 6)),
        )
        assert above > below + 5


def test_the_table_is_of_vacuum_wavelengths():
    def nearest(species, wavelength):
        return np.min(np.abs(LINES["wavelength"][LINES["species"] == species] - wavelength))

    # Na D, the infrared Ca II triplet and Mg b, vacuum (NIST); in air they are 1.6 to 2.4 Angstrom shorter.
    for species, wavelength in (("Na I", 5891.58), ("Na I", 5897.56), ("Ca II", 8544.44), ("Mg I", 5185.05)):
        assert nearest(species, wavelength) < 0.02


@pytest.mark.parametrize(
    ("name", "window", "label", "low", "high"),
    [
        ("lamost", (8538, 8551), "fe_h", -1.0, 0.3),  # Ca II
        ("lamost", (5884, 5905), "fe_h", -1.0, 0.3),  # Na D
        ("lamost", (4270, 4330), "c_fe", -0.3, 0.3),  # the G band
        ("apogee", (15768, 15772), "mg_fe", -0.2, 0.4),
        ("apogee", (15779, 15800), "c_fe", -0.3, 0.3),  # a CO head
        ("nirspec", (12020, 12050), "si_fe", -0.2, 0.4),
        ("nirspec", (10910, 11100), "n_fe", -0.2, 0.4),  # a CN head
    ],
)
def test_lines_grow_with_their_abundance(name, window, label, low, high):
    weak, strong = equivalent_width(name, *window, stars(4500.0, **{label: np.array([low, high])}))
    assert 0 < 1.1 * weak < strong


@pytest.mark.parametrize(
    ("name", "window"), [("apogee", (15779, 15800)), ("lamost", (5884, 5905)), ("lamost", (7050, 7200))]
)
def test_cool_stars_have_stronger_neutral_lines_and_molecules(name, window):
    cool, hot = equivalent_width(name, *window, stars(np.array([4000.0, 5500.0])))
    assert cool > 1.5 * hot


def test_hydrogen_grows_with_temperature_and_gravity_broadens_wings():
    width = equivalent_width("lamost", 6520, 6610, stars(np.array([4800.0, 5800.0, 6800.0]), logg=4.3))
    assert width[0] < width[1] < width[2]
    assert 2 < width[1] < 6  # the Sun has about 4 Angstrom
    giant, dwarf = equivalent_width("lamost", 5160, 5200, stars(4700.0, logg=np.array([2.0, 4.6])))
    assert dwarf > 1.2 * giant


def test_ionised_lines_feel_gravity_more_than_neutral_ones():
    labels = stars(5500.0, logg=np.array([1.5, 4.5]))
    iron_ii, iron_i = (equivalent_width("lamost", *w, labels) for w in ((5311, 5325), (6226, 6240)))
    assert iron_ii[0] / iron_ii[1] > 1.3 * iron_i[0] / iron_i[1]


def test_the_velocity_is_receding_positive_and_relativistic():
    labels = stars(5800.0, logg=4.4)
    axis, flux = spectrum("lamost", labels, radial_velocity=[300.0] * u.km / u.s)
    window = (axis.value > 6540) & (axis.value < 6600)
    depth = 1 - flux[0, window].value / flux[0, window].value.max()
    depth[depth < 0.3 * depth.max()] = 0  # the core
    beta = 300.0 / 299792.458
    expected = 6564.6 * np.sqrt((1 + beta) / (1 - beta))
    assert abs(np.sum(depth * axis.value[window]) / depth.sum() - expected) < 0.3
    assert np.array_equal(spectrum("apogee", labels, [300.0] * u.km / u.s)[1], spectrum("apogee", labels)[1])


def test_extinction_reddens():
    labels = stars(np.array([5000.0, 5000.0]))
    labels["a_v"] = np.array([0.0, 1.0]) * u.mag
    axis, flux = spectrum("gaia_xp", labels)
    magnitudes = -2.5 * np.log10(flux[1] / flux[0])
    assert np.all(np.diff(magnitudes) < 0)
    assert abs(magnitudes[np.argmin(abs(axis.value - 5500))] - 1) < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_spectra_are_smooth_in_the_labels_so_that_a_bound_can_be_computed(name):
    """Central differences with two steps agree, and the Fisher matrix of all labels is not singular."""
    labels = draw_labels(20, seed=2)
    gradients = []
    for label, step in (
        ("teff", 20.0),
        ("logg", 0.05),
        *((f"{e}_fe", 0.05) for e in ("mg", "si", "ca", "ti", "c", "n", "ni")),
        ("fe_h", 0.05),
    ):
        full, half = (_gradient(name, labels, label, factor * step) for factor in (1.0, 0.5))
        scale = np.sqrt(np.mean(full**2, axis=1))
        if name in ("apogee", "nirspec"):
            assert np.all(np.sqrt(np.mean((full - half) ** 2, axis=1)) < 0.15 * scale), label
        gradients.append(full / scale[:, None])
    gradients = np.stack(gradients, axis=1)
    fisher = np.einsum("nip,njp->nij", gradients, gradients) / gradients.shape[2]
    assert np.all(np.linalg.eigvalsh(fisher)[:, 0] > 1e-7)


def _gradient(name, labels, label, step):
    sides = []
    for sign in (1, -1):
        changed = labels.copy()
        changed[label] = (labels[label].value + sign * step) * labels[label].unit
        sides.append(spectrum(name, changed)[1].value.astype(float))
    return (sides[0] - sides[1]) / (2 * step)


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_element_shows_in_at_least_two_instruments(element):
    """0.3 dex more of it changes a pixel by 0.3 % or more, which a hundred such stars at S/N 100 would show well."""
    label = "fe_h" if element == "fe" else f"{element}_fe"
    seen = []
    for name in NAMES:
        less, more = spectrum(name, stars(4600.0, **{label: np.array([0.0, 0.3])}))[1].value
        if np.max(np.abs(more / less - 1)) > 0.003:
            seen.append(name)
    assert len(seen) >= 2, seen


@pytest.mark.parametrize("element", [name for name in ELEMENTS if name not in (*MOLECULAR, "fe")])
def test_an_element_acts_at_its_own_lines_alone(element):
    """In APOGEE, where no line is wider than 3 Angstrom from its centre unless it has wings."""
    own = [species for species, facts in SPECIES.items() if element in facts[0].split("+")]
    wavelength = LINES["wavelength"][np.isin(LINES["species"], own) & ~LINES["strong"]]
    axis, (less, more) = (
        part.value for part in spectrum("apogee", stars(4600.0, **{f"{element}_fe": np.array([0.0, 0.3])}))
    )
    far = np.min(np.abs(axis[:, None] - wavelength), axis=1) > 3
    assert np.max(np.abs(more - less)[far]) < 1e-5
    assert np.min((more - less)[~far]) < -0.0003


@pytest.mark.parametrize(
    ("window", "atoms", "others"),
    [
        ((15572, 15577.5), ("o",), ("c", "n", "mg")),  # OH
        ((15779, 15800), ("c", "o"), ("n",)),  # CO
        ((15323, 15327), ("c", "n"), ("o",)),  # CN
    ],
)
def test_molecules_go_with_their_atoms(window, atoms, others):
    def growth(element):
        weak, strong = equivalent_width("apogee", *window, stars(4200.0, **{f"{element}_fe": np.array([0.0, 0.3])}))
        return strong / weak - 1

    assert min(growth(element) for element in atoms) > 0.05
    assert max(abs(growth(element)) for element in others) < 0.02


def test_titanium_oxide_needs_both_and_carbon_monoxide_the_scarcer():
    titanium, oxygen = (
        equivalent_width("lamost", 7040, 7200, stars(4000.0, **{label: np.array([0.0, 0.2])}))
        for label in ("ti_fe", "o_fe")
    )
    assert titanium[1] > 1.05 * titanium[0]
    assert oxygen[1] == pytest.approx(titanium[1], rel=0.02)
    much = {"c_fe": np.array([0.3, 0.3]), "o_fe": np.array([-0.4, -0.1])}  # more carbon than oxygen
    width = equivalent_width("apogee", 15779, 15800, stars(4200.0, **much))
    same = equivalent_width("apogee", 15779, 15800, stars(4200.0, c_fe=np.array([0.3, 0.6]), o_fe=-0.4))
    assert width[1] / width[0] - 1 > 2 * (same[1] / same[0] - 1)


def rotating(vsini):
    labels = stars(np.full(len(vsini), 5500.0), logg=4.4)
    labels["vsini"] = np.array(vsini, dtype=float) * u.km / u.s
    return labels


@pytest.mark.parametrize(
    ("name", "fast", "ratio"), [("apogee", 60.0, 300), ("nirspec", 200.0, 40), ("lamost", 200.0, 20)]
)
def test_rotation_is_a_convolution_with_the_profile_of_a_limb_darkened_disc(name, fast, ratio):
    """Against the sum over the disc's profile (Gray, chapter 18) of shifted spectra; two have coarse pixels."""
    axis, flux = spectrum(name, rotating([0.0, fast]))
    still, rotated = flux.value.astype(float)
    place = np.linspace(-1, 1, 401)
    profile = 2 * 0.4 * np.sqrt(1 - place**2) + np.pi * 0.3 * (1 - place**2)
    velocity = np.log(axis.value) * 299792.458
    shifted = [np.interp(velocity - fast * x, velocity, still) for x in place]
    expected = np.average(shifted, axis=0, weights=profile)
    inside = slice(200, -200)
    assert np.max(np.abs(still - rotated)[inside]) > ratio * np.max(np.abs(expected - rotated)[inside])


def test_rotation_broadens_lines_and_keeps_their_strength():
    labels = rotating([0.0, 5.0, 20.0])
    width = equivalent_width("apogee", 15740, 15780, labels)
    assert np.allclose(width, width[0], rtol=0.01)
    axis, flux = spectrum("apogee", labels)
    core = flux.value[:, np.argmin(np.abs(axis.value - 15770.15))]
    assert core[0] < core[1] < core[2] - 0.02
    assert np.allclose(flux[0], spectrum("apogee", labels["teff", "logg", "fe_h"])[1][0], atol=1e-6)
    flux = spectrum("gaia_xp", labels)[1]
    assert np.array_equal(flux[0], flux[2])


def test_an_unknown_instrument_is_named():
    with pytest.raises(KeyError, match="hubble"):
        spectrum("hubble", draw_labels(1))


def test_labels_that_are_missing_are_solar_or_named():
    labels = stars(5000.0)
    assert np.array_equal(spectrum("lamost", labels["teff", "logg", "fe_h"])[1], spectrum("lamost", labels)[1])
    with pytest.raises(KeyError, match="fe_h"):
        spectrum("lamost", labels["teff", "logg"])
