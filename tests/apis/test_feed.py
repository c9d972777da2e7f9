"""The feed: several streams as one, in batches; every end accounted for; nothing left running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from publican.apis import feed as feed_module
from publican.apis.errors import ClientGone
from publican.apis.feed import Feed, Item
from publican.core.errors import EngineError, Overloaded
from publican.core.events import Delta, Failed, Finished, Started
from publican.core.request import Request, TextPrompt, Wanted
from tests.apis.fake_host import FOREVER, Pause, ScriptedHost, answer


def run(
    host: ScriptedHost, use: Callable[[Feed, asyncio.Future[None]], Awaitable[Any]], num_requests: int = 1, n: int = 1
) -> Any:
    async def main() -> Any:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        feed = Feed(gone, lambda base, event: None)
        feed.open(host, [Request(TextPrompt(str(i)), wanted=Wanted(num_choices=n)) for i in range(num_requests)])
        try:
            return await use(feed, gone)
        finally:
            await feed.close()
            await feed.close()
            assert len(asyncio.all_tasks()) == 1, "something was left running"

    return asyncio.run(main())


async def everything(feed: Feed, gone: asyncio.Future[None]) -> list[Item]:
    items = []
    while not feed.ended:
        items += await feed.take(1.0)
    return items


def test_one_stream_passes_through_as_it_is() -> None:
    host = ScriptedHost()
    items = run(host, everything)
    assert [item.event for item in items] == answer(host.requests[0], ["Hello", " world", "!"])
    assert host.cancelled == []


def test_what_is_ready_together_comes_in_one_batch() -> None:
    async def first(feed: Feed, gone: asyncio.Future[None]) -> list[Item]:
        return await feed.take(1.0)

    assert len(run(ScriptedHost(), first)) == 6


def test_two_streams_are_one_with_counts_summed_and_indices_apart() -> None:
    items = run(ScriptedHost(), everything, num_requests=2, n=3)
    assert {item.base + item.event.index for item in items if isinstance(item.event, Delta)} == set(range(6))
    finished = [item.event for item in items if isinstance(item.event, Finished)]
    assert len(finished) == 1
    assert items[-1].event is finished[0]
    assert (finished[0].usage.num_prompt_tokens, finished[0].usage.num_completion_tokens) == (10, 18)
    assert finished[0].usage.queue_s == 0.001


def test_the_first_failure_ends_all_and_cancels_the_others() -> None:
    def script(request: Request) -> list[Any]:
        return (
            [Started(1), Failed(EngineError("Broken."))] if request.prompt == TextPrompt("2") else [Started(1), Pause(FOREVER)]
        )

    host = ScriptedHost(script)
    items = run(host, everything, num_requests=3)
    assert isinstance(items[-1].event, Failed)
    assert sum(isinstance(item.event, Failed) for item in items) == 1
    assert set(host.cancelled) == {host.requests[0].id, host.requests[1].id}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (lambda request: [], "without an end"),
        (lambda request: [Started(1), ValueError("boom /etc/secret")], "in the log as error"),
        (lambda request: [Started(1), EngineError("Broken.")], "Broken"),
    ],
)
def test_a_faulty_backend_still_ends_in_one_failure(script: Any, says: str) -> None:
    items = run(ScriptedHost(script), everything)
    assert isinstance(items[-1].event, Failed)
    assert says in str(items[-1].event.error)
    assert "secret" not in str(items[-1].event.error)


def test_a_refusal_arrives_as_a_failure() -> None:
    (item,) = run(ScriptedHost(refusal=Overloaded("Full.", 7)), everything)
    assert isinstance(item.event, Failed)
    assert isinstance(item.event.error, Overloaded)


def test_hanging_up_cancels_at_once_even_if_nobody_takes() -> None:
    async def hang_up(feed: Feed, gone: asyncio.Future[None]) -> None:
        await feed.take(1.0)
        gone.set_result(None)
        async with asyncio.timeout(10):
            while len(host.cancelled) < 1:
                await asyncio.sleep(0)
        with pytest.raises(ClientGone):
            await feed.take(1.0)

    host = ScriptedHost(lambda request: [Started(1), Pause(FOREVER)])
    run(host, hang_up)


def test_hanging_up_while_the_host_makes_up_its_mind_cancels_too() -> None:
    async def hang_up(feed: Feed, gone: asyncio.Future[None]) -> None:
        asyncio.get_running_loop().call_later(0.02, gone.set_result, None)
        with pytest.raises(ClientGone):
            await feed.take(5.0)

    host = ScriptedHost(accept_s=FOREVER)
    run(host, hang_up)
    assert len(host.cancelled) == 1


def test_closing_early_cancels() -> None:
    async def close(feed: Feed, gone: asyncio.Future[None]) -> None:
        await feed.take(1.0)

    host = ScriptedHost(lambda request: [Started(1), Pause(FOREVER)])
    run(host, close)
    assert len(host.cancelled) == 1


def test_a_silent_stream_gives_an_empty_batch_after_the_timeout() -> None:
    async def wait(feed: Feed, gone: asyncio.Future[None]) -> None:
        await feed.take(1.0)
        loop = asyncio.get_running_loop()
        for timeout_s in (0.03, 0.1, 0.03):  # one timer serves them all: longer, and then shorter again
            began = loop.time()
            assert await feed.take(timeout_s) == []
            assert timeout_s - 0.005 <= loop.time() - began < timeout_s + 5

    run(ScriptedHost(lambda request: [Started(1), Pause(FOREVER)]), wait)


def test_a_stream_that_nobody_reads_is_not_read_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_WAITING_EVENTS", 10)
    read = 0

    def script(request: Request) -> Any:
        nonlocal read
        for step in answer(request, ["x"] * 1_000):
            read += 1
            yield step

    async def dawdle(feed: Feed, gone: asyncio.Future[None]) -> None:
        await asyncio.sleep(0.02)
        assert read < 20
        items = await everything(feed, gone)
        assert isinstance(items[-1].event, Finished)
        assert len(items) == 1_003

    run(ScriptedHost(script), dawdle)
