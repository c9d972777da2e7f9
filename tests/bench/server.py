"""A server with OpenAI's API that says "word" as often as it is asked to, on loopback, in the loop of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Behaviour:
    """How the fake answers.

    Attributes:
        token_s: a pause before each token; prompt_s: before the first.
        says_usage: whether the last chunk counts tokens; cached: what it says of the cache, None for nothing.
        fails: gives a kind of trouble for a request's body and number, or None: ``429``, ``event``, ``cut``, ``noise``.
    """

    token_s: float = 0.0
    prompt_s: float = 0.0
    says_usage: bool = True
    cached: int | None = None
    fails: Callable[[dict[str, Any], int], str | None] = lambda body, number: None
    models: tuple[str, ...] = ("fake",)


@dataclass
class FakeServer:
    """Use as ``async with``. `asked` holds (path, headers, body) of every request for an answer."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0

    async def __aenter__(self) -> FakeServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False if the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        path = first.split()[1]
        if path == "/v1/models":
            _whole(writer, 200, {"data": [{"id": name} for name in self.behaviour.models]})
            return True
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.asked.append((path, headers, body))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._stream(writer, path, body, len(self.asked) - 1)
        finally:
            self._at_once -= 1

    async def _stream(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], number: int) -> bool:
        trouble = self.behaviour.fails(body, number)
        if trouble == "429":
            _whole(writer, 429, {"error": {"message": "too many", "code": 429}})
            return True
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await asyncio.sleep(self.behaviour.prompt_s)
        is_chat = path.endswith("/chat/completions")
        if is_chat:
            _event(writer, {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        for i in range(body["max_tokens"]):
            await asyncio.sleep(self.behaviour.token_s)
            _event(writer, {"choices": [{"index": 0, **_piece(f" word{i}", is_chat)}]})
            await writer.drain()
            if trouble == "cut" and i == 1:
                return False
            if trouble == "event" and i == 1:
                _event(writer, {"error": {"message": "the model fell over"}})
                break
            if trouble == "noise" and i == 1:
                _chunk(writer, b"data: {not json\n\n")
        _event(writer, {"choices": [{"index": 0, "finish_reason": "length", **_piece("", is_chat)}]})
        if self.behaviour.says_usage:
            usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": body["max_tokens"], "total_tokens": 0}
            if self.behaviour.cached is not None:
                usage["prompt_tokens_details"] = {"cached_tokens": self.behaviour.cached}
            _event(writer, {"choices": [], "usage": usage})
        _chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        return True


def _piece(text: str, is_chat: bool) -> dict[str, Any]:
    return {"delta": {"content": text}} if is_chat else {"text": text}


def _event(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    _chunk(writer, b"data: " + json.dumps(body).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _whole(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
