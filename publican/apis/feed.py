"""`Feed`: the events of one call, in batches, as they come. Event loop only.

A call may be several requests (a list of prompts): their streams are run side by side and read as one well-formed stream,
which ends in one `Finished` with everything summed, or in the first `Failed`, and then the others are cancelled.

One task per request reads its stream and puts what it finds on a list; whoever answers takes the whole list at once. So
events that are ready together leave in one write, and a slow client costs its own memory alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from publican.apis.errors import ClientGone, as_public
from publican.core.backend import Backend
from publican.core.errors import EngineError
from publican.core.events import Event, Failed, Finished, Usage
from publican.core.request import Request

MAX_WAITING_EVENTS = 4_096
"""A stream whose client does not read is not read either beyond this; the model's side has its own end."""


class Item(NamedTuple):
    """An event, and what to add to its choice's index to get the index in the whole call."""

    base: int
    event: Event


Saw = Callable[[int, Event], None]


class Feed:
    """Use: make, `open`, `take` until `ended`, `close`.

    Args:
        gone: done when the client has hung up; everything is then cancelled at once.
        saw: told of each event as it arrives, for the books.
    """

    def __init__(self, gone: asyncio.Future[None], saw: Saw) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone = gone
        self._saw = saw
        self._items: list[Item] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._usages: list[Usage] = []
        self._done = False
        self._taken = asyncio.Event()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_s = 0.0

    def open(self, backend: Backend, requests: Sequence[Request]) -> None:
        """Begin all `requests`. A refusal arrives as `Failed`, like any other end."""
        base = 0
        for request in requests:
            self._pumps.append(self._loop.create_task(self._pump(backend, request, base)))
            base += request.wanted.num_choices
        self._gone.add_done_callback(self._hang_up)

    @property
    def ended(self) -> bool:
        """Whether everything has been taken."""
        return self._done and not self._items

    async def take(self, timeout_s: float) -> list[Item]:
        """What has come since the last time, waiting for something; empty if nothing came in `timeout_s`.

        Raises:
            ClientGone: nobody listens any more.
        """
        if not self._items and not self._done and not self._gone.done():
            self._waiter = self._loop.create_future()
            self._wake_by(self._loop.time() + timeout_s)
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._gone.done():
            raise ClientGone
        items, self._items = self._items, []
        self._taken.set()
        return items

    async def close(self) -> None:
        """Cancel whatever still runs, and wait until it is gone. May be called twice."""
        self._done = True
        self._gone.remove_done_callback(self._hang_up)
        if self._timer is not None:
            self._timer.cancel()
        self._cancel_pumps()
        if self._pumps:
            await asyncio.wait(self._pumps)

    # --- reading

    async def _pump(self, backend: Backend, request: Request, base: int) -> None:
        try:
            stream = await backend.generate(request)
            try:
                async for event in stream:
                    if self._put(base, event):
                        return
                    if len(self._items) > MAX_WAITING_EVENTS:
                        await self._until_taken()
            finally:
                await stream.aclose()
            self._fail(EngineError("The answer broke off without an end; this is a fault in the server."))
        except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
            self._fail(as_public(error))

    def _put(self, base: int, event: Event) -> bool:
        """Pass `event` on; True if it is the last of its stream."""
        if self._done:
            return True
        kind = type(event)
        if kind is Finished:
            self._usages.append(event.usage)  # type: ignore[union-attr]
            if len(self._usages) == len(self._pumps):
                self._end(Finished(total(self._usages)))
            return True
        if kind is Failed:
            self._end(event)
            self._cancel_pumps(but=asyncio.current_task())
            return True
        self._saw(base, event)
        self._items.append(Item(base, event))
        self._wake()
        return False

    def _fail(self, error: Exception) -> None:
        self._put(0, Failed(as_public(error)))

    def _end(self, event: Event) -> None:
        self._done = True
        self._saw(0, event)
        self._items.append(Item(0, event))
        self._wake()

    async def _until_taken(self) -> None:
        self._taken.clear()
        await self._taken.wait()

    def _cancel_pumps(self, but: asyncio.Task[None] | None = None) -> None:
        for pump in self._pumps:
            if pump is not but:
                pump.cancel()

    # --- waking

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _hang_up(self, _: asyncio.Future[None]) -> None:
        self._done = True
        self._cancel_pumps()
        self._wake()

    def _wake_by(self, deadline_s: float) -> None:
        """Timers are dear, and nearly all are for nothing: one is kept, and looks again when it fires too early."""
        self._deadline_s = deadline_s
        if self._timer is None or self._timer.when() > deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline_s, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() >= self._deadline_s - 1e-3:
            self._wake()
        else:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_clock)


def total(usages: Sequence[Usage]) -> Usage:
    """One usage for several requests that ran side by side: counts add up, times are the longest."""
    if len(usages) == 1:
        return usages[0]
    return Usage(
        num_prompt_tokens=sum(u.num_prompt_tokens for u in usages),
        num_completion_tokens=sum(u.num_completion_tokens for u in usages),
        num_cached_tokens=sum(u.num_cached_tokens for u in usages),
        queue_s=max(u.queue_s for u in usages),
        prefill_s=max(u.prefill_s for u in usages),
        decode_s=max(u.decode_s for u in usages),
    )
