"""Server-sent events, framed as every client reads them: one line of ASCII JSON behind ``data: ``. Pure.

Never an event without data, and never U+2028 as it is: clients in JavaScript stumble over both.
"""

from __future__ import annotations

import json
from typing import Any

from publican.core.events import Queued

MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def compact(value: Any) -> str:
    """JSON in ASCII on one line."""
    return _ENCODER.encode(value)


quote = json.encoder.encode_basestring_ascii
"""A string as JSON, in ASCII."""


def event(value: Any, name: str = "") -> str:
    """An event; its `name` stands on a line of its own, for the dialects that have names for them."""
    return f"event: {name}\ndata: {compact(value)}\n\n" if name else f"data: {compact(value)}\n\n"


def comment(queued: Queued | None) -> bytes:
    """A line that every client skips and every proxy takes for life; it says who is before us, for people who look."""
    if queued is None:
        return b": ping\n\n"
    estimate = "" if queued.estimate_s is None else f" estimate_s={queued.estimate_s:.0f}"
    return f": queued position={queued.position}{estimate}\n\n".encode()
