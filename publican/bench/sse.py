"""Reads server-sent events out of bytes that arrive in any pieces. Follows the WHATWG's HTML standard, section 9.2."""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventReader:
    """Gives the data of every event once its last byte is there. Names, ids and retry times of events are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[str]:
        """The events that `piece` completes."""
        buffer = self._rest + piece
        events, start = [], 0
        for end in _LINE_END.finditer(buffer):
            if end.end() == len(buffer) and end.group() == b"\r":
                break  # the other half of \r\n may follow
            event = self._take(buffer[start : end.start()])
            if event is not None:
                events.append(event)
            start = end.end()
        self._rest = buffer[start:]
        return events

    def _take(self, line: bytes) -> str | None:
        if not line:
            data, self._data = self._data, []
            return b"\n".join(data).decode(errors="replace") if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return None
