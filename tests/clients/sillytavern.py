"""SillyTavern without a browser: from the npm registry, installed once, started on a free port.

A browser talks to SillyTavern's own server, and that server talks to us; the tests play the browser.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cli.running import free_port
from tests.clients.npm import node_package

VERSION = "1.19.0"
FOLDER = Path.home() / ".cache" / "publican-tests" / "sillytavern"
START_S = 120

NO_BROWSER = """\
import { register } from 'node:module';
const webpack = `const webpack = () => ({ run: done => done(null, null), close: done => done() });
webpack.version = '0'; export default webpack;`;
const hooks = `export const resolve = (name, context, next) => name === 'webpack'
  ? { url: 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(webpack)}), shortCircuit: true }
  : next(name, context);`;
register('data:text/javascript,' + encodeURIComponent(hooks));
"""
"""Nobody loads its pages here, so nothing has to be compiled for a browser; that would take a minute of a start."""

SETTINGS = """\
listen: false
whitelistMode: false
basicAuthMode: false
disableCsrfProtection: true
browserLaunch:
  enabled: false
enableUserAccounts: false
skipContentCheck: true
enableDownloadableTokenizers: false
enableServerPlugins: false
extensions:
  autoUpdate: false
"""


def installed() -> Path:
    """The folder of the package."""
    return node_package(FOLDER, f"sillytavern@{VERSION}") / "sillytavern"


@dataclass
class SillyTavern:
    """`post` is what the browser would send; `upstream` the address of our server."""

    http: httpx.Client
    upstream: str
    log: Path

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.http.post(path, json=body)

    def stream(self, path: str, body: dict[str, Any]) -> str:
        """The whole stream as text."""
        with self.http.stream("POST", path, json=body) as answer:
            assert answer.status_code == 200, answer.read()
            return "".join(answer.iter_text())

    def hang_up(self, path: str, body: dict[str, Any]) -> str:
        """The beginning of a stream; then the browser's stop button."""
        with self.http.stream("POST", path, json=body) as answer:
            return next(answer.iter_text())


@contextlib.contextmanager
def running(upstream: str, data: Path) -> Iterator[SillyTavern]:
    """SillyTavern with no settings but ours, for as long as the block lasts."""
    package = installed()
    port = free_port()
    (data / "config.yaml").write_text(SETTINGS)
    (data / "no-browser.mjs").write_text(NO_BROWSER)
    node = ["node", "--import", (data / "no-browser.mjs").as_uri(), str(package / "server.js")]
    command = [*node, "--configPath", str(data / "config.yaml"), "--port", str(port)]
    log = data / "log"
    with log.open("wb") as file:
        environment = os.environ | {"NODE_ENV": "production"}
        process = subprocess.Popen(
            [*command, "--dataRoot", str(data / "data"), "--disableCsrf"], stdout=file, stderr=file, cwd=data, env=environment
        )
    try:
        # it closes connections when a client goes, so each call has its own
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as http:
            _wait_until_up(process, http, log)
            yield SillyTavern(http, upstream, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_until_up(process: subprocess.Popen[bytes], http: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"SillyTavern ended:\n{log.read_text()[-2_000:]}"
        with contextlib.suppress(httpx.HTTPError):
            if http.get("/version").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"SillyTavern does not answer:\n{log.read_text()[-2_000:]}")
