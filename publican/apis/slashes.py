"""Addresses with a slash too many: ``/v1//models`` and ``/v1/models/`` are ``/v1/models``.

People end the address of a server with a slash, and clients begin theirs with one (SillyTavern puts the two together as they
are). No path here means something else with more slashes. A redirect would not do: it loses a POST's body. Event loop; plain
ASGI, no state.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SEVERAL = re.compile("/{2,}")


class Slashes:
    """ASGI middleware around everything that looks at paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            if "//" in path or (path.endswith("/") and path != "/"):
                path = _SEVERAL.sub("/", path)
                path = path.removesuffix("/") or "/"
                scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "replace")}
        await self._app(scope, receive, send)
