"""Every real file beside the checkout is read, or refused with the right error, by the reader of every instrument."""

import warnings
from collections import Counter

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import median_filter
from specutils import Spectrum

from specalign.exceptions import CorruptFileError, SkippedProductWarning, SpecalignError, VelocityWarning
from specalign.instruments import get_instrument
from specalign.io import READERS
from specalign.io.quality import decode
from specalign.tests.conftest import find_shared
from specalign.tests.io.damage import contents, harmless_cuts, structure_cuts

SHARED = find_shared()
SPECTRA = SHARED / "data" / "spectra" if SHARED else None
MRS = SPECTRA / "lamost_mrs" if SHARED else None
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(SHARED is None, reason="needs the folder 'shared' with real spectra beside the checkout"),
    pytest.mark.filterwarnings("ignore:.*VRAD = .* km/s is doubtful:specalign.exceptions.VelocityWarning"),
]
FOLDERS = ("apogee", "bad", "nirspec", "lamost_lrs", "lamost_mrs", "gaia_xp", "kepler")
OWN = {
    "apogee": "apogee",
    "bad": "apogee",
    "nirspec": "nirspec",
    "lamost_lrs": "lamost",
    "lamost_mrs": "lamost",
    "gaia_xp": "gaia_xp",
}

# Folder: files and spectra a product, files refused as another product.  No real file is refused as damaged.
EXPECTED = {
    "apogee": ({"aspcapStar": (20, 20), "apStar": (5, 5), "apVisit": (4, 4)}, 1),
    "bad": ({"apStar": (1, 1)}, 0),
    "nirspec": ({"x1d": (1, 1), "spec1d": (8, 11), "msaexp": (2, 2)}, 1),
    "lamost_lrs": ({"lrs-coadd": (41, 41), "lrs-image": (15, 15)}, 1),
    "gaia_xp": ({"xp-continuous": (10, 2057), "xp-sampled": (6, 18)}, 2),
    "lamost_mrs": ({"mrs": (3, 6)}, 0),
    "kepler": ({}, 15),
}
ONE_EACH = (
    "apogee/aspcapStar-r6-l30e.2-2M19535443+4424541.fits",
    "apogee/apStar-r6-2M03290406+3117075.fits",
    "apogee/apStar-dr17-2M17335483-2753043.fits",
    "apogee/apVisit-r13-5095-55844-128.fits",
    "nirspec/spec1d_jw02609006001_03101_00002_source_2609_12.fits",
    "nirspec/jw02736-o007_s06355_nirspec_f290lp-g395m_x1d.fits",
    "lamost_lrs/3713134.fits",
    "lamost_lrs/spec-56286-HD100408N031203B04_sp08-071.fits",
    "lamost_lrs/spec-57287-KP193637N444141V03_sp10-161.fits.gz",
    "lamost_mrs/med-58408-TD230151N343645T01_sp01-015.fits",
    "gaia_xp/XP_CONTINUOUS_RAW_with_missing_BP.fits",
    "gaia_xp/XP_SAMPLED_RAW_dr3int6.fits",
    "gaia_xp/calspec_10_continuous.csv",
    "gaia_xp/XP_CONTINUOUS_RAW.ecsv",
    "nirspec/calib_prism-clear_iras-05248-7007_s200a1.v1.spec.fits.gz",
    "gaia_xp/XP_CONTINUOUS_RAW.xml",
    "gaia_xp/XP_SAMPLED_COMBINED.xml",
    "gaia_xp/gaia_dr3_source_id_5937083312263887616_dl_products_fits.zip",
    "gaia_xp/gaia_dr3_source_id_5937083312263887616_dl_products_vot.zip",
)


def own(path):
    return OWN[path.parent.name]


def read(instrument, path):
    """The spectra of a file; archives hold products of other kinds, of which their readers warn."""
    with warnings.catch_warnings():
        if path.suffix == ".zip":
            warnings.simplefilter("ignore", SkippedProductWarning)
        return READERS[instrument](path)


def outcomes(instrument, folder):
    """Counts of what one reader does with the files of one folder; a file counts by the product of its first."""
    files, spectra, ids = Counter(), Counter(), []
    for path in sorted((SPECTRA / folder).iterdir()):
        try:
            found = read(instrument, path)
        except SpecalignError as error:
            files[type(error).__name__ if str(path) in str(error) else str(error)] += 1
        else:
            files[found[0].meta["product"]] += 1
            spectra.update(spectrum.meta["product"] for spectrum in found)
            ids += [spectrum.meta["spectrum_id"] for spectrum in found]
    return files, spectra, ids


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("instrument", list(READERS))
def test_every_file_is_read_or_refused_with_the_right_error(instrument, folder):
    files, spectra, _ = outcomes(instrument, folder)
    products, refused = EXPECTED[folder]
    total = sum(number for number, _ in products.values()) + refused
    assert total == len(list((SPECTRA / folder).iterdir()))
    if OWN.get(folder) == instrument:
        assert files == Counter({name: number for name, (number, _) in products.items()}, UnknownProductError=refused)
        assert spectra == {name: number for name, (_, number) in products.items()}
    else:
        assert files == {"UnknownProductError": total}


@pytest.mark.parametrize("folder", [name for name in OWN if name != "gaia_xp"])
def test_rows_have_names_of_their_own(folder):
    _, _, ids = outcomes(OWN[folder], folder)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ONE_EACH)
def test_cuts_of_a_real_file(name, tmp_path):
    raw = (SPECTRA / name).read_bytes()
    cuts = structure_cuts(len(raw), random=0, seed=0)
    cuts = cuts[:: max(1, len(cuts) // 25)] + cuts[-2:]
    check_cuts(name, tmp_path, raw, cuts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_EACH)
def test_all_cuts_of_a_real_file(name, tmp_path):
    raw = (SPECTRA / name).read_bytes()
    check_cuts(name, tmp_path, raw, structure_cuts(len(raw), random=200, seed=6))


def check_cuts(name, tmp_path, raw, cuts):
    original, path = SPECTRA / name, tmp_path / name.split("/")[1]
    reader, harmless = own(original), harmless_cuts(original)
    expected = contents(read(reader, original))
    for size in cuts:
        path.write_bytes(raw[:size])
        try:
            found = contents(read(reader, path))
        except CorruptFileError as error:
            found = str(error)
        accepted = harmless(size) and found == expected[: len(found)]
        assert accepted or (isinstance(found, str) and str(path) in found), (size, found)


@pytest.mark.parametrize(
    ("name", "hdu"),
    [(ONE_EACH[0], 1), (ONE_EACH[1], 1), (ONE_EACH[2], 1)],
)
def test_apogee_flux_is_that_of_the_file(name, hdu):
    (spectrum,) = READERS["apogee"](SPECTRA / name)
    with fits.open(SPECTRA / name) as hdus:
        flux = np.atleast_2d(hdus[hdu].data)[0]
    good = ~spectrum.mask
    assert good.sum() > 7000
    assert (spectrum.flux.value[good] == flux[good]).all()
    assert spectrum.spectral_axis.to_value(u.AA)[[0, -1]] == pytest.approx([15100.8, 16999.8], abs=0.1)


def test_x1d_is_as_specutils_reads_it(tmp_path):
    """Our format takes the flux of every source; specutils takes the surface brightness of extended ones."""
    path = tmp_path / "a_x1d.fits"
    with fits.open(SPECTRA / ONE_EACH[5]) as hdus:
        hdus[1].header["SRCTYPE"] = "POINT"
        hdus.writeto(path)
    ours = Spectrum.read(path, format="specalign x1d")
    theirs = Spectrum.read(path, format="JWST x1d")
    good = ~ours.mask
    assert (ours.spectral_axis.value == theirs.spectral_axis.value).all()
    assert (ours.flux.value == theirs.flux.value)[good].all()
    np.testing.assert_allclose(ours.uncertainty.array[good], theirs.uncertainty.array[good] ** -2.0, rtol=1e-12)


@pytest.mark.parametrize("name", ["2M17334253-1654573", "2M19535443+4424541"])
def test_both_products_of_a_star_are_at_rest(name):
    """Lines of apStar and aspcapStar lie at the same pixels, though the star recedes at -73 or 10 km/s."""
    folder = SPECTRA / "apogee"
    star = READERS["apogee"](folder / f"apStar-r6-{name}.fits")[0]
    pipeline = READERS["apogee"](folder / f"aspcapStar-r6-l30e.2-{name}.fits")[0]
    assert (star.spectral_axis.value == pipeline.spectral_axis.value).all()
    assert star.meta["object_id"] == pipeline.meta["object_id"] == name
    window = slice(3700, 6000)
    lines = [median_normalized(s.flux.value[window]) for s in (star, pipeline)]
    error = pipeline.uncertainty.array[window].clip(1e-9) ** -0.5
    scatter = []
    for shift in (-2, -1, 0, 1, 2):
        good = ~star.mask[window] & ~np.roll(pipeline.mask[window], shift) & (error < 0.05)
        scatter.append(np.std((lines[0] - np.roll(lines[1], shift))[good]))
    assert np.argmin(scatter) == 2
    assert scatter[2] < np.median(error[good])


def median_normalized(flux):
    continuum = median_filter(flux, 201)
    return flux / np.where(continuum > 0, continuum, np.inf)


def test_visits_of_real_stars():
    folder = SPECTRA / "apogee"
    numbers = {path.name: len(READERS["apogee"](path, visits="all")) for path in sorted(folder.glob("apStar*"))}
    assert list(numbers.values()) == [3, 1, 3, 2, 2]


def test_the_empty_visit_is_read_all_masked():
    """The combined row of this file is sound; the row of its only visit is zero, with zero errors."""
    path = SPECTRA / "bad" / "apStar-all-zero-flux.fits"
    (visit,) = READERS["apogee"](path, visits="all")
    assert visit.mask.all()
    assert not visit.uncertainty.array.any()
    (combined,) = READERS["apogee"](path)
    good = ~combined.mask
    assert np.median(combined.flux.value[good] * combined.uncertainty.array[good] ** 0.5) > 100


def test_pypeit_rows_and_traces():
    spectra = READERS["nirspec"](SPECTRA / ONE_EACH[4])
    assert [s.meta["n_dropped"] for s in spectra] == [180, 180]
    assert [s.meta["n_traces"] for s in spectra] == [2, 2]
    assert [int((~s.mask).sum()) for s in spectra] == [2269, 552]
    single = READERS["nirspec"](SPECTRA / "nirspec" / "spec1d_jw02609006001_03101_00002_source_2609_19.fits")
    assert [s.meta["n_traces"] for s in single] == [1]
    assert [s.meta["object_id"] for s in single] == ["2609_19"]


@pytest.mark.parametrize(
    ("setting", "n_rows", "n_good", "n_unreliable"), [("g140h-f100lp", 5383, 3533, 6), ("prism-clear", 435, 422, 0)]
)
def test_msaexp_files(setting, n_rows, n_good, n_unreliable):
    path = SPECTRA / "nirspec" / f"calib_{setting}_iras-05248-7007_s200a1.v1.spec.fits.gz"
    (spectrum,) = READERS["nirspec"](path)
    meta = spectrum.meta
    assert (spectrum.flux.unit, spectrum.spectral_axis.unit) == (u.uJy, u.um)
    assert (len(spectrum.flux), int((~spectrum.mask).sum()), meta["n_dropped"]) == (n_rows, n_good, 0)
    assert f"{meta['disperser']}-{meta['filter']}" == setting
    assert meta["object_id"] == "iras-05248-7007_s200a1"
    assert (meta["quality"] >> meta["quality_bits"]["UNRELIABLE_ERROR"] & 1).sum() == n_unreliable
    with fits.open(path) as hdus:
        table, good = hdus["SPEC1D"].data, ~spectrum.mask
        assert (spectrum.flux.value[good] == table["flux"][good]).all()
        np.testing.assert_allclose(spectrum.uncertainty.array[good], table["err"][good] ** -2.0, rtol=1e-12)


@pytest.mark.parametrize("line", [10052.13, 10941.09, 12821.58, 17366.85])
def test_lines_of_a_nebula_are_where_vacuum_puts_them(line):
    """SMP LMC 58 recedes at 295 +- 23 km/s (Reid & Parker 2006, MNRAS 373, 521); air would shift its lines by -82."""
    path = SPECTRA / "nirspec" / "calib_g140h-f100lp_iras-05248-7007_s200a1.v1.spec.fits.gz"
    (spectrum,) = READERS["nirspec"](path)
    wavelength = spectrum.spectral_axis.to_value(u.AA)
    near = np.abs(wavelength / line / (1 + 280 / 299792.458) - 1) < 5e-4
    weight = spectrum.flux.value[near] - np.median(spectrum.flux.value[np.abs(wavelength / line - 1) < 4e-3])
    velocity = ((weight * wavelength[near]).sum() / weight.sum() / line - 1) * 299792.458
    assert 250 < velocity < 340


def test_lamost_files_that_lack_a_name_or_a_velocity():
    spectra = [s for path in sorted((SPECTRA / "lamost_lrs").glob("*.fits*")) for s in READERS["lamost"](path)]
    without = [s for s in spectra if s.meta["radial_velocity"] is None]
    assert len(without) == 2
    unnamed = [s.meta["spectrum_id"] for s in spectra if s.meta["spectrum_id"].count("-") > 1]
    assert unnamed == [
        "lamost-55939-GAC_061N46_V3-7-78",
        "lamost-56309-GAC088N20V1-8-126",
        "lamost-56769-HD184250N365730V-16-27",
    ]
    undocumented = [
        s
        for s in spectra
        if "OR_UNDOCUMENTED" in decode(np.bitwise_or.reduce(s.meta["quality"]), s.meta["quality_bits"])
    ]
    assert len(undocumented) == 3


def test_arms_and_exposures_of_medium_resolution():
    numbers = [(len(READERS["lamost"](p)), len(READERS["lamost"](p, visits="all"))) for p in sorted(MRS.iterdir())]
    assert numbers == [(2, 18), (2, 10), (2, 14)]
    bright = READERS["lamost"](sorted(MRS.iterdir())[-1])
    assert [(s.meta["arm"], s.meta["snr"]) for s in bright] == [("B", 120.75), ("R", 280.75)]
    medium = get_instrument("lamost", mode="mrs")
    with pytest.warns(VelocityWarning, match="barycentric"):
        prepared = medium.prepare(bright)
    shares = (~prepared.mask).mean(axis=1)
    assert (len(prepared), len(prepared.rejected)) == (2, 0)
    assert shares == pytest.approx([0.5, 0.5], abs=0.02)


def test_xp_sources_without_bp():
    folder = SPECTRA / "gaia_xp"
    for kind in ("csv", "fits"):
        spectra = READERS["gaia_xp"](folder / f"XP_CONTINUOUS_RAW_with_missing_BP.{kind}")
        assert [int(s.mask.sum()) for s in spectra] == [0, 55, 0]


@pytest.mark.parametrize("kind", ["ecsv", "fits", "xml"])
def test_every_format_of_one_table_gives_the_same(kind):
    text, table = (READERS["gaia_xp"](SPECTRA / "gaia_xp" / f"XP_CONTINUOUS_RAW.{one}") for one in ("csv", kind))
    for one, other in zip(text, table, strict=True):
        assert one.meta["object_id"] == other.meta["object_id"]
        assert (one.flux.value == other.flux.value).all()
        np.testing.assert_allclose(one.meta["coefficient_error"], other.meta["coefficient_error"], rtol=1e-6)
        for a, b in zip(one.meta["coefficient_correlation"], other.meta["coefficient_correlation"], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
            assert np.linalg.eigvalsh(a).min() > 0


def test_both_archives_of_one_source_give_the_same():
    paths = [
        SPECTRA / "gaia_xp" / f"gaia_dr3_source_id_5937083312263887616_dl_products_{k}.zip" for k in ("fits", "vot")
    ]
    found = []
    for path in paths:
        with pytest.warns(SkippedProductWarning, match=r"and left MCMC_MSC-Gaia DR3 5937083312263887616\.\w+$"):
            found.append(contents(READERS["gaia_xp"](path)))
    assert found[0] == found[1]
    assert [one[-1] for one in found[0]] == ["xp-sampled-5937083312263887616", "xp-continuous-5937083312263887616"]
