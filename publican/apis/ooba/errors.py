"""How the 2023 API says an error, and `OOBA`, the dialect. Pure.

It had none of its own but for a failed load; `error.message` is that one's. Clients of the time show `result`.
"""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.errors import STATUSES
from publican.core.errors import Overloaded, PublicanError


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    return {"error": {"message": str(error)}, "result": str(error)}


OOBA = Dialect(
    "ooba",
    ("/api/",),
    error_body,
    statuses={**STATUSES, Overloaded: 503},
    headers={"cache-control": "no-store, no-cache, must-revalidate"},
)
