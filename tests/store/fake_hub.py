"""A hub on loopback that behaves as the real one does, and on demand as badly as a real one can.

Two servers: the hub itself, and a second origin that large files are redirected to with signed links. Routes, headers and
error codes as the hub's own client uses them (`test_fake_hub.py` lets that client confirm it).
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LFS_BYTES = 10_000
PAGE_LEN = 5
MIRROR = "/mirror"
"""All routes are below this too: a mirror need not be at the root of its host."""


@functools.lru_cache(512)
def _sha256(data: bytes) -> str:
    """A bytes object is hashed once for Python and once for us; after that asking costs nothing."""
    return hashlib.sha256(data).hexdigest()


@functools.lru_cache(512)
def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@dataclass
class Fault:
    """What goes wrong with the next `times` requests to a matching path (-1 is all).

    Attributes:
        match: a regular expression somewhere in ``server path``, such as ``cdn .*model`` or ``hub /api``.
        status, headers: answer with these instead.
        skip: let so many matching requests pass first.
        drop_after: close the connection after so many bytes of body.
        cut_headers: close it in the middle of the headers.
        stall_after, stall_s: send so many bytes, then nothing for so long.
        bytes_per_s: send no faster.
        corrupt: offsets in the file whose bytes are flipped.
        ignore_range: answer 200 with everything.
        shift_range: answer with a range that begins so many bytes later than asked.
        page: answer 200 with this instead.
        longer: so many bytes too many, in a body without a length.
        gzip: say that the body is compressed.
    """

    match: str
    times: int = 1
    skip: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    cut_headers: bool = False
    stall_after: int | None = None
    stall_s: float = 0.0
    bytes_per_s: int = 0
    corrupt: tuple[int, ...] = ()
    ignore_range: bool = False
    shift_range: int = 0
    page: bytes | None = None
    longer: int = 0
    gzip: bool = False


@dataclass
class Seen:
    """A request as it came in, and how many bytes of body went out."""

    server: str
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def where(self) -> str:
        return f"{self.server} {self.path}"


@dataclass
class Repo:
    """`revisions` maps branches and tags to commits, `commits` commits to files."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    licence: str | None = "apache-2.0"


class FakeHub:
    """Started and stopped by `running_hub`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.loose: dict[str, bytes] = {}
        self.loose_headers: Callable[[bytes, str], dict[str, str]] = lambda data, asked_range: {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.tokens = {"hf_good": True, "hf_stranger": False}
        self.siblings_have_sizes = True
        self.etags = True
        self._lock = threading.Lock()
        self._generation = 0
        self.hub = _serve(self, "hub")
        self.cdn = _serve(self, "cdn")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.hub.server_port}"

    @property
    def cdn_url(self) -> str:
        return f"http://127.0.0.1:{self.cdn.server_port}"

    def add(self, repo: str, files: dict[str, bytes], revision: str = "main", **settings: Any) -> str:
        """A new commit of `repo`, at the head of `revision`; returns its hash."""
        entry = self.repos.setdefault(repo, Repo())
        for name, value in settings.items():
            setattr(entry, name, value)
        listing = json.dumps({name: _sha256(data) for name, data in sorted(files.items())})
        commit = hashlib.sha1(f"{repo} {listing}".encode()).hexdigest()
        entry.commits[commit] = files
        entry.revisions[revision] = commit
        return commit

    def expire_links(self) -> None:
        """Signed links given out so far are refused from now on."""
        self._generation += 1

    def requests(self, match: str) -> list[Seen]:
        return [seen for seen in self.seen if re.search(match, seen.where)]

    def sent_bytes(self, match: str = "") -> int:
        return sum(seen.sent for seen in self.requests(match))

    def fault_for(self, where: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times and re.search(fault.match, where):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def link(self, sha256: str) -> str:
        return f"{self.cdn_url}/lfs/{sha256}?generation={self._generation}&signature=secret"

    def content(self, sha256: str) -> bytes | None:
        for repo in self.repos.values():
            for files in repo.commits.values():
                for data in files.values():
                    if _sha256(data) == sha256:
                        return data
        return None

    def close(self) -> None:
        for server in (self.hub, self.cdn):
            server.shutdown()
            server.server_close()


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    try:
        yield hub
    finally:
        hub.close()


def _serve(hub: FakeHub, name: str) -> http.server.ThreadingHTTPServer:
    class Handler(_Handler):
        owner = hub
        server_name = name

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients go away; that is what these tests are about

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: FakeHub
    server_name: str

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.seen = Seen(self.server_name, self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.owner.seen.append(self.seen)
        self.fault = self.owner.fault_for(self.seen.where) or Fault("")
        if self.fault.cut_headers:
            self.wfile.write(b"HTTP/1.1 206 Partial Content\r\nContent-Le")
            self.close_connection = True
        elif self.fault.page is not None:
            self._send(200, {"Content-Type": "text/html"}, self.fault.page)
        elif self.fault.status:
            self._send(self.fault.status, self.fault.headers, b"a fault")
        else:
            self._route()

    def _route(self) -> None:
        path, _, query = self.path.removeprefix(MIRROR).partition("?")
        asked = {k: v[0] for k, v in urllib.parse.parse_qs(query).items()}
        if path.startswith("/loose/"):
            data = self.owner.loose.get(urllib.parse.unquote(path.removeprefix("/loose/")))
            if data is None:
                self._send(404, {}, b"")
            else:
                self._file(data, self.owner.loose_headers(data, self.headers.get("Range", "")))
        elif self.server_name == "cdn":
            self._cdn(path, asked)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs)(?:/([^/]+))?)?", path):
            self._api(match[1], match[2] or "revision", urllib.parse.unquote(match[3] or "main"), asked)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], urllib.parse.unquote(match[2]), urllib.parse.unquote(match[3]))
        else:
            self._send(404, {}, b"")

    def _allowed(self, repo: Repo | None, for_files: bool) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        known = self.owner.tokens.get(token)
        if token and known is None:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not known):
            self._refuse(404 if token else 401, "RepoNotFound" if token else "", "Repository not found")
        elif repo.gated and for_files and not known:
            self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted.")
        else:
            return True
        return False

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, headers, json.dumps({"error": message}).encode())

    def _commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.revisions.get(revision, revision)
        return commit if commit in repo.commits else None

    def _api(self, name: str, what: str, revision: str, asked: dict[str, str]) -> None:
        repo = self.owner.repos.get(name)
        if not self._allowed(repo, for_files=False):
            return
        assert repo is not None
        if what == "refs":
            refs = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.revisions.items()]
            self._json({"branches": refs, "converts": [], "tags": []})
            return
        commit = self._commit(repo, revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = repo.commits[commit]
        if what == "tree":
            self._tree(name, commit, files, int(asked.get("cursor", "0")))
            return
        sizes = "blobs" in asked and self.owner.siblings_have_sizes
        card = {"license": repo.licence} if repo.licence else {}
        self._json(
            {
                "_id": "1",
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": repo.private,
                "gated": "auto" if repo.gated else False,
                "tags": [],
                "downloads": 0,
                "cardData": card,
                "siblings": [_sibling(path, data, sizes) for path, data in files.items()],
            }
        )

    def _tree(self, name: str, commit: str, files: dict[str, bytes], start: int) -> None:
        page = list(files.items())[start : start + PAGE_LEN]
        headers = {}
        if start + PAGE_LEN < len(files):
            url = f"{self.owner.endpoint}/api/models/{name}/tree/{commit}?recursive=true&cursor={start + PAGE_LEN}"
            headers["Link"] = f'<{url}>; rel="next"'
        self._json([_entry(path, data) for path, data in page], headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.owner.repos.get(name)
        if not self._allowed(repo, for_files=True):
            return
        assert repo is not None
        commit = self._commit(repo, revision)
        data = repo.commits[commit].get(path) if commit else None
        if data is None:
            self._refuse(404, "EntryNotFound" if commit else "RevisionNotFound", "not there")
            return
        headers = {"X-Repo-Commit": commit or "", "X-Linked-Size": str(len(data))}
        if len(data) >= LFS_BYTES:
            sha256 = _sha256(data)
            headers |= {"X-Linked-Etag": f'"{sha256}"', "Location": self.owner.link(sha256)}
            self._send(302, headers, b"Found")
            return
        headers["X-Linked-Etag"] = f'"{_git_sha1(data)}"'
        self._file(data, headers)

    def _cdn(self, path: str, asked: dict[str, str]) -> None:
        data = self.owner.content(path.removeprefix("/lfs/"))
        if data is None or asked.get("generation") != str(self.owner._generation):
            self._send(403, {}, b"<Error>Request has expired</Error>")
            return
        self._file(data)

    def _file(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        fault, headers = self.fault, dict(headers or {})
        etag = f'"{_md5(data)}"'
        if self.owner.etags:
            headers.setdefault("ETag", etag)
            etag = headers["ETag"]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        if asked is None or fault.ignore_range or (if_range is not None and if_range != etag):
            self._send(200, headers, data, at=0)
            return
        start = int(asked[1]) + fault.shift_range
        end = min(len(data), int(asked[2]) + 1 if asked[2] else len(data))
        if start >= len(data):
            self._send(416, headers | {"Content-Range": f"bytes */{len(data)}"}, b"")
            return
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}", "Accept-Ranges": "bytes"}
        self._send(206, headers, data[start:end], at=start)

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, {"Content-Type": "application/json"} | (headers or {}), json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, at: int = 0) -> None:
        fault = self.fault
        self.seen.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.longer:
            body += b"x" * fault.longer
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        if fault.gzip:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command == "HEAD":
            return
        flipped = bytearray(body)
        for offset in fault.corrupt:
            if at <= offset < at + len(body):
                flipped[offset - at] ^= 0xFF
        self._write(bytes(flipped))

    def _write(self, body: bytes) -> None:
        fault, view = self.fault, memoryview(body)
        step = 16_384 if fault.bytes_per_s or fault.drop_after is not None or fault.stall_after is not None else 1 << 20
        while self.seen.sent < len(view):
            end = min(len(view), self.seen.sent + step)
            for mark in (fault.drop_after, fault.stall_after):
                if mark is not None and self.seen.sent <= mark < end:
                    end = mark
            self.wfile.write(view[self.seen.sent : end])
            self.seen.sent = end
            if fault.drop_after is not None and end >= fault.drop_after:
                self.close_connection = True
                return
            if fault.stall_after is not None and end >= fault.stall_after:
                time.sleep(fault.stall_s)
                fault = Fault("")
            if fault.bytes_per_s:
                time.sleep(step / fault.bytes_per_s)


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def _sibling(path: str, data: bytes, sizes: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path}
    if sizes:
        entry |= {"size": len(data), "blobId": _git_sha1(data)}
        if len(data) >= LFS_BYTES:
            entry["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 135}
    return entry


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _git_sha1(data)}
    if len(data) >= LFS_BYTES:
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 135}
    return entry
