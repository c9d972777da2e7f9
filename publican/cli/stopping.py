"""Ctrl-C and SIGTERM. Main thread, while an event loop runs there."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


@contextmanager
def when_asked_to_stop(act: Callable[[], object]) -> Iterator[None]:
    """Within, each such signal calls `act` on the event loop, and does nothing else."""
    loop = asyncio.get_running_loop()

    def heard(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(act)  # wakes the loop, too

    before = {number: signal.signal(number, heard) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
