"""How ``/v1/internal`` says an error, and `OOBA_OPENAI`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.openai import errors as openai
from publican.core.errors import PublicanError


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    """OpenAI's, and the framework's `detail`, which is what these routes said themselves."""
    return {**openai.error_body(error, status), "detail": str(error)}


OOBA_OPENAI = Dialect("ooba_openai", ("/v1/internal/",), error_body)
