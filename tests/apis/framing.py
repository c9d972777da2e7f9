"""How streams are cut into messages, each as strictly as the strictest client we know reads it. Fed in pieces of any size."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.apis.sse_parser import SseParser

STREAMS = ("text/event-stream", "application/x-ndjson", "application/octet-stream")


def is_stream(answer: httpx.Response) -> bool:
    return answer.headers.get("content-type", "").split(";")[0] in STREAMS


class Lines:
    """JSON objects behind one another, each ended by `end`; white space before one means nothing."""

    def __init__(self, end: bytes = b"\n") -> None:
        self.events: list[str] = []
        self._end = end
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *complete, self._rest = (self._rest + data).split(self._end)
        for line in complete:
            value = json.loads(line)  # a blank line is an error to most clients, and so it is here
            assert isinstance(value, dict)
            self.events.append(line.decode("ascii").strip())

    def end(self) -> None:
        assert self._rest == b"", f"the stream ends in the middle of a message: {self._rest!r}"

    @property
    def values(self) -> list[Any]:
        return [json.loads(event) for event in self.events]


Parser = SseParser | Lines


def parser_of(path: str) -> Parser:
    """What reads the streams of `path`."""
    if path in ("/api/chat", "/api/generate", "/api/pull"):
        return Lines()
    if path == "/generate":
        return Lines(b"\0")
    return SseParser(named="/messages" in path or "/api/extra/" in path or path.endswith("/responses"))
