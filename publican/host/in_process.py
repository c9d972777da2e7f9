"""`ThreadPort`: an engine on a thread of this process. For tests and debugging; a crash in it is a crash of everything."""

from __future__ import annotations

import asyncio
import threading
import time

from publican.engine.engine import Engine
from publican.engine.job import Close, Command, Report
from publican.host import executor_for
from publican.host.frames import Ready
from publican.host.options import WorkerSpec
from publican.host.port import PortCallbacks


class ThreadPort:
    """The in-process twin of `WorkerPort`."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    async def start(self, spec: WorkerSpec, callbacks: PortCallbacks) -> Ready:
        loop = asyncio.get_running_loop()

        def emit(report: Report) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callbacks.report, report)

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(callbacks.progress, done, total)

        def run(engine: Engine) -> None:
            try:
                engine.run()
            except Exception as error:  # noqa: BLE001 - the engine has logged it; here it means only that it is gone
                if not self._closing and not loop.is_closed():
                    loop.call_soon_threadsafe(callbacks.exited, repr(error))

        began = time.perf_counter()
        executor = await asyncio.to_thread(executor_for.build, spec, progress)
        try:
            draft = await asyncio.to_thread(executor_for.build_draft, spec, progress)
        except BaseException:
            executor.close()
            raise
        self._engine = Engine(executor, spec.vocabulary, emit, spec.max_running, spec.budget, spec.max_guessing, draft)
        self._thread = threading.Thread(target=run, args=(self._engine,), name="engine", daemon=True)
        self._thread.start()
        return Ready(executor.info, time.perf_counter() - began, 0)

    def send(self, command: Command) -> None:
        if self._engine is not None:
            self._engine.inbox.put(command)

    async def close(self) -> None:
        self._closing = True
        if self._engine is not None and self._thread is not None:
            self._engine.inbox.put(Close())
            await asyncio.to_thread(self._thread.join, 5.0)
