"""The event streams of one model's running requests. Event loop only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from publican.core.backend import EventStream
from publican.core.errors import PublicanError
from publican.core.events import Event, Failed, Finished, Started
from publican.core.ids import RequestId
from publican.core.request import Caller
from publican.host.answers.events import AnswerEvents


class RequestStream:
    """Follows `core.backend.EventStream`: what one request gives, read by whoever made it.

    Args:
        user: who that is.
        prompt_text: added to `Started`, for a caller who wants the prompt echoed.
        cancel: told once if the reader goes away early.
    """

    def __init__(self, id: RequestId, user: str, prompt_text: str, cancel: Callable[[RequestId], None]) -> None:
        self.user = user
        self._id = id
        self._prompt_text = prompt_text
        self._cancel = cancel
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._ended = False

    def put(self, event: Event) -> None:
        if isinstance(event, Started) and self._prompt_text:
            event = replace(event, prompt_text=self._prompt_text)
        self._events.put_nowait(event)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        event = await self._events.get()
        self._ended = isinstance(event, Finished | Failed)
        return event

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._cancel(self._id)


class AnswerStream:
    """Follows `core.backend.EventStream`: what one request gives, with thoughts and calls apart from the answer."""

    def __init__(self, stream: EventStream, answers: AnswerEvents) -> None:
        self._stream = stream
        self._answers = answers
        self._ready: deque[Event] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            self._ready.extend(self._answers.of(await self._stream.__anext__()))
        return self._ready.popleft()

    async def aclose(self) -> None:
        self._ready.clear()
        await self._stream.aclose()


class Streams:
    """All of them, by request."""

    def __init__(self) -> None:
        self._streams: dict[RequestId, RequestStream] = {}

    def add(self, id: RequestId, stream: RequestStream) -> None:
        self._streams[id] = stream

    def put(self, id: RequestId, event: Event) -> None:
        """Deliver; events of a request that was cancelled go nowhere."""
        stream = self._streams.get(id)
        if stream is None:
            return
        if isinstance(event, Finished | Failed):
            del self._streams[id]
        stream.put(event)

    def forget(self, id: RequestId) -> bool:
        """Whether it was still running."""
        return self._streams.pop(id, None) is not None

    def fail_all(self, error: PublicanError) -> None:
        for id in list(self._streams):
            self.put(id, Failed(error))

    def of(self, caller: Caller) -> list[RequestId]:
        """The requests that `caller` may end: their own, or everybody's for an admin."""
        return [id for id, stream in self._streams.items() if caller.admin or stream.user == caller.user]

    def __len__(self) -> int:
        return len(self._streams)
