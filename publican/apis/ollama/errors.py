"""How Ollama says an error, and `OLLAMA`, the dialect. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.errors import STATUSES
from publican.core.errors import Overloaded, PublicanError

_PATHS = ("tags", "ps", "show", "version", "generate", "chat", "embed", "pull", "push", "copy", "delete", "create", "blobs")


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    return {"error": str(error)}


OLLAMA = Dialect("ollama", tuple(f"/api/{path}" for path in _PATHS), error_body, statuses={**STATUSES, Overloaded: 503})
