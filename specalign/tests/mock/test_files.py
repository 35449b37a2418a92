import hashlib
import importlib

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from specalign.data.labels import read_labels
from specalign.mock import ELEMENTS, draw_labels, measure_labels, spectrum, write_survey

NAMES = ("apogee", "nirspec", "lamost", "gaia_xp")


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return write_survey(tmp_path_factory.mktemp("survey"), 12, instruments=NAMES, seed=4)


def digests(paths):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def read(name, paths):
    reader = importlib.import_module(f"specalign.io.{name}")
    return [spectrum for path in paths for spectrum in reader.read(path)]


@pytest.mark.parametrize("name", NAMES)
def test_the_readers_of_real_files_read_them(survey, name):
    spectra = read(name, survey[name])
    labels = draw_labels(12, seed=4)
    assert [s.meta["object_id"] for s in spectra] == labels["object_id"].tolist()
    assert len({s.meta["spectrum_id"] for s in spectra}) == 12
    axis, truth = spectrum(name, labels, labels["radial_velocity"])
    for s, noiseless in zip(spectra, truth.value, strict=True):
        assert np.allclose(s.spectral_axis.to_value(u.AA), axis.value, rtol=1e-6)
        good = ~s.mask & (s.uncertainty.array > 0)
        ratio = s.flux.value[good] / noiseless[good]
        weight = noiseless[good] * np.sqrt(s.uncertainty.array[good])
        smooth = np.polyval(np.polyfit(axis.value[good], ratio, 1, w=weight), axis.value[good]) * noiseless[good]
        pulls = (s.flux.value[good] - smooth) * np.sqrt(s.uncertainty.array[good])
        assert 0.9 < np.std(pulls) < 1.1


@pytest.mark.parametrize("name", ["apogee", "nirspec", "lamost"])
def test_bad_pixels_hold_rubbish_and_are_flagged(survey, name):
    labels = draw_labels(12, seed=4)
    _, truth = spectrum(name, labels, labels["radial_velocity"])
    far_good, far_bad = 0, 0
    for s, noiseless in zip(read(name, survey[name]), truth.value, strict=True):
        off = np.abs(s.flux.value / np.nanmedian(s.flux.value) - noiseless / np.median(noiseless)) > 0.6
        far_good += np.sum(off & ~s.mask)
        far_bad += np.sum(off & s.mask)
        assert 0.001 < np.mean(s.mask) < 0.2
    assert far_good == 0
    assert far_bad > 100


def test_frames_and_velocities_are_stated_as_the_surveys_do(survey):
    truth = draw_labels(12, seed=4)["radial_velocity"].value
    for name, frame in (("apogee", "rest"), ("nirspec", "barycentric"), ("lamost", "barycentric")):
        spectra = read(name, survey[name])
        assert {s.meta["frame"] for s in spectra} == {frame}
        velocities = [s.meta["radial_velocity"] for s in spectra]
        if name == "nirspec":
            assert velocities == [None] * 12
        else:
            assert np.max(np.abs(u.Quantity(velocities).value - truth)) < 20


def test_every_file_says_that_it_is_a_mock(survey):
    for name in NAMES:
        for path in survey[name]:
            assert "mock" in path.name
            assert fits.getheader(path)["MOCK"] is True
    assert "MOCK" in (survey["labels"].parent / "README.txt").read_text()


def test_labels_are_read_back(survey):
    labels = read_labels(survey["labels"])
    truth = draw_labels(12, seed=4)
    assert labels.meta["label_system"] == "specalign-mock"
    assert np.array_equal(labels["object_id"], truth["object_id"])
    for name in ("teff", "logg", "vsini", *(f"{element}_fe" for element in ELEMENTS if element != "fe")):
        assert labels[name].unit == truth[name].unit
        assert np.allclose(labels[name].value, truth[name].value)


def test_the_measured_catalogue_is_read_back(survey, tmp_path):
    catalogue = read_labels(survey["catalogue"])
    expected = measure_labels(draw_labels(12, seed=4), seed=4)
    assert catalogue.meta["label_system"] == "specalign-mock"
    for name in ("teff", "teff_err", "logg_err", "ce_fe", "ce_fe_err"):
        assert np.allclose(catalogue[name].value, expected[name].value, equal_nan=True)
    shorter = write_survey(tmp_path, 3, instruments=("gaia_xp",), seed=4)
    assert np.array_equal(read_labels(shorter["catalogue"])["mg_fe"], catalogue["mg_fe"][:3])


def test_a_decorrelated_survey_has_other_spectra_of_the_same_stars(tmp_path, survey):
    paths = write_survey(tmp_path, 12, instruments=("apogee",), seed=4, decorrelated=True)
    labels = read_labels(paths["labels"])
    assert np.array_equal(labels["object_id"], draw_labels(12, seed=4)["object_id"])
    assert np.array_equal(labels["mg_fe"], draw_labels(12, seed=4, decorrelated=True)["mg_fe"])
    assert digests(paths["apogee"]).keys() == digests(survey["apogee"]).keys()
    assert not digests(paths["apogee"]).items() & digests(survey["apogee"]).items()


def test_a_file_depends_on_the_seed_alone(tmp_path, survey):
    """Not on the number of stars, the other instruments, or their order."""
    for name in ("nirspec", "lamost"):
        alone = write_survey(tmp_path / name, 5, instruments=(name,), seed=4)
        assert digests(alone[name]).items() <= digests(survey[name]).items()
    other = write_survey(tmp_path / "other", 5, instruments=("lamost",), seed=5)
    assert digests(other["lamost"]).keys().isdisjoint(digests(survey["lamost"]))


def test_visits_share_the_star_and_differ_in_noise(tmp_path):
    paths = write_survey(tmp_path, 3, instruments=("nirspec", "lamost"), visits=2)
    for name in ("nirspec", "lamost"):
        spectra = read(name, paths[name])
        assert len(spectra) == len({s.meta["spectrum_id"] for s in spectra}) == 6
        assert len({s.meta["object_id"] for s in spectra}) == 3
        same = [s for s in spectra if s.meta["object_id"] == spectra[0].meta["object_id"]]
        assert len(same) == 2
        good = ~(same[0].mask | same[1].mask)
        assert np.mean((same[0].flux.value == same[1].flux.value)[good]) < 0.01
        assert np.any(same[0].mask != same[1].mask)


def test_visits_differ_by_residual_velocities_and_the_header_of_lamost_follows(tmp_path, survey):
    paths = write_survey(tmp_path, 60, instruments=("nirspec", "lamost"), visits=2, seed=4, snr=300.0)
    labels = draw_labels(60, seed=4)
    truth, shown = labels["radial_velocity"], {}
    for name in ("nirspec", "lamost"):
        spectra = read(name, paths[name])
        templates = [spectrum(name, labels, truth + v * u.km / u.s)[1].value.astype(float) for v in (0, 5, -5)]
        shown[name] = [shifts(spectra[half], *templates) for half in (slice(60), slice(60, None))]
        assert np.std(shown[name][0]) < 2
    assert np.std(shown["nirspec"][1]) == pytest.approx(10, rel=0.25)
    assert np.std(shown["lamost"][1]) == pytest.approx(4, rel=0.25)
    stated = u.Quantity([s.meta["radial_velocity"] for s in spectra]).value - np.tile(truth.value, 2)
    assert np.std(stated[60:]) == pytest.approx(np.hypot(4, 4), rel=0.25)
    assert np.std(stated[60:] - shown["lamost"][1]) == pytest.approx(4, rel=0.25)


def shifts(spectra, model, up, down):
    """Velocities (N,), km/s, that spectra show against noiseless ones; a line is fitted along."""
    x, found = np.linspace(-1, 1, model.shape[1]), []
    for s, flux, slope in zip(spectra, model, (up - down) / 10, strict=True):
        good = ~s.mask
        terms = np.array([flux, flux * x, slope]).T[good]
        weight = np.sqrt(s.uncertainty.array[good])
        level, _, moved = np.linalg.lstsq(terms * weight[:, None], s.flux.value[good] * weight)[0]
        found.append(moved / level)
    return np.array(found)


def test_missing_stars_and_given_noise(tmp_path):
    paths = write_survey(tmp_path, 100, instruments=("gaia_xp", "lamost"), missing=0.3, snr={"lamost": 40.0})
    found = {name: {s.meta["object_id"] for s in read(name, paths[name])} for name in ("gaia_xp", "lamost")}
    assert all(55 < len(ids) < 85 for ids in found.values())
    assert len(found["gaia_xp"] & found["lamost"]) < min(map(len, found.values()))
    assert {s.meta["snr"] for s in read("lamost", paths["lamost"][:5])} == {40.0}


def test_teff_is_recoverable_from_noisy_files(tmp_path):
    paths = write_survey(tmp_path, 500, instruments=("gaia_xp",))
    spectra = read("gaia_xp", paths["gaia_xp"])
    flux = np.array([s.flux.value / np.median(s.flux.value) for s in spectra])
    teff = draw_labels(500)["teff"].value
    part = np.linalg.svd(flux - flux.mean(0), full_matrices=False)[0][:, :10]
    design = np.concatenate([np.ones((500, 1)), part, part[:, :4] ** 2, part[:, :1] * part[:, 1:4]], axis=1)
    fit = design @ np.linalg.lstsq(design[:350], teff[:350])[0]
    assert 1 - np.var((fit - teff)[350:]) / np.var(teff[350:]) > 0.9


def test_an_earlier_survey_is_replaced_only_on_request(tmp_path):
    write_survey(tmp_path, 4, instruments=("lamost",))
    with pytest.raises(FileExistsError, match="holds a mock survey already"):
        write_survey(tmp_path, 2, instruments=("lamost",))
    write_survey(tmp_path, 2, instruments=("lamost",), overwrite=True)
    assert len(list((tmp_path / "lamost").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instruments": ("hubble",)}, "expected instruments among apogee, nirspec, lamost, gaia_xp, got hubble"),
        ({"instruments": ()}, "got none"),
        ({"visits": 0}, "visits=0"),
        ({"missing": 1.0}, "missing=1.0"),
        ({"snr": 0.0}, "snr=0.0"),
        ({"snr": {"apogee": -1.0}}, "expected a positive signal-to-noise ratio"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_survey(tmp_path, 2, **options)
