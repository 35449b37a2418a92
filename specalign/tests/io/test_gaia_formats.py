"""Gaia XP in VOTables, in tables of one source, and in DataLink archives."""

import re

import astropy.units as u
import numpy as np
import pytest
from specutils import SpectrumList

from specalign.exceptions import CorruptFileError, SkippedProductWarning, SpectrumUnitError, UnknownProductError
from specalign.instruments import get_instrument
from specalign.io.gaia_xp import SAMPLING, correlation_matrix, read
from specalign.io.quality import decode
from specalign.tests.io import synthetic, votables
from specalign.tests.io.damage import contents

LEFT = r"a\.zip: read the XP spectra, and left MCMC_MSC-Gaia DR3 6\.(xml|fits)$"


@pytest.mark.parametrize("plain", [False, True])
def test_coefficients_of_a_votable(plain, tmp_path):
    path = tmp_path / "a.xml"
    votables.continuous(path, plain=plain)
    spectra = read(path)
    assert [s.meta["object_id"] for s in spectra] == ["11", "22"]
    for source, spectrum in zip((11, 22), spectra, strict=True):
        bp, rp = synthetic.xp_arrays(seed=source), synthetic.xp_arrays(seed=source + 1)
        assert spectrum.flux.value.tolist() == [*bp[0], *rp[0]]
        assert spectrum.meta["coefficient_error"].tolist() == [*bp[1], *rp[1]]
        for found, expected in zip(spectrum.meta["coefficient_correlation"], (bp[2], rp[2]), strict=True):
            assert found.tolist() == correlation_matrix(expected, 55).tolist()
        assert not spectrum.mask.any()
        assert (spectrum.meta["path"], spectrum.meta["member"]) == (str(path), None)
        assert "votable_remarks" not in spectrum.meta["header"]


@pytest.mark.parametrize("plain", [False, True])
def test_a_source_without_bp_in_a_votable(plain, tmp_path):
    votables.continuous(tmp_path / "a.xml", sources=(11, 33), without_bp=(33,), plain=plain)
    whole, lacking = read(tmp_path / "a.xml")
    assert not whole.mask.any()
    assert lacking.mask.tolist() == [True] * 55 + [False] * 55
    assert decode(lacking.meta["quality"][0], lacking.meta["quality_bits"]) == ["MISSING_BP"]
    assert np.isnan(lacking.meta["coefficient_error"][:55]).all()


@pytest.mark.parametrize("form", ["sampled", "coefficients"])
def test_a_source_without_bp_is_rejected_with_its_reason(form, tmp_path):
    if form == "sampled":
        with pytest.importorskip("matplotlib").rc_context(), np.printoptions():  # which GaiaXPy changes
            pytest.importorskip("gaiaxpy", exc_type=ImportError)
    xp = get_instrument("gaia_xp", form=form, normalization="none")
    votables.continuous(tmp_path / "a.xml", sources=(11, 33), without_bp=(33,))
    prepared = xp.prepare(xp.read(tmp_path / "a.xml"))
    assert prepared.object_id.tolist() == ["11"]
    assert prepared.rejected["object_id"].tolist() == ["33"]
    assert "MISSING_BP" in prepared.rejected["reason"][0]


@pytest.mark.parametrize("plain", [False, True])
def test_a_table_a_source(plain, tmp_path):
    votables.sampled(tmp_path / "a.vot", sources=(6, 7, 8), plain=plain)
    spectra = read(tmp_path / "a.vot")
    assert [s.meta["spectrum_id"] for s in spectra] == ["xp-sampled-6", "xp-sampled-7", "xp-sampled-8"]
    for spectrum in spectra:
        check_samples(spectrum)
        assert spectrum.meta["header"]["spatiallocation"] == "[1.5, -2.5]"


def check_samples(spectrum):
    assert spectrum.flux.unit == u.W / u.m**2 / u.nm
    assert spectrum.spectral_axis.to_value(u.nm).tolist() == SAMPLING.tolist()
    np.testing.assert_allclose(spectrum.flux.value, np.linspace(1, 2, 343) * 1e-16, rtol=1e-6)
    np.testing.assert_allclose(spectrum.uncertainty.array**-0.5, spectrum.flux.value / 10, rtol=1e-6)


def test_one_source_in_fits(tmp_path):
    votables.one_source_fits(tmp_path / "a.fits")
    (spectrum,) = read(tmp_path / "a.fits")
    check_samples(spectrum)
    assert (spectrum.meta["object_id"], spectrum.meta["product"]) == ("6", "xp-sampled")
    votables.one_source_fits(tmp_path / "b.fits", source="")
    with pytest.raises(CorruptFileError, match=r"b\.fits: source_id is '', and an integer was expected"):
        read(tmp_path / "b.fits")


@pytest.mark.parametrize("keyword", ["SOURCEID", "PUBLISHE"])
def test_samples_of_others_are_not_ours(keyword, tmp_path):
    """A JWST x1d has these columns and SOURCEID too."""
    from astropy.io import fits

    votables.one_source_fits(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        del hdus[1].header[keyword]
    with pytest.raises(UnknownProductError, match="a table without XP spectra \\(columns wavelength, flux, flux_error"):
        read(tmp_path / "a.fits")


def test_columns_that_are_lost(tmp_path):
    from astropy.io import fits

    columns = [fits.Column(name, "D", array=np.ones(1)) for name in ("source_id", "bp_coeff_0", "bp_coeff_1")]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    with pytest.raises(CorruptFileError, match="bp_coeff_2, bp_coeff_3, bp_coeff_4 of bp are not there"):
        read(tmp_path / "a.fits")


def test_units_and_wavelengths_of_samples(tmp_path):
    votables.sampled(tmp_path / "a.xml", unit="Jy")
    with pytest.raises(SpectrumUnitError, match=r"a\.xml: the flux has the unit 'Jy'; expected W"):
        read(tmp_path / "a.xml")
    votables.sampled(tmp_path / "a.xml", sources=(7,), step=1.0)
    message = r"source 7 has 343 wavelengths from 336.0 to 678.0 nm, and 336 to 1020 in steps of 2 were expected"
    with pytest.raises(CorruptFileError, match=message):
        read(tmp_path / "a.xml")


def test_a_spectrum_of_rvs_is_no_damaged_one_of_xp(tmp_path):
    from astropy.io import fits

    columns = [
        fits.Column(name, "D", array=np.linspace(846, 870, 2401)) for name in ("wavelength", "flux", "flux_error")
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update(SOURCEID="7", PUBLISHE="ESA/Gaia/DPAC")
    table.writeto(tmp_path / "a.fits")
    with pytest.raises(UnknownProductError, match="a table without XP spectra"):
        read(tmp_path / "a.fits")


def test_rows_of_a_votable_are_named(tmp_path):
    path = tmp_path / "a.xml"
    votables.continuous(path, plain=True)
    first = repr(float(synthetic.xp_arrays(seed=11)[0][0]))
    path.write_text(path.read_text().replace(first, f"{first} 1.0", 1))
    with pytest.raises(CorruptFileError, match=r"a\.xml: source 11: bp_coefficients has \(56,\) values, and 55"):
        read(path)


def test_other_tables_of_a_votable_are_named(tmp_path):
    (tmp_path / "a.xml").write_text(votables.document(votables.sampled_table(), votables.other_table()))
    with pytest.warns(
        SkippedProductWarning, match=r"left a table without XP spectra \(columns teff1, \.\.\.; expected s"
    ):
        assert len(read(tmp_path / "a.xml")) == 1
    (tmp_path / "a.xml").write_text(votables.document(votables.other_table()))
    with pytest.raises(UnknownProductError, match=r"found a table without XP spectra \(columns teff1"):
        read(tmp_path / "a.xml")


@pytest.mark.parametrize("kind", ["xml", "fits"])
def test_an_archive_of_several_products(kind, tmp_path):
    path = tmp_path / "a.zip"
    votables.datalink(path, tmp_path, kind)
    with pytest.warns(SkippedProductWarning, match=LEFT):
        sampled, coefficients = read(path)
    check_samples(sampled)
    assert [s.meta["spectrum_id"] for s in (sampled, coefficients)] == ["xp-sampled-6", "xp-continuous-6"]
    assert (sampled.meta["path"], sampled.meta["member"]) == (str(path), f"XP_SAMPLED-Gaia DR3 6.{kind}")
    assert contents([coefficients]) == contents(read(tmp_path / f"c.{kind}"))
    with pytest.warns(SkippedProductWarning, match=LEFT):
        (one,) = SpectrumList.read(path, format="specalign xp-continuous")
    assert one.meta["product"] == "xp-continuous"


def test_a_damaged_member_is_named(tmp_path):
    votables.one_source_fits(tmp_path / "s.fits")
    raw = (tmp_path / "s.fits").read_bytes()
    votables.archive(tmp_path / "a.zip", {"XP_SAMPLED_RAW.fits": raw[:5000]})
    with pytest.raises(CorruptFileError, match=re.escape(f"{tmp_path / 'a.zip'}/XP_SAMPLED_RAW.fits: ")):
        read(tmp_path / "a.zip")


def test_archives_without_xp(tmp_path):
    votables.archive(tmp_path / "a.zip", {"RVS-Gaia DR3 6.csv": b"1"})
    with pytest.raises(UnknownProductError, match=r"a\.zip: found RVS-Gaia DR3 6\.csv; the gaia_xp reader reads"):
        read(tmp_path / "a.zip")
    votables.archive(tmp_path / "a.zip", {})
    with pytest.raises(UnknownProductError, match="found an empty archive"):
        read(tmp_path / "a.zip")
    votables.archive(tmp_path / "a.zip", {"XP_SAMPLED_RAW.parquet": b"1"})
    with pytest.raises(UnknownProductError, match=r"XP_SAMPLED_RAW\.parquet: a file that ends with"):
        read(tmp_path / "a.zip")


def test_text_tables_in_an_archive(tmp_path):
    synthetic.xp_continuous_csv(tmp_path / "c.csv")
    votables.archive(tmp_path / "a.zip", {"folder/XP_CONTINUOUS_RAW.csv": (tmp_path / "c.csv").read_bytes()})
    assert contents(read(tmp_path / "a.zip")) == contents(read(tmp_path / "c.csv"))
