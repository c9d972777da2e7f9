"""A server as a user starts it: a process of its own, found on a free port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Running:
    """`output` is what it has printed so far."""

    process: subprocess.Popen
    port: int
    stream_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self.log.read_text()

    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]


@contextlib.contextmanager
def serving(tmp_path: Path, *args: str, env: dict[str, str] | None = None, wait: bool = True) -> Iterator[Running]:
    """`publican serve` with these words, until it answers; ended with Ctrl-C."""
    port, stream_port = free_port(), free_port()
    log = tmp_path / f"serve-{port}.log"
    command = [sys.executable, "-m", "publican", "serve", *args, "--port", str(port), "--stream-port", str(stream_port)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PUBLICAN_", "HF_"))} | (env or {})
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=tmp_path, env=environment)
    running = Running(process, port, stream_port, log)
    try:
        if wait:
            wait_until_up(running)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(running: Running, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{running.output}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{running.url}/health").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the server does not answer:\n{running.output}")
