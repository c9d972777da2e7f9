"""What happens around every handler: find the caller, read the body, keep the record, and turn errors into answers.

Event loop only. This is one of the program's two top loops: nothing that a handler raises gets past it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from publican.apis.body import read_object
from publican.apis.dialect import Route
from publican.apis.errors import ClientGone, as_public
from publican.apis.record import GONE, Record
from publican.apis.respond import refusal
from publican.apis.server import Call, Server


class Endpoint:
    """`route` as an ASGI application. Not a function, so that the framework puts nothing between it and the server."""

    def __init__(self, server: Server, route: Route) -> None:
        self.route = route
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = Record(self._server.metrics, self.route.dialect.name, self.route.path)
        try:
            answer = await self._answer(Request(scope, receive), record)
        except ClientGone:
            record.end(GONE)
            return
        except Exception as error:  # noqa: BLE001 - a top loop: whatever it is, the client is told and the log has it
            public = as_public(error)
            answer = refused = refusal(self.route.dialect, public)
            record.end(refused.status_code, public)
        if isinstance(answer, Response):
            record.end(answer.status_code)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, record: Record) -> ASGIApp:
        server, route = self._server, self.route
        caller = await server.caller_of(route.dialect.key_in(request.headers), route.auth)
        record.user = caller.user
        body = await read_object(request, server.config.max_body_bytes) if route.body is not None else {}
        return await route.handler(Call(server, route, caller, record, body, request.path_params))
