"""`WorkerPort`: an engine in a process of its own. Event loop only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import publican
from publican.core.errors import EngineError
from publican.engine.job import Close, Command, Report
from publican.host import frames
from publican.host.options import WorkerSpec
from publican.host.port import PortCallbacks

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 5.0
_PING_EVERY_S = 5.0
_MAX_UNANSWERED = 6
_LONGEST_STEP_S = 600.0
"""A step is made to take a tenth of a second; one that takes this long will never end. Weights read from a slow disk in every
step are the slowest thing known that works."""

_CODE = """\
import sys
sys.path.insert(0, {root!r})
import publican
del sys.path[0]
from publican.host.worker import main
main()
"""
"""Our own package, wherever it is, and all else as it is installed. Not `-m`: that would look for modules in the folder that
the host was started in first, whatever lies there."""


class WorkerPort:
    """Starts `publican.host.worker`, and reads what it says until it ends. One that answers no more is killed.

    Args:
        ping_every_s: how often it is asked whether it is there. Six questions without an answer are enough.
    """

    def __init__(self, ping_every_s: float = _PING_EVERY_S) -> None:
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ping_every_s = ping_every_s
        self._num_unanswered = 0
        self._step_s = 0.0
        self._closing = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, spec: WorkerSpec, callbacks: PortCallbacks) -> frames.Ready:
        self._process = process = await _spawn()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(frames.encode(spec))
            ready = await self._wait_until_ready(process.stdout, callbacks)
        except BaseException:  # cancelled too: a process that only loads has nothing to lose
            _kill(process)
            await process.wait()
            raise
        self._reader = asyncio.create_task(self._read(process, process.stdout, callbacks))
        self._watcher = asyncio.create_task(self._watch(process))
        return ready

    async def _wait_until_ready(self, source: asyncio.StreamReader, callbacks: PortCallbacks) -> frames.Ready:
        while True:
            match await frames.read_async(source):
                case frames.Loading(done, total):
                    callbacks.progress(done, total)
                case frames.Logged() as line:
                    self._log(line)
                case frames.Ready() as ready:
                    return ready
                case frames.LoadFailed(error):
                    raise error
                case _:
                    assert self._process is not None
                    how = _how_it_ended(await self._process.wait())
                    raise EngineError(f"The worker ended while it was loading the model ({how}); see the log above.")

    async def _read(self, process: Process, source: asyncio.StreamReader, callbacks: PortCallbacks) -> None:
        try:
            await self._listen(source, callbacks)
        except Exception:  # a worker that nobody listens to would keep its requests waiting for ever
            log.exception("worker %d is killed: what it said could not be dealt with", process.pid)
            _kill(process)
        code = await process.wait()
        if self._watcher is not None:
            self._watcher.cancel()
        if not self._closing:
            callbacks.exited(_how_it_ended(code))

    async def _listen(self, source: asyncio.StreamReader, callbacks: PortCallbacks) -> None:
        """Until the worker says nothing more."""
        while True:
            message = await frames.read_async(source)
            self._num_unanswered = 0
            if isinstance(message, Report):
                callbacks.report(message)
            elif isinstance(message, frames.Pong):
                self._step_s = message.step_s
            elif isinstance(message, frames.Logged):
                self._log(message)
            else:
                return

    def _log(self, line: frames.Logged) -> None:
        logging.getLogger(line.logger).log(line.level, "%s", line.text, extra={"worker": self.pid})

    async def _watch(self, process: Process) -> None:
        """Questions are counted, not seconds: where the whole machine stood still, nobody is to blame."""
        while self._num_unanswered < _MAX_UNANSWERED and self._step_s < _LONGEST_STEP_S:
            self._num_unanswered += 1
            self._write(frames.Ping())
            await asyncio.sleep(self._ping_every_s)
        why = "its step does not end" if self._step_s >= _LONGEST_STEP_S else "it does not answer"
        log.error("worker %d is killed: %s", process.pid, why)
        _kill(process)

    def send(self, command: Command) -> None:
        self._write(command)

    def _write(self, message: Command | frames.Ping) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(frames.encode(message))

    async def close(self) -> None:
        self._closing = True
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            self.send(Close())
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _CLOSE_TIMEOUT_S)
            except (TimeoutError, asyncio.CancelledError):
                _kill(process)
                await process.wait()
        if self._reader is not None:
            await self._reader


async def _spawn() -> Process:
    """A worker in a session of its own, so that Ctrl-C in a terminal reaches the host alone.

    Raises:
        EngineError: the system has no room for another process.
    """
    code = _CODE.format(root=str(Path(publican.__file__).parents[1]))
    own: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", code, stdin=PIPE, stdout=PIPE, limit=1 << 20, **own
        )
    except OSError as error:
        raise EngineError(f"The model's process could not be started: {error.strerror}.") from None


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _how_it_ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"
