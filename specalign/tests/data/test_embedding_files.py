"""Embeddings in every format: exact, whole, and known by ending and by content."""

import io
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table

from specalign import EmbeddingTable
from specalign.exceptions import CorruptFileError, MissingExtraError, SpectrumError, UnknownProductError

FORMATS = ("fits", "ecsv", "parquet")


def make(names=("β Pic", 'b,"q"', "c d"), **options):
    rng = np.random.default_rng(3)
    n = len(names)
    snr = np.linspace(1, 90, n) / 3
    snr[:1] = np.nan
    values = {"in_domain": rng.random(n) > 0.5, "concentration": rng.random(n), "blocks": {"shared": (0, 2)}} | options
    provenance = {"space": "5a" * 32, "grids": {"apogee": "0" * 64}}
    ids = list(names)
    return EmbeddingTable(
        rng.normal(size=(n, 4)), ids, ids, "apogee", snr, rng.random(n), provenance=provenance, **values
    )


def assert_same(one, other):
    for name in EmbeddingTable._ROWS:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype.kind == b.dtype.kind
            assert a.tobytes() == b.tobytes() if a.dtype.kind == "f" else np.array_equal(a, b)
    assert (one.provenance, one.blocks) == (other.provenance, other.blocks)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"in_domain": None, "concentration": None, "blocks": {}},
        {"latent_mean": [[0.5, -1], [2, 3], [0, 0]], "latent_variance": [[0.1, 4], [1e-4, 1e4], [1, 1]]},
        {"latent_mean": [[0.5], [2], [0]], "latent_variance": [[0.1], [1e-4], [1]]},
    ],
)
def test_a_round_trip_changes_no_bit(form, options, tmp_path):
    table = make(**options)
    table.write(tmp_path / f"table.{form}")
    assert_same(EmbeddingTable.read(tmp_path / f"table.{form}"), table)
    table.write(tmp_path / "table.dat", format=form)
    assert_same(EmbeddingTable.read(tmp_path / "table.dat"), table)
    assert_same(EmbeddingTable.read(str(tmp_path / "table.dat"), format=form), table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.dat", f"table.{form}"]


def test_the_content_counts_more_than_the_ending(tmp_path):
    make().write(tmp_path / "table.ecsv", format="fits")
    assert_same(EmbeddingTable.read(tmp_path / "table.ecsv"), make())


@pytest.mark.parametrize(("form", "other"), [("fits", "ecsv"), ("ecsv", "parquet"), ("parquet", "fits")])
def test_a_wrong_format_is_not_taken_for_damage(form, other, tmp_path):
    make().write(tmp_path / "table.dat", format=form)
    with pytest.raises(UnknownProductError, match=f"table.dat: this is a {form} file, and format='{other}' was asked"):
        EmbeddingTable.read(tmp_path / "table.dat", format=other)


def test_a_tilde_that_is_nobodys_belongs_to_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().write("~nobody at all.fits")
    assert_same(EmbeddingTable.read("~nobody at all.fits"), make())
    assert [path.name for path in tmp_path.iterdir()] == ["~nobody at all.fits"]


def test_a_disk_that_fills_up_within_an_array_is_named(tmp_path, monkeypatch):
    path = tmp_path / "table.fits"
    make().write(path)

    def full(*args, **options):
        raise OSError("65520 requested and 28720 written")

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(OSError, match=r"table.fits: 65520 requested and 28720 written \(while writing; nothing was"):
        make(("a",)).write(path, overwrite=True)
    assert_same(EmbeddingTable.read(path), make())


def test_facts_that_do_not_fit_are_damage(tmp_path):
    """Written anew without checksums."""
    make().write(tmp_path / "a.fits")
    for facts in (b'{"blocks": []}', b'{"vectors": 1, "snr": 2, "other": 3}', b"[]"):
        with fits.open(tmp_path / "a.fits", memmap=False) as hdus:
            plain = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(hdus[1].data, name="EMBEDDINGS")])
            plain[0].header["CONTENT"], plain[1].header["DIMENSIO"] = hdus[0].header["CONTENT"], 4
            plain.append(fits.ImageHDU(np.frombuffer(facts, np.uint8), name="META"))
            plain.writeto(tmp_path / "b.fits", overwrite=True)
        with pytest.raises(CorruptFileError, match=r"b\.fits"):
            EmbeddingTable.read(tmp_path / "b.fits")


def test_a_packed_file_is_read(tmp_path):
    make().write(tmp_path / "table.fits.gz")
    assert (tmp_path / "table.fits.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert_same(EmbeddingTable.read(tmp_path / "table.fits.gz"), make())


@pytest.mark.parametrize("form", FORMATS)
def test_astropy_reads_them_as_tables(form, tmp_path):
    make().write(tmp_path / f"table.{form}")
    table = Table.read(
        tmp_path / f"table.{form}",
        format={"ecsv": "ascii.ecsv"}.get(form, form),
        **({"hdu": 1} if form == "fits" else {}),
    )
    assert table["vectors"].shape == (3, 4)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_there_stays(form, tmp_path):
    path = tmp_path / f"table.{form}"
    make().write(path)
    with pytest.raises(FileExistsError, match=f"table.{form}.*overwrite=True"):
        make(("a",)).write(path)
    assert_same(EmbeddingTable.read(path), make())
    make(("a",)).write(path, overwrite=True)
    assert len(EmbeddingTable.read(path)) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_cannot_be_written_leaves_nothing(form, tmp_path):
    with pytest.raises(SpectrumError, match="provenance"):
        make().__class__([[1.0]], "a", "a", "x", 1, 1, provenance={"space": object()}).write(tmp_path / f"a.{form}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["ecsv", "parquet"])
def test_damage_is_found_wherever_it_is(form, tmp_path):
    path = tmp_path / f"table.{form}"
    make().write(path)
    whole, found = path.read_bytes(), 0
    for place in np.linspace(10, len(whole) - 2, 40).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 3]) + whole[place + 1 :])
        try:
            assert_same(EmbeddingTable.read(path), make())  # in what a parquet file says of its own writer
        except (CorruptFileError, UnknownProductError) as error:
            assert str(path) in str(error)  # noqa: PT017
            found += 1
    assert found >= 20


@pytest.mark.parametrize("form", FORMATS)
def test_truncation_is_found(form, tmp_path):
    path = tmp_path / f"table.{form}"
    make().write(path)
    whole = path.read_bytes()
    for part in (0.1, 0.3, 0.6):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises((CorruptFileError, UnknownProductError), match=f"table.{form}"):
            EmbeddingTable.read(path)


def test_a_lost_row_is_found(tmp_path):
    path = tmp_path / "table.ecsv"
    make().write(path)
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    with pytest.raises(CorruptFileError, match="its 2 rows do not have the digest"):
        EmbeddingTable.read(path)


def test_other_files_are_refused(tmp_path):
    QTable({"a": [1]}).write(tmp_path / "other.ecsv")
    with pytest.raises(UnknownProductError, match=r"other.ecsv: expected 'specalign embeddings 1'.*from_table"):
        EmbeddingTable.read(tmp_path / "other.ecsv")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnknownProductError, match=r"notes.txt: EmbeddingTable has the formats ecsv \(.ecsv\), fits"):
        EmbeddingTable.read(tmp_path / "notes.txt")
    with pytest.raises(UnknownProductError, match=r"table.hdf5.*parquet.*pass format"):
        make().write(tmp_path / "table.hdf5")
    with pytest.raises(UnknownProductError, match="got 'pickle'"):
        make().write(tmp_path / "table.fits", format="pickle")
    with pytest.raises(FileNotFoundError, match=r"absent.fits: no such file"):
        EmbeddingTable.read(tmp_path / "absent.fits")
    with pytest.raises(IsADirectoryError):
        EmbeddingTable.read(tmp_path)


def test_text_that_a_format_does_not_keep_is_refused(tmp_path):
    with pytest.raises(SpectrumError, match=r"object_id: 'e ' ends with a blank"):
        make(("e ",)).write(tmp_path / "a.fits")
    for names in (("e ",), ("a\nb",), ()):
        with pytest.raises(SpectrumError, match="ECSV does not keep"):
            make(names).write(tmp_path / "a.ecsv")
    assert list(tmp_path.iterdir()) == []
    make(("e ", "a\nb")).write(tmp_path / "a.parquet")
    assert_same(EmbeddingTable.read(tmp_path / "a.parquet"), make(("e ", "a\nb")))


def test_parquet_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"a.parquet.*pip install pyarrow"):
        make().write(tmp_path / "a.parquet")


@pytest.mark.parametrize("form", FORMATS)
def test_help_tells_what_is_in_a_file(form):
    for method in (EmbeddingTable.read, EmbeddingTable.write):
        out = io.StringIO()
        method.help(form, out=out)
        assert "provenance" in out.getvalue()


def test_a_table_of_ones_own():
    rows = QTable({"object_id": ["a"], "spectrum_id": ["a-1"], "instrument": ["desi"], "vectors": [[3.0, 4.0]]})
    with pytest.raises(SpectrumError, match="there is no snr, good_fraction"):
        EmbeddingTable.from_table(rows)
    rows["snr"], rows["good_fraction"] = [5.0], [1.0]
    table = EmbeddingTable.from_table(rows)
    assert table.space == ""
    assert table.vectors.tolist() == [[np.float32(0.6), np.float32(0.8)]]
    assert_same(EmbeddingTable.from_table(make().to_table()), make())


def test_checksums_are_in_the_file(tmp_path):
    make().write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        assert all("CHECKSUM" in hdu.header for hdu in hdus)
