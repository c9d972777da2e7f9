"""`Server`: what every handler may use, and `Call`: one thing that somebody asked of it. Event loop only."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from publican.apis.asking import Asking
from publican.apis.config import ApiConfig
from publican.apis.dialect import Auth, Route, SocketRoute
from publican.apis.errors import Unauthenticated
from publican.apis.live import Live
from publican.apis.metrics import Metrics
from publican.apis.record import Record
from publican.core.backend import Host, ModelCard
from publican.core.errors import NotAllowed
from publican.core.request import Caller

STRANGER = Caller("")
"""Whoever passes an open door without being known."""

Authenticate = Callable[[str | None], Awaitable[Caller] | Caller]
"""Whose key this is; None is no key. Raises NotAllowed."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server's worth of context, handed to everything and kept nowhere else.

    `live` knows what is being answered right now, for dialects in which one call asks about another.
    """

    host: Host
    config: ApiConfig
    authenticate: Authenticate
    metrics: Metrics
    live: Live = field(default_factory=Live)

    async def caller_of(self, key: str | None, auth: Auth, in_address: bool = False) -> Caller:
        """Who shows `key`, if they may pass a door of kind `auth`. A key `in_address` never makes an admin (see `path_keys`).

        Raises:
            Unauthenticated: the key is missing or wrong.
            NotAllowed: it is right, and not an admin's.
        """
        if auth is Auth.OPEN:
            return STRANGER
        try:
            caller = self.authenticate(key)
            if inspect.isawaitable(caller):
                caller = await caller
        except NotAllowed as error:
            if auth is Auth.GUEST and key is None:
                return STRANGER
            raise Unauthenticated(str(error)) from None
        if in_address:
            caller = replace(caller, admin=False)
        if auth is Auth.ADMIN:
            require_admin(caller)
        return caller

    def model_name(self, asked: str | None) -> str:
        """What answers are labelled with: the loaded model's name or its adapter's; or what was asked for."""
        card = self.host.status().card
        if asked is not None and card is not None and asked in card.adapters:
            return asked
        return card.name if card is not None else asked or ""


def require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise NotAllowed("This key may ask the model but not change what is loaded; ask the host.")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a route.

    Attributes:
        body: the JSON object that was sent; empty where the route reads none.
        path: the values of the path's placeholders; query: what stands behind its question mark.
        gone: done as soon as the client has hung up; over HTTP only set once the answer is being sent (see `respond`).
    """

    server: Server
    route: Route | SocketRoute
    caller: Caller
    record: Record
    body: Mapping[str, Any]
    path: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    gone: asyncio.Future[None] | None = None

    @property
    def host(self) -> Host:
        return self.server.host

    @property
    def asking(self) -> Asking:
        """What translations may know of this call."""
        presets, card = self.server.config.presets, self.loaded()
        if card is not None and card.sampling:
            presets = presets.over(card.sampling)
        adapters = card.adapters if card is not None else ()
        return Asking(self.caller, presets, self.server.config.max_prompts, adapters)

    @property
    def known(self) -> bool:
        """Whether the caller has shown who they are."""
        return self.caller != STRANGER

    def loaded(self) -> ModelCard | None:
        """The loaded model."""
        return self.host.status().card
