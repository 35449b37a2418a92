"""Every product as a format of specutils."""

import pytest
from astropy.io import registry
from specutils import Spectrum, SpectrumList
from specutils.io.registers import identify_spectrum_format

from specalign.exceptions import CorruptFileError, SpectrumError, UnknownProductError
from specalign.io import _MODULES, READERS
from specalign.tests.io import synthetic
from specalign.tests.io.damage import contents

PRODUCTS = [product for module in _MODULES for product in module.PRODUCTS]
FILES = {
    "aspcapStar": synthetic.aspcapstar,
    "apStar": synthetic.apstar,
    "apVisit": synthetic.apvisit,
    "mwmStar": synthetic.mwmstar,
    "x1d": synthetic.x1d,
    "spec1d": synthetic.spec1d,
    "msaexp": synthetic.msaexp,
    "lrs-coadd": synthetic.lamost_coadd,
    "lrs-image": synthetic.lamost_image,
    "mrs": lambda path: synthetic.lamost_mrs(path, arms=("B",)),
    "xp-continuous": lambda path: synthetic.xp_continuous_fits(path, sources=(11,)),
    "xp-sampled": synthetic.xp_sampled_fits,
}


def test_the_files_of_this_test_are_all_products():
    assert [product.name for product in PRODUCTS] == list(FILES)
    assert list(READERS) == ["apogee", "nirspec", "lamost", "gaia_xp"]
    for module in _MODULES:
        assert {product.instrument for product in module.PRODUCTS} == {module.__name__.split(".")[-1]}
        assert set(module.BAD_BITS) <= set(module.QUALITY_BITS)
        assert all(0 <= bit < 24 for bit in module.QUALITY_BITS.values())


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_a_product_is_a_format(product, tmp_path):
    path = tmp_path / "a.fits"
    FILES[product.name](path)
    assert product.format == f"specalign {product.name}"
    expected = contents(READERS[product.instrument](path))
    assert contents([Spectrum.read(path, format=product.format)]) == expected
    assert contents(SpectrumList.read(str(path), format=product.format)) == expected


def test_options_and_several_spectra(tmp_path):
    path = tmp_path / "a.fits"
    synthetic.apstar(path, visits=3)
    assert len(SpectrumList.read(path, format="specalign apStar", visits="all")) == 3
    with pytest.raises(SpectrumError, match=r"3 spectra are there; use SpectrumList.read"):
        Spectrum.read(path, format="specalign apStar", visits="all")


def test_another_product_than_asked_for(tmp_path):
    path = tmp_path / "a.fits"
    synthetic.apstar(path)
    with pytest.raises(UnknownProductError, match="found apStar, and format='specalign aspcapStar' was asked for"):
        Spectrum.read(path, format="specalign aspcapStar")
    path.write_bytes(path.read_bytes()[:10000])
    with pytest.raises(CorruptFileError, match=r"a.fits"):
        Spectrum.read(path, format="specalign apStar")


def test_automatic_identification_is_left_alone(tmp_path):
    path = tmp_path / "a.fits"
    synthetic.x1d(path)
    found = identify_spectrum_format(str(path))
    assert not any("specalign" in name for name in ([found] if isinstance(found, str) else found))
    assert "specalign x1d" in registry.get_formats(Spectrum, "Read")["Format"].tolist()
