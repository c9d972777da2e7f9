"""`create_app`: the whole HTTP front as one ASGI application, made of the dialects' routes. No state but the app's own.

Called by `cli`, and by tests with a host of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from publican.apis import house
from publican.apis.anthropic import routes as anthropic
from publican.apis.anthropic.errors import ANTHROPIC
from publican.apis.config import ApiConfig
from publican.apis.dialect import Dialect, Route, SocketRoute
from publican.apis.document import document
from publican.apis.endpoint import Endpoint
from publican.apis.errors import NoSuchRoute, WrongMethod
from publican.apis.guard import Guard
from publican.apis.kobold import routes as kobold
from publican.apis.kobold.errors import KOBOLD
from publican.apis.llamacpp import routes as llamacpp
from publican.apis.llamacpp.errors import LLAMACPP
from publican.apis.metrics import Metrics
from publican.apis.ollama import routes as ollama
from publican.apis.ollama.errors import OLLAMA
from publican.apis.ooba import routes as ooba
from publican.apis.ooba import streams as ooba_streams
from publican.apis.ooba.errors import OOBA
from publican.apis.ooba_openai import routes as ooba_openai
from publican.apis.ooba_openai.errors import OOBA_OPENAI
from publican.apis.openai import routes as openai
from publican.apis.openai.errors import OPENAI
from publican.apis.path_keys import PathKeys
from publican.apis.respond import refusal
from publican.apis.responses import routes as responses
from publican.apis.server import Authenticate, Server
from publican.apis.slashes import Slashes
from publican.apis.sockets import session
from publican.apis.tabby import routes as tabby
from publican.apis.tabby.errors import TABBY
from publican.apis.tgi import routes as tgi
from publican.apis.tgi.errors import TGI
from publican.apis.tgi.metrics import TgiMetrics
from publican.apis.vllm import routes as vllm
from publican.apis.vllm.errors import VLLM
from publican.core.backend import Host
from publican.core.errors import InvalidRequest, PublicanError

SOCKETS: tuple[SocketRoute, ...] = tuple(ooba_streams.sockets())

DIALECTS: tuple[Dialect, ...] = (ANTHROPIC, OOBA_OPENAI, TABBY, OPENAI, KOBOLD, OLLAMA, OOBA, TGI, LLAMACPP, VLLM, house.HOUSE)
"""Who answers for a path that is not there: the first with a prefix that fits."""


def all_routes() -> tuple[Route, ...]:
    """Every route there is. Where a method of a path stands here several times, the body says whose it is (`Route.when`)."""
    routes = (
        *house.routes(),
        *openai.routes(),
        *responses.routes(),
        *anthropic.routes(),
        *ooba_openai.routes(),
        *kobold.routes(),
        *ollama.routes(),
        *ooba.routes(),
        *tgi.routes(),
        *tabby.routes(),
        *vllm.routes(),
        *llamacpp.routes(),
    )
    return (*routes, house.openapi(lambda: document(routes)))


def create_app(host: Host, config: ApiConfig, authenticate: Authenticate) -> Starlette:
    """The API.

    Args:
        host: answers everything.
        config: how to behave towards callers; its registry may be used for one app only.
        authenticate: called with the key of every call that needs one; may be a coroutine function.
    """
    metrics = Metrics(host.status, config.registry)
    config.registry.register(TgiMetrics(metrics, host.status))
    server = Server(host, config, authenticate, metrics)
    paths: dict[str, dict[str, list[Route]]] = {}
    for route in all_routes():
        paths.setdefault(route.path, {}).setdefault(route.method, []).append(route)
    by_path = [
        Path(path, Methods({name: Endpoint(server, routes) for name, routes in methods.items()}), methods=list(methods))
        for path, methods in paths.items()
    ]
    return _application(server, [*by_path, *_sockets(server)])


class Methods:
    """The endpoints of one path. The framework has checked the method, and has made HEAD of GET."""

    def __init__(self, endpoints: dict[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._endpoints[method](scope, receive, send)


def _sockets(server: Server) -> list[BaseRoute]:
    return [WebSocketRoute(route.path, session(server, route)) for route in SOCKETS]


def _application(server: Server, routes: list[BaseRoute]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
    app.router.redirect_slashes = False  # a redirect would lose a POST's body
    app.add_middleware(Guard, config=server.config, refuse=refuse_at)
    app.add_middleware(Slashes)
    app.add_middleware(PathKeys)  # outermost: nothing else may see a key in a path
    return app


def dialect_of(path: str, dialects: Iterable[Dialect] = DIALECTS) -> Dialect:
    """Who answers for `path` where no route does."""
    return next(d for d in dialects if any(path.startswith(prefix) for prefix in d.prefixes))


def refuse_at(path: str, error: PublicanError) -> ASGIApp:
    return refusal(dialect_of(path), error)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    objection: InvalidRequest = WrongMethod(request.method, path) if error.status_code == 405 else NoSuchRoute(path)
    answer = refusal(dialect_of(path), objection)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value  # Allow, beside 405
    return answer
