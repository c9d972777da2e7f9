"""Each line of a stream as a chunk of its own. ASGI; event loop only.

Ollama writes its lines one by one, and there are clients (SillyTavern) that take whatever arrives at once for one line. What is
ready together is written together here, so it is taken apart again.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LineByLine:
    """`answer`, whose body leaves line by line."""

    def __init__(self, answer: ASGIApp) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def apart(message: Message) -> None:
            lines = message.get("body", b"").splitlines(keepends=True)
            for line in lines[:-1]:
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({**message, "body": lines[-1]} if len(lines) > 1 else message)

        await self._answer(scope, receive, apart)
