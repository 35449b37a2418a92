"""Servers that are hostile or broken, and caches that somebody changed: nothing hangs, and nothing is lost silently."""

import gzip
import json
import os
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from specalign.exceptions import FetchError
from specalign.fetch import Session, apogee, cache, download, lamost, nirspec
from specalign.fetch.connection import HEAD, _Steady
from specalign.fetch.identifiers import unique_ids
from specalign.tests.fetch.server import HTML, abort, cut, other, status
from specalign.tests.io.synthetic import lamost_coadd

ADDRESS = "/dr10/v2.0/lrs/spectrum/fits"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "a.fits"
    lamost_coadd(path, header={"OBSID": -1})  # fits any obsid
    return path.read_bytes()


@pytest.fixture
def get(server, session):
    return lambda obsids=7, **options: lamost(obsids, **{"session": session, "base_url": server.url, **options})[0]


def raw(*pieces, endless=b""):
    """A fault: bytes as they are, and then one piece again and again until nobody listens."""

    def send(handler, resource):
        handler.wfile.write(b"".join(pieces))
        while endless:
            handler.wfile.write(endless)

    return send


def chunked(content, end=b"0\r\n\r\n", **headers):
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()).encode()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + named + b"\r\n"
    return raw(head, f"{len(content):x}\r\n".encode(), content, b"\r\n", end)


@pytest.mark.parametrize("length", ["abc", "\xb2", "-5", "", "1e9"])
def test_a_length_that_is_none_is_not_believed(length, server, content, get):
    server.add(ADDRESS, content, faults=[status(200, content, Content_Length=length)])
    assert get()["status"] == "downloaded"


def test_a_length_that_no_file_has_is_refused_at_once(server, content, get, session):
    server.add(ADDRESS, content, faults=[status(200, content, Content_Length=str(10**14))])
    assert "larger than" in get()["reason"]
    assert not [path for path in session.cache.folder.rglob("*") if path.is_file()]


def test_a_body_without_end_is_left(server, get, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 2**18)
    server.add(ADDRESS, b"", faults=[raw(b"HTTP/1.0 200 OK\r\n\r\n", endless=b"SIMPLE  =" * 1000)])
    assert get()["reason"] == "the file is larger than 262144 bytes"


@pytest.mark.parametrize(
    "flood",
    [
        raw(b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        raw(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", endless=b"x" * 1000),
        raw(b"HTTP/1.1 200 OK\r\n", endless=b"X: y\r\n" * 100),
        raw(b"", endless=b"x" * 1000),
    ],
    ids=["continue", "redirect", "headers", "status line"],
)
def test_a_flood_that_is_no_file_is_left(flood, server, get, make_session):
    server.add(ADDRESS, b"", faults=[flood])
    row = get(session=make_session(retries=0))
    assert row["status"] == "failed"
    assert "was lost" in row["reason"]


@pytest.mark.parametrize("head", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 9999\r\n\r\n"], ids=["head", "body"])
def test_a_drip_counts_as_lost(head, server, clock, get, make_session):
    def drip(handler, resource):
        handler.wfile.write(head)
        for _ in range(1000):
            handler.wfile.write(b"S")
            handler.wfile.flush()
            clock.sleep(20)
            drop.wait(0.001)

    drop = threading.Event()
    server.add(ADDRESS, b"", faults=[drip])
    row = get(session=make_session(retries=0))
    assert row["status"] == "failed"
    assert "bytes came in" in row["reason"]


def test_slow_and_steady_is_no_drip():
    seconds = iter(np.arange(100) * 10.0)
    steady = _Steady(SimpleNamespace(readinto=len), 60.0, lambda: next(seconds))
    steady.room = None
    assert sum(steady.readinto(bytearray(15000)) for _ in range(50)) == 50 * 15000
    assert HEAD < 50 * 15000 * 2


def test_chunks(server, content, get):
    server.add(ADDRESS, content, faults=[chunked(content, Content_Length=5)])
    assert get()["size"] == len(content)


def test_chunks_that_end_early_are_resumed(server, content, get):
    resource = server.add(ADDRESS, content)
    resource.faults.append(chunked(content[:4000], end=b"9999\r\nabc", ETag=resource.tag))
    assert get()["size"] == len(content)
    assert server.asked[1][2]["Range"].startswith("bytes=400")


def test_an_encoding_that_nobody_asked_for(server, content, get):
    server.add(ADDRESS, gzip.compress(content), headers={"Content-Encoding": "gzip"})
    assert get()["path"].endswith(".fits.gz")


@pytest.mark.parametrize("header", [{"ETag": '"another"'}, {"Content_Range": "bytes 5000-5099/5100"}])
def test_the_rest_of_another_version_is_not_appended(header, server, content, get):
    """A server that overlooks If-Range: length and place fit, and half of the file would be of each version."""
    part = {"Content_Range": f"bytes 5000-{len(content) - 1}/{len(content)}", "Content_Length": len(content) - 5000}
    wrong = status(206, bytes(len(content) - 5000), **{**part, **header})
    server.add(ADDRESS, content, faults=[cut(5000), wrong])
    with open(get()["path"], "rb") as stream:
        assert stream.read() == content


@pytest.mark.parametrize("etag", ['"a\r\n b"', '"\xe9"', 'W/"a"', "\x01"])
def test_a_validator_that_cannot_be_sent_back(etag, server, content, get):
    server.add(ADDRESS, content, faults=[cut(5000)], headers={"ETag": etag}, etag=False)
    assert get()["size"] == len(content)
    assert "If-Range" not in server.asked[-1][2]


@pytest.mark.parametrize("target", ["http://[bad", "http://a..b/", "http://127.0.0.1:x/", "//", "http://\x01", "\xff"])
def test_redirects_to_nonsense(target, server, get, make_session):
    server.add(ADDRESS, b"", faults=[status(302, Location=target)])
    assert get(session=make_session(retries=0))["status"] in ("failed", "missing")


@pytest.mark.parametrize("value", ["\xb2", "-5", "soon", "Fri, 02 Jan 99999 03:04:22 GMT", "9" * 400, ""])
def test_waits_that_make_no_sense(value, server, content, get, clock):
    server.add(ADDRESS, content, faults=[status(429, Retry_After=value)])
    assert get()["status"] == ("failed" if value.startswith("9") else "downloaded")
    assert sum(clock.sleeps) < 10


def test_without_a_network_nobody_waits_long(clock, session):
    found = lamost([1, 2], base_url="http://no-such-host.invalid", session=session)
    assert list(found["status"]) == ["failed"] * 2
    assert "no-such-host.invalid does not answer" in found["reason"][0]
    assert sum(clock.sleeps) < 15


@pytest.mark.parametrize("kept", [4, 8, 11])
def test_a_message_that_is_cut_shows_no_part_of_a_token(kept, server, get):
    token = "sesame-open-24"
    message = '{"e": "' + "x" * (100 - kept - 7) + token
    server.add(ADDRESS, b"", faults=[other(message.encode())])
    assert "sesa" not in get(token=token)["reason"]


@pytest.mark.parametrize("token", ["two words", "a\r\nX: y", "sesam\xe9", "a'b"])
def test_a_token_that_is_none_is_refused_and_not_shown(token, server, session):
    for fetch in (lambda **options: lamost(7, **options), lambda **options: nirspec("jw00001-a", **options)):
        with pytest.raises(FetchError, match="TOKEN: expected letters") as caught:
            fetch(token=token, base_url=server.url, session=session)
        assert token not in str(caught.value)
    assert not server.asked


def test_a_token_may_end_with_a_line_break(server, content, get):
    server.add(ADDRESS, content)
    get(token="sesame\n")
    assert server.asked[0][1].endswith("token=sesame")


def test_a_session_serves_after_an_interruption(server, content, session):
    server.add(ADDRESS, content)

    def interrupted(job):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.run(interrupted, [1])
    session.perform(lambda: download.RemoteFile("1", "", server.url + ADDRESS, None).request({}), lambda *_: None)


def test_an_interruption_is_that_of_its_own_call(session):
    """Two threads share a session, as in a notebook and its helper: the one that fails does not stop the other."""
    stopped, begun, found = threading.Event(), threading.Event(), []

    def patient(job):
        begun.set()
        stopped.wait(10)
        session.check()
        return job

    thread = threading.Thread(target=lambda: found.extend(session.run(patient, [1, 2])))
    thread.start()
    begun.wait(10)
    with pytest.raises(OSError, match="full"):
        session.run(full, [1])
    stopped.set()
    thread.join()
    assert found == [1, 2]


def full(job):
    raise OSError("full")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", "null", "[" * 100000, '{"url": 5}', '{"sha256": [], "size": {}}', "\0", "\xff"],
    ids=["empty", "cut", "list", "null", "deep", "wrong type", "wrong types", "zero byte", "no UTF-8"],
)
def test_a_manifest_that_is_damaged_counts_as_none(text, server, content, get, session):
    server.add(ADDRESS, content)
    get()
    manifest = next(session.cache.folder.rglob("*.manifest.json"))
    manifest.write_bytes(text.encode("latin-1"))
    assert get()["status"] == "downloaded"


def test_a_manifest_names_no_other_file(server, content, get, session, tmp_path):
    server.add(ADDRESS, content)
    get()
    (tmp_path / "other.fits").write_bytes(b"other")
    path = next(session.cache.folder.rglob("*.manifest.json"))
    facts = json.loads(path.read_text()) | {"path": str(tmp_path / "other.fits"), "id": "../../other"}
    path.write_text(json.dumps(facts))
    row = get()
    assert (row["status"], row["id"]) == ("cached", "7")
    assert row["path"].startswith(str(session.cache.folder))


@pytest.mark.parametrize(
    "state", ["[]", '{"etag": 5, "last_modified": ["a"], "total": "x"}', '{"etag": "a\\r\\nX: y"}', "{"]
)
def test_a_state_of_a_partial_file_that_is_damaged(state, server, content, get, session, make_session):
    server.add(ADDRESS, content, faults=[cut(5000)])
    get(session=make_session(retries=0))
    next(session.cache.folder.rglob("*.part.json")).write_text(state)
    assert get()["size"] == len(content)


@pytest.mark.parametrize(
    "memory",
    ["5", "[[1]]", '[["2M1", "apo25m", "../..", ""]]', '[["2M2", "apo1m", "a"]]'],
)
def test_a_remembered_place_that_is_none_is_asked_for_again(memory, server, session, monkeypatch):
    server.services["/dr17/en"] = lambda *_: (200, HTML, {})
    path = session.cache.path("apogee", "dr17", "places", "star-2M1.json")
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"places": {memory}}}')
    monkeypatch.setattr("specalign.fetch.places.conf", SimpleNamespace(skyserver_url=server.url))
    row = apogee("2M1", base_url=server.url, session=session)[0]
    assert row["reason"].startswith("its field could not be looked up: SkyServer: it sent a web page")
    assert server.count("x_results") == 1


def test_what_a_killed_process_left_is_removed(server, content, get, session):
    folder = session.cache.path("lamost", "dr10-v2.0", "lrs")
    folder.mkdir(parents=True)
    left = [folder / f".0123456789ab.tmp-.7.fits.{name}.json" for name in ("manifest", "part")]
    other = folder / ".0123456789ab.tmp-.77.fits.part.json"
    for path in [*left, other]:
        path.write_text("{")
    server.add(ADDRESS, content)
    get()
    assert other.exists()
    assert not [path for path in left if path.exists()]


def test_a_part_of_a_cached_file_is_removed(server, content, get, session, monkeypatch):
    """Another process was killed over the file, and a third one has brought it."""
    server.add(ADDRESS, content)
    part = session.cache.folder / "lamost" / "dr10-v2.0" / "lrs" / ".7.fits.part"
    get()
    part.write_bytes(b"SIMPLE")
    find, asked = session.cache.find, []

    def late(*wanted):
        asked.append(wanted)
        return find(*wanted) if len(asked) > 2 else None  # plain and packed, before the lock is got

    monkeypatch.setattr(session.cache, "find", late)
    assert get()["status"] == "cached"
    assert not part.exists()


def test_a_file_that_has_its_name_is_finished(server, content, get, monkeypatch):
    """With its name it loses its lock: whoever comes next finds it cached, and is disturbed by nobody."""
    server.add(ADDRESS, content)
    rename, rows = os.replace, []

    def then_another(source, target):
        rename(source, target)
        if str(source).endswith(".part") and not rows:
            rows.append(None)
            rows.append(get())
            source.touch()
            source.with_name(f"{source.name}.json").touch()
            rows.append(source)

    monkeypatch.setattr(cache.os, "replace", then_another)
    get()
    assert rows[1]["status"] == "cached"
    assert rows[2].exists()
    assert rows[2].with_name(f"{rows[2].name}.json").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of files are those of POSIX")
def test_a_file_that_cannot_grow_is_named_and_resumed(server, content, get, session):
    import resource

    server.add(ADDRESS, content)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large.*\.7\.fits\.part"):
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert get()["size"] == len(content)
    assert server.asked[-1][2]["Range"] == "bytes=5000-"


def test_a_file_system_without_locks_is_named(server, get, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(cache.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="this file system has no locks; name a folder on another one with cache="):
        get()


@pytest.mark.parametrize(
    "value",
    [
        "../7", "7/8", "\u0667", "7\n", "7 ", "", None, -7, 7.0, True, 10**40, 10**5000, b"\xff", np.ma.masked,
        np.ma.array([1], mask=[True]), MaskedColumn([1], mask=[True]), [[1, 2], [3]], Table({"a": [1]}), float("nan"),
    ],
    ids=range(19),
)  # fmt: skip
def test_what_is_no_obsid(value):
    with pytest.raises(FetchError, match=r"obsid: expected (something like|at least one)") as caught, quiet():
        unique_ids("obsid", value)
    assert len(str(caught.value)) < 300


def quiet():
    caught = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return caught


@pytest.mark.parametrize("values", [{7}, (v for v in "7"), np.array(7), np.array(["7"]), np.int64(7), b"7", {"7": 0}])
def test_what_is_an_obsid(values):
    assert unique_ids("obsid", values) == ["7"]


@pytest.mark.parametrize("value", [7 * 10**18, 2**63, 10**19, 0])
def test_no_source_has_such_a_number(value):
    with pytest.raises(FetchError, match="source_id: expected"):
        unique_ids("source_id", value)


def test_a_catalogue_with_masked_cells_and_bytes(server, content, session):
    star = "2M17335483-2753043"
    rows = {
        "APOGEE_ID": np.array([star, "2M1"], dtype="S18"),
        "TELESCOPE": np.array(["apo25m ", "apo25m"], dtype="S8"),
        "FIELD": MaskedColumn(np.array(["M67", "M67"], dtype="S8"), mask=[False, True]),
        "FILE": MaskedColumn(np.array(["", "x"], dtype="S8"), mask=[True, False]),
    }
    found = apogee(star, catalogue=Table(rows), base_url=server.url, session=session)
    assert found["url"][0].endswith(f"/apo25m/M67/aspcapStar-dr17-{star}.fits")
    with pytest.raises(FetchError, match="row 1 of the catalogue, star '2M1': field: expected"):
        apogee("2M1", catalogue=Table(rows), base_url=server.url, session=session)


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": float("inf")}, {"retries": 2.5}, {"connections": 1.5}, {"delay": float("inf")}],
)
def test_limits_that_no_connection_has(options):
    with pytest.raises(FetchError, match=f"{next(iter(options))}: expected"):
        Session(**options)


def test_a_lost_connection_is_told(server, content, get, caplog):
    server.add(ADDRESS, content, faults=[abort])
    with caplog.at_level("INFO", logger="specalign.fetch"):
        get()
    assert "was lost" in caplog.text
    assert "tried again in" in caplog.text
