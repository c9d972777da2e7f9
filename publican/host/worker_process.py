"""`WorkerPort`: an engine in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

from publican.core.errors import EngineError
from publican.engine.job import Close, Command, Report
from publican.host import frames
from publican.host.options import WorkerSpec
from publican.host.port import PortCallbacks

_CLOSE_TIMEOUT_S = 5.0


class WorkerPort:
    """Starts `publican.host.worker`, and reads what it says until it ends."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, spec: WorkerSpec, callbacks: PortCallbacks) -> frames.Ready:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "publican.host.worker", stdin=PIPE, stdout=PIPE, limit=1 << 20
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(frames.encode(spec))
            ready = await self._wait_until_ready(process.stdout, callbacks)
        except BaseException:
            await self.close()
            raise
        self._reader = asyncio.create_task(self._read(process, process.stdout, callbacks))
        return ready

    async def _wait_until_ready(self, source: asyncio.StreamReader, callbacks: PortCallbacks) -> frames.Ready:
        while True:
            match await frames.read_async(source):
                case frames.Loading(done, total):
                    callbacks.progress(done, total)
                case frames.Ready() as ready:
                    return ready
                case frames.LoadFailed(error):
                    raise error
                case _:
                    assert self._process is not None
                    how = _how_it_ended(await self._process.wait())
                    raise EngineError(f"The worker ended while it was loading the model ({how}); see the log above.")

    async def _read(self, process: Process, source: asyncio.StreamReader, callbacks: PortCallbacks) -> None:
        while isinstance(message := await frames.read_async(source), Report):
            callbacks.report(message)
        code = await process.wait()
        if not self._closing:
            callbacks.exited(_how_it_ended(code))

    def send(self, command: Command) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(frames.encode(command))

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
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader


def _how_it_ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"
