import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from specalign import EmbeddingTable
from specalign.exceptions import CorruptFileError, GridMismatchError, SpectrumError, UnknownProductError

PROVENANCE = {"space": "5a" * 32, "grids": {"apogee": "0c" * 32}, "mask_versions": {"apogee": "1"}, "note": "β"}


def make(n=6, dimensions=5, seed=0, instrument="apogee", **options):
    rng = np.random.default_rng(seed)
    names = [f"star {i}" for i in range(n)]
    rows = [f"{instrument} row {i}" for i in range(n)]
    options = {"provenance": PROVENANCE, **options}
    return EmbeddingTable(
        rng.normal(size=(n, dimensions)), names, rows, instrument, rng.uniform(5, 200, n), 0.9, **options
    )


def assert_same(a, b):
    for name in EmbeddingTable._ROWS:
        mine, theirs = getattr(a, name), getattr(b, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or (np.array_equal(mine, theirs) and mine.dtype.kind == theirs.dtype.kind)
    assert (a.provenance, a.blocks) == (b.provenance, b.blocks)


FULL = {
    "concentration": np.arange(6.0),
    "in_domain": np.array([1, 0, 1, 1, 0, 1], dtype=bool),
    "blocks": {"shared": (0, 3), "private": (3, 5)},
}


@pytest.mark.parametrize("options", [{}, FULL, {"dimensions": 1}, {"n": 1}, {"n": 0}, {"provenance": {}}])
def test_written_tables_come_back_bit_by_bit(tmp_path, options):
    table = make(**options)
    table.write(tmp_path / "table.fits")
    back = EmbeddingTable.read(tmp_path / "table.fits")
    assert_same(table, back)
    assert back.vectors.dtype.isnative
    assert back.snr.dtype.isnative
    assert [path.name for path in tmp_path.iterdir()] == ["table.fits"]


def test_names_need_not_be_ascii(tmp_path):
    table = make(2)
    table.object_id = np.array(["β Pic", "Présence 2"])
    table.write(tmp_path / "table.fits")
    assert list(EmbeddingTable.read(tmp_path / "table.fits").object_id) == ["β Pic", "Présence 2"]


def test_writing_again_replaces(tmp_path):
    make(3).write(tmp_path / "table.fits")
    with pytest.raises(FileExistsError, match=r"table.fits: this file is there already; pass overwrite=True"):
        make(4).write(tmp_path / "table.fits")
    make(4).write(tmp_path / "table.fits", overwrite=True)
    assert len(EmbeddingTable.read(tmp_path / "table.fits")) == 4


def test_every_cut_is_refused(tmp_path):
    path = tmp_path / "table.fits"
    make().write(path)
    content = path.read_bytes()
    cuts = {*range(0, len(content), 2880), *range(1, len(content), 1441)}
    for cut in sorted(cuts):
        path.write_bytes(content[:cut])
        try:
            assert_same(EmbeddingTable.read(path), make())  # a cut within the last padding loses nothing
        except CorruptFileError as error:
            assert "table.fits" in str(error)  # noqa: PT017
        else:
            assert not content[cut:].strip(b"\0")


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("flip") / "table.fits"
    make().write(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises((CorruptFileError, UnknownProductError), match=r"table\.fits"):
        EmbeddingTable.read(path)


def test_another_fits_file_is_refused(tmp_path):
    fits.PrimaryHDU(np.ones(3)).writeto(tmp_path / "image.fits")
    with pytest.raises(UnknownProductError, match=r"image.fits: expected 'specalign embeddings 1', got None"):
        EmbeddingTable.read(tmp_path / "image.fits")


def test_provenance_that_is_not_json_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(SpectrumError, match="provenance: expected plain text"):
        make(provenance={"space": object()}).write(tmp_path / "table.fits")
    assert not list(tmp_path.iterdir())


def test_concatenate_joins_instruments():
    other = make(instrument="nirspec", seed=1, provenance={**PROVENANCE, "grids": {"nirspec": "ff"}})
    joined = EmbeddingTable.concatenate([make(), other])
    assert_same(joined[:6], make(provenance=joined.provenance))
    assert joined.provenance["grids"] == {"apogee": "0c" * 32, "nirspec": "ff"}
    assert joined.provenance["space"] == PROVENANCE["space"]
    assert PROVENANCE["grids"] == {"apogee": "0c" * 32}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"provenance": {**PROVENANCE, "space": "77"}}, "space '5a5a5a5a5a5a' cannot be compared with those of '77'"),
        ({"provenance": {**PROVENANCE, "grids": {"apogee": "77"}}}, "apogee with grids '0c0c0c0c0c0c' .* '77'"),
        ({"provenance": {**PROVENANCE, "mask_versions": {"apogee": "2"}}}, "mask_versions '1' .* '2'"),
        ({"dimensions": 4}, "5 dimensions cannot be compared with those of 4"),
        ({"blocks": {"shared": (0, 5)}}, "blocks"),
    ],
)
def test_what_does_not_fit_is_not_joined(changed, message):
    with pytest.raises(GridMismatchError, match=message):
        EmbeddingTable.concatenate([make(), make(seed=1, **changed)])


def test_a_row_is_joined_only_once():
    with pytest.raises(SpectrumError, match="spectrum_id 'apogee row 0' of apogee occurs twice"):
        EmbeddingTable.concatenate([make(), make()])


def test_half_a_column_is_not_joined():
    with pytest.raises(SpectrumError, match="in_domain is given in part 0, but not in part 1"):
        EmbeddingTable.concatenate([make(in_domain=np.ones(6)), make(instrument="nirspec")])


def test_nothing_is_not_joined():
    with pytest.raises(SpectrumError, match="got none"):
        EmbeddingTable.concatenate([])


@given(seed=st.integers(0, 1000))
def test_slicing_changes_no_bit(seed):
    table = make(50, 17, seed)
    rows = np.random.default_rng(seed).permutation(50)[:20]
    assert np.array_equal(table[rows].vectors, table.vectors[rows])
    assert np.array_equal(table[rows][3].vectors[0], table.vectors[rows[3]])
    assert list(table[-1].spectrum_id) == ["apogee row 49"]
    assert np.allclose(np.linalg.norm(table.vectors.astype(float), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("value", "message"), [(0, "zero or not finite"), (np.nan, "the first in row 2")])
def test_vectors_without_direction_are_refused(value, message):
    vectors = np.ones((4, 3))
    vectors[2] = value
    with pytest.raises(SpectrumError, match=f"{message}.*"):
        EmbeddingTable(vectors, list("abcd"), list("abcd"), "apogee", 1, 1)


@pytest.mark.parametrize("column", ["object_id", "snr", "in_domain", "concentration"])
def test_columns_have_a_value_a_row(column):
    values = {"object_id": list("abcd"), "snr": np.ones(4)} | {column: np.ones(3)}
    with pytest.raises(SpectrumError, match=f"{column}: expected 4 rows"):
        EmbeddingTable(np.ones((4, 3)), spectrum_id=list("abcd"), instrument="x", good_fraction=1, **values)


def test_html_names_instruments_and_escapes():
    table = make(3, instrument="<apogee>")
    text = table._repr_html_()
    assert "&lt;apogee&gt;" in text
    assert "<apogee>" not in text
    assert "5a5a5a5a5a5a" in text
