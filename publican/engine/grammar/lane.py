"""`Lane`: a thread that does one thing after the other, with a deep stack. It keeps nobody from leaving the process."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

LANE_STACK_BYTES = 64 << 20
"""Of address space. llguidance follows rules by recursion, some kilobytes for each; the usual 8 MiB end within 3,000."""


class Lane:
    """`submit` and `close` are called on one thread; the lane's own starts with its first work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._has_begun = False

    def submit(self, work: Callable[[], None]) -> None:
        """Do `work`, which raises nothing, when all that came before is done."""
        if not self._has_begun:
            with deep_stack(LANE_STACK_BYTES):
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._has_begun = True
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def close(self) -> None:
        """Begin nothing more. Does not wait."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._work.get_nowait()
        self._work.put(None)


@contextlib.contextmanager
def deep_stack(num_bytes: int) -> Iterator[None]:
    """Threads that are started meanwhile have a stack of `num_bytes`, where the system gives one."""
    try:
        before = threading.stack_size(num_bytes)
    except (ValueError, RuntimeError):
        yield
        return
    try:
        yield
    finally:
        threading.stack_size(before)
