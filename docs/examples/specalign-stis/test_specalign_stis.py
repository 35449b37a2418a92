"""The contract, and what the layout of CALSPEC says of the reader."""

import astropy.units as u
import numpy as np
import pytest
import specalign_stis
from astropy.io import fits

from specalign.exceptions import CorruptFileError, SpectrumUnitError, UnknownProductError
from specalign.io.quality import decode
from specalign.testing import parametrize_instrument


@parametrize_instrument("stis")
def test_contract(check):
    check()


@pytest.fixture
def path(tmp_path):
    return specalign_stis.Stis().write_example(tmp_path / "star", 1)


def rewrite(path, change=None, rows=slice(None), n_columns=7, units=None, names=None, **cards):
    """The file with its table changed in place, and cards of the first header; without checksums."""
    with fits.open(path) as hdus:
        data, header, columns = hdus[1].data[rows], hdus[0].header, hdus[1].columns[:n_columns]
    if change:
        change(data)
    header = fits.Header({key: value for key, value in header.items() if "SUM" not in key} | cards)
    units, names = units or {}, names or {}
    columns = [
        fits.Column(names.get(c.name, c.name), c.format, units.get(c.name, c.unit), array=data[c.name]) for c in columns
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SCI")
    fits.HDUList([fits.PrimaryHDU(header=header), table]).writeto(path, overwrite=True)
    return path


def test_flux_and_statistical_error_are_those_of_the_file(path):
    star = specalign_stis.read(path)[0]
    table = fits.getdata(path)
    np.testing.assert_allclose(star.flux.to_value(u.erg / u.s / u.cm**2 / u.AA), table["FLUX"])
    good = ~star.mask
    np.testing.assert_allclose(star.uncertainty.array[good] ** -0.5, table["STATERROR"][good], 1e-6)
    np.testing.assert_allclose(star.meta["systematic_error"], table["SYSERROR"])
    assert (star.meta["frame"], star.meta["medium"], star.spectral_axis.unit) == ("barycentric", "vacuum", u.AA)


def test_motes_models_and_unknown_values_are_masked_and_say_why(path):
    def change(data):
        data["DATAQUAL"][:] = 1
        data["DATAQUAL"][100] = 0
        data["STATERROR"][200] = 0  # where a model goes on
        data["FLUX"][300] = 1.6e38  # the null of old files
        data["WAVELENGTH"][400] = 1.6e38

    star = specalign_stis.read(rewrite(path, change))[0]
    bits = [decode(star.meta["quality"][pixel], star.meta["quality_bits"]) for pixel in (100, 200, 300)]
    assert bits == [["MOTE"], ["NO_IVAR"], ["NONFINITE"]]
    assert np.flatnonzero(star.mask).tolist() == [100, 200, 300]
    assert star.meta["n_dropped"] == 1


def test_wide_pixels_are_not_of_stis_and_count(path):
    kept = np.r_[0:1700, 1700:1900:5]
    star = specalign_stis.read(rewrite(path, lambda data: data["DATAQUAL"].fill(1), kept))[0]
    named = (star.meta["quality"] & 2) > 0
    assert named[1702:].all()
    assert not named[:1698].any()
    assert not star.mask.any()


def test_a_model_has_no_errors(path):
    star = specalign_stis.read(rewrite(path, n_columns=2, PEDIGREE="MODEL", TARGETID="GD71_MOD"))[0]
    assert star.meta["object_id"] == "GD71"
    assert not star.mask.any()
    assert (star.uncertainty.array == 1).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"units": {"FLUX": "PHOTLAM"}}, SpectrumUnitError, "FLUX has the unit 'PHOTLAM'; expected one of ANGSTROMS"),
        ({"names": {"STATERROR": "ERROR"}}, CorruptFileError, "lacks the columns STATERROR"),
        ({"DBTABLE": "CRSYNTH"}, UnknownProductError, "the stis reader reads calspec"),
    ],
)
def test_other_units_columns_and_files_are_refused(path, change, error, words):
    with pytest.raises(error, match=words):
        specalign_stis.read(rewrite(path, **change))


@pytest.mark.parametrize("normalization", ["pivot", "median"])
def test_both_grids_keep_the_shape_of_the_continuum(path, normalization):
    spectra = specalign_stis.read(path)
    for grid in ("native", "xp"):
        stis = specalign_stis.Stis(grid, normalization)
        prepared = stis.prepare(spectra, radial_velocity=0 * u.km / u.s)
        flux, axis = prepared.flux[0], prepared.spectral_axis.to_value(u.AA)
        middle, red = (flux[np.abs(axis - at).argmin()] for at in (5500, 9000))
        assert red / middle == pytest.approx(np.exp(-3500 / 4000), rel=0.03)
        level = middle if normalization == "pivot" else np.median(flux[~prepared.mask[0]])
        assert level == pytest.approx(1, abs=1e-6)


def test_a_line_of_the_native_grid_is_two_pixels_wide():
    stis = specalign_stis.Stis()
    assert (2.3548 * stis.lsf_sigma.to_value(u.AA)[[0, -1]]).tolist() == pytest.approx([5.46, 9.84])
