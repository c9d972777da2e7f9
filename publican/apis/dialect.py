"""What a dialect is, and what a route is: values that `app` puts together. No state, no behaviour of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from starlette.types import ASGIApp

from publican.apis.errors import STATUSES
from publican.core.errors import PublicanError

if TYPE_CHECKING:
    from publican.apis.server import Call


class Auth(StrEnum):
    """Who may use a route."""

    OPEN = "open"
    GUEST = "guest"
    """Anybody; who shows no key is a caller without a name. A wrong key is refused all the same."""
    KEY = "key"
    """Whoever `authenticate` accepts."""
    ADMIN = "admin"
    """Whoever `authenticate` says is an admin."""


KeyIn = Callable[[Mapping[str, str]], str | None]
"""Finds the caller's key among headers (with names in lower case)."""


def bearer(headers: Mapping[str, str]) -> str | None:
    """``Authorization: Bearer KEY``, or the key alone there.

    A client with no key may still send ``Authorization: Bearer`` with nothing behind it; that is no key.
    """
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return key.strip() or None
    return key or scheme or None


def key_in_headers(headers: Mapping[str, str]) -> str | None:
    """The key in any of the places where clients put it; `Authorization` is looked at first."""
    return bearer(headers) or headers.get("x-api-key", "").strip() or headers.get("x-admin-key", "").strip() or None


def own_header_first(*names: str) -> KeyIn:
    """The same for a dialect with headers of its own, which then count for more than `Authorization`."""

    def key_in(headers: Mapping[str, str]) -> str | None:
        own = (headers.get(name, "").strip() for name in names)
        return next((key for key in own if key), None) or key_in_headers(headers)

    return key_in


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of speaking.

    Attributes:
        name: as in `Request.dialect`, in metrics and in the log.
        prefixes: paths that begin so, and that no route answers, get this dialect's error.
        error_body: the JSON that says an error with its status.
        statuses: the status of each error.
        key_in: where a caller's key is.
        headers: sent with everything.
    """

    name: str
    prefixes: tuple[str, ...]
    error_body: Callable[[PublicanError, int], Any]
    statuses: Mapping[type[PublicanError], int] = field(default_factory=lambda: STATUSES)
    key_in: KeyIn = key_in_headers
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[["Call"], Awaitable[ASGIApp]]
"""Answers a call with a response. It may raise any PublicanError; the dialect's error then goes out."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path: who owns it, who may use it, what answers it.

    Attributes:
        body: what the body should look like, for the OpenAPI document. None: whatever is sent is not read.
        sampling: whether the body takes sampling parameters beside those of `body`.
        bodiless: an empty body will do, and is an empty object.
        when: where several dialects have this path, whether a body is this one's. The last of them takes all that is left.
    """

    method: str
    path: str
    dialect: Dialect
    auth: Auth
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    sampling: bool = False
    bodiless: bool = False
    when: Callable[[Mapping[str, Any]], bool] | None = None


def has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    """For `Route.when`: a body that says one of `names`."""
    return lambda body: any(body.get(name) is not None for name in names)


Say = Callable[[Any], Awaitable[None]]
"""Sends one JSON message to the client of a websocket. Raises ClientGone."""

SocketHandler = Callable[["Call", Say], Awaitable[None]]
"""Answers one message of a client with any number of ours."""


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A websocket path: each JSON message of the client is a call of `handler`, one after the other."""

    path: str
    dialect: Dialect
    auth: Auth
    handler: SocketHandler
    summary: str
