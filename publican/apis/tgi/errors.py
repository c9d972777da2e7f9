"""How Text Generation Inference says an error, and `TGI`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.errors import STATUSES, BodyTooLarge, NoSuchRoute, WrongMethod
from publican.core.errors import (
    EngineError,
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    PromptTooLong,
    PublicanError,
    WorkerDied,
)

_KINDS: tuple[tuple[type[PublicanError], str, str], ...] = (
    (NoSuchRoute, "not_found", ""),
    (WrongMethod, "method_not_allowed", ""),
    (InvalidRequest, "validation", "Input validation error: "),
    (NotAllowed, "authentication", ""),
    (ModelNotFound, "not_found", ""),
    (Overloaded, "overloaded", ""),
    (WorkerDied, "unhealthy", ""),
    (EngineError, "generation", "Request failed during generation: "),
    (PublicanError, "incomplete_generation", ""),
)
"""The `error_type` of each error and what its words begin with; the first class that fits."""


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    kind, before = next((kind, before) for cls, kind, before in _KINDS if isinstance(error, cls))
    text = str(error)
    if isinstance(error, PromptTooLong):
        text = f"`inputs` must have less than {error.context_len} tokens. Given: {error.num_prompt_tokens}"
    elif isinstance(error, InvalidParameter):
        text = f"`{error.name}` {text.removeprefix(f'{error.name}: ').rstrip('.')}"
    return {"error": before + text, "error_type": kind}


TGI = Dialect(
    "tgi",
    ("/generate", "/generate_stream", "/invocations", "/chat_tokenize", "/info"),
    error_body,
    statuses={
        **STATUSES,
        InvalidRequest: 422,
        BodyTooLarge: 413,
        NoSuchRoute: 404,
        WrongMethod: 405,
        EngineError: 424,
    },
)
