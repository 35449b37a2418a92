"""Files of other kinds are refused, and a written file is all there or not there."""

import errno
import gzip
import os

import pytest

from specalign.exceptions import CorruptFileError, UnknownProductError
from specalign.io import READERS, files
from specalign.io.files import atomic_write, read_text


def test_a_packed_text_that_unpacks_to_far_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SMALL", 1000)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"1\n" * 10**6))
    with pytest.raises(CorruptFileError, match="not plausible"):
        read_text(path)


@pytest.mark.parametrize(
    "content", [b"", b"SIMPLE", b"hello world\n" * 500, bytes(6000), b"\x1f\x8b junk", b"XTENSION=" * 400]
)
@pytest.mark.parametrize("instrument", list(READERS))
def test_junk_of_any_kind(content, instrument, tmp_path):
    for name in ("junk.fits", "junk.fits.gz", "junk.csv", "junk.ecsv", "junk.parquet", "junk"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises((CorruptFileError, UnknownProductError), match=name):
            READERS[instrument](path)


@pytest.mark.parametrize("instrument", list(READERS))
def test_missing_files_and_folders(instrument, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.fits: no such file"):
        READERS[instrument](tmp_path / "absent.fits")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        READERS[instrument](tmp_path)
    with pytest.raises(ValueError, match=r"visits: expected one of .*, got 'each'"):
        READERS[instrument](tmp_path / "absent.fits", visits="each")


def test_text_must_end_with_a_line_break(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2")
    with pytest.raises(CorruptFileError, match="in the middle of a line"):
        read_text(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(CorruptFileError, match="cannot be interpreted"):
        read_text(path)


def test_atomic_write_replaces_whole_files_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def stop(temporary):
        assert temporary.parent == tmp_path
        temporary.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), atomic_write(path) as temporary:
        stop(temporary)
    assert temporary.name.endswith("a.txt")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_atomic_write_names_the_file_and_leaves_the_old_one(call, number, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match=r"nothing was changed.*a.txt") as caught, atomic_write(path) as temporary:
        temporary.write_text("new")
    assert caught.value.errno == number
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_atomic_write_syncs_the_file_before_its_name_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (calls.append("fsync"), sync(descriptor)))
    monkeypatch.setattr(files.os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert calls == ["fsync", "replace", "fsync"]


def test_atomic_write_into_no_folder_or_nothing(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"absent.*a.txt"),
        atomic_write(tmp_path / "absent" / "a.txt") as temporary,
    ):
        temporary.write_text("new")
    with pytest.raises(FileNotFoundError, match=r"a.txt"), atomic_write(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []
