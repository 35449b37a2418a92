"""Zip archives: only what is wanted, only in memory, and no size believed."""

import io
import os
import stat
import zipfile

import numpy as np
import pytest

from specalign.exceptions import CorruptFileError, UnknownProductError
from specalign.io import archives, files
from specalign.io.archives import read_members
from specalign.tests.io import votables

NOISE = np.random.default_rng(0).bytes(500)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def everything(name):
    return True


def test_members_and_what_is_left(path):
    votables.archive(path, {"XP a.csv": NOISE, "folder/XP b.csv": b"b", "RVS.csv": b"c", "folder/": b""})
    members, others = read_members(path, lambda name: "XP" in name)
    assert members == [("XP a.csv", NOISE), ("folder/XP b.csv", b"b")]
    assert others == ["RVS.csv"]


def test_nothing_is_written(path, monkeypatch):
    votables.archive(path, {"a": NOISE})
    before = sorted(os.listdir(path.parent))
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    read_members(path, everything)
    assert sorted(os.listdir(path.parent)) == before


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "C:\\a", "..\\a", "a\0b"])
def test_names_that_point_outside(name, path):
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("harmless")
        info.filename = name  # past the constructor, which would tidy it up
        archive.writestr(info, b"1")
    with pytest.raises(CorruptFileError, match=r"a\.zip: the member .* points outside the archive"):
        read_members(path, everything)


def test_a_link(path):
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(CorruptFileError, match=r"the member 'a' is a link"):
        read_members(path, everything)


def test_a_bomb_is_refused_before_it_is_unpacked(path, monkeypatch):
    monkeypatch.setattr(files, "SMALL", 1000)
    votables.archive(path, {"a": bytes(10**6), "b": b"1"})
    monkeypatch.setattr(archives, "_content", None)
    with pytest.raises(CorruptFileError, match=r"its members state 1000001 bytes, and not more than \d+ are plausible"):
        read_members(path, everything)


def test_a_bomb_that_is_not_wanted_is_left(path, monkeypatch):
    monkeypatch.setattr(files, "SMALL", 1000)
    votables.archive(path, {"a": bytes(10**6), "b": b"1"})
    assert read_members(path, lambda name: name == "b") == ([("b", b"1")], ["a"])


def test_a_size_that_lies(path):
    votables.archive(path, {"a": NOISE})
    raw = bytearray(path.read_bytes())
    start = raw.index(b"PK\x01\x02")
    raw[start + 24 : start + 28] = (400).to_bytes(4, "little")
    path.write_bytes(bytes(raw))
    with pytest.raises(CorruptFileError, match=r"a\.zip: the zip archive cannot be read"):
        read_members(path, everything)


def test_an_encrypted_member_and_other_packers(path):
    votables.archive(path, {"a": NOISE})
    raw = bytearray(path.read_bytes())
    for start, place in ((raw.index(b"PK\x03\x04"), 6), (raw.index(b"PK\x01\x02"), 8)):
        raw[start + place] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(CorruptFileError, match=r"the member 'a' is encrypted or packed otherwise"):
        read_members(path, everything)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", NOISE)
    with pytest.raises(CorruptFileError, match=r"the member 'a' is encrypted or packed otherwise"):
        read_members(path, everything)


def test_flips_and_cuts(path):
    votables.archive(path, {"a": NOISE})
    raw = path.read_bytes()
    for place in range(0, len(raw), 7):
        damaged = bytearray(raw)
        damaged[place] ^= 4
        path.write_bytes(bytes(damaged))
        try:
            found = [content for _, content in read_members(path, everything)[0]]
        except (CorruptFileError, UnknownProductError) as error:
            found = str(error)
        assert found == [NOISE] or str(path) in found
    for size in range(4, len(raw), 5):
        path.write_bytes(raw[:size])
        with pytest.raises(CorruptFileError, match=r"a\.zip"):
            read_members(path, everything)


def test_what_is_no_archive(path):
    path.write_bytes(b"SIMPLE  =")
    with pytest.raises(UnknownProductError, match=r"not a zip archive: it begins with b'SIMP'"):
        read_members(path, everything)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w"):
        pass
    path.write_bytes(buffer.getvalue())
    assert read_members(path, everything) == ([], [])
