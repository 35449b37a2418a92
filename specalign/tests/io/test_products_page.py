"""The page of products says what the readers declare and do, of every product and of no other."""

import contextlib
import importlib.util
import warnings
from pathlib import Path

import docutils.core
import docutils.nodes
import numpy as np
import pytest
from specutils import Spectrum, SpectrumList
from specutils.io.registers import get_loaders_by_extension

from specalign.instruments import get_instrument
from specalign.io import READERS
from specalign.io.products import VISITS
from specalign.io.quality import COMMON_BITS
from specalign.plugins import find_plugins
from specalign.tests.io import synthetic
from specalign.tests.io.test_real_files import EXPECTED

DOCS = Path(__file__).resolve().parents[3] / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "products_page.py").is_file(), reason="needs the checkout's folder 'docs'")

INSTRUMENTS = [get_instrument(p.name) for p in find_plugins("instruments") if p.distribution == "specalign"]
PRODUCTS = {product.name: product for instrument in INSTRUMENTS for product in instrument.products}
# A synthetic file of each product, and how many spectra it gives for "combined" and for "all".
FILES = {
    "aspcapStar": ("a.fits", synthetic.aspcapstar, (1, 1)),
    "apStar": ("a.fits", synthetic.apstar, (1, 2)),
    "apVisit": ("a.fits", synthetic.apvisit, (1, 1)),
    "mwmStar": ("a.fits", synthetic.mwmstar, (1, 1)),
    "x1d": ("a.fits", lambda path: synthetic.x1d(path, sources=3), (3, 3)),
    "spec1d": ("a.fits", lambda path: synthetic.spec1d(path, traces=2), (2, 2)),
    "msaexp": ("a.fits", synthetic.msaexp, (1, 1)),
    "lrs-coadd": ("a.fits", synthetic.lamost_coadd, (1, 1)),
    "lrs-image": ("a.fits", synthetic.lamost_image, (1, 1)),
    "mrs": ("a.fits", synthetic.lamost_mrs, (2, 4)),
    "xp-continuous": ("a.fits", synthetic.xp_continuous_fits, (2, 2)),
    "xp-sampled": ("a.fits", synthetic.xp_sampled_fits, (1, 1)),
}
ONE_EACH = {
    "aspcapStar": "apogee/aspcapStar-r6-l30e.2-2M19535443+4424541.fits",
    "apStar": "apogee/apStar-dr17-2M17335483-2753043.fits",
    "apVisit": "apogee/apVisit-r13-5095-55844-128.fits",
    "x1d": "nirspec/jw02736-o007_s06355_nirspec_f290lp-g395m_x1d.fits",
    "spec1d": "nirspec/spec1d_jw02609006001_03101_00002_source_2609_12.fits",
    "msaexp": "nirspec/calib_g140h-f100lp_iras-05248-7007_s200a1.v1.spec.fits.gz",
    "lrs-coadd": "lamost_lrs/3713134.fits",
    "lrs-image": "lamost_lrs/spec-56286-HD100408N031203B04_sp08-071.fits",
    "mrs": "lamost_mrs/med-58408-TD230151N343645T01_sp01-015.fits",
    "xp-continuous": "gaia_xp/XP_CONTINUOUS_RAW.fits",
    "xp-sampled": "gaia_xp/XP_SAMPLED_RAW_dr3int6.fits",
}
REDUCED = ("SDSS-V apStar", "SDSS-V apVisit", "SDSS-V mwm")  # loaders that give a mask


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("products_page", DOCS / "products_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    """Tables of the page as they are read: a dict from column to cell, and the address of the first link, a row."""
    text = (DOCS / "user_guide" / "products.rst").read_text(encoding="utf-8")
    settings = {"report_level": 4, "file_insertion_enabled": False}
    found = docutils.core.publish_doctree(text, settings_overrides=settings).findall(docutils.nodes.table)
    return [_rows(table) for table in found]


def _rows(table):
    head, *rows = [list(row.findall(docutils.nodes.entry)) for row in table.findall(docutils.nodes.row)]
    names = [entry.astext() for entry in head]
    return [dict(zip(names, map(_cell, row), strict=True)) | {"link": _link(row)} for row in rows]


def _cell(entry):
    return entry.astext()


def _link(row):
    return next((ref["refuri"] for entry in row for ref in entry.findall(docutils.nodes.reference)), None)


def table_with(tables, *columns):
    return [row for table in tables for row in table if set(columns) <= set(row)]


def test_the_page_is_the_one_that_the_code_makes(script):
    assert script.PAGE.read_text(encoding="utf-8") == script.render(), "run: python docs/products_page.py"


@pytest.mark.parametrize(
    "columns", [("frame", "medium"), ('visits="all"', "position"), ("loader of specutils", "gives")]
)
def test_every_product_of_the_plugins_stands_on_the_page_once_and_no_other(columns, tables):
    assert sorted(row["product"] for row in table_with(tables, *columns)) == sorted(PRODUCTS)


def test_every_product_has_a_note_and_a_file_here(script):
    assert set(script.NOTES) == set(FILES) == set(PRODUCTS)
    assert all(all((note.gives, note.adds, note.visits, note.position)) for note in script.NOTES.values())


def test_what_the_code_declares_stands_on_the_page(tables):
    for row in table_with(tables, "frame", "medium"):
        product = PRODUCTS[row["product"]]
        power = "varies" if product.resolving_power is None else f"{product.resolving_power:g}"
        expected = (product.instrument, product.frame, product.medium, product.normalization, power, product.axis_kind)
        columns = ("instrument", "frame", "medium", "normalised by", "R", "axis")
        assert tuple(row[name] for name in columns) == expected
        assert row["link"] == product.data_model


def test_the_bits_of_every_instrument_stand_on_the_page(tables):
    bits = [[(int(r["bit"]), r["name"], r["masks a pixel"]) for r in table] for table in tables if "bit" in table[0]]
    expected = []
    for instrument in INSTRUMENTS:
        expected.append({n: b for n, b in instrument.quality_bits.items() if n not in COMMON_BITS})
    expected.append(COMMON_BITS)
    masks = [*(instrument.bad_bits for instrument in INSTRUMENTS), INSTRUMENTS[0].bad_bits]
    for found, named, bad in zip(bits, expected, masks, strict=True):
        assert found == sorted((b, n, "yes" if bad >> b & 1 else "no") for n, b in named.items())
    assert len({bad >> 24 for bad in masks}) == 1


def test_the_files_counted_are_those_of_the_tests(tables):
    counts = dict.fromkeys(PRODUCTS, 0)
    for products, _ in EXPECTED.values():
        for name, (files, _) in products.items():
            counts[name] += files
    stated = {row["product"]: row["real files"] for row in table_with(tables, "real files")}
    assert stated == {name: str(number or "synthetic") for name, number in counts.items()}


@pytest.mark.parametrize("product", FILES)
def test_visits_of_every_product(product, script, tmp_path):
    name, write, numbers = FILES[product]
    write(tmp_path / name)
    read = READERS[PRODUCTS[product].instrument]
    found = [read(tmp_path / name, visits=word) for word in VISITS]
    assert tuple(map(len, found)) == numbers
    assert {s.meta["product"] for spectra in found for s in spectra} == {product}
    names = [[s.meta["spectrum_id"] for s in spectra] for spectra in found]
    assert (names[0] == names[1]) == (script.NOTES[product].visits == "the same")
    for instrument in INSTRUMENTS:
        with pytest.raises(ValueError, match=r"visits: expected one of \('combined', 'all'\), got 'each'"):
            instrument.read(tmp_path / name, visits="each")


@pytest.mark.parametrize("product", FILES)
def test_the_position_is_among_the_facts_of_every_product(product, tmp_path):
    name, write, _ = FILES[product]
    write(tmp_path / name)
    for spectrum in READERS[PRODUCTS[product].instrument](tmp_path / name):
        assert {"ra", "dec", "epoch"} <= set(spectrum.meta)


def specutils_reads(path, shape):
    """Formats of specutils, without ours, that give a spectrum of this shape; loaders fail in every way."""
    formats = {*get_loaders_by_extension("fits"), "ASCII", "ECSV"}
    found = {}
    for name in sorted(one for one in formats if not one.startswith("specalign ")):
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            spectrum = Spectrum.read(path, format=name)
            if spectrum.flux.shape == shape:
                found[name] = spectrum
    return found


@pytest.mark.shared
@pytest.mark.parametrize("product", ONE_EACH)
def test_specutils_gives_of_real_files_what_the_page_says(product, script, shared):
    path = shared / "data" / "spectra" / ONE_EACH[product]
    ours = READERS[PRODUCTS[product].instrument](path)[0]
    found = specutils_reads(path, ours.flux.shape)
    expected = script.NOTES[product].loaders
    if product == "lrs-image":
        mistaken = found.pop("SDSS-I/II spSpec")
        np.testing.assert_allclose(mistaken.uncertainty.array, ours.spectral_axis.to_value("Angstrom"))
    assert set(found) == set(expected)
    for name in expected:
        mask = found[name].mask
        assert (mask is not None) == (name in REDUCED), name
        assert mask is None or mask.dtype == bool
        assert not {"frame", "medium", "quality"} & set(found[name].meta)


def test_specutils_gives_of_an_mwmstar_what_the_page_says(script, tmp_path):
    synthetic.mwmstar(tmp_path / "a.fits", checksum=True)
    shape = READERS["apogee"](tmp_path / "a.fits")[0].flux.shape
    found = specutils_reads(tmp_path / "a.fits", shape)
    assert set(found) == {"SDSS-V mwm"} == set(script.NOTES["mwmStar"].loaders)
    synthetic.mwmstar(tmp_path / "b.fits")
    assert not specutils_reads(tmp_path / "b.fits", shape)


@pytest.mark.shared
def test_what_else_is_said_of_specutils(shared):
    folder = shared / "data" / "spectra" / "apogee"
    name = folder / "aspcapStar-r6-l30e.2-2M19535443+4424541.fits"
    units = [Spectrum.read(name, format="APOGEE aspcapStar").flux.unit for _ in range(2)]
    assert units[0] != units[1]
    path = folder / "apStar-dr17-2M17335483-2753043.fits"
    listed = SpectrumList.read(path, format="SDSS-V apStar")
    visits = READERS["apogee"](path, visits="all")
    shared_rows = [any(np.array_equal(one.flux.value, other.flux.value) for other in visits) for one in listed]
    assert (len(listed), len(visits), shared_rows) == (3, 3, [False, False, True])
    for name in ("APOGEE apStar", "SDSS-V apStar"):
        with pytest.raises(IndexError):
            Spectrum.read(folder / "apStar-r6-2M03290406+3117075.fits", format=name)
