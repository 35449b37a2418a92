"""Velocities of real spectra: giants of M71 seen by NIRSpec, and LAMOST stars against their headers."""

import warnings

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import UnreliableVelocityWarning, VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.measured import MeasuredVelocity
from specalign.instruments.velocity import radial_velocity

M71 = -22.9  # km/s; APOGEE has -23.5 to -22.9 for sources 7, 12 and 19
SPEED_OF_LIGHT = 299792.458
KM_S = u.km / u.s


def prepare_moving(instrument, spectra):
    """Spectra as they were observed, whatever the header knows of their velocity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VelocityWarning)
        unknown = np.full(len(spectra), np.nan) * KM_S
        return instrument.prepare(spectra, frame="barycentric", radial_velocity=unknown)


def m71_templates(nirspec, shared):
    with np.load(shared / "data" / "emulators" / "nirspec_grid.npz") as grid:
        axis, flux = grid["wave_vac"] * u.AA, grid["flux"]
    return nirspec.prepare_arrays(flux, spectral_axis=axis, object_id=np.arange(len(flux)).astype(str))


@pytest.fixture(scope="module")
def m71(shared):
    """Rows of sources 3, 7, 12 and 19, measured against synthetic spectra; the column ``source`` names them."""
    nirspec = get_instrument("nirspec")
    paths = sorted((shared / "data" / "spectra" / "nirspec").glob("spec1d_jw02609*.fits"))
    rows = [(spectrum, path.stem.rpartition("_")[2]) for path in paths for spectrum in nirspec.read(path)]
    prepared = prepare_moving(nirspec, [spectrum for spectrum, _ in rows])
    with pytest.warns(UnreliableVelocityWarning) as caught:
        table = radial_velocity(prepared, m71_templates(nirspec, shared))
    table["source"] = [source for _, source in rows]
    table.meta["warning"] = str(caught[0].message)
    return table


def test_the_clean_stars_of_m71(m71):
    third, nineteenth = (m71[m71["source"] == name] for name in ("3", "19"))
    assert len(third) == len(nineteenth) == 2
    assert third["reliable"].all()
    assert nineteenth["reliable"].all()
    assert np.abs(nineteenth["velocity"].value - M71).max() < 15
    assert np.ptp(third["velocity"].value) < 10
    assert np.ptp(nineteenth["velocity"].value) < 10
    assert (m71["velocity_err"][m71["reliable"]].value < 5).all()


def test_prepare_brings_the_clean_stars_of_m71_to_rest_and_rejects_the_others(shared, m71):
    nirspec = get_instrument("nirspec")
    paths = sorted((shared / "data" / "spectra" / "nirspec").glob("spec1d_jw02609*.fits"))
    spectra = [spectrum for path in paths for spectrum in nirspec.read(path)]
    with pytest.warns(UnreliableVelocityWarning):
        prepared = nirspec.prepare(spectra, radial_velocity=MeasuredVelocity(m71_templates(nirspec, shared)))
    good = m71[m71["reliable"]]
    assert prepared.spectrum_id.tolist() == good["spectrum_id"].tolist()
    np.testing.assert_allclose(prepared.catalog["velocity_applied"].value, good["velocity"].value, atol=1e-6)
    np.testing.assert_allclose(prepared.catalog["velocity_err"].value, good["velocity_err"].value, rtol=1e-4)
    assert set(prepared.catalog["velocity_source"]) == {"measured"}
    assert len(prepared.rejected) == 7
    assert all(row["object_id"] in ("2609_7", "2609_12") for row in prepared.rejected)


def test_the_stars_of_m71_with_artefacts_are_flagged(m71):
    bad = m71[np.isin(m71["source"], ["7", "12"])]
    assert len(bad) == 7
    assert not bad["reliable"].any()
    assert all(row["spectrum_id"] in m71.meta["warning"] for row in bad)


@pytest.fixture(scope="module")
def lamost(shared):
    """Velocities of FITS files in the blue arm, against bright stars of known redshift, and those of the headers."""
    instrument = get_instrument("lamost", normalization="continuum")
    folder = shared / "data" / "spectra"
    spectra = [s for path in sorted((folder / "lamost_lrs").glob("*.fits*")) for s in instrument.read(path)]
    spectra = [s for s in spectra if s.meta["product"] == "lrs-coadd" and s.meta["radial_velocity"] is not None]
    table = radial_velocity(
        prepare_moving(instrument, spectra), lamost_templates(instrument, folder), within=[4200, 5700] * u.AA
    )
    table["header"] = u.Quantity([s.meta["radial_velocity"] for s in spectra])
    return table


def lamost_templates(instrument, folder):
    with np.load(folder / "lamost_lrs_labelled.npz") as stars:
        best = np.argsort(stars["snr_g"])[-100:]
        ivar, redshift = stars["ivar"][best], stars["redshift"][best]
        return instrument.prepare_arrays(
            stars["flux"][best],
            ivar,
            ivar == 0,
            spectral_axis=stars["wavelength"] * u.AA,
            object_id=best.astype(str),
            frame="barycentric",
            radial_velocity=redshift * SPEED_OF_LIGHT * KM_S,
        )


def test_velocities_of_lamost_headers(lamost):
    difference = (lamost["velocity"] - lamost["header"]).to_value(KM_S)
    assert len(lamost) > 35
    assert lamost["reliable"].mean() > 0.95
    assert abs(np.median(difference[lamost["reliable"]])) < 1.5
    assert np.median(np.abs(difference[lamost["reliable"]])) < 3
    pull = (difference / lamost["velocity_err"].value)[lamost["reliable"]]
    assert 1.4826 * np.median(np.abs(pull)) < 2
