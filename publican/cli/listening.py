"""Sockets, and the web server on them."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.apis.serving import uvicorn_config
from publican.cli.loiterers import Loiterers
from publican.cli.options import beside_models
from publican.core.backend import Host
from publican.core.errors import SettingsError
from publican.core.presets import Presets
from publican.core.request import Caller
from publican.settings import Settings

Sockets = list[socket.socket]

_BACKLOG = 2_048
_LAST_WORDS_S = 1.0
_TICKS_A_SWEEP = 50  # of a tenth of a second
_MAX_FILES = 65_536


def address_of(values: Settings) -> str:
    return "0.0.0.0" if values.listen and values.host == "127.0.0.1" else values.host


def is_exposed(values: Settings) -> bool:
    """Whether anybody but this machine can connect."""
    address = address_of(values)
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address != "localhost"


def open_sockets(values: Settings) -> Sockets:
    """The API's socket, and the 2023 stream's if it is wanted. Raises SettingsError if a port cannot be had."""
    _allow_many_connections()
    sockets: Sockets = []
    ports = [("--port", values.port)]
    if values.stream_port not in (0, values.port):
        ports.append(("--stream-port", values.stream_port))
    try:
        for flag, port in ports:
            sockets.append(_bind(address_of(values), port, flag))
    except SettingsError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _allow_many_connections() -> None:
    """Systems allow a process 1,024 open files, unless it asks for what they really allow."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _bind(address: str, port: int, flag: str) -> socket.socket:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise SettingsError(f"--host: {address!r} is not an address of this machine.") from None
    opened = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(target)
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"Port {port} is in use by another program; stop it, or choose another with {flag}.") from None
        if error.errno == errno.EACCES:
            raise SettingsError(f"Port {port} may not be opened by this user; choose one above 1023 with {flag}.") from None
        raise SettingsError(f"Cannot listen on {address}:{port}: {error.strerror}.") from None
    return opened


class Server(uvicorn.Server):
    """Answers until it is told to `end`. Both ports have all routes: a client of 2023 finds its websocket on either."""

    def __init__(self, host: Host, values: Settings, authenticate: Callable[[str | None], Caller], key_required: bool) -> None:
        config = ApiConfig(
            loopback_only=not is_exposed(values),
            key_required=key_required,
            cors_origins=values.cors_origins,
            presets=Presets(beside_models(values, values.presets_dir, "presets")),
        )
        super().__init__(uvicorn_config(create_app(host, config, authenticate)))
        self._host = host
        self._loiterers = Loiterers()

    def end(self) -> None:
        """Nobody is let in any more, whoever waits for an answer is told, and `serve` returns. A second time: at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command's own business: a server is only a part of what must end in order."""
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SWEEP == 0:
            self._loiterers.sweep(list(self.server_state.connections), time.monotonic())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Sockets | None = None) -> None:
        ending = asyncio.create_task(super().shutdown(sockets))
        await asyncio.sleep(0)  # it begins by closing the doors
        await self._host.unload()  # answers that run end in an error, each in its dialect
        await asyncio.wait({ending}, timeout=0.0 if self.force_exit else _LAST_WORDS_S)
        for connection in list(self.server_state.connections):  # clients that do not read, or have not said what they want
            if connection.transport is not None:
                connection.transport.abort()
        await ending
