"""Keys in addresses: ``/key/KEY/anything`` is ``/anything``, asked with that key. For clients that can send no header.

An address is seen by more eyes than a header: browser histories, proxies' logs, a screenshot of a settings page. So a key
in one never makes an admin, whatever it opens otherwise; it is taken out of the path before anything else sees it (the log
line, an error's words, the metrics have the path without it); and no page that we answer tells it to where its links lead.

The key in the address wins over keys in headers, because many clients send a made-up one there. Event loop; plain ASGI.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

IN_ADDRESS = "publican.key_in_address"
"""Set in a scope whose key came out of its path."""

_PREFIX = re.compile(r"/key/([^/]+)(/.*)?", re.DOTALL)
_KEY_HEADERS = (b"authorization", b"x-api-key", b"x-admin-key")


class PathKeys:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _PREFIX.fullmatch(scope["path"]) if scope["type"] in ("http", "websocket") else None
        if match is None:
            await self._app(scope, receive, send)
            return
        key, path = match.group(1), match.group(2) or "/"
        headers = [(name, value) for name, value in scope["headers"] if name not in _KEY_HEADERS]
        headers.append((b"authorization", b"Bearer " + key.encode("latin-1", "replace")))
        inner = {**scope, "path": path, "raw_path": path.encode("utf-8", "replace"), "headers": headers, IN_ADDRESS: True}
        await self._app(inner, receive, _without_referrer(send) if scope["type"] == "http" else send)


def _without_referrer(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"referrer-policy", b"no-referrer")]
        await send(message)

    return wrapped
