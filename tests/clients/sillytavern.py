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


DEFAULTS: dict[str, Any] = {
    "temperature": 0,
    "top_p": 0.5,
    "typical_p": 1,
    "typical": 1,
    "min_p": 0,
    "repetition_penalty": 1.2,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "top_k": 40,
    "skew": 0,
    "min_tokens": 0,
    "add_bos_token": True,
    "smoothing_factor": 0,
    "smoothing_curve": 1,
    "dry_allowed_length": 2,
    "dry_multiplier": 0,
    "dry_base": 1.75,
    "dry_sequence_breakers": '["\\n",":","\\"","*"]',
    "dry_penalty_last_n": 0,
    "max_tokens_second": 0,
    "truncation_length": 1024,
    "ban_eos_token": False,
    "skip_special_tokens": True,
    "include_reasoning": True,
    "top_a": 0,
    "tfs": 1,
    "mirostat_mode": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "custom_token_bans": "",
    "banned_strings": [],
    "xtc_threshold": 0.1,
    "xtc_probability": 0,
    "nsigma": 0,
    "top_n_sigma": 0,
    "min_keep": 0,
    "adaptive_target": -0.01,
    "adaptive_decay": 0.9,
    "rep_pen": 1.2,
    "rep_pen_range": 0,
    "repetition_penalty_range": 0,
    "guidance_scale": 1,
    "negative_prompt": "",
    "repeat_penalty": 1.2,
    "repeat_last_n": 0,
    "num_ctx": 1024,
    "mirostat": 0,
    "ignore_eos": False,
    "rep_pen_slope": 1,
}
"""What its parameter builder sends along with its default settings, but for the temperature and the context's length."""


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
