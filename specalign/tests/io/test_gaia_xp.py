"""Gaia XP: coefficients and samples, from every format of the archive."""

import builtins

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from specalign.exceptions import CorruptFileError, MissingExtraError, SpectrumUnitError, UnknownProductError
from specalign.io.gaia_xp import SAMPLING, correlation_matrix, read
from specalign.io.quality import decode
from specalign.tests.io import synthetic
from specalign.tests.io.damage import contents


def to_ecsv(path):
    """The csv file in the archive's other dialect: comments, arrays in square brackets, null."""
    text = path.read_text().replace("(", "[").replace(")", "]").replace(",,", ",null,").replace(",,", ",null,")
    target = path.with_suffix(".ecsv")
    target.write_text("# %ECSV 1.0\n# ---\n# delimiter: ','\n" + text)
    return target


def to_parquet(path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = []
    for source in (11, 22):
        row = {"source_id": source}
        for i, band in enumerate(("bp", "rp")):
            values, errors, correlations = synthetic.xp_arrays(seed=source + i)
            row |= {f"{band}_coefficients": values.tolist(), f"{band}_coefficient_errors": errors.tolist()}
            row[f"{band}_coefficient_correlations"] = str(tuple(correlations.tolist()))
        rows.append(row)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def continuous(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "ecsv":
        synthetic.xp_continuous_csv(tmp_path / "a.csv")
        return to_ecsv(tmp_path / "a.csv")
    if kind == "parquet":
        return to_parquet(path)
    {"csv": synthetic.xp_continuous_csv, "fits": synthetic.xp_continuous_fits}[kind](path)
    return path


@pytest.mark.parametrize("kind", ["csv", "ecsv", "fits", "parquet"])
def test_coefficients_with_errors_and_correlations(kind, tmp_path):
    path = continuous(tmp_path, kind)
    spectra = read(str(path))
    assert [s.meta["object_id"] for s in spectra] == ["11", "22"]
    for source, spectrum in zip((11, 22), spectra, strict=True):
        bp, rp = synthetic.xp_arrays(seed=source), synthetic.xp_arrays(seed=source + 1)
        assert spectrum.flux.value.tolist() == [*bp[0], *rp[0]]
        assert spectrum.spectral_axis.value.tolist() == list(range(110))
        assert spectrum.meta["coefficient_error"].tolist() == [*bp[1], *rp[1]]
        np.testing.assert_allclose(spectrum.uncertainty.array, spectrum.meta["coefficient_error"] ** -2.0, rtol=1e-14)
        for found, expected in zip(spectrum.meta["coefficient_correlation"], (bp[2], rp[2]), strict=True):
            assert found.tolist() == correlation_matrix(expected, 55).tolist()
        assert not spectrum.mask.any()
        meta = spectrum.meta
        assert (meta["product"], meta["axis_kind"], meta["frame"]) == ("xp-continuous", "coefficient", "barycentric")
        assert meta["spectrum_id"] == f"xp-continuous-{source}"


def test_the_packing_of_correlations():
    n = 6
    matrix = correlation_matrix(np.arange(15.0) / 100, n)
    assert matrix.tolist() == matrix.T.tolist()
    assert np.diag(matrix).tolist() == [1] * n
    columns = [matrix[:j, j] for j in range(1, n)]  # above the diagonal, column by column
    assert np.concatenate(columns).tolist() == (np.arange(15.0) / 100).tolist()


def test_the_packing_is_that_of_gaiaxpy():
    with pytest.importorskip("matplotlib").rc_context(), np.printoptions():  # which GaiaXPy changes
        functions = pytest.importorskip("gaiaxpy.core.generic_functions", exc_type=ImportError)
    packed = synthetic.xp_arrays()[2]
    assert correlation_matrix(packed, 55).tolist() == functions.array_to_symmetric_matrix(packed, 55).tolist()


def test_a_column_a_coefficient(tmp_path):
    synthetic.xp_combined_fits(tmp_path / "a.fits")
    spectra = read(tmp_path / "a.fits")
    assert [s.meta["object_id"] for s in spectra] == ["11", "22"]
    bp, rp = synthetic.xp_arrays(seed=22), synthetic.xp_arrays(seed=23)
    assert spectra[1].flux.value.tolist() == [*bp[0], *rp[0]]
    assert spectra[1].meta["coefficient_error"].tolist() == [*bp[1], *rp[1]]
    assert spectra[1].meta["coefficient_correlation"] is None
    assert "bp_coeff_0" not in spectra[0].meta["header"]


@pytest.mark.parametrize("kind", ["csv", "ecsv", "fits"])
def test_a_source_without_bp_is_read_and_flagged(kind, tmp_path):
    path = tmp_path / ("a.fits" if kind == "fits" else "a.csv")
    write = synthetic.xp_continuous_fits if kind == "fits" else synthetic.xp_continuous_csv
    write(path, sources=(11, 33), without_bp=(33,))
    whole, lacking = read(to_ecsv(path) if kind == "ecsv" else path)
    assert not whole.mask.any()
    assert lacking.mask.tolist() == [True] * 55 + [False] * 55
    bits = lacking.meta["quality_bits"]
    assert [decode(lacking.meta["quality"][i], bits) for i in (0, 54, 55)] == [["MISSING_BP"], ["MISSING_BP"], []]
    assert lacking.uncertainty.array[:55].tolist() == [0] * 55
    assert np.isnan(lacking.meta["coefficient_error"][:55]).all()
    assert np.isnan(lacking.meta["coefficient_correlation"][0]).all()
    assert np.isfinite(lacking.meta["coefficient_correlation"][1]).all()


def test_a_lost_band_is_not_an_absent_one(tmp_path):
    path = tmp_path / "a.csv"
    synthetic.xp_continuous_csv(path, sources=(33,), without_bp=(33,))
    path.write_text(path.read_text().replace("\n33,,", "\n33,55,"))
    with pytest.raises(CorruptFileError, match="source 33 states 55 parameters of BP, and has none"):
        read(path)


@pytest.mark.parametrize("kind", ["csv", "ecsv", "fits"])
def test_samples(kind, tmp_path):
    path = tmp_path / ("a.fits" if kind == "fits" else "a.csv")
    (synthetic.xp_sampled_fits if kind == "fits" else synthetic.xp_sampled_csv)(path)
    (spectrum,) = read(to_ecsv(path) if kind == "ecsv" else path)
    assert spectrum.flux.unit == u.W / u.m**2 / u.nm
    assert (spectrum.spectral_axis.unit, SAMPLING.size) == (u.nm, 343)
    assert spectrum.spectral_axis.value[[0, 1, -1]].tolist() == [336, 338, 1020]
    np.testing.assert_allclose(spectrum.flux.value, np.linspace(1, 2, 343) * 1e-16, rtol=1e-6)
    np.testing.assert_allclose(spectrum.uncertainty.array**-0.5, spectrum.flux.value / 10, rtol=1e-6)
    assert (spectrum.meta["product"], spectrum.meta["object_id"]) == ("xp-sampled", "6")
    assert (spectrum.meta["medium"], spectrum.meta["axis_kind"]) == ("vacuum", "wavelength")


@pytest.mark.parametrize(("unit", "right"), [("W.m**-2.nm**-1", True), (None, True), ("m", False), ("parrot", False)])
def test_the_unit_of_samples(unit, right, tmp_path):
    path = tmp_path / "a.fits"
    synthetic.xp_sampled_fits(path, unit=unit)
    if right:
        assert len(read(path)) == 1
    else:
        with pytest.raises(SpectrumUnitError, match=rf"the flux has the unit '{unit}'; expected W"):
            read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(", "(1.0, ", r"source 11: bp_coefficients has \(56,\) values, and 55 were expected"),
        ("(", "", r"row 0, column bp_coefficients: the array .* is not closed"),
        ("(", "(x", r"row 0, column bp_coefficients: could not convert"),
        ("11,", "eleven,", "source_id is 'eleven', and an integer was expected"),
        ("11,", "11,1,", "row 0 has 10 cells, and the header names 9 columns"),
    ],
)
def test_damaged_rows_are_named(old, new, message, tmp_path):
    path = tmp_path / "a.csv"
    synthetic.xp_continuous_csv(path)
    head, rest = path.read_text().split("\n", 1)
    path.write_text(head + "\n" + rest.replace(old, new, 1))
    with pytest.raises(CorruptFileError, match=f"a.csv: {message}"):
        read(path)


def test_a_table_without_rows(tmp_path):
    path = tmp_path / "a.csv"
    synthetic.xp_continuous_csv(path, sources=())
    with pytest.raises(CorruptFileError, match="the table has no row"):
        read(path)


def test_tables_and_files_of_something_else(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("star,name\n1,[B2010] C26202\n")
    with pytest.raises(UnknownProductError, match=r"without XP spectra \(columns star, name.*reads xp-continuous"):
        read(path)
    fits.HDUList([fits.PrimaryHDU(np.ones(2))]).writeto(tmp_path / "a.fits")
    with pytest.raises(UnknownProductError, match="the gaia_xp reader reads xp-continuous, xp-sampled"):
        read(tmp_path / "a.fits")
    (tmp_path / "a.txt").write_text("source_id\n")
    with pytest.raises(UnknownProductError, match=r"ends with '.txt'; expected .*'.csv'"):
        read(tmp_path / "a.txt")
    (tmp_path / "a.xml").write_text("<VOTABLE/>\n")
    with pytest.raises(UnknownProductError, match="found a VOTable without a table"):
        read(tmp_path / "a.xml")


def test_a_packed_table(tmp_path):
    import gzip

    path = tmp_path / "a.csv"
    synthetic.xp_continuous_csv(path)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert contents(read(packed)) == contents(read(path))
    raw = packed.read_bytes()
    for size in (1, 10, len(raw) // 2, len(raw) - 1):
        packed.write_bytes(raw[:size])
        with pytest.raises(CorruptFileError, match=r"a.csv.gz"):
            read(packed)


def test_cut_parquet(tmp_path):
    path = to_parquet(tmp_path / "a.parquet")
    raw = path.read_bytes()
    for size in (0, 3, 4, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:size])
        with pytest.raises(CorruptFileError, match=r"a.parquet: the parquet table cannot be read"):
            read(path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="pip install pyarrow"):
        read(tmp_path / "a.parquet")
