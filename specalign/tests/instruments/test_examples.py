"""Examples that every instrument makes of itself, and the files that it writes of them."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import SpectrumError
from specalign.instruments import get_instrument
from specalign.instruments.axes import vacuum_angstrom
from specalign.instruments.examples import Examples, simulated_example
from specalign.tests.instruments.conftest import MODES

ALL_MODES = [*MODES, ("gaia_xp", {"form": "coefficients"})]


@pytest.mark.parametrize(("name", "options"), ALL_MODES)
def test_examples_are_of_different_stars_and_all_can_be_prepared(name, options):
    instrument = get_instrument(name, **options)
    spectra = instrument.make_example(1, 5)
    prepared = instrument.prepare(spectra)
    assert len(prepared) == len(spectra) == 5
    assert len(set(prepared.object_id)) == 5
    distance = np.abs(prepared.flux[:, None] - prepared.flux[None])[:, :, ~prepared.mask.any(axis=0)]
    assert (np.median(distance, axis=2)[~np.eye(5, dtype=bool)] > 0).all()


@pytest.mark.parametrize(("name", "options"), ALL_MODES)
def test_examples_follow_from_their_seed(name, options):
    instrument = get_instrument(name, **options)
    one, two, other = (instrument.make_example(np.random.default_rng(seed), 1)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.flux, two.flux)
    assert not np.array_equal(one.flux, other.flux)


def test_an_example_has_the_facts_of_its_product():
    lamost = get_instrument("lamost", mode="mrs")
    spectrum = lamost.make_example(1, 1)[0]
    facts = {key: spectrum.meta[key] for key in ("product", "frame", "medium", "normalization", "resolving_power")}
    assert facts == {
        "product": "mrs", "frame": "barycentric", "medium": "vacuum", "normalization": "none",
        "resolving_power": 7500.0,
    }  # fmt: skip
    assert abs(spectrum.meta["radial_velocity"]) <= 150 * u.km / u.s
    assert 0.9 < np.mean(~spectrum.mask) < 1


def test_an_example_in_air_has_wavelengths_of_air():
    apogee = get_instrument("apogee")
    product = dataclasses.replace(apogee.products[2], medium="air")
    spectrum = simulated_example(apogee, 1, 1, product=product)[0]
    assert spectrum.meta["medium"] == "air"
    np.testing.assert_allclose(vacuum_angstrom(spectrum.spectral_axis, "air")[0], apogee.spectral_axis.value, atol=1e-6)


def test_coefficients_have_no_default_example():
    coefficients = get_instrument("gaia_xp", form="coefficients")
    with pytest.raises(SpectrumError, match="has no wavelengths: override it"):
        simulated_example(coefficients, 1, 1)


@pytest.mark.parametrize(("name", "options"), ALL_MODES)
def test_a_written_example_is_read(name, options, tmp_path):
    instrument = get_instrument(name, **options)
    path = instrument.write_example(tmp_path / "a.star", 1)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.name.startswith("a.star")
    spectra = instrument.read(path)
    assert {spectrum.meta["instrument"] for spectrum in spectra} == {name}
    assert len(instrument.prepare(spectra, frame="rest")) == len(spectra)


def test_an_instrument_without_an_example_of_a_file_says_what_to_write(tmp_path):
    apogee = get_instrument("apogee")
    with pytest.raises(SpectrumError, match="writes no example; give Apogee a method write_example"):
        Examples.write_example(apogee, tmp_path / "a", 1)
