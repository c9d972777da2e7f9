"""Long work that is no generation: who hangs up, and what becomes of the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from publican.apis.app import all_routes
from publican.apis.config import ApiConfig
from publican.apis.metrics import Metrics
from publican.apis.patience import Patient, ProgressAnswer
from publican.apis.record import Record
from publican.apis.server import Call, Server
from publican.apis.tabby.translate import LoadStream, Part
from publican.core.errors import OutOfMemory
from publican.core.request import Caller
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import open_door

ROUTE = next(route for route in all_routes() if route.path == "/v1/model/load")


def call_of(**config: Any) -> Call:
    host, settings = ScriptedHost(), ApiConfig(**config)
    server = Server(host, settings, open_door, Metrics(host.status, settings.registry))
    return Call(server, ROUTE, Caller(), Record(server.metrics, "tabby", ROUTE.path), {}, {})


async def answered(app: ASGIApp, hangs_up_s: float | None = None) -> tuple[int | None, bytes]:
    """What `app` says to a client that stays, or leaves after so long."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(3_600 if hangs_up_s is None else hangs_up_s)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http"}, receive, send)
    status = next((message["status"] for message in sent if message["type"] == "http.response.start"), None)
    return status, b"".join(message.get("body", b"") for message in sent)


def run(make: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await make()

    return asyncio.run(main())


def test_what_is_ready_at_once_has_no_space_before_it() -> None:
    async def work() -> int:
        return 5

    assert run(lambda: answered(Patient(call_of(), work(), lambda value: {"value": value}))) == (200, b'{"value":5}')


def test_an_error_has_its_status_until_a_space_is_out() -> None:
    async def work(seconds: float) -> int:
        await asyncio.sleep(seconds)
        raise OutOfMemory("It does not fit.")

    def patient(seconds: float) -> Patient:
        return Patient(call_of(patience_s=0.05, ping_s=0.05), work(seconds), lambda value: value)

    status, body = run(lambda: answered(patient(0.0)))
    assert (status, b"It does not fit." in body) == (503, True)
    status, body = run(lambda: answered(patient(0.6)))
    assert (status, body[:2], b"It does not fit." in body) == (200, b"  ", True)


def test_work_that_has_begun_is_done_though_its_client_has_gone() -> None:
    async def work(go: asyncio.Event, done: asyncio.Event) -> None:
        await go.wait()
        done.set()

    async def main() -> None:
        go, done = asyncio.Event(), asyncio.Event()
        status, body = await answered(Patient(call_of(), work(go, done), lambda value: value), hangs_up_s=0.02)
        assert (status, body, done.is_set()) == (None, b"", False)
        go.set()
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(main())


@pytest.mark.parametrize("hangs_up_s", [None, 0.05])
def test_steps_are_told_until_their_client_goes_and_then_are_ended(hangs_up_s: float | None) -> None:
    ended: list[str] = []

    async def steps() -> AsyncIterator[Part]:
        try:
            yield Part(1, 2)
            await asyncio.sleep(0.01 if hangs_up_s is None else 3_600)
            yield Part(2, 2)
            ended.append("whole")
        except (asyncio.CancelledError, GeneratorExit):
            ended.append("early")
            raise

    status, body = run(lambda: answered(ProgressAnswer(call_of(), steps(), LoadStream()), hangs_up_s))
    assert status == 200
    assert (b"finished" in body, ended) == ((True, ["whole"]) if hangs_up_s is None else (False, ["early"]))


def test_silence_between_steps_is_filled() -> None:
    async def steps() -> AsyncIterator[Part]:
        await asyncio.sleep(0.6)
        yield Part(1, 1)

    _, body = run(lambda: answered(ProgressAnswer(call_of(commit_s=0.03, ping_s=0.03), steps(), LoadStream())))
    assert body.count(b": ping") >= 3
