"""Which files a folder, a name and a pattern stand for."""

import pytest

from specalign.io.gaia_formats import ENDINGS as GAIA_ENDINGS
from specalign.io.paths import ENDINGS, OWN_TABLES, expand


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_a_folder_stands_for_every_format_that_a_reader_takes(tmp_path):
    names = [f"inner/a{ending}" for ending in (*GAIA_ENDINGS, *ENDINGS, ".FITS", ".Ecsv")]
    fill(tmp_path, *names, "README.txt", "figure.png", "notes.json")
    assert {path.relative_to(tmp_path).as_posix() for path in expand([tmp_path])} == set(names)


@pytest.mark.parametrize("name", OWN_TABLES)
def test_tables_that_the_package_wrote_are_no_spectra_of_a_folder_but_are_taken_by_name(tmp_path, name):
    fill(tmp_path, name, "inner/" + name, "inner/XP.ecsv", "my_" + name)
    assert [path.name for path in expand([tmp_path])] == ["XP.ecsv", "my_" + name]
    assert expand([tmp_path / name]) == [tmp_path / name]
    assert expand([f"{tmp_path}/*/{name}"]) == [tmp_path / "inner" / name]


def test_files_come_once_and_what_is_not_there_is_named(tmp_path):
    fill(tmp_path, "b.fits", "a.fits")
    assert [path.name for path in expand([tmp_path / "b.fits", tmp_path])] == ["b.fits", "a.fits"]
    with pytest.raises(FileNotFoundError, match=r"a folder with \.fits, .* files or a pattern: '.*none'"):
        expand([tmp_path / "none"])
