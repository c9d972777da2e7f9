"""The worker process: one model, one engine. Started by `worker_process`; not a command for people.

Main thread: builds the executor, then runs the engine. Reader thread: commands from stdin to the engine's inbox, and answers
to pings; the end of stdin means that the host is gone, and ends a model that is still being loaded too. stdout carries frames
and nothing else: whatever a native library prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from typing import Any, BinaryIO

from publican.core.errors import EngineError, PublicanError
from publican.engine.engine import Engine
from publican.engine.job import Close
from publican.hardware.nvml import free_bytes, load_nvml
from publican.host import executor_for, frames
from publican.host.options import WorkerSpec

log = logging.getLogger("publican.worker")

_PROGRESS_EVERY_S = 0.1
_LAST_STEP_S = 10.0


def main() -> None:
    for meant_for_host in (signal.SIGINT, signal.SIGTERM):  # the host answers these, and closes our stdin
        signal.signal(meant_for_host, signal.SIG_IGN)
    out = _Out(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")  # not sys.stdin, which Python wants to close at the end while a thread reads it
    spec = frames.read(source)
    if not isinstance(spec, WorkerSpec):
        return
    logging.basicConfig(level=logging.INFO, handlers=[_LogToHost(out)])
    commands = _Commands(source, out)
    threading.Thread(target=commands.read, name="commands", daemon=True).start()
    engine = _start(spec, out, commands)
    if engine is None:
        return
    try:
        engine.run()
    except Exception:  # noqa: BLE001 - the engine has logged it and failed whoever waited
        raise SystemExit(1) from None


def _start(spec: WorkerSpec, out: _Out, commands: _Commands) -> Engine | None:
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # GPUs as the planner counts them, which is NVML's order
    began = time.perf_counter()
    gpu_free = _gpu_free(spec)
    try:
        executor = executor_for.build(spec, _Progress(out))
        draft = executor_for.build_draft(spec, _Progress(out))
    except PublicanError as error:
        out.send(frames.LoadFailed(error))
        return None
    except MemoryError:
        out.send(frames.LoadFailed(EngineError("There is not enough memory to load this model.")))
        return None
    except Exception as error:
        log.exception("loading failed")
        out.send(frames.LoadFailed(EngineError(f"The model could not be loaded ({type(error).__name__}); see the log.")))
        return None

    _give_back()
    engine = Engine(executor, spec.vocabulary, out.send, spec.max_running, spec.budget, spec.max_guessing, draft)
    gpu_bytes = max(0, gpu_free - _gpu_free(spec))
    commands.engine = engine
    out.send(frames.Ready(executor.info, time.perf_counter() - began, _resident_bytes(), gpu_bytes))
    return engine


class _Out:
    """What goes to the host, from both threads."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Blocks if the host does not read; a host that is gone ends the worker."""
        data = memoryview(frames.encode(message))
        with self._lock:
            try:
                while data:
                    data = data[self._pipe.write(data) or 0 :]
            except (BrokenPipeError, OSError):
                os._exit(1)


class _LogToHost(logging.Handler):
    """Sends what is logged here to the host's log."""

    def __init__(self, out: _Out) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.send(frames.Logged(record.levelno, record.name, self.format(record)))


class _Commands:
    """What comes from the host. Before `engine` is there nothing comes but the end."""

    def __init__(self, source: BinaryIO, out: _Out) -> None:
        self.engine: Engine | None = None
        self._source = source
        self._out = out

    def read(self) -> None:
        while (command := frames.read(self._source)) is not None:
            if isinstance(command, frames.Ping):
                self._out.send(frames.Pong(self.engine.step_s if self.engine else 0.0))
            elif self.engine is not None:
                self.engine.inbox.put(command)
        if self.engine is not None:
            self.engine.inbox.put(Close())
            time.sleep(_LAST_STEP_S)
        os._exit(1)  # the host is gone, and whatever the other thread does would never end for anybody


class _Progress:
    """Sends loading progress a few times a second."""

    def __init__(self, out: _Out) -> None:
        self._out = out
        self._due_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if now >= self._due_s or done == total:
            self._due_s = now + _PROGRESS_EVERY_S
            self._out.send(frames.Loading(done, total))


def _gpu_free(spec: WorkerSpec) -> int:
    """Free memory of all GPUs, where the model uses them and the driver tells."""
    uses_gpus = spec.backend == "cuda" or (spec.loader == "llama" and spec.gpu_layers != 0)
    return free_bytes(load_nvml()) if uses_gpus else 0


def _give_back() -> None:
    """Give back what loading used for a moment: glibc keeps it otherwise, a third of a small model."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other libraries of C
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main()
