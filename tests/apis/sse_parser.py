"""A tiny parser of server-sent events, fed in pieces of any size, as strict as the strictest client we know."""

from __future__ import annotations

import json
from typing import Any


class SseParser:
    """`feed` it bytes; `events` are the data of complete events, `comments` the lines that clients skip.

    Args:
        named: every event has a name on a line of its own; `names` are those.
    """

    def __init__(self, named: bool = False) -> None:
        self.events: list[str] = []
        self.names: list[str] = []
        self.comments: list[str] = []
        self._named = named
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *complete, self._rest = (self._rest + data).split(b"\n\n")
        for block in complete:
            lines = block.decode("ascii").split("\n")
            if lines[0].startswith(":"):
                assert len(lines) == 1
                self.comments.append(lines[0])
                continue
            if self._named:
                name = lines.pop(0)
                assert name.startswith("event: "), f"not 'event: ' with one space: {name!r}"
                self.names.append(name[7:])
            assert len(lines) == 1, f"an event of more than one line of data: {lines}"
            line = lines[0]
            assert line.startswith("data: "), f"not 'data: ' with one space: {line!r}"
            assert line[6:], "an event without data"
            self.events.append(line[6:])

    def end(self) -> None:
        assert self._rest == b"", f"the stream ends in the middle of an event: {self._rest!r}"

    @property
    def values(self) -> list[Any]:
        """The events as JSON, without the last ``[DONE]``."""
        assert self.events, "no events"
        return [json.loads(event) for event in self.events if event != "[DONE]"]


def parse_sse(data: bytes, size: int | None = None) -> SseParser:
    parser = SseParser()
    step = size or len(data) or 1
    for at in range(0, len(data), step):
        parser.feed(data[at : at + step])
    parser.end()
    return parser
