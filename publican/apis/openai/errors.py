"""OpenAI's errors, and `OPENAI`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.errors import Unauthenticated
from publican.core.errors import (
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    PromptTooLong,
    PublicanError,
    WorkerDied,
)

_KINDS: tuple[tuple[type[PublicanError], str, str | None], ...] = (
    (PromptTooLong, "invalid_request_error", "context_length_exceeded"),
    (InvalidRequest, "invalid_request_error", None),
    (Unauthenticated, "invalid_request_error", "invalid_api_key"),
    (NotAllowed, "permission_error", "not_allowed"),
    (ModelNotFound, "invalid_request_error", "model_not_found"),
    (Overloaded, "rate_limit_error", "rate_limit_exceeded"),
    (WorkerDied, "server_error", "overloaded"),
    (PublicanError, "server_error", None),
)
"""The `type` and `code` of each error; the first class that fits."""


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    kind, code = next((kind, code) for cls, kind, code in _KINDS if isinstance(error, cls))
    if isinstance(error, ModelNotFound):
        name: str | None = "model"
    else:
        name = error.name if isinstance(error, InvalidParameter) else None
    return {"error": {"message": str(error), "type": kind, "param": name, "code": code}}


OPENAI = Dialect("openai", ("/v1/", "/v1"), error_body)
