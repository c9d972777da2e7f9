"""Answers on their way out: ASGI responses that send bytes themselves. Event loop only; knows no dialect.

`StreamAnswer` and `WholeAnswer` run a call's requests and say what comes; a dialect only renders. Both begin nothing before
they are sent, cancel everything when the client hangs up, and end the call's record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from publican.apis.dialect import Dialect
from publican.apis.errors import ClientGone, as_public, error_headers, status_of
from publican.apis.feed import Feed, Item
from publican.apis.fold import Fold
from publican.apis.record import GONE
from publican.apis.server import Call
from publican.apis.sse import compact
from publican.core.errors import PublicanError
from publican.core.events import Failed, Queued
from publican.core.request import Request

Headers = Mapping[str, str]

_HTTP: Scope = {"type": "http"}


class Json(Response):
    """A complete JSON answer."""

    def __init__(self, value: Any, status: int = 200, headers: Headers | None = None) -> None:
        super().__init__(encode(value), status, headers, "application/json")


def refusal(dialect: Dialect, error: PublicanError) -> Json:
    """`error` as `dialect` says it before an answer has begun."""
    status = status_of(error, dialect.statuses)
    return Json(dialect.error_body(error, status), status, {**dialect.headers, **error_headers(error, status)})


class Stream(Protocol):
    """A dialect's rendering of one streamed answer. It may keep state; it is used for one answer only."""

    @property
    def media_type(self) -> str: ...

    def render(self, items: list[Item]) -> bytes:
        """What these events say; empty if nothing. `Failed` never is among them; `Queued` may be, and says nothing."""
        ...

    def failed(self, error: PublicanError) -> bytes:
        """How the stream ends when the answer breaks off."""
        ...

    def waiting(self, queued: Queued | None) -> bytes:
        """Something that keeps the connection alive and that every client skips."""
        ...


class _Answer:
    def __init__(self, call: Call, requests: Sequence[Request]) -> None:
        self._call = call
        self._requests = tuple(requests)
        self._started = False
        call.record.asks(self._requests, call.server.model_name(self._requests[0].model))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(hang_up(receive))
        feed = Feed(gone, self._call.record.saw)
        try:
            feed.open(self._call.host, self._requests)
            status = await self._answer(feed, send)
            self._call.record.end(status)
        except ClientGone:
            self._call.record.end(GONE)
        except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
            public = as_public(error)
            status = await self._fail(public, send)
            self._call.record.end(status, public)
        finally:
            await feed.close()
            gone.cancel()
            self._call.record.end(GONE)  # only if none of the above: the server is shutting down

    async def _answer(self, feed: Feed, send: Send) -> int:
        raise NotImplementedError

    def _last_words(self, error: PublicanError) -> bytes:
        """How an answer that has begun says `error`."""
        raise NotImplementedError

    async def _begin(self, send: Send, headers: Headers) -> None:
        self._started = True
        await begin(send, 200, {**headers, **self._headers})

    async def _fail(self, error: PublicanError, send: Send) -> int:
        if self._started:
            await body(send, self._last_words(error))
            return 200
        answer = refusal(self._call.route.dialect, error)
        self._started = True
        await answer(_HTTP, nothing, send)
        return answer.status_code

    @property
    def _headers(self) -> dict[str, str]:
        return {**self._call.route.dialect.headers, "x-request-id": self._requests[0].id}


class StreamAnswer(_Answer):
    """The answer as it is being made. `stream` renders it."""

    def __init__(self, call: Call, requests: Sequence[Request], stream: Stream) -> None:
        super().__init__(call, requests)
        self._stream = stream
        self._queued: Queued | None = None

    async def _answer(self, feed: Feed, send: Send) -> int:
        config = self._call.server.config
        items = await feed.take(config.commit_s)
        if items and isinstance(items[-1].event, Failed):
            return await self._fail(items[-1].event.error, send)
        headers = {"content-type": self._stream.media_type, "cache-control": "no-cache", "x-accel-buffering": "no"}
        await self._begin(send, headers)
        while True:
            data = self._say(items)
            if data or feed.ended:
                await body(send, data, more=not feed.ended)
            if feed.ended:
                return 200
            items = await feed.take(config.ping_s)

    def _say(self, items: list[Item]) -> bytes:
        if not items:
            return self._stream.waiting(self._queued)
        newest = items[-1].event
        self._queued = newest if isinstance(newest, Queued) else None
        if isinstance(newest, Failed):
            return self._stream.render(items[:-1]) + self._last_words(newest.error)
        if isinstance(newest, Queued):
            return self._stream.render(items) + self._stream.waiting(newest)
        return self._stream.render(items)

    def _last_words(self, error: PublicanError) -> bytes:
        return self._stream.failed(error)


class WholeAnswer(_Answer):
    """The answer when it is complete. `whole` makes the JSON of it.

    One that takes long gets its status early and then spaces, which JSON allows before a value, so that no proxy or tunnel
    takes the connection for dead. After that an error can no longer change the status: its JSON is the dialect's error.
    """

    def __init__(self, call: Call, requests: Sequence[Request], whole: Callable[[Fold], Any]) -> None:
        super().__init__(call, requests)
        self._whole = whole

    async def _answer(self, feed: Feed, send: Send) -> int:
        fold = Fold()
        await self._collect(feed, fold, send)
        if fold.error is not None:
            return await self._fail(fold.error, send)
        value = self._whole(fold)
        if self._started:
            await body(send, encode(value))
        else:
            self._started = True
            await Json(value, 200, self._headers)(_HTTP, nothing, send)
        return 200

    async def _collect(self, feed: Feed, fold: Fold, send: Send) -> None:
        config = self._call.server.config
        now_s = asyncio.get_running_loop().time
        space_due_s = now_s() + config.patience_s
        while not feed.ended:
            fold.add(await feed.take(max(0.0, space_due_s - now_s())))
            if now_s() >= space_due_s and not feed.ended:
                if not self._started:
                    await self._begin(send, {"content-type": "application/json"})
                await body(send, b" ", more=True)
                space_due_s = now_s() + config.ping_s

    def _last_words(self, error: PublicanError) -> bytes:
        dialect = self._call.route.dialect
        return encode(dialect.error_body(error, status_of(error, dialect.statuses)))


def encode(value: Any) -> bytes:
    return compact(value).encode()


async def hang_up(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def nothing() -> Any:
    raise AssertionError("a complete answer reads nothing")


async def begin(send: Send, status: int, headers: Headers) -> None:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def body(send: Send, data: bytes, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
