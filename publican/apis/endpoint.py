"""What happens around every handler: find the caller, read the body, keep the record, and turn errors into answers.

Where several dialects have one path, it is the body that says whose call it is.

Event loop only. This is one of the program's two top loops: nothing that a handler raises gets past it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from publican.apis.body import read_object
from publican.apis.dialect import Route
from publican.apis.errors import ClientGone, as_public
from publican.apis.path_keys import IN_ADDRESS
from publican.apis.record import GONE, Record
from publican.apis.respond import refusal
from publican.apis.server import Call, Server


class Endpoint:
    """A method of a path as an ASGI application. Not a function, so that the framework puts nothing between it and the server.

    Args:
        routes: of one method and path, and so with one rule about keys; the last takes what the others leave.
    """

    def __init__(self, server: Server, routes: Sequence[Route]) -> None:
        assert len({route.auth for route in routes}) == 1
        self._routes = tuple(routes)
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes[-1]
        record = Record(self._server.metrics, route.dialect.name, route.path)
        try:
            request = Request(scope, receive)
            key = route.dialect.key_in(request.headers)
            caller = await self._server.caller_of(key, route.auth, IN_ADDRESS in scope)
            record.user = caller.user
            body = await self._body(request, route)
            route = self._whose(body)
            record.dialect = route.dialect.name
            call = Call(self._server, route, caller, record, body, request.path_params, request.query_params)
            answer = await route.handler(call)
        except ClientGone:
            record.end(GONE)
            return
        except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
            public = as_public(error)
            answer = refused = refusal(route.dialect, public)
            record.end(refused.status_code, public)
        if isinstance(answer, Response):
            record.end(answer.status_code)
        await answer(scope, receive, send)

    async def _body(self, request: Request, route: Route) -> Mapping[str, Any]:
        if route.body is None:
            return {}
        return await read_object(request, self._server.config.max_body_bytes, may_be_empty=route.bodiless)

    def _whose(self, body: Mapping[str, Any]) -> Route:
        return next((route for route in self._routes[:-1] if route.when is not None and route.when(body)), self._routes[-1])
