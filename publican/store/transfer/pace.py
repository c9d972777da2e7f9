"""How fast it goes, and no faster than allowed. Clocks only; used on one event loop."""

from __future__ import annotations

import asyncio
from collections import deque

_WINDOW_S = 5.0


class Limiter:
    """Lets `bytes_per_s` through, by making whoever took too much sleep it off. None lets everything through."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at_s = 0.0

    async def took(self, num_bytes: int) -> None:
        if self._bytes_per_s is None:
            return
        now_s = asyncio.get_running_loop().time()
        self._free_at_s = max(now_s, self._free_at_s) + num_bytes / self._bytes_per_s
        await asyncio.sleep(self._free_at_s - now_s)


class Meter:
    """Bytes that came lately."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, int]] = deque()
        self._num_bytes = 0
        self._since_s: float | None = None

    def add(self, num_bytes: int, now_s: float) -> None:
        if self._since_s is None:
            self._since_s = now_s
        self._arrivals.append((now_s, num_bytes))
        self._num_bytes += num_bytes
        self._forget(now_s)

    def bytes_per_s(self, now_s: float) -> float:
        self._forget(now_s)
        if self._since_s is None:
            return 0.0
        return self._num_bytes / max(0.2, min(_WINDOW_S, now_s - self._since_s))

    def _forget(self, now_s: float) -> None:
        while self._arrivals and self._arrivals[0][0] < now_s - _WINDOW_S:
            self._num_bytes -= self._arrivals.popleft()[1]
