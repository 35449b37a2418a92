"""Prepared spectra on disk and as spectra."""

import dataclasses
import io

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import CorruptFileError, SpecalignError, SpectrumError, UnknownProductError
from specalign.instruments import get_instrument
from specalign.instruments.prepared import PreparedSpectra
from specalign.tests.instruments.conftest import make_rows

NAMES = ("flux", "ivar", "mask", "quality", "norm", "object_id", "spectrum_id")


@pytest.fixture
def prepared(instrument):
    flux, ivar, mask = make_rows(instrument, 4)
    flux[2] = 0
    unit = u.Unit("1e-17 erg / (s cm2 AA)")
    facts = {"frame": "barycentric", "radial_velocity": [1.0, 2.0, 3.0, 4.0] * u.km / u.s}
    return instrument.prepare_arrays(
        flux * unit, ivar, mask, spectral_axis=instrument.spectral_axis, object_id=["ä", "b", "c", "d"], **facts
    )


def test_what_is_read_is_what_was_written(prepared, tmp_path):
    prepared.write(tmp_path / "rows.fits")
    other = PreparedSpectra.read(tmp_path / "rows.fits")
    for name in NAMES:
        one, two = getattr(prepared, name), getattr(other, name)
        np.testing.assert_array_equal(one, two, err_msg=name)
        assert one.dtype.newbyteorder("=") == two.dtype, name
    for name in prepared.catalog.colnames:
        np.testing.assert_array_equal(prepared.catalog[name], other.catalog[name])
        assert type(prepared.catalog[name]) is type(other.catalog[name])
    assert prepared.rejected["reason"].tolist() == other.rejected["reason"].tolist()
    assert other.instrument == prepared.instrument
    assert other.flux_unit == prepared.flux_unit
    assert other.quality_bits == prepared.quality_bits
    assert (other.spectral_axis == prepared.spectral_axis).all()
    assert (other.lsf_sigma == prepared.lsf_sigma).all()
    assert len(PreparedSpectra.concatenate([prepared[:2], other[2:]])) == 3


def test_correlated_noise_is_kept(tmp_path):
    xp = get_instrument("gaia_xp")
    flux, ivar, _ = make_rows(xp, 3)
    scale, basis = np.ones((3, 5)), np.random.default_rng(0).standard_normal((5, 343))
    prepared = xp.prepare_arrays(
        flux, ivar, spectral_axis=xp.spectral_axis, object_id=["a", "b", "c"], covariance_factor=(scale, basis)
    )
    np.testing.assert_allclose(prepared.covariance_factor[0], scale / prepared.norm, rtol=1e-6)
    prepared.write(tmp_path / "xp.fits")
    for one, two in zip(
        prepared.covariance_factor, PreparedSpectra.read(tmp_path / "xp.fits").covariance_factor, strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_coefficients_are_kept(tmp_path):
    xp = get_instrument("gaia_xp", form="coefficients", normalization="none")
    prepared = xp.prepare_arrays(
        np.arange(1.0, 221.0).reshape(2, 110),
        np.ones((2, 110)),
        spectral_axis=np.arange(110) * u.one,
        object_id=["a", "b"],
    )
    prepared.write(tmp_path / "c.fits")
    other = PreparedSpectra.read(tmp_path / "c.fits")
    np.testing.assert_array_equal(other.flux, np.arange(1.0, 221.0).reshape(2, 110))
    assert other.axis_kind == "coefficient"
    assert other.spectral_axis.unit == u.dimensionless_unscaled


def test_a_damaged_file_is_refused(prepared, tmp_path):
    path = tmp_path / "rows.fits"
    prepared.write(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 20):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(SpecalignError, match=r"rows\.fits"):
            PreparedSpectra.read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=r"rows\.fits"):
        PreparedSpectra.read(path)


def test_another_file_is_refused(tmp_path):
    from astropy.io import fits

    fits.PrimaryHDU(np.ones(5)).writeto(tmp_path / "other.fits")
    with pytest.raises(UnknownProductError, match=r"expected a file that PreparedSpectra\.write"):
        PreparedSpectra.read(tmp_path / "other.fits")


def test_a_row_as_a_spectrum(prepared):
    spectrum = prepared.to_spectrum(-1)
    np.testing.assert_array_equal(spectrum.flux.value, prepared.flux[-1])
    np.testing.assert_array_equal(spectrum.mask, prepared.mask[-1])
    assert spectrum.meta["object_id"] == "d"
    absolute = prepared.to_spectrum(-1, absolute=True)
    assert absolute.flux.unit == prepared.flux_unit
    np.testing.assert_allclose(absolute.flux.value, (prepared.flux[-1] * prepared.norm[-1]), rtol=1e-6)
    np.testing.assert_allclose(absolute.uncertainty.array, prepared.ivar[-1] / prepared.norm[-1] ** 2, rtol=1e-5)
    good = ~prepared.mask[-1]
    np.testing.assert_allclose(absolute.uncertainty.array[good], 1, rtol=0.7)
    with pytest.raises(IndexError):
        prepared.to_spectrum(3)


def test_a_row_as_a_spectrum_prepares_to_itself(prepared, instrument):
    again = instrument.prepare(prepared.to_spectrum(0), normalized=True)
    inner = ~again.mask[0]
    np.testing.assert_allclose(again.flux[0, inner], prepared.flux[0, inner], rtol=1e-6)
    assert inner.sum() > 0.9 * (~prepared.mask[0]).sum()


def test_html_says_what_it_is(prepared):
    text = prepared._repr_html_()
    assert prepared.instrument.name in text
    assert "3 of 3 objects, 1 rejected" in text


def test_rows_are_drawn(prepared):
    pytest.importorskip("matplotlib").use("agg")
    assert prepared.plot().axes
    assert prepared.plot(rows=[0]).axes


def test_the_unified_interface_knows_the_format(prepared, tmp_path):
    path = tmp_path / "rows.dat"
    with pytest.raises(UnknownProductError, match=r"rows.dat: PreparedSpectra has the formats fits \(.fits .fit"):
        prepared.write(path)
    prepared.write(path, format="fits")
    assert PreparedSpectra.read(path).flux.tobytes() == prepared.flux.tobytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        prepared.write(path, format="fits")
    prepared[:1].write(path, format="fits", overwrite=True)
    assert len(PreparedSpectra.read(path)) == 1
    out = io.StringIO()
    PreparedSpectra.write.help("fits", out=out)
    assert "REJECTED what could not be prepared" in out.getvalue()


def test_a_name_that_fits_would_cut_is_refused(prepared, tmp_path):
    other = dataclasses.replace(prepared, object_id=[f"{name} " for name in prepared.object_id])
    with pytest.raises(SpectrumError, match=r"object_id: .* ends with a blank"):
        other.write(tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []
