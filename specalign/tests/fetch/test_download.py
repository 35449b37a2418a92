"""One file: cache, resume, verification, and faults of servers; the archive is LAMOST's, which has the least layout."""

import gzip
import io
import json
import threading
import time
import warnings

import pytest
from astropy.io import fits

from specalign.exceptions import FetchWarning
from specalign.fetch import lamost
from specalign.tests.fetch.server import Server, abort, cut, other, page, status
from specalign.tests.io.synthetic import lamost_coadd

OBSID = 95008071
ADDRESS = f"/dr10/v2.0/lrs/spectrum/fits?obsid={OBSID}"


def spectrum(tmp_path, **header):
    path = tmp_path / "source.fits"
    lamost_coadd(path, header=header, overwrite=True)
    return path.read_bytes()


@pytest.fixture
def content(tmp_path):
    return spectrum(tmp_path)


@pytest.fixture
def get(server, session):
    """Fetch the one spectrum, and give its row."""

    def get(obsids=OBSID, **options):
        return lamost(obsids, **{"session": session, "base_url": server.url, **options})[0]

    return get


def left_behind(session):
    """Files beside spectra and manifests."""
    return [p.name for p in session.cache.folder.rglob("*") if p.is_file() and ".part" in p.name]


def test_a_file_comes_once_and_is_cached(server, content, get, session):
    server.add(ADDRESS, content)
    first, second = get(), get()
    assert (first["status"], second["status"]) == ("downloaded", "cached")
    assert first["path"] == second["path"]
    assert server.count("fits") == 1
    assert not left_behind(session)
    with open(first["path"], "rb") as stream:
        assert stream.read() == content


def test_the_manifest_says_where_and_when_and_what(server, content, get, session):
    server.add(ADDRESS, content)
    row = get()
    folder = session.cache.folder / "lamost" / "dr10-v2.0" / "lrs"
    manifest = json.loads((folder / f".{OBSID}.fits.manifest.json").read_text())
    assert manifest["url"] == server.url + ADDRESS == row["url"]
    assert manifest["sha256"] == row["sha256"]
    assert manifest["size"] == len(content) == row["size"]
    assert manifest["fetched"] == "2026-01-02T03:04:05+00:00"


def test_a_changed_file_is_fetched_anew_with_a_warning(server, content, get):
    server.add(ADDRESS, content)
    path = get()["path"]
    with open(path, "r+b") as stream:
        stream.seek(3000)
        stream.write(b"?")
    with pytest.warns(FetchWarning, match="was changed since it was fetched"):
        assert get()["status"] == "downloaded"
    with open(path, "rb") as stream:
        assert stream.read() == content


def test_a_file_of_a_mirror_does_not_stand_for_that_of_the_archive(server, content, get):
    server.add(ADDRESS, content)
    get()
    with Server().running() as mirror:
        mirror.add(ADDRESS, content)
        row = get(base_url=mirror.url)
        assert row["status"] == "downloaded"
        assert row["url"].startswith(mirror.url)


@pytest.mark.parametrize("keep", ["file", "manifest"])
def test_half_of_a_pair_is_no_cached_file(keep, server, content, get, session):
    server.add(ADDRESS, content)
    get()
    for path in session.cache.folder.rglob("*"):
        if path.is_file() and path.name.endswith(".json") != (keep == "manifest"):
            path.unlink()
    assert get()["status"] == "downloaded"


def test_a_cut_connection_is_resumed_where_it_was_cut(server, content, get, session):
    resource = server.add(ADDRESS, content, faults=[cut(5000), cut(700)])
    assert get()["status"] == "downloaded"
    ranges = [headers.get("Range") for _, _, headers in server.asked]
    assert ranges == [None, "bytes=5000-", "bytes=5700-"]
    assert server.asked[1][2]["If-Range"] == resource.tag
    assert not left_behind(session)


def test_the_next_call_resumes_too(server, content, get, make_session):
    server.add(ADDRESS, content, faults=[cut(5000)])
    session = make_session(retries=0)
    row = get(session=session)
    assert row["status"] == "failed"
    assert "ended after 5000 of" in row["reason"]
    assert left_behind(session)
    assert get()["status"] == "downloaded"
    assert server.asked[-1][2]["Range"] == "bytes=5000-"
    assert not left_behind(session)


def test_a_server_without_ranges_starts_again(server, content, get):
    server.add(ADDRESS, content, faults=[cut(5000)], ranges=False)
    assert get()["size"] == len(content)


def test_a_file_without_a_validator_starts_again(server, content, get):
    server.add(ADDRESS, content, faults=[cut(5000)], etag=False)
    assert get()["size"] == len(content)
    assert "Range" not in server.asked[-1][2]


def test_a_file_that_changed_meanwhile_starts_again(server, content, tmp_path, get, make_session):
    server.add(ADDRESS, content, faults=[cut(5000)])
    get(session=make_session(retries=0))
    changed = spectrum(tmp_path, SNRG=99.0)
    assert changed != content
    server.add(ADDRESS, changed)
    with open(get()["path"], "rb") as stream:
        assert stream.read() == changed


def test_a_file_that_shrank_starts_again(server, content, get, session):
    server.add(ADDRESS, content, faults=[cut(5000), status(416), status(416)])
    assert get()["status"] == "failed"  # it refuses even the beginning
    server.add(ADDRESS, content, faults=[cut(5000), status(416)])
    assert get()["size"] == len(content)


def test_another_range_than_was_asked_for_is_not_appended(server, content, get):
    wrong = status(206, content[:100], Content_Range=f"bytes 0-99/{len(content)}")
    server.add(ADDRESS, content, faults=[cut(5000), wrong])
    with open(get()["path"], "rb") as stream:
        assert stream.read() == content


def test_a_compressed_file_is_named_so_and_found_again(server, content, get):
    server.add(ADDRESS, gzip.compress(content))
    assert get()["path"].endswith(f"{OBSID}.fits.gz")
    assert get()["status"] == "cached"


@pytest.mark.parametrize("end", [-2880, -1800, 3000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_cut_file_of_the_right_length_is_not_kept(pack, end, server, content, get, session):
    """A server that lost the end of a file states the length that is left."""
    server.add(ADDRESS, pack(content)[: end // 4 if pack is gzip.compress else end])
    row = get()
    assert row["status"] == "failed"
    assert "damaged, 2 times" in row["reason"]
    assert not row["path"]
    assert not left_behind(session)


def test_what_is_damaged_once_is_fetched_again(server, content, get):
    server.add(ADDRESS, content, faults=[other(content[:-2880])])
    assert get()["status"] == "downloaded"


def test_a_page_with_status_200_is_no_spectrum(server, content, get, session):
    server.add(ADDRESS, content, faults=[page])
    row = get()
    assert row["status"] == "failed"
    assert row["reason"] == "a web page ('Please log in') came instead of a FITS file"
    assert not list(session.cache.folder.rglob("*.fits"))
    assert get()["status"] == "downloaded"


@pytest.mark.parametrize(
    ("sent", "said"), [(b"", "nothing came"), (b'{"error": "no"}', "a message"), (b"\0\1\2", "something that begins")]
)
def test_other_things_that_are_no_spectrum(sent, said, server, get):
    server.add(ADDRESS, sent)
    row = get()
    assert row["status"] == "failed"
    assert row["reason"].startswith(said)


def test_a_file_of_another_observation_is_not_kept(server, tmp_path, get):
    server.add(ADDRESS, spectrum(tmp_path, OBSID=7))
    assert get()["reason"] == f"the file is of obsid 7, and {OBSID} was asked for"


def test_a_missing_file_is_missing(server, get):
    row = get()
    assert (row["status"], row["reason"]) == ("missing", "the archive answered 404 Not Found")
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 501])
def test_a_refusal_is_not_asked_again(code, server, content, get):
    server.add(ADDRESS, content, faults=[status(code)])
    assert get()["status"] == "failed"
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_passes(code, server, content, get, clock):
    server.add(ADDRESS, content, faults=[status(code), status(code), abort])
    assert get()["status"] == "downloaded"
    first, second, third = clock.sleeps
    assert 1 <= first <= 3
    assert 2 <= second <= 6
    assert 4 <= third <= 12


def test_waits_follow_from_the_seed(server, content, get, clock, make_session):
    waits = []
    for seed in (1, 1, 2):
        server.add(ADDRESS, content, faults=[status(500), status(500)])
        clock.sleeps.clear()
        get(session=make_session(cache=make_session().cache.folder / str(len(waits)), seed=seed))
        waits.append(tuple(clock.sleeps))
    assert waits[0] == waits[1] != waits[2]


@pytest.mark.parametrize("value", ["17", "Fri, 02 Jan 2026 03:04:22 GMT"])
def test_the_wait_that_a_server_asks_for(value, server, content, get, clock):
    server.add(ADDRESS, content, faults=[status(429, Retry_After=value)])
    assert get()["status"] == "downloaded"
    assert clock.sleeps == [17.0]


def test_a_server_that_asks_for_too_long_a_wait_is_left_alone(server, content, get, clock):
    server.add(ADDRESS, content, faults=[status(503, Retry_After="86400")])
    row = get()
    assert row["status"] == "failed"
    assert "asks to wait 86400 s" in row["reason"]
    assert not clock.sleeps


def test_a_fault_that_does_not_pass(server, content, get):
    server.add(ADDRESS, content, faults=[status(500)] * 9)
    row = get()
    assert row["status"] == "failed"
    assert "500 Internal Server Error, 6 times" in row["reason"]
    assert len(server.asked) == 6


def test_a_silent_host_is_not_tried_for_every_file(clock, make_session):
    with socket_that_listens_to_nobody() as url:
        found = lamost([1, 2, 3], base_url=url, session=make_session(retries=1, connections=1))
    assert list(found["status"]) == ["failed"] * 3
    assert "2 times" in found["reason"][0]
    assert found["reason"][1].startswith("not tried, since 127.0.0.1")
    assert len(clock.sleeps) == 1


def test_a_host_that_was_silent_is_tried_again_later(server, content, get, make_session, clock):
    server.add(ADDRESS, content, faults=[abort])
    session = make_session(retries=0)
    assert get(session=session)["status"] == "failed"
    assert "not tried" in get(session=session)["reason"]
    clock.sleep(60)
    assert get(session=session)["status"] == "downloaded"


class socket_that_listens_to_nobody:
    """A port that refuses connections."""

    def __enter__(self):
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{free.getsockname()[1]}"

    def __exit__(self, *args):
        pass


def test_requests_to_a_host_keep_their_distance(server, content, clock, make_session):
    for obsid in (1, 2, 3):
        server.add(ADDRESS.replace(str(OBSID), str(obsid)), content)
    lamost([1, 2, 3], base_url=server.url, session=make_session(delay=4, connections=1))
    assert clock.sleeps == [4.0, 4.0]


def test_no_more_connections_than_agreed(server, content, make_session):
    together = threading.Barrier(2, timeout=10)

    def wait(handler, resource):
        together.wait()
        handler.send_file(resource)

    for obsid in range(1, 7):
        path = ADDRESS.replace(str(OBSID), str(obsid))
        server.add(path, content, faults=[wait])
    found = lamost(range(1, 7), base_url=server.url, session=make_session(connections=2))
    assert len(found) == 6  # the barrier breaks, and files fail, unless two came at a time
    assert server.most_open == 2


def test_the_server_learns_who_asks(server, content, get):
    server.add(ADDRESS, content)
    get()
    assert server.asked[0][2]["User-Agent"].startswith("specalign/")


def test_a_redirect_within_the_host(server, content, get):
    server.add("/elsewhere", content)
    server.add(ADDRESS, b"", faults=[status(302, Location=f"{server.url}/elsewhere")])
    assert get()["status"] == "downloaded"


@pytest.mark.parametrize("target", ["http://localhost:1/x", "https://example.org/x", "file:///etc/passwd", "ftp://a/b"])
def test_redirects_to_other_places_are_not_followed(target, server, get):
    server.add(ADDRESS, b"", faults=[status(302, Location=target)])
    row = get()
    assert row["status"] == "failed"
    assert "redirects to" in row["reason"] or "302 Found" in row["reason"]
    assert len(server.asked) == 1


def test_redirects_have_an_end(server, get):
    server.add(ADDRESS, b"", faults=[status(302, Location=ADDRESS)] * 30)
    assert get()["status"] == "failed"
    assert len(server.asked) < 30


def test_an_interruption_leaves_a_state_that_is_resumed(server, content, get, session, monkeypatch):
    server.add(ADDRESS, content)
    check = session.check
    monkeypatch.setattr(session, "check", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        get()
    monkeypatch.setattr(session, "check", check)
    assert get()["status"] == "downloaded"
    assert not left_behind(session)


def test_an_interruption_stops_every_file(server, tmp_path, make_session, monkeypatch):
    """The main thread is interrupted while a file is on its way: that one ends early, and what waits is not begun."""
    began, session, gave_up = threading.Event(), make_session(connections=1), []
    content = spectrum(tmp_path, OBSID=-1)  # fits any obsid

    def drip(handler, resource):
        length = {"ETag": resource.tag, "Content-Length": "1000000"}
        handler._send(200, resource.content, length, resource.content[:3000])
        began.set()
        for _ in range(2000):  # until nobody listens any more
            handler.wfile.write(b"\0")
            time.sleep(0.01)
        gave_up.append(False)

    for obsid in range(1, 20):
        server.add(ADDRESS.replace(str(OBSID), str(obsid)), content, faults=[drip])

    def interrupted(futures):
        began.wait(20)
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr("specalign.fetch.session.as_completed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lamost(range(1, 20), base_url=server.url, session=session)
    assert len(server.asked) == 1
    assert not gave_up
    assert left_behind(session)
    assert not list(session.cache.folder.rglob("*.fits"))
    assert lamost(1, base_url=server.url, session=session)["status"][0] == "downloaded"


def test_a_full_disk_is_an_error_of_the_call(server, content, session, get, monkeypatch):
    server.add(ADDRESS, content)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("specalign.fetch.download.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        get()


def test_several_sessions_fetch_a_file_once(server, content, make_session):
    """As several processes do: each holds the lock with a file of its own."""
    server.add(ADDRESS, content)
    rows = []

    def fetch():
        session = make_session()
        session._sleep = threading.Event().wait
        rows.append(lamost(OBSID, base_url=server.url, session=session)[0])

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["status"] for row in rows) == ["cached"] * 3 + ["downloaded"]
    assert server.count("fits") == 1


def test_a_bit_that_flips_is_noticed_where_the_file_has_checksums(server, content, get):
    with fits.open(io.BytesIO(content)) as hdus:
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus.writeto(stream, checksum=True)
    damaged = bytearray(stream.getvalue())
    damaged[-2000] ^= 1
    server.add(ADDRESS, bytes(damaged), faults=[other(bytes(damaged))])
    assert "damaged" in get()["reason"]
