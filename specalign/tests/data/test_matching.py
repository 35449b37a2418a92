import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

import specalign as sa
from specalign.data.matching import match_report
from specalign.exceptions import MatchError
from specalign.instruments.prepared import InstrumentRecord, grid_digest


def embeddings(ids):
    ids = np.array(ids)
    rows = np.char.add(ids, np.char.add("-", np.arange(len(ids)).astype(str)))
    return sa.EmbeddingTable(np.ones((len(ids), 2)), ids, rows, "apogee", np.ones(len(ids)), np.ones(len(ids)))


def test_visits_give_all_pairs_and_the_rest_is_reported():
    pairs = sa.match(embeddings(["a", "b", "a", "d"]), Table({"object_id": ["a", "b", "c", "b"]}))
    found = list(zip(pairs["id_a"], pairs["index_a"], pairs["index_b"], strict=True))
    assert found == [("a", 0, 0), ("a", 2, 0), ("b", 1, 1), ("b", 1, 3)]
    assert np.array_equal(pairs["id_a"], pairs["id_b"])
    assert (pairs.meta["unmatched_a"], pairs.meta["unmatched_b"]) == ([3], [2])
    assert (pairs.meta["ambiguous_a"], pairs.meta["ambiguous_b"]) == ([0, 2], [1, 3])


@pytest.mark.parametrize("by", ["object_id", "sky"])
def test_a_hundred_permutations_give_the_same_pairs(by):
    rng = np.random.default_rng(0)
    ids = np.array([f"star{i}" for i in range(40)])
    ra, dec = rng.uniform(0, 360, 40), rng.uniform(-90, 90, 40)
    rows_a, rows_b = rng.integers(0, 40, 60), rng.integers(0, 40, 50)

    def table(rows):
        jitter = np.array([(row * 7 % 5) * 0.01 for row in range(len(rows))]) / 3600
        return QTable({"object_id": ids[rows], "ra": ra[rows] * u.deg, "dec": (dec[rows] + jitter) * u.deg})

    options = {"radius": 1 * u.arcsec} if by == "sky" else {}
    a, b = table(rows_a), table(rows_b)
    expected = sorted((i, j) for i in range(60) for j in range(50) if rows_a[i] == rows_b[j])
    separations = []
    for _ in range(100):
        order_a, order_b = rng.permutation(60), rng.permutation(50)
        pairs = sa.match(a[order_a], b[order_b], by=by, **options)
        found = sorted(zip(order_a[pairs["index_a"]], order_b[pairs["index_b"]], strict=True))
        assert found == expected
        if by == "sky":
            separations.append(np.sort(pairs["separation"].value))
            assert np.array_equal(separations[0], separations[-1])
        assert list(zip(pairs["id_a"], pairs["id_b"], strict=True)) == sorted(
            zip(pairs["id_a"], pairs["id_b"], strict=True)
        )
        lost = {int(order_a[row]) for row in pairs.meta["unmatched_a"]}
        assert lost == set(range(60)) - {i for i, _ in expected}


def test_other_identifiers_and_kinds_of_text():
    bytes_ = Table({"object_id": np.array([b"2M00", b"2M01"])})
    numbers = Table({"object_id": np.array([7, 8])})
    assert len(sa.match(bytes_, Table({"object_id": ["2M01 "]}))) == 1
    assert sa.match(numbers, Table({"object_id": ["8"]}))["index_a"].tolist() == [1]
    pairs = sa.match(embeddings(["a", "b"]), Table({"spectrum_id": ["b-1"]}), by="spectrum_id")
    assert pairs["index_a"].tolist() == [1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (Table({"name": ["a"]}), "expected a column 'object_id', got \\['name'\\]"),
        (Table({"object_id": ["a", ""]}), "1 rows have no identifier, the first is row 1"),
        (Table({"object_id": MaskedColumn(["a", "b"], mask=[True, False])}), "the first is row 0"),
        (Table({"object_id": [1.5e18]}), "floating-point numbers, which are not exact"),
        (
            Table({"object_id": ["x", "y"]}),
            "no row of the tables is in common: one has 1 rows \\(a ...\\), the other 2",
        ),
    ],
)
def test_what_cannot_be_joined_by_identifier(table, message):
    with pytest.raises(MatchError, match=message):
        sa.match(Table({"object_id": ["a"]}), table)


def sky(ra, dec, **columns):
    return QTable({"ra": np.atleast_1d(ra) * u.deg, "dec": np.atleast_1d(dec) * u.deg, **columns})


def test_the_sky_separates_by_the_radius_and_reports_neighbours():
    a = sky([10.0, 20.0, 30.0], [0.0, 45.0, -60.0])
    b = sky([30.0, 10.0 + 0.5 / 3600, 10.0 - 0.8 / 3600, 20.0 + 3 / 3600], [-60.0, 0.0, 0.0, 45.0])
    pairs = sa.match(a, b, by="sky", radius=1 * u.arcsec)
    assert sorted(zip(pairs["index_a"], pairs["index_b"], strict=True)) == [(0, 1), (2, 0)]
    assert np.allclose(np.sort(pairs["separation"].to_value(u.arcsec)), [0, 0.5], atol=1e-6)
    assert pairs.meta["ambiguous_a"] == [0]
    assert (pairs.meta["unmatched_a"], pairs.meta["unmatched_b"]) == ([1], [2, 3])
    wider = sa.match(a, b, by="sky", radius=3 * u.arcsec)  # 3 arcsec in ra are 2.1 on the sky there
    assert len(wider) == 3


def test_of_two_stars_near_one_only_the_nearer_is_joined():
    a, b = sky([10.0 + 0.6 / 3600, 10.0], [0.0, 0.0]), sky(10.0 + 0.1 / 3600, 0.0)
    pairs = sa.match(a, b, by="sky", radius=1 * u.arcsec)
    assert pairs["index_a"].tolist() == [1]
    assert (pairs.meta["unmatched_a"], pairs.meta["ambiguous_b"]) == ([0], [0])
    assert sa.match(b, a, by="sky", radius=1 * u.arcsec)["index_b"].tolist() == [1]


def test_rows_of_one_object_are_one_star_on_the_sky():
    visits = sky([10.0, 10.0 + 0.2 / 3600, 50.0], [0.0, 0.0, 0.0], object_id=["a", "a", "b"])
    pairs = sa.match(visits, sky(10.0, 0.0), by="sky", radius=1 * u.arcsec)
    assert pairs["index_a"].tolist() == [0, 1]
    assert pairs["id_a"].tolist() == ["a", "a"]
    assert pairs.meta["ambiguous_b"] == []


def test_prepared_spectra_are_joined_by_identifier_and_by_the_positions_of_their_catalog():
    n, axis = 3, np.linspace(4000, 5000, 4) * u.AA
    prepared = sa.PreparedSpectra(
        flux=np.ones((n, 4)), ivar=np.ones((n, 4)), mask=np.zeros((n, 4), bool), quality=np.zeros((n, 4), np.uint32),
        norm=np.ones((n, 1)), object_id=np.array(["a", "b", "c"]), spectrum_id=np.array(["1", "2", "3"]),
        spectral_axis=axis, instrument=InstrumentRecord("lamost", {}, grid_digest(axis), "1"),
        catalog=sky([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), quality_bits={},
    )  # fmt: skip
    labels = sky([3.0, 2.0], [0.0, 0.0], object_id=["c", "b"])
    for options in ({}, {"by": "sky", "radius": 1 * u.arcsec}):
        pairs = sa.match(prepared, labels, **options)
        assert (pairs["index_a"].tolist(), pairs["index_b"].tolist()) == ([1, 2], [1, 0])


def test_proper_motion_moves_both_tables_to_the_epoch():
    # Barnard's star: 10.36 arcsec a year; without it the positions are 166 arcsec apart.
    gaia = sky(269.4485025, 4.7394200, pmra=[-801.551] * u.mas / u.yr, pmdec=[10362.394] * u.mas / u.yr)
    gaia["epoch"] = [2016.0]
    later = sky(0.0, 0.0)
    later["ra"] = gaia["ra"] + (-0.801551 * -16 / np.cos(np.radians(4.7164))) * u.arcsec
    later["dec"] = gaia["dec"] + (10.362394 * -16) * u.arcsec
    later["pmra"], later["pmdec"] = gaia["pmra"], gaia["pmdec"]
    later.meta["epoch"] = Time("J2000.0")
    with pytest.raises(MatchError, match="no row of the tables is in common"):
        sa.match(gaia, later, by="sky", radius=2 * u.arcsec)
    pairs = sa.match(gaia, later, by="sky", radius=2 * u.arcsec, epoch=2000.0)
    assert pairs["separation"][0] < 0.1 * u.arcsec
    assert len(sa.match(gaia, later, by="sky", radius=2 * u.arcsec, epoch=Time(2010.0, format="jyear"))) == 1


def test_rows_without_a_position_are_reported():
    a = Table({"ra": MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False], unit="deg"), "dec": [0.0, 0.0, np.nan]})
    a["dec"].unit = "deg"
    pairs = sa.match(a, sky([1.0, 2.0], [0.0, 0.0]), by="sky", radius=1 * u.arcsec)
    assert pairs["index_a"].tolist() == [0]
    assert pairs.meta["without_position_a"] == [1, 2]
    assert pairs.meta["unmatched_a"] == [1, 2]
    assert pairs.meta["unmatched_b"] == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "sky"}, "by='sky' needs a radius"),
        ({"by": "sky", "radius": 1.0}, "radius: expected a quantity in units such as deg, got 1.0"),
        ({"by": "sky", "radius": 1 * u.arcsec, "epoch": 2016.0}, "the first table does not say of which epoch"),
        ({"radius": 1 * u.arcsec}, "radius and epoch belong to by='sky'"),
        ({"by": "position"}, "expected 'object_id', 'spectrum_id' or 'sky', got 'position'"),
    ],
)
def test_missing_and_wrong_options(options, message):
    table = sky(1.0, 1.0, object_id=["a"])
    with pytest.raises(MatchError, match=message):
        sa.match(table, table, **options)


def test_positions_need_units_and_columns():
    bare = Table({"ra": [1.0], "dec": [1.0]})
    with pytest.raises(MatchError, match="the first table: column 'ra' has no unit; expected one such as deg"):
        sa.match(bare, sky(1.0, 1.0), by="sky", radius=1 * u.arcsec)
    with pytest.raises(MatchError, match="the second table: expected a column 'ra'"):
        sa.match(sky(1.0, 1.0), embeddings(["a"]), by="sky", radius=1 * u.arcsec)
    moving = sky(1.0, 1.0, epoch=[2016.0])
    with pytest.raises(MatchError, match="expected a column 'pmra'"):
        sa.match(moving, moving, by="sky", radius=1 * u.arcsec, epoch=2000.0)


@given(
    st.floats(0, 360), st.floats(-90, 90), st.floats(-5000, 5000), st.floats(-5000, 5000), st.floats(1950, 2050)
)  # fmt: skip
def test_motion_along_a_great_circle_is_found_again_anywhere(ra, dec, pmra, pmdec, year):
    """Also at the poles and across ra = 0, where steps in ra and dec go wrong."""
    years = year - 2016.0
    start = SkyCoord(ra, dec, unit="deg")
    there = start.directional_offset_by(np.arctan2(pmra, pmdec) * u.rad, np.hypot(pmra, pmdec) * years * u.mas)
    moving = sky(ra, dec, pmra=[pmra] * u.mas / u.yr, pmdec=[pmdec] * u.mas / u.yr)
    moving.meta["epoch"] = 2016.0
    still = sky(there.ra.deg, there.dec.deg, pmra=[0.0] * u.mas / u.yr, pmdec=[0.0] * u.mas / u.yr)
    still.meta["epoch"] = f"J{year!r}"
    pairs = sa.match(moving, still, by="sky", radius=1 * u.arcsec, epoch=year)
    assert pairs["separation"][0] < 1 * u.mas


def test_motion_agrees_with_astropy_over_the_sky():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))
    pm = rng.normal(0, 300, (2, 200)) * u.mas / u.yr
    here = SkyCoord(ra * u.deg, dec * u.deg, pm_ra_cosdec=pm[0], pm_dec=pm[1], obstime=Time(2016.0, format="jyear"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy says that it assumes a distance
        there = here.apply_space_motion(Time(2000.0, format="jyear"))
    gaia = sky(ra, dec, pmra=pm[0], pmdec=pm[1], epoch=np.full(200, 2016.0))
    old = sky(there.ra.deg, there.dec.deg, pmra=pm[0], pmdec=pm[1], epoch=np.full(200, 2000.0))
    pairs = sa.match(gaia, old, by="sky", radius=1 * u.arcsec, epoch=2000.0)
    assert len(pairs) == 200
    assert (pairs["separation"] < 1 * u.mas).all()


def test_the_poles_and_the_wrap_of_right_ascension():
    second = 1 / 3600
    a = sky([0.1 * second, 0.0, 180.0, 359.9], [10.0, 90.0, -90 + 0.3 * second, 0.0])
    b = sky([360 - 0.1 * second, 123.0, 0.0, -0.1], [10.0, 90 - 0.2 * second, -90 + 0.3 * second, 0.0])
    pairs = sa.match(a, b, by="sky", radius=1 * u.arcsec)
    assert sorted(zip(pairs["index_a"], pairs["index_b"], strict=True)) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    found = dict(zip(pairs["index_a"].tolist(), pairs["separation"].to_value(u.arcsec), strict=True))
    assert np.allclose([found[i] for i in range(4)], [0.2 * np.cos(np.radians(10)), 0.2, 0.6, 0.0], atol=1e-6)


def test_each_row_has_its_own_epoch():
    pm = {"pmra": [0.0, 0.0] * u.mas / u.yr, "pmdec": [1000.0, 1000.0] * u.mas / u.yr}
    a = sky([10.0, 20.0], [0.0, 0.0], epoch=[2016.0, 2000.0], **pm)
    b = sky([10.0, 20.0], [0.0, 16 / 3600], epoch=[2016.0, 2016.0], **pm)
    pairs = sa.match(a, b, by="sky", radius=1 * u.arcsec, epoch=2016.0)
    assert pairs["index_a"].tolist() == pairs["index_b"].tolist() == [0, 1]
    a["epoch"] = MaskedColumn([2016.0, 2000.0], mask=[False, True])
    pairs = sa.match(a, b, by="sky", radius=1 * u.arcsec, epoch=2016.0)
    assert (pairs.meta["without_motion_a"], pairs.meta["unmatched_a"]) == ([1], [1])


@pytest.mark.parametrize("epoch", ["J2016.0", 2016, 2016.0 * u.yr, Time(2016.0, format="jyear")])
def test_ways_to_say_an_epoch(epoch):
    table = sky(1.0, 1.0, pmra=[1.0] * u.mas / u.yr, pmdec=[1.0] * u.mas / u.yr)
    table.meta["epoch"] = epoch
    assert len(sa.match(table, table, by="sky", radius=1 * u.arcsec, epoch=epoch)) == 1


def test_the_report_counts_every_row_once_and_names_the_first():
    ids = [f"star{i}" for i in range(12)]
    pm = np.ones(12)
    pm[2] = np.nan
    a = sky(np.arange(12.0), np.zeros(12), object_id=ids, pmra=pm * u.mas / u.yr, pmdec=np.ones(12) * u.mas / u.yr)
    a["ra"][0] = np.nan * u.deg
    b = a[[1, 1, 2]]
    b["object_id"], b["ra"][1] = ["x", "y", "z"], (1 + 0.5 / 3600) * u.deg
    a.meta["epoch"] = b.meta["epoch"] = 2016.0
    pairs = sa.match(a, b, by="sky", radius=2 * u.arcsec, epoch=2010.0)
    report = {(row["table"], row["what"]): (row["n"], row["first_ids"]) for row in match_report(pairs)}
    assert report == {
        ("a", "all"): (12, ""),
        ("a", "matched"): (1, ""),
        ("a", "unmatched"): (11, "star0, star2, star3, star4, star5, ..."),
        ("a", "ambiguous"): (1, "star1"),
        ("a", "without_position"): (1, "star0"),
        ("a", "without_motion"): (1, "star2"),
        ("b", "all"): (3, ""),
        ("b", "matched"): (1, ""),
        ("b", "unmatched"): (2, "y, z"),
        ("b", "without_motion"): (1, "z"),
    }
    nameless = match_report(sa.match(sky([1.0, 5.0], [0.0, 0.0]), sky(1.0, 0.0), by="sky", radius=1 * u.arcsec))
    assert nameless["first_ids"].tolist() == ["", "", "row 1", "", ""]


def test_the_report_counts_rows_and_not_pairs():
    pairs = sa.match(embeddings(["a", "b", "a", "d"]), Table({"object_id": ["a", "b", "c", "b"]}))
    n = {(row["table"], row["what"]): row["n"] for row in match_report(pairs)}
    assert (n["a", "all"], n["a", "matched"], n["a", "unmatched"]) == (4, 3, 1)
    assert (n["b", "all"], n["b", "matched"], n["b", "unmatched"]) == (4, 3, 1)
