"""`Server`: what every handler may use, and `Call`: one thing that somebody asked of it. Event loop only."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from publican.apis.config import ApiConfig
from publican.apis.dialect import Auth, Route, SocketRoute
from publican.apis.errors import Unauthenticated
from publican.apis.metrics import Metrics
from publican.apis.record import Record
from publican.core.backend import Host
from publican.core.errors import NotAllowed
from publican.core.request import Caller

Authenticate = Callable[[str | None], Awaitable[Caller] | Caller]
"""Whose key this is; None is no key. Raises NotAllowed."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server's worth of context, handed to everything and kept nowhere else."""

    host: Host
    config: ApiConfig
    authenticate: Authenticate
    metrics: Metrics

    async def caller_of(self, key: str | None, auth: Auth) -> Caller:
        """Who shows `key`, if they may pass a door of kind `auth`.

        Raises:
            Unauthenticated: the key is missing or wrong.
            NotAllowed: it is right, and not an admin's.
        """
        if auth is Auth.OPEN:
            return Caller("")
        try:
            caller = self.authenticate(key)
            if inspect.isawaitable(caller):
                caller = await caller
        except NotAllowed as error:
            raise Unauthenticated(str(error)) from None
        if auth is Auth.ADMIN:
            require_admin(caller)
        return caller

    def model_name(self, asked: str | None) -> str:
        """What answers are labelled with: the loaded model's name, or what was asked for. `models` may look at a disk; a
        backend that names its model in its status saves every request that."""
        loaded = self.host.status().model or next((card.name for card in self.host.models() if card.loaded), None)
        return loaded or asked or ""


def require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise NotAllowed("This key may ask the model but not change what is loaded; ask the host.")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a route.

    Attributes:
        body: the JSON object that was sent; empty where the route reads none.
        path: the values of the path's placeholders.
        gone: done as soon as the client has hung up; over HTTP only set once the answer is being sent (see `respond`).
    """

    server: Server
    route: Route | SocketRoute
    caller: Caller
    record: Record
    body: Mapping[str, Any]
    path: Mapping[str, str]
    gone: asyncio.Future[None] | None = None

    @property
    def host(self) -> Host:
        return self.server.host
