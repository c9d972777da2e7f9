"""How KoboldAI and KoboldCpp say an error, and `KOBOLD`, the dialect. Pure.

KoboldAI lists complaints under the field's name, KoboldCpp has `msg` and `type`; clients show one or the other.
"""

from __future__ import annotations

from typing import Any

from publican.apis.dialect import Dialect
from publican.apis.errors import STATUSES, NoSuchRoute, Unauthenticated, WrongMethod
from publican.core.errors import (
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    NotAllowed,
    OutOfMemory,
    Overloaded,
    PublicanError,
    WorkerDied,
)

_KINDS: tuple[tuple[type[PublicanError], str], ...] = (
    (NoSuchRoute, "not_found"),
    (WrongMethod, "method_not_allowed"),
    (InvalidParameter, "validation_error"),
    (InvalidRequest, "bad_input"),
    (Unauthenticated, "unauthorized"),
    (NotAllowed, "forbidden"),
    (ModelNotFound, "not_found"),
    (Overloaded, "service_unavailable"),
    (WorkerDied, "service_unavailable"),
    (OutOfMemory, "out_of_memory"),
    (PublicanError, "server_error"),
)
"""The `type` of each error; the first class that fits."""


def error_body(error: PublicanError, status: int) -> dict[str, Any]:
    kind = next(kind for cls, kind in _KINDS if isinstance(error, cls))
    detail: dict[str, Any] = {"msg": str(error), "type": kind}
    if isinstance(error, Unauthenticated):
        detail["error"] = "Unauthorized"
    if isinstance(error, InvalidParameter) and error.name not in detail:
        detail[error.name] = [str(error).removeprefix(f"{error.name}: ")]
    return {"detail": detail}


KOBOLD = Dialect(
    "kobold",
    ("/api/extra", "/api/latest", "/api/v1/config", "/api/v1/info"),
    error_body,
    statuses={**STATUSES, InvalidParameter: 422, Overloaded: 503, OutOfMemory: 507},
    headers={"cache-control": "no-store"},
)
