"""What a dialect is, and what a route is: values that `app` puts together. No state, no behaviour of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp

from publican.apis.errors import STATUSES
from publican.core.errors import PublicanError

if TYPE_CHECKING:
    from publican.apis.server import Call


class Auth(StrEnum):
    """Who may use a route."""

    OPEN = "open"
    KEY = "key"
    """Whoever `authenticate` accepts."""
    ADMIN = "admin"
    """Whoever `authenticate` says is an admin."""


def key_in_headers(headers: Mapping[str, str]) -> str | None:
    """The key as most clients send it: ``Authorization: Bearer KEY``, or the key alone there, or ``X-Api-Key``.

    A client with no key may still send ``Authorization: Bearer`` with nothing behind it; that is no key.
    """
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        key = key.strip()
    elif not key:
        key = scheme
    return key or headers.get("x-api-key", "").strip() or None


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
    key_in: Callable[[Headers], str | None] = key_in_headers
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[["Call"], Awaitable[ASGIApp]]
"""Answers a call with a response. It may raise any PublicanError; the dialect's error then goes out."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path: who owns it, who may use it, what answers it.

    Attributes:
        body: what the body should look like, for the OpenAPI document. None: whatever is sent is not read.
        sampling: whether the body takes sampling parameters beside those of `body`.
    """

    method: str
    path: str
    dialect: Dialect
    auth: Auth
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    sampling: bool = False


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
