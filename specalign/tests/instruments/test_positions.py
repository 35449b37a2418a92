"""Positions of the stars, from the files to a match on the sky."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

import specalign as sa
from specalign.exceptions import SkippedProductWarning, SpectrumUnitError, VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.prepared import PreparedSpectra
from specalign.io import READERS
from specalign.tests.instruments.conftest import make_spectrum
from specalign.tests.io import synthetic

HERE = {"RA": 150.25, "DEC": -11.5}
UNKNOWN = {"RA": -9999.0, "DEC": -9999.0}
# Writer and the keyword of its position; those of NIRSpec have other names, or none.
WITH_HEADER = {
    "apStar": ("apogee", synthetic.apstar, {}),
    "aspcapStar": ("apogee", synthetic.aspcapstar, {}),
    "apVisit": ("apogee", synthetic.apvisit, {}),
    "mwmStar": ("apogee", synthetic.mwmstar, {}),
    "lrs-coadd": ("lamost", synthetic.lamost_coadd, {}),
    "lrs-image": ("lamost", synthetic.lamost_image, {}),
    "mrs": ("lamost", synthetic.lamost_mrs, {}),
    "x1d": ("nirspec", synthetic.x1d, {"RA": "SRCRA", "DEC": "SRCDEC"}),
    "msaexp": ("nirspec", synthetic.msaexp, {"RA": "SRCRA", "DEC": "SRCDEC"}),
}


def position(meta):
    return tuple(None if meta[name] is None else meta[name].to_value(unit) for name, unit in UNITS)


UNITS = (("ra", u.deg), ("dec", u.deg), ("epoch", u.yr))


@pytest.mark.parametrize("product", WITH_HEADER)
@pytest.mark.parametrize(
    ("stated", "expected"), [(HERE, (150.25, -11.5, None)), (UNKNOWN, (None,) * 3), ({}, (None,) * 3)]
)
def test_readers_take_the_position_of_the_header_and_no_epoch(product, stated, expected, tmp_path):
    instrument, write, names = WITH_HEADER[product]
    write(tmp_path / "a.fits", header={names.get(key, key): value for key, value in stated.items()})
    for spectrum in READERS[instrument](tmp_path / "a.fits"):
        assert spectrum.meta["product"] == product
        assert position(spectrum.meta) == expected


def test_the_pointing_of_a_mask_is_no_position_of_a_star(tmp_path):
    synthetic.spec1d(tmp_path / "a.fits", header=HERE)
    assert position(READERS["nirspec"](tmp_path / "a.fits")[0].meta) == (None,) * 3


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"EXP_TYPE": "NRS_FIXEDSLIT", "EXPMID": 59874.5}, (10.0, 20.0, 2000 + 8330 / 365.25)),
        ({"EXP_TYPE": "NRS_FIXEDSLIT"}, (10.0, 20.0, None)),
        ({"EXP_TYPE": "NRS_MSASPEC", "EXPMID": 59874.5}, (None,) * 3),
        ({"EXP_TYPE": "NRS_MSASPEC", "SRCRA": 0.0, "SRCDEC": 0.0}, (None,) * 3),
        ({"EXP_TYPE": "NRS_MSASPEC", "SRCRA": 0.0, "SRCDEC": 1.0}, (0.0, 1.0, None)),
    ],
)
def test_x1d_has_the_source_or_the_target_of_a_slit(header, expected, tmp_path):
    synthetic.x1d(tmp_path / "a.fits", header={"TARG_RA": 10.0, "TARG_DEC": 20.0, **header})
    assert position(READERS["nirspec"](tmp_path / "a.fits")[0].meta) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("columns", "values", "epoch"),
    [
        ("", "", None),
        (",ref_epoch", ",2017.5", 2017.5),
        (",solution_id", ",4545469030156206081", 2016.0),
        (",solution_id", ",77", None),
        (",solution_id,ref_epoch", ",4545469030156206081,2017.5", 2017.5),
    ],
)
def test_the_epoch_of_gaia_is_stated_or_that_of_its_release(columns, values, epoch, tmp_path):
    flux = synthetic._cell(np.linspace(1, 2, 343))
    text = f"source_id,ra,dec,flux,flux_error{columns}\n6,217.5,-62.5,{flux},{flux}{values}\n"
    (tmp_path / "a.csv").write_text(text)
    assert position(READERS["gaia_xp"](tmp_path / "a.csv")[0].meta) == (217.5, -62.5, epoch)


@pytest.fixture
def prepared(apogee):
    spectra = [
        make_spectrum(apogee, object_id="a", spectrum_id="a1", ra=1 * u.hourangle, dec=-30 * u.deg, epoch=2016 * u.yr),
        make_spectrum(apogee, object_id="b", spectrum_id="b1"),
        make_spectrum(apogee, object_id="c", spectrum_id="c1", ra=np.nan * u.deg, dec=None),
        make_spectrum(apogee, object_id="d", spectrum_id="d1", ra=200 * u.deg, dec=10 * u.deg, epoch=None),
    ]
    return apogee.prepare(spectra)


def test_positions_are_in_the_catalogue_in_degrees_and_years(prepared):
    catalog = prepared.catalog
    assert [catalog[name].unit for name, _ in UNITS] == [u.deg, u.deg, u.yr]
    np.testing.assert_allclose(catalog["ra"].value, [15, np.nan, np.nan, 200])
    np.testing.assert_allclose(catalog["dec"].value, [-30, np.nan, np.nan, 10])
    np.testing.assert_allclose(catalog["epoch"].value, [2016, np.nan, np.nan, np.nan])


def test_positions_survive_files_spectra_slices_and_joins(prepared, tmp_path, apogee):
    prepared.write(tmp_path / "a.fits")
    read = PreparedSpectra.read(tmp_path / "a.fits")
    joined = PreparedSpectra.concatenate([prepared[[3]], prepared[:3]])[[1, 2, 3, 0]]
    again = apogee.prepare([prepared.to_spectrum(i) for i in range(4)])
    for other in (read, joined, again):
        for name, unit in UNITS:
            np.testing.assert_array_equal(other.catalog[name].to_value(unit), prepared.catalog[name].to_value(unit))


@pytest.mark.parametrize("order", [1, -1])
def test_parts_without_positions_are_joined_with_nan(prepared, order):
    old = prepared[:2]
    old.catalog.remove_columns(["ra", "dec", "epoch", "velocity_err"])
    old.object_id, old.spectrum_id = np.array(["x", "y"]), np.array(["x", "y"])
    joined = PreparedSpectra.concatenate([old, prepared][::order])
    at = joined.object_id.tolist().index("d")
    assert joined.catalog["ra"][at] == 200 * u.deg
    assert np.isnan(joined.catalog["ra"].value).sum() == 4
    assert type(joined.catalog["ra"]) is u.Quantity


@pytest.mark.parametrize(
    ("name", "value"), [("ra", 15.0), ("dec", 10 * u.pc), ("epoch", 2016.0), ("velocity_err", 2.0)]
)
def test_a_position_without_a_unit_is_refused(name, value, apogee):
    with pytest.raises(SpectrumUnitError, match=rf"meta\['{name}'\]: expected a Quantity in a unit like"):
        apogee.prepare(make_spectrum(apogee, **{name: value}))


def catalogue(ra, dec):
    return QTable({"object_id": [f"c{i}" for i in range(len(ra))], "ra": ra * u.deg, "dec": dec * u.deg})


def test_prepared_spectra_match_a_catalogue_on_the_sky(prepared):
    pairs = sa.match(prepared, catalogue([15.0001, 200.0, 90.0], [-30.0, 10.0001, 0.0]), by="sky", radius=1 * u.arcsec)
    assert pairs["id_a", "id_b"].as_array().tolist() == [("a", "c0"), ("d", "c1")]
    assert pairs.meta["without_position_a"] == [1, 2]


# One file of a product, its instrument with options, and right ascension, declination and epoch that it states.
REAL = [
    ("apogee/apStar-dr17-2M17335483-2753043.fits", ("apogee", {}), (263.478474, -27.884539, None)),
    ("apogee/aspcapStar-r6-l30e.2-2M19535443+4424541.fits", ("apogee", {}), (298.476799, 44.415043, None)),
    ("apogee/apVisit-r13-5095-55844-128.fits", ("apogee", {}), (19.658251, 84.061646, None)),
    ("lamost_lrs/3713134.fits", ("lamost", {}), (141.654201, 27.933723, None)),
    ("lamost_lrs/spec-56286-HD100408N031203B04_sp08-071.fits", ("lamost", {}), (152.185846, 2.732438, None)),
    (
        "lamost_mrs/med-58408-TD230151N343645T01_sp01-015.fits",
        ("lamost", {"mode": "mrs"}),
        (345.797708, 32.226539, None),
    ),
    ("gaia_xp/XP_SAMPLED_RAW_dr3int6.csv", ("gaia_xp", {}), (217.392321472, -62.676075117, 2016.0)),
    ("gaia_xp/XP_SAMPLED_COMBINED.xml", ("gaia_xp", {}), (0.001331957, 57.619506595, 2016.0)),
    (
        "gaia_xp/gaia_dr3_source_id_5937083312263887616_dl_products_fits.zip",
        ("gaia_xp", {}),
        (251.519207729, -51.505352555, 2016.0),
    ),
    (
        "nirspec/calib_g140h-f100lp_iras-05248-7007_s200a1.v1.spec.fits.gz",
        ("nirspec", {}),
        (81.086520833, -70.083755556, None),
    ),
    (
        "nirspec/jw02736-o007_s06355_nirspec_f290lp-g395m_x1d.fits",
        ("nirspec", {"disperser": "g395m", "filter": "f290lp"}),
        (110.84459417, -73.435058962, None),
    ),
]


def prepare_quietly(name, options, path):
    instrument = get_instrument(name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VelocityWarning)
        warnings.simplefilter("ignore", SkippedProductWarning)
        spectra = [s for s in instrument.read(path) if s.meta["ra"] is not None or s.meta["product"] != "xp-continuous"]
        return instrument.prepare(spectra[:1])


@pytest.mark.shared
@pytest.mark.parametrize(("path", "instrument", "expected"), REAL, ids=[path for path, _, _ in REAL])
def test_real_files_match_on_the_sky(path, instrument, expected, shared):
    prepared = prepare_quietly(*instrument, shared / "data" / "spectra" / path)
    found = [prepared.catalog[name][0].to_value(unit) for name, unit in UNITS]
    np.testing.assert_allclose(found, [np.nan if value is None else value for value in expected], rtol=0, atol=1e-8)
    pairs = sa.match(prepared, catalogue([0.0, expected[0]], [89.0, expected[1]]), by="sky", radius=0.1 * u.arcsec)
    assert pairs["index_b"].tolist() == [1]


@pytest.mark.shared
def test_spectra_of_m71_take_their_positions_from_the_table_of_the_program(shared):
    """All files of the mask state one pointing, minutes of arc from the stars."""
    folder = shared / "data" / "spectra" / "nirspec"
    labels = QTable.read(folder / "m71_labels.csv", format="ascii.csv")
    nirspec = get_instrument("nirspec")
    spectra = [
        s for n in (7, 12, 19) for s in nirspec.read(folder / f"spec1d_jw02609006001_03101_00002_source_2609_{n}.fits")
    ]
    assert all(spectrum.meta["ra"] is None for spectrum in spectra)
    place = {row["source_name"]: (row["ra"] * u.deg, row["dec"] * u.deg) for row in labels}
    for spectrum in spectra:
        spectrum.meta["ra"], spectrum.meta["dec"] = place[spectrum.meta["object_id"]]
    with pytest.warns(VelocityWarning):
        prepared = nirspec.prepare(spectra)
    labels["object_id"] = labels["apogee_id"]
    labels["ra"].unit = labels["dec"].unit = u.deg
    pairs = sa.match(prepared, labels, by="sky", radius=0.5 * u.arcsec)
    assert dict(zip(pairs["id_a"], pairs["id_b"], strict=True)) == dict(
        zip(labels["source_name"], labels["apogee_id"], strict=True)
    )
    assert len(pairs) == len(spectra)
