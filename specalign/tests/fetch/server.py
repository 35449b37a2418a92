"""A server on this machine that serves files in the layouts of the archives, and has the faults of real servers."""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HTML = b"<!DOCTYPE html><html><head><title>Please log in</title></head><body></body></html>"


@dataclass
class Resource:
    """A file, and the faults that its next requests meet, in their order."""

    content: bytes
    faults: list = field(default_factory=list)
    etag: bool = True
    ranges: bool = True
    headers: dict = field(default_factory=dict)

    @property
    def tag(self):
        return f'"{hashlib.md5(self.content).hexdigest()}"'


class Server:
    """Files by path, functions by path for programming interfaces, and a record of what was asked."""

    def __init__(self):
        self.files, self.services, self.asked = {}, {}, []
        self.lock, self.open, self.most_open = threading.Lock(), 0, 0
        handler = type("Handler", (_Handler,), {"server_of_tests": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, path, content, **options):
        self.files[path] = Resource(content, **options)
        return self.files[path]

    def count(self, part):
        """How many requests had a text in their address."""
        return sum(part in path for _, path, _ in self.asked)

    @contextmanager
    def running(self):
        # A short poll: shutdown waits for it.
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server_of_tests = None

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._answer(b"")

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body):
        ours = self.server_of_tests
        with ours.lock:
            ours.asked.append((self.command, self.path, dict(self.headers)))
            ours.open += 1
            ours.most_open = max(ours.most_open, ours.open)
        try:
            self._serve(ours, body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a test that leaves early
        finally:
            with ours.lock:
                ours.open -= 1

    def _serve(self, ours, body):
        parts = urlsplit(self.path)
        for start, service in ours.services.items():
            if parts.path.startswith(start):
                answer = service(parse_qs(parts.query), parse_qs(body.decode()), self)
                return self._send(*answer) if answer else None
        resource = ours.files.get(self.path) or ours.files.get(parts.path)
        if resource is None:
            return self._send(404, b"not here")
        fault = resource.faults.pop(0) if resource.faults else None
        return fault(self, resource) if fault else self.send_file(resource)

    def send_file(self, resource, cut=None):
        """The file, or the part of it that was asked for; ``cut`` bytes of it before the connection ends."""
        start, headers = 0, dict(resource.headers)
        if resource.etag:
            headers["ETag"] = resource.tag
        wanted = self.headers.get("Range")
        fits = self.headers.get("If-Range", resource.tag) == resource.tag
        if wanted and resource.ranges and fits:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(resource.content):
                return self._send(416, b"")
            headers["Content-Range"] = f"bytes {start}-{len(resource.content) - 1}/{len(resource.content)}"
        body = resource.content[start:]
        return self._send(206 if start else 200, body, headers, body[:cut])

    def _send(self, status, content, headers=None, sent=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if sent is None else sent)


def status(code, content=b"", **headers):
    """A fault: another status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, resource: handler._send(code, content, named)


def cut(size):
    """A fault: the connection ends after some bytes."""
    return lambda handler, resource: handler.send_file(resource, cut=size)


def abort(handler, resource):
    """A fault: the connection ends without a word."""
    handler.connection.close()


def page(handler, resource):
    """A fault: a page to log in, with status 200."""
    handler._send(200, HTML, {"Content-Type": "text/html"})


def other(content):
    """A fault: another content than the next time."""
    return lambda handler, resource: handler._send(200, content)


def json_answer(content, code=200):
    return code, json.dumps(content).encode(), {"Content-Type": "application/json"}


class Clock:
    """A clock that stands still unless somebody sleeps."""

    def __init__(self):
        self.seconds, self.sleeps = 0.0, []
        self.lock = threading.Lock()

    def __call__(self):
        return self.seconds

    def sleep(self, seconds):
        with self.lock:
            self.sleeps.append(seconds)
            self.seconds += seconds

    def now(self):
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=self.seconds)
