"""Real spectra of four instruments, from file to vector."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from specutils import Spectrum

from specalign.exceptions import EmptySpectrumError, UnknownProductError, VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.prepared import PreparedSpectra

STARS = ["2M17334253-1654573", "2M19535443+4424541"]


@pytest.fixture(scope="module")
def files(shared):
    return shared / "data" / "spectra"


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def read(instrument, path):
    return get_instrument(instrument).read(path)


def prepare_quietly(instrument, spectra):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VelocityWarning)
        return instrument.prepare(spectra)


@pytest.fixture(scope="module")
def pairs(files):
    """Each star's apStar (combined, not normalised) and aspcapStar (normalised by ASPCAP)."""
    folder = files / "apogee"
    return {
        s: (read("apogee", only(folder, f"apStar-r6-{s}*"))[0], read("apogee", only(folder, f"aspcapStar*{s}*"))[0])
        for s in STARS
    }


def deviation(one, two):
    """Differences of two prepared rows in units of their noise, in pixels that both have."""
    good = ~(one.mask[0] | two.mask[0])
    assert good.mean() > 0.7
    sigma = np.sqrt(1 / one.ivar[0, good] + 1 / two.ivar[0, good])
    return (one.flux[0, good] - two.flux[0, good]) / sigma


@pytest.mark.parametrize("star", STARS)
def test_two_products_of_one_star_prepare_to_one_vector(star, pairs):
    apogee = get_instrument("apogee")
    one, two = (apogee.prepare(spectrum) for spectrum in pairs[star])
    z = deviation(one, two)
    assert np.sqrt((z**2).mean()) < 0.7
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("star", STARS)
def test_a_velocity_applied_twice_would_be_seen(star, pairs):
    apogee = get_instrument("apogee")
    combined, reference = pairs[star]
    assert abs(combined.meta["radial_velocity"].to_value("km/s")) > 10
    z = deviation(apogee.prepare(combined, frame="barycentric"), apogee.prepare(reference))
    assert np.sqrt((z**2).mean()) > 2.5


@pytest.mark.parametrize("star", STARS)
def test_a_missing_normalisation_would_be_seen(star, pairs):
    apogee = get_instrument("apogee")
    combined, reference = pairs[star]
    z = deviation(apogee.prepare(combined), apogee.prepare(reference, normalized=True))
    assert np.sqrt((z**2).mean()) > 3


@pytest.mark.parametrize("unit", ["nm", "um"])
def test_units_and_order_of_a_real_file_do_not_matter(unit, pairs):
    apogee = get_instrument("apogee")
    spectrum = pairs[STARS[0]][0]
    reference = apogee.prepare(spectrum)
    for step in (1, -1):
        meta = spectrum.meta | {"quality": spectrum.meta["quality"][::step]}
        other = Spectrum(
            spectrum.flux[::step],
            spectrum.spectral_axis.to(u.Unit(unit))[::step],
            uncertainty=spectrum.uncertainty[::step],
            mask=spectrum.mask[::step],
            meta=meta,
        )
        prepared = apogee.prepare(other)
        np.testing.assert_array_equal(reference.mask, prepared.mask)
        np.testing.assert_allclose(prepared.flux, reference.flux, rtol=3e-7)
        np.testing.assert_allclose(prepared.ivar, reference.ivar, rtol=3e-7)


def test_signal_to_noise_agrees_with_the_header(pairs):
    for combined, _ in pairs.values():
        prepared = get_instrument("apogee").prepare(combined)
        assert prepared.snr[0] == pytest.approx(combined.meta["snr"], rel=0.2)


@pytest.mark.filterwarnings("ignore:.*VRAD = .* km/s is doubtful:specalign.exceptions.VelocityWarning")
def test_all_apogee_files_are_prepared_or_refused(files):
    apogee = get_instrument("apogee")
    spectra, refused = [], 0
    for path in sorted((files / "apogee").glob("ap*.fits")) + sorted((files / "apogee").glob("aspcapStar*.fits")):
        try:
            spectra.append(apogee.read(path))
        except UnknownProductError:
            refused += 1
    parts = [apogee.prepare(one) for one in spectra]
    assert sum(len(one) for one in spectra) == sum(len(p) + len(p.rejected) for p in parts)
    whole = PreparedSpectra.concatenate(parts)
    assert len(whole) >= 29
    assert refused == 0
    assert set(whole.catalog["frame"]) == {"rest"}
    moved = whole.catalog["velocity_applied"] != 0
    assert set(whole.catalog["product"][moved]) == {"apVisit"}
    assert moved.sum() == 4
    good = np.where(whole.mask, np.nan, whole.flux)
    assert np.abs(np.nanmedian(good, axis=1) - 1).max() < 0.1


def test_flux_that_is_zero_everywhere_is_empty(files):
    apogee = get_instrument("apogee")
    path = files / "bad" / "apStar-all-zero-flux.fits"
    spectra = apogee.read(path, visits="all")
    empty = [s for s in spectra if not s.flux.value.any()]
    assert empty
    for spectrum in empty:
        with pytest.raises(EmptySpectrumError, match="0 of 8575 pixels are good"):
            apogee.prepare(spectrum)
    prepared = apogee.prepare(spectra)
    assert len(prepared) == len(spectra) - len(empty)
    assert len(prepared.rejected) == len(empty)


def test_rows_of_pypeit_without_a_wavelength_are_dropped_and_counted(files):
    from astropy.io import fits

    nirspec = get_instrument("nirspec")
    for path in sorted((files / "nirspec").glob("spec1d*.fits")):
        with fits.open(path) as hdus:
            zeros = [int((hdu.data["OPT_WAVE"] == 0).sum()) for hdu in hdus if "SPAT" in hdu.name]
        spectra = nirspec.read(path)
        assert [s.meta["n_dropped"] for s in spectra] == zeros
        with pytest.warns(VelocityWarning, match="barycentric"):
            prepared = nirspec.prepare(spectra)
        assert len(prepared) + len(prepared.rejected) == len(spectra)
        assert set(prepared.catalog["velocity_source"]) <= {"none"}


def test_two_exposures_of_one_star_agree(files):
    nirspec = get_instrument("nirspec")
    paths = sorted((files / "nirspec").glob("spec1d*_19.fits"))
    one, two = (prepare_quietly(nirspec, nirspec.read(path)) for path in paths)
    good = ~(one.mask[0] | two.mask[0])
    assert good.sum() > 2000
    assert np.median(np.abs(one.flux[0, good] - two.flux[0, good])) < 0.01
    assert np.corrcoef(one.flux[0, good], two.flux[0, good])[0, 1] > 0.9


def test_lamost_files_go_to_rest_with_their_own_velocity(files):
    lamost = get_instrument("lamost")
    spectra = [s for path in sorted((files / "lamost_lrs").glob("*.fits")) for s in lamost.read(path)]
    prepared = lamost.prepare(spectra)
    assert len(prepared) + len(prepared.rejected) == len(spectra)
    unknown = [s.meta["spectrum_id"] for s in spectra if s.meta["radial_velocity"] is None]
    assert set(unknown) <= set(prepared.rejected["spectrum_id"])
    assert set(prepared.catalog["frame"]) == {"rest"}
    np.testing.assert_array_equal(prepared.catalog["velocity_applied"], prepared.catalog["radial_velocity"])
    np.testing.assert_allclose(np.nanmedian(np.where(prepared.mask, np.nan, prepared.flux), axis=1), 1, rtol=1e-3)


def test_labelled_lamost_spectra_as_arrays(files):
    with np.load(files / "lamost_lrs_labelled.npz") as table:
        rows = slice(0, 60)
        axis, flux, ivar = table["wavelength"], table["flux"][rows], table["ivar"][rows]
        names, velocity = table["obsid"][rows].astype(str), table["redshift"][rows] * 299792.458
    names = [f"{name}-{i}" for i, name in enumerate(names)]
    lamost = get_instrument("lamost")
    facts = {"spectral_axis": axis * u.AA, "object_id": names, "frame": "barycentric"}
    prepared = lamost.prepare_arrays(flux, ivar, radial_velocity=velocity * u.km / u.s, **facts)
    assert len(prepared) + len(prepared.rejected) == 60
    assert len(prepared) > 55
    # At rest, H-beta is where it should be in the mean spectrum.
    line = np.abs(lamost.spectral_axis.value - 4862.68) < 6
    mean = np.nanmean(np.where(prepared.mask, np.nan, prepared.flux)[:, line], axis=0)
    weight = 1 - mean / mean.max()
    centre = (weight * lamost.spectral_axis.value[line]).sum() / weight.sum()
    assert abs(centre - 4862.68) < 0.4


def test_archive_samples_equal_those_from_coefficients(files):
    xp = get_instrument("gaia_xp")
    sampled = xp.prepare(xp.read(files / "gaia_xp" / "XP_SAMPLED_RAW_dr3int6.csv"))
    computed = xp.prepare(xp.read(files / "gaia_xp" / "XP_CONTINUOUS_RAW.csv"))
    np.testing.assert_allclose(sampled.flux, computed.flux, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(sampled.ivar, computed.ivar, rtol=1e-2)


def test_the_gap_of_nirspec_begins_where_simulate_draws_it_in_every_g140h_file(shared):
    nirspec, found = get_instrument("nirspec"), {}
    gap = nirspec.gaps[0]
    for path in sorted((shared / "data/spectra/nirspec").glob("*jw02609*.fits")):
        for spectrum in nirspec.read(path):
            axis = spectrum.spectral_axis.to_value(u.AA)
            hole = np.argmax(np.where(axis[1:] > 10000, np.diff(axis), 0))  # PypeIt leaves most pixels of the gap out
            assert 0.93 * gap.width < axis[hole + 1] - axis[hole] < 1.02 * gap.width
            found.setdefault(path.name.split("_")[-1], []).append(axis[hole - 5])  # the last five are masked
    assert len(found) == 4
    assert all(gap.first < place < gap.last for places in found.values() for place in places)
    assert all(np.ptp(places) < 10 for places in found.values())
