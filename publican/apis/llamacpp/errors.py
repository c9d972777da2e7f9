"""llama.cpp's errors, and `LLAMACPP`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.errors import STATUSES
from publican.core.errors import ModelNotFound, Overloaded, PromptTooLong, PublicanError, Unsupported

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body: dict[str, Any] = {"code": status, "message": str(error), "type": kind}
    if isinstance(error, PromptTooLong):
        body |= {"type": "exceed_context_size_error", "n_prompt_tokens": error.num_prompt_tokens, "n_ctx": error.context_len}
    return {"error": body}


PATHS = ("/completion", "/infill", "/apply-template", "/props", "/slots", "/embedding", "/lora-adapters", "/detokenize")

LLAMACPP = Dialect("llamacpp", PATHS, error_body, statuses={**STATUSES, Unsupported: 501, Overloaded: 503, ModelNotFound: 404})
