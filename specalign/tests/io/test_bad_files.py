"""Files that are sound and yet no spectrum: of another survey, empty, without a column, with several stars.

Each error names the file, what was expected and what came.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from specalign.exceptions import CorruptFileError, EmptySpectrumError, SpecalignError, UnknownProductError
from specalign.instruments import get_instrument
from specalign.io import READERS
from specalign.tests.io import synthetic

COLUMNS = {
    "mwmstar.fits": (3, ("flux", "ivar", "pixel_flags", "obj", "telescope", "snr", "v_rad")),
    "x1d.fits": (1, ("WAVELENGTH", "FLUX", "FLUX_ERROR", "DQ")),
    "spec1d.fits": (1, ("OPT_WAVE", "OPT_COUNTS", "OPT_COUNTS_IVAR", "OPT_MASK")),
    "msaexp.spec.fits": (1, ("wave", "flux", "err")),
    "coadd.fits": (1, ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK")),
    "mrs.fits": (1, ("FLUX", "IVAR", "LOGLAM", "ANDMASK", "ORMASK")),
}
OF_GAIA = {"xp_continuous.csv": ("source_id", "bp_coefficients"), "xp_sampled.csv": ("source_id", "flux", "flux_error")}
SETTINGS = {"mrs.fits": {"mode": "mrs"}}


def written(name, folder):
    """A whole file and the name of its instrument."""
    instrument, write = synthetic.WRITERS[name]
    write(folder / name)
    return folder / name, instrument


def change_table(path, index, columns=None, rows=slice(None)):
    """Keep some columns and rows of a table, and its header."""
    with fits.open(path) as hdus:
        old = hdus[index]
        data, header = old.data[rows], old.header
        kept = [one for one in old.columns if columns is None or one.name in columns]
        arrays = [fits.Column(one.name, one.format, one.unit, bzero=one.bzero, array=data[one.name]) for one in kept]
        new = fits.BinTableHDU.from_columns(arrays, name=old.name, nrows=len(data))
        new.header.extend((card for card in header.cards if not _of_columns(card.keyword)), unique=True)
        hdus[index] = new
        hdus.writeto(path.with_name("changed.fits"))
    return path.with_name("changed.fits")


def _of_columns(key):
    return key.startswith(("TTYPE", "TFORM", "TUNIT", "TZERO", "TSCAL", "TDIM", "NAXIS", "TFIELDS", "PCOUNT"))


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("name", list(synthetic.WRITERS))
def test_files_of_other_surveys_are_refused_by_name(name, reader, tmp_path):
    path, instrument = written(name, tmp_path)
    if reader == instrument:
        assert READERS[reader](path)
        return
    with pytest.raises(UnknownProductError) as caught:
        get_instrument(reader).read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    if "not a FITS file" in text:
        assert "begins with b'source_id' instead of b'SIMPLE" in text
    else:
        products = ", ".join(product.name for product in get_instrument(reader).products)
        assert "found a " in text
        assert f"the {reader} reader reads {products}. Use the reader of that file's instrument" in text


@pytest.mark.parametrize("name", ["apstar.fits", "x1d.fits", "coadd.fits", "mrs.fits", "xp_sampled.fits"])
@pytest.mark.parametrize("other", list(READERS))
def test_spectra_of_other_surveys_are_not_prepared(name, other, tmp_path):
    path, instrument = written(name, tmp_path)
    if other == instrument:
        return
    spectrum = get_instrument(instrument, **SETTINGS.get(name, {})).read(path)[0]
    target = get_instrument(other)
    message = (
        rf"object '.+': expected a spectrum of {other}, got one of {instrument}; use get_instrument\('{instrument}'\)"
    )
    for step in (target.prepare, target.mask, target.resample):
        with pytest.raises(SpecalignError, match=message):
            step(spectrum)
    rejected = target.prepare([spectrum]).rejected
    assert rejected["spectrum_id"].tolist() == [spectrum.meta["spectrum_id"]]
    assert f"expected a spectrum of {other}, got one of {instrument}" in rejected["reason"][0]


def test_what_says_nothing_of_its_instrument_is_put_on_any_grid(tmp_path):
    path, _ = written("apstar.fits", tmp_path)
    spectrum = READERS["apogee"](path)[0]
    spectrum.meta["instrument"] = None
    assert len(get_instrument("nirspec").prepare([spectrum], object_id=["a"]).rejected) == 1  # too few pixels
    spectrum.meta["instrument"] = "A spectrograph of mine"
    assert "pixels are good" in get_instrument("nirspec").prepare([spectrum]).rejected["reason"][0]
    spectrum.meta["instrument"] = "APOGEE"
    assert get_instrument("apogee").prepare([spectrum]).rejected["reason"][0].startswith("49 of 8575")


@pytest.mark.parametrize(("name", "column"), [(name, column) for name, (_, all_) in COLUMNS.items() for column in all_])
def test_a_table_without_a_column(name, column, tmp_path):
    path, instrument = written(name, tmp_path)
    index, needed = COLUMNS[name]
    path = change_table(path, index, columns=[one for one in needed if one != column])
    with pytest.raises(CorruptFileError, match=rf"lacks the columns {column}: expected .*{column}.*, got ") as caught:
        READERS[instrument](path)
    assert str(path) in str(caught.value)
    got = str(caught.value).split(", got ")[1].split(".")[0].split(", ")
    assert set(got) == set(needed) - {column}


@pytest.mark.parametrize("name", [*COLUMNS, "xp_combined.fits", "xp_sampled.fits"])
def test_a_table_without_a_row(name, tmp_path):
    path, instrument = written(name, tmp_path)
    path = change_table(path, COLUMNS.get(name, (1,))[0], rows=slice(0))
    message = "an mwmStar without APOGEE spectra" if name == "mwmstar.fits" else "has no row"
    with pytest.raises((CorruptFileError, UnknownProductError), match=message) as caught:
        READERS[instrument](path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "column"), [(name, column) for name, columns in OF_GAIA.items() for column in columns]
)
def test_a_table_of_gaia_without_a_column(name, column, tmp_path):
    path, _ = written(name, tmp_path)
    path.write_text(path.read_text().replace(column, f"my_{column}", 1))
    with pytest.raises(UnknownProductError, match=r"expected source_id with bp_coefficients and .*, or with") as caught:
        READERS["gaia_xp"](path)
    assert str(path) in str(caught.value)
    assert f"my_{column}" in str(caught.value)


def test_coefficients_without_errors_are_no_missing_band(tmp_path):
    path, _ = written("xp_continuous.csv", tmp_path)
    path.write_text(path.read_text().replace("bp_coefficient_errors", "my_errors").replace("bp_n_parameters", "n"))
    with pytest.raises(CorruptFileError, match="source 11: bp_coefficients stands alone; expected the values and"):
        READERS["gaia_xp"](path)


def test_a_text_table_without_a_row(tmp_path):
    for name in OF_GAIA:
        path, _ = written(name, tmp_path)
        path.write_text(path.read_text().split("\n")[0] + "\n")
        with pytest.raises(CorruptFileError, match=rf"{name}: the table has no row"):
            READERS["gaia_xp"](path)


def test_a_trace_without_one_wavelength(tmp_path):
    synthetic.spec1d(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        hdus[1].data["OPT_WAVE"] = 0
    with pytest.raises(EmptySpectrumError, match=r"a.fits\[SPAT.*\]: expected wavelengths, got 0 in each of 80 rows"):
        READERS["nirspec"](tmp_path / "a.fits")


@pytest.mark.parametrize("name", ["keck_nirspec_low", "keck_nires", "None"])
def test_pypeit_files_of_other_spectrographs(name, tmp_path):
    synthetic.spec1d(tmp_path / "a.fits", header={"PYP_SPEC": name})
    with pytest.raises(UnknownProductError, match=r"a.fits: found a FITS file .* reads x1d, spec1d, msaexp"):
        READERS["nirspec"](tmp_path / "a.fits")


def test_a_combination_of_the_pipeline(tmp_path):
    synthetic.x1d(tmp_path / "a.fits", header={"DATAMODL": "CombinedSpecModel"})
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        hdus[1].name = "COMBINE1D"
    with pytest.raises(UnknownProductError, match=r"a.fits: found a c1d, .* reads x1d, spec1d, msaexp"):
        READERS["nirspec"](tmp_path / "a.fits")


def test_an_empty_table_beside_full_ones_is_named(tmp_path):
    synthetic.x1d(tmp_path / "a.fits", sources=3)
    path = change_table(tmp_path / "a.fits", 2, rows=slice(0))
    with pytest.raises(CorruptFileError, match=r"changed.fits\[EXTRACT1D,2\]: EXTRACT1D has no row"):
        READERS["nirspec"](path)


def test_several_traces_are_all_read_and_flagged(tmp_path):
    """Which trace of a slit is the star, no file says: every pixel of all of them carries the bit."""
    synthetic.spec1d(tmp_path / "a.fits", traces=3)
    nirspec = get_instrument("nirspec")
    spectra = nirspec.read(tmp_path / "a.fits")
    assert len({spectrum.meta["spectrum_id"] for spectrum in spectra}) == 3
    assert {spectrum.meta["object_id"] for spectrum in spectra} == {"2609_12"}
    bit = 1 << nirspec.quality_bits["MULTIPLE_TRACE"]
    for spectrum in spectra:
        assert spectrum.meta["n_traces"] == 3
        assert (spectrum.meta["quality"] & bit).all()
    nirspec.min_good_fraction = 0.0
    prepared = nirspec.prepare(spectra, radial_velocity=0 * u.km / u.s)
    covered = ~prepared.mask
    assert covered.any()
    assert (prepared.quality[covered] & bit).all()


def test_many_sources_of_an_x1d_have_their_own_names(tmp_path):
    synthetic.x1d(tmp_path / "a.fits", sources=40)
    spectra = READERS["nirspec"](tmp_path / "a.fits")
    assert len(spectra) == 40
    for name in ("object_id", "spectrum_id"):
        assert len({spectrum.meta[name] for spectrum in spectra}) == 40
    assert [spectrum.meta["object_id"] for spectrum in spectra] == [f"2609_{i}" for i in range(1, 41)]
    assert all(np.isfinite(spectrum.flux.value).all() for spectrum in spectra)
