"""Each line of a stream leaves in a chunk of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from publican.apis.ollama.lines import LineByLine
from publican.core.events import ChoiceFinished, Delta, Finished, FinishReason, Started, Usage
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of


def chunks_of(*bodies: bytes) -> list[tuple[bytes, bool]]:
    """What is sent of a body that was sent in these pieces."""
    sent: list[Any] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at, body in enumerate(bodies):
            await send({"type": "http.response.body", "body": body, "more_body": at < len(bodies) - 1})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    asyncio.run(LineByLine(answer)({"type": "http"}, receive, send))
    assert sent[0]["type"] == "http.response.start"
    return [(message["body"], message["more_body"]) for message in sent[1:]]


def test_lines_leave_one_by_one_and_only_the_last_ends_the_answer() -> None:
    assert chunks_of(b"a\nb\n", b" ", b"c\n", b"d\ne\n") == [
        (b"a\n", True),
        (b"b\n", True),
        (b" ", True),
        (b"c\n", True),
        (b"d\n", True),
        (b"e\n", False),
    ]
    assert chunks_of(b"a\n", b"") == [(b"a\n", True), (b"", False)]


def test_what_an_engine_says_at_once_leaves_in_several_chunks() -> None:
    host = ScriptedHost(
        lambda request: [
            Started(1),
            Delta(0, "a"),
            Delta(0, "b"),
            ChoiceFinished(0, FinishReason.LENGTH),
            Finished(Usage(1, 2)),
        ]
    )
    bodies: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    sent = [{"type": "http.request", "body": b'{"model": "m", "prompt": "x"}', "more_body": False}]

    async def receive() -> Any:
        if sent:
            return sent.pop()
        return await asyncio.sleep(60)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/generate",
        "raw_path": b"/api/generate",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(app_of(host)(scope, receive, send))
    assert len(bodies) >= 2
    assert all(body.count(b"\n") <= 1 for body in bodies)
