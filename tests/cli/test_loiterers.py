"""Who never says what they want is shown the door; who waits for an answer is not."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from publican.cli import listening, loiterers
from publican.cli.loiterers import Loiterers
from publican.gateway.keys import OpenDoor
from publican.host.fake import FakeLibrary
from publican.host.host import ModelHost
from publican.settings import Settings
from tests.cli.running import free_port

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.asynccontextmanager
async def door():
    """A server whose connections are swept when we say so: gives (its port, a function that lets seconds pass)."""
    host = ModelHost(FakeLibrary())
    await host.load("fake-slow", {})
    values = Settings(port=free_port(), stream_port=0)
    server = listening.Server(host, values, OpenDoor().authenticate, False)
    sweeper, clock = Loiterers(), Clock()
    sockets = listening.open_sockets(values)
    serving = asyncio.create_task(server.serve(sockets))

    async def pass_time(seconds: float) -> None:
        for _ in range(10):
            clock.now_s += seconds / 10
            await asyncio.sleep(0.02)
            sweeper.sweep(list(server.server_state.connections), clock())

    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield values.port, pass_time
    finally:
        server.end()
        await serving


@contextlib.asynccontextmanager
async def connected(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def is_closed(reader: asyncio.StreamReader, within_s: float = 0.2) -> bool:
    try:
        return await asyncio.wait_for(reader.read(65_536), within_s) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


@pytest.mark.parametrize(
    ("said", "limit_s"),
    [(b"", loiterers.HEAD_S), (HEAD, loiterers.HEAD_S), (HEAD + b"Content-Length: 9\r\n\r\n{", loiterers.BODY_S)],
    ids=["nothing", "half a head", "half a body"],
)
def test_half_a_request_is_not_waited_for_for_ever(said, limit_s):
    async def main():
        async with door() as (port, pass_time), contextlib.AsyncExitStack() as stack:
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(said)
            await pass_time(0.9 * limit_s)
            assert not await is_closed(reader)
            await pass_time(0.3 * limit_s)
            assert await is_closed(reader, 10)

    run(main())


def test_half_a_request_after_a_whole_one_is_not_either():
    async def main():
        async with door() as (port, pass_time), contextlib.AsyncExitStack() as stack:
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in await reader.read(1_000)
            await pass_time(0.9 * loiterers.HEAD_S)
            writer.write(HEAD)
            await pass_time(0.9 * loiterers.HEAD_S)
            assert not await is_closed(reader)
            await pass_time(0.3 * loiterers.HEAD_S)
            assert await is_closed(reader, 10)

    run(main())


def test_who_waits_for_an_answer_may_wait():
    async def main():
        async with door() as (port, pass_time), contextlib.AsyncExitStack() as stack:
            reader, writer = await stack.enter_async_context(connected(port))
            body = b'{"prompt": "Once", "max_tokens": 20}'
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await pass_time(10 * loiterers.BODY_S)
            assert b"200 OK" in await reader.read(1_000)

    run(main())


def test_as_many_connections_as_the_system_allows():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        for opened in listening.open_sockets(Settings(port=free_port(), stream_port=0)):
            opened.close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(before[1], 1_024)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
