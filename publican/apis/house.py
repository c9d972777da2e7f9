"""The routes that belong to no dialect: is it alive, and how is it doing. Event loop only."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Dialect, Route
from publican.apis.respond import Json
from publican.apis.server import Call
from publican.core.errors import PublicanError


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    return {"error": {"message": str(error), "code": status}}


HOUSE = Dialect("house", ("/",), error_body)


async def health(call: Call) -> ASGIApp:
    """`status` is ``ok`` with 200, or ``error`` with 503: pollers of every dialect look at one of the two."""
    status = call.host.status()
    word, code = ("ok", 200) if status.healthy else ("error", 503)
    return Json({"status": word, "text": status.text}, code)


async def metrics(call: Call) -> ASGIApp:
    return Response(generate_latest(call.server.config.registry), media_type=CONTENT_TYPE_LATEST)


async def trace(call: Call) -> ASGIApp:
    return Json({"steps": [dict(step) for step in await call.host.trace()]})


def openapi(make: Callable[[], dict[str, Any]]) -> Route:
    """The route that shows a document, made when it is first asked for: it takes longer than all else at a start."""
    document = cache(make)

    async def show(call: Call) -> ASGIApp:
        return Json(document())

    return Route("GET", "/openapi.json", HOUSE, Auth.OPEN, show, "Every route there is.")


def routes() -> list[Route]:
    return [
        Route("GET", "/health", HOUSE, Auth.OPEN, health, "Whether the model can be asked."),
        Route("GET", "/metrics", HOUSE, Auth.KEY, metrics, "Numbers for Prometheus."),
        Route("GET", "/debug/trace", HOUSE, Auth.ADMIN, trace, "Where the time of each of the last steps went."),
    ]
