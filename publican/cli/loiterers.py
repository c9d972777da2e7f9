"""Connections that never say what they want. Event loop only.

The web server waits for ever for the rest of a request, and a few hundred halves of requests, by malice or by a broken
proxy, would leave no room for anybody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

HEAD_S = 60.0
BODY_S = 300.0
"""For the whole of it: 16 MiB at half a megabit a second."""


class _Waiting(NamedTuple):
    """Since when a connection has owed us the rest of a request. `cycle` is uvicorn's for the request before, or this one."""

    cycle: object
    owes: str
    since_s: float


class Loiterers:
    """Knows since when each connection has been waited for.

    Args:
        head_s: how long one may take to send a request's head; more than the server keeps an idle one.
        body_s: and its body.
    """

    def __init__(self, head_s: float = HEAD_S, body_s: float = BODY_S) -> None:
        self._limits = {"head": head_s, "body": body_s}
        self._waiting: dict[Any, _Waiting] = {}

    def sweep(self, connections: Iterable[Any], now_s: float) -> None:
        """Close those that have taken too long. To be called every few seconds with all of uvicorn's connections."""
        waiting = {}
        for connection in connections:
            owes = _owes(connection)
            if owes is None:
                continue
            before = self._waiting.get(connection)
            if before is None or (before.cycle, before.owes) != (connection.cycle, owes):
                before = _Waiting(connection.cycle, owes, now_s)
            if now_s - before.since_s > self._limits[owes]:
                connection.transport.close()
            else:
                waiting[connection] = before
        self._waiting = waiting


def _owes(connection: Any) -> str | None:
    """What we wait for: the head of a request, the rest of its body, or nothing."""
    if not hasattr(connection, "cycle") or connection.transport is None:
        return None  # a websocket
    cycle = connection.cycle
    if cycle is None or cycle.response_complete:
        idle = connection.timeout_keep_alive_task is not None  # between requests; the server itself ends this
        return None if idle else "head"
    return "body" if cycle.more_body else None
