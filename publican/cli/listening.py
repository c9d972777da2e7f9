"""Sockets, and the web server on them."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.apis.serving import uvicorn_config
from publican.cli.options import beside_models
from publican.core.backend import Host
from publican.core.errors import SettingsError
from publican.core.presets import Presets
from publican.core.request import Caller
from publican.settings import Settings

Sockets = list[socket.socket]

_BACKLOG = 2_048
_SHUTDOWN_S = 3


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


async def serve(
    host: Host, values: Settings, authenticate: Callable[[str | None], Caller], key_required: bool, sockets: Sockets
) -> None:
    """Answer until Ctrl-C. Both ports have all routes: a client of 2023 finds its websocket on either."""
    config = ApiConfig(
        loopback_only=not is_exposed(values),
        key_required=key_required,
        cors_origins=values.cors_origins,
        presets=Presets(beside_models(values, values.presets_dir, "presets")),
    )
    app = create_app(host, config, authenticate)
    server = uvicorn.Server(uvicorn_config(app, timeout_graceful_shutdown=_SHUTDOWN_S))
    await server.serve(sockets)
