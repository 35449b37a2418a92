"""A model hub on the loopback interface: one repository, and what huggingface_hub asks for where files are small."""

import base64
import hashlib
import http.server
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

__all__ = ["Hub", "running"]

REPO = r"/(?P<repo>[\w.-]+/[\w.-]+)"


class Hub:
    """Files a commit, and every request with the token that came with it."""

    def __init__(self):
        self.commits, self.requests, self.secret = {}, [], None
        self.private, self.address, self.head = None, "", None

    @property
    def files(self):
        return self.commits.get(self.head, {})

    def commit(self, changes):
        """Apply changes (name to bytes, or None) to the newest commit; returns its identifier."""
        files = {name: content for name, content in (self.files | changes).items() if content is not None}
        self.head = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()
        self.commits[self.head] = files
        return self.head

    def at(self, revision):
        commit = self.head if revision == "main" else revision
        return commit, self.commits.get(commit)

    def info(self, match):
        commit, files = self.at(match.groupdict().get("revision") or "main")
        if files is None:
            return 404, {"error": "Revision Not Found"}, {"X-Error-Code": "RevisionNotFound"}
        siblings = [{"rfilename": name} for name in files]
        return 200, {"id": match["repo"], "sha": commit, "siblings": siblings, "private": False, "tags": []}, {}

    def tree(self, match):
        _, files = self.at(match["revision"])
        oid = {name: hashlib.sha1(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
        rows = [{"type": "file", "path": n, "size": len(c), "oid": oid[n]} for n, c in files.items()]
        return 200, rows, {}

    def resolve(self, match):
        commit, files = self.at(match["revision"])
        name = unquote(match["file"])
        if files is None or name not in files:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
        etag = hashlib.sha256(files[name]).hexdigest()
        return 200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": commit}

    def create(self, body):
        wanted = json.loads(body)
        if self.head is None:
            self.commit({".gitattributes": b""})  # as a hub does
        self.private = wanted.get("private", wanted.get("visibility") == "private")
        return 200, {"url": f"{self.address}/{wanted.get('organization', 'me')}/{wanted['name']}"}, {}

    def preupload(self, body):
        files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                 for file in json.loads(body)["files"]]  # fmt: skip
        return 200, {"files": files}, {}

    def take(self, body):
        changes = {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                assert line["value"]["encoding"] == "base64"
                changes[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                changes[line["value"]["path"]] = None
        oid = self.commit(changes)
        return 200, {"commitUrl": f"{self.address}/me/mine/commit/{oid}", "commitOid": oid, "pullRequestUrl": None}, {}

    def answer(self, method, path, body):
        """Status, content and headers of one request."""
        if method == "POST":
            for pattern, what in ((r"/api/repos/create", self.create), (r"/api/validate-yaml", lambda _: OK),
                                  (rf"/api/models{REPO}/preupload/\w+", self.preupload),
                                  (rf"/api/models{REPO}/commit/\w+", self.take)):  # fmt: skip
                if re.fullmatch(pattern, path):
                    return what(body)
        for pattern, what in ((rf"/api/models{REPO}(/revision/(?P<revision>\w+))?", self.info),
                              (rf"/api/models{REPO}/tree/(?P<revision>\w+)", self.tree),
                              (rf"{REPO}/resolve/(?P<revision>\w+)/(?P<file>.+)", self.resolve)):  # fmt: skip
            if method != "POST" and (match := re.fullmatch(pattern, path)):
                return what(match)
        return 404, {"error": f"{method} {path}"}, {}


OK = (200, {"errors": [], "warnings": []}, {})


def _handler(hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self):
            path = unquote(urlsplit(self.path).path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            hub.requests.append((self.command, path, token))
            if hub.secret and token != hub.secret:
                status, content, headers = 401, {"error": f"wrong token {token}"}, {}
            else:
                status, content, headers = hub.answer(self.command, path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = _serve

        def log_message(self, *arguments):
            pass

    return Handler


@contextmanager
def running():
    """A `Hub` that answers until the end of the block."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
