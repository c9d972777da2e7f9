"""vLLM's errors, and `VLLM`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.core.errors import InvalidParameter, PublicanError

_KINDS = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError", 501: "NotImplementedError"}


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    kind = _KINDS.get(status, "InternalServerError" if status >= 500 else "BadRequestError")
    name = error.name if isinstance(error, InvalidParameter) else None
    return {"error": {"message": str(error), "type": kind, "param": name, "code": status}}


VLLM = Dialect("vllm", ("/tokenizer_info",), error_body)
