"""How to run an app of ours under uvicorn. `cli` and the tests use it, so that both run the same server."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.types import ASGIApp

MAX_SOCKET_MESSAGE_BYTES = 16 << 20
GRACE_S = 10


def uvicorn_config(app: ASGIApp, **where: Any) -> uvicorn.Config:
    """`where` is what uvicorn takes for an address: host and port, uds, fd.

    No access log (`record` writes a better line), no second logging configuration, and pings on websockets that forgive a
    client that is busy for a minute.
    """
    ours: dict[str, Any] = {
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "date_header": False,
        "lifespan": "off",
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": GRACE_S,
        "ws_max_size": MAX_SOCKET_MESSAGE_BYTES,
        "ws_ping_interval": 30.0,
        "ws_ping_timeout": 90.0,
        "ws_per_message_deflate": False,
    }
    return uvicorn.Config(app, **{**ours, **where})
