"""The worker process: one model, one engine. Started by `worker_process`; not a command for people.

Main thread: builds the executor, then runs the engine. Reader thread: commands from stdin to the engine's inbox; the end
of stdin means that the host is gone. stdout carries frames and nothing else: whatever a native library prints goes to stderr.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

from publican.core.errors import EngineError, PublicanError
from publican.engine.engine import Engine
from publican.engine.job import Close, Report
from publican.hardware.nvml import free_bytes, load_nvml
from publican.host import executor_for, frames
from publican.host.options import WorkerSpec

log = logging.getLogger("publican.worker")

_PROGRESS_EVERY_S = 0.1


def main() -> None:
    for meant_for_host in (signal.SIGINT, signal.SIGTERM):  # the host answers these, and closes our stdin
        signal.signal(meant_for_host, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    spec = frames.read(sys.stdin.buffer)
    if not isinstance(spec, WorkerSpec):
        return
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s worker %(name)s: %(message)s")
    engine = _start(spec, out)
    if engine is None:
        return
    threading.Thread(target=_read_commands, args=(sys.stdin.buffer, engine), name="commands", daemon=True).start()
    engine.run()


def _start(spec: WorkerSpec, out: BinaryIO) -> Engine | None:
    began = time.perf_counter()
    gpu_free = _gpu_free(spec)
    try:
        executor = executor_for.build(spec, _Progress(out))
    except PublicanError as error:
        _send(out, frames.LoadFailed(error))
        return None
    except MemoryError:
        _send(out, frames.LoadFailed(EngineError("There is not enough memory to load this model.")))
        return None
    except Exception as error:
        log.exception("loading failed")
        _send(out, frames.LoadFailed(EngineError(f"The model could not be loaded ({type(error).__name__}); see the log.")))
        return None

    def emit(report: Report) -> None:
        _send(out, report)

    engine = Engine(executor, spec.vocabulary, emit, spec.max_running, spec.budget, spec.max_guessing)
    gpu_bytes = max(0, gpu_free - _gpu_free(spec))
    _send(out, frames.Ready(executor.info, time.perf_counter() - began, _resident_bytes(), gpu_bytes))
    return engine


def _read_commands(source: BinaryIO, engine: Engine) -> None:
    while (command := frames.read(source)) is not None:
        engine.inbox.put(command)
    engine.inbox.put(Close())


def _send(out: BinaryIO, message: Any) -> None:
    """Blocks if the host does not read; a host that is gone ends the worker."""
    data = memoryview(frames.encode(message))
    try:
        while data:
            data = data[out.write(data) or 0 :]
    except (BrokenPipeError, OSError):
        os._exit(1)


class _Progress:
    """Sends loading progress a few times a second."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._due_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if now >= self._due_s or done == total:
            self._due_s = now + _PROGRESS_EVERY_S
            _send(self._out, frames.Loading(done, total))


def _gpu_free(spec: WorkerSpec) -> int:
    """Free memory of all GPUs, where the model uses them and the driver tells."""
    uses_gpus = spec.backend == "cuda" or (spec.loader == "llama" and spec.gpu_layers != 0)
    return free_bytes(load_nvml()) if uses_gpus else 0


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main()
