"""How Anthropic says an error, and `ANTHROPIC`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect, own_header_first
from publican.apis.errors import STATUSES, BodyTooLarge, NoSuchRoute, Unauthenticated
from publican.core.errors import InvalidRequest, ModelNotFound, NotAllowed, Overloaded, PublicanError, WorkerDied

_KINDS: tuple[tuple[type[PublicanError], str], ...] = (
    (BodyTooLarge, "request_too_large"),
    (NoSuchRoute, "not_found_error"),
    (InvalidRequest, "invalid_request_error"),
    (Unauthenticated, "authentication_error"),
    (NotAllowed, "permission_error"),
    (ModelNotFound, "not_found_error"),
    (Overloaded, "overloaded_error"),
    (WorkerDied, "overloaded_error"),
    (PublicanError, "api_error"),
)
"""The `type` of each error; the first class that fits."""


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    kind = next(kind for cls, kind in _KINDS if isinstance(error, cls))
    return {"type": "error", "error": {"type": kind, "message": str(error)}}


ANTHROPIC = Dialect(
    "anthropic",
    ("/v1/messages",),
    error_body,
    statuses={**STATUSES, Overloaded: 529},
    key_in=own_header_first("x-api-key"),
)
