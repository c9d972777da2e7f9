"""Websockets: a session reads JSON messages of one client and answers each, in order. Event loop only; knows no dialect.

A message that comes while another is being answered waits. A client that closes cancels what is being answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from publican.apis.body import parsed
from publican.apis.dialect import SocketRoute
from publican.apis.errors import ClientGone, as_public, status_of
from publican.apis.path_keys import IN_ADDRESS
from publican.apis.record import GONE, Record
from publican.apis.respond import encode
from publican.apis.server import Call, Server
from publican.core.errors import InvalidRequest, NotAllowed, Overloaded, PublicanError
from publican.core.request import Caller

MAX_WAITING_MESSAGES = 16

_CLOSE_CODES: Mapping[type[PublicanError], int] = {
    PublicanError: 1011,
    InvalidRequest: 1008,
    NotAllowed: 1008,
    Overloaded: 1013,
}
"""Why a websocket is closed, as its protocol says it: policy, try again later, or a fault of ours."""

_SWITCHING = 101


def session(server: Server, route: SocketRoute) -> Callable[[WebSocket], Awaitable[None]]:
    """`route` as the web framework wants it."""

    async def run(websocket: WebSocket) -> None:
        try:
            key = route.dialect.key_in(websocket.headers) or websocket.query_params.get("key")
            caller = await server.caller_of(key, route.auth, IN_ADDRESS in websocket.scope) if key else None
            await websocket.accept()
        except NotAllowed as error:
            await websocket.close(1008, _reason(error))  # before accepting: the handshake is answered with 403
            return
        messages = _Messages(websocket)
        try:
            while True:
                await _answer(server, route, websocket, messages, caller)
        except ClientGone:
            pass
        except PublicanError as error:
            if websocket.application_state is WebSocketState.CONNECTED:
                await websocket.close(status_of(error, _CLOSE_CODES), _reason(error))
        finally:
            messages.close()

    return run


class _Messages:
    """What the client sends, read ahead, so that its leaving is seen while an answer is being made."""

    def __init__(self, websocket: WebSocket) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._websocket = websocket
        self._reader = asyncio.create_task(self._read())

    async def next(self) -> bytes:
        while not self._waiting:
            if self.gone.done():
                raise ClientGone
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                if len(self._waiting) == MAX_WAITING_MESSAGES:
                    await self._websocket.close(1008, f"More than {MAX_WAITING_MESSAGES} messages are waiting; send fewer.")
                    break
                text = message.get("text")
                self._waiting.append(text.encode("utf-8", "replace") if text is not None else message.get("bytes") or b"")
                self._arrived.set()
        finally:
            if not self.gone.done():
                self.gone.set_result(None)
            self._arrived.set()

    def close(self) -> None:
        self._reader.cancel()


async def _answer(server: Server, route: SocketRoute, websocket: WebSocket, messages: _Messages, caller: Caller | None) -> None:
    async def say(value: Any) -> None:
        try:
            await websocket.send_text(encode(value).decode())
        except (WebSocketDisconnect, RuntimeError):
            raise ClientGone from None

    message = await messages.next()
    record = Record(server.metrics, route.dialect.name, route.path)
    try:
        body = await parsed(message)
        caller = caller or await server.caller_of(_key_in_body(body), route.auth)
        record.user = caller.user
        await route.handler(Call(server, route, caller, record, body, websocket.path_params, gone=messages.gone), say)
        record.end(_SWITCHING)
    except ClientGone:
        record.end(GONE)
        raise
    except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
        public = as_public(error)
        record.end(status_of(public, route.dialect.statuses), public)
        raise public from None


def _key_in_body(body: Mapping[str, Any]) -> str | None:
    """A browser cannot set headers on a websocket; the client of 2023 puts the headers its user adds among the fields."""
    fields = {name.lower(): value for name, value in body.items() if isinstance(value, str)}
    bearer = fields.get("authorization", "")
    return bearer.removeprefix("Bearer ").strip() or fields.get("x-api-key") or None


def _reason(error: PublicanError) -> str:
    """The sentence, as long as a close frame can hold it."""
    return str(error).encode()[:120].decode("utf-8", "ignore")
