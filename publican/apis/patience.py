"""Answers to what takes long and is no generation: loading, downloading. ASGI responses; event loop only; knows no dialect.

`Patient` waits for one result, `ProgressAnswer` says how far it is. Both keep the connection alive meanwhile, like `respond`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from publican.apis.errors import as_public, status_of
from publican.apis.record import GONE
from publican.apis.respond import Json, begin, body, hang_up, nothing, refusal
from publican.apis.server import Call
from publican.core.errors import PublicanError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Patient:
    """The JSON that `render` makes of what `work` gives. Once begun, the work is done even if the client hangs up.

    Spaces go out when it takes long, as in `respond.WholeAnswer`; an error after that comes under 200.
    """

    def __init__(self, call: Call, work: Awaitable[T], render: Callable[[T], Any]) -> None:
        self._call = call
        self._work = asyncio.ensure_future(work)
        self._work.add_done_callback(retrieve)
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(hang_up(receive))
        try:
            await self._answer(gone, send)
        finally:
            gone.cancel()
            self._call.record.end(GONE)  # only if nothing was said before

    async def _answer(self, gone: asyncio.Future[None], send: Send) -> None:
        config, dialect = self._call.server.config, self._call.route.dialect
        started, wait_s = False, config.patience_s
        while not await _first(self._work, gone, wait_s):
            if gone.done():
                return
            if not started:
                await begin(send, 200, {"content-type": "application/json", **dialect.headers})
            await body(send, b" ", more=True)
            started, wait_s = True, config.ping_s
        try:
            answer = Json(self._render(self._work.result()), headers=dialect.headers)
            status, public = 200, None
        except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
            public = as_public(error)
            answer, status = refusal(dialect, public), status_of(public, dialect.statuses)
        if started:
            await body(send, bytes(answer.body))
        else:
            await answer({"type": "http"}, nothing, send)
        self._call.record.end(200 if started else status, public)


class Saying(Protocol[T_contra]):
    """How a dialect says the steps of something long. Used for one answer only."""

    @property
    def media_type(self) -> str: ...

    def step(self, step: T_contra) -> bytes: ...

    def ended(self) -> bytes: ...

    def failed(self, error: PublicanError) -> bytes: ...

    def waiting(self) -> bytes:
        """Something that every client skips."""
        ...


class ProgressAnswer:
    """A stream of what `saying` makes of `steps`. A client that hangs up ends the iteration."""

    def __init__(self, call: Call, steps: AsyncIterator[T], saying: Saying[T]) -> None:
        self._call = call
        self._steps = steps
        self._saying = saying
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(hang_up(receive))
        step: asyncio.Future[Any] = asyncio.ensure_future(_next(self._steps))
        try:
            wait_s = self._call.server.config.commit_s
            while not gone.done():
                came = await _first(step, gone, wait_s)
                wait_s = self._call.server.config.ping_s
                if came and not await self._say(step.result(), send):
                    return
                if came:
                    step = asyncio.ensure_future(_next(self._steps))
                elif not gone.done():
                    await self._send(self._saying.waiting(), send)
        except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
            await self._fail(as_public(error), send)
        finally:
            gone.cancel()
            await _end(step, self._steps)
            self._call.record.end(GONE)

    async def _say(self, step: Any, send: Send) -> bool:
        """False if that was the end."""
        if step is not _END:
            await self._send(self._saying.step(step), send)
            return True
        await self._send(self._saying.ended(), send, more=False)
        self._call.record.end(200)
        return False

    async def _send(self, data: bytes, send: Send, more: bool = True) -> None:
        if not self._started:
            self._started = True
            headers = {"content-type": self._saying.media_type, "cache-control": "no-cache", "x-accel-buffering": "no"}
            await begin(send, 200, {**headers, **self._call.route.dialect.headers})
        await body(send, data, more)

    async def _fail(self, error: PublicanError, send: Send) -> None:
        if self._started:
            await body(send, self._saying.failed(error))
            self._call.record.end(200, error)
            return
        answer = refusal(self._call.route.dialect, error)
        await answer({"type": "http"}, nothing, send)
        self._call.record.end(answer.status_code, error)


_END = object()


async def _next(steps: AsyncIterator[Any]) -> Any:
    """The next step, or `_END`."""
    return await anext(steps, _END)


async def _first(work: asyncio.Future[Any], gone: asyncio.Future[None], timeout_s: float) -> bool:
    """Whether `work` is done, waiting for it so long, and no longer than the client does."""
    await asyncio.wait({work, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return work.done()


async def _end(step: asyncio.Future[Any], steps: AsyncIterator[Any]) -> None:
    """Stop whatever still iterates."""
    step.cancel()
    await asyncio.wait({step})
    if not step.cancelled():
        step.exception()
    close = getattr(steps, "aclose", None)
    if close is not None:
        await close()


def retrieve(work: asyncio.Future[Any]) -> None:
    """So that an error that nobody waits for any more is no second error."""
    if not work.cancelled():
        work.exception()
