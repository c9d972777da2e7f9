"""TabbyAPI's errors, and `TABBY`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.core.errors import PublicanError


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    """`detail` is what its answers say, `error` what its streams do."""
    return {"detail": str(error), "error": {"message": str(error), "trace": None}}


TABBY = Dialect("tabby", ("/v1/model/", "/v1/token/", "/v1/auth/", "/v1/template/", "/v1/lora", "/v1/download"), error_body)
