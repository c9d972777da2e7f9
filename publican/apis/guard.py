"""`Guard`: the first thing every connection meets. Keeps web pages out that have no business here, and answers preflights.

A page in a browser on this machine can reach loopback, and a browser asks nobody before it sends a simple request or opens
a websocket. So, where no key is needed, it is the server that must look at who asks: a foreign `Host` (a name made to mean
127.0.0.1) and a foreign `Origin` are refused outright. Where a key is needed any page may ask, because nothing is sent along
by itself: there are no cookies, and the key must be in the page's own hands.

Programs that are not browsers send no `Origin` and are not concerned. Event loop; plain ASGI, no state.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from publican.apis.config import ApiConfig
from publican.core.errors import NotAllowed, PublicanError

Refuse = Callable[[str, PublicanError], ASGIApp]
"""The answer that refuses whoever asked for a path."""

_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
_EXPOSED = b"x-request-id, retry-after"


class Guard:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, config: ApiConfig, refuse: Refuse) -> None:
        self._app = app
        self._config = config
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        error = self._objection(host, origin)
        if error is not None:
            await self._turn_away(error, scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":
            await _answer_options(send, headers, self._cors(origin))
        elif origin is not None and scope["type"] == "http":
            await self._app(scope, receive, _with_headers(send, self._cors(origin)))
        else:
            await self._app(scope, receive, send)

    def _objection(self, host: str, origin: str | None) -> NotAllowed | None:
        config = self._config
        if not host_is_allowed(host, config):
            return NotAllowed(f"This server does not answer to the name {host[:100]!r}; the host can allow it by name.")
        if origin is not None and not origin_is_allowed(origin, host, config):
            return NotAllowed(
                f"Pages from {origin[:100]!r} may not use this server; the host can allow them by name, or require a key."
            )
        return None

    async def _turn_away(self, error: PublicanError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})  # before accepting: HTTP 403
        else:
            await self._refuse(scope["path"], error)(scope, receive, send)

    def _cors(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        if origin is None:
            return []
        if self._config.key_required:
            allowed = [(b"access-control-allow-origin", b"*")]
        else:
            allowed = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]
        return [*allowed, (b"access-control-expose-headers", _EXPOSED)]


def host_is_allowed(host: str, config: ApiConfig) -> bool:
    """Whether this server answers to `host`, the value of the header; none at all is an old program, not a browser."""
    if not host or not (config.loopback_only or config.allowed_hosts) or "*" in config.allowed_hosts:
        return True
    name = _name_of(host)
    return is_loopback(name) or name in map(str.lower, config.allowed_hosts)


def origin_is_allowed(origin: str, host: str, config: ApiConfig) -> bool:
    """Whether a page of `origin` may ask this server, which it called `host`."""
    if config.key_required or origin in config.cors_origins or "*" in config.cors_origins:
        return True
    try:
        parts = urlsplit(origin)
        page = parts.hostname or ""
    except ValueError:
        return False
    return bool(page) and (is_loopback(page) or parts.netloc.lower() == host.lower())


def is_loopback(name: str) -> bool:
    """Whether `name` can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    try:
        return (urlsplit("//" + host).hostname or "").rstrip(".")
    except ValueError:
        return ""


async def _answer_options(send: Send, headers: Headers, cors: list[tuple[bytes, bytes]]) -> None:
    """200 and nothing else, on any path, as clients of 2023 expect; a browser's preflight gets what it asked for."""
    answer = [(b"content-length", b"0"), (b"allow", _METHODS), *cors]
    if "access-control-request-method" in headers and cors:
        answer += [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", b"600")]
        answer += [(b"access-control-allow-headers", headers.get("access-control-request-headers", "*").encode("latin-1"))]
        if headers.get("access-control-request-private-network") == "true":
            answer.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 200, "headers": answer})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _with_headers(send: Send, extra: Iterable[tuple[bytes, bytes]]) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *extra]
        await send(message)

    return wrapped
