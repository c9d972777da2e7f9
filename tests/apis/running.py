"""Our apps as tests reach them: called in this process, or served by a real uvicorn on a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import uvicorn
from starlette.types import ASGIApp

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.apis.serving import uvicorn_config
from publican.core.errors import NotAllowed
from publican.core.request import Caller
from tests.apis.fake_host import ScriptedHost

T = TypeVar("T")


def open_door(key: str | None) -> Caller:
    return Caller("local", admin=True)


def keyed(key: str | None) -> Caller:
    """`friend` may ask, `owner` may do everything."""
    if key not in ("friend", "owner"):
        raise NotAllowed("This key is not known here; ask the host for a new one.")
    return Caller(key, admin=key == "owner")


def app_of(host: ScriptedHost, authenticate: Any = open_door, **config: Any) -> ASGIApp:
    return create_app(host, ApiConfig(**config), authenticate)


def ask(
    app: ASGIApp, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, content: bytes | None = None
) -> httpx.Response:
    """One request, in this process."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, json=body if content is None else None, content=content, headers=headers)

    return asyncio.run(run())


@contextmanager
def served(app: ASGIApp, **config: Any) -> Iterator[str]:
    """`app` under uvicorn on a port of loopback; gives ``127.0.0.1:port``."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(app, **config))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()
        assert not thread.is_alive()


def in_background(call: Callable[..., T], *args: Any, **rest: Any) -> Future[T]:
    """`call` on a thread that nothing has to wait for, unlike an executor's: a test that fails then ends all the same."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **rest))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result has it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def until(happened: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
