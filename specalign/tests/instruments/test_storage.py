"""Prepared spectra on disk and as spectra."""

import dataclasses
import io
import json

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable
from astropy.time import Time

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


@pytest.fixture(scope="module")
def few():
    """Three spectra, of which nothing had to be computed."""
    xp = get_instrument("gaia_xp")
    unit = u.Unit("1e-17 W / (m2 nm)")
    return xp.prepare_arrays(np.ones((3, 343)) * unit, spectral_axis=xp.spectral_axis, object_id=list("abc"))


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


def test_a_damaged_file_is_refused(few, tmp_path):
    path = tmp_path / "rows.fits"
    few.write(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(SpecalignError, match=r"rows\.fits"):
            PreparedSpectra.read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=r"rows\.fits"):
        PreparedSpectra.read(path)


def test_another_file_is_refused(tmp_path):
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


def test_the_unified_interface_knows_the_format(few, tmp_path):
    path = tmp_path / "rows.dat"
    with pytest.raises(UnknownProductError, match=r"rows.dat: PreparedSpectra has the formats fits \(.fits .fit"):
        few.write(path)
    few.write(path, format="fits")
    assert PreparedSpectra.read(path).flux.tobytes() == few.flux.tobytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        few.write(path, format="fits")
    few[:1].write(path, format="fits", overwrite=True)
    assert len(PreparedSpectra.read(path)) == 1
    out = io.StringIO()
    PreparedSpectra.write.help("fits", out=out)
    assert "REJECTED what could not be prepared" in out.getvalue()


def test_a_name_that_fits_would_cut_is_refused(few, tmp_path):
    other = dataclasses.replace(few, object_id=[f"{name} " for name in few.object_id])
    with pytest.raises(SpectrumError, match=r"object_id: .* ends with a blank"):
        other.write(tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def again(prepared, path):
    prepared.write(path, overwrite=True)
    return PreparedSpectra.read(path)


def test_what_the_user_adds_to_the_rows_is_kept(few, tmp_path):
    catalog = few.catalog.copy()
    catalog["logg"] = [4.0, 3, 2] * u.Unit("dex(cm / s2)")
    catalog["visits"] = MaskedColumn([1, 2, 3], mask=[True, False, False])
    catalog["seen"] = Time([2460000.1, 2460000.2, 2460000.3], format="jd")
    catalog.meta["release"] = {"name": "DR17", "years": [2021, 2022]}
    found = again(dataclasses.replace(few, catalog=catalog), tmp_path / "a.fits").catalog
    assert found.colnames == catalog.colnames
    assert found.meta == catalog.meta
    for name in catalog.colnames:
        assert repr(found[name]) == repr(catalog[name])


@pytest.mark.parametrize("lsf", [None, np.full(343, 2.0) * u.nm, np.full((3, 343), 2.0, np.float32) * u.nm])
def test_the_line_spread_function_keeps_its_shape_and_unit(few, lsf, tmp_path):
    found = again(dataclasses.replace(few, lsf_sigma=lsf), tmp_path / "a.fits").lsf_sigma
    if lsf is None:
        assert found is None
        return
    assert (found.shape, found.unit, found.dtype) == (lsf.shape, lsf.unit, lsf.dtype)
    assert found.value.tobytes() == lsf.value.tobytes()


def test_no_rows_at_all_are_kept(few, tmp_path):
    found = again(few[:0], tmp_path / "a.fits")
    assert (len(found), found.flux.shape, found.catalog.colnames) == (0, (0, 343), few.catalog.colnames)
    assert len(PreparedSpectra.concatenate([found, few])) == 3


def test_rejected_rows_with_long_reasons_are_kept(few, tmp_path):
    reasons = ["x" * 3000, "an error said:\n"]
    rejected = QTable({"spectrum_id": ["s", "ß"], "object_id": ["o", "o"], "reason": reasons})
    found = again(dataclasses.replace(few, rejected=rejected), tmp_path / "a.fits").rejected
    assert found["reason"].tolist() == [reason.rstrip() for reason in reasons]
    assert found["spectrum_id"].tolist() == ["s", "ß"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flux_unit": u.def_unit("of_mine")}, "flux_unit: a file does not keep the unit of_mine"),
        ({"options": {"width": np.float32(1)}}, r"instrument.options, .*float32 is not JSON"),
        ({"catalog": QTable({"object_id": list("xyz")})}, "its column object_id differs from the spectra's"),
    ],
)
def test_what_cannot_be_read_again_is_not_written(few, changes, message, tmp_path):
    if options := changes.pop("options", None):
        changes["instrument"] = dataclasses.replace(few.instrument, options=options)
    with pytest.raises(SpectrumError, match=message):
        dataclasses.replace(few, **changes).write(tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def test_other_programs_find_the_rows_first(few, tmp_path):
    few.write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        first = next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
        assert (first.name, first.columns.names[:2]) == ("ROWS", ["object_id", "spectrum_id"])
        assert first.columns["radial_velocity"].unit == "km s-1"
        assert u.Unit(hdus["NORM"].header["BUNIT"], format="fits") == few.flux_unit


def set_fact(name, value):
    def change(hdus):
        facts = json.loads(hdus[0].header["FACTS"])
        hdus[0].header["FACTS"] = json.dumps(facts | {name: value})

    return change


def lose_rows(hdus):
    hdus[hdus.index_of("ROWS")] = fits.BinTableHDU(hdus["ROWS"].data[:2], hdus["ROWS"].header, name="ROWS")


def lose_column(name, column):
    def change(hdus):
        kept = [one for one in hdus[name].columns if one.name != column]
        hdus[hdus.index_of(name)] = fits.BinTableHDU.from_columns(kept, name=name)

    return change


def repeat_ids(hdus):
    hdus["ROWS"].data["spectrum_id"] = b"a"


def no_text(hdus):
    hdus["ROWS"].data.view(np.ndarray)["object_id"] = b"\xff"


def cut_flux(hdus):
    hdus["FLUX"].data = hdus["FLUX"].data[:2]


@pytest.mark.parametrize(
    "change",
    [
        *(set_fact(name, 7) for name in ("instrument", "options", "grid_digest", "quality_bits", "flux_unit", "meta")),
        set_fact("flux_unit", "nonsense"),
        set_fact("grid_digest", "0" * 64),
        *(lambda hdus, name=name: hdus.pop(name) for name in ("FLUX", "ROWS", "REJECTED")),
        *(lose_column(*names) for names in (("ROWS", "object_id"), ("GRID", "spectral_axis"), ("REJECTED", "reason"))),
        lose_rows, repeat_ids, no_text, cut_flux,
    ],
)  # fmt: skip
def test_a_file_that_another_program_changed_is_refused_with_its_name(few, change, tmp_path):
    """Written anew without checksums, as many programs do."""
    few.write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", memmap=False) as hdus:
        change(hdus)
        for hdu in hdus:
            for key in ("CHECKSUM", "DATASUM"):
                hdu.header.remove(key, ignore_missing=True)
        hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(CorruptFileError, match=r"b\.fits: "):
        PreparedSpectra.read(tmp_path / "b.fits")
